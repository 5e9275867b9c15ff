//! Jobs that one of all replicas does.
//!
//! Two stores on one Postgres are two replicas; on SQLite, which one process owns, two owners share
//! the store.

use crate::support::engines::{Ground, Opened, for_each_engine};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use watchkeeper::clock::Clock;
use watchkeeper::schedule::{Job, Ran, Schedule};
use watchkeeper::store::schedules::{Asking, Ended, Look, Turn};
use watchkeeper::tasks::Tasks;

/// Whatever a test waits for comes within this, or never.
const PATIENCE: Duration = Duration::from_secs(60);
const START_MS: i64 = 1_773_136_800_000;
/// Longer than any test, so that no lease runs out by itself.
const LONG: Duration = Duration::from_secs(3_600);
const JOB: Job = Job { name: "sweep", every: LONG, lease: LONG };

/// Two owners of one database.
async fn two(ground: &Ground, clock: &Clock) -> (Vec<Opened>, Schedule, Schedule) {
    let mut opened = vec![ground.open().await];
    if ground.engine() == "postgres" {
        opened.push(ground.open().await);
    }
    let of = |owner: &str, at: usize| Schedule {
        store: opened[at.min(opened.len() - 1)].store.clone(),
        clock: clock.clone(),
        owner: owner.to_owned(),
    };
    let (one, other) = (of("one", 0), of("other", 1));
    (opened, one, other)
}

async fn look(schedule: &Schedule, job: &Job, done: &AtomicUsize) -> Ran {
    let mut work = || async {
        done.fetch_add(1, Ordering::SeqCst);
        Ok::<(), String>(())
    };
    schedule.once(job, &CancellationToken::new(), &mut work).await.unwrap()
}

/// The turn of an owner that is gone: nobody renews it and nobody gives it back.
async fn abandoned(schedule: &Schedule, job: &Job, lease_ms: i64) -> Turn {
    let asking = Asking {
        job: job.name.to_owned(),
        owner: schedule.owner.clone(),
        now_ms: schedule.clock.now_ms(),
        every_ms: i64::try_from(job.every.as_millis()).unwrap(),
        lease_ms,
    };
    match schedule.store.take_turn(asking).await.unwrap() {
        Look::Ours(turn) => turn,
        Look::Later(ms) => panic!("not due for {ms} ms"),
    }
}

