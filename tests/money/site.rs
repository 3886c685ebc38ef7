//! A whole server without a socket: a fresh database, the services, the HTTP door, and a team with its people.

use std::{path::PathBuf, sync::Arc};

use axum::{Router, body::Body, http::Request};
use muster::{
    api::router::{DoorSettings, router},
    app::{
        App, Parts, Settings,
        secrets::{Seal, Token, TokenKind},
    },
    chance::Seeded,
    ids::{MemberId, TeamId, UserId},
    ledger::account::{Account, AccountKind},
    op::{Actor, Op, SystemActor, SystemWarrant},
    plugins::{Compiler, Limits, PluginSettings, Plugins},
    policy::Policies,
    store::{Db, Tx, sessions::SessionRow},
    time::{ManualClock, Span, Timestamp},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// On a full minute, so that intervals of a minute begin here.
const START: Timestamp = Timestamp::from_micros(1_763_800_020_000_000);

/// A server and the people of its one team.
pub(crate) struct Site {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) member: MemberId,
    pub(crate) operator: Token,
    pub(crate) owner: Token,
    pub(crate) admin: Token,
    pub(crate) worker: Token,
    door: Router,
    _folder: tempfile::TempDir,
}

/// An answer of the server.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) replayed: bool,
    pub(crate) body: Value,
}

impl Answer {
    /// The body, if the status is the wanted one.
    #[track_caller]
    pub(crate) fn want(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// The sentence of a failure with this status and code.
    #[track_caller]
    pub(crate) fn fails(self, status: u16, code: &str) -> String {
        let body = self.want(status);
        assert_eq!(body["code"], code, "{body:#}");
        body["detail"].as_str().unwrap().to_owned()
    }
}

impl Site {
    /// A fresh server on each of the two databases.
    pub(crate) async fn both() -> [Site; 2] {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = format!("sqlite:{}", folder.path().join("muster.db").display());
        let other = tempfile::tempdir().unwrap();
        let postgres = crate::postgres::fresh_database();
        [Self::open(sqlite, folder).await, Self::open(postgres, other).await]
    }

    async fn open(address: String, folder: tempfile::TempDir) -> Site {
        let clock = Arc::new(ManualClock::new(START));
        let chance = Arc::new(Seeded::new(7));
        let db = Db::open(&address).await.unwrap();
        db.migrate(START).await.unwrap();
        let op = Op::new(Actor::System(SystemActor::Setup), clock.clone(), chance.clone());
        let mut tx = db.begin().await.unwrap();
        let (user, team): (UserId, TeamId) = (op.id(), op.id());
        plant_team(&mut tx, &op, user, team).await;
        let operator = session(&mut tx, &op, Some(user), None).await;
        let (_, owner) = plant_member(&mut tx, &op, team, "owner").await;
        let (_, admin) = plant_member(&mut tx, &op, team, "admin").await;
        let (member, worker) = plant_member(&mut tx, &op, team, "member").await;
        tx.commit(&SystemWarrant::of(&op).unwrap()).await.unwrap();
        let parts = Parts {
            db: db.clone(),
            policies: Policies::shipped().unwrap().into(),
            plugins: Plugins::new(PluginSettings {
                // Shared by all tests, so that the default price is compiled once.
                cache_folder: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("money-plugins"),
                compiler: Compiler::Child(PathBuf::from(env!("CARGO_BIN_EXE_muster"))),
                limits: Limits::default(),
            })
            .unwrap()
            .into(),
            seal: Seal::new(&[7; 32]),
            settings: Settings {
                public_url: "http://muster.test".to_owned(),
                session: Span::from_seconds(86_400),
                team_members: 20,
                interval: Span::from_seconds(60),
                runway: Span::from_seconds(3_600),
                stop_latency: Span::from_seconds(30),
                down_after: Span::from_seconds(60),
                probe_every: Span::from_seconds(3_600),
                network_pool: "10.201.0.0/16".parse().unwrap(),
                simulated_dir: folder.path().to_owned(),
            },
            clock: clock.clone(),
            chance,
        };
        let (app, _) = App::open(parts).await.unwrap();
        let app = Arc::new(app);
        let settings = DoorSettings {
            body_bytes: 64 << 10,
            plugin_bytes: 4 << 20,
            json_depth: 32,
            request_timeout: std::time::Duration::from_secs(60),
        };
        let door = router(app.clone(), &settings, Arc::new(String::new));
        Site { app, clock, member, operator, owner, admin, worker, door, _folder: folder }
    }

    /// Asks for `path` under the team.
    pub(crate) async fn get(&self, who: &Token, path: &str) -> Answer {
        self.send(Request::get(at(path)), who, Body::empty()).await
    }

