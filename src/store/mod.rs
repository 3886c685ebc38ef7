//! The store: the only room that knows sqlx, and that there are two databases.
//!
//! [`Db`] opens transactions; a [`Tx`] writes and reads, a [`Read`] only reads. Both are a [`Conn`]
//! underneath, so a function that reads is written once, `impl Conn`, and one that writes `impl Tx`. Nothing
//! decides here.
//!
//! The convention for SQL. A statement is `const NAME: &str = "…";` at module level, with `$1` placeholders
//! and the columns named as the fields of the row struct. The few that differ come as a pair `NAME_SQLITE`
//! and `NAME_POSTGRES` for [`Conn::query_by`]. `tests/store` finds the constants by this shape and prepares
//! each of them on both databases, those with a suffix on theirs only. Where Postgres has to guess a type,
//! say it: a sum is `CAST(SUM(x) AS BIGINT)` (else it is a NUMERIC), and an argument that is first seen
//! beside `IS NULL` is cast too.

pub mod alerts;
pub mod audit;
pub mod auto_top_ups;
mod bookings;
mod budgets;
pub mod catalog;
mod chain;
mod checkpointer;
mod convert;
mod costs;
mod db;
mod error;
mod every;
mod export;
mod faults;
pub mod fleet;
mod flusher;
mod holds;
pub mod identity;
pub mod instances;
mod journal;
mod ledger;
pub mod lots;
mod metering;
mod migrate;
mod past;
pub mod policies;
mod price_replays;
mod prices;
mod query;
pub mod quotas;
pub mod record;
pub mod requests;
mod revisions;
pub mod sessions;
pub mod shadows;
mod shares;
pub mod snapshots;
pub mod statements;
pub mod storage;
mod top_ups;
mod tx;
mod usage;
mod verify;
pub mod vouchers;
pub mod webhooks;
mod writer;

pub use convert::{Arg, Column, Json, Stored};
pub use costs::{AdjustmentRow, CostRow, GiftRow};
pub use db::{Db, Dialect};
pub use error::{Error, Result};
pub use export::ExportCursor;
pub use faults::Faults;
pub use journal::Concern;
pub use metering::{Advance, ChargeCursor, ChargeFilter};
pub use migrate::SCHEMA_NUMBER;
pub use price_replays::{ChargedInterval, PriceReplay};
pub use prices::{Component, Plugin, PriceVersion};
pub use query::{Query, Record, Row};
pub use revisions::{ChargeSpan, LotMoved, LotPaid};
pub use tx::{Conn, Read, Tx};
