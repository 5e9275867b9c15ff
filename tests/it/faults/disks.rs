//! A full disk and one that takes no writes: refused with 503 while it lasts, and over by itself.

use super::broken_web;
use super::{NOISE, eventually, noise, post, post_until_accepted, settled, status, stored_noise};
use crate::support::disk::Disk;
use crate::support::drill::Problem;
use crate::support::engines::on_sqlite;
use crate::support::process::{Process, client};
use crate::support::real::free_port;
use std::collections::BTreeSet;

/// Fills the disk, then stops writes to the files of the database, under a server that works.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_or_refuses_writes_is_503_until_it_is_not() {
    on_sqlite(|ground| async move {
        let Some(disk) = Disk::mount(&ground.folder()) else { return };
        let world = broken_web(&ground).await;
        let mut process = Process::start(&world, &ground, &[NOISE]);
        let base = process.url().await.unwrap();
        let client = client();
        let mut acknowledged = BTreeSet::new();
        let mut n = 0;
        for trouble in ["full", "frozen"] {
            match trouble {
                "full" => disk.fill(),
                _ => disk.freeze(),
            }
            // What is left of the log's last pages may still take a few.
            eventually("a delivery is refused", async || {
                n += 1;
                match post(&client, &base, &noise(n)).await {
                    Some(200) => acknowledged.insert(n),
                    answer => {
                        assert_eq!(answer, Some(503), "{trouble}");
                        return true;
                    }
                };
                false
            })
            .await;
            eventually("it is not ready", async || status(&base, "/readyz").await == Some(503))
                .await;
            assert_eq!(status(&base, "/healthz").await, Some(200));
            // The halt works without a database.
            assert!(!process.has_ended());
            match trouble {
                "full" => disk.make_room(),
                _ => disk.thaw(),
            }
            n += 1;
            post_until_accepted(&base, &noise(n)).await;
            acknowledged.insert(n);
            eventually("it is ready", async || status(&base, "/readyz").await == Some(200)).await;
        }
        post_until_accepted(&base, &Problem::down().firing()).await;
        settled(&mut process, &ground).await;
        assert_eq!(world.restarts("web"), 1);
        process.kill().await;
        assert!(acknowledged.is_subset(&stored_noise(&ground).await));
        let whole = ground.sql("pragma integrity_check").await;
        assert_eq!(whole, [["ok"]]);
    })
    .await;
}

/// The disk fills up while an incident is worked on.
#[tokio::test(flavor = "multi_thread")]
async fn an_incident_goes_on_after_its_disk_was_full() {
    on_sqlite(|ground| async move {
        let Some(disk) = Disk::mount(&ground.folder()) else { return };
        let world = broken_web(&ground).await;
        let mut process = Process::start(&world, &ground, &[NOISE]);
        let base = process.url().await.unwrap();
        post_until_accepted(&base, &Problem::down().firing()).await;
        disk.fill();
        process.says("cannot commit").await;
        disk.make_room();
        settled(&mut process, &ground).await;
        assert!(world.restarts("web") <= 1);
        assert_eq!(ground.sql("select count(*) from intent").await, [["1"]]);
        process.kill().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_a_read_only_file_system_waits_until_it_can_write() {
    on_sqlite(|ground| async move {
        let Some(disk) = Disk::mount(&ground.folder()) else { return };
        let world = broken_web(&ground).await;
        let listen = format!("127.0.0.1:{}", free_port());
        disk.read_only();
        let variables = [("WATCHKEEPER__LISTEN", listen.as_str()), NOISE];
        let mut process = Process::start(&world, &ground, &variables);
        let base = format!("http://{listen}");
        process.says("cannot open the database yet").await;
        assert_eq!(status(&base, "/readyz").await, Some(503));
        assert_eq!(post(&client(), &base, &noise(0)).await, Some(503));
        disk.read_write();
        post_until_accepted(&base, &Problem::down().firing()).await;
        settled(&mut process, &ground).await;
        assert_eq!(world.restarts("web"), 1);
        process.kill().await;
    })
    .await;
}
