//! SQLite's turnstile: one task owns the one writing connection and lends it to one job at a time.
//!
//! Group commit: jobs that queue up share one `BEGIN IMMEDIATE … COMMIT`, each inside a savepoint of its own,
//! and hear "committed" only after the COMMIT. One fsync then serves many; a job that fails takes only its
//! savepoint with it. When the COMMIT fails, every job of the batch hears so.

use std::time::Duration;

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    checkpointer::{BACKSTOP_PAGES, Checkpointer},
    db::PATIENCE,
    error::{Error, Result},
};

/// Jobs that may wait for a turn before more are turned away.
const QUEUE: usize = 1024;
/// Jobs in one commit.
const BATCH: usize = 256;
/// How long a batch takes new jobs after it began.
const WINDOW: Duration = Duration::from_millis(3);

const BEGIN: &str = "BEGIN IMMEDIATE; SAVEPOINT job";
const KEEP_AND_GO_ON: &str = "RELEASE job; SAVEPOINT job";
const UNDO: &str = "ROLLBACK TO job";
const COMMIT: &str = "COMMIT";

/// How a job ended.
struct Ending {
    /// Whether what it did is kept.
    keep: bool,
    /// Where to say whether the commit of the batch went well.
    told: Option<oneshot::Sender<Result<()>>>,
}

/// The connection, lent for one job. Dropping it undoes the job.
pub(super) struct Turn {
    lent: Option<Lent>,
}

struct Lent {
    conn: SqliteConnection,
    back: oneshot::Sender<(SqliteConnection, Ending)>,
}

impl Turn {
    fn new(conn: SqliteConnection) -> (Self, oneshot::Receiver<(SqliteConnection, Ending)>) {
        let (back, returned) = oneshot::channel();
        (Self { lent: Some(Lent { conn, back }) }, returned)
    }

    #[expect(
        clippy::expect_used,
        reason = "only `release` and `drop` take it out, and both consume the turn"
    )]
    pub(super) fn wire(&mut self) -> &mut SqliteConnection {
        &mut self.lent.as_mut().expect("a turn holds its connection until it ends").conn
    }

    /// Ends the job, keeping or undoing it, and waits for the commit of its batch.
    pub(super) async fn release(mut self, keep: bool) -> Result<()> {
        let (told, heard) = oneshot::channel();
        self.end(Ending { keep, told: Some(told) });
        heard.await.unwrap_or(Err(Error::Uncertain))
    }

    fn end(&mut self, ending: Ending) {
        if let Some(Lent { conn, back }) = self.lent.take() {
            // Without a writer to take it back, dropping the connection rolls everything back.
            tell(back, (conn, ending));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end(Ending { keep: false, told: None });
    }
}

enum Call {
    Turn(oneshot::Sender<Result<Turn>>),
    Close(oneshot::Sender<()>),
}

/// The queue in front of the turnstile.
#[derive(Clone)]
pub(super) struct Writer {
    calls: mpsc::Sender<Call>,
}

impl Writer {
    /// Connects and starts the task that owns the connection.
    pub(super) async fn start(options: SqliteConnectOptions) -> Result<Self> {
        let checkpointer = Checkpointer::start(options.clone());
        let options = options.optimize_on_close(true, None).pragma("wal_autocheckpoint", BACKSTOP_PAGES);
        let conn = options.connect().await?;
        let (calls, queue) = mpsc::channel(QUEUE);
        tokio::spawn(Turnstile { options, conn: Some(conn), checkpointer, queue }.run());
        Ok(Self { calls })
    }

    /// Waits for a turn to write, but not for ever.
    pub(super) async fn turn(&self) -> Result<Turn> {
        let (grant, granted) = oneshot::channel();
        self.calls.try_send(Call::Turn(grant)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Busy(Duration::ZERO),
            mpsc::error::TrySendError::Closed(_) => Error::Closed,
        })?;
        match tokio::time::timeout(PATIENCE, granted).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::Busy(PATIENCE)),
        }
    }

    /// Lets the jobs that wait finish, then closes the connection.
    pub(super) async fn close(&self) {
        let (told, closed) = oneshot::channel();
        if self.calls.send(Call::Close(told)).await.is_ok() {
            // An error means that the task is gone already, and the connection with it.
            drop(closed.await);
        }
    }
}

