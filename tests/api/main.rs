//! The HTTP door as a client meets it: every test runs against the real router, on SQLite and on Postgres.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

#[path = "../support/novita.rs"]
mod matrix;
#[path = "../support/postgres.rs"]
mod postgres;
mod support;

mod inputs;
mod novita;
mod people;
mod presets;
mod routes;
mod signing;
