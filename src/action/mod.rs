//! Doing things and measuring what they did.
//!
//! Owns: [`gate`], the one door to the tools, and [`verify`], which asks the world whether the
//! problem is gone. Never: a change without a committed intent; a claim in place of a measurement.

pub mod evidence;
pub mod gate;
pub mod verify;
