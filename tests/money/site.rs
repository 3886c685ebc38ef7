//! A whole server without a socket: a fresh database, the services, the HTTP door, and a team with its people.

use std::{path::PathBuf, sync::Arc};

use axum::{Router, body::Body, http::Request};
use muster::{
    api::router::{DoorSettings, router},
    app::{
        App, Parts, Settings,
        payments::Provider,
        secrets::{Seal, Token, TokenKind},
    },
    chance::Seeded,
    ids::{HostId, MemberId, TeamId, UserId},
    ledger::account::{Account, AccountKind},
    money::Credits,
    op::{Actor, Op, SystemActor, SystemWarrant},
    plugins::{Compiler, Limits, PluginSettings, Plugins},
    policy::Policies,
    store::{Db, Tx, sessions::SessionRow},
    time::{ManualClock, Span, Timestamp},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// On a full minute, so that intervals of a minute begin here.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_763_800_020_000_000);

/// A server and the people of its one team.
pub(crate) struct Site {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) db: Db,
    pub(crate) member: MemberId,
    pub(crate) operator: Token,
    pub(crate) second_operator: Token,
    pub(crate) owner: Token,
    pub(crate) admin: Token,
    pub(crate) worker: Token,
    chance: Arc<Seeded>,
    pub(crate) door: Router,
    folder: tempfile::TempDir,
}

