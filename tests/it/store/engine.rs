//! What the store does when the engine below it is full, gone, unsafe or shared.

use super::given::{delivery, now, waiting};
use crate::support::engines::{for_each_engine, on_postgres, on_sqlite};
use futures::future::join_all;
use secrecy::SecretString;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::oneshot;
use watchkeeper::model::ids::DeliveryId;
use watchkeeper::store::db::{Conn, Location};
use watchkeeper::store::deliveries::Backlog;
use watchkeeper::store::sessions::Session;
use watchkeeper::store::switches::Switch;
use watchkeeper::store::{Error, Store};
use watchkeeper::tasks::Tasks;

fn why<T>(answer: Result<T, Error>) -> String {
    answer.err().expect("an error").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_has_one_owner() {
    on_sqlite(|ground| async move {
        let first = ground.open().await;
        let refused = Store::open(&ground.location(), &Tasks::default()).await;
        let wanted = format!(
            "another process uses the data folder {}; stop it, choose another data_dir, or use \
             Postgres (DATABASE_URL) to run several replicas",
            ground.folder().display()
        );
        assert!(matches!(&refused, Err(Error::Conflict(text)) if *text == wanted));
        first.store.keep_delivery(delivery("{}")).await.unwrap();
        first.close().await;
        let second = ground.store().await;
        assert_eq!(second.delivery_backlog().await.unwrap().waiting, 1);
        assert_eq!(second.engine(), "sqlite");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_a_postgres() {
    on_postgres(|ground| async move {
        let (first, second) = futures::join!(ground.store(), ground.store());
        first.keep_delivery(delivery("{}")).await.unwrap();
        assert_eq!(second.delivery_backlog().await.unwrap().waiting, 1);
        assert_eq!(second.engine(), "postgres");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_may_lose_commits_is_refused() {
    on_postgres(|ground| async move {
        let database = ground.sql("select current_database()").await[0][0].clone();
        ground.sql(format!("alter database {database} set synchronous_commit = off")).await;
        let refused = Store::open(&ground.location(), &Tasks::default()).await;
        let wanted = "Postgres runs with synchronous_commit = off, so that an acknowledged alert \
                      could be lost; set it to on";
        assert!(matches!(&refused, Err(Error::Conflict(text)) if text == wanted));
        assert_eq!(ground.sql("select to_regclass('delivery')").await, [[""]]);
    })
    .await;
}

/// A power failure cannot be made here, but what SQLite does about one can be asked.
#[tokio::test(flavor = "multi_thread")]
async fn every_commit_on_sqlite_is_synced() {
    on_sqlite(|ground| async move {
        let store = ground.store().await;
        let level = store.write(|conn| {
            Box::pin(async move {
                let Conn::Lite(connection) = conn else { panic!("not SQLite") };
                let query = sqlx::query_scalar::<_, i64>("pragma synchronous");
                Ok(query.fetch_one(&mut **connection).await?)
            })
        });
        const FULL: i64 = 2;
        assert_eq!(level.await.unwrap(), FULL);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_used_says_why() {
    let file = std::env::current_exe().unwrap();
    let open = |location: Location| async move { Store::open(&location, &Tasks::default()).await };
    let answer = why(open(Location::Folder(file.join("below"))).await);
    assert!(answer.contains("cannot use the data folder"), "{answer}");
    let postgres = |url: &str| Location::Postgres {
        url: SecretString::from(url.to_owned()),
        connections_max: 1,
    };
    let answer = why(open(postgres("not an address")).await);
    assert!(answer.contains("DATABASE_URL is not a Postgres address"), "{answer}");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let answer = open(postgres(&format!("postgres://a:secret@{nobody}/b"))).await;
    assert!(matches!(&answer, Err(Error::Unavailable(text)) if !text.contains("secret")));
}

/// Keeps everything that the engine writes waiting until told to go on.
async fn hold(store: &Store, started: oneshot::Sender<()>, go_on: oneshot::Receiver<()>) {
    store
        .write(move |conn| {
            Box::pin(async move {
                match conn {
                    Conn::Lite(_) => {}
                    Conn::Pg(c) => {
                        sqlx::query("lock table delivery in exclusive mode")
                            .execute(&mut **c)
                            .await?;
                    }
                }
                let _ = started.send(());
                let _ = go_on.await;
                Ok(())
            })
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_answers_busy_and_keeps_what_it_took() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let ((started, is_held), (release, go_on)) = (oneshot::channel(), oneshot::channel());
        let fill = async {
            is_held.await.unwrap();
            let mut pending = Vec::new();
            for _ in 0..10_000 {
                let mut ack = Box::pin(store.keep_delivery(delivery("{}")));
                match futures::poll!(&mut ack) {
                    Poll::Pending => pending.push(ack),
                    Poll::Ready(Err(Error::Busy)) => break,
                    Poll::Ready(other) => panic!("{other:?}"),
                }
                // Lets the queue's task take what it takes.
                tokio::task::yield_now().await;
            }
            assert!((4_096..10_000).contains(&pending.len()), "{}", pending.len());
            release.send(()).unwrap();
            let kept = pending.len();
            for answer in join_all(pending).await {
                answer.unwrap();
            }
            kept
        };
        let ((), kept) = futures::join!(hold(&store, started, go_on), fill);
        let backlog = Backlog { waiting: i64::try_from(kept).unwrap(), oldest_at_ms: Some(1_000) };
        assert_eq!(store.delivery_backlog().await.unwrap(), backlog);
        store.keep_delivery(delivery("{}")).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_takes_no_other_with_it() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let writes = (0..100).map(|n: i64| {
            store.write(move |conn| {
                Box::pin(async move {
                    let body = n.to_string();
                    super::given::put_row(conn, &format!("job {n}")).await?;
                    match n % 4 {
                        0 => Err(Error::Fenced),
                        // The same key twice: the statement itself fails.
                        1 => super::given::put_row(conn, &format!("job {n}")).await,
                        _ => Ok(()),
                    }
                    .map(|()| body)
                })
            })
        });
        let answers = join_all(writes).await;
        for (n, answer) in answers.into_iter().enumerate() {
            match (n % 4, answer) {
                (0, Err(Error::Fenced)) | (1, Err(Error::Conflict(_))) => {}
                (2 | 3, Ok(body)) => assert_eq!(body, n.to_string()),
                (_, other) => panic!("{n}: {other:?}"),
            }
        }
        assert_eq!(
            ground.sql("select count(*) from switch where name like 'job %'").await,
            [["50"]]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_inside_a_write_does_not_end_the_writer() {
    on_sqlite(|ground| async move {
        let store = ground.store().await;
        let answer: Result<(), Error> = store
            .write(|conn| {
                Box::pin(async move {
                    super::given::put_row(conn, "job").await?;
                    panic!("on purpose")
                })
            })
            .await;
        assert!(matches!(answer, Err(Error::Unavailable(_))));
        store.set_halt(Switch::On, "ann", 1).await.unwrap();
        assert_eq!(ground.sql("select name from switch").await, [["halt"]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_answers_everybody_under_constant_load() {
    for_each_engine(|ground| async move {
        let opened = ground.open().await;
        let producers = (0..40).map(|_| {
            let store = opened.store.clone();
            async move {
                let mut kept = Vec::new();
                for _ in 0..1_000_000 {
                    match store.keep_delivery(delivery("{}")).await {
                        Ok(id) => kept.push(id),
                        Err(Error::Unavailable(_)) => return kept,
                        Err(error) => panic!("{error}"),
                    }
                }
                panic!("the order to stop was not seen")
            }
        });
        let store = opened.store.clone();
        let stop = async {
            for _ in 0..1_000 {
                if store.delivery_backlog().await.unwrap().waiting > 200 {
                    break;
                }
            }
            opened.tasks.shut_down(Duration::from_secs(20)).await
        };
        let (kept, left) = futures::join!(join_all(producers), stop);
        assert_eq!(left, 0);
        assert_eq!(
            why(store.keep_delivery(delivery("{}")).await),
            "the database is not available: the writer has stopped"
        );
        drop((store, opened));
        let stored: BTreeSet<DeliveryId> =
            waiting(&ground.store().await, 1_000_000).await.into_iter().map(|r| r.id).collect();
        assert_eq!(stored, kept.into_iter().flatten().collect());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_after_shutdown_are_refused_and_reads_go_on() {
    on_sqlite(|ground| async move {
        let opened = ground.open().await;
        assert_eq!(opened.tasks.shut_down(Duration::from_secs(20)).await, 0);
        let answer = opened.store.set_halt(Switch::On, "ann", 1).await;
        assert_eq!(why(answer), "the database is not available: the writer has stopped");
        assert_eq!(opened.store.halt().await.unwrap(), None);
    })
    .await;
}

const KILL: &str = "select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = current_database() and application_name = 'watchkeeper'";

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_unavailable_and_the_next_write_works() {
    on_postgres(|ground| async move {
        let store = ground.store().await;
        let sleeping = store.write(|conn| {
            Box::pin(async move {
                super::given::put_row(conn, "job").await?;
                match conn {
                    Conn::Lite(_) => {}
                    Conn::Pg(c) => {
                        sqlx::query("select pg_sleep(25)").execute(&mut **c).await?;
                    }
                }
                Ok(())
            })
        });
        let kill = async {
            let sleeps = "select 1 from pg_stat_activity where query = 'select pg_sleep(25)'
                          and datname = current_database()";
            for _ in 0..1_000 {
                if !ground.sql(sleeps).await.is_empty() {
                    break;
                }
            }
            assert!(!ground.sql(KILL).await.is_empty());
        };
        let (answer, ()) = futures::join!(sleeping, kill);
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        assert_eq!(ground.sql("select name from switch").await, [["halt"]]);
        for _ in 0..20 {
            store.set_halt(Switch::On, "ann", 1).await.unwrap();
            store.keep_delivery(delivery("{}")).await.unwrap();
            store.delivery_backlog().await.unwrap();
            ground.sql(KILL).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_under_way_when_the_connection_is_lost_is_refused() {
    on_postgres(|ground| async move {
        let store = ground.store().await;
        let ((started, is_held), (release, go_on)) = (oneshot::channel(), oneshot::channel());
        let kill = async {
            is_held.await.unwrap();
            let waits = "select pg_terminate_backend(pid) from pg_stat_activity
                         where datname = current_database() and wait_event_type = 'Lock'";
            let kill = async {
                for _ in 0..1_000 {
                    if !ground.sql(waits).await.is_empty() {
                        return;
                    }
                }
                panic!("nothing waits");
            };
            let (answer, ()) = futures::join!(store.keep_delivery(delivery("{}")), kill);
            assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
            release.send(()).unwrap();
        };
        futures::join!(hold(&store, started, go_on), kill);
        let row = delivery("{}");
        store.keep_delivery(row.clone()).await.unwrap();
        assert_eq!(waiting(&store, 10).await, [row]);
    })
    .await;
}

/// A small file system of its own; gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Needs root.
    fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
            .arg(folder)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_everything_until_there_is_room() {
    on_sqlite(|ground| async move {
        let Some(_disk) = SmallDisk::mount(&ground.folder()) else {
            eprintln!("left out, because mounting a small disk needs root");
            return;
        };
        let reserve = ground.folder().join("reserve");
        std::fs::write(&reserve, vec![1; 1 << 20]).unwrap();
        let opened = ground.open().await;
        let store = opened.store.clone();
        let body = "z".repeat(50_000);
        let mut kept = Vec::new();
        for _ in 0..200 {
            let row = delivery(&body);
            match store.keep_delivery(row.clone()).await {
                Ok(_) => kept.push(row),
                Err(Error::Unavailable(text)) => {
                    assert!(text.contains("full"), "{text}");
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(!kept.is_empty() && kept.len() < 200);

        // Everybody in a commit that does not fit is answered alike, whatever came first in it.
        let session = |n: i32| Session {
            token_hash: n.to_string(),
            user: body.clone(),
            csrf: String::new(),
            created_at_ms: 1,
            expires_at_ms: now(),
        };
        let (acks, jobs) = futures::join!(
            join_all((0..20).map(|_| store.keep_delivery(delivery(&body)))),
            join_all((0..20).map(|n| store.add_session(session(n)))),
        );
        let told: Vec<_> = acks.into_iter().map(|a| a.map(|_| ())).chain(jobs).collect();
        assert!(told.iter().all(|a| matches!(a, Err(Error::Unavailable(_)))), "{told:?}");
        let waits = i64::try_from(kept.len()).unwrap();
        assert_eq!(store.delivery_backlog().await.unwrap().waiting, waits);
        assert_eq!(store.session("1", 1).await.unwrap(), None);

        std::fs::remove_file(reserve).unwrap();
        let row = delivery("{}");
        store.keep_delivery(row.clone()).await.unwrap();
        store.add_session(session(1)).await.unwrap();
        kept.push(row);
        drop(store);
        opened.close().await;
        let again = ground.open().await;
        assert_eq!(waiting(&again.store, 1_000).await, kept);
        again.close().await;
    })
    .await;
}
