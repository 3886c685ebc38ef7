//! Postgres' group commit: a transaction gives up its locks when it commits, and is answered when it is on disk.
//!
//! Our connections commit without waiting for the disk (`synchronous_commit = off`), so that the next transaction of
//! the same team need not wait for it either. One connection then has the log written up to its end, for everybody who
//! waits at that moment: the log is in the order of commits, so what was committed before is on disk after. Nobody is
//! told of a change that a crash could undo; who was not told may ask again with the same key.

use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::sync::{mpsc, oneshot};

use super::error::{Error, Result};

/// Waiters that may queue up before more are turned away.
const QUEUE: usize = 4096;

/// A transaction of its own that leaves nothing but a record in the log, whose commit waits for the disk.
const FLUSH_POSTGRES: &str = "SELECT pg_logical_emit_message(TRUE, 'muster', '')";

type Waiter = oneshot::Sender<Result<()>>;

/// The queue in front of the one connection that waits for the disk.
#[derive(Clone)]
pub(super) struct Flusher {
    calls: mpsc::Sender<Waiter>,
}

impl Flusher {
    /// Starts the task; it connects when it is first needed.
    pub(super) fn start(options: PgConnectOptions) -> Self {
        let (calls, queue) = mpsc::channel(QUEUE);
        let options = options.options([("synchronous_commit", "on")]);
        tokio::spawn(run(options, queue));
        Self { calls }
    }

    /// Returns when everything that was committed before is on disk.
    ///
    /// # Errors
    /// [`Error::Uncertain`] when the server went away: what was committed is stored or it is not.
    pub(super) async fn flushed(&self) -> Result<()> {
        let (told, heard) = oneshot::channel();
        self.calls.send(told).await.map_err(|_| Error::Uncertain)?;
        heard.await.unwrap_or(Err(Error::Uncertain))
    }
}

async fn run(options: PgConnectOptions, mut queue: mpsc::Receiver<Waiter>) {
    let mut conn: Option<PgConnection> = None;
    let mut waiters = Vec::new();
    // Everybody who came while the last flush was under way is served by the next.
    while queue.recv_many(&mut waiters, QUEUE).await > 0 {
        let flushed = flush(&options, &mut conn).await;
        if let Err(error) = &flushed {
            tracing::error!(%error, "the database did not write its log; commits are uncertain");
            conn = None;
        }
        for waiter in waiters.drain(..) {
            // A waiter may have gone away, which is theirs to do.
            drop(waiter.send(flushed.as_ref().copied().map_err(|_| Error::Uncertain)));
        }
    }
    if let Some(conn) = conn {
        drop(conn.close().await);
    }
}

/// A connection that rested may have died with its server, so one failure is tried again on a fresh one.
async fn flush(options: &PgConnectOptions, conn: &mut Option<PgConnection>) -> sqlx::Result<()> {
    if let Some(open) = conn
        && sqlx::query(FLUSH_POSTGRES).execute(open).await.is_ok()
    {
        return Ok(());
    }
    let fresh = conn.insert(options.connect().await?);
    sqlx::query(FLUSH_POSTGRES).execute(fresh).await.map(drop)
}
