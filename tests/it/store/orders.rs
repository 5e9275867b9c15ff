//! An order that was answered binds every later intent, and what people and processes do to the
//! system is one chain.

use super::given::{action, add_action, claimed, intent, step};
use crate::support::engines::for_each_engine;
use futures::future::join_all;
use watchkeeper::model::action::ActionState;
use watchkeeper::model::ids::HoldId;
use watchkeeper::model::orders::{Hold, Orders, Quarantined};
use watchkeeper::model::system::{Known, SystemEntry};
use watchkeeper::model::verdict::Autonomy;
use watchkeeper::store::intents::Intent;
use watchkeeper::store::step::Step;
use watchkeeper::store::switches::Switch;
use watchkeeper::store::system::Loaded;
use watchkeeper::store::timeline::{Broken, Head, Stream};
use watchkeeper::store::{Error, Store};

fn hold(host: &str, at_ms: i64, until_ms: i64) -> Hold {
    Hold {
        id: HoldId::new(),
        matchers: vec![format!("host={host}")],
        reason: "restore\0 runs".into(),
        by: "kim".into(),
        at_ms,
        until_ms,
    }
}

fn quarantined(rule: &str, at_ms: i64) -> Quarantined {
    Quarantined { rule: rule.into(), reason: "wrong".into(), by: "kim".into(), at_ms }
}

async fn about_to_start(store: &Store, key: &str, orders_version: i64) -> Step {
    let lease = claimed(store, key).await;
    let row = action(lease.incident_id, ActionState::Allowed);
    add_action(store, &row).await;
    let mut step = step(&lease, &Head::default());
    step.intent = Some(Intent { orders_version, ..intent(&row, ActionState::Allowed) });
    step
}

