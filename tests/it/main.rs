//! Every integration test, in one binary so that they are linked once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::too_many_lines)]

#[path = "../support/mod.rs"]
mod support;

mod approvals;
mod bad_config;
mod cli;
mod clients;
mod house;
mod notify;
mod spine;
mod store;
mod web;
