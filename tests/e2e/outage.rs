//! What goes wrong by itself: the server dies, the engine dies, the money runs out. Nobody is billed twice, nothing
//! is left over.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use muster::chance::{Chance, Seeded, SystemChance};
use serde_json::{Value, json};

use crate::{
    engine,
    server::{Pace, Store, nothing},
    support::Plan,
    town::{Member, Road, Town, assert_denied, instant, micros, order, pause, price_of, until},
};

#[tokio::test]
async fn a_server_killed_at_any_moment_bills_every_second_once_on_sqlite() {
    kill_and_again(Store::Sqlite, 30).await;
}

#[tokio::test]
async fn a_server_killed_at_any_moment_bills_every_second_once_on_postgres() {
    kill_and_again(Store::Postgres, 30).await;
}

/// A loop of launch, run and release goes on while the server is killed `times` at moments of chance.
async fn kill_and_again(store: Store, times: u32) {
    let mut town = Town::found(store, Road::Unix, Pace::default(), Plan::default()).await;
    let ann = town.member("ann", "10").await;
    let chance = Seeded::new(seed());
    let mut instances = Vec::new();
    let mut met = BTreeMap::<String, u32>::new();
    for n in 0..times {
        let moment = Instant::now() + Duration::from_millis(chance.below(3_000));
        tokio::select! {
            () = work(&town, &ann, n, &mut instances) => {}
            () = tokio::time::sleep_until(moment.into()) => {}
        }
        town.server.kill9();
        pause(chance.below(300)).await;
        town.server.start_again();
        for one in town.instances_of(&ann.caller).await.iter().filter(|one| !over(one)) {
            *met.entry(format!("{} {}", one["desired"], one["state"])).or_default() += 1;
        }
    }
    let mut known: Vec<Value> = town.instances_of(&ann.caller).await;
    eprintln!("{} instances over {times} deaths of the server, which met them as {met:?}", known.len());
    for one in known.iter().filter(|one| one["desired"] != "released" && !over(one)) {
        ann.release(one["id"].as_str().unwrap()).await;
    }
    until("everything is over", async || {
        let seen = town.instances_of(&ann.caller).await;
        if seen.iter().all(over) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    known = town.instances_of(&ann.caller).await;
    for id in &instances {
        assert!(known.iter().any(|one| one["id"] == id.as_str()), "{id} was acknowledged and is gone");
    }
    for one in &known {
        town.assert_billed_exactly(one["id"].as_str().unwrap()).await;
    }
    until("no container is left", async || {
        let left = town.containers();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    assert_eq!(town.assert_money_adds_up().await.held, 0);
    town.assert_books_clean().await;
}

/// Launches, lets run for a while, releases, and again, until it is interrupted.
async fn work(town: &Town, ann: &Member, n: u32, acknowledged: &mut Vec<String>) {
    for m in 0.. {
        let new = order(&format!("k{n}-{m}"));
        let asked = ann.caller.try_ask(reqwest::Method::POST, "/teams/lab/instances", Some(&new), &[]).await;
        let Ok(answer) = asked else { return std::future::pending().await };
        match answer.status.as_u16() {
            201 => acknowledged.push(answer.body["id"].as_str().unwrap().to_owned()),
            // Both accelerators are still held by those that are on their way out.
            409 if answer.body["code"] == "no-capacity" => {}
            _ => panic!("{} {}", answer.status, answer.body),
        }
        let mine = town.instances_of(&ann.caller).await;
        for one in mine.iter().filter(|one| !over(one)) {
            town.assert_no_twins();
            if one["state"] == "running" {
                let path = format!("/teams/lab/instances/{}/release", one["id"].as_str().unwrap());
                let _ = ann.caller.try_ask(reqwest::Method::POST, &path, Some(&nothing()), &[]).await;
            }
        }
        pause(300).await;
    }
}

fn over(instance: &Value) -> bool {
    ["released", "failed"].iter().any(|state| instance["state"] == *state)
}

/// From `E2E_SEED`, so that a run can be had again, or a fresh one.
#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the product")]
fn seed() -> u64 {
    let mut fresh = [0; 8];
    SystemChance.fill(&mut fresh);
    let seed = std::env::var("E2E_SEED").map_or(u64::from_le_bytes(fresh), |text| text.parse().unwrap());
    eprintln!("E2E_SEED={seed}");
    seed
}

#[tokio::test]
async fn an_instance_whose_money_runs_out_is_warned_and_stopped_while_it_is_paid_for_on_sqlite() {
    run_dry(Store::Sqlite).await;
}

#[tokio::test]
async fn an_instance_whose_money_runs_out_is_warned_and_stopped_while_it_is_paid_for_on_postgres() {
    run_dry(Store::Postgres).await;
}

async fn run_dry(store: Store) {
    let pace = Pace { runway: 20, stop_latency: 6 };
    let town = Town::found(store, Road::Unix, pace, Plan::default()).await;
    // A runway of twenty seconds and five seconds more.
    let ann = town.member("ann", "0.05").await;
    let id = &ann.launch("dry").await;
    town.wait_for(id, "running").await;
    let stand = &town.stand.hosts[0];
    let inside = |command: &str| {
        let containers = town.containers();
        let [container] = containers.as_slice() else { panic!("{containers:?}") };
        stand.docker(&["exec", container, "sh", "-c", command])
    };
    inside("echo worth keeping > /kept");
    let draining = until("it drains", async || {
        let seen = town.instance(id).await;
        if seen["draining_since"].is_null() { Err(seen.to_string()) } else { Ok(seen) }
    })
    .await;
    assert_eq!(draining["desired"], "running");
    // Fifteen seconds more: the money that comes in time keeps it.
    town.owner.post("/teams/lab/credits/assign", json!({"member": ann.id, "amount": "0.03"})).await;
    until("it is funded again", async || {
        let seen = town.instance(id).await;
        if seen["draining_since"].is_null() { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    let stopped = town.wait_for(id, "stopped").await;
    assert_eq!((&stopped["reason"], &stopped["desired"]), (&"credit".into(), &"stopped".into()), "{stopped}");
    until("the rest comes back", async || {
        let money = town.assert_money_adds_up().await;
        if money.held == 0 { Ok(()) } else { Err(format!("{money:?}")) }
    })
    .await;
    town.assert_billed_exactly(id).await;
    let own = ann.caller.get("/teams/lab/balance").await;
    let left = micros(&own["own"]["wallet"]["available"]);
    assert!((0..80_000).contains(&left), "{own}");
    let log = town.owner.list("/teams/lab/audit").await;
    let told = |action: &str| {
        log.iter().filter(|line| line["action"] == action && line["target"] == id.as_str()).count()
    };
    assert!(told("instance.draining") >= 2, "{log:#?}");
    assert_eq!(told("instance.out_of_credits"), 1, "{log:#?}");
    town.assert_books_clean().await;

    // Started again after a top-up it is the same container with the same disk, and its second run is billed beside
    // the first.
    let first = micros(&town.instance(id).await["cost"]);
    let before = town.containers();
    let start = format!("/teams/lab/instances/{id}/start");
    let refused = ann.caller.post_not(&start, json!({}), 403).await;
    assert_denied(&refused, "plat/funds", "whoever tops up or assigns credits in the team");
    town.owner.post("/teams/lab/credits/assign", json!({"member": ann.id, "amount": "1"})).await;
    ann.caller.post(&start, json!({})).await;
    let again = town.wait_for(id, "running").await;
    assert_eq!((&again["reason"], &again["ended_at"]), (&json!(null), &json!(null)), "{again}");
    assert!(instant(&again["started_at"]) > instant(&stopped["ended_at"]), "{again}");
    assert_eq!((town.containers(), inside("cat /kept").trim()), (before, "worth keeping"));
    let access = ann.caller.get(&format!("/teams/lab/instances/{id}/access")).await;
    assert!(access["ssh"].is_string(), "{access}");
    pause(3_000).await;
    ann.caller.post(&format!("/teams/lab/instances/{id}/stop"), json!({})).await;
    let ended = town.wait_for(id, "stopped").await;
    assert_eq!(ended["reason"], "user", "{ended}");
    until("the rest comes back again", async || {
        let money = town.assert_money_adds_up().await;
        if money.held == 0 { Ok(()) } else { Err(format!("{money:?}")) }
    })
    .await;
    let second = price_of(instant(&ended["ended_at"]) - instant(&ended["started_at"]), 1);
    assert!(second > 0, "{ended}");
    assert_eq!(micros(&town.instance(id).await["cost"]), first + second, "{ended}");

    ann.release(id).await;
    town.wait_for(id, "released").await;
    assert!(town.containers().is_empty());
    town.assert_books_clean().await;
    assert_eq!(town.server.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn an_instance_outlives_its_engine_and_is_billed_throughout() {
    engine_away(Store::Sqlite, "suspect").await;
}

#[tokio::test]
async fn an_instance_outlives_an_engine_that_was_given_up_and_is_billed_throughout() {
    engine_away(Store::Postgres, "down").await;
}

/// The engine dies under two instances until muster thinks of it as `reach`; one of them is released meanwhile.
async fn engine_away(store: Store, reach: &str) {
    let mut town = Town::found(store, Road::Unix, Pace::default(), Plan::default()).await;
    let ann = town.member("ann", "10").await;
    let (tough, leaving) = (ann.launch("tough").await, ann.launch("leaving").await);
    for id in [&tough, &leaving] {
        town.wait_for(id, "running").await;
    }
    let started = engine::started_at(&town.stand.hosts[0], &tough);
    town.stand.kill9(0);
    town.wait_for_host(reach).await;
    if reach == "down" {
        town.wait_for(&tough, "unreachable").await;
    }
    ann.release(&leaving).await;
    let before = town.charges(&tough).await.len();
    pause(3_000).await;
    assert!(town.charges(&tough).await.len() <= before + 1, "nothing is billed that was not seen to run");

    town.stand.start(0).await;
    let left = engine::end_watch(&town.stand, &leaving);
    town.wait_for_host("up").await;
    let back = town.wait_for(&tough, "running").await;
    assert_eq!(instant(&back["started_at"]), started, "it is still the same run");
    let after = town.charges(&tough).await.len();
    until("billing goes on", async || {
        let now = town.charges(&tough).await.len();
        if now > after + 2 { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    let end = engine::end_watch(&town.stand, &tough);
    ann.release(&tough).await;
    for (id, seen) in [(&tough, end), (&leaving, left)] {
        let released = town.wait_for(id, "released").await;
        assert_eq!(instant(&released["ended_at"]), seen.join().expect("the end was seen"));
        town.assert_billed_exactly(id).await;
    }
    town.assert_books_clean().await;
}

#[tokio::test]
async fn what_others_do_to_a_container_is_seen_and_ends_the_bill_there() {
    let town = Town::found(Store::Sqlite, Road::Tcp, Pace::default(), Plan::default()).await;
    let ann = town.member("ann", "10").await;
    let host = &town.stand.hosts[0];
    let (killed, removed) = (ann.launch("killed").await, ann.launch("removed").await);
    for id in [&killed, &removed] {
        town.wait_for(id, "running").await;
    }
    host.docker(&["kill", &container_of(&town, &killed)]);
    host.docker(&["rm", "-f", &container_of(&town, &removed)]);
    let ended = town.wait_for(&killed, "stopped").await;
    let state = engine::inspect(host, &killed)["State"].clone();
    assert_eq!(instant(&ended["ended_at"]), instant(&state["FinishedAt"]), "{ended}");
    assert_eq!((&ended["reason"], &ended["exit_code"]), (&"exited".into(), &137.into()), "{ended}");
    let lost = town.wait_for(&removed, "stopped").await;
    assert_eq!(lost["reason"], "host_lost");
    assert!(town.operator.list("/accelerators").await.iter().all(|gpu| gpu["instance"].is_null()));
    for id in [&killed, &removed] {
        ann.release(id).await;
        town.wait_for(id, "released").await;
        town.assert_billed_exactly(id).await;
    }

    let image = json!({"name": "gone", "reference": "127.0.0.1:9/none:1", "published": true});
    town.operator.post("/images", image).await;
    let mut new = order("imageless");
    new["image"] = "gone".into();
    let made = ann.caller.post("/teams/lab/instances", new).await;
    let failed = town.wait_for(made["id"].as_str().unwrap(), "failed").await;
    assert_eq!(failed["reason"], "image_missing", "{failed}");
    assert_eq!(town.assert_money_adds_up().await.held, 0);
    assert!(town.operator.list("/accelerators").await.iter().all(|gpu| gpu["instance"].is_null()));
    assert!(town.containers().is_empty());
    town.assert_books_clean().await;
    assert_eq!(town.server.faults(), Vec::<String>::new());
}

fn container_of(town: &Town, instance: &str) -> String {
    engine::inspect(&town.stand.hosts[0], instance)["Id"].as_str().unwrap().to_owned()
}
