//! B1, B2 and B6: full captures by the meter, beside what the same database does at its plainest, and after an outage.
//!
//! A capture is everything that one interval of one running instance costs: rated by the price plugin, segment moved
//! on, charge, capture from the hold with its entries and accounts, hold extended back to a full runway with its
//! entries and accounts. Teams have one transaction each. The meter is one loop, as it is in the server; pgbench has
//! eight clients.

use std::{process::Command, sync::Arc, time::Instant};

use muster::{
    app::{App, Parts, Settings, secrets::Seal},
    chance::SystemChance,
    ids::InstanceId,
    ledger::hold::runway_cost,
    op::{Actor, SystemActor},
    plugins::{Compiler, Limits, PluginSettings, Plugins},
    policy::Policies,
    time::{ManualClock, Span, Timestamp},
};
use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tempfile::TempDir;

use crate::support::{
    postgres::{fresh_database, program},
    report::{Bar, Wanted, median},
    rows::{Ground, INTERVAL},
    site::{Site, Team},
};

const ROUNDS: usize = 5;
const TEAMS: usize = 8;
const INSTANCES: usize = 50;
/// The fleet that was away, and for how long: an hour of ten thousand instances.
const BACKLOG_TEAMS: usize = 20;
const BACKLOG_INSTANCES: usize = 500;
const BACKLOG: Span = Span::from_seconds(3_600);
/// How long pgbench runs in a round, in seconds.
const PGBENCH_SECONDS: &str = "4";
const PGBENCH_CLIENTS: &str = "8";
const PGBENCH_SCALE: &str = "10";
const RUNWAY: Span = Span::from_seconds(3_600);
/// On the grid of intervals, so that every minute closes one.
const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

pub(crate) async fn measure_postgres() -> Vec<Bar> {
    let address = fresh_database();
    let yardstick = fresh_database();
    pgbench(&yardstick, &["-i", "-q", "-s", PGBENCH_SCALE]);
    let books = Books::open(&address, TEAMS, INSTANCES).await;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(books.captures_per_second().await);
        theirs.push(transactions_per_second(&yardstick));
    }
    let entries = books.site.verify().await;
    vec![Bar {
        id: "B1",
        what: "Postgres: full captures ÷ pgbench TPC-B transactions",
        wanted: Wanted::AtLeast(5.0, 10.0),
        unit: "1/s",
        ours,
        yardstick: theirs,
        settings: format!(
            "one server with fsync and its other defaults; {TEAMS} teams × {INSTANCES} instances, {ROUNDS} passes; \
             pgbench -c {PGBENCH_CLIENTS} -j 2 -s {PGBENCH_SCALE} for {PGBENCH_SECONDS} s; {entries} entries verified"
        ),
    }]
}

pub(crate) async fn measure_sqlite() -> Vec<Bar> {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("sqlite:{}", folder.path().join("muster.db").display());
    let books = Books::open(&address, TEAMS, INSTANCES).await;
    let mut raw = Raw::open(&folder).await;
    let (mut ours, mut theirs, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = books.rows().await;
        ours.push(books.captures_per_second().await);
        let per_commit = usize::try_from(books.rows().await - before).unwrap() / TEAMS;
        theirs.push(raw.rows_per_second(per_commit).await);
        rows.push(per_commit);
    }
    let entries = books.site.verify().await;
    vec![Bar {
        id: "B2",
        what: "SQLite: full captures ÷ plain inserted rows, as many a commit",
        wanted: Wanted::AtLeast(0.05, 0.10),
        unit: "1/s",
        ours,
        yardstick: theirs,
        settings: format!(
            "WAL, synchronous FULL; {TEAMS} teams × {INSTANCES} instances, {ROUNDS} passes; {} rows inserted a \
             commit, one prepared statement a row; {entries} entries verified",
            median(&rows.iter().map(|&rows| rows as f64).collect::<Vec<_>>())
        ),
    }]
}

pub(crate) async fn measure_backlog() -> Vec<Bar> {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("sqlite:{}", folder.path().join("muster.db").display());
    let books = Books::open(&address, BACKLOG_TEAMS, BACKLOG_INSTANCES).await;
    let (charged, seconds) = books.pass(BACKLOG).await;
    assert_eq!(charged, BACKLOG_TEAMS * BACKLOG_INSTANCES * 60, "every minute of every instance is charged");
    let entries = books.site.verify().await;
    vec![Bar {
        id: "B6",
        what: "catching up 600 000 intervals, rated by the price plugin",
        wanted: Wanted::AtMost(120.0, 45.0),
        unit: "s",
        ours: vec![seconds],
        yardstick: Vec::new(),
        settings: format!(
            "SQLite, synchronous FULL; {BACKLOG_TEAMS} teams × {BACKLOG_INSTANCES} instances × 60 minutes in one pass \
             of the meter; {entries} entries verified"
        ),
    }]
}

/// Books with running instances, and the services over them.
struct Books {
    app: App,
    site: Site,
    clock: Arc<ManualClock>,
    instances: Vec<InstanceId>,
    _folder: TempDir,
}

