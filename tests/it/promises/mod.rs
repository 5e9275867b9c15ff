//! One module for each promise of the design, each trying to break it.

mod at_most_once;
