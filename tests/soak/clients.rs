//! Careful clients: each request has a key and is asked under it until it is answered, whoever dies meanwhile.

use std::{sync::Arc, time::Duration};

use muster::chance::Seeded;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    journal::{Entry, Journal},
    server::Caller,
    site::Site,
};

/// Between two attempts at a server that may be dead.
const PAUSE: Duration = Duration::from_millis(30);
/// Attempts after which something must be wrong: minutes.
const PATIENCE: u32 = 4_000;

/// Starts everybody.
pub(crate) fn start(site: &Site, seed: u64, journal: &Arc<Journal>) -> Vec<JoinHandle<()>> {
    let client = |n: u64, caller: &Caller| Client {
        name: format!("c{n}"),
        caller: caller.clone(),
        chance: Seeded::new(seed.wrapping_add(n)),
        journal: journal.clone(),
        asked: 0,
    };
    let mut tasks = vec![
        tokio::spawn(grants(client(1, &site.operator))),
        tokio::spawn(transfers(client(2, &site.owner), site.ids())),
        tokio::spawn(transfers(client(3, &site.owner), site.ids())),
    ];
    for (n, member) in (4..).zip(&site.members) {
        tasks.push(tokio::spawn(runs(client(n, &member.caller))));
    }
    tasks
}

struct Client {
    name: String,
    caller: Caller,
    chance: Seeded,
    journal: Arc<Journal>,
    asked: u32,
}

impl Client {
    async fn rest(&self) -> bool {
        tokio::time::sleep(Duration::from_millis(5 + self.chance.below(40))).await;
        !self.journal.is_closed()
    }

    /// Asks until there is an answer; `None`: it is a refusal, which changes nothing.
    async fn insist(&mut self, path: &str, body: Value) -> Option<Value> {
        self.asked += 1;
        let key = format!("{}-{}", self.name, self.asked);
        for _ in 0..PATIENCE {
            let headers = [("idempotency-key", key.as_str())];
            match self.caller.try_ask(Method::POST, path, Some(&body), &headers).await {
                Ok(answer) if answer.status.is_success() => {
                    let (caller, path) = (self.caller.clone(), path.to_owned());
                    let entry = Entry { caller, key, path, body, answer: answer.body.clone() };
                    self.journal.write(entry);
                    return Some(answer.body);
                }
                Ok(answer)
                    if answer.status.is_client_error() && answer.body["code"] != "idempotency-race" =>
                {
                    let expected = ["not-enough-credits", "refused", "no-capacity", "illegal-state"];
                    let code = answer.body["code"].as_str().unwrap_or_default();
                    assert!(expected.contains(&code), "{path} {body}: {}", answer.body);
                    return None;
                }
                // Busy, or a fault that says to try again, or nobody is there.
                Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        panic!("{path} {body} was never answered");
    }
}

async fn grants(mut client: Client) {
    while client.rest().await {
        let amount = format!("{}.{:06}", client.chance.below(3), 1 + client.chance.below(999_999));
        client.insist("/teams/lab/credits/grant", json!({ "amount": amount })).await;
    }
}

async fn transfers(mut client: Client, members: Vec<String>) {
    while client.rest().await {
        let member = &members[usize::try_from(client.chance.below(members.len() as u64)).unwrap()];
        let way = if client.chance.below(3) == 0 { "reclaim" } else { "assign" };
        let amount = format!("0.{:06}", 1 + client.chance.below(999_999));
        let path = format!("/teams/lab/credits/{way}");
        client.insist(&path, json!({ "member": member, "amount": amount })).await;
    }
}

async fn runs(mut client: Client) {
    let mut own: Vec<String> = Vec::new();
    while client.rest().await {
        if own.len() < 2 {
            let name = format!("{}-{}", client.name, client.asked);
            let new = json!({ "name": name, "product": "cpu", "image": "base", "mount_team_drive": false });
            if let Some(made) = client.insist("/teams/lab/instances", new).await {
                own.push(made["id"].as_str().unwrap().to_owned());
            }
        } else if client.chance.below(4) == 0 {
            let one = own.remove(0);
            client.insist(&format!("/teams/lab/instances/{one}/release"), json!({})).await;
        }
    }
}
