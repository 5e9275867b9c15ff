//! A delivery that was acknowledged is there, whatever comes after.

use super::given::{delivery, waiting};
use crate::support::engines::for_each_engine;
use futures::future::join_all;
use std::collections::BTreeSet;
use tokio::sync::oneshot;
use watchkeeper::model::ids::DeliveryId;
use watchkeeper::store::Error;
use watchkeeper::store::deliveries::{self, Backlog, Fate};

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_delivery_waits_until_it_is_taken() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let (first, second) = (delivery("{\"n\":1}"), delivery("{\"n\":2}"));
        assert_eq!(store.delivery_backlog().await.unwrap(), Backlog::default());
        assert_eq!(store.keep_delivery(first.clone()).await.unwrap(), first.id);
        assert_eq!(store.keep_delivery(second.clone()).await.unwrap(), second.id);
        assert_eq!(
            store.delivery_backlog().await.unwrap(),
            Backlog { waiting: 2, oldest_at_ms: Some(1_000) }
        );
        assert_eq!(waiting(&store, 10).await, [first.clone(), second.clone()]);
        assert_eq!(waiting(&store, 1).await, std::slice::from_ref(&first));

        let id = first.id;
        store
            .write(move |c| Box::pin(async move { deliveries::take(c, &[id], 2_000).await }))
            .await
            .unwrap();
        assert_eq!(waiting(&store, 10).await, std::slice::from_ref(&second));
        let row = format!("select state, taken_at_ms from delivery where id = '{id}'");
        assert_eq!(ground.sql(row).await, [["taken", "2000"]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_deliveries_are_kept_with_their_reason() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let mut early = delivery("not json");
        early.fate = Fate::Malformed("expected value".into());
        let late = delivery("{}");
        store.keep_delivery(early.clone()).await.unwrap();
        store.keep_delivery(late.clone()).await.unwrap();
        let id = late.id;
        store
            .write(move |c| {
                Box::pin(async move { deliveries::mark_malformed(c, id, "no alerts").await })
            })
            .await
            .unwrap();
        assert_eq!(waiting(&store, 10).await, []);
        let (first, second) = (
            (late.id, "no alerts".to_owned(), "{}".to_owned()),
            (early.id, "expected value".to_owned(), "not json".to_owned()),
        );
        assert_eq!(store.malformed_deliveries(10).await.unwrap(), [first.clone(), second]);
        assert_eq!(store.malformed_deliveries(1).await.unwrap(), [first]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_concurrent_deliveries_survive_a_restart() {
    for_each_engine(|ground| async move {
        let opened = ground.open().await;
        let rows: Vec<_> = (0..500).map(|n| delivery(&format!("{{\"n\":{n}}}"))).collect();
        let kept = join_all(rows.iter().map(|row| opened.store.keep_delivery(row.clone()))).await;
        let kept: Vec<DeliveryId> = kept.into_iter().map(Result::unwrap).collect();
        assert_eq!(kept, rows.iter().map(|row| row.id).collect::<Vec<_>>());
        opened.close().await;
        let store = ground.store().await;
        assert_eq!(waiting(&store, 1_000).await, rows);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_delivery_takes_no_other_with_it() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let first = delivery("{}");
        store.keep_delivery(first.clone()).await.unwrap();
        // The id is taken, so that the row cannot be stored; the others share its commit.
        let rows: Vec<_> = (0..40).map(|n| delivery(&n.to_string())).collect();
        let mut all = rows.clone();
        all.insert(20, first.clone());
        let answers = join_all(all.into_iter().map(|row| store.keep_delivery(row))).await;
        let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert!(matches!(refused[..], [Error::Conflict(_)]), "{refused:?}");
        let stored: BTreeSet<_> = waiting(&store, 100).await.into_iter().map(|r| r.id).collect();
        let wanted: BTreeSet<_> = rows.iter().chain([&first]).map(|row| row.id).collect();
        assert_eq!(stored, wanted);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_text_is_kept_as_it_came() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let texts = [
            r#"{"escaped":"a\u0000b"}"#.to_owned(),
            "🧯 火 \u{202e}rtl \u{fffd} '\"\\;--".to_owned(),
            "x".repeat(1 << 20),
            String::new(),
        ];
        let rows: Vec<_> = texts.iter().map(|text| delivery(text)).collect();
        for row in &rows {
            store.keep_delivery(row.clone()).await.unwrap();
        }
        assert_eq!(waiting(&store, 10).await, rows);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_is_replaced_because_postgres_stores_none() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let mut row = delivery("a\0b");
        row.fate = Fate::Malformed("control character \0".into());
        store.keep_delivery(row.clone()).await.unwrap();
        assert_eq!(
            store.malformed_deliveries(1).await.unwrap(),
            [(row.id, "control character \u{fffd}".to_owned(), "a\u{fffd}b".to_owned())]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_intakes_take_turns() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let rows: Vec<_> = (0..3).map(|n| delivery(&n.to_string())).collect();
        for row in &rows {
            store.keep_delivery(row.clone()).await.unwrap();
        }
        let ((started, has_started), (release, go_on)) = (oneshot::channel(), oneshot::channel());
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let (seen, all) = (ids[..2].to_vec(), ids.clone());
        // The first saw two; the second, who saw all three, must not go ahead with the third.
        let first = store.write(move |conn| {
            Box::pin(async move {
                let taken = deliveries::take(conn, &seen, 2_000).await?;
                let _ = started.send(());
                let _ = go_on.await;
                Ok(taken)
            })
        });
        let second = async {
            has_started.await.unwrap();
            let until_it_waits = async {
                let waits = "select 1 from pg_stat_activity
                             where datname = current_database() and wait_event_type = 'Lock'";
                for _ in 0..1_000 {
                    if ground.engine() == "sqlite" || !ground.sql(waits).await.is_empty() {
                        release.send(()).unwrap();
                        return;
                    }
                }
                panic!("the second intake did not wait");
            };
            let take = store.write(move |conn| {
                Box::pin(async move { deliveries::take(conn, &all, 3_000).await })
            });
            futures::join!(take, until_it_waits).0
        };
        let (first, second) = futures::join!(first, second);
        assert_eq!(first.unwrap(), ids[..2].iter().copied().collect());
        assert_eq!(second.unwrap(), ids[2..].iter().copied().collect());
    })
    .await;
}

/// Each may have megabytes, and all of them are held at once.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_read_a_few_at_a_time_and_one_in_any_case() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let body = "x".repeat(7 * 1024 * 1024);
        let mut ids = Vec::new();
        for body in ["small", &body, &body, &body, &body, "small"] {
            ids.push(store.keep_delivery(delivery(body)).await.unwrap());
        }
        let read = async || -> Vec<_> {
            let rows = store.waiting_deliveries(64).await.unwrap();
            rows.into_iter().map(|row| row.id).collect()
        };
        assert_eq!(read().await, ids[..4]);
        ground.sql(format!("update delivery set state = 'taken' where id <= '{}'", ids[3])).await;
        assert_eq!(read().await, ids[4..]);
    })
    .await;
}
