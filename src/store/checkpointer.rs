//! SQLite's log is carried into the database file beside the writer, not by it.
//!
//! By itself SQLite lets one commit in some fifty do that for all, and whoever made it waits for many times as long as
//! the others. Here a connection of its own does it a moment after commits, while the writer goes on. The writer's own
//! way stays as a backstop, far behind: where the log is never at rest, it is the one that can begin it anew.

use std::time::Duration;

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{sync::mpsc, task::JoinHandle};

/// How long commits gather before the log is carried over.
const REST: Duration = Duration::from_millis(100);

/// Pages in the log at which a commit carries it over after all: 16 MiB.
pub(super) const BACKSTOP_PAGES: &str = "4096";

/// Takes what is in the log as far as no reader is in the way, and waits for nobody.
const CHECKPOINT_SQLITE: &str = "PRAGMA wal_checkpoint(PASSIVE)";

/// The task beside the writer. It ends when this is dropped.
pub(super) struct Checkpointer {
    commits: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

impl Checkpointer {
    /// Starts the task; it connects when there is something to do.
    pub(super) fn start(options: SqliteConnectOptions) -> Self {
        let (commits, told) = mpsc::channel(1);
        Self { commits, task: tokio::spawn(run(options, told)) }
    }

    /// Says that something was committed.
    pub(super) fn committed(&self) {
        // Full: it has been told already, and has not looked yet.
        self.commits.try_send(()).ok();
    }

    /// Returns when the connection is closed. The last connection to close carries over what is left.
    pub(super) async fn close(self) {
        drop(self.commits);
        drop(self.task.await);
    }
}

async fn run(options: SqliteConnectOptions, mut commits: mpsc::Receiver<()>) {
    let mut conn: Option<SqliteConnection> = None;
    while commits.recv().await.is_some() {
        let ended = async { while commits.recv().await.is_some() {} };
        if tokio::time::timeout(REST, ended).await.is_ok() {
            break;
        }
        if let Err(error) = checkpoint(&options, &mut conn).await {
            tracing::warn!(%error, "the log was not carried into the database file; a later commit will do it");
            conn = None;
        }
    }
    if let Some(conn) = conn {
        drop(conn.close().await);
    }
}

async fn checkpoint(options: &SqliteConnectOptions, conn: &mut Option<SqliteConnection>) -> sqlx::Result<()> {
    let open = match conn {
        Some(open) => open,
        None => conn.insert(options.connect().await?),
    };
    sqlx::raw_sql(CHECKPOINT_SQLITE).execute(open).await.map(drop)
}
