//! The books, pure: accounts, postings that cannot be unbalanced, holds, metered intervals, rating, and what
//! `verify` checks. No clock, no I/O; `store/ledger.rs` writes what is built here.
//!
//! Money is never set, only moved: a balance is the sum of its entries, and an entry is half of a transfer.

pub mod account;
pub mod booking;
pub mod budget;
pub mod chain;
pub mod focus;
pub mod hold;
pub mod interval;
pub mod journal;
pub mod lot;
pub mod posting;
pub mod proof;
pub mod rating;
pub mod revision;
pub mod statement;
pub mod top_up;
pub mod verify;
