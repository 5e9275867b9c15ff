//! One module for each promise of the design, each trying to break it.

mod ack_means_stored;
mod approval_binds;
mod at_most_once;
mod history_is_whole;
mod nothing_without_a_verdict;
mod one_problem_one_incident;
mod resolved_is_measured;
mod secrets_stay;
mod somebody_hears;
mod text_never_decides;
