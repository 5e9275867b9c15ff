//! The table of contents of the whole system: one step of one incident.
//!
//! In: a lease, and the case as the step before left it. Out: one committed transaction, and when to
//! come back. A step that is given no case folds the whole timeline; either way it folds in what is
//! stored after that, and the inbox. It leaves the incident where any process can go on.
//!
//! ```text
//! Open             -> investigate   choose a mind
//! Investigating    -> investigate   one turn, or the looks that it asked for
//! Proposed         -> approve       allow | ask | refuse
//! AwaitingApproval -> approve       approved | rejected | expired
//! Executing        -> execute       intent, run, outcome
//! Verifying        -> measure       fixed | not fixed | unverified
//! Resolved | Escalated -> close     tell people, write the report
//! ```

use super::draft::Draft;
pub use super::draft::{Known, Next};
use super::{Desk, approve, close, events, execute, investigate, measure, pipeline};
use crate::model::alert::Severity;
use crate::model::case::Case;
use crate::model::incident::State;
use crate::store::Error;
use crate::store::inbox::Item;
use crate::store::incidents::Lease;
use crate::store::step::Inbox;
use crate::store::timeline::Stream;

/// What a state's file says about the step.
pub(super) enum Flow {
    /// The draft moved on; look at its state again.
    Go,
    /// An outside call comes next: commit what is drafted first.
    CommitFirst,
    /// Commit and come back then.
    Rest(Next),
}

/// What others brought is folded in so many at a time: ten thousand alerts in one transaction would
/// outlast its time limit, and so would every repetition.
const EVENTS_MAX: i64 = 500;

/// A step in one process may cross this many states before it is committed; more is a bug.
const STATES_MAX: usize = 32;

/// What comes of a step: when to come back, and what to come back with.
pub type Stepped = (Next, Known);

/// Takes the next step of a leased incident. `known` is what the step before returned; the store
/// is the judge of it: a commit is refused unless the incident is still at the entry, and under the
/// lease, on which the step was decided.
///
/// # Errors
/// `Fenced`: somebody else has the incident. Anything else: nothing was written, try again without
/// `known`.
pub async fn advance(desk: &Desk, lease: &Lease, known: Option<Known>) -> Result<Stepped, Error> {
    let (used, row) = known.as_ref().map_or((None, None), |known| (known.used, known.row.clone()));
    let (case, waiting) = read(desk, lease, known).await?;
    let mut draft = Draft::new(lease.clone(), case, desk.clock.now_ms());
    (draft.used, draft.row) = (used, row);
    events::fold(desk, &mut draft, waiting);
    for _ in 0..STATES_MAX {
        if let Some(next) = pipeline::rest(desk, &mut draft) {
            return commit(desk, draft, next).await;
        }
        let flow = match draft.case.state() {
            State::Open => investigate::open(desk, &mut draft).await?,
            State::Investigating => investigate::go_on(desk, &mut draft).await?,
            State::Proposed => approve::judge(desk, &mut draft).await?,
            State::AwaitingApproval => approve::wait(desk, &mut draft).await?,
            State::Executing => {
                // The intent is committed inside, so the draft is used up there.
                if draft.is_dirty() {
                    Flow::CommitFirst
                } else {
                    return execute::execute(desk, draft).await;
                }
            }
            State::Verifying => measure::verify(desk, &mut draft).await?,
            State::Escalated if draft.case.all_missing() => {
                pipeline::look(desk, &mut draft).await?
            }
            State::Resolved | State::Escalated => close::close(desk, &mut draft).await?,
        };
        match flow {
            Flow::Go => {}
            Flow::CommitFirst => return commit(desk, draft, Next::Again).await,
            Flow::Rest(next) => return commit(desk, draft, next).await,
        }
    }
    commit(desk, draft, Next::Again).await
}

/// Reads what is stored by now, and what waits. A step that only looks, and follows at once upon one
/// that found the inbox empty, need not ask: what comes while it thinks is folded by the next step
/// in any case. Before anything else is decided, the inbox is read.
async fn read(
    desk: &Desk,
    lease: &Lease,
    known: Option<Known>,
) -> Result<(Case, Vec<Item>), Error> {
    let mut case = match known {
        Some(Known { case, inbox: Inbox::Empty, .. }) if case.state() == State::Investigating => {
            return Ok((case, Vec::new()));
        }
        Some(known) => known.case,
        None => Case::new(lease.incident_id, &lease.scope),
    };
    let stream = Stream::incident(lease.incident_id);
    let (entries, waiting) = desk.store.file(stream, case.seq, EVENTS_MAX).await?;
    for stored in &entries {
        case.apply(stored);
    }
    Ok((case, waiting))
}

/// Commits a draft.
pub(super) async fn commit(desk: &Desk, draft: Draft, next: Next) -> Result<Stepped, Error> {
    let (page_due_at_ms, used) = (page_due(desk, &draft.case), draft.used);
    let (step, case, row) = draft.into_step(next, page_due_at_ms);
    let committed = desk.store.commit(step).await?;
    Ok((next, Known::after(case, row, &committed, used)))
}

/// When a person has to be paged at the latest: never again once somebody was, or it is over.
pub(super) fn page_due(desk: &Desk, case: &Case) -> Option<i64> {
    if case.paged_at_ms.is_some() || case.acknowledged.is_some() || case.end.is_some() {
        return None;
    }
    match case.severity {
        Severity::Critical => Some(case.heard_from_ms() + desk.policy.critical_page_ms),
        Severity::Warning => Some(case.heard_from_ms() + desk.policy.warning_page_ms),
        Severity::Info => None,
    }
}
