//! Every integration test, in one binary so that they are linked once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::too_many_lines)]

#[path = "../support/mod.rs"]
mod support;

mod approvals;
mod backup;
mod backup_docs;
mod bad_config;
mod carried;
#[path = "../chaos/mod.rs"]
mod chaos;
mod cli;
mod clients;
mod crash_points;
mod demo;
mod deploy;
mod faults;
mod guards;
mod house;
mod intake;
mod lifecycle;
mod model_mind;
mod mutants;
mod notify;
mod orders;
mod policy;
mod promises;
mod real_prometheus;
mod reconcile;
mod replay;
mod retention;
mod schedule;
mod secrets_reload;
mod spine;
mod store;
mod storms;
mod upgrade;
mod web;
