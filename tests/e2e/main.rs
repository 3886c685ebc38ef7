//! The whole product at work: the real program, a real Docker engine with a stand-in for the vendor's runtime, both
//! databases. Nothing is pretended but the GPUs.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops where it is wrong, and says so"
)]

#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/docker.rs"]
#[expect(dead_code, reason = "the docker tests use the rest")]
mod support;

mod crowd;
mod engine;
mod outage;
mod server;
mod snapshots;
mod story;
mod town;
mod typed;
