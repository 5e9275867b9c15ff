//! Folds a timeline into its report.

use super::lines::detail;
use super::{
    ActionStory, AlertStory, Chain, Cost, Decided, EndingStory, FirstWord, Line, MindStory,
    Reference, Report, RootCause, Span, Standing, Times, Verified,
};
use crate::model::action::Action;
use crate::model::case::{AttachedAlert, Case, End};
use crate::model::conclusion::Conclusion;
use crate::model::entity::Located;
use crate::model::ids::ActionId;
use crate::model::time::format_span_ms;
use crate::model::timeline::{Entry, Stored, Usage};
use std::collections::BTreeMap;

/// Of a storm only the latest signs that it is over are quoted; the timeline holds all.
const SIGNS_MAX: usize = 10;

/// Builds the report. `case` is the fold of exactly these entries; `now_ms` is when it is written.
pub fn build(case: &Case, entries: &[Stored], located: Option<&Located>, now_ms: i64) -> Report {
    Report {
        incident_id: case.id,
        scope: case.scope.clone(),
        title: case.title.clone(),
        severity: case.severity,
        opened_at_ms: case.opened_at_ms,
        written_at_ms: now_ms,
        rounds: case.round,
        targets: located.cloned(),
        ending: case.end.as_ref().map(|end| ending(case, entries, end)),
        finding: case.conclusion.as_ref().map(|found| root_cause(case, entries, found)),
        actions: actions(case, entries),
        alerts: case.alerts.iter().map(alert).collect(),
        times: times(case, entries),
        cost: cost(case, entries),
        timeline: entries.iter().map(|stored| line(case, stored)).collect(),
        chain: Chain {
            entries: entries.len(),
            head: entries.last().map(|last| last.hash.clone()).unwrap_or_default(),
        },
    }
}

fn line(case: &Case, stored: &Stored) -> Line {
    Line {
        seq: stored.seq,
        at_ms: stored.at_ms,
        kind: stored.entry.kind().to_owned(),
        detail: detail(case, &stored.entry),
    }
}

fn reference(case: &Case, stored: &Stored) -> Reference {
    let Line { seq, kind, detail, at_ms: _ } = line(case, stored);
    Reference { seq, kind, excerpt: detail }
}

fn ending(case: &Case, entries: &[Stored], end: &End) -> EndingStory {
    let is_sign =
        |entry: &Entry| matches!(entry, Entry::Measured { .. } | Entry::AlertResolved { .. });
    let mut signs: Vec<&Stored> = entries
        .iter()
        .filter(|stored| stored.seq > case.round_from_seq && stored.at_ms <= end.at_ms)
        .filter(|stored| is_sign(&stored.entry))
        .collect();
    signs.drain(..signs.len().saturating_sub(SIGNS_MAX));
    EndingStory {
        how: end.how,
        why: end.why.clone(),
        at_ms: end.at_ms,
        evidence: signs.into_iter().map(|stored| reference(case, stored)).collect(),
    }
}

/// Evidence that is not on the timeline supports nothing and is left out.
fn root_cause(case: &Case, entries: &[Stored], found: &Conclusion) -> RootCause {
    let named = |seq: &i64| entries.iter().find(|stored| stored.seq == *seq);
    let evidence: Vec<Reference> =
        found.evidence.iter().filter_map(named).map(|stored| reference(case, stored)).collect();
    let standing = if evidence.is_empty() { Standing::Hypothesis } else { Standing::Supported };
    RootCause {
        text: found.root_cause.clone(),
        confidence: found.confidence,
        standing,
        evidence,
        done: found.done.clone(),
        remaining: found.remaining.clone(),
    }
}

fn actions(case: &Case, entries: &[Stored]) -> Vec<ActionStory> {
    let mut decided = decisions(entries);
    let mut verified = measurements(entries);
    case.actions
        .iter()
        .map(|action| {
            let decisions = decided.remove(&action.id()).unwrap_or_default();
            story(action, decisions, verified.remove(&action.id()))
        })
        .collect()
}

