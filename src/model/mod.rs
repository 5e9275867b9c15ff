//! Plain types and ids that every other module speaks.
//!
//! Owns: the words of the product (alert, incident, call, verdict, entry, message) and the pure
//! functions over them: canonical hashing, matchers, expressions, the fold of a timeline.
//! Never: I/O, a clock, an import from another module of the crate.
//! To add a timeline entry, add a variant to [`timeline::Entry`] and its arm in `case::Case::apply`.

pub mod action;
pub mod alert;
pub mod call;
pub mod case;
pub mod conclusion;
pub mod entity;
pub mod expr;
pub mod guard;
pub mod ids;
pub mod incident;
pub mod matcher;
pub mod message;
pub mod orders;
pub mod policy;
pub mod system;
pub mod text;
pub mod time;
pub mod timeline;
pub mod tool;
pub mod verdict;
