//! What deliveries left out is fetched back, and nothing is closed because nobody tells of it.

mod pipeline;
mod real;
mod site;

use crate::support::drill::{BOX, NO_RUNBOOKS, Problem};
use crate::support::engines::{Ground, for_each_engine};
use crate::support::world::{SCOPE, START_MS, Server, World, alert, webhook};
use crate::support::{FakeAlertmanager, Fault, QueryAnswer};
use serde_json::{Value, json};
use watchkeeper::ingest::reconcile::{Round, Why};
use watchkeeper::model::action::ActionState;
use watchkeeper::model::case::Case;
use watchkeeper::model::incident::State;

const UP: &str = "up{service=\"web\"}";
const MINUTE_MS: i64 = 60_000;

/// A world with so many peers, each of them up for years.
async fn world(ground: &Ground, peers: usize) -> (World, Vec<FakeAlertmanager>) {
    let mut world = World::new(ground).await;
    let mut fakes = Vec::new();
    for _ in 0..peers {
        fakes.push(FakeAlertmanager::start().await);
    }
    world.settings.alertmanager.urls = fakes.iter().map(FakeAlertmanager::url).collect();
    (world, fakes)
}

impl Server {
    async fn round(&self, why: Why) -> Round {
        self.app.reconciler.once(why).await.unwrap()
    }

    /// A routine round, a minute after the last.
    async fn poll(&self) -> Round {
        self.app.clock.advance(MINUTE_MS);
        self.round(Why::Routine).await
    }
}

/// How often Slack was told something with these words in it.
fn said(world: &World, words: &str) -> usize {
    world.slack.messages().iter().filter(|message| message.to_string().contains(words)).count()
}

async fn escalated(world: &World, server: &Server) -> Case {
    world.break_service("web");
    world.make_unrepairable("web");
    Problem::down().in_prometheus(world);
    server.post(&Problem::down().firing()).await;
    server.settle(20).await;
    let case = server.only_case().await;
    assert_eq!(case.state(), State::Escalated);
    case
}

