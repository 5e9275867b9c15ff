//! The outside of one world: services, what Prometheus sees of them, who heard what, and counters
//! that Watchkeeper cannot touch.

use crate::board::Board;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use watchkeeper::clients::http::{Answer, Wire};
use watchkeeper::model::action::Answer as Decision;
use watchkeeper::model::call::Call;
use watchkeeper::model::ids::{ActionId, MessageId};
use watchkeeper::model::message::Message;
use watchkeeper::model::tool::ToolSpec;
use watchkeeper::notify::{Attempt, Before, Channel, Failure, Sent};
use watchkeeper::safety::permit::{CapturePermit, Permit};
use watchkeeper::tools::{Bounds, Captured, Done, Error, Output, Tool};

pub const SERVICES: [&str; 3] = ["web", "worker", "db"];
/// How Slack marks what may have come before.
const REPEAT: &str = "May be a repeat";

tokio::task_local! {
    /// The message that is being sent.
    static SENDING: MessageId;
}

/// One firing of one alert, as Alertmanager knows it.
#[derive(Clone, Debug)]
pub struct Episode {
    pub name: &'static str,
    pub service: &'static str,
    pub severity: &'static str,
    pub starts_at_ms: i64,
    pub ended_at_ms: Option<i64>,
    /// At which step the last copy was acknowledged, firing and resolved.
    pub told_firing: Option<u64>,
    pub told_resolved: Option<u64>,
    pub posted_resolved: Option<u64>,
    pub in_flight: usize,
}

/// A change that began.
#[derive(Clone, Debug)]
pub struct Start {
    /// Names the proposal.
    pub reason: String,
    pub service: String,
    pub at_ms: i64,
    pub step: u64,
    /// Where the task that started it had last committed.
    pub committed_at: Option<u64>,
    pub start_before_ms: i64,
}

/// Something that reached people.
#[derive(Clone, Debug)]
pub struct Heard {
    pub channel: &'static str,
    pub message: MessageId,
    pub action: String,
    pub marked: bool,
    pub at_ms: i64,
    /// The sender had given it up long ago.
    pub late: bool,
}

/// Halts and their ends, once their orderers knew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Halted {
    On,
    /// Somebody asked for the end of it; from then on it may be over.
    Off,
}

#[derive(Clone, Copy, Debug)]
pub struct Halt {
    pub step: u64,
    pub at_ms: i64,
    pub halted: Halted,
}

#[derive(Default)]
pub struct World {
    pub up: BTreeMap<&'static str, bool>,
    pub prometheus: Prometheus,
    pub episodes: Vec<Episode>,
    pub starts: Vec<Start>,
    pub heard: Vec<Heard>,
    pub halts: Vec<Halt>,
    pub decisions: Vec<(ActionId, Decision, String)>,
    /// When a query of Prometheus returned data.
    pub measured_ms: Vec<i64>,
    /// Proposals so far, so that each has a name of its own.
    pub proposals: u64,
    pub deliveries: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Prometheus {
    #[default]
    Well,
    Down,
    /// The exporter died: series are gone, and alerts with them.
    Empty,
}

impl World {
    /// Name, service and severity of the alert that ended last.
    pub fn ended(&self) -> Option<(&'static str, &'static str, &'static str)> {
        let ended = self.episodes.iter().filter(|episode| episode.ended_at_ms.is_some());
        let last = ended.max_by_key(|episode| episode.ended_at_ms)?;
        Some((last.name, last.service, last.severity))
    }
}

/// The world and the board on which its calls queue.
#[derive(Clone)]
pub struct Outside {
    pub board: Board,
    world: Arc<Mutex<World>>,
}

impl Outside {
    pub fn new(board: Board) -> Self {
        Self { board, world: Arc::default() }
    }

