//! A site on a simulated host, and what must be true of it after a death and at the end.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    journal::{Entry, Journal},
    server::{Caller, Pace, Server, Store},
};

const FIRST: &str = "a first password";
const SECOND: &str = "a password of one's own";
/// Members who launch.
const MEMBERS: [&str; 3] = ["ann", "bob", "cat"];
/// One check of the whole books for so many deaths.
const VERIFIED_EVERY: u32 = 13;
/// Acknowledged requests that are asked again after each death.
const ASKED_AGAIN: usize = 25;
/// The longest that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) operator: Caller,
    pub(crate) owner: Caller,
    pub(crate) members: Vec<Member>,
}

pub(crate) struct Member {
    id: String,
    pub(crate) caller: Caller,
}

impl Site {
    pub(crate) async fn found(store: Store) -> Site {
        let server = Server::start(store, Pace { runway: 30, stop_latency: 3 });
        let door = server.caller();
        let token = server.claim.as_ref().expect("a first start tells a token");
        let claim = json!({ "token": token, "login": "root", "password": SECOND });
        let operator = door.signed_in(&door.post("/auth/claim", claim).await);
        operator.post("/hosts", json!({ "name": "h1", "endpoint": "simulated:", "region": "lab" })).await;
        let product = json!({ "name": "cpu", "region": "lab", "instance_type": "cpu", "accelerator": "none",
            "gpus_per_unit": 0, "cpu_millis": 100, "memory_bytes": 64 << 20, "price_per_hour": "7.2",
            "published": true });
        operator.post("/products", product).await;
        operator.post("/images", json!({ "name": "base", "reference": "base:1", "published": true })).await;
        operator.post("/users", json!({ "login": "olga", "password": FIRST })).await;
        let login = json!({ "login": "olga", "password": FIRST });
        let owner = own_password(&door, "/auth/login", login).await;
        owner.post("/teams", json!({ "slug": "lab", "name": "The lab", "preset": "glows" })).await;
        let mut members = Vec::new();
        for name in MEMBERS {
            let new = json!({ "account": name, "password": FIRST, "initial_credits": "0" });
            let issued = owner.post("/teams/lab/members", new).await;
            let login = json!({ "team": "lab", "account": name, "password": FIRST });
            let caller = own_password(&door, "/auth/team-login", login).await;
            members.push(Member { id: issued["id"].as_str().unwrap().to_owned(), caller });
        }
        Site { server, operator, owner, members }
    }

