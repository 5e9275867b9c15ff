//! The contract of the store: the same facts hold on SQLite and on Postgres.

pub mod given;

mod actions;
mod chain;
mod deliveries;
mod engine;
mod incidents;
mod orders;
mod outbox;
mod people;
mod plans;
mod step;
