//! Several replicas on one Postgres: one is killed, paused or restarted, and the others go on.

use super::{
    NOISE, PATIENCE, broken_web, eventually, heard_once, noise, post_until_accepted, settled,
    stored_noise,
};
use crate::support::drill::{NO_RUNBOOKS, Problem, conclude, sre_token};
use crate::support::engines::{Ground, on_postgres};
use crate::support::process::{Process, client, time_passes};
use crate::support::real::free_port;
use crate::support::world::{Server, World};
use crate::support::{FakeModel, ModelReply};
use futures::StreamExt as _;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::time::Instant;
use watchkeeper::approval::access::Access;
use watchkeeper::crash::VARIABLE;
use watchkeeper::model::action::ActionState;
use watchkeeper::model::case::Case;
use watchkeeper::model::incident::State;
use watchkeeper::store::timeline::Stream;

/// Nothing of these tests happens because somebody looked again.
const NEVER_POLLS_MS: u64 = 3_600_000;

async fn replica(world: &World) -> Server {
    let mut settings = world.settings.clone();
    settings.worker.poll_ms = NEVER_POLLS_MS;
    let instead = watchkeeper::app::Instead {
        clock: Some(world.clock.clone()),
        ..watchkeeper::app::Instead::default()
    };
    let app = watchkeeper::app::build(settings, instead).await.unwrap();
    Server { app, tasks: watchkeeper::tasks::Tasks::default() }
}

/// One replica takes the alert in, another one, whose next look is an hour away, acts.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_takes_in_another_one_begins_at_once() {
    on_postgres(|ground| async move {
        let world = broken_web(&ground).await;
        let (takes, acts) = (replica(&world).await, replica(&world).await);
        acts.run();
        listening(&ground).await;
        let began = Instant::now();
        takes.post(&Problem::down().firing()).await;
        takes.app.intake.take_batch().await.unwrap();
        acts.wait_for("the other replica begins", |cases| {
            cases.iter().any(|case| case.state() != State::Open)
        })
        .await;
        eprintln!("begun by the other replica after {} ms", began.elapsed().as_millis());
    })
    .await;
}

/// A person decides on one replica, which has no worker; the other one carries it out.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_approved_on_one_replica_another_one_carries_out() {
    on_postgres(|ground| async move {
        let world = World::new(&ground).await;
        Problem::down().in_prometheus(&world);
        world.break_service("web");
        world.set_autonomy("advise");
        let (asks, hears) = (replica(&world).await, replica(&world).await);
        let (token, text) = sre_token();
        let base = hears.listen(Access { tokens: vec![token], ..Access::default() }).await;
        asks.run();
        listening(&ground).await;
        asks.post(&Problem::down().firing()).await;
        let asked = |case: &Case| case.state() == State::AwaitingApproval;
        let cases = asks.wait_for("a question", |cases| cases.iter().any(asked)).await;
        let id = cases[0].open_action().unwrap().id();
        let url = format!("{base}/confirm/{id}?approved=true");
        let answer = client().post(url).bearer_auth(text).send().await.unwrap();
        let status = answer.status().as_u16();
        assert!((200..400).contains(&status), "{status}: {}", answer.text().await.unwrap());
        let began = Instant::now();
        asks.wait_for("the restart", |_| world.restarts("web") == 1).await;
        eprintln!("carried out by the other replica after {} ms", began.elapsed().as_millis());
    })
    .await;
}

/// Waits until a replica listens.
async fn listening(ground: &Ground) {
    let sql = "select count(*) from pg_stat_activity
               where datname = current_database() and query ilike 'listen %'";
    eventually("somebody listens", async || ground.sql(sql).await[0][0] != "0").await;
}

/// The replica that has the incident is killed; the other one, which runs beside it, takes over when
/// the lease has run out.
#[tokio::test(flavor = "multi_thread")]
async fn an_incident_of_a_killed_replica_is_taken_over_after_one_lease() {
    on_postgres(|ground| async move {
        let answers = Arc::new(AtomicBool::new(false));
        let may = Arc::clone(&answers);
        let model = FakeModel::respond(move |request| {
            if may.load(Ordering::SeqCst) { conclude(request, "known") } else { ModelReply::Hang }
        })
        .await;
        let world = World::new(&ground).await;
        world.set_runbooks(NO_RUNBOOKS);
        let url = model.base_url();
        let variables = [("OPENAI_BASE_URL", url.as_str()), ("OPENAI_MODEL", "scripted")];
        let mut first = Process::start(&world, &ground, &variables);
        assert_eq!(first.post(&Problem::down().firing()).await, Some(200));
        eventually("the model is asked", async || model.count() == 1).await;
        let mut second = Process::start(&world, &ground, &variables);
        second.url().await.unwrap();
        answers.store(true, Ordering::SeqCst);
        first.kill().await;
        let began = Instant::now();
        let left = "select cast(lease_until_ms - extract(epoch from clock_timestamp()) * 1000
                    as bigint) from incident";
        let left_ms: i64 = ground.sql(left).await[0][0].parse().unwrap();
        settled(&mut second, &ground).await;
        eprintln!(
            "ended {} ms after the kill; the lease had {left_ms} ms left",
            began.elapsed().as_millis()
        );
        assert!(left_ms <= 5_000);
        assert_eq!(model.count(), 2, "asked once by each");
        assert_eq!(ground.sql("select lease_epoch from incident").await, [["2"]]);
        second.kill().await;
    })
    .await;
}