    pub fn reset(&self) {
        *self.world() = World { up: SERVICES.map(|name| (name, true)).into(), ..World::default() };
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A halt or its end, from this moment on.
    pub fn halt(&self, halted: Halted) {
        let (step, at_ms) = (self.board.lock().step, self.board.clock.now_ms());
        self.world().halts.push(Halt { step, at_ms, halted });
    }

    fn prometheus(&self, request: &reqwest::Request) -> Option<Answer> {
        let mut world = self.world();
        match world.prometheus {
            Prometheus::Well | Prometheus::Empty => {}
            Prometheus::Down => return Some(answer(503, "down")),
        }
        let path = request.url().path().to_owned();
        let empty = world.prometheus == Prometheus::Empty;
        let data = if path.ends_with("/-/ready") {
            return Some(answer(200, "ready"));
        } else if path.ends_with("/alerts") {
            let firing = world.episodes.iter().filter(|e| e.ended_at_ms.is_none() && !empty);
            let alerts: Vec<Value> = firing
                .map(|e| json!({ "labels": e.labels(), "state": "firing", "value": "1" }))
                .collect();
            json!({ "alerts": alerts })
        } else if path.ends_with("/rules") {
            let named = query(request, "rule_name[]");
            let rule = json!({
                "name": named, "query": "up == 0", "duration": 60, "type": "alerting",
                "state": "firing", "labels": {},
            });
            json!({ "groups": [{ "name": "g", "interval": 15, "rules": [rule] }] })
        } else {
            let expr = query(request, "query");
            let asked = |name: &str| !expr.contains("service=") || expr.contains(name);
            let rows = world.up.iter().filter(|(name, _)| !empty && asked(name));
            let rows = rows.filter(|(_, up)| !expr.ends_with("== 0") || !**up);
            let rows: Vec<Value> = rows
                .map(|(name, up)| {
                    let value = if *up { "1" } else { "0" };
                    json!({ "metric": { "service": name }, "value": [0, value] })
                })
                .collect();
            if !rows.is_empty() {
                world.measured_ms.push(self.board.clock.now_ms());
            }
            json!({ "resultType": "vector", "result": rows })
        };
        Some(answer(200, &json!({ "status": "success", "data": data }).to_string()))
    }

    /// A service that takes messages, sometimes without saying so.
    fn deliver(&self, channel: &'static str, body: &Value, claimed_at_ms: i64) -> Option<Answer> {
        let fails = {
            let mut state = self.board.lock();
            let outside = state.faults.outside;
            if outside > 0 && state.rng.chance(outside) { 1 + state.rng.below(5) } else { 0 }
        };
        if fails > 0 {
            self.board.lock().went_wrong = true;
        }
        if matches!(fails, 0 | 4 | 5) {
            let now_ms = self.board.clock.now_ms();
            let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            let heard = Heard {
                channel,
                message: SENDING.with(|id| *id),
                action: text("event_action"),
                marked: body.to_string().contains(REPEAT),
                at_ms: now_ms,
                late: now_ms - claimed_at_ms > 60_000,
            };
            self.board
                .note(format_args!("{channel} hears {} marked={}", heard.action, heard.marked));
            self.world().heard.push(heard);
        }
        let ok = if channel == "slack" { (200, "ok") } else { (202, "{\"status\":\"success\"}") };
        match fails {
            0 => Some(answer(ok.0, ok.1)),
            1 => Some(answer(500, "broken")),
            2 => Some(answer(429, "slowly")),
            4 => Some(answer(504, "a proxy gave up")),
            // Lost on the way there, or on the way back.
            _ => None,
        }
    }
}

impl Episode {
    pub fn new(
        name: &'static str,
        service: &'static str,
        severity: &'static str,
        starts_at_ms: i64,
    ) -> Self {
        Self {
            name,
            service,
            severity,
            starts_at_ms,
            ended_at_ms: None,
            told_firing: None,
            told_resolved: None,
            posted_resolved: None,
            in_flight: 0,
        }
    }

    pub fn labels(&self) -> BTreeMap<&'static str, String> {
        [
            ("alertname", self.name.to_owned()),
            ("instance", "10.2.3.4:9100".to_owned()),
            ("service", self.service.to_owned()),
            ("severity", self.severity.to_owned()),
        ]
        .into()
    }

    pub fn fingerprint(&self) -> String {
        format!("{}-{}-{}", self.name, self.service, self.severity)
    }
}

fn query(request: &reqwest::Request, name: &str) -> String {
    let pairs = request.url().query_pairs();
    pairs.filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect()
}

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, headers: Default::default(), body: body.as_bytes().to_vec() }
}

