//! The shipped policies, asked through the same door that services use.

#![expect(clippy::unwrap_used, reason = "a broken fixture should stop its test at once")]

mod novita;
mod people;
mod refusals;
mod rules;
mod tables;
