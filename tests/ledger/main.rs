//! The books on SQLite and on Postgres: what the model says, what many hands do at once, and what `verify` sees.

mod postgres;

mod commands;
mod desk;
mod hands;
mod lists;
mod model;
mod paper;
mod tamper;
mod world;
