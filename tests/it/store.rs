//! The contract of the store: the same facts hold on SQLite and on Postgres.

mod given;

mod deliveries;
