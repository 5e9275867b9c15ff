//! Every integration test, in one binary so that they are linked once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod approvals;
mod bad_config;
mod clients;
mod notify;
mod spine;
mod store;
mod web;
