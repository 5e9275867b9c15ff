//! What has to be true at the end of every world.
//!
//! In: the database, and what the world counted by itself. Out: every sentence that is broken, and
//! which cells and transitions of the table the world went through.

use crate::history::{forbidden, is_brought};
use crate::run::Run;
use crate::stage::{CRITICAL_MS, LEASE_MS, SCOPE, WARNING_MS, rows};
use crate::world::{Halted, Heard};
use std::collections::BTreeMap;
use watchkeeper::model::action::Answer;
use watchkeeper::model::alert::{AlertKey, Severity};
use watchkeeper::model::case::Case;
use watchkeeper::model::ids::IncidentId;
use watchkeeper::model::incident::{IncidentRow, State};
use watchkeeper::model::timeline::{Entry, Finding, Outcome, Stored};
use watchkeeper::store::incidents::Filter;
use watchkeeper::store::timeline::Stream;

/// From the time at which somebody has to hear, or at which everything healed: retries wait for up
/// to two minutes, a step that fails for two seconds, and messages of an incident for each other.
const SLACK_MS: i64 = 600_000;
/// So long an alert may linger after its incident was measured to be over.
const LINGER_MS: i64 = 30 * 60 * 1000;
/// A firing copy that comes this soon after the end of its alert is a late one.
const LATE_COPY_MS: i64 = 5 * 60 * 1000;
/// One attempt of the outbox takes at most this long.
const ATTEMPT_MS: i64 = 60_000;

/// How often each cell and transition was reached.
#[derive(Default)]
pub struct Reached {
    /// What others brought, and the state in which it was folded in.
    pub cells: BTreeMap<(String, &'static str), u64>,
    pub transitions: BTreeMap<(&'static str, &'static str), u64>,
    /// Ways in which actions ended.
    pub actions: BTreeMap<&'static str, u64>,
}

impl Reached {
    pub fn add(&mut self, other: Self) {
        for (cell, count) in other.cells {
            *self.cells.entry(cell).or_default() += count;
        }
        for (transition, count) in other.transitions {
            *self.transitions.entry(transition).or_default() += count;
        }
        for (action, count) in other.actions {
            *self.actions.entry(action).or_default() += count;
        }
    }
}

struct File {
    row: IncidentRow,
    history: Vec<Stored>,
    case: Case,
}

/// Everything that a check looks at.
struct Look<'r, 's> {
    run: &'r Run<'s>,
    files: Vec<File>,
    broken: &'r mut Vec<String>,
    reached: Reached,
}

pub async fn check(run: &Run<'_>, broken: &mut Vec<String>) -> Reached {
    let store = &run.stage.store;
    let mut files = Vec::new();
    let filter = Filter { state: None, at_most: 1_000 };
    for row in store.incidents(SCOPE, filter).await.unwrap() {
        let stream = Stream::incident(row.id);
        if let Some(why) = store.verify_chain(stream.clone()).await.unwrap() {
            broken.push(format!("the chain is broken: {why:?}"));
        }
        if !store.inbox(stream.clone()).await.unwrap().is_empty() {
            broken.push("something waits in an inbox for ever".into());
        }
        let history = store.timeline(stream).await.unwrap();
        let case = Case::fold(row.id, SCOPE, &history);
        files.push(File { row, history, case });
    }
    let system = Stream { kind: "system", id: "system".into() };
    if let Some(why) = store.verify_chain(system).await.unwrap() {
        broken.push(format!("the chain of the system is broken: {why:?}"));
    }
    let mut look = Look { run, files, broken, reached: Reached::default() };
    look.histories();
    look.endings();
    look.starts();
    look.decisions();
    look.alerts().await;
    look.keys().await;
    look.messages().await;
    look.somebody_heard().await;
    let board = &run.stage.board;
    for file in &look.files {
        for stored in &file.history {
            board.note(format_args!("{} {}", stored.seq, stored.entry.kind()));
        }
    }
    look.reached
}

impl Look<'_, '_> {
    fn breaks(&mut self, what: String) {
        self.broken.push(what);
    }

