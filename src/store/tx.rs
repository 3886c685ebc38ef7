//! Transactions as objects: a [`Tx`] is committed against a warrant or leaves nothing behind; a [`Read`] sees
//! one moment. Dropping either, in whatever way, is a rollback.

use std::{
    future::Future,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, Transaction, pool::PoolConnection};

use super::{
    db::Dialect,
    error::{Error, Result},
    faults::Faults,
    flusher::Flusher,
    query::Query,
    writer::Turn,
};
use crate::op::Warrant;

/// Whatever holds the connection for us, and gives it back in order when dropped.
pub(super) enum Link {
    /// The turn at SQLite's one writing connection.
    SqliteTurn(Turn),
    SqliteRead(Transaction<'static, Sqlite>),
    SqliteGlance(PoolConnection<Sqlite>),
    Postgres(Transaction<'static, Postgres>, Flusher),
    PostgresRead(Transaction<'static, Postgres>),
    PostgresGlance(PoolConnection<Postgres>),
}

/// The driver's connection.
pub(super) enum Wire<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

/// A connection that can be asked: what [`Tx`] and [`Read`] have in common.
pub struct Conn {
    link: Link,
    /// Whether a statement failed or was abandoned half way. Postgres refuses everything after that, and
    /// SQLite may have rolled back behind our back, so both refuse.
    broken: bool,
}

impl Conn {
    pub(super) fn new(link: Link) -> Self {
        Self { link, broken: false }
    }

    /// A statement that reads the same in both databases, with `$1` for the first argument.
    pub fn query(&mut self, sql: &'static str) -> Query<'_> {
        Query::new(self, sql)
    }

    /// A statement that has to be said differently in each.
    pub fn query_by(&mut self, sqlite: &'static str, postgres: &'static str) -> Query<'_> {
        let sql = match self.dialect() {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        };
        Query::new(self, sql)
    }

    /// Which database answers.
    pub fn dialect(&self) -> Dialect {
        match self.link {
            Link::SqliteTurn(_) | Link::SqliteRead(_) | Link::SqliteGlance(_) => Dialect::Sqlite,
            Link::Postgres(..) | Link::PostgresRead(_) | Link::PostgresGlance(_) => Dialect::Postgres,
        }
    }

    /// Runs a script of several statements without arguments.
    pub(super) async fn script(&mut self, sql: &'static str) -> Result<()> {
        self.enter()?;
        match self.wire() {
            Wire::Sqlite(wire) => sqlx::raw_sql(sql).execute(wire).await.map(drop)?,
            Wire::Postgres(wire) => sqlx::raw_sql(sql).execute(wire).await.map(drop)?,
        }
        self.leave();
        Ok(())
    }

    pub(super) fn wire(&mut self) -> Wire<'_> {
        match &mut self.link {
            Link::SqliteTurn(turn) => Wire::Sqlite(turn.wire()),
            Link::SqliteRead(tx) => Wire::Sqlite(tx),
            Link::SqliteGlance(conn) => Wire::Sqlite(conn),
            Link::Postgres(tx, _) | Link::PostgresRead(tx) => Wire::Postgres(tx),
            Link::PostgresGlance(conn) => Wire::Postgres(conn),
        }
    }

    /// Begins a statement: until [`Conn::leave`] says it went well, the transaction counts as broken, so that
    /// a statement whose future is dropped half way breaks it too.
    pub(super) fn enter(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.broken, true) { Err(Error::Broken) } else { Ok(()) }
    }

    pub(super) fn leave(&mut self) {
        self.broken = false;
    }
}

/// A transaction that writes. Dropped without [`Tx::commit`], it leaves nothing.
///
/// On SQLite it holds the turn at the only writing connection: nobody else writes until it ends, so wait for
/// nothing but the database while you hold one.
pub struct Tx {
    conn: Conn,
    faults: Option<Arc<dyn Faults>>,
}

impl Tx {
    pub(super) fn new(link: Link, faults: Option<Arc<dyn Faults>>) -> Self {
        Self { conn: Conn::new(link), faults }
    }

    /// Makes the changes last, on the strength of `warrant`. When this returns, they are on disk.
    ///
    /// A future that is dropped while it waits here leaves the outcome open: the commit may have happened.
    ///
    /// # Errors
    /// [`Error::Broken`] when an earlier statement failed; [`Error::Commit`] and [`Error::Retry`] when the
    /// database refuses: nothing is stored then. [`Error::Uncertain`] when it went away.
    pub fn commit(self, warrant: &dyn Warrant) -> impl Future<Output = Result<()>> + Send + use<> {
        // The warrant is a proof by its type; it need not live as long as the commit takes.
        let _ = warrant;
        self.settle()
    }

    /// Undoes the changes, and returns when all that the transaction saw is on disk: for an answer that rests
    /// on it, such as one given before. A transaction sees those before it that nobody was answered for yet.
    ///
    /// # Errors
    /// [`Error::Commit`] when what was seen could not be committed.
    pub async fn rollback(self) -> Result<()> {
        match self.conn.link {
            Link::SqliteTurn(turn) => turn.release(false).await,
            Link::Postgres(tx, flusher) => {
                tx.rollback().await?;
                flusher.flushed().await
            }
            _ => Err(Error::ReadOnly),
        }
    }

    /// Commits without a warrant: only for the store's own schema.
    pub(super) async fn settle(self) -> Result<()> {
        let Self { conn, faults } = self;
        if conn.broken {
            return Err(Error::Broken);
        }
        if let Some(faults) = &faults {
            faults.commit()?;
        }
        match conn.link {
            Link::SqliteTurn(turn) => turn.release(true).await,
            Link::Postgres(tx, flusher) => {
                tx.commit().await.map_err(|error| match error.into() {
                    Error::Unreachable(_) | Error::Closed => Error::Uncertain,
                    refused => refused,
                })?;
                flusher.flushed().await
            }
            _ => Err(Error::ReadOnly),
        }?;
        faults.map_or(Ok(()), |faults| faults.committed())
    }
}

impl Deref for Tx {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

/// A transaction that only reads, all of it at one moment.
pub struct Read(Conn);

impl Read {
    pub(super) fn new(link: Link) -> Self {
        Self(Conn::new(link))
    }
}

impl Deref for Read {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.0
    }
}

impl DerefMut for Read {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.0
    }
}
