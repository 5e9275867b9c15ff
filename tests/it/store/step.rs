//! A step is committed whole, under a lease that holds, or not at all.

use super::given::{
    SCOPE, action, add_action, announcement, claimed, intent, now, opening, row_of, said, step,
};
use crate::support::engines::for_each_engine;
use futures::future::join_all;
use watchkeeper::model::action::ActionState;
use watchkeeper::model::alert::Severity;
use watchkeeper::model::call::sha256_hex;
use watchkeeper::model::incident::{IncidentRow, State};
use watchkeeper::model::timeline::{Entry, Stored, Usage, chain_hash};
use watchkeeper::model::verdict::Limit;
use watchkeeper::store::actions;
use watchkeeper::store::blobs::{Blob, Kind};
use watchkeeper::store::incidents::Lease;
use watchkeeper::store::intents::Intent;
use watchkeeper::store::step::{Change, Step};
use watchkeeper::store::timeline::{Head, Stream};
use watchkeeper::store::usage::Day;
use watchkeeper::store::{Error, Store};

fn head(stored: &[Stored]) -> Head {
    stored.last().map_or_else(Head::default, |last| Head { seq: last.seq, hash: last.hash.clone() })
}

/// A step with something in every part; also the action that it moves.
async fn full_step(store: &Store, lease: &Lease, limits: Vec<Limit>) -> (Step, actions::Row) {
    let id = lease.incident_id;
    store.tell_incident(id, 1_500, said("ann")).await.unwrap();
    let told = store.inbox(Stream::incident(id)).await.unwrap();
    let row = action(id, ActionState::Allowed);
    add_action(store, &row).await;
    let mut step = step(lease, &Head::default());
    step.entries = vec![(1_600, said("ann")), (1_700, said("bob"))];
    step.folded = told.iter().map(|item| item.id).collect();
    step.blobs = vec![Blob::new(Kind::Output, "whole output".into(), 1_700)];
    step.actions = vec![Change::Insert(Box::new(action(id, ActionState::Awaiting)))];
    step.intent = Some(Intent { limits, ..intent(&row, ActionState::Allowed) });
    step.messages = vec![announcement(Some(id), "started")];
    step.usage = Usage { input_tokens: 10, output_tokens: 5, cost_micros: 7 };
    (step, row)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_commits_every_part_together() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "disk").await;
        let id = lease.incident_id;
        let (step, row) = full_step(&store, &lease, Vec::new()).await;
        let stored = store.commit(step).await.unwrap().stored;

        let body = |by: &str| serde_json::to_string(&said(by)).unwrap();
        let path = format!("incident/{id}");
        let first = chain_hash("", &path, 1, 1_600, &body("ann"));
        let second = chain_hash(&first, &path, 2, 1_700, &body("bob"));
        let wanted = [
            Stored { seq: 1, at_ms: 1_600, entry: said("ann"), hash: first },
            Stored { seq: 2, at_ms: 1_700, entry: said("bob"), hash: second.clone() },
        ];
        assert_eq!(stored, wanted);
        assert_eq!(store.timeline(Stream::incident(id)).await.unwrap(), wanted);
        assert_eq!(store.verify_chain(Stream::incident(id)).await.unwrap(), None);
        assert_eq!(store.inbox(Stream::incident(id)).await.unwrap(), []);
        let hash = sha256_hex(b"whole output");
        assert_eq!(store.blob(&hash).await.unwrap(), Some("whole output".to_owned()));
        assert_eq!(store.blob("none").await.unwrap(), None);
        assert_eq!(store.intents_of(id).await.unwrap(), 1);
        let moved = actions::Row { state: ActionState::Intended, ..row.clone() };
        assert_eq!(store.action(SCOPE, row.id).await.unwrap(), Some(moved));
        let day = Day { tokens: 15, cost_micros: 7 };
        assert_eq!(store.usage_of_day(SCOPE, 2_000).await.unwrap(), day);
        assert_eq!(store.outbox_backlog().await.unwrap().waiting, 1);
        let incident = IncidentRow {
            id,
            scope: SCOPE.into(),
            title: "as the timeline says".into(),
            severity: Severity::Critical,
            state: State::Investigating,
            correlation_key: "disk".into(),
            opened_at_ms: 1_000,
            updated_at_ms: 2_000,
            ended_at_ms: None,
            alerts: 0,
            seq: 2,
        };
        assert_eq!(store.incident(SCOPE, id).await.unwrap(), Some(incident));

        let mut next = super::given::step(&lease, &Head { seq: 2, hash: second });
        next.entries = vec![(1_800, said("eve"))];
        assert_eq!(store.commit(next).await.unwrap().stored[0].seq, 3);
        assert_eq!(store.verify_chain(Stream::incident(id)).await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_leaves_the_row_moves_its_history() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "disk").await;
        let mut first = step(&lease, &Head::default());
        first.entries = vec![(1_600, said("ann"))];
        row_of(&mut first).due_at_ms = Some(1_900);
        let end = head(&store.commit(first).await.unwrap().stored);
        let before = store.incident(SCOPE, lease.incident_id).await.unwrap().unwrap();
        let mut second = step(&lease, &end);
        (second.row, second.at_ms) = (None, 3_000);
        second.entries = vec![(2_600, said("bob"))];
        store.commit(second).await.unwrap();
        let after = IncidentRow { updated_at_ms: 3_000, seq: 2, ..before };
        assert_eq!(store.incident(SCOPE, lease.incident_id).await.unwrap(), Some(after));
        assert_eq!(store.verify_chain(Stream::incident(lease.incident_id)).await.unwrap(), None);
        // It is due as before.
        store.release(lease.clone()).await.unwrap();
        let again = store.claim("other", 10, now(), 60_000).await.unwrap();
        assert_eq!(again.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_intent_leaves_nothing_of_its_step() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "disk").await;
        let id = lease.incident_id;
        let full = Limit { key: "restart web1".into(), max: 0, within_ms: 60_000 };
        let (step, row) = full_step(&store, &lease, vec![full.clone()]).await;
        let before = store.incident(SCOPE, id).await.unwrap();
        match store.commit(step).await {
            Err(Error::OverLimit(over)) => assert_eq!(over, [(full, 0)]),
            other => panic!("{other:?}"),
        }
        assert_eq!(store.timeline(Stream::incident(id)).await.unwrap(), []);
        assert_eq!(store.inbox(Stream::incident(id)).await.unwrap().len(), 1);
        assert_eq!(store.blob(&sha256_hex(b"whole output")).await.unwrap(), None);
        assert_eq!(store.intents_of(id).await.unwrap(), 0);
        assert_eq!(store.actions(SCOPE, None, 10).await.unwrap(), [row]);
        assert_eq!(store.usage_of_day(SCOPE, 2_000).await.unwrap(), Day::default());
        assert_eq!(store.outbox_backlog().await.unwrap().waiting, 0);
        assert_eq!(store.incident(SCOPE, id).await.unwrap(), before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_without_the_lease_or_behind_the_timeline_is_fenced() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "disk").await;
        let id = lease.incident_id;
        let mut first = step(&lease, &Head::default());
        first.entries = vec![(1_600, said("ann"))];
        let end = head(&store.commit(first).await.unwrap().stored);
        let before = store.incident(SCOPE, id).await.unwrap();
        let stale = [
            (Lease { epoch: 0, ..lease.clone() }, end.clone()),
            (Lease { owner: "other".into(), ..lease.clone() }, end.clone()),
            (lease.clone(), Head::default()),
            (lease.clone(), Head { seq: 1, hash: "another history".into() }),
            (lease.clone(), Head { seq: 2, hash: end.hash.clone() }),
        ];
        for (lease, after) in stale {
            let mut late = step(&lease, &after);
            row_of(&mut late).state = State::Resolved;
            late.entries = vec![(1_700, said("late"))];
            late.messages = vec![announcement(Some(id), "late")];
            let mut later = late.clone();
            later.row = None;
            for step in [late, later] {
                let answer = store.commit(step).await;
                assert!(matches!(answer, Err(Error::Fenced)), "{answer:?}");
            }
        }
        assert_eq!(store.incident(SCOPE, id).await.unwrap(), before);
        assert_eq!(store.timeline(Stream::incident(id)).await.unwrap().len(), 1);
        assert_eq!(store.outbox_backlog().await.unwrap().waiting, 0);

        // Whoever takes the incident over writes; the one that lost it does not.
        store.release(lease.clone()).await.unwrap();
        assert!(matches!(store.commit(step(&lease, &end)).await, Err(Error::Fenced)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_steps_after_the_same_entry_one_is_committed() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "disk").await;
        let all = (0..30).map(|n| {
            let mut step = step(&lease, &Head::default());
            step.entries = vec![(1_600, said(&format!("n{n}")))];
            store.commit(step)
        });
        let answers = join_all(all).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        let fenced = answers.iter().filter(|answer| matches!(answer, Err(Error::Fenced)));
        assert_eq!(fenced.count(), 29);
        let chain = store.verify_chain(Stream::incident(lease.incident_id)).await.unwrap();
        assert_eq!(chain, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_during_a_step_makes_the_next_one_due() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "disk").await;
        let stream = Stream::incident(lease.incident_id);
        store.tell_incident(lease.incident_id, 1_500, said("seen")).await.unwrap();
        let seen = store.inbox(stream.clone()).await.unwrap();
        store.tell_incident(lease.incident_id, 1_501, said("unseen")).await.unwrap();
        let mut first = step(&lease, &Head::default());
        first.folded = vec![seen[0].id];
        store.commit(first).await.unwrap();
        let left = store.inbox(stream.clone()).await.unwrap();
        assert_eq!(
            left.iter().map(|i| (i.at_ms, &i.entry)).collect::<Vec<_>>(),
            [(1_501, &said("unseen"))]
        );
        store.release(lease).await.unwrap();
        let lease = store.claim("worker", 1, now(), 60_000).await.unwrap().remove(0);
        let mut second = step(&lease, &Head::default());
        second.folded = vec![left[0].id];
        store.commit(second).await.unwrap();
        store.release(lease).await.unwrap();
        assert_eq!(store.claim("worker", 1, now(), 60_000).await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telling_and_stepping_at_once_never_puts_an_entry_to_sleep() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "disk").await;
        let stream = Stream::incident(lease.incident_id);
        for n in 0..40 {
            let (told, stepped) = futures::join!(
                store.tell_incident(lease.incident_id, 1_500 + n, said("x")),
                store.commit(step(&lease, &Head::default())),
            );
            told.unwrap();
            stepped.unwrap();
            let due = "select 1 from incident where due_at_ms is not null";
            assert_eq!(ground.sql(due).await.len(), 1, "round {n}");
            let mut fold = step(&lease, &Head::default());
            fold.folded =
                store.inbox(stream.clone()).await.unwrap().iter().map(|item| item.id).collect();
            store.commit(fold).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_share_outputs_and_limits_do_not_wait_for_each_other_for_ever() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let mut steps = Vec::new();
        for n in 0..16 {
            let lease = claimed(&store, &format!("key-{n}")).await;
            let row = action(lease.incident_id, ActionState::Allowed);
            add_action(&store, &row).await;
            let mut step = step(&lease, &Head::default());
            step.blobs =
                (0..8).map(|b| Blob::new(Kind::Output, format!("output {b}"), 1_000)).collect();
            let limits = (0..4)
                .map(|k| Limit { key: format!("key {k}"), max: 100, within_ms: 60_000 })
                .collect();
            step.intent = Some(Intent { limits, ..intent(&row, ActionState::Allowed) });
            step.usage = Usage { input_tokens: 1, output_tokens: 0, cost_micros: 0 };
            if n % 2 == 0 {
                step.blobs.reverse();
                step.intent.as_mut().unwrap().limits.reverse();
            }
            steps.push(step);
        }
        for answer in join_all(steps.into_iter().map(|step| store.commit(step))).await {
            answer.unwrap();
        }
        assert_eq!(store.usage_of_day(SCOPE, 2_000).await.unwrap().tokens, 16);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_with_a_nul_and_of_a_megabyte_are_kept_under_their_hash() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "disk").await;
        let blobs = [
            Blob::new(Kind::Output, "a\0b 🧯".into(), 1),
            Blob::new(Kind::Output, "y".repeat(1 << 20), 1),
        ];
        let mut step = step(&lease, &Head::default());
        row_of(&mut step).title = "disk \0 full".into();
        step.blobs = blobs.to_vec();
        step.entries = vec![(1, Entry::Escalated { why: "nul \0, 火".into() })];
        store.commit(step).await.unwrap();
        assert_eq!(blobs[0].hash, sha256_hex("a\u{fffd}b 🧯".as_bytes()));
        for blob in blobs {
            assert_eq!(blob.reference().bytes, i64::try_from(blob.body.len()).unwrap());
            assert_eq!(store.blob(&blob.hash).await.unwrap(), Some(blob.body));
        }
        let stored = store.timeline(Stream::incident(lease.incident_id)).await.unwrap();
        assert_eq!(stored[0].entry, Entry::Escalated { why: "nul \0, 火".into() });
        let incident = store.incident(SCOPE, lease.incident_id).await.unwrap().unwrap();
        assert_eq!(incident.title, "disk \u{fffd} full");
        let unused = opening("x", Severity::Info, 1);
        assert_eq!(store.timeline(Stream::incident(unused.id)).await.unwrap(), []);
    })
    .await;
}
