//! What all runs begin from: one database with two teams, two hosts and an offer, and the parts that are made once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use muster::{
    app::{App, Parts, Settings, StatementSettings, secrets::Seal},
    chance::Seeded,
    ids::{HostId, MemberId, SessionId, TeamId, UserId},
    ledger::account::{Account, AccountKind},
    op::{Actor, Op, SystemActor, SystemWarrant},
    plugins::{Compiler, Limits, PluginSettings, Plugins},
    policy::Policies,
    store::{Db, Tx},
    time::{ManualClock, Span, Timestamp},
};
use serde_json::json;

use crate::{
    engine::{Engine, Lines, MODEL, Runs},
    fate::Fate,
};

/// Ten days before any run begins, so that the price is in force.
const FOUNDED: Timestamp = Timestamp::from_micros(1_763_596_800_000_000);

/// What every run shares.
pub(crate) struct Foundation {
    pub(crate) folder: PathBuf,
    pub(crate) database: PathBuf,
    pub(crate) policies: Arc<Policies>,
    pub(crate) plugins: Arc<Plugins>,
    pub(crate) operator: Actor,
    pub(crate) hosts: Vec<(HostId, String)>,
    pub(crate) teams: Vec<Team>,
    _kept: tempfile::TempDir,
}

/// A team and its people.
#[derive(Clone)]
pub(crate) struct Team {
    pub(crate) id: TeamId,
    pub(crate) slug: &'static str,
    pub(crate) owner: Actor,
    pub(crate) members: Vec<(MemberId, Actor)>,
    /// An API key of each of them.
    pub(crate) keys: Vec<Actor>,
}

/// Lengths that a run goes by.
pub(crate) fn settings(interval: Span, runway: Span, folder: &Path) -> Settings {
    Settings {
        public_url: "http://muster.test".to_owned(),
        session: Span::from_seconds(86_400),
        team_members: 20,
        interval,
        runway,
        stop_latency: Span::from_micros(interval.as_micros() / 2),
        down_after: Span::from_seconds(60),
        probe_every: Span::from_micros(interval.as_micros() * 10),
        two_person_above: None,
        network_pool: "10.201.0.0/16".parse().unwrap(),
        simulated_dir: folder.to_owned(),
        statements: StatementSettings::default(),
        runway_least: interval,
        webhooks_allow: "127.0.0.1".parse().unwrap(),
        prove: Default::default(),
    }
}

