//! What guards count is counted once, over everybody, and again at the moment of the intent.

use super::given::{SCOPE, action, add_action, announcement, claimed, intent, open, opening, step};
use crate::support::engines::{Ground, for_each_engine};
use futures::future::join_all;
use watchkeeper::model::action::ActionState;
use watchkeeper::model::alert::{Alert, Severity, Status};
use watchkeeper::model::guard::{Breaker, CommonCause, Recent, Slot, Then, Watch};
use watchkeeper::model::ids::{ActionId, IncidentId};
use watchkeeper::model::verdict::{Autonomy, Limit};
use watchkeeper::store::alerts::{self, Record};
use watchkeeper::store::breakers::Failure;
use watchkeeper::store::intents::Intent;
use watchkeeper::store::step::{Announcement, Change, Step};
use watchkeeper::store::timeline::Head;
use watchkeeper::store::{Error, Store};

fn slot(name: &str, max: i64) -> Slot {
    Slot { name: name.into(), max }
}

fn breaker(max: i64) -> Breaker {
    Breaker { name: "breaker".into(), max, within_ms: 1_000, for_ms: 5_000, then: Then::Confirm }
}

fn common(then: Autonomy) -> Option<CommonCause> {
    Some(CommonCause {
        scope: SCOPE.into(),
        alertnames: vec!["Down".into(), "Other".into()],
        at_least: 3,
        within_ms: 1_000,
        then,
    })
}

/// An incident with one action, and the step that would start it.
async fn about_to_start(store: &Store, key: &str, from: ActionState, watch: &Watch) -> Step {
    let lease = claimed(store, key).await;
    let row = action(lease.incident_id, from);
    add_action(store, &row).await;
    let mut step = step(&lease, &Head::default());
    step.intent = Some(Intent { watch: watch.clone(), ..intent(&row, from) });
    step
}

/// The step that records how a started change ended.
fn ended(started: &Step, to: ActionState) -> Step {
    let id = started.intent.as_ref().unwrap().action_id;
    let change = Change::Move { id, from: ActionState::Intended, to };
    Step { actions: vec![change], intent: None, ..started.clone() }
}

async fn recent(store: &Store, watch: &Watch, now_ms: i64) -> Recent {
    store.circumstances(watch.clone(), Vec::new(), now_ms).await.unwrap().recent
}

