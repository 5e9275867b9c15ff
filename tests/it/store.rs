//! The contract of the store: the same facts hold on SQLite and on Postgres.

mod given;

mod chain;
mod deliveries;
mod incidents;
mod step;