impl Foundation {
    pub(crate) async fn lay() -> Self {
        let memory = Path::new("/dev/shm");
        let kept = match memory.is_dir() {
            true => tempfile::tempdir_in(memory).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        let folder = kept.path().to_owned();
        let database = folder.join("founded.db");
        let (clock, chance) = (Arc::new(ManualClock::new(FOUNDED)), Arc::new(Seeded::new(0)));
        let db = Db::open(&format!("sqlite:{}", database.display())).await.unwrap();
        db.migrate(FOUNDED).await.unwrap();
        let op = Op::new(Actor::System(SystemActor::Setup), clock.clone(), chance.clone());
        let mut tx = db.begin().await.unwrap();
        let user: UserId = op.id();
        plant_operator(&mut tx, user).await;
        let operator = Actor::User { user, session: op.id(), reset_only: false, since: FOUNDED };
        let mut teams = vec![
            plant_team(&mut tx, &op, "wallets", true).await,
            plant_team(&mut tx, &op, "pool", false).await,
        ];
        tx.commit(&SystemWarrant::of(&op).unwrap()).await.unwrap();
        let policies = Arc::new(Policies::shipped().unwrap());
        let plugins = Plugins::new(PluginSettings {
            // Kept between the runs of the tests, so that the default price is compiled once.
            cache_folder: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sim-plugins"),
            compiler: Compiler::Child(PathBuf::from(env!("CARGO_BIN_EXE_muster"))),
            limits: Limits::default(),
        });
        let plugins = Arc::new(plugins.unwrap());
        let names = ["east", "west"];
        let engines = names.iter().rev().map(|name| Engine::new(name, clock.clone())).collect();
        let lines = Lines {
            engines: BTreeMap::new(),
            fate: Arc::new(Fate::new(0)),
            clock: clock.clone(),
            runs: Arc::new(Runs::default()),
            unnamed: Mutex::new(engines),
        };
        let parts = Parts {
            db: db.clone(),
            policies: policies.clone(),
            plugins: plugins.clone(),
            providers: Vec::new(),
            seal: Seal::new(&[7; 32]),
            settings: settings(Span::from_seconds(60), Span::from_seconds(3_600), &folder),
            clock,
            chance,
        };
        let app = App::open(parts).await.unwrap().0.with_connector(Arc::new(lines));
        let mut hosts = Vec::new();
        for name in names {
            let new = json!({ "name": name, "endpoint": format!("unix:///{name}"), "region": "here" });
            let new = serde_json::from_value(new).unwrap();
            let host = app.host_create(&app.op(operator.clone()), new).await.unwrap();
            hosts.push((host.id, name.to_owned()));
        }
        plant_offer(&app, &operator).await;
        for team in &mut teams {
            plant_keys(&app, team).await;
        }
        app.close().await;
        Self { folder, database, policies, plugins, operator, hosts, teams, _kept: kept }
    }
}

async fn plant_operator(tx: &mut Tx, user: UserId) {
    const USER: &str = "
        INSERT INTO users (id, login, password_hash, operator, must_reset, valid_from, created_at)
        VALUES ($1, 'operator', '', $2, $3, 0, 0)";
    tx.query(USER).bind(user).bind(true).bind(false).execute().await.unwrap();
}

async fn plant_team(tx: &mut Tx, op: &Op, slug: &'static str, by_wallet: bool) -> Team {
    const TEAM: &str = "
        INSERT INTO teams (id, slug, name, description, preset, spending, limits, version, created_at)
        VALUES ($1, $2, $2, '', $3, $4, '{}', 1, $5)";
    let team: TeamId = op.id();
    let (preset, spending) = if by_wallet { ("glows", "wallet") } else { ("novita", "pool") };
    // Its first month is the one that runs begin in; else each of them would first close every month since 1970.
    let new = tx.query(TEAM).bind(team).bind(slug).bind(preset).bind(spending);
    new.bind(FOUNDED).execute().await.unwrap();
    tx.usage_insert(&team.to_string(), team).await.unwrap();
    for &kind in AccountKind::ALL.iter().filter(|kind| !kind.is_personal()) {
        tx.account_insert(&Account::open(op.id(), team, None, kind, FOUNDED)).await.unwrap();
    }
    let (_, owner) = plant_member(tx, op, team, "owner", "owner").await;
    let ann = plant_member(tx, op, team, "ann", if by_wallet { "member" } else { "developer" }).await;
    let bob = plant_member(tx, op, team, "bob", if by_wallet { "member" } else { "developer" }).await;
    Team { id: team, slug, owner, members: vec![ann, bob], keys: Vec::new() }
}

async fn plant_member(tx: &mut Tx, op: &Op, team: TeamId, account: &str, role: &str) -> (MemberId, Actor) {
    const MEMBER: &str = "
        INSERT INTO members (id, team, account, role, state, alias, note, limits, version, valid_from, created_at)
        VALUES ($1, $2, $3, $4, 'active', '', '', '{}', 1, 0, 0)";
    let member: MemberId = op.id();
    tx.query(MEMBER).bind(member).bind(team).bind(account).bind(role).execute().await.unwrap();
    let wallet = Account::open(op.id(), team, Some(member), AccountKind::Wallet, FOUNDED);
    tx.account_insert(&wallet).await.unwrap();
    tx.usage_insert(&member.to_string(), team).await.unwrap();
    let session: SessionId = op.id();
    (member, Actor::Member { team, member, session, reset_only: false, since: FOUNDED })
}

/// Products: one with an accelerator, one without, one for nothing; and an image.
async fn plant_offer(app: &App, operator: &Actor) {
    let product = |name: &str, accelerator: &str, gpus: u32, price: &str| {
        let new = json!({ "name": name, "region": "here", "instance_type": "any", "accelerator": accelerator,
            "gpus_per_unit": gpus, "cpu_millis": 1000, "memory_bytes": 1 << 30, "price_per_hour": price,
            "published": true });
        serde_json::from_value(new).unwrap()
    };
    for new in [
        product("gpu", MODEL, 1, "6.543217"),
        product("cpu", "none", 0, "0.700001"),
        product("free", "none", 0, "0"),
    ] {
        app.product_create(&app.op(operator.clone()), new).await.unwrap();
    }
    let image = json!({ "name": "base", "reference": "base:1", "published": true });
    let image = serde_json::from_value(image).unwrap();
    app.image_create(&app.op(operator.clone()), image).await.unwrap();
    for (kind, price) in [("drive", "0.123457"), ("stopped", "0.071")] {
        let rate = serde_json::from_value(json!({ "kind": kind, "price_per_gib_hour": price })).unwrap();
        app.storage_rate_put(&app.op(operator.clone()), rate).await.unwrap();
    }
}

/// One API key of each member, which may do all that the member may.
async fn plant_keys(app: &App, team: &mut Team) {
    for (member, actor) in &team.members {
        let new = serde_json::from_value(json!({ "name": "robot", "scopes": [] })).unwrap();
        let issued = app.api_key_create(&app.op(actor.clone()), team.slug, new).await.unwrap();
        let (key, scopes) = (issued.key.id, Arc::from([]));
        team.keys.push(Actor::Key { key, team: team.id, member: *member, scopes });
    }
}
