//! The money of a team through the HTTP door, on SQLite and on Postgres.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

#[path = "../support/postgres.rs"]
mod postgres;

mod bills;
mod credits;
mod hammer;
mod plugins;
mod site;
mod top_ups;