impl Books {
    async fn open(address: &str, team_count: usize, instances_each: usize) -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(START)));
        let site = Site::at(address, clock.clone()).await;
        let app = app(&site, clock.clone(), &folder).await;
        let (product, image) = site.catalogue(10, "any").await;
        let mut teams = Vec::new();
        for number in 0..team_count {
            teams.push(site.team(&format!("team-{number}")).await);
        }
        let mut read = site.db.read().await.unwrap();
        let price =
            read.price_version_active(teams[0].id, None, START).await.unwrap().expect("the site's price").id;
        drop(read);
        let ground = Ground { product, image, host: site.host().await, price };
        let mut instances = Vec::new();
        for team in &teams {
            instances.extend(plant(&site, team, &ground, instances_each).await);
        }
        let books = Self { app, site, clock, instances, _folder: folder };
        // Loads the plugin and warms the caches.
        books.pass(INTERVAL).await;
        books
    }

    /// Lets a minute pass for every instance, and meters it.
    async fn captures_per_second(&self) -> f64 {
        let (charged, seconds) = self.pass(INTERVAL).await;
        assert_eq!(charged, self.instances.len(), "each instance has one closed interval");
        charged as f64 / seconds
    }

    /// Lets time pass for every instance, and meters it; how many intervals, in how many seconds.
    async fn pass(&self, span: Span) -> (usize, f64) {
        use muster::time::Clock;
        self.clock.advance(span);
        let now = self.clock.now();
        self.site.write(async |tx| tx.proofs_advance(&self.instances, now).await.unwrap()).await;
        let began = Instant::now();
        let charged = self.app.meter(&self.app.op(Actor::System(SystemActor::Meter))).await.unwrap();
        (charged, began.elapsed().as_secs_f64())
    }

    /// Rows that captures have inserted so far.
    async fn rows(&self) -> u64 {
        let [charges, transactions, entries] = [
            "SELECT count(*) FROM charges",
            "SELECT count(*) FROM transactions",
            "SELECT count(*) FROM entries",
        ];
        self.site.count(charges).await + self.site.count(transactions).await + self.site.count(entries).await
    }
}

async fn app(site: &Site, clock: Arc<ManualClock>, folder: &TempDir) -> App {
    let plugins = Plugins::new(PluginSettings {
        cache_folder: folder.path().join("plugin-cache"),
        compiler: Compiler::Child(env!("CARGO_BIN_EXE_muster").into()),
        limits: Limits::default(),
    });
    let settings = Settings {
        public_url: "http://bench".to_owned(),
        session: Span::from_seconds(43_200),
        team_members: 200,
        interval: INTERVAL,
        runway: RUNWAY,
        stop_latency: Span::from_seconds(30),
        down_after: Span::from_seconds(60),
        probe_every: Span::from_seconds(600),
        two_person_above: None,
        network_pool: "10.201.0.0/16".parse().unwrap(),
        simulated_dir: folder.path().to_owned(),
        statements: Default::default(),
        runway_least: Span::from_seconds(95),
        webhooks_allow: Default::default(),
        prove: Default::default(),
    };
    let parts = Parts {
        db: site.db.clone(),
        policies: Policies::shipped().unwrap().into(),
        plugins: plugins.unwrap().into(),
        providers: Vec::new(),
        seal: Seal::new(&[7; 32]),
        settings,
        clock,
        chance: Arc::new(SystemChance),
    };
    App::open(parts).await.unwrap().0
}

/// Running instances of a team, each with a full runway held.
async fn plant(site: &Site, team: &Team, ground: &Ground, count: usize) -> Vec<InstanceId> {
    let runway = runway_cost(ground.product.price_per_hour.to_nano().unwrap(), RUNWAY).unwrap();
    site.write(async |tx| {
        let mut planted = Vec::new();
        for _ in 0..count {
            let instance = site.instance(tx, team, ground).await;
            site.hold(tx, team, instance, runway).await;
            site.segment(tx, team, instance, ground).await;
            planted.push(instance);
        }
        planted
    })
    .await
}

fn transactions_per_second(database: &str) -> f64 {
    let said = pgbench(database, &["-c", PGBENCH_CLIENTS, "-j", "2", "-T", PGBENCH_SECONDS, "-n"]);
    let line = said.lines().find_map(|line| line.strip_prefix("tps = ")).expect("pgbench tells its tps");
    line.split(' ').next().unwrap().parse().unwrap()
}

fn pgbench(database: &str, words: &[&str]) -> String {
    let output = Command::new(program("pgbench")).args(words).arg(database).output().unwrap();
    assert!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A table of the width of a ledger entry, written as plainly as can be.
struct Raw(SqliteConnection);

impl Raw {
    async fn open(folder: &TempDir) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("raw.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let mut conn = options.connect().await.unwrap();
        sqlx::raw_sql(
            "CREATE TABLE raw (transaction_id TEXT, line INTEGER, account TEXT, amount INTEGER) STRICT",
        )
        .execute(&mut conn)
        .await
        .unwrap();
        Self(conn)
    }

    async fn rows_per_second(&mut self, per_commit: usize) -> f64 {
        let (transaction, account) =
            ("txn_0190f3c5e0a7c3db1d4a2f8e6c90b170", "acct_0190f3c5e0a7c3db1d4a2f8e6c90b1");
        let began = Instant::now();
        for _ in 0..TEAMS {
            let mut tx = self.0.begin().await.unwrap();
            for line in 0..per_commit {
                sqlx::query("INSERT INTO raw VALUES ($1, $2, $3, 1000)")
                    .bind(transaction)
                    .bind(line as i64)
                    .bind(account)
                    .execute(&mut *tx)
                    .await
                    .unwrap();
            }
            tx.commit().await.unwrap();
        }
        (TEAMS * per_commit) as f64 / began.elapsed().as_secs_f64()
    }
}