/// What a server has besides.
#[derive(Default)]
pub(crate) struct Extra {
    pub(crate) providers: Vec<Arc<dyn Provider>>,
    pub(crate) two_person_above: Option<Credits>,
    pub(crate) prove: muster::config::Prove,
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
        [
            Self::open(sqlite, folder, Extra::default()).await,
            Self::open(postgres, other, Extra::default()).await,
        ]
    }

    /// A fresh server on each of the two databases, with what `extra` makes for it.
    pub(crate) async fn both_with(extra: impl Fn() -> Extra) -> [Site; 2] {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = format!("sqlite:{}", folder.path().join("muster.db").display());
        let other = tempfile::tempdir().unwrap();
        let postgres = crate::postgres::fresh_database();
        [Self::open(sqlite, folder, extra()).await, Self::open(postgres, other, extra()).await]
    }

    async fn open(address: String, folder: tempfile::TempDir, extra: Extra) -> Site {
        let clock = Arc::new(ManualClock::new(START));
        let chance = Arc::new(Seeded::new(7));
        let db = Db::open(&address).await.unwrap();
        db.migrate(START).await.unwrap();
        let op = Op::new(Actor::System(SystemActor::Setup), clock.clone(), chance.clone());
        let mut tx = db.begin().await.unwrap();
        let (user, team): (UserId, TeamId) = (op.id(), op.id());
        plant_team(&mut tx, &op, user, team).await;
        let operator = session(&mut tx, &op, Some(user), None).await;
        let second_operator = plant_operator(&mut tx, &op, "second").await;
        let (_, owner) = plant_member(&mut tx, &op, team, "owner").await;
        let (_, admin) = plant_member(&mut tx, &op, team, "admin").await;
        let (member, worker) = plant_member(&mut tx, &op, team, "member").await;
        tx.commit(&SystemWarrant::of(&op).unwrap()).await.unwrap();
        let parts = Parts {
            db: db.clone(),
            policies: Policies::shipped().unwrap().into(),
            plugins: plugins(Limits::default()).into(),
            providers: extra.providers,
            seal: Seal::new(&[7; 32]),
            settings: Settings {
                two_person_above: extra.two_person_above,
                prove: extra.prove,
                ..settings(&folder)
            },
            clock: clock.clone(),
            chance: chance.clone(),
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
        Site { app, clock, db, member, operator, second_operator, owner, admin, worker, chance, door, folder }
    }

    /// A second server on the same data, with these limits on plugins.
    pub(crate) async fn app_with(&self, limits: Limits) -> App {
        let parts = Parts {
            db: self.db.clone(),
            policies: Policies::shipped().unwrap().into(),
            plugins: plugins(limits).into(),
            providers: Vec::new(),
            seal: Seal::new(&[7; 32]),
            settings: settings(&self.folder),
            clock: self.clock.clone(),
            chance: self.chance.clone(),
        };
        App::open(parts).await.unwrap().0
    }

    /// The bytes at `path` under the team, with their status.
    pub(crate) async fn bytes(&self, who: &Token, path: &str) -> (u16, Vec<u8>) {
        let request = Request::get(at(path)).header("authorization", format!("Bearer {}", who.reveal()));
        let response = self.door.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status.as_u16(), axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec())
    }

    /// Asks for `path` under the team.
    pub(crate) async fn get(&self, who: &Token, path: &str) -> Answer {
        self.send(Request::get(at(path)), who, Body::empty()).await
    }

    /// The file at `path` under the team, with its type.
    pub(crate) async fn file(&self, who: &Token, path: &str) -> (String, String) {
        let request = Request::get(at(path)).header("authorization", format!("Bearer {}", who.reveal()));
        let response = self.door.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{path}");
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (kind, String::from_utf8(bytes.to_vec()).unwrap())
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

    /// Posts bytes with a header of the sender's own, as nobody.
    pub(crate) async fn post_signed(&self, path: &str, header: (&str, &str), body: &[u8]) -> Answer {
        let request = Request::post(at(path)).header(header.0, header.1);
        self.answer(request.body(Body::from(body.to_vec())).unwrap()).await
    }

    /// One pass of the cashier.
    pub(crate) async fn cashier(&self) {
        self.app.cashier(&self.app.op(Actor::System(SystemActor::Cashier))).await;
    }

    /// What a statement of two columns finds first.
    pub(crate) async fn pair(&self, sql: &'static str) -> (i64, i64) {
        self.db.read().await.unwrap().query(sql).one().await.unwrap()
    }

    /// Puts JSON to `path` under the team.
    pub(crate) async fn put(&self, who: &Token, path: &str, body: Value) -> Answer {
        let request = Request::put(at(path)).header("content-type", "application/json");
        self.send(request, who, Body::from(body.to_string())).await
    }

    /// Posts JSON in the name of an API key.
    pub(crate) async fn post_with_key(&self, key: &str, path: &str, body: Value) -> Answer {
        let request = Request::post(at(path)).header("content-type", "application/json");
        self.send_as(request, key, Body::from(body.to_string())).await
    }

    /// Asks for a change of `path`, on the version that was read where one is needed.
    pub(crate) async fn change(
        &self,
        who: &Token,
        method: &str,
        path: &str,
        version: Option<&Value>,
        body: Value,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(at(path));
        if let Some(version) = version {
            request = request.header("if-match", format!("\"v{version}\""));
        }
        let request = request.header("content-type", "application/json");
        self.send(request, who, Body::from(body.to_string())).await
    }

    /// Takes away what is at `path` under the team.
    pub(crate) async fn delete(&self, who: &Token, path: &str) -> u16 {
        let request = Request::delete(at(path)).header("authorization", format!("Bearer {}", who.reveal()));
        let response = self.door.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        response.status().as_u16()
    }

    /// The file that a simulated host keeps its state in; it is read when the host's row has changed.
    pub(crate) fn simulated(&self, host: HostId) -> PathBuf {
        self.folder.path().join(format!("{host}.json"))
    }

    /// Uploads `bytes` as a plugin.
    pub(crate) async fn upload(&self, who: &Token, name: &str, kind: &str, bytes: &[u8]) -> Answer {
        let request = Request::post(at(&format!("plugins?name={name}"))).header("content-type", kind);
        self.send(request, who, Body::from(bytes.to_vec())).await
    }

    /// Asks for text.
    pub(crate) async fn text(&self, who: &Token, path: &str) -> (u16, String) {
        let request = Request::get(at(path)).header("authorization", format!("Bearer {}", who.reveal()));
        let response = self.door.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts.status.as_u16(), String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn send(&self, request: http::request::Builder, who: &Token, body: Body) -> Answer {
        self.send_as(request, who.reveal(), body).await
    }

    async fn send_as(&self, request: http::request::Builder, token: &str, body: Body) -> Answer {
        let request = request.header("authorization", format!("Bearer {token}"));
        self.answer(request.body(body).unwrap()).await
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let response = self.door.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = match &bytes[..] {
            b"" => Value::Null,
            bytes => serde_json::from_slice(bytes).unwrap_or_else(|_| panic!("no JSON: {bytes:?}")),
        };
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

/// The settings of a server that keeps its simulated hosts in `folder`.
fn settings(folder: &tempfile::TempDir) -> Settings {
    Settings {
        public_url: "http://muster.test".to_owned(),
        session: Span::from_seconds(86_400),
        team_members: 20,
        interval: Span::from_seconds(60),
        runway: Span::from_seconds(3_600),
        stop_latency: Span::from_seconds(30),
        down_after: Span::from_seconds(60),
        probe_every: Span::from_seconds(3_600),
        two_person_above: None,
        network_pool: "10.201.0.0/16".parse().unwrap(),
        simulated_dir: folder.path().to_owned(),
        statements: Default::default(),
        runway_least: Span::from_seconds(95),
        webhooks_allow: "127.0.0.1".parse().unwrap(),
        prove: Default::default(),
    }
}

/// A plugin host with these limits.
pub(crate) fn plugins(limits: Limits) -> Plugins {
    let settings = PluginSettings {
        // Shared by all tests, so that the default price is compiled once.
        cache_folder: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("money-plugins"),
        compiler: Compiler::Child(PathBuf::from(env!("CARGO_BIN_EXE_muster"))),
        limits,
    };
    Plugins::new(settings).unwrap()
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
        VALUES ($1, 'crew', 'A team', '', 'glows', 'wallet', '{}', 1, $2)";
    tx.query(USER).bind(user).bind(true).bind(false).execute().await.unwrap();
    tx.query(TEAM).bind(team).bind(START).execute().await.unwrap();
    tx.usage_insert(&team.to_string(), team).await.unwrap();
    for &kind in AccountKind::ALL.iter().filter(|kind| !kind.is_personal()) {
        tx.account_insert(&Account::open(op.id(), team, None, kind, START)).await.unwrap();
    }
}

async fn plant_operator(tx: &mut Tx, op: &Op, login: &'static str) -> Token {
    const USER: &str = "
        INSERT INTO users (id, login, password_hash, operator, must_reset, valid_from, created_at)
        VALUES ($1, $2, '', $3, $4, 0, 0)";
    let user: UserId = op.id();
    tx.query(USER).bind(user).bind(login).bind(true).bind(false).execute().await.unwrap();
    session(tx, op, Some(user), None).await
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
        // Longer than any test's time.
        expires_at: START + Span::from_seconds(400 * 86_400),
        revoked_at: None,
    };
    tx.session_insert(&row).await.unwrap();
    token
}
