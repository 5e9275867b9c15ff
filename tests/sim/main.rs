//! The simulation: whole lives of incidents in worlds that a seed makes up.
//!
//! Several processes share one database in memory. Time, chance, the outside and the order of all
//! accesses belong to the driver (`run.rs`), so that one seed is one course of events, every time.
//! In it processes die, the database refuses writes or loses answers, services fail and recover,
//! people decide, halt and take over. At the end `checks.rs` compares the database with what the
//! world has counted by itself. Everything else is the product: its SQL, its steps, its channels.
//!
//! ```sh
//! cargo test --test sim                                              # as in `make test`: 10,000 worlds
//! WATCHKEEPER_SIM_SEEDS=1000000 cargo test --test sim -- worlds      # more of them
//! WATCHKEEPER_SIM_FROM=4711 WATCHKEEPER_SIM_SEEDS=1 cargo test --test sim -- worlds  # one again
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::too_many_lines)]
#![allow(clippy::wildcard_enum_match_arm, clippy::disallowed_methods)]

mod acts;
mod board;
mod chance;
mod checks;
mod history;
mod mind;
mod run;
mod stage;
mod table;
mod world;

use checks::Reached;
use run::play;
use stage::Stage;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

/// In `make test`. So many go through the whole table.
const SEEDS: u64 = 10_000;
/// Broken worlds that are told before the test gives up.
const BROKEN_MAX: usize = 5;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}

/// Lets threads, each with a stage of its own, play seeds.
fn on_stages(play: impl AsyncFn(&Stage) + Sync) {
    let processors = processors();
    std::thread::scope(|scope| {
        for processor in &processors {
            // Unoptimised futures are large.
            let thread = std::thread::Builder::new().stack_size(64 << 20);
            let played = thread.spawn_scoped(scope, || {
                stay_on(*processor);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async { play(&Stage::new().await).await });
            });
            played.unwrap();
        }
    });
}

/// The processors that this process may use.
fn processors() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let mut processors = Vec::new();
    for range in allowed.unwrap_or("0").trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        processors.extend(first.parse().unwrap_or(0)..=last.parse().unwrap_or(0));
    }
    processors
}

/// Keeps this thread, and the database's that it starts, on one processor. They wait for each other
/// all the time, and to wake a thread on another processor takes longer than most statements do.
/// Where this is not possible, it only takes longer.
fn stay_on(processor: usize) {
    let Ok(link) = std::fs::read_link("/proc/thread-self") else { return };
    let Some(thread) = link.file_name().and_then(|name| name.to_str()) else { return };
    let arguments = ["-c", "-p", &processor.to_string(), thread];
    let _ = std::process::Command::new("taskset").args(arguments).output();
}

/// What came of all worlds.
struct Played {
    from: u64,
    seeds: u64,
    reached: Reached,
    /// Seed, what it broke, and what happened.
    broken: Vec<(u64, Vec<String>, Vec<String>)>,
}

/// Plays every seed once for all tests.
fn played() -> &'static Played {
    static PLAYED: OnceLock<Played> = OnceLock::new();
    PLAYED.get_or_init(play_all)
}

fn play_all() -> Played {
    let from = number("WATCHKEEPER_SIM_FROM").unwrap_or(0);
    let seeds = number("WATCHKEEPER_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(from);
    let broken = Mutex::new(Vec::new());
    let all = Mutex::new((Reached::default(), 0_u64));
    let began = Instant::now();
    on_stages(async |stage| {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= from + seeds || broken.lock().unwrap().len() >= BROKEN_MAX {
                return;
            }
            let ended = Box::pin(play(stage, seed, false)).await;
            {
                let mut all = all.lock().unwrap();
                all.0.add(ended.reached);
                all.1 += ended.steps;
            }
            if !ended.violations.is_empty() {
                // The same again, with every line written down.
                let told = Box::pin(play(stage, seed, true)).await;
                broken.lock().unwrap().push((seed, ended.violations, told.lines));
            }
        }
    });
    let (reached, steps) = all.into_inner().unwrap();
    let took = began.elapsed();
    println!("{} worlds, {steps} steps, {took:?}", next.into_inner().min(from + seeds) - from);
    println!("{:?}\n{:?}\n{:?}", reached.cells, reached.transitions, reached.actions);
    let mut broken = broken.into_inner().unwrap();
    broken.sort();
    Played { from, seeds, reached, broken }
}

#[test]
fn no_world_breaks_a_promise() {
    let Played { from, broken, .. } = played();
    for (seed, violations, lines) in broken {
        let shown = lines.len().saturating_sub(400);
        println!("---- seed {seed}: {violations:#?}");
        println!("the last {} of {} lines:", lines.len() - shown, lines.len());
        println!("{}", lines[shown..].join("\n"));
        println!(
            "---- once more: WATCHKEEPER_SIM_FROM={seed} WATCHKEEPER_SIM_SEEDS=1 cargo test \
             --test sim -- no_world"
        );
    }
    let first: Vec<_> = broken.iter().map(|(seed, violations, _)| (seed, violations)).collect();
    assert!(broken.is_empty(), "after {} worlds: {first:#?}", broken[0].0 + 1 - from);
}

#[test]
fn the_worlds_go_through_the_whole_table_and_nothing_else() {
    let Played { seeds, reached, .. } = played();
    assert_eq!(table::unknown(reached), Vec::<String>::new());
    if *seeds < SEEDS {
        println!("{seeds} worlds are too few to go through the whole table");
        return;
    }
    assert_eq!(table::missing(reached), Vec::<String>::new());
}

#[test]
fn a_seed_gives_the_same_world_again() {
    let seeds: Vec<u64> = (0..50).collect();
    let hashes = Mutex::new(Vec::new());
    on_stages(async |stage| {
        // The stages meet the seeds in different orders, so that nothing may hang on the last one.
        let turned = hashes.lock().unwrap().len() % 2 == 1;
        let mut seeds = seeds.clone();
        if turned {
            seeds.reverse();
        }
        let mut own = Vec::new();
        for seed in seeds {
            own.push((seed, Box::pin(play(stage, seed, false)).await.hash));
        }
        own.sort_unstable();
        hashes.lock().unwrap().push(own);
        // One thread alone plays them twice.
    });
    let hashes = hashes.into_inner().unwrap();
    for pair in hashes.windows(2) {
        assert_eq!(pair[0], pair[1]);
    }
    assert!(hashes.len() > 1, "one thread compares nothing");
}
