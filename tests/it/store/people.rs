//! Sessions, budgets, inboxes: the small tables.

use super::given::{SCOPE, now, open, opening, said};
use crate::support::engines::for_each_engine;
use watchkeeper::model::alert::Severity;
use watchkeeper::model::timeline::Usage;
use watchkeeper::store::sessions::Session;
use watchkeeper::store::timeline::Stream;
use watchkeeper::store::usage::{self, Day};
use watchkeeper::store::{Error, inbox};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_by_time_or_by_signing_out() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let session = |token: &str, created_at_ms| Session {
            token_hash: token.into(),
            user: "ann".into(),
            csrf: "c".into(),
            created_at_ms,
            expires_at_ms: created_at_ms + 100,
        };
        let first = session("t1", 1_000);
        store.add_session(first.clone()).await.unwrap();
        assert_eq!(store.session("t1", 1_099).await.unwrap(), Some(first.clone()));
        assert_eq!(store.session("t1", 1_100).await.unwrap(), None);
        assert_eq!(store.session("t2", 1_000).await.unwrap(), None);
        assert!(matches!(store.add_session(first).await, Err(Error::Conflict(_))));
        store.add_session(session("t2", 1_100)).await.unwrap();
        assert_eq!(ground.sql("select token_hash from session").await, [["t2"]]);
        store.end_session("t2").await.unwrap();
        assert_eq!(store.session("t2", 1_100).await.unwrap(), None);
        store.end_session("t2").await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_counted_by_utc_day_and_scope() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        const DAY_MS: i64 = 86_400_000;
        for (scope, at_ms) in [
            (SCOPE, DAY_MS),
            (SCOPE, 2 * DAY_MS - 1),
            (SCOPE, 2 * DAY_MS),
            (SCOPE, -1),
            ("other", DAY_MS),
        ] {
            let used = Usage { input_tokens: 2, output_tokens: 1, cost_micros: 5 };
            store
                .write(move |c| Box::pin(async move { usage::add(c, scope, at_ms, used).await }))
                .await
                .unwrap();
        }
        let day = |scope: &'static str, at_ms| {
            let store = store.clone();
            async move { store.usage_of_day(scope, at_ms).await.unwrap() }
        };
        assert_eq!(day(SCOPE, DAY_MS + 7).await, Day { tokens: 6, cost_micros: 10 });
        assert_eq!(day(SCOPE, 2 * DAY_MS).await, Day { tokens: 3, cost_micros: 5 });
        assert_eq!(day(SCOPE, 0).await, Day::default());
        assert_eq!(day(SCOPE, -DAY_MS).await, Day { tokens: 3, cost_micros: 5 });
        assert_eq!(day("other", DAY_MS).await, Day { tokens: 3, cost_micros: 5 });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_waits_in_order_and_wakes_the_incident() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let mut incident = opening("disk", Severity::Warning, 1_000);
        incident.at_ms = now() + 3_600_000;
        open(&store, &incident).await.unwrap();
        let stream = Stream::incident(incident.id);
        let quiet = stream.clone();
        store
            .write(move |c| {
                Box::pin(async move { inbox::put(c, &quiet, 1_500, &said("quiet")).await })
            })
            .await
            .unwrap();
        assert_eq!(store.claim("worker", 1, now(), 60_000).await.unwrap(), []);
        for n in 0..20 {
            store.tell_incident(incident.id, 2_000 + n, said(&format!("n{n}"))).await.unwrap();
        }
        let items = store.inbox(stream).await.unwrap();
        let wanted: Vec<_> = [(1_500, said("quiet"))]
            .into_iter()
            .chain((0..20).map(|n| (2_000 + n, said(&format!("n{n}")))))
            .collect();
        assert_eq!(items.into_iter().map(|i| (i.at_ms, i.entry)).collect::<Vec<_>>(), wanted);
        assert_eq!(ground.sql("select due_at_ms from incident").await, [["2000"]]);
        assert_eq!(store.claim("worker", 1, now(), 60_000).await.unwrap().len(), 1);
    })
    .await;
}
