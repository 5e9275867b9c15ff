//! People's orders in a whole server: what was allowed and has not started does not start.

use crate::support::drill::{Problem, sre_token};
use crate::support::engines::{Ground, for_each_engine, on_postgres};
use crate::support::process::{Process, client};
use crate::support::world::{Server, World, webhook};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use watchkeeper::action::gate::Facts;
use watchkeeper::incident::advance::advance;
use watchkeeper::model::action::{Action, ActionState};
use watchkeeper::model::call::{Call, sha256_hex};
use watchkeeper::model::case::Case;
use watchkeeper::model::ids::HoldId;
use watchkeeper::model::incident::State;
use watchkeeper::model::orders::{Hold, Quarantined};
use watchkeeper::model::system::SystemEntry;
use watchkeeper::model::timeline::Entry;
use watchkeeper::safety::evidence::Seen;
use watchkeeper::safety::permit::Consent;
use watchkeeper::safety::provenance::Trusted;
use watchkeeper::store::intents::Intent;
use watchkeeper::store::switches::Switch;
use watchkeeper::store::timeline::{Head, Stream};
use watchkeeper::tools::{Bounds, Error as ToolError};

const HOUR_MS: i64 = 3_600_000;
/// Whatever a test waits for comes within this, or never.
const PATIENCE: Duration = Duration::from_secs(90);

fn hold_on(matcher: &str, at_ms: i64) -> Hold {
    Hold {
        id: HoldId::new(),
        matchers: vec![matcher.to_owned()],
        reason: "a restore runs".into(),
        by: "kim".into(),
        at_ms,
        until_ms: at_ms + HOUR_MS,
    }
}

/// A server whose only incident has a restart that is allowed and has not started.
async fn allowed(ground: &Ground) -> (World, Server, Action) {
    let world = World::new(ground).await;
    world.break_service("web");
    Problem::down().in_prometheus(&world);
    let server = world.server().await;
    server.post(&Problem::down().firing()).await;
    while server.app.intake.take_batch().await.unwrap() > 0 {}
    let now_ms = world.clock.now_ms();
    let leases = server.app.store.claim("test", 8, now_ms, 60_000).await.unwrap();
    for _ in 0..50 {
        Box::pin(advance(&server.app.desk(), &leases[0], None)).await.unwrap();
        let case = server.only_case().await;
        if let Some(action) = case.open_action().filter(|a| a.state == ActionState::Allowed) {
            let action = action.clone();
            server.app.store.release(leases[0].clone()).await.unwrap();
            return (world, server, action);
        }
    }
    panic!("the restart was not allowed: {:#?}", server.only_case().await);
}

/// The reason for which an action was superseded.
fn superseded(case: &Case, history: &[Entry], action: &Action) -> String {
    assert_eq!(case.action(action.id()).unwrap().state, ActionState::Superseded);
    let why = history.iter().find_map(|entry| {
        let Entry::Superseded { action_id, why } = entry else { return None };
        (*action_id == action.id()).then(|| why.clone())
    });
    why.unwrap()
}

async fn history(server: &Server, case: &Case) -> Vec<Entry> {
    let stored = server.app.store.timeline(Stream::incident(case.id)).await.unwrap();
    stored.into_iter().map(|stored| stored.entry).collect()
}

