//! The books on SQLite and on Postgres: what the model says, what many hands do at once, and what `verify`
//! sees.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on shall stop here"
)]

#[path = "../support/postgres.rs"]
mod postgres;

mod budgets;
mod chain;
mod clerk;
mod commands;
mod desk;
mod hands;
mod lists;
mod lots;
mod model;
mod paper;
mod segments;
mod tamper;
mod world;
