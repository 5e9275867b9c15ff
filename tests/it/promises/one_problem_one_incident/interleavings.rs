//! Random interleavings of firings, repeats, ends, late copies and clocks against a reference fold.
//!
//! The reference takes one alert at a time and knows nothing of batches. What the intake leaves behind,
//! in whatever portions it took it, has to be the same: rows, incidents, and what each is told.

use crate::support::engines::for_each_engine;
use crate::support::world::{START_MS, Server, World, alert, webhook};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use watchkeeper::clock::format_ms;
use watchkeeper::model::timeline::Entry;
use watchkeeper::store::timeline::Stream;

const WORLDS: u64 = 25;
const KEYS: usize = 3;
const PODS: usize = 2;
const ALERTS_MAX: usize = 60;
/// A firing copy so long after the end is a firing again (five minutes in the product).
const LATE_COPY_MS: i64 = 300_000;

/// One firing of one alert: which problem, which pod, when it began.
type Firing = (usize, usize, i64);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Firing,
    Resolved,
}

/// What the reference knows.
#[derive(Default)]
struct Reference {
    known: BTreeMap<Firing, (Status, i64)>,
    /// What the incident of each problem is told, in order.
    told: BTreeMap<usize, Vec<(&'static str, Option<Firing>)>>,
    /// Firings that no incident hears of: they were over, and none was open.
    homeless: Vec<Firing>,
}

impl Reference {
    fn take(&mut self, firing: Firing, status: Status, now_ms: i64) {
        let before = self.known.get(&firing).copied();
        let is_open = self.told.contains_key(&firing.0);
        match (before, status) {
            (Some((Status::Resolved, seen_ms)), Status::Firing)
                if now_ms - seen_ms < LATE_COPY_MS =>
            {
                return;
            }
            (None | Some((Status::Resolved, _)), Status::Firing) => {
                let told = self.told.entry(firing.0).or_insert_with(|| vec![("opened", None)]);
                told.push(("alert_fired", Some(firing)));
                self.homeless.retain(|other| *other != firing);
            }
            (Some((Status::Firing, _)), Status::Resolved) => {
                let told = self.told.entry(firing.0).or_default();
                told.push(("alert_resolved", Some(firing)));
            }
            (None, Status::Resolved) if !is_open => self.homeless.push(firing),
            (Some((Status::Firing, _)), Status::Firing)
            | (Some((Status::Resolved, _)) | None, Status::Resolved) => {}
        }
        self.known.insert(firing, (status, now_ms));
    }
}

/// The alert of a firing as Alertmanager sends it.
fn sent(world: u64, (key, pod, start): Firing, status: Status) -> Value {
    let (name, pod) = (format!("World{world}Problem{key}"), format!("pod-{pod}"));
    let word = match status {
        Status::Firing => "firing",
        Status::Resolved => "resolved",
    };
    let mut alert = alert(word, &name, &[("service", "web"), ("pod", &pod)]);
    alert["startsAt"] = json!(format_ms(START_MS - 10_000_000 + start * 1_000));
    alert
}

/// Any firing of any alert, the later ones being the more usual.
fn any_firing(rng: &mut StdRng, starts: &mut BTreeMap<(usize, usize), i64>) -> Firing {
    let alert = (rng.random_range(0..KEYS), rng.random_range(0..PODS));
    let last = starts.entry(alert).or_insert(1);
    if rng.random_bool(0.25) {
        *last += 1;
    }
    let back = if rng.random_bool(0.2) { rng.random_range(0..*last) } else { 0 };
    (alert.0, alert.1, *last - back)
}

/// What the incidents of one world were told, by problem.
async fn told(server: &Server, world: u64) -> BTreeMap<usize, Vec<(String, Option<Firing>)>> {
    let mut all = BTreeMap::new();
    for incident in server.incidents().await {
        let Some(rest) = incident.title.strip_prefix(&format!("World{world}Problem")) else {
            continue;
        };
        let key: usize = rest.split(':').next().unwrap().parse().unwrap();
        let mut pods = BTreeMap::new();
        let inbox = server.app.store.inbox(Stream::incident(incident.id)).await.unwrap();
        let mut entries = Vec::new();
        for item in inbox {
            let start = |at_ms: i64| (at_ms - START_MS + 10_000_000) / 1_000;
            let mut firing = None;
            if let Entry::AlertFired { alert, .. } = &item.entry {
                let pod: usize = alert.labels["pod"][4..].parse().unwrap();
                pods.insert(alert.fingerprint.clone(), pod);
                firing = Some((key, pod, start(alert.starts_at_ms)));
            }
            if let Entry::AlertResolved { key: of, .. } = &item.entry {
                firing = Some((key, pods[&of.fingerprint], start(of.starts_at_ms)));
            }
            entries.push((item.entry.kind().to_owned(), firing));
        }
        assert_eq!(all.insert(key, entries), None, "two incidents of one problem");
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn any_interleaving_taken_in_any_portions_leaves_what_the_reference_says() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        world.settings.ingest.flapping.times = 0;
        let server = world.server().await;
        for seed in 0..WORLDS {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut reference, mut starts) = (Reference::default(), BTreeMap::new());
            let mut waiting: Vec<(Firing, Status)> = Vec::new();
            let mut left = rng.random_range(5..ALERTS_MAX);
            while left > 0 {
                let size = rng.random_range(1..=left.min(6));
                left -= size;
                let delivery: Vec<(Firing, Status)> = (0..size)
                    .map(|_| {
                        let firing = any_firing(&mut rng, &mut starts);
                        let ends = rng.random_bool(0.4);
                        (firing, if ends { Status::Resolved } else { Status::Firing })
                    })
                    .collect();
                let alerts: Vec<Value> =
                    delivery.iter().map(|(firing, status)| sent(seed, *firing, *status)).collect();
                server.post(&webhook(&alerts)).await;
                waiting.extend(delivery);
                if left == 0 || rng.random_bool(0.5) {
                    // The intake counts time from when it takes them.
                    let now_ms = world.clock.now_ms();
                    for (firing, status) in waiting.drain(..) {
                        reference.take(firing, status, now_ms);
                    }
                    while server.app.intake.take_batch().await.unwrap() > 0 {}
                    world.clock.advance(rng.random_range(0..400_000));
                }
            }
            let wanted: BTreeMap<usize, Vec<(String, Option<Firing>)>> = reference
                .told
                .iter()
                .map(|(key, told)| {
                    (*key, told.iter().map(|(kind, of)| ((*kind).to_owned(), *of)).collect())
                })
                .collect();
            assert_eq!(told(&server, seed).await, wanted, "seed {seed}");
            let rows = format!(
                "select count(*), count(incident_id), count(case when status = 'firing' then 1 end)
                 from alert where name like 'World{seed}Problem%'"
            );
            let firing =
                reference.known.values().filter(|(status, _)| *status == Status::Firing).count();
            let heard = reference.known.len() - reference.homeless.len();
            let wanted = [reference.known.len(), heard, firing].map(|count| count.to_string());
            assert_eq!(ground.sql(rows).await, [wanted], "seed {seed}");
        }
        server.stop().await;
    })
    .await;
}
