//! The shipped policies, asked through the same door that services use.

mod novita;
mod people;
mod refusals;
mod rules;
mod tables;
