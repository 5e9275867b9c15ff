//! The table of an incident's life: which events are folded in in which state, and which states
//! follow each other. Ten thousand worlds have to go through all of it, and through nothing else.

use crate::checks::Reached;

/// What others bring, and the states in which it becomes history.
const CELLS: &[(&str, &[&str])] = &[
    (
        "acknowledged",
        &[
            "awaiting_approval",
            "escalated",
            "executing",
            "investigating",
            "open",
            "proposed",
            "verifying",
        ],
    ),
    (
        "alert_fired",
        &[
            "awaiting_approval",
            "escalated",
            "executing",
            "investigating",
            "open",
            "proposed",
            "resolved",
            "verifying",
        ],
    ),
    (
        "alert_resolved",
        &[
            "awaiting_approval",
            "escalated",
            "executing",
            "investigating",
            "open",
            "proposed",
            "resolved",
            "verifying",
        ],
    ),
    ("counted", &["awaiting_approval"]),
    ("decided", &["awaiting_approval"]),
    (
        "message_queued",
        &["awaiting_approval", "executing", "investigating", "open", "proposed", "verifying"],
    ),
];

/// The states that follow a state, entry by entry.
const TRANSITIONS: &[(&str, &[&str])] = &[
    ("open", &["investigating", "resolved"]),
    ("investigating", &["proposed", "resolved", "verifying"]),
    ("proposed", &["awaiting_approval", "executing", "investigating"]),
    ("awaiting_approval", &["executing", "investigating", "proposed"]),
    ("executing", &["investigating", "verifying"]),
    ("verifying", &["escalated", "investigating", "resolved"]),
    ("resolved", &["open", "verifying"]),
    ("escalated", &["resolved"]),
];

/// What takes such a coincidence that ten thousand worlds may pass without it: the pager's word
/// arrives after the end, a late alert of a resolved problem turns out to be news.
const RARE_CELLS: &[(&str, &[&str])] = &[("message_queued", &["escalated", "resolved"])];
const RARE_TRANSITIONS: &[(&str, &[&str])] = &[("verifying", &["open"])];

/// Every way in which an action ends.
const ACTIONS: &[&str] =
    &["done", "expired", "failed", "refused", "rejected", "superseded", "unknown"];

/// What of the table was not reached.
pub fn missing(reached: &Reached) -> Vec<String> {
    let mut missing = Vec::new();
    for (event, states) in CELLS {
        for state in *states {
            if !reached.cells.contains_key(&((*event).to_owned(), *state)) {
                missing.push(format!("{event} was never folded in in {state}"));
            }
        }
    }
    for (from, followers) in TRANSITIONS {
        for to in *followers {
            if !reached.transitions.contains_key(&(*from, *to)) {
                missing.push(format!("{from} was never followed by {to}"));
            }
        }
    }
    let ends = ACTIONS.iter().filter(|end| !reached.actions.contains_key(**end));
    missing.extend(ends.map(|end| format!("no action ended as {end}")));
    missing
}

/// What was reached and the table does not know.
pub fn unknown(reached: &Reached) -> Vec<String> {
    let cells: Vec<_> = [CELLS, RARE_CELLS].concat();
    let transitions: Vec<_> = [TRANSITIONS, RARE_TRANSITIONS].concat();
    let in_table = |table: &[(&str, &[&str])], of: &str, state: &str| {
        table.iter().any(|(name, states)| *name == of && states.contains(&state))
    };
    let known_cell = |event: &str, state: &str| in_table(&cells, event, state);
    let known_way = |from: &str, to: &str| in_table(&transitions, from, to);
    let unknown = reached.cells.iter().filter(|((event, state), _)| !known_cell(event, state));
    let unknown =
        unknown.map(|((event, state), count)| format!("{event} in {state}, {count} times"));
    let ways = reached.transitions.iter().filter(|((from, to), _)| !known_way(from, to));
    unknown
        .chain(ways.map(|((from, to), count)| format!("{from} to {to}, {count} times")))
        .collect()
}
