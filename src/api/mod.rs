//! The HTTP door: translates requests into service calls and answers back, and decides nothing.
//!
//! One file per noun with its handlers; [`router`] lists them once, for the routes and the OpenAPI document alike.

mod api_keys;
mod auth;
mod extract;
mod health;
mod me;
mod members;
mod openapi;
mod operator;
mod problem;
pub mod router;
mod teams;
mod users;
