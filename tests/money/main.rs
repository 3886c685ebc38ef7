//! The money of a team through the HTTP door, on SQLite and on Postgres.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

#[path = "../support/provider.rs"]
mod fake;
#[path = "../support/postgres.rs"]
mod postgres;

mod alerts;
mod audit;
mod auto_top_ups;
mod bills;
mod budgets;
mod charges;
mod credits;
mod exhaustion;
mod focus;
mod hammer;
mod ledger;
mod lots;
mod month;
mod parked;
mod payments;
mod plugins;
mod price_replays;
mod prices;
mod quotas;
mod recounts;
mod requests;
mod resume;
mod site;
mod snapshots;
mod stage;
mod statements;
mod storage;
mod terms;
mod top_ups;
mod unasked;
mod vouchers;
mod webhooks;
