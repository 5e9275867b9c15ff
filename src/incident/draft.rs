//! A step in the making: entries and everything else that will be committed with them.

use crate::model::action::ActionState;
use crate::model::call::Call;
use crate::model::case::Case;
use crate::model::ids::{ActionId, InboxId};
use crate::model::incident::State;
use crate::model::message::Message;
use crate::model::timeline::{Entry, OutputRef, Stored, Success, Usage};
use crate::redact::Redactor;
use crate::store::actions;
use crate::store::blobs::{self, Blob};
use crate::store::breakers::Failure;
use crate::store::incidents::Lease;
use crate::store::step::{Announcement, Change, Committed, Inbox, Projection, Step};
use crate::store::timeline::Head;
use crate::store::usage::Used;
use crate::tools::excerpt;
use serde_json::Value;

/// Facts of an output beyond this are not kept for conditions; the text still is.
const DATA_BYTES_MAX: usize = 16 * 1024;

/// When the incident wants its next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    Again,
    At(i64),
    /// When the inbox says so.
    WhenTold,
}

/// The step in the making. `case` is always the fold of what is stored and what is drafted.
pub struct Draft {
    pub case: Case,
    pub now_ms: i64,
    /// What the day had cost lately, if that is known.
    pub used: Option<Used>,
    /// The row as the step before left it under this lease.
    pub row: Option<Projection>,
    lease: Lease,
    after: Head,
    entries: Vec<(i64, Entry)>,
    folded: Vec<InboxId>,
    changes: Vec<Change>,
    messages: Vec<Announcement>,
    blobs: Vec<Blob>,
    usage: Usage,
    failures: Vec<Failure>,
}

impl Draft {
    /// `case` is the fold of what is stored.
    pub fn new(lease: Lease, case: Case, now_ms: i64) -> Self {
        let after = Head { seq: case.seq, hash: case.head.clone() };
        Self {
            case,
            now_ms,
            used: None,
            row: None,
            lease,
            after,
            entries: Vec::new(),
            folded: Vec::new(),
            changes: Vec::new(),
            messages: Vec::new(),
            blobs: Vec::new(),
            usage: Usage::default(),
            failures: Vec::new(),
        }
    }

    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether there is something to commit.
    pub fn is_dirty(&self) -> bool {
        !self.entries.is_empty() || !self.folded.is_empty()
    }

    /// Adds an entry and folds it in at once.
    pub fn add(&mut self, entry: Entry) {
        self.add_at(self.now_ms, entry);
    }

    /// Adds an entry that happened at another time.
    pub fn add_at(&mut self, at_ms: i64, entry: Entry) {
        // The hash is given by the store; nothing in a case depends on it before the commit.
        let stored = Stored { seq: self.case.seq + 1, at_ms, entry, hash: String::new() };
        self.case.apply(&stored);
        self.entries.push((at_ms, stored.entry));
    }

    /// An inbox item was looked at.
    pub fn fold(&mut self, id: InboxId) {
        self.folded.push(id);
    }

    /// Announces a transition once.
    pub fn announce(&mut self, transition: &str, message: Message) {
        if self.case.announced.contains(transition) {
            return;
        }
        self.add(Entry::MessageQueued {
            message_id: message.id,
            transition: transition.to_owned(),
            title: message.title.clone(),
            urgency: message.urgency,
        });
        self.messages.push(Announcement { transition: transition.to_owned(), message });
    }

    /// Tells people of a problem of Watchkeeper itself, once for each `transition`. It is no part of
    /// the incident's history.
    pub fn report_health(&mut self, transition: String, message: Message) {
        self.messages.push(Announcement { transition, message });
    }

    /// Moves an action's row along with its entry.
    pub fn move_action(&mut self, id: ActionId, from: ActionState, to: ActionState) {
        self.changes.push(Change::Move { id, from, to });
    }

    /// Puts the question of an action under other rules, as nobody has answered it yet.
    pub fn rejudge_action(&mut self, id: ActionId, rules_version: String) {
        self.changes.push(Change::Rejudge { id, rules_version });
    }

