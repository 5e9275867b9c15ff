//! `kill -9` under load: what was acknowledged is there.

use super::{NOISE, noise, post, stored_noise};
use crate::support::engines::{Ground, on_postgres, on_sqlite};
use crate::support::process::{Process, client};
use crate::support::real::free_port;
use crate::support::world::World;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const CLIENTS: usize = 200;
const DELIVERIES: usize = 10_000;
const KILLS: usize = 5;
/// For ten thousand deliveries on a machine that is ten times slower than it should be.
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Default)]
struct Load {
    next: AtomicUsize,
    acknowledged: Mutex<BTreeSet<usize>>,
    unanswered: AtomicUsize,
}

impl Load {
    fn acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_10_000_deliveries_by_200_clients_none_is_lost_to_kill_9_on_sqlite() {
    on_sqlite(killed_under_load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_10_000_deliveries_by_200_clients_none_is_lost_to_kill_9_on_postgres() {
    on_postgres(killed_under_load).await;
}

async fn killed_under_load(ground: Arc<Ground>) {
    let world = World::new(&ground).await;
    let listen = format!("127.0.0.1:{}", free_port());
    let variables = [("WATCHKEEPER__LISTEN", listen.as_str()), NOISE];
    let base = format!("http://{listen}");
    let seed: u64 = rand::random();
    let mut chance = StdRng::seed_from_u64(seed);
    let mut kills: Vec<usize> =
        (0..KILLS).map(|_| chance.random_range(DELIVERIES / 50..DELIVERIES * 9 / 10)).collect();
    kills.sort_unstable();
    eprintln!("seed {seed}: killed after {kills:?} acknowledgements");

    let mut process = Process::start(&world, &ground, &variables);
    process.url().await.unwrap();
    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(send(Arc::clone(&load), base.clone()));
    }
    let mut at_kill = BTreeSet::new();
    for after in kills {
        let enough = async {
            while load.acknowledged() < after {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, enough).await.expect("the load does not go on");
        process.kill().await;
        // These were told so by a process that is dead. They are looked for before another one runs.
        at_kill = load.acknowledged.lock().unwrap().clone();
        let stored = stored_noise(&ground).await;
        let lost: Vec<_> = at_kill.difference(&stored).collect();
        assert_eq!(lost, Vec::<&usize>::new(), "acknowledged and missing");
        process = Process::start(&world, &ground, &variables);
        process.url().await.unwrap();
    }
    let ended = async { while clients.join_next().await.transpose().unwrap().is_some() {} };
    timeout(PATIENCE, ended).await.expect("the load does not end");
    process.kill().await;

    let stored = stored_noise(&ground).await;
    let unanswered = load.unanswered.load(Ordering::SeqCst);
    eprintln!("{} stored, {unanswered} tries without an acknowledgement", stored.len());
    assert_eq!(*load.acknowledged.lock().unwrap(), (0..DELIVERIES).collect());
    assert_eq!(stored, (0..DELIVERIES).collect());
    assert!(at_kill.len() < DELIVERIES, "the last kill came after the load");
    assert!(unanswered > 0, "no kill hit a request");
}

/// Sends one delivery after the other, each until it is acknowledged.
async fn send(load: Arc<Load>, base: String) {
    let client = client();
    loop {
        let n = load.next.fetch_add(1, Ordering::SeqCst);
        if n >= DELIVERIES {
            return;
        }
        let body = noise(n);
        loop {
            match post(&client, &base, &body).await {
                Some(200) => break,
                None | Some(503) => {
                    load.unanswered.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::from_millis(20)).await;
                }
                Some(status) => panic!("{status}"),
            }
        }
        load.acknowledged.lock().unwrap().insert(n);
    }
}
