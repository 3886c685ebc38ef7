//! The database: where it is, how it is opened, and the doors to its transactions.

use std::{
    fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, str::FromStr, sync::Arc, time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    error::{Error, Result},
    faults::Faults,
    flusher::Flusher,
    tx::{Link, Read, Tx},
    writer::Writer,
};

/// How long anybody waits for a connection or a turn to write.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How long a statement waits for another process or transaction that holds a lock.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// After how long an unused Postgres connection is asked whether it still lives.
const RESTED: Duration = Duration::from_secs(1);
/// Earlier ones can corrupt a database in WAL mode when a checkpoint meets a reset of the log.
const LOWEST_SQLITE: &str = "3.51.3";
/// Page cache of a connection, in KiB; SQLite takes it as a negative number.
const CACHE_KIB: &str = "-65536";
/// Prepared statements that a connection keeps: about all there are, or the rhythm of the loops would push out
/// each before its next turn. Preparing one takes longer than running it.
const STATEMENTS_KEPT: usize = 512;

const VERSION_SQLITE: &str = "SELECT sqlite_version()";
const STANDBY_POSTGRES: &str = "SELECT pg_is_in_recovery()";
const READ_POSTGRES: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A SQLite file of our own.
    Sqlite,
    /// A Postgres server.
    Postgres,
}

/// The database. Cheap to clone; all clones share its connections.
#[derive(Clone)]
pub struct Db {
    kind: Kind,
    faults: Option<Arc<dyn Faults>>,
}

#[derive(Clone)]
enum Kind {
    Sqlite { writer: Writer, readers: SqlitePool },
    Postgres(PgPool, Flusher),
}

