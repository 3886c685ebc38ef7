//! A whole server for a test: the real router on a free port over the real services, on SQLite or on Postgres.

mod caller;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use muster::{
    api::router::{DoorSettings, router},
    app::{App, Parts, Settings, secrets::Seal},
    chance::Seeded,
    ids::TeamId,
    ledger::{
        account::AccountKind,
        journal::Outcome,
        posting::{Header, IdemKey, Posting},
    },
    money::Credits,
    op::{Actor, Op, SystemActor, SystemWarrant},
    plugins::{Compiler, Limits, PluginSettings, Plugins},
    policy::Policies,
    store::{Concern, Db},
    time::{ManualClock, Span, Timestamp},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;

pub(crate) use self::caller::{Answer, Caller};
use crate::postgres;

const NOW: Timestamp = Timestamp::from_micros(1_763_800_000_000_000);

/// The password that everybody in these tests ends up with.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// Which database the server stands on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    pub(crate) const BOTH: [Database; 2] = [Database::Sqlite, Database::Postgres];
}

/// A running server.
pub(crate) struct TestApp {
    pub(crate) url: String,
    pub(crate) clock: Arc<ManualClock>,
    /// The one-time token of the first start.
    pub(crate) claim: String,
    /// A second way into the database, past the server.
    pub(crate) db: Db,
    operator: Mutex<Option<Caller>>,
    _folder: TempDir,
}

/// A team with its owner.
pub(crate) struct TeamHandle {
    pub(crate) id: String,
    pub(crate) slug: String,
    pub(crate) owner: Caller,
}

/// One folder of compiled plugins for the whole process; the first to open an app fills it.
static COMPILED: OnceLock<TempDir> = OnceLock::new();
static OPENING: Mutex<()> = Mutex::const_new(());
static SEED: AtomicU64 = AtomicU64::new(1);

fn settings(folder: &TempDir) -> Settings {
    Settings {
        public_url: "https://muster.test".to_owned(),
        session: Span::from_seconds(12 * 3600),
        team_members: 5,
        interval: Span::from_seconds(60),
        runway: Span::from_seconds(900),
        stop_latency: Span::from_seconds(30),
        down_after: Span::from_seconds(60),
        probe_every: Span::from_seconds(300),
        two_person_above: None,
        network_pool: "10.201.0.0/16".parse().unwrap(),
        simulated_dir: folder.path().to_owned(),
        statements: Default::default(),
        runway_least: Span::from_seconds(95),
        webhooks_allow: Default::default(),
        prove: Default::default(),
    }
}