#[tokio::test]
async fn what_no_delivery_brought_is_filled_in_once() {
    for_each_engine(|ground| async move {
        let (world, peers) = world(&ground, 2).await;
        let server = world.server().await;
        let held = Problem::disk().alert("firing");
        for peer in &peers {
            peer.hold(&held);
            peer.add("quiet", "watchkeeper", &[("alertname", "Quiet")], &["s1"], &[]);
            peer.add("inhibited", "watchkeeper", &[("alertname", "Inhibited")], &[], &["x"]);
            peer.add("foreign", "somebody-else", &[("alertname", "Foreign")], &[], &[]);
            peer.add("pulse", "watchkeeper", &[("alertname", "Watchdog")], &[], &[]);
            peer.add("own", "watchkeeper", &[("alertname", "WatchkeeperDown")], &[], &[]);
        }
        // It may still be on its way.
        let first = server.round(Why::Start).await;
        assert_eq!(first, Round { answered: 2, ..Round::default() });
        assert_eq!(server.poll().await, Round { answered: 2, filled: 1, ..Round::default() });
        server.settle(20).await;
        let case = server.only_case().await;
        assert_eq!(case.alerts.len(), 1);
        assert_eq!(case.alerts[0].alert.name(), "DiskSpaceLow");
        assert_eq!(case.alerts[0].alert.annotations["summary"], "DiskSpaceLow is firing");

        // The same by webhook, and by the next poll, says nothing new.
        server.post(&Problem::disk().firing()).await;
        server.settle(0).await;
        assert_eq!(server.poll().await, Round { answered: 2, ..Round::default() });
        server.settle(0).await;
        assert_eq!(server.only_case().await.seq, case.seq);
        for peer in &peers {
            assert_eq!(peer.violations(), Vec::<String>::new());
        }
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_missing_alert_counts_after_two_polls_of_every_peer_that_has_been_up_long_enough() {
    for_each_engine(|ground| async move {
        let (world, peers) = world(&ground, 2).await;
        let server = world.server().await;
        escalated(&world, &server).await;
        let unverified = async || server.only_case().await.is_unverified();

        // The second peer began to run a moment ago: it may not know yet what fires.
        peers[1].set_up_since("2026-03-10T09:58:00Z");
        for _ in 0..3 {
            assert_eq!(server.poll().await.told, 0);
        }
        // Up for more than twice five minutes; one poll is not enough.
        world.clock.advance(10 * MINUTE_MS);
        assert_eq!(server.poll().await.told, 0);
        // Whoever does not answer may hold it, and the count begins again.
        peers[0].fail_next(Fault::Status(503));
        assert_eq!(server.poll().await, Round { answered: 1, ..Round::default() });
        assert_eq!(server.poll().await.told, 0);
        assert!(!unverified().await);
        assert_eq!(server.poll().await.told, 1);
        server.settle(0).await;
        assert!(unverified().await);
        assert_eq!(server.poll().await.told, 0);
        server.settle(0).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::Escalated, "it closes nothing");
        assert_eq!(said(&world, "Unverified: Alertmanager no longer holds 1 of the 1"), 1);

        // One peer that holds it is enough.
        peers[1].hold(&Problem::down().alert("firing"));
        assert_eq!(server.poll().await.told, 1);
        server.settle(0).await;
        assert!(!unverified().await);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_missing_alert_is_over_only_when_a_query_that_returns_data_says_so() {
    for_each_engine(|ground| async move {
        let (world, peers) = world(&ground, 1).await;
        let server = world.server().await;
        escalated(&world, &server).await;
        peers[0].forget();
        for _ in 0..2 {
            server.poll().await;
        }
        server.settle(0).await;
        for answer in [QueryAnswer::value(0.0), QueryAnswer::empty()] {
            world.prometheus.set(UP, answer);
            for _ in 0..12 {
                world.clock.advance(MINUTE_MS);
                server.settle(0).await;
            }
            let case = server.only_case().await;
            assert_eq!((case.state(), case.is_unverified()), (State::Escalated, true));
        }
        world.prometheus.set(UP, QueryAnswer::value(1.0));
        for _ in 0..6 {
            world.clock.advance(MINUTE_MS);
            server.settle(0).await;
        }
        let case = server.only_case().await;
        assert_eq!(case.state(), State::Resolved);
        assert!(case.end.unwrap().why.contains("= 1, expected value == 1.0"));
        assert_eq!(said(&world, "Unverified:"), 1);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_silence_supersedes_a_waiting_change_and_the_incident_rests_until_it_ends() {
    for_each_engine(|ground| async move {
        let (world, peers) = world(&ground, 1).await;
        let server = world.server().await;
        Problem::corruption().in_prometheus(&world);
        peers[0].hold(&Problem::corruption().alert("firing"));
        server.post(&Problem::corruption().firing()).await;
        server.settle(0).await;
        let asked = server.only_case().await;
        assert_eq!(asked.state(), State::AwaitingApproval);

        let comment = "known, the vendor is on it, password=hunter2-secret";
        peers[0].silence("s1", "ada", comment, "2026-03-10T14:00:00Z");
        assert_eq!(server.poll().await.told, 1);
        server.settle(0).await;
        let case = server.only_case().await;
        assert_eq!(case.actions[0].state, ActionState::Superseded);
        let why = case.actions[0].outcome.clone().unwrap();
        let begins = "ada silenced DBCorruption in Alertmanager: known, the vendor is on it";
        assert!(why.starts_with(begins) && !why.contains("hunter2"), "{why}");
        assert_eq!(case.state(), State::Investigating);
        assert_eq!(said(&world, "ada silenced every alert of it until 2026-03-10T14:00:00Z"), 1);

        // It rests: nothing is asked and nobody is paged by deadline, whatever the polls say.
        let pages = world.pagerduty.opened();
        for _ in 0..30 {
            assert_eq!(server.poll().await.told, 0);
            server.settle(0).await;
        }
        let resting = server.only_case().await;
        assert_eq!(
            (resting.state(), resting.turns.len()),
            (State::Investigating, case.turns.len())
        );
        assert_eq!(said(&world, "silenced every alert"), 1);
        assert_eq!(world.pagerduty.opened(), pages);

        peers[0].expire_silences();
        assert_eq!(server.poll().await.told, 1);
        server.settle(20).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::Escalated, "it went on: {case:#?}");
        assert_eq!(world.restarts("db"), 0);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_silence_that_runs_out_lets_the_incident_go_on_without_any_poll() {
    for_each_engine(|ground| async move {
        let (world, peers) = world(&ground, 1).await;
        world.set_runbooks(NO_RUNBOOKS);
        let server = world.server().await;
        peers[0].hold(&Problem::disk().alert("firing"));
        peers[0].silence("s1", "ada", "", "2026-03-10T10:30:00Z");
        server.post(&Problem::disk().firing()).await;
        server.app.intake.take_batch().await.unwrap();
        assert_eq!(server.poll().await.told, 1);
        server.settle(0).await;
        assert_eq!(server.only_case().await.state(), State::Open);
        world.clock.advance(30 * MINUTE_MS);
        server.settle(0).await;
        assert_eq!(server.only_case().await.state(), State::Escalated);
        server.stop().await;
    })
    .await;
}

/// The one series of an alert that fired for four minutes.
fn fired(from_ms: i64) -> QueryAnswer {
    let points: Vec<Value> =
        (0..5).map(|n| json!([(from_ms + n * MINUTE_MS) as f64 / 1000.0, "1"])).collect();
    let metric = json!({
        "__name__": "ALERTS", "alertstate": "firing", "alertname": "ServiceDown",
        "instance": BOX.1, "service": "web", "severity": "critical",
    });
    QueryAnswer::Data(json!({
        "resultType": "matrix",
        "result": [{ "metric": metric, "values": points }],
    }))
}

#[tokio::test]
async fn what_fired_and_was_over_in_an_outage_is_known_afterwards_and_told_in_one_line() {
    for_each_engine(|ground| async move {
        let (world, _peers) = world(&ground, 1).await;
        let server = world.server().await;
        server.round(Why::Start).await;
        // Twenty minutes without a poll; an alert fires after ten of them.
        let selector = "ALERTS{alertstate=\"firing\"}";
        world.prometheus.set(&format!("{selector}[1260000ms]"), fired(START_MS + 10 * MINUTE_MS));
        world.prometheus.set(selector, QueryAnswer::empty());
        world.clock.advance(20 * MINUTE_MS);
        let round = server.round(Why::Start).await;
        assert_eq!(round, Round { answered: 1, late: 1, ..Round::default() });
        server.settle(0).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::Resolved);
        assert!(case.end.as_ref().unwrap().why.starts_with("over before it was heard of"));
        assert_eq!(case.alerts[0].alert.labels["cluster"], "one", "as Alertmanager sees it");
        assert_eq!(case.alerts[0].alert.starts_at_ms, START_MS + 10 * MINUTE_MS);
        assert!(case.turns.is_empty(), "there is nothing left to investigate");
        assert_eq!(world.slack.messages().len(), 1, "{}", world.slack_said());
        assert_eq!(said(&world, "Over before it was heard of: fired from 2026-03-10T10:10:00Z"), 1);
        assert_eq!(world.pagerduty.opened(), 0);

        // A look at the same time finds nothing that is not known, and a late copy opens nothing.
        server.app.clock.advance(MINUTE_MS);
        world.prometheus.set_prefix(selector, fired(START_MS + 10 * MINUTE_MS));
        let again = server.round(Why::Start).await;
        assert_eq!(again, Round { answered: 1, ..Round::default() });
        let before = server.only_case().await.seq;
        let mut late = alert("firing", "ServiceDown", &[]);
        late["labels"] = json!(case.alerts[0].alert.labels);
        late["fingerprint"] = json!(case.alerts[0].alert.fingerprint);
        late["startsAt"] = json!("2026-03-10T10:10:00Z");
        server.post(&webhook(&[late])).await;
        server.settle(0).await;
        assert_eq!(server.only_case().await.seq, before);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_alert_that_is_known_to_fire_is_not_over_because_prometheus_lost_it() {
    for_each_engine(|ground| async move {
        let (world, _peers) = world(&ground, 1).await;
        let server = world.server().await;
        server.round(Why::Start).await;
        escalated(&world, &server).await;
        let case = server.only_case().await;
        let selector = "ALERTS{alertstate=\"firing\"}";
        world.prometheus.set_prefix(selector, fired(START_MS));
        world.prometheus.set(selector, QueryAnswer::empty());
        world.clock.advance(10 * MINUTE_MS);
        assert_eq!(server.round(Why::Start).await.late, 0);
        server.settle(0).await;
        assert_eq!(server.only_case().await.state(), State::Escalated);
        assert_eq!(server.incidents().await.len(), 1);
        assert_eq!(server.only_case().await.seq, case.seq);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_prometheus_cannot_be_asked_is_asked_again() {
    for_each_engine(|ground| async move {
        let (world, _peers) = world(&ground, 1).await;
        let server = world.server().await;
        server.round(Why::Start).await;
        world.clock.advance(20 * MINUTE_MS);
        world.prometheus.set_health(crate::support::fake_prometheus::Health::NotReady);
        assert_eq!(server.round(Why::Start).await.late, 0);
        let mark = server.app.store.reconciled_until(SCOPE, "alertmanager").await.unwrap();
        assert_eq!(mark, Some(START_MS), "the gap is still open");
        world.prometheus.set_health(crate::support::fake_prometheus::Health::Up);
        let selector = "ALERTS{alertstate=\"firing\"}";
        world.prometheus.set_prefix(selector, fired(START_MS + 5 * MINUTE_MS));
        world.prometheus.set(selector, QueryAnswer::empty());
        assert_eq!(server.poll().await.late, 1);
        server.stop().await;
    })
    .await;
}

/// More alerts fire than an answer of Prometheus is read of, and the one of [`fired`] is the last.
fn a_cut_list() -> QueryAnswer {
    let row = |metric: Value| json!({ "metric": metric, "value": [1.0, "1"] });
    let others = (0..1_001).map(|n| row(json!({ "alertname": "Other", "n": n.to_string() })));
    let last = row(json!({
        "alertname": "ServiceDown", "instance": BOX.1, "service": "web", "severity": "critical",
    }));
    let rows: Vec<Value> = others.chain([last]).collect();
    QueryAnswer::Data(json!({ "resultType": "vector", "result": rows }))
}

#[tokio::test]
async fn an_alert_that_fires_is_not_over_because_the_list_of_those_that_fire_is_cut() {
    for_each_engine(|ground| async move {
        let (world, _peers) = world(&ground, 1).await;
        let server = world.server().await;
        server.round(Why::Start).await;
        let selector = "ALERTS{alertstate=\"firing\"}";
        world.prometheus.set_prefix(selector, fired(START_MS + 5 * MINUTE_MS));
        world.prometheus.set(selector, a_cut_list());
        world.clock.advance(20 * MINUTE_MS);
        // Prometheus knows none of them by now, as just after its start: nobody can tell.
        assert_eq!(server.round(Why::Start).await.late, 0);
        let mark = server.app.store.reconciled_until(SCOPE, "alertmanager").await.unwrap();
        assert_eq!(mark, Some(START_MS), "it is asked again");

        for n in 0..1_001 {
            let n = n.to_string();
            world.fire_in_prometheus(&[("alertname", "Other"), ("n", &n)]);
        }
        Problem::down().in_prometheus(&world);
        assert_eq!(server.poll().await.late, 0);
        let mark = server.app.store.reconciled_until(SCOPE, "alertmanager").await.unwrap();
        assert_eq!(mark, Some(world.clock.now_ms()));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_prometheus_lost_ends_no_alert_whose_delivery_waited_for_the_intake() {
    for_each_engine(|ground| async move {
        let (world, _peers) = world(&ground, 0).await;
        world.break_service("web");
        world.make_unrepairable("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        let mut late = Problem::down().resolved();
        late["reconciled"] = json!("late");
        server.post(&late).await;
        server.settle(20).await;
        assert_eq!(server.only_case().await.state(), State::Escalated);
        // Nor one that was taken in long ago.
        server.post(&late).await;
        server.settle(0).await;
        assert_eq!(server.only_case().await.state(), State::Escalated);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_alert_that_was_measured_to_be_over_hides_no_later_one() {
    for_each_engine(|ground| async move {
        let (world, _peers) = world(&ground, 1).await;
        world.break_service("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(20).await;
        assert_eq!(server.only_case().await.state(), State::Resolved, "and no notice came");
        world.clock.advance(24 * 60 * MINUTE_MS);
        server.round(Why::Start).await;
        let selector = "ALERTS{alertstate=\"firing\"}";
        let from_ms = world.clock.now_ms() + 5 * MINUTE_MS;
        world.prometheus.set_prefix(selector, fired(from_ms));
        world.prometheus.set(selector, QueryAnswer::empty());
        world.clock.advance(20 * MINUTE_MS);
        assert_eq!(server.round(Why::Start).await.late, 1);
        server.stop().await;
    })
    .await;
}
