//! What the world and people do: services fail, Alertmanager tells, people decide, halt and take
//! over, each at any time.

use crate::run::Run;
use crate::stage::SCOPE;
use crate::world::{Episode, Halted, Prometheus, SERVICES};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use watchkeeper::approval::{self, Principal, Role, Via};
use watchkeeper::ingest::Delivery;
use watchkeeper::model::action::{ActionState, Answer};
use watchkeeper::model::ids::HoldId;
use watchkeeper::model::orders::Hold;
use watchkeeper::model::timeline::Entry;
use watchkeeper::store::incidents::Filter;
use watchkeeper::store::switches::Switch;

const PEOPLE: [&str; 3] = ["ann", "ben", "cid"];

impl Run<'_> {
    /// Somebody or something outside does one thing.
    pub async fn act(&mut self) {
        let plan = &self.plan;
        let weights = [
            10,                             // a service fails
            14,                             // Alertmanager tells
            5,                              // a service recovers
            if plan.deaf { 1 } else { 18 }, // a person decides
            2,                              // a person takes an incident
            if plan.halts { 4 } else { 0 }, // halt, resume
            if plan.holds { 3 } else { 0 }, // a hold
            2,                              // Prometheus
        ];
        let chosen = self.stage.board.lock().rng.weighted(&weights).unwrap();
        match chosen {
            0 => self.service_fails().await,
            1 => self.alertmanager_tells().await,
            2 => self.service_recovers(),
            3 => self.person_decides().await,
            4 => self.person_takes_over().await,
            5 => self.person_halts().await,
            6 => self.person_holds().await,
            _ => self.prometheus_changes(),
        }
    }

    /// A process to talk to, if one is up.
    fn door(&self) -> Option<usize> {
        let up: Vec<usize> =
            (0..self.processes.len()).filter(|place| self.processes[*place].is_some()).collect();
        (!up.is_empty()).then(|| up[self.stage.board.below(up.len())])
    }

    /// A service stops, or something else about it alerts.
    pub async fn service_fails(&mut self) {
        if self.stage.outside.world().episodes.len() >= self.plan.episodes {
            return self.alertmanager_tells().await;
        }
        let board = &self.stage.board;
        let names =
            ["ServiceDown", "ServiceDown", "ServiceDown", "HighLatency", "IntrusionDetected"];
        let (name, service) = (names[board.below(5)], SERVICES[[0, 0, 0, 1, 2][board.below(5)]]);
        let severity = ["critical", "warning", "info"][board.below(3)];
        // What is over often comes back.
        let back = board.chance(500).then(|| self.stage.outside.world().ended()).flatten();
        let (name, service, severity) = back.unwrap_or((name, service, severity));
        let starts_at_ms = self.stage.clock.now_ms();
        let begins = {
            let mut world = self.stage.outside.world();
            let same = |e: &Episode| (e.name, e.service, e.severity) == (name, service, severity);
            let fires = world.episodes.iter().any(|e| same(e) && e.ended_at_ms.is_none());
            if !fires {
                world.up.insert(service, false);
                world.episodes.push(Episode::new(name, service, severity, starts_at_ms));
            }
            !fires
        };
        if !begins {
            return;
        }
        board.note(format_args!("{service} fails: {name} {severity}"));
        self.alertmanager_tells().await;
    }

    /// By itself, or after a restart that helped; its alerts end.
    fn service_recovers(&mut self) {
        let by_itself = self.stage.board.chance(300);
        let now_ms = self.stage.clock.now_ms();
        let mut world = self.stage.outside.world();
        let world = &mut *world;
        for episode in &mut world.episodes {
            let up = world.up.get_mut(episode.service).unwrap();
            if episode.ended_at_ms.is_none() && (*up || by_itself) {
                *up = true;
                episode.ended_at_ms = Some(now_ms);
            }
        }
    }

    /// One notification: what is not told yet, else a repeat or a late copy.
    async fn alertmanager_tells(&mut self) {
        let untold: Vec<usize> = {
            let world = self.stage.outside.world();
            let all = world.episodes.iter().enumerate();
            all.filter(|(_, e)| e.is_untold()).map(|(i, _)| i).collect()
        };
        let count = self.stage.outside.world().episodes.len();
        if count == 0 {
            return;
        }
        let repeats = untold.is_empty() || self.stage.board.chance(150);
        let chosen = match repeats {
            true => vec![self.stage.board.below(count)],
            false if self.stage.board.chance(300) => untold,
            false => vec![untold[self.stage.board.below(untold.len())]],
        };
        // The other peer of a pair may not know of the end yet.
        let late = repeats && self.stage.board.chance(300);
        self.post(chosen, late).await;
        if self.stage.board.chance(100) {
            let again = self.stage.board.below(count);
            self.post(vec![again], false).await;
        }
    }

    async fn post(&mut self, episodes: Vec<usize>, late_copy: bool) {
        let Some(place) = self.door() else { return };
        let outside = self.stage.outside.clone();
        let mut told = Vec::new();
        let body = {
            let mut world = outside.world();
            let mut alerts = Vec::new();
            for i in episodes {
                let episode = &mut world.episodes[i];
                let resolved = episode.ended_at_ms.is_some() && !late_copy;
                // A notice of the end goes only where the beginning went.
                if resolved && episode.told_firing.is_none() && self.calm_from_ms.is_none() {
                    continue;
                }
                if resolved {
                    let step = outside.board.lock().step;
                    episode.posted_resolved.get_or_insert(step);
                }
                episode.in_flight += 1;
                told.push((i, resolved));
                alerts.push(episode.json(resolved));
            }
            if alerts.is_empty() {
                return;
            }
            world.deliveries += 1;
            webhook(&alerts, world.deliveries)
        };
        let Some(process) = &self.processes[place] else { return };
        let ingest = self.stage.apps[process.app].ingest.clone();
        let flight = Flight { outside, told };
        let work = async move {
            let delivery = Delivery {
                source: "alertmanager".into(),
                scope: SCOPE.into(),
                bytes: body.to_string().into(),
            };
            if ingest.receive(delivery).await.is_ok() {
                flight.arrived();
            }
        };
        self.spawn(place, "post", Box::pin(work)).await;
    }

    pub async fn person_decides(&mut self) {
        let Some(place) = self.door() else { return };
        let Some(process) = &self.processes[place] else { return };
        let store = self.stage.apps[process.app].store.clone();
        let (clock, outside) = (self.stage.clock.clone(), self.stage.outside.clone());
        let board = &self.stage.board;
        let name = PEOPLE[board.below(PEOPLE.len())];
        let answer = if board.chance(750) { Answer::Approve } else { Answer::Reject };
        // Some look at old pages.
        let state = (!board.chance(100)).then_some(ActionState::Awaiting);
        let work = async move {
            let Ok(rows) = store.actions(SCOPE, state, 20).await else { return };
            if rows.is_empty() {
                return;
            }
            let row = &rows[outside.board.below(rows.len())];
            let principal = Principal { name: name.into(), role: Role::Sre, via: Via::Form };
            let request = approval::Request {
                scope: SCOPE,
                principal: &principal,
                action_id: row.id,
                answer,
                comment: None,
                hash_seen: Some(&row.call_hash),
            };
            if approval::decide(&store, &clock, request).await.is_ok() {
                outside.world().decisions.push((row.id, answer, name.to_owned()));
            }
        };
        self.spawn(place, "decide", Box::pin(work)).await;
    }

    async fn person_takes_over(&mut self) {
        let Some(place) = self.door() else { return };
        let Some(process) = &self.processes[place] else { return };
        let store = self.stage.apps[process.app].store.clone();
        let (clock, board) = (self.stage.clock.clone(), self.stage.board.clone());
        let work = async move {
            let filter = Filter { state: None, at_most: 10 };
            let Ok(rows) = store.incidents(SCOPE, filter).await else { return };
            if rows.is_empty() {
                return;
            }
            let row = &rows[board.below(rows.len())];
            let entry = Entry::Acknowledged { by: "ann".into() };
            drop(store.tell_incident(row.id, clock.now_ms(), entry).await);
        };
        self.spawn(place, "take", Box::pin(work)).await;
    }

    async fn person_halts(&mut self) {
        if self.is_under_way("halt") {
            return;
        }
        let on = !self.halted;
        self.halted = on;
        self.turn_halt(if on { Switch::On } else { Switch::Off }).await;
    }

    async fn turn_halt(&mut self, switch: Switch) {
        let Some(place) = self.door() else { return };
        let Some(process) = &self.processes[place] else { return };
        let store = self.stage.apps[process.app].store.clone();
        let (clock, outside) = (self.stage.clock.clone(), self.stage.outside.clone());
        if switch == Switch::Off {
            outside.halt(Halted::Off);
        }
        let work = async move {
            let done = store.order_halt(switch, "ann", "", clock.now_ms()).await;
            if done.is_ok() && switch == Switch::On {
                outside.board.note(format_args!("halted"));
                outside.halt(Halted::On);
            }
        };
        self.spawn(place, "halt", Box::pin(work)).await;
    }

    async fn person_holds(&mut self) {
        let Some(place) = self.door() else { return };
        let Some(process) = &self.processes[place] else { return };
        let store = self.stage.apps[process.app].store.clone();
        let at_ms = self.stage.clock.now_ms();
        let hold = Hold {
            id: HoldId::new(),
            matchers: vec![r#"service="web""#.into()],
            reason: "a deploy".into(),
            by: "ben".into(),
            at_ms,
            until_ms: at_ms + 120_000,
        };
        let work = async move { drop(store.add_hold(hold).await) };
        self.spawn(place, "hold", Box::pin(work)).await;
    }

    fn prometheus_changes(&mut self) {
        let next = [Prometheus::Well, Prometheus::Well, Prometheus::Down, Prometheus::Empty];
        let next = next[self.stage.board.below(next.len())];
        self.stage.outside.world().prometheus = next;
        self.stage.board.note(format_args!("Prometheus is {next:?}"));
    }

    /// Calm: the halt is lifted, and Alertmanager sends again what was never acknowledged.
    pub async fn resume_and_resend(&mut self, round: usize) {
        if round == 0 && self.halted {
            self.person_halts().await;
        }
        let untold: Vec<usize> = {
            let world = self.stage.outside.world();
            let all = world.episodes.iter().enumerate();
            all.filter(|(_, e)| e.is_untold()).map(|(i, _)| i).collect()
        };
        if !untold.is_empty() {
            self.post(untold, false).await;
        }
    }

    pub fn all_told(&self) -> bool {
        !self.stage.outside.world().episodes.iter().any(Episode::is_untold)
    }
}

