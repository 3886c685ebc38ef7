//! B3 and B4: what it costs to set money aside, when many want it of one team, and when one is alone.
//!
//! A reserve is what a launch does to the books: the journal of the team under its lock, the hold, its posting with its
//! lots, one durable commit. B3 asks whether a team that everybody launches in is slower than a thousand teams; B4
//! whether a lone reserve is much slower than the plainest durable commit of the same database.

use std::{sync::Arc, time::Instant};

use muster::{ids::InstanceId, store::Dialect, time::SystemClock};
use sqlx::{
    ConnectOptions, PgConnection, SqliteConnection,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::task::JoinSet;

use crate::support::{
    postgres::fresh_database,
    report::{Bar, Wanted},
    rows::Ground,
    site::{Site, Team, credits},
};

const ROUNDS: usize = 5;
/// Teams beside the hot one.
const TEAMS: usize = 1_000;
/// Launchers at once.
const HANDS: usize = 8;
/// Reserves of one launcher in one round.
const RESERVES: usize = 40;
/// Lone reserves of one round; the second greatest of them is their 99th percentile.
const LONE: usize = 100;

pub(crate) async fn measure() -> Vec<Bar> {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite:{}", folder.path().join("muster.db").display());
    let mut bars = measure_on(&sqlite, ["B3", "B4"]).await;
    bars.extend(measure_on(&fresh_database(), ["B3p", "B4p"]).await);
    bars
}

async fn measure_on(address: &str, [shared, alone]: [&'static str; 2]) -> Vec<Bar> {
    let bench = Bench::open(address).await;
    let mut plain = Plain::open(address).await;
    let (mut hot, mut spread, mut lone, mut commits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        spread.push(bench.reserves_per_second(&bench.teams).await);
        hot.push(bench.reserves_per_second(&bench.teams[..1]).await);
        lone.push(bench.lone_p99_millis().await);
        commits.push(plain.commit_p99_millis().await);
    }
    let entries = bench.site.verify().await;
    let database = match bench.site.db.dialect() {
        Dialect::Sqlite => "SQLite, synchronous FULL",
        Dialect::Postgres => "Postgres with its defaults",
    };
    vec![
        Bar {
            id: shared,
            what: "reserves of one hot team ÷ of a thousand teams",
            wanted: Wanted::AtLeast(0.8, 0.95),
            unit: "1/s",
            ours: hot,
            yardstick: spread,
            settings: format!(
                "{database}; {HANDS} at once, {RESERVES} each, {ROUNDS} rounds; {entries} entries verified"
            ),
        },
        Bar {
            id: alone,
            what: "p99 of a lone reserve ÷ p99 of a lone one-row durable commit",
            wanted: Wanted::AtMost(3.0, 2.0),
            unit: "ms",
            ours: lone,
            yardstick: commits,
            settings: format!("{database}; {LONE} of each a round, {ROUNDS} rounds, in turn"),
        },
    ]
}

struct Bench {
    site: Arc<Site>,
    teams: Vec<Arc<Team>>,
    ground: Ground,
}

impl Bench {
    async fn open(address: &str) -> Self {
        let site = Site::at(address, Arc::new(SystemClock)).await;
        let (product, image) = site.catalogue(10, "any").await;
        let mut teams = Vec::with_capacity(TEAMS);
        for number in 0..TEAMS {
            teams.push(Arc::new(site.team(&format!("team-{number}")).await));
        }
        let ground = Ground { product, image, host: site.host().await, price: site.price().await };
        Self { site: Arc::new(site), teams, ground }
    }

    /// Everybody reserves in the given teams, in turn.
    async fn reserves_per_second(&self, teams: &[Arc<Team>]) -> f64 {
        let mut ready = Vec::new();
        for hand in 0..HANDS {
            let mut own = Vec::with_capacity(RESERVES);
            for nth in 0..RESERVES {
                let team = teams[(hand * RESERVES + nth) % teams.len()].clone();
                let instance = self.instance(&team).await;
                own.push((team, instance));
            }
            ready.push(own);
        }
        let (mut tasks, began) = (JoinSet::new(), Instant::now());
        for own in ready {
            let site = self.site.clone();
            tasks.spawn(async move {
                for (team, instance) in own {
                    site.write(async |tx| site.hold(tx, &team, instance, credits(1)).await).await;
                }
            });
        }
        tasks.join_all().await;
        (HANDS * RESERVES) as f64 / began.elapsed().as_secs_f64()
    }

    async fn lone_p99_millis(&self) -> f64 {
        let mut millis = Vec::with_capacity(LONE);
        for nth in 0..LONE {
            let team = &self.teams[nth % self.teams.len()];
            let instance = self.instance(team).await;
            let began = Instant::now();
            self.site.write(async |tx| self.site.hold(tx, team, instance, credits(1)).await).await;
            millis.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        p99(millis)
    }

    /// An instance that waits for its hold.
    async fn instance(&self, team: &Team) -> InstanceId {
        self.site.write(async |tx| self.site.instance(tx, team, &self.ground).await).await
    }
}

/// The same database at its plainest: one row, one durable commit.
enum Plain {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Plain {
    async fn open(address: &str) -> Self {
        let make = "CREATE TABLE plain_rows (name TEXT, amount BIGINT)";
        match address.strip_prefix("sqlite:") {
            Some(path) => {
                // A file of its own on the same disk: the server's one writer is not in the way.
                let options = SqliteConnectOptions::new()
                    .filename(format!("{path}.plain"))
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .disable_statement_logging();
                let mut conn = options.connect().await.unwrap();
                sqlx::raw_sql(make).execute(&mut conn).await.unwrap();
                Self::Sqlite(conn)
            }
            None => {
                let options: PgConnectOptions = address.parse().unwrap();
                let mut conn = options.disable_statement_logging().connect().await.unwrap();
                sqlx::raw_sql(make).execute(&mut conn).await.unwrap();
                Self::Postgres(conn)
            }
        }
    }

    async fn commit_p99_millis(&mut self) -> f64 {
        let insert = "INSERT INTO plain_rows VALUES ('one', 1)";
        let mut millis = Vec::with_capacity(LONE);
        for _ in 0..LONE {
            let began = Instant::now();
            match self {
                Self::Sqlite(conn) => drop(sqlx::query(insert).execute(conn).await.unwrap()),
                Self::Postgres(conn) => drop(sqlx::query(insert).execute(conn).await.unwrap()),
            }
            millis.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        p99(millis)
    }
}

fn p99(mut millis: Vec<f64>) -> f64 {
    millis.sort_by(f64::total_cmp);
    millis[millis.len() * 99 / 100 - 1]
}
