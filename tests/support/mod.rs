//! What the tests stand on: fresh databases and doubles of the outside world.

pub mod engines;
