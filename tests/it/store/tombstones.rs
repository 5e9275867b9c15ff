//! What is left of incidents that aged out goes, all of it.

use crate::support::engines::for_each_engine;

#[tokio::test(flavor = "multi_thread")]
async fn batches_go_on_until_nothing_is_left() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        // Alike, as those of a storm are: each takes as many batches as the others.
        for n in 0..45 {
            let stone = format!(
                "insert into stream_head
                     (stream_kind, stream_id, seq, head, aged_out_at_ms, vouched_seq)
                 values ('incident', 'old-{n:02}', 1, 'h', 1, 1)"
            );
            ground.sql(stone).await;
            let left = format!(
                "insert into message (id, stream_id, transition, body, created_at_ms,
                     expanded_at_ms) values ('m-{n:02}', 'old-{n:02}', 't', '{{}}', 1, 1)"
            );
            ground.sql(left).await;
        }
        while store.empty_tombstones().await.unwrap() > 0 {}
        for left in ["message", "stream_head where emptied_at_ms is null and seq = 1"] {
            let count = format!("select cast(count(*) as text) from {left}");
            assert_eq!(ground.sql(count).await, [["0"]], "{left}");
        }
    })
    .await;
}
