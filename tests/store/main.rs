//! The store on SQLite and on Postgres: every test runs on both.

mod transactions;
