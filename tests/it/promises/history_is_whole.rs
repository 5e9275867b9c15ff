//! The timeline is append-only and chained; everything follows from it.

mod checkpoint_targets;
mod checkpoints;

use crate::support::drill::Problem;
use crate::support::engines::for_each_engine;
use crate::support::world::{SCOPE, World};
use watchkeeper::model::case::Case;
use watchkeeper::store::timeline::Stream;

#[tokio::test]
async fn the_fold_of_every_prefix_goes_on_to_the_same_case() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.break_service("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(10).await;
        let whole = server.only_case().await;
        let entries = server.app.store.timeline(Stream::incident(whole.id)).await.unwrap();
        assert!(entries.len() >= 15, "{}", entries.len());
        for cut in 0..=entries.len() {
            let mut case = Case::fold(whole.id, SCOPE, &entries[..cut]);
            for entry in &entries[cut..] {
                case.apply(entry);
            }
            assert_eq!(case, whole, "cut at {cut}");
        }
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_changed_entry_is_found() {
    for change in [
        "update timeline set body = replace(body, 'allow', 'allov') where kind = 'judged'",
        "delete from timeline where kind = 'intent_written'",
        "update timeline set at_ms = at_ms + 1 where kind = 'resolved'",
    ] {
        for_each_engine(|ground| async move {
            let world = World::new(&ground).await;
            world.break_service("web");
            Problem::down().in_prometheus(&world);
            let server = world.server().await;
            server.post(&Problem::down().firing()).await;
            server.settle(10).await;
            let id = server.only_case().await.id;
            ground.sql(change).await;
            let broken = server.app.store.verify_chain(Stream::incident(id)).await.unwrap();
            assert!(broken.is_some(), "{change}");
            server.stop().await;
        })
        .await;
    }
}
