//! The HTTP door: translates requests into service calls and answers back, and decides nothing.
//!
//! One file per noun with its handlers; [`router`] lists them once, for the routes and the OpenAPI document alike.

mod alerts;
mod api_keys;
mod audit;
mod auth;
mod auto_top_ups;
mod books;
mod budgets;
mod charges;
mod credits;
mod extract;
mod health;
mod instances;
mod lots;
mod me;
mod members;
mod openapi;
mod operator;
mod payments;
mod policies;
mod prices;
mod problem;
mod quotas;
mod requests;
pub mod router;
mod shadows;
mod snapshots;
mod statements;
mod storage_rates;
mod teams;
mod terms;
mod top_ups;
mod users;
mod vouchers;
mod webhooks;