impl TestApp {
    pub(crate) async fn start(database: Database) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = match database {
            Database::Sqlite => format!("sqlite:{}", folder.path().join("muster.db").display()),
            Database::Postgres => postgres::fresh_database(),
        };
        let db = Db::open(&address).await.unwrap();
        db.migrate(NOW).await.unwrap();
        let clock = Arc::new(ManualClock::new(NOW));
        let opening = OPENING.lock().await;
        let compiled = COMPILED.get_or_init(|| tempfile::tempdir().unwrap());
        let plugins = Plugins::new(PluginSettings {
            cache_folder: compiled.path().to_owned(),
            compiler: Compiler::Child(PathBuf::from(env!("CARGO_BIN_EXE_muster"))),
            limits: Limits::default(),
        });
        let parts = Parts {
            db: db.clone(),
            policies: Policies::shipped().unwrap().into(),
            plugins: plugins.unwrap().into(),
            providers: Vec::new(),
            seal: Seal::new(&[7; 32]),
            settings: settings(&folder),
            clock: clock.clone(),
            chance: Arc::new(Seeded::new(SEED.fetch_add(1, Ordering::Relaxed) << 32)),
        };
        let (app, claim) = App::open(parts).await.unwrap();
        drop(opening);
        let app = Arc::new(app);
        let door = DoorSettings {
            body_bytes: 64 << 10,
            plugin_bytes: 1 << 20,
            json_depth: 32,
            request_timeout: Duration::from_secs(30),
        };
        let routes = router(app, &door, Arc::new(String::new));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let claim = claim.unwrap().reveal().to_owned();
        Self { url, clock, claim, db, operator: Mutex::default(), _folder: folder }
    }

    /// Somebody without a token.
    pub(crate) fn anonymous(&self) -> Caller {
        Caller::new(&self.url, None)
    }

    /// Somebody with this token.
    pub(crate) fn bearer(&self, token: &str) -> Caller {
        Caller::new(&self.url, Some(token))
    }

    /// The operator, claimed at the first call.
    pub(crate) async fn operator(&self) -> Caller {
        let mut operator = self.operator.lock().await;
        if operator.is_none() {
            let body = json!({ "token": self.claim, "login": "root", "password": PASSWORD });
            let answer = self.anonymous().post("/auth/claim", body).await.expect(201);
            *operator = Some(self.bearer(answer.text("token")));
        }
        operator.clone().unwrap()
    }

    /// A platform user with [`PASSWORD`], signed in.
    pub(crate) async fn user(&self, login: &str) -> Caller {
        let issued = self.operator().await.post("/users", json!({ "login": login })).await.expect(201);
        let body = json!({ "login": login, "password": issued.text("password") });
        let first = self.anonymous().post("/auth/login", body).await.expect(200);
        self.settle(first, issued.text("password")).await
    }

    /// A team with the preset `glows` and its owner, the user `<slug>-owner`.
    pub(crate) async fn team(&self, slug: &str) -> TeamHandle {
        self.team_of(slug, "glows").await
    }

    /// A team with any preset.
    pub(crate) async fn team_of(&self, slug: &str, preset: &str) -> TeamHandle {
        let owner = self.user(&format!("{slug}-owner")).await;
        let body = json!({ "slug": slug, "name": "A team", "preset": preset });
        let team = owner.post("/teams", body).await.expect(201);
        TeamHandle { id: team.text("id").to_owned(), slug: slug.to_owned(), owner }
    }

    /// A member with [`PASSWORD`], signed in by team login; their id comes along.
    pub(crate) async fn member(&self, team: &TeamHandle, account: &str, role: &str) -> (String, Caller) {
        let path = format!("/teams/{}/members", team.slug);
        let issued = team.owner.post(&path, json!({ "account": account, "role": role })).await.expect(201);
        let first = issued.body["login"]["password"].as_str().unwrap();
        let signed_in = self.team_login(team, account, first).await.expect(200);
        assert_eq!(signed_in.body["reset_required"], json!(true));
        (issued.text("id").to_owned(), self.settle(signed_in, first).await)
    }

    pub(crate) async fn team_login(&self, team: &TeamHandle, account: &str, password: &str) -> Answer {
        let body = json!({ "team": team.slug, "account": account, "password": password });
        self.anonymous().post("/auth/team-login", body).await
    }

    /// Replaces a first password and gives the full session.
    async fn settle(&self, signed_in: Answer, first: &str) -> Caller {
        let caller = self.bearer(signed_in.text("token"));
        let body = json!({ "current_password": first, "new_password": PASSWORD });
        let full = caller.post("/auth/password", body).await.expect(200);
        self.bearer(full.text("token"))
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.advance(Span::from_seconds(seconds));
    }

    /// Puts credits into the team's pool.
    pub(crate) async fn fund(&self, team: &TeamHandle, credits: &str) {
        let op = Op::new(
            Actor::System(SystemActor::Setup),
            self.clock.clone(),
            Arc::new(Seeded::new(SEED.fetch_add(1, Ordering::Relaxed) << 32)),
        );
        let amount: Credits = credits.parse().unwrap();
        let id: TeamId = team.id.parse().unwrap();
        let mut tx = self.db.begin().await.unwrap();
        let mut journal = tx.journal(&op, id, &Concern::default()).await.unwrap();
        let [promo, pool] =
            [AccountKind::Promo, AccountKind::TeamPool].map(|kind| journal.own(kind).unwrap());
        let posting = Posting::grant(promo, pool, amount, None).unwrap();
        let header = Header {
            id: op.id(),
            team: id,
            occurred_at: op.now(),
            recorded_at: op.now(),
            actor: op.actor.name(),
            reason: "a test".to_owned(),
            member: None,
            instance: None,
            reverses: None,
            idem_key: IdemKey::request(posting.kind(), op.request),
        };
        assert_eq!(journal.post(header, &posting).unwrap(), Outcome::Applied);
        tx.journal_write(&journal).await.unwrap();
        tx.commit(&SystemWarrant::of(&op).unwrap()).await.unwrap();
    }

    /// What can be spent from the pool.
    pub(crate) async fn pool(&self, team: &TeamHandle) -> String {
        let mut read = self.db.read().await.unwrap();
        let account = read.account_of_team(team.id.parse().unwrap(), AccountKind::TeamPool).await.unwrap();
        account.balance.available().unwrap().to_string()
    }

    /// How many rows each table has.
    pub(crate) async fn counts(&self) -> BTreeMap<&'static str, i64> {
        let mut counts = BTreeMap::new();
        let mut read = self.db.read().await.unwrap();
        for &(table, sql) in TABLES {
            counts.insert(table, read.query(sql).one::<(i64,)>().await.unwrap().0);
        }
        counts
    }

    /// Every text that the server keeps beside a change.
    pub(crate) async fn kept(&self) -> String {
        let mut read = self.db.read().await.unwrap();
        let mut kept = String::new();
        for sql in [
            "SELECT document FROM audit_events",
            "SELECT document FROM decisions",
            "SELECT body FROM idempotency",
            "SELECT subject FROM login_throttles",
        ] {
            for (text,) in read.query(sql).all::<(String,)>().await.unwrap() {
                kept.push_str(&text);
                kept.push('\n');
            }
        }
        kept
    }
}

macro_rules! tables {
    ($($table:literal)*) => {
        const TABLES: &[(&str, &str)] = &[$(($table, concat!("SELECT COUNT(*) FROM ", $table)),)*];
    };
}

tables! {
    "users" "teams" "members" "sessions" "api_keys" "login_throttles" "usages" "accounts" "transactions" "entries"
    "decisions" "audit_events" "idempotency"
}

/// The ids of a list.
pub(crate) fn ids(answer: &Answer) -> Vec<String> {
    let items = answer.body["items"].as_array().unwrap();
    items.iter().map(|item: &Value| item["id"].as_str().unwrap().to_owned()).collect()
}
