//! Watchkeeper takes the page: it stores the alert, investigates, acts within the rules, measures
//! and reports. The modules stand in the order in which an alert meets them; which may import which
//! is told, and tested, in `tests/it/house.rs`.
#![cfg_attr(test, allow(clippy::too_many_lines, reason = "a table of cases may be long"))]

pub mod cli;

pub mod app;

pub mod audit;
pub mod notify;
pub mod schedule;
pub mod web;

pub mod ingest;

pub mod incident;

pub mod agent;
pub mod knowledge;
pub mod report;

pub mod action;
pub mod approval;
pub mod safety;
pub mod store;
pub mod targets;
pub mod tools;

pub mod clients;
pub mod clock;
pub mod config;
pub mod crash;
pub mod model;
pub mod redact;
pub mod tasks;
pub mod telemetry;
