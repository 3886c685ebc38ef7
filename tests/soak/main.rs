//! The real program is killed again and again, at any moment, while clients write down every answer: what was
//! acknowledged is there once, and what was not can be asked again. On Postgres each third death is the database's.
//!
//! `E2E_SEED=n` has the same schedule again; `SOAK_KILLS=n` kills that often on each database.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops where it is wrong, and says what it played"
)]

mod clients;
mod crash;
mod journal;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../e2e/server.rs"]
#[expect(dead_code, reason = "the end-to-end tests ask the same server for more")]
mod server;
mod site;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use muster::chance::{Chance, Seeded, SystemChance};

use journal::Journal;
use server::Store;
use site::Site;

/// Deaths on each database, unless told otherwise.
const USUAL: u32 = 52;
/// The longest life of a server, in milliseconds after it answers.
const LONGEST_MS: u64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_death_once_on_sqlite() {
    soak(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_death_once_on_postgres() {
    soak(Store::Postgres).await;
}

async fn soak(store: Store) {
    let seed = seed();
    let mut site = Site::found(store).await;
    let journal = Arc::new(Journal::default());
    let clients = clients::start(&site, seed, &journal);
    let (chance, kills) = (Seeded::new(seed), kills());
    let began = Instant::now();
    for death in 0..kills {
        tokio::time::sleep(Duration::from_millis(chance.below(LONGEST_MS))).await;
        let acknowledged = journal.acknowledged();
        if matches!(store, Store::Postgres) && death % 3 == 2 {
            // The server lives on, and has to find back by itself.
            crash::crash(&site.server.database);
        } else {
            site.server.kill9();
            tokio::time::sleep(Duration::from_millis(chance.below(100))).await;
            site.server.start_again();
        }
        site.assert_kept(&acknowledged, death).await;
    }
    journal.close();
    for client in clients {
        client.await.unwrap();
    }
    let told = site.assert_whole(&journal).await;
    eprintln!("{store:?}: {kills} deaths in {:?}, {told}", began.elapsed());
}

/// From `E2E_SEED`, so that a run can be had again, or a fresh one.
#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the product")]
fn seed() -> u64 {
    let mut fresh = [0; 8];
    SystemChance.fill(&mut fresh);
    let seed = std::env::var("E2E_SEED").map_or(u64::from_le_bytes(fresh), |text| text.parse().unwrap());
    eprintln!("E2E_SEED={seed}");
    seed
}

#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the product")]
fn kills() -> u32 {
    std::env::var("SOAK_KILLS").map_or(USUAL, |text| text.parse().unwrap())
}
