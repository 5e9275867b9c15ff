//! Which incident is worked on next.

use super::given::{SCOPE, now, open, opening};
use crate::support::engines::for_each_engine;
use watchkeeper::model::alert::Severity;
use watchkeeper::model::ids::IncidentId;
use watchkeeper::store::Store;
use watchkeeper::store::incidents::{Lease, Opening};
use watchkeeper::store::priority::{self, Queued, SEVERITY_MS, Weight};

#[tokio::test(flavor = "multi_thread")]
async fn the_broader_comes_first_and_whoever_waits_sees_its_place() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let at_ms = now() - 10 * SEVERITY_MS;
        let minute = |n: i64| at_ms + n * 60_000;
        let narrow = opening("narrow", Severity::Warning, minute(0));
        let broad = Opening { breadth: 64, ..opening("broad", Severity::Warning, minute(1)) };
        let grows = opening("grows", Severity::Info, minute(2));
        let critical = opening("critical", Severity::Critical, minute(30));
        let ancient = opening("ancient", Severity::Info, minute(-180));
        for opening in [&narrow, &broad, &grows, &critical, &ancient] {
            assert_eq!(open(&store, opening).await.unwrap(), 1);
        }
        let weight = Weight {
            id: grows.id,
            severity: Severity::Warning,
            more: 1_000,
            page_due_at_ms: Some(minute(500)),
        };
        weigh(&store, weight).await;
        let order = [&ancient, &grows, &critical, &broad, &narrow].map(|opening| opening.id);
        for (place, id) in (1..).zip(order) {
            let queued = store.queued(id, now()).await.unwrap();
            assert_eq!(queued, Some(Queued { place, waiting: 5 }));
        }
        assert_eq!(store.queue(now()).await.unwrap(), (5, Some(minute(-180))));
        let first = store.claim("worker", 2, now(), 60_000).await.unwrap();
        assert_eq!(ids(&first), order[..2]);
        assert_eq!(store.queued(ancient.id, now()).await.unwrap(), None, "it is worked on");
        let next = Queued { place: 1, waiting: 3 };
        assert_eq!(store.queued(critical.id, now()).await.unwrap(), Some(next));
        assert_eq!(ids(&store.claim("worker", 9, now(), 60_000).await.unwrap()), order[2..]);
        let row = store.incident(SCOPE, grows.id).await.unwrap().unwrap();
        assert_eq!(row.severity, Severity::Warning);
        let due = format!("select page_due_at_ms from incident where id = '{}'", grows.id);
        assert_eq!(ground.sql(due).await, [[minute(500).to_string()]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_only_ever_brought_forward_and_never_for_whom_somebody_was_paged() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let due = Opening { page_due_at_ms: Some(500), ..opening("a", Severity::Warning, 100) };
        let paged = opening("b", Severity::Warning, 100);
        for opening in [&due, &paged] {
            assert_eq!(open(&store, opening).await.unwrap(), 1);
        }
        let page_due = async |id| {
            let sql = format!("select page_due_at_ms from incident where id = '{id}'");
            ground.sql(sql).await[0][0].clone()
        };
        let raise = |id, page_due_at_ms| {
            weigh(&store, Weight { id, severity: Severity::Critical, more: 1, page_due_at_ms })
        };
        for (wanted, given) in [("500", Some(900)), ("500", None), ("400", Some(400))] {
            raise(due.id, given).await;
            assert_eq!(page_due(due.id).await, wanted);
        }
        raise(paged.id, Some(400)).await;
        assert_eq!(page_due(paged.id).await, "");
    })
    .await;
}

fn ids(leases: &[Lease]) -> Vec<IncidentId> {
    leases.iter().map(|lease| lease.incident_id).collect()
}

async fn weigh(store: &Store, weight: Weight) {
    let weighing =
        store.write(move |conn| Box::pin(async move { priority::weigh(conn, &[weight]).await }));
    weighing.await.unwrap();
}
