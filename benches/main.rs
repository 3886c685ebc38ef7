//! The bars: figures as ratios to a yardstick that runs beside them, in one run on one machine.
//!
//! `cargo bench --locked` measures them all; `cargo bench --locked -- P1 B2` some of them. Each file measures a few
//! bars and says what it counts; `docs/benchmarks.md` says what they mean, and a whole
//! and valid run puts its figures there. A failed request, a book
//! that does not balance or a missing tool ends the run: only successes are counted.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "a bench prints ratios and stops where something is wrong"
)]

mod authorize;
mod capture;
mod decision;
mod launch;
mod offers;
mod policy_changes;
mod read;
mod reserve;
mod running;
mod start;
mod support;
mod team_policies;

use std::time::Instant;

use support::report::{Bar, Report};

/// The allocator of the server, so that yardsticks in this process have the same one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // Cargo adds `--bench`; what is left are the names of bars, or a yardstick server of P3 or P4.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.as_slice() {
        [command, address] if command == read::HELLO => return read::hello_serve(address),
        [command, address] if command == authorize::CEDAR => return authorize::cedar_serve(address),
        _ => {}
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let report = runtime.block_on(measure(&words));
    println!("\n{}", report.page());
    report.write(concat!(env!("CARGO_TARGET_TMPDIR"), "/bars.json"));
    assert!(report.is_valid(), "the disk's fsync moved more than twice during the run: nothing above counts");
    if words.is_empty() && !cfg!(debug_assertions) {
        report.insert_into(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md"));
    }
}

async fn measure(names: &[String]) -> Report {
    let wanted = |bars: &[&str]| names.is_empty() || names.iter().any(|name| bars.contains(&name.as_str()));
    let mut report = Report::begin();
    if wanted(&["P1"]) {
        add(&mut report, async { decision::measure() }).await;
    }
    if wanted(&["P2"]) {
        add(&mut report, async { team_policies::measure() }).await;
    }
    if wanted(&["P3"]) {
        add(&mut report, read::measure()).await;
    }
    if wanted(&["P4"]) {
        add(&mut report, authorize::measure()).await;
    }
    if wanted(&["P5"]) {
        add(&mut report, async { offers::measure() }).await;
    }
    if wanted(&["plan", "publish", "replay"]) {
        add(&mut report, policy_changes::measure()).await;
    }
    if wanted(&["B1"]) {
        add(&mut report, capture::measure_postgres()).await;
    }
    if wanted(&["B2"]) {
        add(&mut report, capture::measure_sqlite()).await;
    }
    if wanted(&["B3", "B4"]) {
        add(&mut report, reserve::measure()).await;
    }
    if wanted(&["B6"]) {
        add(&mut report, capture::measure_backlog()).await;
    }
    if wanted(&["B9"]) {
        add(&mut report, launch::measure()).await;
    }
    if wanted(&["D1"]) {
        add(&mut report, running::measure()).await;
    }
    if wanted(&["S1", "S2"]) {
        add(&mut report, start::measure()).await;
    }
    report
}

/// Adds the bars that one file measured, and looks at the disk again.
async fn add(report: &mut Report, bars: impl Future<Output = Vec<Bar>>) {
    let began = Instant::now();
    let bars = bars.await;
    let names: Vec<&str> = bars.iter().map(|bar| bar.id).collect();
    println!("{} took {:.0} s", names.join(" "), began.elapsed().as_secs_f64());
    report.add(bars);
}
