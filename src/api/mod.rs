//! The HTTP door: translates requests into service calls and answers back, and decides nothing.
//!
//! One file per noun with its handlers; [`router`] lists them once, for the routes and the OpenAPI document alike.

mod books;
mod credits;
mod extract;
mod health;
mod instances;
mod openapi;
mod operator;
mod prices;
mod problem;
pub mod router;
mod top_ups;