    /// Entry by entry: what was folded where, and whether each step was allowed by those before.
    fn histories(&mut self) {
        let quiet = self.run.crashed == 0
            && !self.run.stage.board.lock().went_wrong
            && self.run.longest_ms < LEASE_MS;
        let mut broken = Vec::new();
        for File { row, history, .. } in &self.files {
            let mut case = Case::new(row.id, SCOPE);
            for (place, stored) in history.iter().enumerate() {
                let before = case.state();
                if let Entry::Measured { finding: Finding::Fixed, .. } = &stored.entry
                    && !case.all_alerts_resolved()
                    && !self.saw_data(&history[..place], &history[place + 1..])
                {
                    broken.push(format!("{} is over, and no query returned data", row.title));
                }
                if matches!(stored.entry, Entry::IntentWritten { .. })
                    && self.halted_at(stored.at_ms)
                {
                    broken.push(format!("an intent of {} behind a halt", row.title));
                }
                if let Some(why) = forbidden(&case, stored) {
                    broken.push(format!("entry {} of {}: {why}", stored.seq, row.title));
                }
                if let Entry::OutcomeRecorded { outcome: Outcome::Unknown, text, .. } =
                    &stored.entry
                    && text.contains("the process stopped")
                    && quiet
                {
                    broken.push("an outcome was lost although nothing went wrong".into());
                }
                case.apply(stored);
                if is_brought(&stored.entry) {
                    let cell = (stored.entry.kind().to_owned(), before.as_str());
                    *self.reached.cells.entry(cell).or_default() += 1;
                }
                let way = (before.as_str(), case.state().as_str());
                if way.0 != way.1 {
                    *self.reached.transitions.entry(way).or_default() += 1;
                }
            }
            for action in &case.actions {
                *self.reached.actions.entry(action.state.as_str()).or_default() += 1;
            }
        }
        self.broken.extend(broken);
    }

    /// Whether a halt was answered before, and nobody had asked for its end.
    fn halted_at(&self, at_ms: i64) -> bool {
        let world = self.run.stage.outside.world();
        let last = world.halts.iter().rev().find(|halt| halt.at_ms < at_ms);
        last.is_some_and(|halt| halt.halted == Halted::On)
    }

    /// Whether Prometheus said something between the entries before and after a measurement.
    fn saw_data(&self, before: &[Stored], after: &[Stored]) -> bool {
        let from_ms = before.last().map_or(i64::MIN, |stored| stored.at_ms);
        let until_ms = after.first().map_or(i64::MAX, |stored| stored.at_ms);
        let world = self.run.stage.outside.world();
        world.measured_ms.iter().any(|at_ms| (from_ms..=until_ms).contains(at_ms))
    }

    /// Every incident is over or with a person, and its row says the same as its timeline.
    fn endings(&mut self) {
        let mut broken = Vec::new();
        for File { row, case, .. } in &self.files {
            let title = &row.title;
            if (row.state, row.seq) != (case.state(), case.seq) {
                broken.push(format!(
                    "{title}: the row says {:?}, the timeline {:?}",
                    row.state,
                    case.state()
                ));
            }
            if !matches!(case.state(), State::Resolved | State::Escalated) {
                broken.push(format!("{title} ends as {:?}", case.state()));
            }
            if case.report.is_none() {
                broken.push(format!("{title} has no report"));
            }
            if case.actions.iter().any(|action| action.state.is_open()) {
                broken.push(format!("{title} ends with an open action"));
            }
        }
        self.broken.extend(broken);
    }

    /// Each change was started at most once, and never behind a halt.
    fn starts(&mut self) {
        let world = self.run.stage.outside.world();
        let mut broken = Vec::new();
        let intended = |reason: &str| {
            let actions = self.files.iter().flat_map(|file| &file.case.actions);
            actions
                .filter(|a| a.intended_at_ms.is_some())
                .filter(|a| a.proposal.call.text("reason") == Some(reason))
                .count()
        };
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for start in &world.starts {
            *reasons.entry(&start.reason).or_default() += 1;
            let Some(committed_at) = start.committed_at else {
                broken.push(format!("a restart of {} without a commit before it", start.service));
                continue;
            };
            let before = world.halts.iter().rev().find(|halt| halt.step < committed_at);
            if before.is_some_and(|halt| halt.halted == Halted::On) {
                broken.push(format!(
                    "{} was restarted behind a halt, step {}",
                    start.service, start.step
                ));
            }
            if start.at_ms > start.start_before_ms {
                broken.push(format!("{} was restarted too late", start.service));
            }
        }
        for (reason, count) in reasons {
            let intents = intended(reason);
            if count > intents {
                broken.push(format!("{count} starts and {intents} intents of \"{reason}\""));
            }
        }
        drop(world);
        self.broken.extend(broken);
    }

