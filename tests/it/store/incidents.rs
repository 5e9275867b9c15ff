//! Opening, joining, claiming and leasing incidents.

use super::given::{SCOPE, claimed, now, open, opening, place, row_of, step};
use crate::support::engines::for_each_engine;
use futures::future::join_all;
use std::collections::BTreeSet;
use watchkeeper::model::alert::{Alert, AlertKey, Labels, Severity, Status};
use watchkeeper::model::ids::IncidentId;
use watchkeeper::model::incident::{IncidentRow, State};
use watchkeeper::store::alerts::{self, Known, Listed, Record};
use watchkeeper::store::incidents::{self, Filter, Lease, Place};
use watchkeeper::store::timeline::Head;
use watchkeeper::store::{Error, Store};

fn row(opening: &incidents::Opening) -> IncidentRow {
    IncidentRow {
        id: opening.id,
        scope: SCOPE.into(),
        title: opening.title.clone(),
        severity: opening.severity,
        state: State::Open,
        correlation_key: opening.correlation_key.clone(),
        opened_at_ms: opening.at_ms,
        updated_at_ms: opening.at_ms,
        ended_at_ms: None,
        alerts: 0,
        seq: 0,
    }
}

/// Ends a claimed incident and gives it back.
async fn end(store: &Store, lease: &Lease, ended_at_ms: i64) {
    let mut step = step(lease, &Head::default());
    let row = row_of(&mut step);
    (row.state, row.ended_at_ms) = (State::Resolved, Some(ended_at_ms));
    store.commit(step).await.unwrap();
    store.release(lease.clone()).await.unwrap();
}

