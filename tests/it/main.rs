//! Every integration test, in one binary so that they are linked once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::too_many_lines)]

#[path = "../support/mod.rs"]
mod support;

mod approvals;
mod bad_config;
#[path = "../chaos/mod.rs"]
mod chaos;
mod cli;
mod clients;
mod demo;
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
mod schedule;
mod spine;
mod store;
mod storms;
mod web;
