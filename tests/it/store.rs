//! The contract of the store: the same facts hold on SQLite and on Postgres.

pub mod given;

pub use given::many_steps;

mod actions;
mod chain;
mod deliveries;
mod engine;
mod guards;
mod incidents;
mod orders;
mod outbox;
mod people;
mod plans;
mod priority;
mod step;
mod tombstones;
