//! A site with everything that a launch needs: an operator, a host, an image, products, a team with money.

use std::{
    collections::BTreeSet,
    future::Future,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    server::{Caller, Pace, Server, Store, nothing},
    support::{IMAGE, Plan, Stand},
};

/// The team of every scenario.
pub(crate) const TEAM: &str = "lab";
/// What the team pays in at first, in micro-credits.
pub(crate) const TOP_UP: i64 = 1_000_000_000;
/// Nano-credits that a microsecond of one unit costs: 7.2 credits an hour are two, exactly.
pub(crate) const NANO_PER_MICRO: i64 = 2;
/// The longest that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const FIRST: &str = "a first password";
const SECOND: &str = "a password of one's own";

/// A running site.
pub(crate) struct Town {
    pub(crate) server: Server,
    pub(crate) stand: Stand,
    pub(crate) operator: Caller,
    pub(crate) owner: Caller,
}

/// A member of the team, signed in.
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) caller: Caller,
}

impl Member {
    /// Launches a small instance and gives its id.
    pub(crate) async fn launch(&self, name: &str) -> String {
        text(&self.caller.post("/teams/lab/instances", order(name)).await["id"])
    }

    /// Gives an instance up.
    pub(crate) async fn release(&self, id: &str) {
        self.caller.post(&format!("/teams/lab/instances/{id}/release"), nothing()).await;
    }
}

/// How the site reaches its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Road {
    Unix,
    Tcp,
}

impl Town {
    /// Everything up to the point where members can be issued.
    pub(crate) async fn found(store: Store, road: Road, pace: Pace, plan: Plan) -> Town {
        let stand = Stand::up_with(&[plan]).await;
        let server = Server::start(store, pace);
        let operator = claim(&server).await;
        add_host(&operator, &stand, road).await;
        add_offers(&operator).await;
        let owner = new_user(&server.caller(), &operator, "olga").await;
        let team = json!({"slug": TEAM, "name": "The lab", "preset": "glows"});
        owner.post("/teams", team).await;
        let asked =
            owner.post("/teams/lab/top-ups", json!({"amount": credits(TOP_UP), "note": "invoice 7"})).await;
        let confirm = format!("/teams/lab/top-ups/{}/confirm", text(&asked["id"]));
        operator.post(&confirm, nothing()).await;
        Town { server, stand, operator, owner }
    }

    /// Issues an account with credits, signs it in and gives it a password of its own.
    pub(crate) async fn member(&self, account: &str, initial_credits: &str) -> Member {
        let new = json!({"account": account, "password": FIRST, "initial_credits": initial_credits});
        let issued = self.owner.post("/teams/lab/members", new).await;
        let door = self.server.caller();
        let login = json!({"team": TEAM, "account": account, "password": FIRST});
        let first = door.post("/auth/team-login", login).await;
        assert_eq!(first["reset_required"], true, "{first}");
        let early = door.signed_in(&first);
        let refused = early.get_not("/teams/lab/catalog", 403).await;
        assert_denied(&refused, "plat/reset-first", "yourself, with a new password");
        let own = json!({"current_password": FIRST, "new_password": SECOND});
        early.post("/auth/password", own).await;
        Member { id: text(&issued["id"]), caller: self.login(account).await }
    }

    /// Signs a member in who has a password of their own.
    pub(crate) async fn login(&self, account: &str) -> Caller {
        let door = self.server.caller();
        let again = json!({"team": TEAM, "account": account, "password": SECOND});
        let answer = door.post("/auth/team-login", again).await;
        assert_eq!(answer["reset_required"], false);
        door.signed_in(&answer)
    }

    /// Asks the server to check every invariant of its books.
    pub(crate) async fn assert_books_clean(&self) {
        let report = self.operator.get("/ledger/verify").await;
        assert_eq!((&report["ok"], &report["found"]), (&json!(true), &json!(0)), "{report}");
    }

    /// What the team has and has spent: nothing was made and nothing was lost.
    pub(crate) async fn assert_money_adds_up(&self) -> Money {
        let told = self.owner.get("/teams/lab/balance?view=admin&limit=200").await;
        let (pool, spent) = (micros(&told["team"]["pool"]["posted"]), micros(&told["team"]["spent"]));
        let wallets = told["members"]["items"].as_array().unwrap();
        let posted: i64 = wallets.iter().map(|member| micros(&member["wallet"]["posted"])).sum();
        assert_eq!(pool + posted + spent, TOP_UP, "{told}");
        let held: i64 = wallets.iter().map(|member| micros(&member["wallet"]["held"])).sum();
        for member in wallets {
            assert!(micros(&member["wallet"]["available"]) >= 0, "{told}");
        }
        Money { held, spent }
    }

