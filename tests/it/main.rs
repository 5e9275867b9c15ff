//! Every integration test, in one binary so that they are linked once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod bad_config;
#[path = "../chaos/mod.rs"]
mod chaos;
mod clients;
mod model_mind;
mod notify;
mod promises;
mod spine;
mod store;