    /// Posts JSON to `path` under the team.
    pub(crate) async fn post(&self, who: &Token, path: &str, body: Value) -> Answer {
        let request = Request::post(at(path)).header("content-type", "application/json");
        self.send(request, who, Body::from(body.to_string())).await
    }

    /// Posts JSON under an idempotency key.
    pub(crate) async fn post_once(&self, who: &Token, key: &str, path: &str, body: Value) -> Answer {
        let request = Request::post(at(path)).header("content-type", "application/json");
        self.send(request.header("idempotency-key", key), who, Body::from(body.to_string())).await
    }

    /// Uploads `bytes` as a plugin.
    pub(crate) async fn upload(&self, who: &Token, name: &str, kind: &str, bytes: &[u8]) -> Answer {
        let request = Request::post(at(&format!("plugins?name={name}"))).header("content-type", kind);
        self.send(request, who, Body::from(bytes.to_vec())).await
    }

    async fn send(&self, request: http::request::Builder, who: &Token, body: Body) -> Answer {
        let request = request.header("authorization", format!("Bearer {}", who.reveal()));
        let response = self.door.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("no JSON: {bytes:?}"));
        let replayed = parts.headers.contains_key("idempotency-replayed");
        Answer { status: parts.status.as_u16(), replayed, body }
    }

    /// Puts `amount` into the pool.
    pub(crate) async fn grant(&self, amount: &str) {
        self.post(&self.operator, "credits/grant", json!({ "amount": amount })).await.want(201);
    }

    /// What can be spent of the pool and of the member's wallet.
    pub(crate) async fn available(&self) -> [String; 2] {
        let balance = self.get(&self.owner, "balance?view=admin").await.want(200);
        let pool = balance["team"]["pool"]["available"].as_str().unwrap().to_owned();
        let members = balance["members"]["items"].as_array().unwrap();
        let member = members.iter().find(|row| row["member"] == json!(self.member)).unwrap();
        [pool, member["wallet"]["available"].as_str().unwrap().to_owned()]
    }

    /// Fails with what is wrong unless all books are sound.
    pub(crate) async fn assert_sound(&self) {
        let report = self.get(&self.operator, "/ledger/verify").await.want(200);
        assert_eq!((&report["ok"], &report["found"]), (&json!(true), &json!(0)), "{report:#}");
        assert!(report["entries"].as_u64().unwrap() > 0, "verified nothing: {report:#}");
    }
}

/// A path under the team, or with a slash in front under the site.
fn at(path: &str) -> String {
    match path.strip_prefix('/') {
        Some(path) => format!("/api/v1/{path}"),
        None => format!("/api/v1/teams/crew/{path}"),
    }
}

async fn plant_team(tx: &mut Tx, op: &Op, user: UserId, team: TeamId) {
    const USER: &str = "
        INSERT INTO users (id, login, password_hash, operator, must_reset, valid_from, created_at)
        VALUES ($1, 'operator', '', $2, $3, 0, 0)";
    const TEAM: &str = "
        INSERT INTO teams (id, slug, name, description, preset, spending, limits, version, created_at)
        VALUES ($1, 'crew', 'A team', '', 'glows', 'wallet', '{}', 1, 0)";
    tx.query(USER).bind(user).bind(true).bind(false).execute().await.unwrap();
    tx.query(TEAM).bind(team).execute().await.unwrap();
    tx.usage_insert(&team.to_string(), team).await.unwrap();
    for &kind in AccountKind::ALL.iter().filter(|kind| !kind.is_personal()) {
        tx.account_insert(&Account::open(op.id(), team, None, kind, START)).await.unwrap();
    }
}

async fn plant_member(tx: &mut Tx, op: &Op, team: TeamId, role: &str) -> (MemberId, Token) {
    const MEMBER: &str = "
        INSERT INTO members (id, team, account, role, state, alias, note, limits, version, valid_from,
            created_at)
        VALUES ($1, $2, $3, $3, 'active', '', '', '{}', 1, 0, 0)";
    let member: MemberId = op.id();
    tx.query(MEMBER).bind(member).bind(team).bind(role).execute().await.unwrap();
    let wallet = Account::open(op.id(), team, Some(member), AccountKind::Wallet, START);
    tx.account_insert(&wallet).await.unwrap();
    tx.usage_insert(&member.to_string(), team).await.unwrap();
    (member, session(tx, op, None, Some(member)).await)
}

async fn session(tx: &mut Tx, op: &Op, user_id: Option<UserId>, member: Option<MemberId>) -> Token {
    let token = Token::fresh(TokenKind::Session, op.chance());
    let row = SessionRow {
        id: op.id(),
        token_hash: token.hash(),
        user_id,
        member,
        reset_only: false,
        created_at: START,
        expires_at: START + Span::from_seconds(86_400),
        revoked_at: None,
    };
    tx.session_insert(&row).await.unwrap();
    token
}