    /// What a person was told to be decided is decided.
    fn decisions(&mut self) {
        let world = self.run.stage.outside.world();
        let mut broken = Vec::new();
        for (id, answer, by) in &world.decisions {
            let written = self.files.iter().flat_map(|file| &file.history).any(|stored| {
                match &stored.entry {
                    Entry::Decided { action_id, answer: given, by: names, .. } => {
                        action_id == id && given == answer && names.split(", ").any(|n| n == by)
                    }
                    Entry::Counted { action_id, by: name, .. } => {
                        action_id == id && *answer == Answer::Approve && name == by
                    }
                    _ => false,
                }
            });
            if !written {
                broken.push(format!("{by} was told that {answer:?} counts, and nothing says so"));
            }
        }
        drop(world);
        self.broken.extend(broken);
    }

    /// Everything that was acknowledged is under one incident.
    async fn alerts(&mut self) {
        let sql = "select fingerprint, starts_at_ms, coalesce(incident_id, '') from alert";
        let known = rows(&self.run.stage.store, sql).await;
        let world = self.run.stage.outside.world();
        let mut broken = Vec::new();
        for episode in world.episodes.iter() {
            let Some(told_at) = episode.told_firing else { continue };
            let key = [episode.fingerprint(), episode.starts_at_ms.to_string()];
            let Some(row) = known.iter().find(|row| row[..2] == key) else {
                broken.push(format!("an acknowledged alert is lost: {key:?}"));
                continue;
            };
            // Whose end was under way first may be known as ended only.
            if episode.posted_resolved.is_some_and(|posted| posted < told_at) {
                continue;
            }
            let fired = self.files.iter().filter(|file| file.row.id.to_string() == row[2]);
            let fired = fired.flat_map(|file| &file.history).any(|stored| match &stored.entry {
                Entry::AlertFired { alert, .. } => {
                    alert.fingerprint == key[0] && alert.starts_at_ms == episode.starts_at_ms
                }
                _ => false,
            });
            if !fired {
                broken.push(format!("an acknowledged alert is under no incident: {key:?}"));
            }
        }
        drop(world);
        self.broken.extend(broken);
    }

    /// One problem, one incident.
    async fn keys(&mut self) {
        let sql = "select open_key, count(*) from incident where open_key is not null
                   group by scope, open_key having count(*) > 1";
        for row in rows(&self.run.stage.store, "select incident from sim_unread").await {
            self.breaks(format!("{} is changed, and what it was told is not read", row[0]));
        }
        for row in rows(&self.run.stage.store, sql).await {
            self.breaks(format!("two open incidents for {}", row[0]));
        }
        let mut broken = Vec::new();
        for (key, life) in self.lives() {
            let mut home: Option<(IncidentId, i64, bool)> = None;
            for (at_ms, id, fires) in life {
                if let Some((before, last_ms, fired)) = home.filter(|(before, ..)| *before != id) {
                    // An alert that fires on long after its incident was over is another problem,
                    // and so is a copy that comes long after its end.
                    let ended_ms = self.ended_before(before, at_ms).unwrap_or(i64::MAX);
                    let may = match fired {
                        true => at_ms.saturating_sub(ended_ms) >= LINGER_MS,
                        false => at_ms - last_ms >= LATE_COPY_MS,
                    };
                    if !may {
                        broken.push(format!("one firing under two incidents: {key:?}"));
                    }
                }
                home = Some((id, at_ms, fires));
            }
        }
        self.broken.extend(broken);
    }

    /// Of each firing: when and under which incident it began, and that it ended.
    fn lives(&self) -> BTreeMap<AlertKey, Vec<(i64, IncidentId, bool)>> {
        let mut lives: BTreeMap<AlertKey, Vec<(i64, IncidentId, bool)>> = BTreeMap::new();
        for File { row, history, .. } in &self.files {
            for stored in history {
                let (key, fires) = match &stored.entry {
                    Entry::AlertFired { alert, .. } => (alert.key(), true),
                    Entry::AlertResolved { key, .. } => (key.clone(), false),
                    _ => continue,
                };
                lives.entry(key).or_default().push((stored.at_ms, row.id, fires));
            }
        }
        for life in lives.values_mut() {
            life.sort_unstable();
        }
        lives
    }

