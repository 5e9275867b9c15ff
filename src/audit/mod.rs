//! Checkpoints: where every timeline ended at a time, authenticated with a key, away from here.
//!
//! Whoever can write to the database can compute a whole chain anew; nobody without the key can
//! make the lines that left the machine before. In: heads from the store. Out: lines ([`mod@line`]) to
//! a file, syslog or an object store ([`target`], [`writer`]), and what of them no longer stands in
//! the database ([`compare`]). Never: the key in a line, a log or the store; a line that two
//! processes write. To add a target, add a variant to [`target::Target`].

pub mod compare;
pub mod line;
pub mod target;
pub mod writer;
