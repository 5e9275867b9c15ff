//! Decisions are recorded once, changes are promised once and within their limits.

use super::given::{
    SCOPE, action, add_action, claimed, decision, intent, now, open, opening, step,
};
use crate::support::binary::eventually;
use crate::support::engines::{for_each_engine, on_postgres};
use futures::future::join_all;
use watchkeeper::model::action::{ActionState, Answer};
use watchkeeper::model::alert::Severity;
use watchkeeper::model::guard::Watch;
use watchkeeper::model::ids::ActionId;
use watchkeeper::model::timeline::Entry;
use watchkeeper::model::verdict::Limit;
use watchkeeper::store::actions::{Decided, Decision, Row};
use watchkeeper::store::intents::Intent;
use watchkeeper::store::step::{Change, Step};
use watchkeeper::store::switches::{Halt, Switch};
use watchkeeper::store::timeline::{Head, Stream};
use watchkeeper::store::{Error, Store};

/// An incident with one action, and the step that would start it.
async fn about_to_start(store: &Store, key: &str, from: ActionState, limits: Vec<Limit>) -> Step {
    let lease = claimed(store, key).await;
    let row = action(lease.incident_id, from);
    add_action(store, &row).await;
    let mut step = step(&lease, &Head::default());
    step.intent = Some(Intent { limits, ..intent(&row, from) });
    step
}