async fn alert_on(store: &Store, name: &str, target: &str, at_ms: i64, home: Option<IncidentId>) {
    let labels = [("alertname".to_owned(), name.to_owned())].into();
    let (target, fingerprint) = (target.to_owned(), format!("{name} {target} {at_ms}"));
    store
        .write(move |conn| {
            Box::pin(async move {
                let alert = Alert {
                    source: "alertmanager".into(),
                    fingerprint,
                    status: Status::Firing,
                    labels,
                    annotations: Default::default(),
                    starts_at_ms: 1,
                    ends_at_ms: None,
                    generator_url: String::new(),
                };
                let record = Record { alert: &alert, incident: home, deliveries: 1, target };
                alerts::record_all(conn, SCOPE, &[record], at_ms).await
            })
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_changes_of_one_service_one_is_in_flight() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let watch =
            Watch { slots: vec![slot("service=web", 1), slot("all", 50)], ..Watch::default() };
        let mut steps = Vec::new();
        for n in 0..100 {
            // An approval makes no difference.
            let from = if n % 2 == 0 { ActionState::Allowed } else { ActionState::Approved };
            steps.push(about_to_start(&store, &format!("key-{n}"), from, &watch).await);
        }
        for round in 0..3 {
            let answers = join_all(steps.iter().map(|step| store.commit(step.clone()))).await;
            let started: Vec<usize> = answers
                .iter()
                .enumerate()
                .filter_map(|(n, answer)| match answer {
                    Ok(_) => Some(n),
                    Err(Error::Crowded(why)) => {
                        assert_eq!(why, "service=web: 1 of 1 in flight");
                        None
                    }
                    // Started in an earlier round.
                    Err(Error::NoLonger(_)) => None,
                    Err(other) => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(started.len(), 1, "round {round}");
            let in_flight = [("service=web".to_owned(), 1), ("all".to_owned(), 1)].into();
            assert_eq!(recent(&store, &watch, 4_000).await.in_flight, in_flight);
            // Whether it helped or not, the next one may start, unless nobody knows that it ended.
            let to = [ActionState::Done, ActionState::Failed, ActionState::Unknown][round];
            let step = steps.swap_remove(started[0]);
            store.commit(ended(&step, to)).await.unwrap();
        }
        assert_eq!(ground.sql("select count(*) from intent").await, [["3"]]);
        assert_eq!(ground.sql("select count(*) from slot").await, [["2"]]);
        let allowed = |step: &Step| step.intent.as_ref().unwrap().from == ActionState::Allowed;
        let mut next = steps.into_iter().find(allowed).unwrap();
        assert!(matches!(store.commit(next.clone()).await, Err(Error::Crowded(_))));
        let intent = next.intent.as_mut().unwrap();
        intent.at_ms = intent.held_until_ms;
        store.commit(next).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_nobody_gives_back_is_free_after_its_time() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let watch = Watch { slots: vec![slot("all", 1)], ..Watch::default() };
        let first = about_to_start(&store, "one", ActionState::Allowed, &watch).await;
        let mut second = about_to_start(&store, "two", ActionState::Allowed, &watch).await;
        let until_ms = first.intent.as_ref().unwrap().held_until_ms;
        store.commit(first).await.unwrap();
        second.intent.as_mut().unwrap().at_ms = until_ms - 1;
        assert!(matches!(store.commit(second.clone()).await, Err(Error::Crowded(_))));
        second.intent.as_mut().unwrap().at_ms = until_ms;
        store.commit(second).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_place_has_room_for_as_many_as_it_says() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let mut steps = Vec::new();
        for n in 0..24 {
            let region = format!("region={}", n % 3);
            let slots = vec![slot("all", 5), slot(&region, 2)];
            let watch = Watch { slots, ..Watch::default() };
            steps
                .push(about_to_start(&store, &format!("k{n}"), ActionState::Allowed, &watch).await);
        }
        let answers = join_all(steps.into_iter().map(|step| store.commit(step))).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 5);
        let regions = ground
            .sql("select count(*) from slot where name <> 'all' group by name order by 1 desc")
            .await;
        assert_eq!(regions, [["2"], ["2"], ["1"]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_on_many_targets_holds_what_nobody_approved() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let (home, over) = (
            opening("down", Severity::Critical, 1_000),
            opening("over", Severity::Critical, 1_000),
        );
        open(&store, &home).await.unwrap();
        open(&store, &over).await.unwrap();
        ground.sql("update incident set open_key = null where correlation_key = 'over'").await;
        let (home, over) = (Some(home.id), Some(over.id));
        let advise = Watch { common: common(Autonomy::Advise), ..Watch::default() };
        let allowed = about_to_start(&store, "one", ActionState::Allowed, &advise).await;
        for (target, at_ms, home) in [
            ("host=a", 3_500, home),
            // The same target again, one of a closed incident of long ago, one that was over at
            // once.
            ("host=a", 3_600, home),
            ("host=b", 3_000, over),
            ("host=c", 3_700, None),
            ("host=d", 3_900, home),
        ] {
            alert_on(&store, "Down", target, at_ms, home).await;
        }
        alert_on(&store, "Another", "host=e", 3_900, home).await;
        let found = recent(&store, &advise, 4_000).await.targets;
        assert_eq!(found, [("Down".to_owned(), 2), ("Other".to_owned(), 0)].into());

        alert_on(&store, "Down", "host=f", 3_999, home).await;
        match store.commit(allowed.clone()).await {
            Err(Error::Held(why)) => assert_eq!(why, "common cause: Down fires on 3 targets"),
            other => panic!("{other:?}"),
        }
        let approved = about_to_start(&store, "two", ActionState::Approved, &advise).await;
        store.commit(approved).await.unwrap();
        let page = Watch { common: common(Autonomy::Page), ..Watch::default() };
        let approved = about_to_start(&store, "three", ActionState::Approved, &page).await;
        assert!(matches!(store.commit(approved).await, Err(Error::Held(_))));
        // When the window has passed it burns on, as long as nobody says that it is over.
        let mut later = allowed;
        later.intent.as_mut().unwrap().at_ms = 4_999;
        assert!(matches!(store.commit(later.clone()).await, Err(Error::Held(_))));
        ground.sql("update alert set status = 'resolved' where target = 'host=f'").await;
        store.commit(later).await.unwrap();
    })
    .await;
}

fn failure(id: ActionId, at_ms: i64, max: i64) -> Failure {
    let transition = format!("breaker:{at_ms}");
    let announcement = Announcement { transition, ..announcement(None, "breaker") };
    Failure { action_id: id, at_ms, breakers: vec![(breaker(max), announcement)] }
}

async fn fail(store: &Store, key: &str, failure: Failure) {
    let lease = claimed(store, key).await;
    let step = Step { failures: vec![failure], ..step(&lease, &Head::default()) };
    store.commit(step).await.unwrap();
}

async fn announced(ground: &Ground) -> usize {
    ground.sql("select id from message").await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_opens_once_holds_for_its_time_and_opens_again() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let watch = Watch { breakers: vec![breaker(3)], ..Watch::default() };
        // One long ago, and one that failed and was then measured not to have helped.
        let twice = ActionId::new();
        for (n, (id, at_ms)) in
            [(ActionId::new(), 2_000), (twice, 3_100), (twice, 3_200), (ActionId::new(), 3_300)]
                .into_iter()
                .enumerate()
        {
            fail(&store, &format!("before-{n}"), failure(id, at_ms, 3)).await;
        }
        assert_eq!(store.breakers().await.unwrap(), []);
        fail(&store, "third", failure(ActionId::new(), 3_400, 3)).await;
        assert_eq!(store.breakers().await.unwrap(), [("breaker".to_owned(), 8_400)]);
        assert_eq!(announced(&ground).await, 1);
        // What fails meanwhile is counted and changes nothing.
        fail(&store, "fourth", failure(ActionId::new(), 3_500, 3)).await;
        assert_eq!(store.breakers().await.unwrap(), [("breaker".to_owned(), 8_400)]);
        assert_eq!(announced(&ground).await, 1);

        let open = [("breaker".to_owned(), 8_400)].into();
        assert_eq!(recent(&store, &watch, 8_399).await.open_until_ms, open);
        assert_eq!(recent(&store, &watch, 8_400).await, Recent::default());
        let mut allowed = about_to_start(&store, "one", ActionState::Allowed, &watch).await;
        match store.commit(allowed.clone()).await {
            Err(Error::Held(why)) => assert_eq!(why, "breaker: it is open"),
            other => panic!("{other:?}"),
        }
        let approved = about_to_start(&store, "two", ActionState::Approved, &watch).await;
        store.commit(approved).await.unwrap();
        let forbidden = Breaker { then: Then::Forbidden, ..breaker(3) };
        let forbidden = Watch { breakers: vec![forbidden], ..Watch::default() };
        let approved = about_to_start(&store, "three", ActionState::Approved, &forbidden).await;
        assert!(matches!(store.commit(approved).await, Err(Error::Held(_))));
        allowed.intent.as_mut().unwrap().at_ms = 8_400;
        store.commit(allowed).await.unwrap();

        for n in 0..3 {
            fail(&store, &format!("again-{n}"), failure(ActionId::new(), 9_000 + n, 3)).await;
        }
        assert_eq!(store.breakers().await.unwrap(), [("breaker".to_owned(), 14_002)]);
        assert_eq!(announced(&ground).await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_failures_at_once_one_opens_the_breaker() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let mut steps = Vec::new();
        for n in 0..50 {
            let lease = claimed(&store, &format!("key-{n}")).await;
            let failures = vec![failure(ActionId::new(), 3_000 + n, 10)];
            steps.push(Step { failures, ..step(&lease, &Head::default()) });
        }
        for answer in join_all(steps.into_iter().map(|step| store.commit(step))).await {
            answer.unwrap();
        }
        assert_eq!(store.breakers().await.unwrap().len(), 1);
        assert_eq!(announced(&ground).await, 1);
        assert_eq!(ground.sql("select count(*) from bad_change").await, [["50"]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_goes_beyond_a_limit_unless_the_limit_is_strict() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let limit = Limit { key: "recurrence".into(), max: 1, within_ms: 1_000 };
        let strict = Watch { strict: vec![limit.clone()], ..Watch::default() };
        for (key, watch, allowed) in [
            ("one", &Watch::default(), true),
            ("two", &Watch::default(), true),
            ("three", &strict, false),
        ] {
            let mut step = about_to_start(&store, key, ActionState::Approved, watch).await;
            step.intent.as_mut().unwrap().limits = vec![limit.clone()];
            match store.commit(step).await {
                Ok(_) => assert!(allowed, "{key}"),
                Err(Error::OverLimit(over)) => {
                    assert_eq!((allowed, over), (false, vec![(limit.clone(), 2)]), "{key}");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    })
    .await;
}
