//! The shipped policies, asked through the same door that services use.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a broken fixture should stop its test at once")]

#[path = "../support/novita.rs"]
mod matrix;
mod novita;
mod people;
mod refusals;
mod rules;
mod tables;