impl Wire for Outside {
    fn answer(&self, request: reqwest::Request) -> BoxFuture<'_, Option<Answer>> {
        Box::pin(async move {
            let host = request.url().host_str().unwrap_or_default().to_owned();
            let channel = match host.as_str() {
                "slack.sim" => "slack",
                "pagerduty.sim" => "pagerduty",
                _ => {
                    if self.board.chance(100) {
                        self.board.outside("prometheus").await;
                    }
                    return self.prometheus(&request);
                }
            };
            let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
            let body = serde_json::from_slice(body).unwrap();
            let began_ms = self.board.clock.now_ms();
            self.board.outside(channel).await;
            let answered = self.deliver(channel, &body, began_ms);
            self.board.outside(channel).await;
            answered
        })
    }
}

/// A real channel, of which the world knows what it is sending.
pub struct Named<C>(pub C);

impl<C: Channel> Channel for Named<C> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn wants(&self, message: &Message, sent_before: Before) -> bool {
        self.0.wants(message, sent_before)
    }

    fn send<'a>(
        &'a self,
        message: &'a Message,
        attempt: Attempt,
    ) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(SENDING.scope(message.id, self.0.send(message, attempt)))
    }
}

/// Reads or restarts, in the world.
pub struct Double {
    pub spec: ToolSpec,
    pub outside: Outside,
}

impl Double {
    async fn restart(&self, call: &Call, bounds: Bounds) -> Result<Done, Error> {
        let board = &self.outside.board;
        board.outside("restart").await;
        let at_ms = board.clock.now_ms();
        if at_ms > bounds.start_before_ms {
            return Err(Error::NotStarted("its time had passed".into()));
        }
        let service = call.text("service").unwrap_or_default().to_owned();
        let outcome = {
            let state = board.lock();
            let (step, task) = (state.step, state.current.unwrap().task);
            let committed_at = state.commits.iter().find(|(of, _)| *of == task).map(|(_, at)| *at);
            drop(state);
            self.outside.world().starts.push(Start {
                reason: call.text("reason").unwrap_or_default().to_owned(),
                service: service.clone(),
                at_ms,
                step,
                committed_at,
                start_before_ms: bounds.start_before_ms,
            });
            board.below(10)
        };
        board.note(format_args!("restart of {service} begins, outcome {outcome}"));
        board.outside("restarting").await;
        let helps = matches!(outcome, 0..=5 | 8);
        if helps && let Some(up) = self.outside.world().up.get_mut(service.as_str()) {
            *up = true;
        }
        board.outside("restarted").await;
        match outcome {
            0..=6 => Ok(Done::Output(Output { text: "restarted".into(), data: Value::Null })),
            7 => Err(Error::Tell("it failed".into())),
            _ => Err(Error::OutcomeUnknown("no answer".into())),
        }
    }
}

impl Tool for Double {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn canonical(&self, mut call: Call) -> Result<Call, String> {
        let service = call.text("service").unwrap_or_default();
        if !SERVICES.contains(&service) {
            return Err(format!("there is no service '{service}'"));
        }
        call.args.insert("host".into(), json!("box1"));
        Ok(call)
    }

    fn capture(&self, permit: CapturePermit) -> BoxFuture<'_, Result<Captured, Error>> {
        Box::pin(async move {
            let service = permit.call().text("service").unwrap_or_default().to_owned();
            if self.outside.board.chance(20) {
                return Err(Error::Tell("the target cannot be seen".into()));
            }
            // Now and then somebody edits the unit between two looks.
            let edited = self.outside.board.chance(15);
            Ok(Captured {
                state: Value::Object(Map::new()),
                basis: Some(json!({ "unit": service, "edited": edited })),
                preview: None,
            })
        })
    }

    fn run(
        &self,
        permit: Permit,
        _basis: Option<Value>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Done, Error>> {
        Box::pin(async move {
            if self.spec.name == "restart_service" {
                return self.restart(permit.call(), bounds).await;
            }
            if self.outside.board.chance(300) {
                self.outside.board.outside("logs").await;
            }
            if self.outside.board.chance(100) {
                return Err(Error::Tell("no logs".into()));
            }
            Ok(Done::Output(Output { text: "ERROR out of memory".into(), data: Value::Null }))
        })
    }
}