    /// Adds an action's row.
    pub fn insert_action(&mut self, row: actions::Row) {
        self.changes.push(Change::Insert(Box::new(row)));
    }

    /// Counts a change that ended badly.
    pub fn count_failure(&mut self, failure: Failure) {
        self.failures.push(failure);
    }

    /// Counts what a turn cost.
    pub fn charge(&mut self, usage: Usage) {
        self.usage.add(usage);
    }

    /// Answers a call with words of ours.
    pub fn answer(&mut self, call_id: &str, outcome: Success, text: impl Into<String>) {
        self.add(Entry::Answered {
            call_id: call_id.to_owned(),
            outcome,
            text: text.into(),
            data: Value::Null,
            output: None,
            duration_ms: 0,
        });
    }

    /// Cuts an output to what a mind is shown, and keeps the whole when something was cut.
    pub fn keep_output(
        &mut self,
        redactor: &Redactor,
        text: &str,
        bytes_max: usize,
    ) -> (String, Option<OutputRef>) {
        let clean = redactor.text(text).into_owned();
        if clean.len() <= bytes_max {
            return (clean, None);
        }
        let blob = Blob::new(blobs::Kind::Output, clean, self.now_ms);
        let shown = excerpt(&blob.body, bytes_max, &blob.hash);
        let reference = blob.reference();
        self.blobs.push(blob);
        (shown, Some(reference))
    }

    /// Keeps a report under its hash.
    pub fn keep_report(&mut self, body: String) -> String {
        let blob = Blob::new(blobs::Kind::Report, body, self.now_ms);
        let hash = blob.hash.clone();
        self.blobs.push(blob);
        hash
    }

    /// The step as the store commits it, and the case and the row that hold once it has.
    pub fn into_step(self, next: Next, page_due_at_ms: Option<i64>) -> (Step, Case, Projection) {
        let state = self.case.state();
        let end = self.case.end.as_ref().filter(|_| state == State::Resolved);
        let row = Projection {
            title: self.case.title.clone(),
            severity: self.case.severity,
            state,
            due_at_ms: match next {
                Next::Again => Some(self.now_ms),
                Next::At(at_ms) => Some(at_ms),
                Next::WhenTold => None,
            },
            page_due_at_ms,
            // Not this step's time: what comes after the end does not move it.
            ended_at_ms: end.map(|end| end.at_ms),
        };
        let stays = self.row.filter(|before| before.serves_as(&row, self.now_ms));
        let step = Step {
            lease: self.lease,
            after: self.after,
            entries: self.entries,
            folded: self.folded,
            row: stays.is_none().then(|| row.clone()),
            actions: self.changes,
            intent: None,
            failures: self.failures,
            messages: self.messages,
            blobs: self.blobs,
            usage: self.usage,
            at_ms: self.now_ms,
        };
        (step, self.case, stays.unwrap_or(row))
    }
}

/// What one step leaves to the next under the same lease.
#[derive(Clone, PartialEq, Debug)]
pub struct Known {
    /// The fold of what is stored.
    pub case: Case,
    /// What is known of the inbox since then.
    pub inbox: Inbox,
    /// What the day had cost when this incident last added to it.
    pub used: Option<Used>,
    /// The row as it was last committed under this lease, if it was.
    pub row: Option<Projection>,
}

impl Known {
    /// After a step was committed, whose case and row these are.
    pub fn after(
        mut case: Case,
        row: Projection,
        committed: &Committed,
        used: Option<Used>,
    ) -> Self {
        if let Some(last) = committed.stored.last() {
            case.head.clone_from(&last.hash);
        }
        Self { case, inbox: committed.inbox, used: committed.used.or(used), row: Some(row) }
    }
}

/// Facts for conditions, unless there are too many of them.
pub fn bounded_data(data: Value) -> Value {
    if data.to_string().len() <= DATA_BYTES_MAX { data } else { Value::Null }
}

/// A call with the secrets in its arguments replaced, so that none is stored, shown or run.
pub fn redacted(redactor: &Redactor, mut call: Call) -> Call {
    let mut args = Value::Object(std::mem::take(&mut call.args));
    redactor.json(&mut args);
    if let Value::Object(map) = args {
        call.args = map;
    }
    call
}
