//! tmp
pub mod intake;