    /// The members' ids.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.members.iter().map(|member| member.id.clone()).collect()
    }

    /// What was acknowledged before a death is there after it, and asked again gives the same answer. The books forget
    /// nothing, so that checking them after some of the deaths finds what any of them did.
    pub(crate) async fn assert_kept(&self, acknowledged: &[Entry], death: u32) {
        for entry in acknowledged.iter().rev().take(ASKED_AGAIN) {
            let again = entry.ask().await;
            assert_eq!(again, entry.answer, "after death {death}, {} {}", entry.key, entry.path);
        }
        if death % VERIFIED_EVERY == VERIFIED_EVERY - 1 {
            self.assert_sound().await;
        }
    }

    async fn assert_sound(&self) {
        // After the database has died, each connection of the server has to find out.
        let end = Instant::now() + PATIENCE;
        let report = loop {
            let answer = self.operator.try_ask(Method::GET, "/ledger/verify", None, &[]).await.unwrap();
            if !answer.status.is_server_error() || Instant::now() > end {
                break answer.body;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!((&report["ok"], &report["found"]), (&json!(true), &json!(0)), "{report:#}");
    }

    /// At the end: everything that was acknowledged is in the books once, and nothing else.
    pub(crate) async fn assert_whole(&self, journal: &Journal) -> String {
        let acknowledged = journal.acknowledged();
        for entry in &acknowledged {
            assert_eq!(entry.ask().await, entry.answer, "{} {}", entry.key, entry.path);
        }
        let mut wanted = BTreeMap::new();
        for entry in &acknowledged {
            if let Some(id) = entry.answer["transaction"].as_str() {
                let moved = (entry.answer["kind"].clone(), micros(&entry.answer["amount"]));
                let twice = wanted.insert(id.to_owned(), (moved.0.to_string(), moved.1));
                assert!(twice.is_none(), "two requests made {id}");
            }
        }
        let books = self.owner.list("/teams/lab/transactions?view=admin").await;
        let mut found = BTreeMap::new();
        for row in &books {
            let kind = row["kind"].as_str().unwrap();
            if ["grant", "assign", "reclaim"].contains(&kind) {
                let id = row["id"].as_str().unwrap().to_owned();
                found.insert(id, (row["kind"].to_string(), micros(&row["amount"])));
            }
        }
        assert_eq!(found, wanted, "the books and what was acknowledged");
        let launched = acknowledged.iter().filter(|entry| entry.path.ends_with("/instances"));
        let mut launched: Vec<String> =
            launched.map(|entry| entry.answer["id"].as_str().unwrap().to_owned()).collect();
        let mut instances = Vec::new();
        for member in &self.members {
            let seen = member.caller.list("/teams/lab/instances").await;
            instances.extend(seen.iter().map(|one| one["id"].as_str().unwrap().to_owned()));
            self.release(member, &seen).await;
        }
        launched.sort();
        instances.sort();
        assert_eq!(instances, launched, "instances, and launches that were acknowledged");
        self.settled().await;
        self.assert_sound().await;
        let granted: i64 =
            wanted.values().filter(|(kind, _)| kind.contains("grant")).map(|(_, sum)| sum).sum();
        let told = self.owner.get("/teams/lab/balance?view=admin&limit=200").await;
        let members = told["members"]["items"].as_array().unwrap();
        let sum = |what: &str| -> i64 { members.iter().map(|member| micros(&member["wallet"][what])).sum() };
        let (pool, spent) = (micros(&told["team"]["pool"]["posted"]), micros(&told["team"]["spent"]));
        let uncovered: i64 = self
            .owner
            .list("/teams/lab/bills?view=admin")
            .await
            .iter()
            .map(|charge| micros(&charge["uncovered"]))
            .sum();
        assert_eq!(pool + sum("posted") + spent - uncovered, granted, "{told:#}");
        assert_eq!(sum("held"), 0, "{told:#}");
        format!(
            "{} answers kept, {} instances, {} transactions",
            acknowledged.len(),
            launched.len(),
            books.len()
        )
    }

    async fn release(&self, member: &Member, seen: &[Value]) {
        for one in seen.iter().filter(|one| !is_over(one) && one["desired"] != "released") {
            let path = format!("/teams/lab/instances/{}/release", one["id"].as_str().unwrap());
            member.caller.post(&path, json!({})).await;
        }
    }

    async fn settled(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let all = self.owner.list("/teams/lab/instances?view=admin").await;
            let left: Vec<_> = all.iter().filter(|one| !is_over(one)).collect();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "never settled: {left:#?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Entry {
    /// Asks again under the same key.
    async fn ask(&self) -> Value {
        let headers = [("idempotency-key", self.key.as_str())];
        let end = Instant::now() + PATIENCE;
        loop {
            let answer =
                self.caller.try_ask(Method::POST, &self.path, Some(&self.body), &headers).await.unwrap();
            if !answer.status.is_server_error() || Instant::now() > end {
                assert!(answer.status.is_success(), "{} {}: {}", self.key, self.path, answer.body);
                return answer.body;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn own_password(door: &Caller, path: &str, mut login: Value) -> Caller {
    let first = door.signed_in(&door.post(path, login.clone()).await);
    first.post("/auth/password", json!({ "current_password": FIRST, "new_password": SECOND })).await;
    login["password"] = json!(SECOND);
    door.signed_in(&door.post(path, login).await)
}

fn is_over(instance: &Value) -> bool {
    ["released", "failed"].iter().any(|state| instance["state"] == *state)
}

fn micros(amount: &Value) -> i64 {
    let text = amount.as_str().unwrap_or_else(|| panic!("no amount: {amount}"));
    text.parse::<muster::money::Credits>().unwrap().as_micros()
}
