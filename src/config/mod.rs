//! Reads the configuration: one file, the environment over it, the command line over both.
mod explain;
mod problem;
mod settings;
mod tree;
mod typed;
pub mod yaml;

pub use problem::{Problem, Problems};
pub use settings::*;