async fn counts(store: &Store, limits: Vec<Limit>, now_ms: i64) -> Vec<(Limit, i64)> {
    store.circumstances(Watch::default(), limits, now_ms).await.unwrap().counts
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_are_listed_newest_first() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        assert_eq!(store.awaiting().await.unwrap(), (0, None));
        let incident = opening("disk", Severity::Warning, 1_000);
        open(&store, &incident).await.unwrap();
        let mut rows = Vec::new();
        for (at_ms, state) in
            [(1, ActionState::Awaiting), (2, ActionState::Done), (3, ActionState::Awaiting)]
        {
            let row = Row { proposed_at_ms: at_ms, ..action(incident.id, state) };
            add_action(&store, &row).await;
            rows.insert(0, row);
        }
        assert_eq!(store.actions(SCOPE, None, 10).await.unwrap(), rows);
        assert_eq!(store.actions(SCOPE, None, 1).await.unwrap(), [rows[0].clone()]);
        let awaiting = store.actions(SCOPE, Some(ActionState::Awaiting), 10).await.unwrap();
        assert_eq!(awaiting, [rows[0].clone(), rows[2].clone()]);
        assert_eq!(store.actions("other", None, 10).await.unwrap(), []);
        assert_eq!(store.action("other", rows[0].id).await.unwrap(), None);
        assert_eq!(store.awaiting().await.unwrap(), (2, Some(1)));
        ground.sql("update action set state = 'dancing'").await;
        assert!(matches!(store.actions(SCOPE, None, 10).await, Err(Error::Corrupt(_))));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_have_to_agree_where_the_quorum_is_two() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "disk").await;
        let row = Row { quorum: 2, ..action(lease.incident_id, ActionState::Awaiting) };
        add_action(&store, &row).await;
        let by = |name: &str| Decision { by: name.into(), ..decision(row.id, Answer::Approve) };
        assert_eq!(store.decide(by("rita")).await.unwrap(), Decided::Counted { have: 1, need: 2 });
        assert_eq!(store.decide(by("rita")).await.unwrap(), Decided::Repeated);
        assert_eq!(store.decide(by("kim")).await.unwrap(), Decided::Recorded);
        let stored = store.action(SCOPE, row.id).await.unwrap().unwrap();
        assert_eq!(stored.state, ActionState::Approved);
        assert_eq!(stored.decided_by.as_deref(), Some("rita, kim"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_decisions_the_first_is_recorded() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "disk").await;
        store.commit(step(&lease, &Head::default())).await.unwrap();
        store.release(lease.clone()).await.unwrap();
        let row = action(lease.incident_id, ActionState::Awaiting);
        add_action(&store, &row).await;
        let decisions: Vec<_> = (0..200)
            .map(|n| Decision {
                by: format!("person {n}"),
                ..decision(row.id, if n % 2 == 0 { Answer::Approve } else { Answer::Reject })
            })
            .collect();
        let answers = join_all(decisions.iter().map(|d| store.decide(d.clone()))).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let winners: Vec<_> =
            decisions.iter().zip(&answers).filter(|(_, a)| **a == Decided::Recorded).collect();
        assert_eq!(winners.len(), 1);
        let winner = winners[0].0;
        let state = match winner.answer {
            Answer::Approve => ActionState::Approved,
            Answer::Reject => ActionState::Rejected,
        };
        assert_eq!(answers.iter().filter(|a| **a == Decided::Already(state)).count(), 199);
        let approved_by = match winner.answer {
            Answer::Approve => vec![winner.by.clone()],
            Answer::Reject => Vec::new(),
        };
        let decided = Row {
            state,
            approved_by,
            decided_by: Some(winner.by.clone()),
            decided_at_ms: Some(3_000),
            comment: Some("go".into()),
            ..row.clone()
        };
        assert_eq!(store.action(SCOPE, row.id).await.unwrap(), Some(decided));
        let told = store.inbox(Stream::incident(lease.incident_id)).await.unwrap();
        let entry = Entry::Decided {
            action_id: row.id,
            answer: winner.answer,
            by: winner.by.clone(),
            comment: Some("go".into()),
            decided_at_ms: 3_000,
        };
        assert_eq!(told.iter().map(|i| (i.at_ms, &i.entry)).collect::<Vec<_>>(), [(3_000, &entry)]);
        assert_eq!(store.claim("worker", 9, now(), 60_000).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_can_be_unknown_too_late_or_already_made() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let incident = opening("disk", Severity::Warning, 1_000);
        open(&store, &incident).await.unwrap();
        let answer = |id| {
            let store = store.clone();
            async move { store.decide(decision(id, Answer::Approve)).await.unwrap() }
        };
        assert_eq!(answer(ActionId::new()).await, Decided::NotFound);
        for (state, expires_at_ms, wanted) in [
            (ActionState::Awaiting, Some(3_001), Decided::Recorded),
            (ActionState::Awaiting, None, Decided::Recorded),
            (ActionState::Awaiting, Some(3_000), Decided::TooLate),
            (ActionState::Expired, Some(9_000), Decided::TooLate),
            (ActionState::Superseded, Some(9_000), Decided::Already(ActionState::Superseded)),
            (ActionState::Allowed, None, Decided::Already(ActionState::Allowed)),
        ] {
            let row = Row { expires_at_ms, ..action(incident.id, state) };
            add_action(&store, &row).await;
            assert_eq!(answer(row.id).await, wanted, "{state:?}");
            if wanted != Decided::Recorded {
                assert_eq!(store.action(SCOPE, row.id).await.unwrap(), Some(row));
            }
        }
        assert_eq!(store.inbox(Stream::incident(incident.id)).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_and_an_expiry_at_once_leave_one_truth() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        for n in 0..20 {
            let lease = claimed(&store, &format!("key-{n}")).await;
            let row = action(lease.incident_id, ActionState::Awaiting);
            add_action(&store, &row).await;
            let mut expire = step(&lease, &Head::default());
            expire.actions = vec![Change::Move {
                id: row.id,
                from: ActionState::Awaiting,
                to: ActionState::Expired,
            }];
            let (decided, expired) = futures::join!(
                store.decide(decision(row.id, Answer::Approve)),
                store.commit(expire)
            );
            let state = store.action(SCOPE, row.id).await.unwrap().unwrap().state;
            match (decided.unwrap(), expired) {
                (Decided::Recorded, Err(Error::NoLonger(why))) => {
                    assert_eq!(why, "the action is no longer awaiting");
                    assert_eq!(state, ActionState::Approved);
                }
                (Decided::TooLate, Ok(_)) => assert_eq!(state, ActionState::Expired),
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_is_written_once() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let first = about_to_start(&store, "disk", ActionState::Allowed, Vec::new()).await;
        store.commit(first.clone()).await.unwrap();
        match store.commit(first.clone()).await {
            Err(Error::NoLonger(why)) => assert_eq!(why, "the action is no longer allowed"),
            other => panic!("{other:?}"),
        }
        // Not even when the row is put back by hand.
        ground.sql("update action set state = 'allowed'").await;
        assert!(matches!(store.commit(first).await, Err(Error::Conflict(_))));
        assert_eq!(ground.sql("select count(*) from intent").await, [["1"]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_intents_under_a_limit_of_three_are_three() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let hour = Limit { key: "restart\0 web1".into(), max: 3, within_ms: 1_000 };
        let day = Limit { max: 100, within_ms: 10_000, ..hour.clone() };
        let mut steps = Vec::new();
        for n in 0..100 {
            let limits = vec![hour.clone(), day.clone()];
            let key = format!("key-{n}");
            steps.push(about_to_start(&store, &key, ActionState::Allowed, limits).await);
        }
        let late = steps.split_off(98);
        let answers = join_all(steps.into_iter().map(|step| store.commit(step))).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
        for answer in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            let Error::OverLimit(over) = answer else { panic!("{answer:?}") };
            assert_eq!(*over, [(hour.clone(), 3)]);
        }
        let counts = self::counts(&store, vec![hour.clone(), day.clone()], 4_000).await;
        assert_eq!(counts, [(hour.clone(), 3), (day.clone(), 3)]);
        assert_eq!(ground.sql("select count(*) from intent").await, [["3"]]);

        // A hit counts for less than `within`: at exactly that age it is gone.
        for (mut step, at_ms, allowed) in
            late.into_iter().zip([4_999, 5_000]).map(|(s, at)| (s, at, at == 5_000))
        {
            step.intent.as_mut().unwrap().at_ms = at_ms;
            assert_eq!(store.commit(step).await.is_ok(), allowed, "{at_ms}");
        }
        let counts = self::counts(&store, vec![hour.clone(), day.clone()], 5_000).await;
        assert_eq!(counts, [(hour, 1), (day, 4)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_may_go_beyond_a_limit_and_it_counts() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let limit = Limit { key: "restart".into(), max: 0, within_ms: 1_000 };
        let step = about_to_start(&store, "disk", ActionState::Approved, vec![limit.clone()]).await;
        store.commit(step).await.unwrap();
        let counts = self::counts(&store, vec![limit.clone()], 4_000).await;
        assert_eq!(counts, [(limit, 1)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_ran_out_starts_nothing() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let mut step = about_to_start(&store, "disk", ActionState::Approved, Vec::new()).await;
        step.intent.as_mut().unwrap().at_ms = 9_000;
        match store.commit(step.clone()).await {
            Err(Error::NoLonger(why)) => assert_eq!(why, "the approval has expired"),
            other => panic!("{other:?}"),
        }
        step.intent.as_mut().unwrap().at_ms = 8_999;
        store.commit(step).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_refuses_every_intent_until_it_is_lifted() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        assert_eq!(store.halt().await.unwrap(), None);
        let step = about_to_start(&store, "disk", ActionState::Allowed, Vec::new()).await;
        store.set_halt(Switch::On, "ann", 5_000).await.unwrap();
        let halt = Halt { by: "ann".into(), reason: String::new(), at_ms: 5_000 };
        assert_eq!(store.halt().await.unwrap(), Some(halt));
        match store.commit(step.clone()).await {
            Err(Error::NoLonger(why)) => assert_eq!(why, "all changes are halted by ann"),
            other => panic!("{other:?}"),
        }
        assert_eq!(store.intents_of(step.lease.incident_id).await.unwrap(), 0);
        store.set_halt(Switch::Off, "bob", 6_000).await.unwrap();
        assert_eq!(store.halt().await.unwrap(), None);
        store.commit(step).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_halt_means_that_no_later_intent_is_committed() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        for round in 0..10 {
            let mut steps = Vec::new();
            for n in 0..8 {
                let key = format!("key-{round}-{n}");
                steps.push(about_to_start(&store, &key, ActionState::Allowed, Vec::new()).await);
            }
            let halt = async {
                store.set_halt(Switch::On, "ann", 5_000).await.unwrap();
                ground.sql("select count(*) from intent").await
            };
            let commits = join_all(steps.into_iter().map(|step| store.commit(step)));
            let (at_halt, _) = futures::join!(halt, commits);
            assert_eq!(ground.sql("select count(*) from intent").await, at_halt);
            store.set_halt(Switch::Off, "ann", 6_000).await.unwrap();
        }
    })
    .await;
}

/// Both rows are wanted, the later one is taken: whoever waits for it has the earlier one already.
#[tokio::test(flavor = "multi_thread")]
async fn several_incidents_are_woken_in_the_order_of_their_ids() {
    on_postgres(|ground| async move {
        let store = ground.store().await;
        let mut ids = Vec::new();
        for key in ["one", "other"] {
            let row = action(claimed(&store, key).await.incident_id, ActionState::Awaiting);
            add_action(&store, &row).await;
            ids.push(row.incident_id.to_string());
        }
        ids.sort();
        let [low, high] = &ids[..] else { panic!("{ids:?}") };
        // Puts the earlier row behind the later one, where a scan finds it last.
        ground.sql(format!("update incident set due_at_ms = 1 where id = '{low}'")).await;
        let mut holder = ground.postgres().await;
        let take = format!("begin; select id from incident where id = '{high}' for update");
        sqlx::raw_sql(sqlx::AssertSqlSafe(take)).execute(&mut holder).await.unwrap();
        let look = async {
            eventually("somebody waits", async || {
                let sql = "select pid from pg_stat_activity
                           where datname = current_database() and wait_event_type = 'Lock'";
                (!ground.sql(sql).await.is_empty()).then_some(())
            })
            .await;
            let free = format!("select id from incident where id = '{low}' for update skip locked");
            let free = ground.sql(free).await;
            sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
            free
        };
        let (woken, free) = tokio::join!(store.wake_asked_under_other_rules("r2", 5_000), look);
        assert_eq!((woken.unwrap(), free), (2, Vec::new()));
    })
    .await;
}