#[tokio::test]
async fn a_job_is_done_once_among_replicas_and_again_when_it_is_due() {
    for_each_engine(|ground| async move {
        let clock = Clock::set_at(START_MS);
        let (opened, one, other) = two(&ground, &clock).await;
        let done = AtomicUsize::new(0);
        let looks = tokio::join!(look(&one, &JOB, &done), look(&other, &JOB, &done));
        let ours = [&looks.0, &looks.1].iter().filter(|ran| ***ran == Ran::Done).count();
        assert_eq!((ours, done.load(Ordering::SeqCst)), (1, 1), "{looks:?}");
        assert!(matches!(look(&other, &JOB, &done).await, Ran::Later(ms) if ms > 0));
        let job = one.store.scheduled().await.unwrap().remove(0);
        assert_eq!((job.owner, job.succeeded_at_ms, job.turn), (None, Some(START_MS), 1));
        // Its time comes.
        clock.advance(3_600_001);
        ground.sql("update schedule set due_at_ms = due_at_ms - 3600001").await;
        assert_eq!(look(&other, &JOB, &done).await, Ran::Done);
        assert!(matches!(look(&one, &JOB, &done).await, Ran::Later(_)));
        assert_eq!(done.load(Ordering::SeqCst), 2);
        for opened in opened {
            opened.close().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_turn_of_an_owner_that_is_gone_is_taken_over_after_its_lease_and_not_before() {
    for_each_engine(|ground| async move {
        let clock = Clock::set_at(START_MS);
        let (_opened, one, other) = two(&ground, &clock).await;
        let done = AtomicUsize::new(0);
        let turn = abandoned(&one, &JOB, 3_600_000).await;
        assert!(matches!(look(&other, &JOB, &done).await, Ran::Later(_)));
        assert!(one.store.keep_turn(&turn, clock.now_ms(), 3_600_000).await.unwrap());
        // The lease runs out: on Postgres by the database's clock, whatever the process believes.
        clock.advance(3_600_001);
        if ground.engine() == "postgres" {
            assert!(matches!(look(&other, &JOB, &done).await, Ran::Later(_)));
            ground.sql("update schedule set lease_until_ms = lease_until_ms - 3600001").await;
        }
        assert_eq!(look(&other, &JOB, &done).await, Ran::Done);
        // The one that was gone comes back: the turn is no longer its own.
        assert!(!one.store.keep_turn(&turn, clock.now_ms(), 3_600_000).await.unwrap());
        one.store.end_turn(turn, 1, 1, Ended::Failed("late".into())).await.unwrap();
        let job = one.store.scheduled().await.unwrap().remove(0);
        assert_eq!((job.turn, job.error, job.succeeded_at_ms), (2, None, Some(clock.now_ms())));
    })
    .await;
}

#[tokio::test]
async fn a_failure_and_a_panic_are_kept_and_the_job_is_due_again() {
    for_each_engine(|ground| async move {
        let clock = Clock::set_at(START_MS);
        let (_opened, one, other) = two(&ground, &clock).await;
        let job = Job { every: Duration::ZERO, ..JOB };
        let stop = CancellationToken::new();
        let mut fails = || async { Err::<(), _>("the peer is away") };
        let ran = one.once(&job, &stop, &mut fails).await.unwrap();
        assert_eq!(ran, Ran::Failed("the peer is away".into()));
        let row = one.store.scheduled().await.unwrap().remove(0);
        assert_eq!((row.error.as_deref(), row.succeeded_at_ms), (Some("the peer is away"), None));
        let mut panics = || async { panic!("on purpose") };
        let ran = one.once::<_, _, String>(&job, &stop, &mut panics).await.unwrap();
        assert_eq!(ran, Ran::Failed("it panicked".into()));
        let done = AtomicUsize::new(0);
        assert_eq!(look(&other, &job, &done).await, Ran::Done);
        let row = one.store.scheduled().await.unwrap().remove(0);
        assert_eq!((row.error, row.succeeded_at_ms), (None, Some(START_MS)));
    })
    .await;
}

#[tokio::test]
async fn work_whose_turn_was_taken_away_is_dropped() {
    for_each_engine(|ground| async move {
        let clock = Clock::set_at(START_MS);
        let (_opened, one, _other) = two(&ground, &clock).await;
        let job = Job { lease: Duration::from_millis(300), ..JOB };
        let started = Arc::new(Notify::new());
        let began = Arc::clone(&started);
        let mut hangs = || {
            began.notify_one();
            std::future::pending::<Result<(), String>>()
        };
        let stop = CancellationToken::new();
        let steal = async {
            started.notified().await;
            ground.sql("update schedule set owner = 'other', turn = turn + 1").await;
        };
        let work = tokio::time::timeout(PATIENCE, one.once(&job, &stop, &mut hangs));
        let (ran, ()) = tokio::join!(work, steal);
        assert_eq!(ran.unwrap().unwrap(), Ran::Lost);
        let row = one.store.scheduled().await.unwrap().remove(0);
        assert_eq!(row.owner.as_deref(), Some("other"));
    })
    .await;
}

#[tokio::test]
async fn a_loop_that_is_told_to_stop_gives_its_turn_back_at_once() {
    for_each_engine(|ground| async move {
        let clock = Clock::set_at(START_MS);
        let (_opened, one, other) = two(&ground, &clock).await;
        let tasks = Tasks::default();
        let started = Arc::new(Notify::new());
        let began = Arc::clone(&started);
        tasks.spawn(one.run(JOB, tasks.stopping(), move || {
            began.notify_one();
            std::future::pending::<Result<(), String>>()
        }));
        tokio::time::timeout(PATIENCE, started.notified()).await.unwrap();
        let done = AtomicUsize::new(0);
        assert!(matches!(look(&other, &JOB, &done).await, Ran::Later(_)));
        assert_eq!(tasks.shut_down(PATIENCE).await, 0);
        assert_eq!(look(&other, &JOB, &done).await, Ran::Done);
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_put_a_job_off() {
    for_each_engine(|ground| async move {
        let clock = Clock::set_at(START_MS);
        let (_opened, one, _other) = two(&ground, &clock).await;
        let done = AtomicUsize::new(0);
        assert_eq!(look(&one, &JOB, &done).await, Ran::Done);
        ground.sql("update schedule set due_at_ms = due_at_ms + 31536000000").await;
        assert_eq!(look(&one, &JOB, &done).await, Ran::Done);
        assert_eq!(done.load(Ordering::SeqCst), 2);
    })
    .await;
}
