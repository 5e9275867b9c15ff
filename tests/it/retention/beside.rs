//! An audit beside a round of retention, in whatever order the two come, finds nothing.

use super::{DAY_MS, broken, compared, keeper, resolved, with_output};
use crate::support::engines::{Ground, for_each_engine, on_sqlite};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use watchkeeper::app::retention::Retention;
use watchkeeper::store::tap::{Access, Tap};
use watchkeeper::store::{Error, Store};

/// Lets a whole round run just before one access of the handle.
struct Between {
    at: usize,
    seen: AtomicUsize,
    round: Retention,
}

impl Tap for Between {
    fn before(&self, _: Access) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            if self.seen.fetch_add(1, Ordering::SeqCst) == self.at {
                self.round.round().await?;
            }
            Ok(())
        })
    }

    fn after(&self, _: Access) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
}

/// Audits after every write of the handle.
struct Watching {
    store: Store,
    audits: AtomicUsize,
}

impl Tap for Watching {
    fn before(&self, _: Access) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn after(&self, access: Access) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            if matches!(access, Access::Write(_)) {
                self.audits.fetch_add(1, Ordering::SeqCst);
                let (_, missing) = self.store.gone_texts().await?;
                assert_eq!(missing, Vec::<String>::new(), "after {access:?}");
                assert_eq!(broken(&self.store).await, Vec::<String>::new(), "after {access:?}");
            }
            Ok(())
        })
    }
}

/// More than an audit of this small a history makes.
const ACCESSES_MAX: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_round_between_any_two_reads_of_an_audit_is_no_finding() {
    let accesses = futures::stream::iter(0..ACCESSES_MAX).map(|at| {
        let (tell, told) = tokio::sync::oneshot::channel();
        let tell = std::sync::Mutex::new(Some(tell));
        async move {
            on_sqlite(|ground| {
                let tell = tell.lock().unwrap().take().unwrap();
                async move { tell.send(audited(&ground, at).await).unwrap() }
            })
            .await;
            told.await.unwrap()
        }
    });
    let accesses: Vec<usize> = accesses.buffer_unordered(4).collect().await;
    let most = accesses.into_iter().max().unwrap();
    assert!(most > 10 && most < ACCESSES_MAX, "{most} accesses");
}

/// An audit with a round before this access; returns how many accesses it made.
async fn audited(ground: &Ground, at: usize) -> usize {
    let (world, server, _, file) = resolved(ground).await;
    with_output(&server.app.store, "ended", "of an ended one", Some(3_000)).await;
    world.clock.advance(401 * DAY_MS);
    let between = Arc::new(Between { at, seen: AtomicUsize::new(0), round: keeper(&server) });
    let store = server.app.store.tapped(between.clone());
    assert_eq!(broken(&store).await, Vec::<String>::new(), "before access {at}");
    let (_, missing) = store.gone_texts().await.unwrap();
    assert_eq!(missing, Vec::<String>::new(), "before access {at}");
    assert_eq!(compared(&store, &file).await.findings, [], "before access {at}");
    server.stop().await;
    between.seen.load(Ordering::SeqCst)
}

#[tokio::test]
async fn an_audit_after_any_write_of_a_round_finds_nothing() {
    for_each_engine(|ground| async move {
        let (world, server, _, _) = resolved(&ground).await;
        with_output(&server.app.store, "ended", "of an ended one", Some(3_000)).await;
        world.clock.advance(401 * DAY_MS);
        let store = server.app.store.clone();
        let watching = Arc::new(Watching { store: store.clone(), audits: AtomicUsize::new(0) });
        let round = Retention { store: store.tapped(watching.clone()), ..keeper(&server) };
        let removed = round.round().await.unwrap();
        assert_eq!((removed.outputs, removed.incidents), (1, 1));
        assert!(watching.audits.load(Ordering::SeqCst) >= 4);
        server.stop().await;
    })
    .await;
}
