//! Watchkeeper takes the page: it stores the alert, investigates, acts within the rules, measures
//! and reports. The modules stand in the order in which an alert meets them.

pub mod safety;
pub mod store;
pub mod tools;

pub mod clients;
pub mod notify;

pub mod clock;
pub mod model;
pub mod tasks;
