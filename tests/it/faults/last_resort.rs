//! When the database itself is gone, people hear of it all the same, once; and a monitor elsewhere
//! hears that all is well only while it is.

use super::{NOISE, eventually, noise, post, post_until_accepted, status};
use crate::support::disk::Disk;
use crate::support::drill::Problem;
use crate::support::engines::{for_each_engine, on_postgres, on_sqlite};
use crate::support::own_postgres::OwnPostgres;
use crate::support::process::{Process, client};
use crate::support::world::World;
use crate::support::{Fault, Server, Shared, answer};
use axum::Router;
use axum::routing::get;

const BROKEN: &str = "Watchkeeper cannot write to its database";
const MENDED: &str = "Watchkeeper writes to its database again";
/// As short as it may be.
const AFTER: (&str, &str) = ("WATCHKEEPER__NOTIFY__LAST_RESORT__AFTER_S", "10");

/// Counts heartbeats.
struct Monitor {
    server: Server,
    beats: Shared<usize>,
}

impl Monitor {
    async fn start() -> Self {
        let beats = Shared::new(0);
        let count = beats.clone();
        let beat = move || async move {
            *count.lock() += 1;
            answer(200, "text/plain", "OK")
        };
        let server = Server::http(Router::new().route("/ping/secret", get(beat))).await;
        Self { server, beats }
    }

    fn url(&self) -> String {
        format!("http://{}/ping/secret", self.server.addr)
    }

    fn beats(&self) -> usize {
        *self.beats.lock()
    }
}

/// How many messages of Slack have this title.
fn titled(world: &World, title: &str) -> usize {
    let messages = world.slack.messages();
    messages.iter().filter(|m| m["text"].as_str().unwrap().contains(title)).count()
}

/// People hear that the database is gone, once on each channel, and stay quiet until it is back.
async fn hears(world: &World, process: &mut Process, base: &str) {
    eventually("people are told", async || {
        titled(world, BROKEN) > 0 && world.pagerduty.opened() > 0
    })
    .await;
    assert!(!process.has_ended());
    assert_eq!(status(base, "/readyz").await, Some(503));
    assert_ne!(post(&client(), base, &noise(1)).await, Some(200));
}

async fn hears_the_end(world: &World, base: &str) {
    eventually("people are told of the end", async || {
        titled(world, MENDED) > 0 && world.pagerduty.open_incidents().is_empty()
    })
    .await;
    eventually("it is ready", async || status(base, "/readyz").await == Some(200)).await;
    post_until_accepted(base, &noise(2)).await;
    assert_eq!((titled(world, BROKEN), titled(world, MENDED)), (1, 1));
    assert_eq!(world.pagerduty.opened(), 1);
    world.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_crashes_is_told_without_it_and_the_heartbeat_stops() {
    on_postgres(|ground| async move {
        let postgres = OwnPostgres::start();
        let monitor = Monitor::start().await;
        let world = World::new(&ground).await;
        let (database, heartbeat) = (postgres.url(), monitor.url());
        let variables = [
            ("WATCHKEEPER__STORE__DATABASE_URL", database.as_str()),
            ("WATCHKEEPER__NOTIFY__HEARTBEAT__URL", heartbeat.as_str()),
            ("WATCHKEEPER__NOTIFY__HEARTBEAT__EVERY_S", "10"),
            AFTER,
            NOISE,
        ];
        let mut process = Process::start(&world, &ground, &variables);
        let base = process.url().await.unwrap();
        post_until_accepted(&base, &noise(0)).await;
        eventually("it beats", async || monitor.beats() > 0).await;

        postgres.crash();
        // Slack is told on the second try; nobody hears it twice.
        world.slack.fail_next([Fault::Status(503)]);
        hears(&world, &mut process, &base).await;
        let silent_from = monitor.beats();
        // It beats every ten seconds, and the outage goes on for longer than that.
        process.says("told directly").await;
        tokio::time::sleep(std::time::Duration::from_secs(12)).await;
        assert_eq!(monitor.beats(), silent_from, "all is well, it says");

        postgres.resume();
        hears_the_end(&world, &base).await;
        eventually("it beats again", async || monitor.beats() > silent_from).await;
        assert!(process.log().iter().all(|line| !line.contains("ping/secret")));
        process.kill().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_takes_no_writes_is_told_without_it() {
    on_sqlite(|ground| async move {
        let Some(disk) = Disk::mount(&ground.folder()) else { return };
        let world = World::new(&ground).await;
        let mut process = Process::start(&world, &ground, &[AFTER, NOISE]);
        let base = process.url().await.unwrap();
        post_until_accepted(&base, &noise(0)).await;
        disk.freeze();
        hears(&world, &mut process, &base).await;
        disk.thaw();
        hears_the_end(&world, &base).await;
        process.kill().await;
    })
    .await;
}

/// A part of the process that ends by itself, as by a panic, is told past the outbox, which may be it.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_ends_by_itself_is_told() {
    on_sqlite(|ground| async move {
        let mut world = World::new(&ground).await;
        world.settings.notify.last_resort.after_s = 0;
        let server = world.server().await;
        server.app.pulse.watch_over("worker", server.tasks.spawn(async {}));
        server.run();
        eventually("people are told", async || {
            titled(&world, "A part of Watchkeeper has ended") == 1 && world.pagerduty.opened() == 1
        })
        .await;
        assert!((server.app.trouble())().is_some());
        let said = world.slack_said();
        assert!(
            said.contains("the worker has ended") && said.contains("a restart of this process")
        );
        assert!(said.contains("Alerts are still stored"), "{said}");
        world.assert_no_violations();
        server.stop().await;
    })
    .await;
}

/// An outage that ends soon is nobody's business.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_outage_wakes_nobody() {
    on_sqlite(|ground| async move {
        let Some(disk) = Disk::mount(&ground.folder()) else { return };
        let world = World::new(&ground).await;
        let long = ("WATCHKEEPER__NOTIFY__LAST_RESORT__AFTER_S", "3600");
        let mut process = Process::start(&world, &ground, &[long, NOISE]);
        let base = process.url().await.unwrap();
        disk.freeze();
        process.says("cannot do its work").await;
        disk.thaw();
        process.says("does its work again").await;
        post_until_accepted(&base, &noise(0)).await;
        assert_eq!((world.slack.attempts(), world.pagerduty.attempts()), (0, 0));
        process.kill().await;
    })
    .await;
}

/// What is acknowledged and never looked at is as good as lost.
#[tokio::test(flavor = "multi_thread")]
async fn an_intake_that_stands_still_is_told() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        world.settings.notify.last_resort.after_s = 0;
        let server = world.server().await;
        ground
            .sql(match ground.engine() {
                "sqlite" => {
                    "create trigger stands before update on delivery
                     begin select raise(abort, 'no room for it'); end"
                }
                _ => {
                    "create function stands() returns trigger language plpgsql as $$
                     begin raise exception 'no room for it' using errcode = '55P03'; end $$;
                     create trigger stands before update on delivery
                     for each row execute function stands()"
                }
            })
            .await;
        server.post(&Problem::down().firing()).await;
        world.clock.advance(121_000);
        server.run();
        let title = "Alerts wait, and Watchkeeper does not look at them";
        eventually("people are told", async || {
            titled(&world, title) == 1 && world.pagerduty.opened() == 1
        })
        .await;
        world.assert_no_violations();
        server.stop().await;
    })
    .await;
}
