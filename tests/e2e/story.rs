//! The main job from the claim of the site to the last micro-credit of the bill, with every refusal on the way.

use serde_json::{Value, json};

use crate::{
    engine,
    server::{Caller, Pace, Store, nothing},
    support::Plan,
    town::{
        Member, Road, Town, assert_denied, credits, instant, micros, new_user, order, price_of, text, until,
    },
};

#[tokio::test]
async fn a_member_gets_what_was_allowed_and_pays_for_every_microsecond_on_sqlite() {
    live(Store::Sqlite, Road::Unix).await;
}

#[tokio::test]
async fn a_member_gets_what_was_allowed_and_pays_for_every_microsecond_on_postgres() {
    live(Store::Postgres, Road::Tcp).await;
}

const QUOTA: &str = "/teams/lab/quota";
const TEN: i64 = 10_000_000;

async fn live(store: Store, road: Road) {
    let mut town = Town::found(store, road, Pace::default(), Plan::default()).await;
    town.owner.put(QUOTA, json!({"regions": ["lab"], "images": ["gpu-mini"], "gpus": 1})).await;
    let ann = town.member("ann", "10").await;
    sees_only_what_is_shown(&ann.caller).await;
    refusals_before(&town, &ann).await;

    let estimate = json!({"product": "small", "image": "gpu-mini"});
    let estimate = ann.caller.post("/teams/lab/estimates", estimate).await;
    assert_eq!((&estimate["allowed"], &estimate["gpus"]), (&json!(true), &json!(1)), "{estimate}");
    assert_eq!((micros(&estimate["price_per_hour"]), micros(&estimate["hold"])), (7_200_000, 120_000));
    assert_eq!((micros(&estimate["available"]), &estimate["affordable_minutes"]), (TEN, &json!(83)));

    let (key, public) = town.stand.ssh_key();
    let id = launch(&ann.caller, &public).await;
    let running = town.wait_for(&id, "running").await;
    let host = &town.stand.hosts[0];
    let hardware = ann.caller.get(&format!("/teams/lab/instances/{id}/hardware")).await;
    let gpu = text(&hardware["accelerators"][0]["uuid"]);
    engine::assert_as_ordered(host, &running, &gpu);
    let started = engine::started_at(host, &id);
    assert_eq!(instant(&running["started_at"]), started, "{running}");

    let access = ann.caller.get(&format!("/teams/lab/instances/{id}/access")).await;
    let inside = "nvidia-smi -L; touch /team_data/x 2>&1; cat /run/muster/jupyter_token";
    let said = engine::login(&access, &key, inside).await;
    let token = access["jupyter_token"].as_str().unwrap();
    assert!(said.contains(&gpu) && said.contains("Read-only file system") && said.ends_with(token), "{said}");
    let logs = ann.caller.get(&format!("/teams/lab/instances/{id}/logs")).await;
    assert!(logs["text"].as_str().unwrap().contains("ready: 1 keys"), "{logs}");
    let used = ann.caller.get(&format!("/teams/lab/instances/{id}/metrics")).await;
    assert!(used["memory_bytes"].as_u64().unwrap() > 0, "{used}");

    until("three intervals on the bill", async || {
        let bill = ann.caller.get("/teams/lab/bills").await;
        if bill["items"].as_array().unwrap().len() >= 3 { Ok(()) } else { Err(bill.to_string()) }
    })
    .await;
    refusals_while_it_runs(&town, &ann, &id).await;
    let money = town.assert_money_adds_up().await;
    assert!(money.held > 0 && money.spent > 0, "{money:?}");

    let end = engine::end_watch(&town.stand, &id);
    ann.release(&id).await;
    let released = town.wait_for(&id, "released").await;
    let ended = end.join().expect("the end was seen");
    assert_eq!(instant(&released["ended_at"]), ended, "the engine's end, not ours: {released}");
    assert_eq!(released["reason"], "user");
    assert!(town.containers().is_empty());
    settled(&town, &ann, &id, ended - started).await;
    old_tokens_end(&town, &ann).await;
    town.server.terminate();
    assert_eq!(town.server.faults(), Vec::<String>::new());
}

/// Launches once, however often the request arrives.
async fn launch(caller: &Caller, public_key: &str) -> String {
    let mut new = order("first");
    new["ssh_public_keys"] = json!([public_key]);
    let once = [("idempotency-key", "launch-1")];
    let post = async || {
        let made =
            caller.try_ask(reqwest::Method::POST, "/teams/lab/instances", Some(&new), &once).await.unwrap();
        assert_eq!(made.status.as_u16(), 201, "{}", made.body);
        text(&made.body["id"])
    };
    let id = post().await;
    assert_eq!(post().await, id, "a repeated request launches nothing");
    id
}

async fn sees_only_what_is_shown(ann: &Caller) {
    let catalog = ann.get("/teams/lab/catalog").await;
    let names = |noun: &str| -> Vec<String> {
        catalog[noun].as_array().unwrap().iter().map(|thing| text(&thing["name"])).collect()
    };
    assert_eq!(names("products"), ["small", "gold"]);
    assert_eq!(names("images"), ["gpu-mini"]);
    assert_eq!(catalog["products"][0]["units_available"], 2);
}

