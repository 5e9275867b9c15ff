//! The grammar as it stands in the product, without anything else of it.

#[path = "../../src/safety/command/mod.rs"]
pub mod command;
#[path = "../../src/safety/paths.rs"]
pub mod paths;