/// A notification under way; when it is cut off, it counts as not told.
struct Flight {
    outside: crate::world::Outside,
    told: Vec<(usize, bool)>,
}

impl Flight {
    fn arrived(&self) {
        let step = self.outside.board.lock().step;
        let mut world = self.outside.world();
        for (i, resolved) in &self.told {
            let episode = &mut world.episodes[*i];
            match resolved {
                true => episode.told_resolved = Some(step),
                false => {
                    episode.told_firing.get_or_insert(step);
                }
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut world = self.outside.world();
        for (i, _) in &self.told {
            if let Some(episode) = world.episodes.get_mut(*i) {
                episode.in_flight = episode.in_flight.saturating_sub(1);
            }
        }
    }
}

impl Episode {
    /// Whether Alertmanager still has to tell something of it.
    fn is_untold(&self) -> bool {
        let untold = match self.ended_at_ms {
            None => self.told_firing.is_none(),
            Some(_) => self.told_firing.is_some() && self.told_resolved.is_none(),
        };
        untold && self.in_flight == 0
    }

    fn json(&self, resolved: bool) -> Value {
        let ends_at = self.ended_at_ms.filter(|_| resolved).map(time);
        json!({
            "status": if resolved { "resolved" } else { "firing" },
            "labels": self.labels(),
            "annotations": {},
            "startsAt": time(self.starts_at_ms),
            "endsAt": ends_at.unwrap_or_else(|| "0001-01-01T00:00:00Z".into()),
            "generatorURL": "",
            "fingerprint": self.fingerprint(),
        })
    }
}

fn time(at_ms: i64) -> String {
    let at = DateTime::from_timestamp_millis(at_ms).unwrap();
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn webhook(alerts: &[Value], number: u64) -> Value {
    json!({
        "version": "4",
        // It changes with the routes, and nothing may hang on it.
        "groupKey": format!("{{}}:{{n=\"{}\"}}", number % 2),
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "watchkeeper",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.sim",
        "alerts": alerts,
    })
}