async fn refusals_before(town: &Town, ann: &Member) {
    let lifts = "team owner or admin";
    let launch = async |product: &str, image: &str| {
        let new = json!({"name": "no", "product": product, "image": image});
        ann.caller.post_not("/teams/lab/instances", new, 403).await
    };
    assert_denied(&launch("far", "gpu-mini").await, "plat/visible-region", lifts);
    assert_denied(&launch("small", "other").await, "plat/visible-image", lifts);
    let poor = launch("gold", "gpu-mini").await;
    let funds = assert_denied(&poor, "plat/funds", "whoever tops up or assigns credits in the team");
    let limit = &funds["limit"];
    assert_eq!(
        (&limit["name"], micros(&limit["max"]), micros(&limit["requested"])),
        (&json!("credits"), TEN, 1_200_000_000)
    );

    let top_up = json!({"amount": "5"});
    let refused = ann.caller.post_not("/teams/lab/top-ups", top_up, 403).await;
    assert_denied(&refused, "no-permit", "team owner");
    let pour = json!({"member": ann.id, "amount": "5"});
    let refused = ann.caller.post_not("/teams/lab/credits/assign", pour, 403).await;
    assert_denied(&refused, "no-permit", "team owner or admin");
    ann.caller.get_not("/ledger/verify", 403).await;
    town.server.caller().get_not("/teams/lab/catalog", 401).await;
    let own = town.instances_of(&ann.caller).await;
    assert_eq!(own, Vec::<Value>::new(), "a refusal leaves nothing");
}

async fn refusals_while_it_runs(town: &Town, ann: &Member, id: &str) {
    let lifts = "team owner or admin";
    let again = async || ann.caller.post_not("/teams/lab/instances", order("two"), 403).await;
    let problem = again().await;
    let limit = json!({"name": "gpus", "max": "1", "used": "1", "requested": "1"});
    assert_eq!(assert_denied(&problem, "plat/quota-gpus", lifts)["limit"], limit);
    let own = format!("/teams/lab/members/{}/quota", ann.id);
    town.owner.put(&own, json!({"gpus": 9, "instances": 1})).await;
    let problem = again().await;
    let limit = json!({"name": "instances", "max": "1", "used": "1", "requested": "1"});
    assert_eq!(assert_denied(&problem, "plat/quota-instances", lifts)["limit"], limit);

    let owen = new_user(&town.server.caller(), &town.operator, "owen").await;
    owen.post("/teams", json!({"slug": "other", "name": "Another lab", "preset": "glows"})).await;
    owen.get_not(&format!("/teams/other/instances/{id}"), 404).await;
    owen.get_not(&format!("/teams/lab/instances/{id}"), 404).await;
    owen.get_not("/teams/lab", 404).await;
    let bob = town.member("bob", "1").await;
    let refused = bob.caller.get_not(&format!("/teams/lab/instances/{id}"), 403).await;
    assert_denied(&refused, "no-permit", "team owner or admin");
    bob.caller.post_not(&format!("/teams/lab/instances/{id}/release"), nothing(), 403).await;
}

/// The hold is closed, and bill, wallet, pool and revenue agree to the micro-credit.
async fn settled(town: &Town, ann: &Member, id: &str, ran: i64) {
    town.assert_billed_exactly(id).await;
    let due = price_of(ran, 1);
    let by = format!("/teams/lab/bills?view=admin&member={}&type=instance", ann.id);
    let bill = town.owner.get(&by).await;
    assert_eq!(micros(&bill["total"]), due, "{bill}");
    let listed: i64 = town.owner.list(&by).await.iter().map(|charge| micros(&charge["amount"])).sum();
    assert_eq!(listed, due);
    let none = town.owner.get(&format!("/teams/lab/bills?view=admin&member={}&type=storage", ann.id)).await;
    assert_eq!((&none["items"], micros(&none["total"])), (&json!([]), 0));
    let balance = ann.caller.get("/teams/lab/balance").await;
    let wallet = &balance["own"]["wallet"];
    assert_eq!((micros(&wallet["posted"]), micros(&wallet["held"])), (TEN - due, 0), "{balance}");
    let money = town.assert_money_adds_up().await;
    assert_eq!((credits(money.spent), money.held), (credits(due), 0));
    town.assert_books_clean().await;
}

/// A change of role signs out: what the old token was good for is over.
async fn old_tokens_end(town: &Town, ann: &Member) {
    let path = format!("/teams/lab/members/{}", ann.id);
    town.owner.patch(&path, json!({"role": "admin"})).await;
    ann.caller.get_not("/teams/lab/catalog", 401).await;
    let admin = town.login("ann").await;
    assert_eq!(admin.list("/teams/lab/members").await.len(), 3, "ann, bob and the owner");
    town.owner.patch(&path, json!({"role": "member"})).await;
    let ended = admin.get_not("/teams/lab/members", 401).await;
    assert_eq!(ended["code"], "session-ended");
    let member = town.login("ann").await;
    assert_eq!(member.list("/teams/lab/members").await.len(), 1, "a member sees nobody else");
    member.get_not("/teams/lab/audit", 403).await;
}
