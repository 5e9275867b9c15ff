//! Decides what may run: the read-only command grammar and the paths that may be read.
//!
//! In: text that a mind proposed. Out: a judgement with its reason. Never: I/O, a clock, a default
//! that allows. To add a program, edit `command/programs/*.yaml`.

pub mod command;
pub mod paths;
