//! Doing things and measuring what they did.
//!
//! Owns: [`gate`], the one door to the tools, [`halt_file`], which bars it without a database,
//! [`second_source`], which confirms the alert, and [`verify`], which asks the world whether the
//! problem is gone. Never: a change without a committed intent; a claim in place of a measurement.

pub mod evidence;
pub mod gate;
pub mod halt_file;
pub mod second_source;
pub mod verify;