fn story(action: &Action, decisions: Vec<Decided>, verification: Option<Verified>) -> ActionStory {
    let proposal = &action.proposal;
    ActionStory {
        id: proposal.action_id,
        call: proposal.call.clone(),
        call_hash: proposal.call.hash(),
        reason: proposal.reason.clone(),
        description: proposal.description.clone(),
        risk: action.risk(),
        rollback: proposal.rollback.clone(),
        proposed_at_ms: action.proposed_at_ms,
        verdict: action.verdict.clone(),
        expires_at_ms: action.expires_at_ms,
        decisions,
        state: action.state,
        outcome: action.outcome.clone(),
        started_at_ms: action.intended_at_ms,
        ended_at_ms: action.ended_at_ms,
        verification,
    }
}

/// Every word of every person: two people may have to agree.
fn decisions(entries: &[Stored]) -> BTreeMap<ActionId, Vec<Decided>> {
    let mut found: BTreeMap<ActionId, Vec<Decided>> = BTreeMap::new();
    for stored in entries {
        if let Entry::Decided { action_id, answer, by, comment, decided_at_ms } = &stored.entry {
            found.entry(*action_id).or_default().push(Decided {
                answer: *answer,
                by: by.clone(),
                comment: comment.clone(),
                at_ms: *decided_at_ms,
            });
        }
    }
    found
}

/// A measurement is about every change that ended before it and was not measured yet.
fn measurements(entries: &[Stored]) -> BTreeMap<ActionId, Verified> {
    let mut found = BTreeMap::new();
    let mut ended: Vec<ActionId> = Vec::new();
    for stored in entries {
        if let Entry::OutcomeRecorded { action_id, .. } = &stored.entry {
            ended.push(*action_id);
        }
        if let Entry::Measured { finding, text } = &stored.entry {
            for id in ended.drain(..) {
                found.insert(
                    id,
                    Verified {
                        finding: *finding,
                        text: text.clone(),
                        seq: stored.seq,
                        at_ms: stored.at_ms,
                    },
                );
            }
        }
    }
    found
}

fn alert(attached: &AttachedAlert) -> AlertStory {
    let alert = &attached.alert;
    AlertStory {
        name: alert.name().to_owned(),
        summary: alert.summary().to_owned(),
        source: alert.source.clone(),
        fingerprint: alert.fingerprint.clone(),
        labels: alert.labels.clone(),
        starts_at_ms: alert.starts_at_ms,
        resolved_at_ms: attached.resolved_at_ms,
        missing_since_ms: attached.missing_since_ms,
    }
}

fn times(case: &Case, entries: &[Stored]) -> Times {
    let span = |until_ms: i64| {
        let ms = until_ms - case.opened_at_ms;
        Span { ms, human: format_span_ms(ms) }
    };
    let mut words: Vec<(i64, &str)> = Vec::new();
    for stored in entries {
        if let Entry::Acknowledged { by } = &stored.entry {
            words.push((stored.at_ms, by));
        }
        if let Entry::Decided { by, decided_at_ms, .. } = &stored.entry {
            words.push((*decided_at_ms, by));
        }
    }
    let first = words.into_iter().min_by_key(|(at_ms, _)| *at_ms);
    Times {
        acknowledge: first.map(|(at_ms, by)| FirstWord { by: by.to_owned(), span: span(at_ms) }),
        diagnose: case.concluded_at_ms.map(span),
        resolve: case.end.as_ref().map(|end| span(end.at_ms)),
    }
}

fn cost(case: &Case, entries: &[Stored]) -> Cost {
    let mut minds: Vec<MindStory> = Vec::new();
    for stored in entries {
        if let Entry::TurnTaken { mind, usage, .. } = &stored.entry {
            let position = minds.iter().position(|known| known.name == *mind);
            let position = position.unwrap_or_else(|| {
                let name = mind.clone();
                minds.push(MindStory { name, turns: 0, usage: Usage::default() });
                minds.len() - 1
            });
            minds[position].turns += 1;
            minds[position].usage.add(*usage);
        }
    }
    Cost {
        turns: case.turns.len(),
        input_tokens: case.usage.input_tokens,
        output_tokens: case.usage.output_tokens,
        cost_micros: Some(case.usage.cost_micros).filter(|micros| *micros != 0),
        minds,
    }
}
