//! A team's own policies through the HTTP door, on SQLite and on Postgres.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../money/site.rs"]
#[expect(dead_code, reason = "the same server as in the tests of money, which ask more of it")]
mod site;

mod facts;
mod guide;
mod proofs;
mod publishing;
mod questions;
mod retention;
mod scene;
mod shadows;
mod together;
