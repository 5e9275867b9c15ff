//! Folds a recorded timeline again and compares where it ends with what the row said.

use super::file::Recorded;
use crate::model::case::Case;
use crate::model::incident::State;
use serde::Serialize;

/// Prefixes that are folded apart; a long timeline is cut at evenly spread places.
const CUTS_MAX: usize = 200;

/// What the fold says.
#[derive(Serialize, Debug)]
pub struct Folded {
    /// Every change of state, with the entry that made it.
    pub states: Vec<(i64, State)>,
    pub prefixes: usize,
    pub differs: Vec<String>,
}

pub fn fold(recorded: &Recorded) -> Folded {
    let row = &recorded.export.incident;
    let entries = &recorded.entries;
    let mut case = Case::new(row.id, &row.scope);
    let mut states: Vec<(i64, State)> = Vec::new();
    for stored in entries {
        case.apply(stored);
        let state = case.state();
        if states.last().is_none_or(|(_, last)| *last != state) {
            states.push((stored.seq, state));
        }
    }
    let mut differs = Vec::new();
    let mut compare = |what: &str, recorded: String, folded: String| {
        if recorded != folded {
            differs.push(format!("{what}: recorded {recorded}, folded {folded}"));
        }
    };
    if !entries.is_empty() {
        compare("state", row.state.as_str().into(), case.state().as_str().into());
        compare("severity", row.severity.as_str().into(), case.severity.as_str().into());
        compare("title", row.title.clone(), case.title.clone());
        let ended = |ended: bool| if ended { "ended" } else { "not ended" }.to_owned();
        let over = case.state() == State::Resolved;
        compare("end", ended(row.ended_at_ms.is_some()), ended(over));
    }
    let step = entries.len().div_ceil(CUTS_MAX).max(1);
    let cuts: Vec<usize> = (0..=entries.len()).step_by(step).collect();
    for cut in &cuts {
        let (before, after) = entries.split_at(*cut);
        let mut again = Case::fold(row.id, &row.scope, before);
        after.iter().for_each(|stored| again.apply(stored));
        if again != case {
            differs.push(format!("gone on from entry {cut}, the fold ends elsewhere"));
        }
    }
    Folded { states, prefixes: cuts.len(), differs }
}