impl Db {
    /// Opens `sqlite:PATH` (made when missing, readable by its owner only) or `postgres://…`. Migrates
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Address`] for any other address, [`Error::OldSqlite`], or what the database says.
    pub async fn open(address: &str) -> Result<Self> {
        if let Some(path) = address.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            Self::open_sqlite(Path::new(path)).await
        } else if address.starts_with("postgres://") || address.starts_with("postgresql://") {
            Self::open_postgres(address).await
        } else {
            Err(Error::Address("expected sqlite:PATH or postgres://user@host/name".to_owned()))
        }
    }

    async fn open_sqlite(path: &Path) -> Result<Self> {
        if path.as_os_str().is_empty() || path.as_os_str() == ":memory:" {
            return Err(Error::Address("SQLite needs a file: sqlite:PATH".to_owned()));
        }
        let created = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        created.map_err(|source| Error::File { path: path.display().to_string(), source })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(LOCK_WAIT)
            .foreign_keys(true)
            .pragma("trusted_schema", "OFF")
            .pragma("temp_store", "MEMORY")
            .pragma("cache_size", CACHE_KIB)
            .statement_cache_capacity(STATEMENTS_KEPT)
            .disable_statement_logging();
        check_sqlite(&options).await?;
        let writer = Writer::start(options.clone()).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(parallelism() * 2)
            .acquire_timeout(PATIENCE)
            .test_before_acquire(false)
            .connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self::of(Kind::Sqlite { writer, readers }))
    }

    async fn open_postgres(address: &str) -> Result<Self> {
        let lock_wait_ms = LOCK_WAIT.as_millis().to_string();
        let options = PgConnectOptions::from_str(address)
            .map_err(|error| Error::Address(error.to_string()))?
            .application_name("muster")
            .statement_cache_capacity(STATEMENTS_KEPT)
            // Our statements are short, and compiling one takes longer than running it.
            .options([("lock_timeout", lock_wait_ms.as_str()), ("jit", "off")])
            .disable_statement_logging();
        let flusher = Flusher::start(options.clone());
        // Commits wait for the disk together; `flusher` says how.
        let options = options.options([("synchronous_commit", "off")]);
        let pool = PgPoolOptions::new()
            .max_connections(parallelism() * 4 + 2)
            .acquire_timeout(PATIENCE)
            .test_before_acquire(false)
            .before_acquire(|conn, seen| {
                // A busy connection was fine a moment ago; only one that rested may have died with its
                // server.
                let rested = seen.idle_for > RESTED;
                Box::pin(async move { if rested { conn.ping().await.map(|()| true) } else { Ok(true) } })
            })
            .connect_with(options)
            .await?;
        Ok(Self::of(Kind::Postgres(pool, flusher)))
    }

    const fn of(kind: Kind) -> Self {
        Self { kind, faults: None }
    }

    /// The same database with faults on purpose at the transactions that write; for simulators, see [`Faults`].
    #[must_use]
    pub fn with_faults(self, faults: Arc<dyn Faults>) -> Self {
        Self { faults: Some(faults), ..self }
    }

    /// Begins a transaction that writes.
    ///
    /// # Errors
    /// [`Error::Busy`] without a turn or a connection in 2 s, [`Error::Closed`] after [`Db::close`].
    pub async fn begin(&self) -> Result<Tx> {
        if let Some(faults) = &self.faults {
            faults.begin()?;
        }
        let link = match &self.kind {
            Kind::Sqlite { writer, .. } => Link::SqliteTurn(writer.turn().await?),
            Kind::Postgres(pool, flusher) => Link::Postgres(pool.begin().await?, flusher.clone()),
        };
        Ok(Tx::new(link, self.faults.clone()))
    }

    /// Begins a transaction that reads, all of it at one moment.
    ///
    /// # Errors
    /// [`Error::Busy`] without a connection in 2 s, [`Error::Closed`] after [`Db::close`].
    pub async fn read(&self) -> Result<Read> {
        Ok(Read::new(match &self.kind {
            Kind::Sqlite { readers, .. } => Link::SqliteRead(readers.begin().await?),
            Kind::Postgres(pool, _) => Link::PostgresRead(pool.begin_with(READ_POSTGRES).await?),
        }))
    }

    /// For a single question: no transaction around it, so two questions may see two moments.
    ///
    /// # Errors
    /// [`Error::Busy`] without a connection in 2 s, [`Error::Closed`] after [`Db::close`].
    pub async fn glance(&self) -> Result<Read> {
        Ok(Read::new(match &self.kind {
            Kind::Sqlite { readers, .. } => Link::SqliteGlance(readers.acquire().await?),
            Kind::Postgres(pool, _) => Link::PostgresGlance(pool.acquire().await?),
        }))
    }

    /// Whether a write could be done now; writes nothing.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::ReadOnly`] on a Postgres standby, or what the database says.
    pub async fn ping_write(&self) -> Result<()> {
        let mut tx = self.begin().await?;
        if tx.dialect() == Dialect::Postgres {
            let (standby,): (bool,) = tx.query(STANDBY_POSTGRES).one().await?;
            if standby {
                return Err(Error::ReadOnly);
            }
        }
        tx.settle().await
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        match &self.kind {
            Kind::Sqlite { .. } => Dialect::Sqlite,
            Kind::Postgres(..) => Dialect::Postgres,
        }
    }

    /// Lets the transactions that are open or wait for a turn finish, for 2 s each kind, and closes every
    /// connection.
    pub async fn close(&self) {
        match &self.kind {
            Kind::Sqlite { writer, readers } => {
                close_within_patience(readers.close()).await;
                close_within_patience(writer.close()).await;
            }
            Kind::Postgres(pool, _) => close_within_patience(pool.close()).await,
        }
    }
}

async fn check_sqlite(options: &SqliteConnectOptions) -> Result<()> {
    let mut conn = options.connect().await?;
    let found: String = sqlx::query_scalar(VERSION_SQLITE).fetch_one(&mut conn).await?;
    conn.close().await?;
    let parts =
        |version: &str| -> Vec<u32> { version.split('.').map_while(|part| part.parse().ok()).collect() };
    if parts(&found) < parts(LOWEST_SQLITE) {
        return Err(Error::OldSqlite { found, wanted: LOWEST_SQLITE });
    }
    Ok(())
}

/// Whoever still holds a connection after this loses it when the process ends, which both databases survive.
async fn close_within_patience(closing: impl Future<Output = ()>) {
    drop(tokio::time::timeout(PATIENCE, closing).await);
}

fn parallelism() -> u32 {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(16).clamp(2, 16)
}