struct Turnstile {
    options: SqliteConnectOptions,
    conn: Option<SqliteConnection>,
    checkpointer: Checkpointer,
    queue: mpsc::Receiver<Call>,
}

impl Turnstile {
    async fn run(mut self) {
        while let Some(call) = self.queue.recv().await {
            match call {
                Call::Turn(grant) => {
                    if let Some(closed) = self.batch(grant).await {
                        return self.close(closed).await;
                    }
                }
                Call::Close(closed) => return self.close(closed).await,
            }
        }
    }

    /// Runs jobs in one transaction until nobody waits or the batch is full; says who asked to close
    /// meanwhile.
    async fn batch(&mut self, first: oneshot::Sender<Result<Turn>>) -> Option<oneshot::Sender<()>> {
        let mut conn = match self.begin().await {
            Ok(conn) => conn,
            Err(error) => {
                tell(first, Err(error));
                return None;
            }
        };
        let (began, mut jobs) = (Instant::now(), 1);
        let (mut next, mut closing) = (Some(first), None);
        let mut listeners = Vec::new();
        while let Some(grant) = next.take() {
            let (turn, returned) = Turn::new(conn);
            // A job that has gone away drops the turn, which comes back at once as undone.
            tell(grant, Ok(turn));
            let Ok((back, ending)) = returned.await else {
                fail(listeners, "the connection was lost");
                return closing;
            };
            conn = back;
            if jobs < BATCH && began.elapsed() < WINDOW && closing.is_none() {
                match self.queue.try_recv() {
                    Ok(Call::Turn(grant)) => next = Some(grant),
                    Ok(Call::Close(closed)) => closing = Some(closed),
                    Err(_) => {}
                }
            }
            jobs += 1;
            listeners.extend(ending.told);
            let step = match (ending.keep, next.is_some()) {
                (false, _) => Some(UNDO),
                (true, true) => Some(KEEP_AND_GO_ON),
                // The COMMIT keeps it as well.
                (true, false) => None,
            };
            if let Some(step) = step
                && let Err(error) = sqlx::raw_sql(step).execute(&mut conn).await
            {
                abandon(conn, listeners, next, error).await;
                return closing;
            }
        }
        match sqlx::raw_sql(COMMIT).execute(&mut conn).await {
            Ok(_) => {
                self.conn = Some(conn);
                self.checkpointer.committed();
                listeners.into_iter().for_each(|told| tell(told, Ok(())));
            }
            Err(error) => abandon(conn, listeners, None, error).await,
        }
        closing
    }

    async fn begin(&mut self) -> Result<SqliteConnection> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.options.connect().await?,
        };
        match sqlx::raw_sql(BEGIN).execute(&mut conn).await {
            Ok(_) => Ok(conn),
            Err(error) => {
                // It may or may not be in a transaction now; a fresh one certainly is not.
                drop(conn.close().await);
                Err(error.into())
            }
        }
    }

    async fn close(self, closed: oneshot::Sender<()>) {
        self.checkpointer.close().await;
        if let Some(conn) = self.conn {
            drop(conn.close().await);
        }
        tell(closed, ());
    }
}

/// Throws the connection away, and with it all that the batch did.
async fn abandon(
    conn: SqliteConnection,
    listeners: Vec<oneshot::Sender<Result<()>>>,
    next: Option<oneshot::Sender<Result<Turn>>>,
    error: sqlx::Error,
) {
    drop(conn.close().await);
    if let Some(grant) = next {
        tell(grant, Err(Error::Commit(error.to_string())));
    }
    fail(listeners, &error.to_string());
}

/// Tells every job of a batch that nothing of it is kept after all.
fn fail(listeners: Vec<oneshot::Sender<Result<()>>>, why: &str) {
    listeners.into_iter().for_each(|told| tell(told, Err(Error::Commit(why.to_owned()))));
}

/// Sends to somebody who may have gone away meanwhile, which is theirs to do.
fn tell<T>(to: oneshot::Sender<T>, what: T) {
    drop(to.send(what));
}