    /// When an incident was last over before this time.
    fn ended_before(&self, id: IncidentId, at_ms: i64) -> Option<i64> {
        let file = self.files.iter().find(|file| file.row.id == id)?;
        let ends = file.history.iter().filter(|stored| stored.at_ms <= at_ms);
        let ends = ends.filter(|stored| matches!(stored.entry, Entry::Resolved { .. }));
        ends.map(|stored| stored.at_ms).max()
    }

    /// Each message reached each of its channels, in order, and a second time only when marked.
    async fn messages(&mut self) {
        let sql = "select m.id, m.stream_id, coalesce(d.channel, ''), coalesce(d.state, '')
                   from message m left join message_delivery d on d.message_id = m.id";
        let known = rows(&self.run.stage.store, sql).await;
        let world = self.run.stage.outside.world();
        let streams: BTreeMap<&str, &str> =
            known.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
        let mut broken = Vec::new();
        for row in &known {
            let is_this =
                |heard: &&Heard| heard.message.to_string() == row[0] && heard.channel == row[2];
            let times: Vec<&Heard> = world.heard.iter().filter(is_this).collect();
            match row[3].as_str() {
                "sent" if times.is_empty() => {
                    broken.push(format!("{} never heard a message", row[2]))
                }
                "sent" | "skipped" => {}
                other => broken.push(format!("a delivery to {} ends as '{other}'", row[2])),
            }
            let again = times.iter().skip(1).filter(|heard| !heard.late);
            if row[2] == "slack" && again.clone().any(|heard| !heard.marked) {
                broken.push("Slack heard a message twice, the second time unmarked".into());
            }
            let quiet = self.run.crashed == 0
                && !self.run.stage.board.lock().went_wrong
                && self.run.longest_ms < ATTEMPT_MS;
            if quiet && times.len() > 1 {
                broken.push(format!("{} heard a message twice for no reason", row[2]));
            }
        }
        let mut last: BTreeMap<(&str, &str), String> = BTreeMap::new();
        for heard in world.heard.iter().filter(|heard| !heard.late) {
            let id = heard.message.to_string();
            let Some(stream) = streams.get(id.as_str()) else {
                broken.push("people heard of something that is not stored".into());
                continue;
            };
            if *stream == "system" {
                continue;
            }
            let before = last.entry((heard.channel, stream)).or_default();
            if *before > id {
                broken.push(format!("{} heard an older message after a newer one", heard.channel));
            }
            *before = id;
        }
        drop(world);
        self.broken.extend(broken);
    }

    /// Whoever has to be woken is woken in time, counted from when that was possible.
    async fn somebody_heard(&mut self) {
        let sql = "select id, stream_id from message";
        let known = rows(&self.run.stage.store, sql).await;
        let world = self.run.stage.outside.world();
        let Some(calm_ms) = self.run.calm_from_ms else { return };
        let mut broken = Vec::new();
        for File { row, history, case } in &self.files {
            let within_ms = match case.severity {
                Severity::Critical => CRITICAL_MS,
                Severity::Warning => WARNING_MS,
                Severity::Info => continue,
            };
            if case.state() == State::Resolved || case.acknowledged.is_some() {
                continue;
            }
            let fired_ms = history.iter().filter_map(|stored| {
                matches!(stored.entry, Entry::AlertFired { .. }).then_some(stored.at_ms)
            });
            let from_ms = case.round_from_ms.max(fired_ms.max().unwrap_or_default());
            let at_most_ms = (from_ms + within_ms).max(calm_ms) + SLACK_MS;
            let stream = row.id.to_string();
            let of_this = |heard: &&Heard| {
                let id = heard.message.to_string();
                known.iter().any(|row| row[0] == id && row[1] == stream)
            };
            let pages = world.heard.iter().filter(|h| h.channel == "pagerduty").filter(of_this);
            let in_time = pages
                .filter(|heard| heard.action == "trigger" && heard.at_ms >= case.round_from_ms)
                .any(|heard| heard.at_ms <= at_most_ms);
            if !in_time {
                broken.push(format!("nobody was woken in time for {}", row.title));
            }
        }
        drop(world);
        self.broken.extend(broken);
    }
}