async fn reopen(store: &Store, id: IncidentId, at_ms: i64) -> Result<u64, Error> {
    store.write(move |c| Box::pin(async move { incidents::reopen(c, id, at_ms, None).await })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_has_one_open_incident() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let all: Vec<_> = (0..50).map(|_| opening("disk", Severity::Warning, 1_000)).collect();
        let opened = join_all(all.iter().map(|opening| open(&store, opening))).await;
        let opened: Vec<u64> = opened.into_iter().map(Result::unwrap).collect();
        assert_eq!(opened.iter().sum::<u64>(), 1);
        let first = all.iter().zip(&opened).find(|(_, opened)| **opened == 1).unwrap().0;
        assert_eq!(store.incident(SCOPE, first.id).await.unwrap(), Some(row(first)));
        assert_eq!(store.incident("other", first.id).await.unwrap(), None);
        assert_eq!(
            store.incidents(SCOPE, Filter { state: None, at_most: 9 }).await.unwrap(),
            [row(first)]
        );
        // The same key of another team is another problem.
        let mut other = opening("disk", Severity::Warning, 1_000);
        other.scope = "other".into();
        assert_eq!(open(&store, &other).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_find_their_incident_open_ended_or_nowhere() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        assert_eq!(place(&store, "disk", 0).await, None);
        let lease = claimed(&store, "disk").await;
        let id = lease.incident_id;
        assert_eq!(place(&store, "disk", 0).await, Some(Place::Open(id)));
        end(&store, &lease, 5_000).await;
        assert_eq!(place(&store, "disk", 5_000).await, Some(Place::Ended(id)));
        assert_eq!(place(&store, "disk", 5_001).await, None);
        assert_eq!(reopen(&store, id, 6_000).await.unwrap(), 1);
        assert_eq!(place(&store, "disk", 0).await, Some(Place::Open(id)));
        let lease = store.claim("worker", 1, now(), 60_000).await.unwrap().remove(0);
        assert_eq!(lease.incident_id, id);
        end(&store, &lease, 7_000).await;

        // A later one took the key, so that the old one stays ended, and both can still be stepped.
        let later = claimed(&store, "disk").await;
        assert_eq!(reopen(&store, id, 8_000).await.unwrap(), 0);
        assert_eq!(place(&store, "disk", 0).await, Some(Place::Open(later.incident_id)));
        ground.sql(format!("update incident set due_at_ms = 1 where id = '{id}'")).await;
        let old = store.claim("worker", 1, now(), 60_000).await.unwrap().remove(0);
        assert_eq!(old.incident_id, id);
        store.commit(step(&old, &Head::default())).await.unwrap();
        assert_eq!(place(&store, "disk", 0).await, Some(Place::Open(later.incident_id)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reopening_races_with_opening_without_two_holders_of_a_key() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        for round in 0..20 {
            let key = format!("key-{round}");
            let lease = claimed(&store, &key).await;
            end(&store, &lease, 5_000).await;
            let fresh = opening(&key, Severity::Warning, 6_000);
            let (opened, reopened) =
                futures::join!(open(&store, &fresh), reopen(&store, lease.incident_id, 6_000));
            // The one that comes second on Postgres may only see the other at its commit.
            let reopened = match reopened {
                Ok(count) => count,
                Err(Error::Conflict(_)) => 0,
                Err(error) => panic!("{error}"),
            };
            assert_eq!(opened.unwrap() + reopened, 1);
        }
        let twice = "select count(*) from incident group by scope, open_key having count(*) > 1
                     and open_key is not null";
        assert_eq!(ground.sql(twice).await, Vec::<Vec<String>>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_more_severe_and_the_longer_due_are_claimed_first() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let late = opening("a", Severity::Critical, 3_000);
        let info = opening("b", Severity::Info, 1_000);
        let early = opening("c", Severity::Critical, 2_000);
        let warning = opening("d", Severity::Warning, 1_000);
        let future = opening("e", Severity::Critical, now() + 3_600_000);
        for opening in [&late, &info, &early, &warning, &future] {
            assert_eq!(open(&store, opening).await.unwrap(), 1);
        }
        let lease = |opening: &incidents::Opening| Lease {
            incident_id: opening.id,
            scope: SCOPE.into(),
            owner: "worker".into(),
            epoch: 1,
        };
        assert_eq!(store.claim("worker", 0, now(), 60_000).await.unwrap(), []);
        assert_eq!(store.claim("worker", 1, now(), 60_000).await.unwrap(), [lease(&early)]);
        assert_eq!(
            store.claim("worker", 10, now(), 60_000).await.unwrap(),
            [lease(&late), lease(&warning), lease(&info)]
        );
        assert_eq!(store.claim("worker", 10, now(), 60_000).await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_claimers_never_get_the_same_incident() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let mut wanted = BTreeSet::new();
        for n in 0..200 {
            let opening = opening(&format!("key-{n}"), Severity::Warning, 1_000);
            open(&store, &opening).await.unwrap();
            wanted.insert(opening.id);
        }
        let claimers = (0..8).map(|n| {
            let store = store.clone();
            async move {
                let mut mine = Vec::new();
                // Every claim before the last finds something, or the others are done.
                for _ in 0..200 {
                    let owner = format!("worker-{n}");
                    let leases = store.claim(&owner, 3, now(), 60_000).await.unwrap();
                    mine.extend(leases.into_iter().map(|lease| (lease.incident_id, lease.epoch)));
                    tokio::task::yield_now().await;
                }
                mine
            }
        });
        let claimed: Vec<_> = join_all(claimers).await.into_iter().flatten().collect();
        assert_eq!(claimed.len(), 200);
        assert_eq!(claimed.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>(), wanted);
        assert!(claimed.iter().all(|(_, epoch)| *epoch == 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_runs_out_is_renewed_or_is_given_back() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let opening = opening("disk", Severity::Critical, 1_000);
        open(&store, &opening).await.unwrap();
        let lease = |owner: &str, epoch| Lease {
            incident_id: opening.id,
            scope: SCOPE.into(),
            owner: owner.into(),
            epoch,
        };
        let claim = |owner: &'static str, lease_ms| {
            let store = store.clone();
            async move { store.claim(owner, 1, now(), lease_ms).await.unwrap() }
        };
        // A lease that ended before it began stands for one that ran out.
        assert_eq!(claim("a", -1_000).await, [lease("a", 1)]);
        assert_eq!(store.renew_leases("a", vec![opening.id], now(), 60_000).await.unwrap(), 0);
        assert_eq!(claim("b", 60_000).await, [lease("b", 2)]);
        assert_eq!(claim("c", 60_000).await, []);
        assert_eq!(store.renew_leases("b", vec![opening.id], now(), 3_600_000).await.unwrap(), 1);
        assert_eq!(store.renew_leases("a", vec![opening.id], now(), 60_000).await.unwrap(), 0);
        let until = format!(
            "select 1 from incident where lease_until_ms between {} and {}",
            now() + 3_500_000,
            now() + 3_700_000
        );
        assert_eq!(ground.sql(until).await.len(), 1);
        // Somebody else's lease cannot be given back.
        store.release(lease("a", 1)).await.unwrap();
        assert_eq!(claim("c", 60_000).await, []);
        store.release(lease("b", 2)).await.unwrap();
        assert_eq!(claim("c", 60_000).await, [lease("c", 3)]);
    })
    .await;
}

/// A claim may stand of which its owner never heard: nobody works on it, so somebody else has to.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_its_owner_does_not_know_of_is_not_renewed() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let (known, _) = (claimed(&store, "a").await, claimed(&store, "b").await);
        let in_hand = vec![known.incident_id];
        store.renew_leases("worker", in_hand, now(), 3_600_000).await.unwrap();
        let renewed =
            format!("select id from incident where lease_until_ms > {}", now() + 3_000_000);
        assert_eq!(ground.sql(renewed).await, [[known.incident_id.to_string()]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_does_not_wait_for_a_row_that_is_locked() {
    for_each_engine(|ground| async move {
        if ground.engine() == "sqlite" {
            return;
        }
        let store = ground.store().await;
        let (held, free) = (claimed(&store, "a").await, claimed(&store, "b").await);
        let mut other = ground.postgres().await;
        let lock = format!("update incident set seq = seq where id = '{}'", held.incident_id);
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("begin; {lock}")))
            .execute(&mut other)
            .await
            .unwrap();
        let both = vec![held.incident_id, free.incident_id];
        assert_eq!(store.renew_leases("worker", both, now(), 3_600_000).await.unwrap(), 2);
        let renewed =
            format!("select id from incident where lease_until_ms > {}", now() + 3_000_000);
        assert_eq!(ground.sql(renewed).await, [[free.incident_id.to_string()]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_count_filter_and_cut() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "a").await;
        end(&store, &lease, 5_000).await;
        let (second, third) =
            (opening("b", Severity::Info, 2_000), opening("c", Severity::Warning, 3_000));
        open(&store, &second).await.unwrap();
        open(&store, &third).await.unwrap();
        let list = |state, at_most| {
            let store = store.clone();
            async move { store.incidents(SCOPE, Filter { state, at_most }).await.unwrap() }
        };
        let ended = IncidentRow {
            id: lease.incident_id,
            scope: SCOPE.into(),
            title: "as the timeline says".into(),
            severity: Severity::Critical,
            state: State::Resolved,
            correlation_key: "a".into(),
            opened_at_ms: 1_000,
            updated_at_ms: 2_000,
            ended_at_ms: Some(5_000),
            alerts: 0,
            seq: 0,
        };
        assert_eq!(list(None, 10).await, [row(&third), row(&second), ended.clone()]);
        assert_eq!(list(None, 1).await, [row(&third)]);
        assert_eq!(list(Some(State::Open), 10).await, [row(&third), row(&second)]);
        assert_eq!(list(Some(State::Resolved), 10).await, [ended]);
        assert_eq!(list(Some(State::Escalated), 10).await, []);
        let mut counts = store.incident_counts().await.unwrap();
        counts.sort_by_key(|(state, _)| state.as_str());
        assert_eq!(counts, [(State::Open, 2), (State::Resolved, 1)]);
        ground.sql("update incident set state = 'dancing'").await;
        assert!(matches!(store.incident_counts().await, Err(Error::Corrupt(_))));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_fall_due_in_order() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let mut ids = Vec::new();
        for (key, at) in [("a", Some(3_000)), ("b", Some(2_000)), ("c", None), ("d", Some(4_000))] {
            let mut opening = opening(key, Severity::Warning, 1_000);
            opening.page_due_at_ms = at;
            open(&store, &opening).await.unwrap();
            ids.push(opening.id);
        }
        let due = |id| (id, SCOPE.to_owned());
        assert_eq!(store.page_due(3_000, 10).await.unwrap(), [due(ids[1]), due(ids[0])]);
        assert_eq!(store.page_due(3_000, 1).await.unwrap(), [due(ids[1])]);
        assert_eq!(store.page_due(1_999, 10).await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firing_is_one_row_however_often_it_is_told() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let incident = opening("disk", Severity::Warning, 1_000);
        open(&store, &incident).await.unwrap();
        let labels: Labels = [("alertname".to_owned(), "Disk\0 🧯".to_owned())].into();
        let mut alert = Alert {
            source: "alertmanager".into(),
            fingerprint: "f".repeat(5_000),
            status: Status::Firing,
            labels: labels.clone(),
            annotations: [("summary".to_owned(), "90 %".to_owned())].into(),
            starts_at_ms: 500,
            ends_at_ms: None,
            generator_url: "http://prometheus/\0".into(),
        };
        let record = |alert: &Alert, at_ms| {
            let (store, alert, id) = (store.clone(), alert.clone(), incident.id);
            async move {
                store
                    .write(move |c| {
                        Box::pin(async move {
                            let incident = Some(id);
                            let record = Record {
                                alert: &alert,
                                incident,
                                deliveries: 1,
                                target: "host=web1".into(),
                            };
                            alerts::record_all(c, SCOPE, &[record], at_ms).await
                        })
                    })
                    .await
                    .unwrap();
            }
        };
        record(&alert, 1_000).await;
        alert.status = Status::Resolved;
        alert.ends_at_ms = Some(900);
        alert.annotations = [("summary".to_owned(), "10 %".to_owned())].into();
        record(&alert, 2_000).await;
        let key = alerts::stored_key(&alert);
        let other = AlertKey { starts_at_ms: 501, ..key.clone() };
        let keys = [key.clone(), other];
        let known = store
            .write(move |c| Box::pin(async move { alerts::find_all(c, SCOPE, &keys).await }))
            .await
            .unwrap();
        let wanted =
            Known { incident_id: Some(incident.id), status: Status::Resolved, last_seen_ms: 2_000 };
        assert_eq!(known, [(key, wanted)].into());
        let listed = store.alerts_of(incident.id).await.unwrap();
        // A key too long for an index is stored short, and found all the same.
        let fingerprint = listed[0].alert.fingerprint.clone();
        assert!(fingerprint.starts_with("ffff") && fingerprint.len() < 1_100);
        alert.fingerprint = fingerprint;
        alert.generator_url = "http://prometheus/\u{fffd}".into();
        let wanted = Listed {
            alert,
            incident_id: Some(incident.id),
            first_seen_ms: 1_000,
            last_seen_ms: 2_000,
            deliveries: 2,
        };
        assert_eq!(listed, [wanted]);
        assert_eq!(store.alert_count().await.unwrap(), 1);
        assert_eq!(store.incident(SCOPE, incident.id).await.unwrap().unwrap().alerts, 1);
        assert_eq!(store.alerts_of(IncidentId::new()).await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_any_length_opens_once() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        // Random enough that no engine can compress it below the limit of an index row.
        let long: String = (0..2_000).map(|_| IncidentId::new().to_string()).collect();
        for key in [long.clone(), format!("{long}é"), "nul \0".to_owned()] {
            let first = opening(&key, Severity::Warning, 1_000);
            assert_eq!(open(&store, &first).await.unwrap(), 1);
            assert_eq!(open(&store, &opening(&key, Severity::Warning, 1_000)).await.unwrap(), 0);
            assert_eq!(place(&store, &key, 0).await, Some(Place::Open(first.id)));
        }
    })
    .await;
}
