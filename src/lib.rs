//! muster: policy, money and dispatch for GPU teams, on your own machines.
//!
//! The floors, top to bottom: doors (`api`, `worker`, `cli`) translate; services (`app`, and `workshop` for plugin
//! authors) decide; rooms with one outside thing each (`store`, `policy`, `plugins`, `docker`, `webhook`,
//! `telemetry`) never import each other; the ground (`model`, `ledger`, and the small files here) is pure.
//! `docs/architecture.md` has the map; `tests/tidy.rs` keeps the rules.

pub mod api;
pub mod app;
pub mod chance;
pub mod cli;
pub mod config;
pub mod csv;
pub mod digest;
pub mod docker;
pub mod error;
pub mod ids;
pub mod ledger;
pub mod model;
pub mod money;
pub mod op;
pub mod plugins;
pub mod policy;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod webhook;
pub mod worker;
pub mod workshop;
