//! The whole server below HTTP in a simulated world: people, hosts, clocks and power cuts by chance, and after every
//! step all that must be true of the money.
//!
//! `SEED=n` plays one run again and tells its steps; `SEEDS=a..b` plays a range.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops where it is wrong")]

mod asks;
mod bills;
mod checks;
mod deeds;
mod dice;
mod engine;
mod fate;
mod foundation;
#[path = "../support/provider.rs"]
mod provider;
mod script;
mod world;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use foundation::Foundation;
use world::{Trace, World};

/// The runs that every check of the code plays.
const USUAL: std::ops::Range<u64> = 1..2_001;
/// Longer than any run takes; one that takes longer hangs.
const HANGS: Duration = Duration::from_secs(120);

#[test]
fn no_chain_of_faults_makes_money_or_loses_it() {
    let (seeds, one) = seeds();
    let began = Instant::now();
    let foundation = Arc::new(runtime().block_on(Foundation::lay()));
    let next = AtomicU64::new(seeds.start);
    let failed: Mutex<Vec<(u64, Vec<String>)>> = Mutex::default();
    let met: Mutex<BTreeMap<String, i64>> = Mutex::default();
    std::thread::scope(|scope| {
        // A run and its database take turns, so that one run cannot keep a core busy.
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) * 2 {
            scope.spawn(|| {
                while failed.lock().unwrap().is_empty() {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let trace = Trace::default();
                    let played = catch_unwind(AssertUnwindSafe(|| play(&foundation, seed, &trace)));
                    let trace =
                        std::mem::take(&mut *trace.lock().unwrap_or_else(|broken| broken.into_inner()));
                    for (what, often) in played.iter().flatten() {
                        *met.lock().unwrap().entry(what.clone()).or_default() += often;
                    }
                    if one {
                        trace.iter().for_each(|line| eprintln!("{line}"));
                    }
                    if played.is_err() {
                        failed.lock().unwrap().push((seed, trace));
                    }
                }
            });
        }
    });
    for (seed, trace) in failed.lock().unwrap().iter().filter(|_| !one) {
        eprintln!("--- seed {seed} ---\n{}", trace.join("\n"));
    }
    let seeds_failed: Vec<u64> = failed.lock().unwrap().iter().map(|(seed, _)| *seed).collect();
    assert!(seeds_failed.is_empty(), "play it again with SEED={}", seeds_failed[0]);
    let runs = seeds.end - seeds.start;
    eprintln!("{runs} runs in {:?} met {:#?}", began.elapsed(), met.lock().unwrap());
}

/// Plays the run of one seed; what happened in it, and how often.
fn play(foundation: &Arc<Foundation>, seed: u64, trace: &Trace) -> Vec<(String, i64)> {
    runtime().block_on(async {
        let run = async {
            let mut world = World::new(foundation.clone(), seed, trace.clone()).await;
            script::play(&mut world).await;
            let mut met = checks::met(&world).await;
            met.push(("deaths of the server".to_owned(), world.deaths));
            met.push(("steps".to_owned(), world.steps));
            world.close().await;
            met
        };
        tokio::time::timeout(HANGS, run).await.unwrap_or_else(|_| panic!("seed {seed} hangs"))
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The seeds to play, and whether it is a single one.
#[expect(clippy::disallowed_methods, reason = "settings of the test, not of the product")]
fn seeds() -> (std::ops::Range<u64>, bool) {
    if let Ok(seed) = std::env::var("SEED") {
        let seed = seed.parse().unwrap();
        return (seed..seed + 1, true);
    }
    let Ok(range) = std::env::var("SEEDS") else { return (USUAL, false) };
    let (from, to) = range.split_once("..").unwrap();
    (from.parse().unwrap()..to.parse().unwrap(), false)
}
