//! The store on SQLite and on Postgres: every test runs on both.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

#[path = "../support/postgres.rs"]
mod postgres;

mod commit;
mod identity;
mod rollback;
mod schema;
mod statements;

use std::sync::Arc;

use muster::{
    chance::Seeded,
    op::{Actor, Op, SystemActor, SystemWarrant},
    store::{Conn, Db, Tx},
    time::{ManualClock, Timestamp},
};

const NOW: Timestamp = Timestamp::from_micros(1_763_800_000_000_000);

/// A migrated database of one of the two kinds.
struct Site {
    db: Db,
    op: Op,
    address: String,
    // The folder of a SQLite file, removed with the site.
    _folder: Option<tempfile::TempDir>,
}

impl Site {
    /// An empty database, not migrated, on each of the two.
    async fn empty() -> [Site; 2] {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = format!("sqlite:{}", folder.path().join("muster.db").display());
        [Self::open(sqlite, Some(folder)).await, Self::open(postgres::fresh_database(), None).await]
    }

    /// A migrated database on each of the two.
    async fn both() -> [Site; 2] {
        let sites = Self::empty().await;
        for site in &sites {
            site.db.migrate(NOW).await.unwrap();
        }
        sites
    }

    async fn open(address: String, folder: Option<tempfile::TempDir>) -> Site {
        let db = Db::open(&address).await.unwrap();
        let clock = Arc::new(ManualClock::new(NOW));
        let op = Op::new(Actor::System(SystemActor::Setup), clock, Arc::new(Seeded::new(1)));
        Site { db, op, address, _folder: folder }
    }

    fn warrant(&self) -> SystemWarrant {
        SystemWarrant::of(&self.op).unwrap()
    }

    async fn commit(&self, tx: Tx) -> muster::store::Result<()> {
        tx.commit(&self.warrant()).await
    }

    /// How many subjects are throttled: the plainest table there is.
    async fn subjects(&self) -> i64 {
        let mut read = self.db.read().await.unwrap();
        let (count,) = read.query("SELECT count(*) FROM login_throttles").one().await.unwrap();
        count
    }
}

/// Writes one row of the plainest table there is.
async fn subject_write(conn: &mut Conn, subject: &str) -> muster::store::Result<u64> {
    let sql =
        "INSERT INTO login_throttles (subject, failures, blocked_until, updated_at) VALUES ($1, 0, 0, 0)";
    conn.query(sql).bind(subject).execute().await
}
