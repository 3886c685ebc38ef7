//! What can go wrong in the store, and what a client hears of it.

use sqlx::error::ErrorKind;

use crate::error::Kind;

/// A result of the store.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the database cannot be read.
    #[error("database address: {0}")]
    Address(String),
    /// The SQLite that was linked in has the WAL-reset bug, which can corrupt a database.
    #[error("SQLite {found} is too old: at least {wanted} is needed, earlier ones can corrupt a database")]
    OldSqlite {
        /// The version that was found.
        found: String,
        /// The lowest good version.
        wanted: &'static str,
    },
    /// The database was migrated by a newer muster.
    #[error(
        "the database has schema {found} and this muster knows up to {known}: start the newer muster, \
         or restore the backup from before its upgrade"
    )]
    NewerSchema {
        /// The highest step in the database.
        found: i64,
        /// The highest step that this binary carries.
        known: i64,
    },
    /// The database lacks steps that this binary needs.
    #[error("the database has schema {found} and this muster needs {known}: run its migrations first")]
    OlderSchema {
        /// The highest step in the database.
        found: i64,
        /// The highest step that this binary carries.
        known: i64,
    },
    /// A step that was applied long ago has another text today.
    #[error(
        "migration {name} was applied with another text than this muster has: start the one that applied it"
    )]
    AlteredStep {
        /// The step's name.
        name: String,
    },
    /// A row with the same unique value exists.
    #[error("a row with the same unique value exists")]
    Unique(#[source] sqlx::Error),
    /// A CHECK constraint of the table says no.
    #[error("a check of the table refuses this value")]
    Check(#[source] sqlx::Error),
    /// What the caller said a unique violation means.
    #[error(transparent)]
    Told(Box<crate::error::Error>),
    /// The row changed since it was read.
    #[error("the row changed since it was read")]
    Moved,
    /// A fact that happens once was recorded before.
    #[error("this was recorded in the books before")]
    Recorded,
    /// Another transaction was in the way; the same again is likely to work.
    #[error("another transaction was in the way")]
    Retry(#[source] sqlx::Error),
    /// No connection or no turn to write within the time limit.
    #[error("the database is busy: no turn within {0:?}")]
    Busy(std::time::Duration),
    /// The database only reads now: a standby, or a full or read-only disk.
    #[error("the database takes no writes")]
    ReadOnly,
    /// The server cannot be reached, or went away in the middle.
    #[error("the database server does not answer: {0}")]
    Unreachable(#[source] sqlx::Error),
    /// The store was closed, or its writer is gone.
    #[error("the store is closed")]
    Closed,
    /// The batch that the transaction was part of could not be committed; nothing of it is stored.
    #[error("the commit failed: {0}")]
    Commit(String),
    /// The database went away while it committed: the change is stored or it is not.
    #[error("the database went away during the commit")]
    Uncertain,
    /// An earlier statement of this transaction failed, so nothing more of it can be done.
    #[error("an earlier statement of this transaction failed")]
    Broken,
    /// A row was expected and none came.
    #[error("no row, where one was expected")]
    Missing,
    /// A value cannot be stored.
    #[error("a value cannot be stored: {0}")]
    Encode(#[source] sqlx::error::BoxDynError),
    /// A stored value cannot be read.
    #[error("column {column} cannot be read: {source}")]
    Decode {
        /// The column, by name or by position.
        column: String,
        /// Why.
        #[source]
        source: sqlx::error::BoxDynError,
    },
    /// Anything else that the database says.
    #[error("database: {0}")]
    Database(#[source] sqlx::Error),
    /// The file system says no.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::PoolTimedOut => Self::Busy(super::db::PATIENCE),
                sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Self::Closed,
                sqlx::Error::Io(_) => Self::Unreachable(error),
                other => Self::Database(other),
            };
        };
        match (database.kind(), database.code().as_deref()) {
            (ErrorKind::UniqueViolation, _) => Self::Unique(error),
            (ErrorKind::CheckViolation, _) => Self::Check(error),
            // Postgres: serialization failure, deadlock, lock not available.
            (_, Some("40001" | "40P01" | "55P03")) => Self::Retry(error),
            // Postgres: shut down, crashed, starting up, too many connections.
            (_, Some("57P01" | "57P02" | "57P03" | "53300")) => Self::Unreachable(error),
            // SQLite: BUSY, LOCKED, BUSY_RECOVERY, BUSY_SNAPSHOT.
            (_, Some("5" | "6" | "261" | "517")) => Self::Retry(error),
            // Postgres: read-only transaction. SQLite: READONLY, FULL.
            (_, Some("25006" | "8" | "13")) => Self::ReadOnly,
            _ => Self::Database(error),
        }
    }
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Told(told) => *told,
            Error::Unique(_) => Self::conflict(
                "already-exists",
                "something with the same unique name exists already; choose another",
            )
            .with_inside(error),
            Error::Retry(_)
            | Error::Moved
            | Error::Busy(_)
            | Error::Unreachable(_)
            | Error::Closed
            | Error::ReadOnly => {
                let told = "the database could not take this now; nothing was changed. Try again shortly";
                Self::new(Kind::Unavailable, "database-busy", told).retry_after(1).with_inside(error)
            }
            Error::Uncertain => {
                let told = "the database went away while it saved this, so the change was made or it was not; send the \
                            same again with the same idempotency key, or look before you repeat it";
                Self::new(Kind::Internal, "outcome-unknown", told).with_inside(error)
            }
            other => Self::internal(other),
        }
    }
}
