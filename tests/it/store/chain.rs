//! Whoever changes history is found out.

use super::given::{claimed, said, step};
use crate::support::engines::for_each_engine;
use watchkeeper::model::timeline::chain_hash;
use watchkeeper::store::timeline::{Broken, Head, Stream};

#[tokio::test(flavor = "multi_thread")]
async fn every_forgery_is_found_where_it_was_made() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "disk").await;
        let id = lease.incident_id;
        let mut first = step(&lease, &Head::default());
        first.entries = (1..=5).map(|n| (n, said(&format!("n{n}")))).collect();
        let stored = store.commit(first).await.unwrap().stored;
        let stream = Stream::incident(id);
        assert_eq!(store.verify_chain(stream.clone()).await.unwrap(), None);

        let changed = "the entry or one before it was changed";
        let body = serde_json::to_string(&said("forged")).unwrap();
        let path = format!("incident/{id}");
        let at_3 = chain_hash(&stored[1].hash, &path, 3, 3, &body);
        let at_6 = chain_hash(&stored[4].hash, &path, 6, 6, &body);
        let insert = |seq: i64, hash: &str| {
            format!(
                "insert into timeline
                     (stream_kind, stream_id, seq, at_ms, kind, version, body, hash)
                 values ('incident', '{id}', {seq}, {seq}, 'acknowledged', 1, '{body}', '{hash}')"
            )
        };
        let forgeries: Vec<(&str, Vec<String>, i64, &str)> = vec![
            (
                "body",
                vec![format!("update timeline set body = '{body}' where seq = 3")],
                3,
                changed,
            ),
            (
                "body and its hash",
                vec![format!("update timeline set body = '{body}', hash = '{at_3}' where seq = 3")],
                4,
                changed,
            ),
            ("time", vec!["update timeline set at_ms = 9 where seq = 2".into()], 2, changed),
            ("deleted", vec!["delete from timeline where seq = 3".into()], 4, "entry 3 is missing"),
            ("first", vec!["delete from timeline where seq = 1".into()], 2, "entry 1 is missing"),
            (
                "last",
                vec!["delete from timeline where seq = 5".into()],
                5,
                "the chain ends at 4 instead of 5",
            ),
            ("all", vec!["delete from timeline".into()], 1, "the chain ends at 0 instead of 5"),
            ("added", vec![insert(6, &at_6)], 6, "the chain ends at 6 instead of 5"),
            (
                "inserted",
                vec![
                    "update timeline set seq = seq + 100 where seq >= 3".into(),
                    "update timeline set seq = seq - 99 where seq >= 100".into(),
                    insert(3, &at_3),
                ],
                4,
                changed,
            ),
            (
                "swapped",
                vec![
                    "update timeline set seq = 99 where seq = 2".into(),
                    "update timeline set seq = 2 where seq = 3".into(),
                    "update timeline set seq = 3 where seq = 99".into(),
                ],
                2,
                changed,
            ),
            (
                "last entry with its hash",
                vec![format!(
                    "update timeline set body = '{body}', hash = '{}' where seq = 5",
                    chain_hash(&stored[3].hash, &path, 5, 5, &body)
                )],
                5,
                "the chain ends at 5 with another entry",
            ),
        ];
        ground.sql("create table kept as select * from timeline").await;
        for (name, forgery, seq, why) in forgeries {
            for sql in forgery {
                ground.sql(sql).await;
            }
            let wanted = Some(Broken { seq, why: why.into() });
            assert_eq!(store.verify_chain(stream.clone()).await.unwrap(), wanted, "{name}");
            ground.sql("delete from timeline").await;
            ground.sql("insert into timeline select * from kept").await;
            assert_eq!(store.verify_chain(stream.clone()).await.unwrap(), None, "{name}");
        }
    })
    .await;
}
