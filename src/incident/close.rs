//! Resolved and Escalated: people are told, the report is written, and the incident waits for news.

use super::advance::Flow;
use super::draft::{Draft, Next};
use super::{Desk, announce, flapping};
use crate::model::case::Ending;
use crate::model::timeline::Entry;
use crate::store::Error;
use crate::store::timeline::Stream;

/// Announces the ending and writes the report once.
pub(super) async fn close(desk: &Desk, draft: &mut Draft) -> Result<Flow, Error> {
    let Some(end) = draft.case.end.clone() else { return Ok(Flow::Go) };
    if end.how == Ending::Resolved
        && let Some(calm_at_ms) = flapping::calm_at_ms(draft)
    {
        return Ok(Flow::Rest(Next::At(calm_at_ms)));
    }
    let round = draft.case.round;
    match end.how {
        Ending::Resolved => {
            let message = if draft.case.only_heard_late() {
                announce::heard_late(desk, &draft.case)
            } else {
                announce::resolved(desk, &draft.case, &end.why)
            };
            draft.announce(&format!("resolved:{round}"), message);
        }
        Ending::Escalated => {
            let message = announce::escalated(desk, &draft.case, &end.why);
            draft.announce(&format!("escalated:{round}"), message);
        }
    }
    let reported = draft.case.report.as_ref().is_some_and(|report| report.at_ms >= end.at_ms);
    if !reported {
        // The report tells of what is committed; what is still drafted goes first.
        if draft.is_dirty() {
            return Ok(Flow::CommitFirst);
        }
        let history = desk.store.timeline(Stream::incident(draft.case.id)).await?;
        let located = desk.located(&draft.case);
        let report = crate::report::build(&draft.case, &history, Some(&located), draft.now_ms);
        let body = serde_json::to_string(&report)
            .map_err(|error| Error::Corrupt(format!("the report is no JSON: {error}")))?;
        let hash = draft.keep_blob(desk.redactor.json_text(&body).into_owned());
        draft.add(Entry::ReportWritten { hash });
    }
    Ok(Flow::Rest(Next::WhenTold))
}
