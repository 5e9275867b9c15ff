//! What was judged, decided and done, read from the recorded timelines.
//!
//! In: the database, read only, also beside a running server. Out: every verdict with the facts
//! that it was given on, and every incident as it stands. Never: a write, a lock.

use crate::action::evidence;
use crate::app::location;
use crate::config::Settings;
use crate::model::action::{Proposal, Wanted};
use crate::model::alert::Labels;
use crate::model::call::Call;
use crate::model::case::Case;
use crate::model::ids::{ActionId, IncidentId};
use crate::model::timeline::{Entry, Stored};
use crate::model::verdict::VerdictRecord;
use crate::safety::evidence::Seen;
use crate::store::Store;
use crate::store::timeline::Stream;
use crate::tools::Register;
use anyhow::Result;
use std::collections::BTreeMap;

/// The recorded past.
#[derive(Default)]
pub struct Past {
    /// Everything that was judged or started, in the order in which it happened.
    pub events: Vec<(i64, Event)>,
    /// Every incident, the oldest first.
    pub cases: Vec<Case>,
}

/// Something recorded that matters here.
pub enum Event {
    Judged(Box<Recorded>),
    /// A change was started.
    Started(ActionId),
}

/// A verdict with what it was about.
pub struct Recorded {
    pub incident: IncidentId,
    pub action: Option<ActionId>,
    pub call: Call,
    pub wanted: Wanted,
    pub labels: Vec<Labels>,
    /// The looks that had been answered by then.
    pub seen: Vec<Seen>,
    pub verdict: VerdictRecord,
}

impl Past {
    /// Reads all timelines.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn read(settings: &Settings, register: &Register) -> Result<Self> {
        let store = Store::open_read_only(&location(settings)).await?;
        let mut past = Self::default();
        for named in store.streams().await?.iter().filter(|named| named.stream_kind == "incident") {
            let Ok(id) = named.stream_id.parse::<IncidentId>() else { continue };
            past.add(id, &store.timeline(Stream::incident(id)).await?, register);
        }
        past.events.sort_by_key(|(at_ms, _)| *at_ms);
        past.cases.sort_by_key(|case| case.opened_at_ms);
        Ok(past)
    }

    /// The past of one incident.
    pub fn of(id: IncidentId, entries: &[Stored], register: &Register) -> Self {
        let mut past = Self::default();
        past.add(id, entries, register);
        past
    }

    fn add(&mut self, id: IncidentId, entries: &[Stored], register: &Register) {
        let mut case = Case::new(id, "");
        let mut calls: BTreeMap<String, Call> = BTreeMap::new();
        let mut proposals: BTreeMap<ActionId, Proposal> = BTreeMap::new();
        for stored in entries {
            case.apply(stored);
            let mut judged = |action, call: &Call, wanted, verdict: &VerdictRecord| {
                let recorded = Recorded {
                    incident: id,
                    action,
                    call: call.clone(),
                    wanted,
                    labels: case.alerts.iter().map(|a| a.alert.labels.clone()).collect(),
                    seen: evidence::seen(&case, register),
                    verdict: verdict.clone(),
                };
                self.events.push((stored.at_ms, Event::Judged(Box::new(recorded))));
            };
            if let Entry::TurnTaken { calls: asked, .. } = &stored.entry {
                calls.extend(asked.iter().map(|one| (one.id.clone(), one.call.clone())));
            } else if let Entry::Proposed { proposal } = &stored.entry {
                proposals.insert(proposal.action_id, proposal.clone());
            } else if let Entry::Judged { call_id, verdict } = &stored.entry {
                if let Some(call) = calls.get(call_id) {
                    judged(None, call, Wanted::Rules, verdict);
                }
            } else if let Entry::ActionJudged { action_id, verdict, basis: _ } = &stored.entry {
                if let Some(proposal) = proposals.get(action_id) {
                    judged(Some(*action_id), &proposal.call, proposal.wants_person, verdict);
                }
            } else if let Entry::IntentWritten { action_id, start_before_ms: _ } = &stored.entry {
                self.events.push((stored.at_ms, Event::Started(*action_id)));
            }
        }
        self.cases.push(case);
    }
}