async fn system(store: &Store) -> Vec<SystemEntry> {
    let entries = store.system_timeline(0, 1_000).await.unwrap();
    assert!(entries.iter().zip(1..).all(|(entry, seq)| entry.seq == seq), "{entries:?}");
    assert_eq!(store.verify_chain(Stream::system()).await.unwrap(), None);
    entries.into_iter().map(|stored| stored.entry).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_and_quarantine_are_kept_counted_and_written_down() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        assert_eq!(store.orders(1_000).await.unwrap(), Orders::default());
        let (short, long) = (hold("a", 1_000, 2_000), hold("b", 1_001, 9_000));
        store.add_hold(long.clone()).await.unwrap();
        store.add_hold(short.clone()).await.unwrap();
        store.quarantine(quarantined("one", 1_002)).await.unwrap();
        store.quarantine(quarantined("one", 1_003)).await.unwrap();
        let orders = store.orders(1_999).await.unwrap();
        let clean = |hold: &Hold| Hold { reason: "restore\u{fffd} runs".into(), ..hold.clone() };
        assert_eq!(orders.version, 4);
        assert_eq!(orders.holds, [clean(&short), clean(&long)]);
        assert_eq!(orders.quarantined, [quarantined("one", 1_003)]);
        assert_eq!(store.orders(2_000).await.unwrap().holds, [clean(&long)]);

        assert_eq!(store.remove_hold(short.id, "ann", 2_000).await.unwrap(), None, "it is over");
        assert_eq!(store.remove_hold(HoldId::new(), "ann", 2_000).await.unwrap(), None);
        let removed = store.remove_hold(long.id, "ann", 2_000).await.unwrap();
        assert_eq!(removed, Some(clean(&long)));
        let version = store.orders(2_000).await.unwrap().version;
        assert_eq!(version, 5, "what was not found is no order");
        assert_eq!(store.remove_hold(long.id, "ann", 2_000).await.unwrap(), None);
        let past = store.past_holds(10).await.unwrap();
        let ended: Vec<_> = past.iter().map(|p| (p.hold.id, p.removed_by.clone())).collect();
        assert_eq!(ended, [(long.id, Some("ann".to_owned())), (short.id, None)]);

        assert!(store.release_rule("one", "ann", 3_000).await.unwrap());
        assert!(!store.release_rule("one", "ann", 3_000).await.unwrap());
        let orders = store.orders(3_000).await.unwrap();
        assert_eq!((orders.version, orders.quarantined), (6, Vec::new()));
        let told = system(&store).await;
        let kinds: Vec<String> = told
            .iter()
            .map(|e| serde_json::to_value(e).unwrap()["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            kinds,
            [
                "hold_made",
                "hold_made",
                "rule_quarantined",
                "rule_quarantined",
                "hold_removed",
                "rule_released"
            ]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_was_judged_before_an_order_is_judged_again() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let step = about_to_start(&store, "disk", 0).await;
        store.add_hold(hold("web1", 1_000, 9_000)).await.unwrap();
        assert!(matches!(store.commit(step.clone()).await, Err(Error::OrdersChanged)));
        assert_eq!(ground.sql("select count(*) from intent").await, [["0"]]);
        assert_eq!(ground.sql("select state from action").await, [["allowed"]]);
        let mut again = step;
        again.intent.as_mut().unwrap().orders_version = 1;
        store.commit(again).await.unwrap();
        let flying = store.in_flight().await.unwrap();
        assert_eq!(flying.len(), 1);
        assert_eq!((flying[0].tool.as_str(), flying[0].since_ms), ("restart_service", 4_000));
        assert_eq!(flying[0].targets, ["web1", "nginx"]);
        assert_eq!(flying[0].incident, "as the timeline says");
        ground.sql("update action set state = 'done'").await;
        assert_eq!(store.in_flight().await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_answered_is_missed_by_no_intent() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        for round in 0..10 {
            let version = store.orders(0).await.unwrap().version;
            let mut steps = Vec::new();
            for n in 0..8 {
                steps.push(about_to_start(&store, &format!("key-{round}-{n}"), version).await);
            }
            let order = async {
                if round % 2 == 0 {
                    store.add_hold(hold("web1", 1_000, 9_000)).await.unwrap();
                } else {
                    store.quarantine(quarantined("one", 1_000)).await.unwrap();
                }
                ground.sql("select count(*) from intent").await
            };
            let commits = join_all(steps.into_iter().map(|step| store.commit(step)));
            let (at_answer, answers) = futures::join!(order, commits);
            assert_eq!(ground.sql("select count(*) from intent").await, at_answer);
            let refused = |answer: &Result<_, _>| matches!(answer, Err(Error::OrdersChanged));
            assert!(answers.iter().all(|answer| answer.is_ok() || refused(answer)));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_keeps_its_reason_and_both_turns_are_history() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        store.set_halt(Switch::Off, "bob", 1).await.unwrap();
        assert_eq!(system(&store).await, [], "nothing was resumed");
        store.order_halt(Switch::On, "ann", "deploy night", 5).await.unwrap();
        let step = about_to_start(&store, "disk", 0).await;
        match store.commit(step).await {
            Err(Error::NoLonger(why)) => {
                assert_eq!(why, "all changes are halted by ann: deploy night");
            }
            other => panic!("{other:?}"),
        }
        store.set_halt(Switch::Off, "bob", 6).await.unwrap();
        let brake = store.brake().await.unwrap();
        assert_eq!((brake.halt, brake.orders_version), (None, 0));
        let halted = SystemEntry::Halted { by: "ann".into(), reason: "deploy night".into() };
        assert_eq!(system(&store).await, [halted, SystemEntry::Resumed { by: "bob".into() }]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_append_to_one_chain() {
    for_each_engine(|ground| async move {
        let one = ground.store().await;
        let two = if ground.engine() == "postgres" { ground.store().await } else { one.clone() };
        let append = |n: usize| {
            let store = if n.is_multiple_of(2) { one.clone() } else { two.clone() };
            async move {
                let entry = SystemEntry::Resumed { by: format!("person {n}") };
                store.record_system(1_000, entry).await
            }
        };
        for answer in join_all((0..100).map(append)).await {
            answer.unwrap();
        }
        assert_eq!(system(&one).await.len(), 100);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_timeline_that_was_cut_off_or_removed_is_found() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        for n in 1..=3 {
            let entry = SystemEntry::Resumed { by: format!("person {n}") };
            store.record_system(n, entry).await.unwrap();
        }
        ground.sql("create table kept as select * from timeline").await;
        ground.sql("create table kept_head as select * from stream_head").await;
        let cases = [
            ("delete from timeline where seq = 3", 3, "the chain ends at 2 instead of 3"),
            ("delete from timeline where seq = 2", 3, "entry 2 is missing"),
            ("delete from timeline", 1, "the chain ends at 0 instead of 3"),
            ("delete from stream_head", 4, "the row that says where the chain ends is gone"),
            (
                "update timeline set at_ms = 9 where seq = 1",
                1,
                "the entry or one before it was changed",
            ),
        ];
        for (forgery, seq, why) in cases {
            ground.sql(forgery).await;
            let streams = store.streams().await.unwrap();
            let named = streams.iter().find(|named| named.stream_kind == "system").unwrap();
            let wanted = Some(Broken { seq, why: why.into() });
            assert_eq!(store.audit(named).await.unwrap(), wanted, "{forgery}");
            ground.sql("delete from timeline").await;
            ground.sql("insert into timeline select * from kept").await;
            ground.sql("delete from stream_head").await;
            ground.sql("insert into stream_head select * from kept_head").await;
            assert_eq!(store.audit(named).await.unwrap(), None, "{forgery}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_works_whatever_became_of_the_history_and_going_on_does_not() {
    for forgery in [
        "delete from stream_head",
        "update stream_head set seq = 1 where stream_kind = 'system'",
        "alter table timeline rename to gone",
    ] {
        for_each_engine(|ground| async move {
            let store = ground.store().await;
            for n in 1..=3 {
                let entry = SystemEntry::Resumed { by: format!("person {n}") };
                store.record_system(n, entry).await.unwrap();
            }
            ground.sql(forgery).await;
            let entry = SystemEntry::Resumed { by: "ann".into() };
            assert!(store.record_system(9, entry).await.is_err(), "{forgery}");
            let held = hold("web1", 1, 9_000);
            store.add_hold(held.clone()).await.unwrap();
            store.quarantine(quarantined("one", 9)).await.unwrap();
            store.order_halt(Switch::On, "ann", "fire", 9).await.unwrap();

            assert!(store.set_halt(Switch::Off, "ann", 9).await.is_err(), "{forgery}");
            assert!(store.remove_hold(held.id, "ann", 9).await.is_err(), "{forgery}");
            assert!(store.release_rule("one", "ann", 9).await.is_err(), "{forgery}");
            let halt = store.halt().await.unwrap().unwrap();
            assert_eq!((halt.by.as_str(), halt.reason.as_str()), ("ann", "fire"));
            let orders = store.orders(9).await.unwrap();
            assert_eq!((orders.version, orders.holds.len()), (2, 1), "an order is not half done");
            assert_eq!(orders.quarantined, [quarantined("one", 9)]);
        })
        .await;
    }
}

fn loaded(text: &str) -> Loaded {
    let version = watchkeeper::model::call::sha256_hex(text.as_bytes());
    Loaded { version, text: text.to_owned(), autonomy: Autonomy::Act }
}

fn differ(before: &str, after: &str) -> Vec<String> {
    vec![format!("{before} became {after}")]
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_written_down_once_with_what_changed() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let again = join_all((0..8).map(|_| store.record_rules(1, loaded("one"), differ))).await;
        assert!(again.iter().all(Result::is_ok), "{again:?}");
        store.record_rules(2, loaded("two"), differ).await.unwrap();
        ground.sql("delete from blob").await;
        store.record_rules(3, loaded("one"), differ).await.unwrap();
        let changes: Vec<Vec<String>> = system(&store)
            .await
            .into_iter()
            .map(|entry| {
                let SystemEntry::RulesLoaded { changes, .. } = entry else { panic!("{entry:?}") };
                changes
            })
            .collect();
        assert_eq!(
            changes,
            [["the first rules"], ["one became two"], ["the rules before are not kept any more"]]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_written_down_when_they_change_and_by_one_replica() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let known = |name: &str, role: &str| Known {
            what: "user".into(),
            name: name.into(),
            role: Some(role.into()),
            source: None,
            stamp: "s".into(),
        };
        let record = |people: Vec<Known>| {
            let store = store.clone();
            async move { store.record_access(1, "box/1", people).await.unwrap() }
        };
        record(Vec::new()).await;
        let both = vec![known("ann", "sre"), known("bob", "viewer")];
        join_all((0..8).map(|_| record(both.clone()))).await;
        record(vec![known("bob", "admin")]).await;
        record(both).await;
        let words: Vec<String> = system(&store).await.iter().map(SystemEntry::words).collect();
        assert_eq!(
            words,
            [
                "user ann (sre) added; user bob (viewer) added",
                "user ann (sre) removed; user bob: role admin, was viewer",
                "user bob: role viewer, was admin; user ann (sre) added"
            ]
        );
    })
    .await;
}