    /// The instance as the owner sees it.
    pub(crate) async fn instance(&self, id: &str) -> Value {
        self.owner.get(&format!("/teams/lab/instances/{id}")).await
    }

    /// The caller's own instances.
    pub(crate) async fn instances_of(&self, caller: &Caller) -> Vec<Value> {
        caller.list("/teams/lab/instances").await
    }

    /// Waits until the instance is in `state`.
    pub(crate) async fn wait_for(&self, id: &str, state: &str) -> Value {
        until(&format!("{id} is {state}"), async || {
            let seen = self.instance(id).await;
            if seen["state"] == state { Ok(seen) } else { Err(seen.to_string()) }
        })
        .await
    }

    /// Waits until the host is known to be `reach`.
    pub(crate) async fn wait_for_host(&self, reach: &str) {
        until(&format!("the host is {reach}"), async || {
            let hosts = self.operator.list("/hosts").await;
            if hosts[0]["reach"] == reach { Ok(()) } else { Err(hosts[0].to_string()) }
        })
        .await;
    }

    /// All charges of an instance.
    pub(crate) async fn charges(&self, id: &str) -> Vec<Value> {
        let mut all = self.owner.list("/teams/lab/bills?view=admin").await;
        all.retain(|charge| charge["instance"] == id);
        all
    }

    /// Every second of an ended run was charged once, by the price and to the micro-credit.
    pub(crate) async fn assert_billed_exactly(&self, id: &str) {
        let seen = self.instance(id).await;
        let mut charges = self.charges(id).await;
        if seen["started_at"].is_null() {
            assert!(charges.is_empty(), "{seen} never ran, and yet: {charges:?}");
            return;
        }
        charges.sort_by_key(|charge| charge["k"].as_u64());
        let (start, end) = (instant(&seen["started_at"]), instant(&seen["ended_at"]));
        let mut reached = start;
        for charge in &charges {
            assert_eq!(instant(&charge["from"]), reached, "a gap or an overlap: {seen} {charges:#?}");
            reached = instant(&charge["to"]);
            assert_eq!(micros(&charge["uncovered"]), 0, "{charge}");
            assert_eq!(charge["parked"], false, "{charge}");
        }
        assert_eq!(reached, end, "{seen} {charges:#?}");
        let units = seen["unit_qty"].as_i64().unwrap();
        let sum: i64 = charges.iter().map(|charge| micros(&charge["amount"])).sum();
        assert_eq!(sum, price_of(end - start, units), "{seen}");
        assert_eq!(micros(&seen["cost"]), sum);
        let billing = self.owner.get(&format!("/teams/lab/instances/{id}/billing")).await;
        assert_eq!((micros(&billing["hold_remaining"]), micros(&billing["cost"])), (0, sum), "{billing}");
        assert_eq!(billing["billed_micros"], end - start, "{billing}");
    }

    /// Containers of this site on its host, running or not.
    pub(crate) fn containers(&self) -> Vec<String> {
        let words = ["ps", "-aq", "--no-trunc", "--filter", "label=muster.instance"];
        self.stand.hosts[0].docker(&words).lines().map(str::to_owned).collect()
    }

    /// No instance has two containers.
    pub(crate) fn assert_no_twins(&self) {
        let words =
            ["ps", "-a", "--filter", "label=muster.instance", "--format", "{{.Label \"muster.instance\"}}"];
        let told = self.stand.hosts[0].docker(&words);
        let owners: Vec<&str> = told.lines().collect();
        let different: BTreeSet<&str> = owners.iter().copied().collect();
        assert_eq!(owners.len(), different.len(), "{owners:?}");
    }
}

/// Sums in micro-credits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Money {
    /// Held in all wallets.
    pub(crate) held: i64,
    /// Charged so far.
    pub(crate) spent: i64,
}

async fn claim(server: &Server) -> Caller {
    let door = server.caller();
    let token = server.claim.as_ref().expect("a first start tells a token");
    let claim = json!({"token": token, "login": "root", "password": SECOND});
    let operator = door.signed_in(&door.post("/auth/claim", claim.clone()).await);
    let again = door.ask(reqwest::Method::POST, "/auth/claim", Some(&claim)).await;
    assert!(again.status.is_client_error(), "a token that was used: {} {}", again.status, again.body);
    operator
}