#[tokio::test]
async fn what_was_allowed_and_has_not_started_is_stopped_by_every_order_and_that_is_recorded() {
    for order in ["halt", "hold", "file"] {
        for_each_engine(|ground| async move {
            let (world, server, action) = allowed(&ground).await;
            let (store, now_ms) = (&server.app.store, world.clock.now_ms());
            let wanted = match order {
                "halt" => {
                    store.order_halt(Switch::On, "bob", "deploy", now_ms).await.unwrap();
                    "now refused: halt: halted by \"bob\": \"deploy\"".to_owned()
                }
                "hold" => {
                    store.add_hold(hold_on("host=~\"box.*\"", now_ms)).await.unwrap();
                    "now refused: hold: kim holds host=~\"box.*\" until ".to_owned()
                }
                _ => {
                    let file = server.app.settings.halt_file();
                    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                    std::fs::write(&file, "disk swap\n").unwrap();
                    format!(
                        "now refused: halt: halted by {:?}: \"disk swap\"",
                        file.display().to_string()
                    )
                }
            };
            server.settle(5).await;
            let case = server.only_case().await;
            let why = superseded(&case, &history(&server, &case).await, &action);
            assert!(why.starts_with(&wanted), "{why}");
            assert_eq!(case.state(), State::Escalated);
            assert_eq!(world.all_restarts(), 0);
            server.stop().await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_hold_refuses_matching_targets_until_it_ends_and_no_other() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        let hold = hold_on("service=web", world.clock.now_ms());
        server.app.store.add_hold(hold).await.unwrap();
        let down = |service: &'static str, since: &'static str| {
            Problem::down().with("service", service).since(since)
        };
        for service in ["web", "worker"] {
            world.break_service(service);
            down(service, "2026-03-10T10:00:00Z").in_prometheus(&world);
            server.post(&down(service, "2026-03-10T10:00:00Z").firing()).await;
            server.settle(5).await;
        }
        assert_eq!((world.restarts("web"), world.restarts("worker")), (0, 1));
        let refused = server.incidents().await;
        let mut reasons = Vec::new();
        for row in refused {
            for action in server.case(row.id).await.actions {
                reasons.push(action.verdict.unwrap().reason());
            }
        }
        assert!(
            reasons
                .iter()
                .any(|why| why.starts_with("hold: kim holds service=web until 2026-03-10T")),
            "{reasons:?}"
        );
        world.clock.advance(2 * HOUR_MS);
        let later = down("web", "2026-03-10T12:00:00Z").with("shard", "1");
        later.in_prometheus(&world);
        server.post(&down("web", "2026-03-10T10:00:00Z").resolved()).await;
        server.settle(5).await;
        server.post(&later.firing()).await;
        server.settle(5).await;
        assert_eq!(world.restarts("web"), 1, "the hold is over");
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_rule_in_quarantine_asks_a_person_and_says_why() {
    for_each_engine(|ground| async move {
        let (world, server, _) = allowed(&ground).await;
        let order = Quarantined {
            rule: "restart one service".into(),
            reason: "it hid a leak".into(),
            by: "kim".into(),
            at_ms: world.clock.now_ms(),
        };
        server.app.store.quarantine(order).await.unwrap();
        server.settle(5).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::AwaitingApproval);
        let asked = case.open_action().unwrap().verdict.clone().unwrap();
        let wanted = "quarantine: restart one service: kim wants to be asked: \"it hid a leak\"";
        assert_eq!(asked.reason(), wanted);
        assert_eq!(world.all_restarts(), 0);
        server.stop().await;
    })
    .await;
}

/// The intent is committed; what comes before the tool has started still stops it.
#[tokio::test]
async fn the_last_look_before_a_tool_starts_sees_halt_hold_and_halt_file() {
    for order in ["nothing", "halt", "hold", "file", "policy"] {
        for_each_engine(|ground| async move {
            let (world, server, action) = allowed(&ground).await;
            let (store, desk) = (&server.app.store, server.app.desk());
            let case = server.only_case().await;
            let labels: Vec<_> = case.alerts.iter().map(|a| a.alert.labels.clone()).collect();
            let located = (desk.locate)(&labels.iter().collect::<Vec<_>>());
            let trusted = Trusted::of_incident(&located);
            let look = |source: &str| Seen {
                source: source.into(),
                host: Some("box1".into()),
                service: Some("web".into()),
            };
            let seen = vec![look("logs"), look("metrics")];
            let facts = Facts { scope: case.scope.clone(), labels, located, trusted, seen };
            let call: &Call = &action.proposal.call;
            let judged = desk.gate.judge_write(&facts, &action.proposal).await.unwrap();
            let now_ms = world.clock.now_ms();
            let lease = store.claim("hand", 8, now_ms, 60_000).await.unwrap().remove(0);
            let mut step =
                crate::store::given::step(&lease, &Head { seq: case.seq, hash: case.head });
            step.intent = Some(Intent {
                action_id: action.id(),
                incident_id: case.id,
                from: ActionState::Allowed,
                limits: judged.verdict.limits().to_vec(),
                orders_version: judged.orders_version,
                watch: judged.watch,
                at_ms: now_ms,
                held_until_ms: now_ms + 60_000,
            });
            let intended =
                desk.gate.intend(step, &judged.verdict, call, Consent::None).await.unwrap();
            assert_eq!(store.in_flight().await.unwrap()[0].targets, ["box1", "web"]);
            let why = match order {
                "halt" => {
                    store.set_halt(Switch::On, "bob", now_ms).await.unwrap();
                    "all changes are halted by bob"
                }
                "hold" => {
                    store.add_hold(hold_on("host=box1", now_ms)).await.unwrap();
                    "people gave orders since it was judged"
                }
                "file" => {
                    let file = server.app.settings.halt_file();
                    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                    std::fs::write(file, "swap").unwrap();
                    "all changes are halted by the file"
                }
                "policy" => "all has changed",
                _ => "",
            };
            let bounds = Bounds {
                start_before_ms: now_ms + 30_000,
                timeout_ms: 30_000,
                output_bytes_max: 10_000,
            };
            let may_start = || match order {
                "policy" => Err("all has changed".to_owned()),
                _ => Ok(()),
            };
            let ran = desk.gate.run(intended, judged.captured.basis, bounds, may_start).await;
            match ran {
                Ok(_) => assert_eq!((order, world.restarts("web")), ("nothing", 1)),
                Err(ToolError::NotStarted(told)) => {
                    assert!(
                        told.starts_with(why) && told.ends_with("it was not started"),
                        "{told}"
                    );
                    assert_eq!(world.all_restarts(), 0, "{order}");
                    assert_ne!(order, "nothing");
                }
                Err(error) => panic!("{error}"),
            }
            server.stop().await;
        })
        .await;
    }
}

/// Rules that let every restart run.
const FREE: &str = "version: 1
autonomy: act
levels: [{ match: ['alertname=\"ServiceDown\"'], autonomy: act }]
rules: [{ name: restart freely, tool: restart_service, tier: safe }]
";

async fn api(base: &str, method: reqwest::Method, path: &str) -> Value {
    let request = client().request(method, format!("{base}{path}")).bearer_auth(sre_token().1);
    request.send().await.unwrap().json().await.unwrap()
}

/// The token with which alerts are posted.
const HOOK: &str = "wk_00112233445566778899aabbccddeeff";

fn with_access(world: &World) {
    let (token, _) = sre_token();
    let access = format!(
        "users: []\ntokens:\n  - {{ name: {}, kind: api, hash: {}, role: sre }}\n  \
         - {{ name: am, kind: webhook, hash: {} }}\n",
        token.name,
        token.hash,
        sha256_hex(HOOK.as_bytes())
    );
    std::fs::write(world.folder.join("config/access.yaml"), access).unwrap();
}

async fn post(base: &str, body: &Value) -> u16 {
    let request = client().post(format!("{base}/webhook/alert")).bearer_auth(HOOK).json(body);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_in_a_storm_of_changes_on_two_servers_is_followed_by_no_start() {
    on_postgres(|ground| async move {
        let world = World::new(&ground).await;
        world.set_rules(FREE);
        with_access(&world);
        // A restart takes a while, so that the halt meets some in flight.
        let script = world.folder.join("restart.sh");
        let text = std::fs::read_to_string(&script).unwrap();
        std::fs::write(&script, format!("{text}sleep 0.5\n")).unwrap();
        let mut alerts = Vec::new();
        for n in 0..50 {
            let shard: &'static str = Box::leak(n.to_string().into_boxed_str());
            let problem = Problem::down().with("shard", shard);
            problem.in_prometheus(&world);
            alerts.push(problem.alert("firing"));
        }
        let by_shard = [
            ("WATCHKEEPER__INGEST__CORRELATE_BY", "alertname,host,service,shard"),
            ("WATCHKEEPER__WORKER__INVESTIGATIONS_MAX", "4"),
        ];
        let mut one = Process::start(&world, &ground, &by_shard);
        let first = one.url().await.unwrap();
        let mut two = Process::start(&world, &ground, &by_shard);
        let second = two.url().await.unwrap();
        assert_eq!(post(&first, &webhook(&alerts)).await, 200);
        let began = Instant::now();
        while world.all_restarts() < 3 {
            assert!(began.elapsed() < PATIENCE, "nothing starts: {:?}", one.log());
            sleep(Duration::from_millis(20)).await;
        }
        let halted = api(&first, reqwest::Method::POST, "/api/v1/halt").await;
        let (started, intents) = (world.all_restarts(), intents(&ground).await);
        assert_eq!(halted["halted"], true);
        let seen = api(&second, reqwest::Method::GET, "/api/v1/halt").await;
        assert_eq!(seen["by"], "ada");
        one.settled(&ground).await;
        two.settled(&ground).await;
        assert_eq!(self::intents(&ground).await, intents, "an intent after the halt");
        // What started after the answer, because the machine was slow, stood in it as in flight.
        let flying = halted["in_flight"].as_array().unwrap().len();
        let late = world.all_restarts() - started;
        assert!(late <= flying, "{late} starts after the answer, {flying} in flight");
        assert!(
            world.all_restarts() < 50 && intents < 50,
            "the halt came too late to show anything"
        );
        let refused =
            "select count(*) from action where state in ('refused', 'superseded', 'failed')";
        assert_ne!(ground.sql(refused).await, [["0"]]);
    })
    .await;
}

async fn intents(ground: &Ground) -> usize {
    ground.sql("select count(*) from intent").await[0][0].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_file_works_and_is_reported_without_a_database_and_written_down_later() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        with_access(&world);
        world.break_service("web");
        Problem::down().in_prometheus(&world);
        let mut server = Process::start(&world, &ground, &[]);
        let base = server.url().await.unwrap();
        let text = async |path: &str| {
            client().get(format!("{base}{path}")).send().await.unwrap().text().await.unwrap()
        };
        eventually("it is ready", async || text("/readyz").await.contains("\"ready\":true")).await;
        // Nothing can be written, as if the database were gone.
        ground.sql("alter table stream_head rename to elsewhere").await;
        let file = world.settings.data_dir.join("HALT");
        std::fs::create_dir_all(&world.settings.data_dir).unwrap();
        std::fs::write(&file, "disk swap\nsecond line\n").unwrap();
        eventually("the log tells", async || {
            server.log().iter().any(|line| line.contains("HALT halts every change: disk swap"))
        })
        .await;
        assert!(text("/metrics").await.contains("\nwatchkeeper_halt_file 1\n"));
        assert!(text("/readyz").await.contains("halt_file"));
        ground.sql("alter table elsewhere rename to stream_head").await;
        let words = async || {
            let told = api(&base, reqwest::Method::GET, "/api/v1/system/timeline").await;
            told["entries"].to_string()
        };
        eventually("it is written down", async || words().await.contains("halt_file_found")).await;

        assert_eq!(post(&base, &Problem::down().firing()).await, 200);
        server.settled(&ground).await;
        assert_eq!(world.all_restarts(), 0);
        let resumed = api(&base, reqwest::Method::DELETE, "/api/v1/halt").await;
        assert_eq!(
            (&resumed["halted"], &resumed["file"]["reason"]),
            (&json!(true), &json!("disk swap"))
        );
        std::fs::remove_file(&file).unwrap();
        eventually("its end is written down", async || words().await.contains("halt_file_gone"))
            .await;
        let halt = api(&base, reqwest::Method::GET, "/api/v1/halt").await;
        assert_eq!(halt, json!({"halted": false, "in_flight": []}));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn start_rules_and_people_are_on_the_timeline_of_the_system() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        with_access(&world);
        let mut server = Process::start(&world, &ground, &[]);
        let base = server.url().await.unwrap();
        let told = async || {
            let store = ground.store_beside().await;
            store.system_timeline(0, 100).await.unwrap_or_default()
        };
        eventually("people are known", async || told().await.len() >= 3).await;
        let access = world.folder.join("config/access.yaml");
        let text = std::fs::read_to_string(&access).unwrap();
        std::fs::write(&access, text.replace("role: sre", "role: admin")).unwrap();
        eventually("a change is seen", async || told().await.len() >= 4).await;
        assert!(
            client().get(format!("{base}/healthz")).send().await.unwrap().status().is_success()
        );
        server.kill().await;
        world.set_rules(FREE);
        let mut server = Process::start(&world, &ground, &[]);
        server.url().await.unwrap();
        eventually("other rules are seen", async || told().await.len() >= 6).await;
        server.kill().await;
        let entries: Vec<SystemEntry> = told().await.into_iter().map(|one| one.entry).collect();
        let words: Vec<String> = entries.iter().map(SystemEntry::words).collect();
        assert!(words[0].ends_with("loaded, before: none; the first rules"), "{words:#?}");
        assert!(words[1].contains("started, version "), "{words:#?}");
        assert_eq!(words[2], "api token ada (sre) added; webhook token am (no role) added");
        assert_eq!(words[3], "api token ada: role admin, was sre");
        assert!(
            words[4].contains("rule 'restart freely' added: restart_service safe"),
            "{words:#?}"
        );
        assert!(words[4].contains("rule 'restart one service' removed"), "{words:#?}");
        assert!(matches!(entries[5], SystemEntry::Started { .. }));
    })
    .await;
}

/// Looks again and again until it is so.
async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !look().await {
        assert!(began.elapsed() < PATIENCE, "it never happened that {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
