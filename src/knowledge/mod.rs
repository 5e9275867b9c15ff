//! What is known before an incident: the runbooks.

pub mod runbooks;