/// A user of the site with a password of their own, signed in.
pub(crate) async fn new_user(door: &Caller, operator: &Caller, login: &str) -> Caller {
    operator.post("/users", json!({"login": login, "password": FIRST})).await;
    let first = door.post("/auth/login", json!({"login": login, "password": FIRST})).await;
    let own = json!({"current_password": FIRST, "new_password": SECOND});
    door.signed_in(&first).post("/auth/password", own).await;
    door.signed_in(&door.post("/auth/login", json!({"login": login, "password": SECOND})).await)
}

async fn add_host(operator: &Caller, stand: &Stand, road: Road) {
    let host = &stand.hosts[0];
    let mut new = json!({"name": "h1", "region": "lab", "address": host.ip, "probe_image": IMAGE});
    match road {
        Road::Unix => new["endpoint"] = json!(format!("unix://{}", host.socket.display())),
        Road::Tcp => {
            new["endpoint"] = json!(format!("tcp://{}", host.authority));
            let tls = &host.tls;
            new["tls"] = json!({"ca_pem": tls.ca_pem, "cert_pem": tls.cert_pem, "key_pem": tls.key_pem});
        }
    }
    let made = operator.post("/hosts", new).await;
    assert_eq!(made["reach"], "up", "{made}");
    let found = operator.list("/accelerators").await;
    let uuids: Vec<&str> = found.iter().map(|gpu| gpu["uuid"].as_str().unwrap()).collect();
    assert_eq!(uuids, host.gpus.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(found.iter().all(|gpu| gpu["healthy"] == true && gpu["model"] == MODEL), "{found:?}");
}

/// What the stand's accelerators call themselves.
const MODEL: &str = "NVIDIA Stand-In";

async fn add_offers(operator: &Caller) {
    for name in ["gpu-mini", "other"] {
        let image = json!({"name": name, "reference": IMAGE, "published": true});
        operator.post("/images", image).await;
    }
    let product = |name: &str, region: &str, price: &str| {
        json!({"name": name, "region": region, "instance_type": "gpu", "accelerator": MODEL,
            "gpus_per_unit": 1, "cpu_millis": 100, "memory_bytes": 64 << 20, "price_per_hour": price,
            "published": true})
    };
    operator.post("/products", product("small", "lab", "7.2")).await;
    operator.post("/products", product("gold", "lab", "72000")).await;
    operator.post("/products", product("far", "moon", "7.2")).await;
}

/// The order of one small instance.
pub(crate) fn order(name: &str) -> Value {
    json!({"name": name, "product": "small", "image": "gpu-mini"})
}

/// Tries until `look` gives something, for as long as a busy machine may need.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFn() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < end, "in vain: {what}; last seen: {seen}"),
        }
        pause(100).await;
    }
}

/// Between two looks.
pub(crate) fn pause(millis: u64) -> impl Future<Output = ()> {
    tokio::time::sleep(Duration::from_millis(millis))
}

/// The problem names this policy and who can lift it.
pub(crate) fn assert_denied<'a>(problem: &'a Value, policy: &str, lifted_by: &str) -> &'a Value {
    let denials = problem["denials"].as_array().unwrap_or_else(|| panic!("{problem}"));
    let found = denials.iter().find(|denial| denial["policy"] == policy);
    let found = found.unwrap_or_else(|| panic!("no {policy} in {problem}"));
    assert_eq!(found["lifted_by"], lifted_by, "{problem}");
    found
}

/// Micro-credits that `micros` of `units` cost: exact in nano-credits, rounded half to even.
pub(crate) fn price_of(micros: i64, units: i64) -> i64 {
    let nano = micros * units * NANO_PER_MICRO;
    let (whole, rest) = (nano / 1000, nano % 1000);
    whole + i64::from(rest > 500 || (rest == 500 && whole % 2 == 1))
}

/// A money text as micro-credits.
pub(crate) fn micros(amount: &Value) -> i64 {
    let text = amount.as_str().unwrap_or_else(|| panic!("no amount: {amount}"));
    text.parse::<muster::money::Credits>().unwrap().as_micros()
}

/// Micro-credits as a money text.
pub(crate) fn credits(micros: i64) -> String {
    muster::money::Credits::from_micros(micros).to_string()
}

/// A time text as microseconds since the epoch; the engine's nanoseconds are cut.
pub(crate) fn instant(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    text.parse::<muster::time::Timestamp>().unwrap().as_micros()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
