//! Watchkeeper takes the page: it stores the alert, investigates, acts within the rules, measures and reports.

pub mod safety;
pub mod targets;