/// Where a replica is paused.
const PAUSES: [&str; 8] = [
    "after_intake",
    "after_look",
    "after_turn",
    "before_commit:6",
    "after_commit:8",
    "before_run",
    "after_run",
    "before_send",
];

/// A replica is stopped in its tracks for longer than its lease, another one takes over, and the first
/// one wakes up: it notices that it is no longer in charge.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_paused_beyond_its_lease_does_no_harm_when_it_wakes() {
    futures::stream::iter(PAUSES)
        .map(|point| on_postgres(move |ground| paused(ground, point)))
        .buffer_unordered(4)
        .collect::<Vec<()>>()
        .await;
}

async fn paused(ground: Arc<Ground>, point: &str) {
    let world = broken_web(&ground).await;
    let mut first = Process::start(&world, &ground, &[(VARIABLE, "none")]);
    let wanted = if point.contains(':') { point.to_owned() } else { format!("{point}:1") };
    assert_eq!(first.post(&Problem::down().firing()).await, Some(200));
    let began = Instant::now();
    while !first.points().contains(&wanted) {
        assert!(began.elapsed() < PATIENCE, "{wanted} is never reached: {:?}", first.points());
        tokio::task::yield_now().await;
    }
    first.signal("STOP");
    let restarts = world.restarts("web");
    let mut second = Process::start(&world, &ground, &[]);
    second.url().await.unwrap();
    // By itself, when the lease has run out, and what the first one holds locked has been given up.
    eventually(&format!("{point}: the second one takes over and ends it"), async || {
        let ended = "select count(*) from incident where state in ('resolved', 'escalated')";
        ground.sql(ended).await[0][0] == "1"
    })
    .await;
    first.signal("CONT");
    time_passes(&ground).await;
    settled(&mut second, &ground).await;
    assert!(!first.has_ended(), "{point}: {}", first.log().join("\n"));
    first.signal("TERM");
    assert!(first.ended().await.success(), "{point}");
    settled(&mut second, &ground).await;
    second.kill().await;

    let done = world.restarts("web");
    assert!(done <= 1, "{point}: {done} restarts, {restarts} of them before the pause");
    assert_eq!(ground.sql("select count(*) from intent").await, [["1"]], "{point}");
    assert!(world.pagerduty.opened() <= 1, "{point}");
    let opened = ground.open().await;
    let id = ground.sql("select id from incident").await[0][0].parse().unwrap();
    let stream = Stream::incident(id);
    assert_eq!(opened.store.verify_chain(stream.clone()).await.unwrap(), None, "{point}");
    let case = Case::fold(id, "default", &opened.store.timeline(stream).await.unwrap());
    let unknown = case.actions.iter().any(|action| action.state == ActionState::Unknown);
    assert!(unknown || done == 1, "{point}: {case:#?}");
    heard_once(&world);
    opened.close().await;
}

/// Old and new processes take turns while alerts come in: nothing is lost, nothing done twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_loses_and_doubles_nothing() {
    on_postgres(|ground| async move {
        let world = broken_web(&ground).await;
        let problems = [
            Problem::down(),
            Problem::down().with("service", "worker"),
            Problem::new("Unknown", &[("severity", "warning")]),
        ];
        Problem::down().with("service", "worker").in_prometheus(&world);
        world.break_service("worker");
        let places = [0, 1].map(|_| format!("127.0.0.1:{}", free_port()));
        let start = |place: &String| {
            let variables = [("WATCHKEEPER__LISTEN", place.as_str()), NOISE];
            Process::start(&world, &ground, &variables)
        };
        let mut processes: Vec<Process> = places.iter().map(start).collect();
        for process in &mut processes {
            process.url().await.unwrap();
        }
        let (sent, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut senders = tokio::task::JoinSet::new();
        for sender in 0..8 {
            // As through a balancer: a sender goes on to the other replica when one refuses.
            let bases = places.clone().map(|place| format!("http://{place}"));
            let (sent, over) = (Arc::clone(&sent), Arc::clone(&over));
            senders.spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let n = sent.fetch_add(1, Ordering::SeqCst);
                    let mut tries = sender;
                    loop {
                        let base = &bases[tries % 2];
                        match super::post(&client(), base, &noise(n)).await {
                            Some(200) => break,
                            None | Some(503) => tries += 1,
                            Some(status) => panic!("{status}"),
                        }
                        tokio::time::sleep(super::POLL).await;
                    }
                }
            });
        }
        for (round, problem) in problems.iter().enumerate() {
            post_until_accepted(&format!("http://{}", places[round % 2]), &problem.firing()).await;
            for (at, place) in places.iter().enumerate() {
                let old = &mut processes[at];
                old.signal("TERM");
                assert!(old.ended().await.success(), "{}", old.log().join("\n"));
                processes[at] = start(place);
                processes[at].url().await.unwrap();
            }
        }
        over.store(true, Ordering::SeqCst);
        while senders.join_next().await.transpose().unwrap().is_some() {}
        settled(&mut processes[0], &ground).await;
        let all: BTreeSet<usize> = (0..sent.load(Ordering::SeqCst)).collect();
        assert_eq!(stored_noise(&ground).await, all);
        assert_eq!(ground.sql("select count(*) from incident").await, [["3"]]);
        assert_eq!((world.restarts("web"), world.restarts("worker")), (1, 1));
        heard_once(&world);
        for process in processes {
            process.kill().await;
        }
    })
    .await;
}
