//! What goes wrong by itself: the server dies, the engine dies, the money runs out. Nobody is billed twice, nothing
//! is left over.

use std::time::{Duration, Instant};

use muster::chance::{Chance, Seeded};
use serde_json::Value;

use crate::{
    engine,
    server::{Pace, Store, nothing},
    support::Plan,
    town::{Member, Road, Town, instant, micros, order, pause, until},
};

#[tokio::test]
async fn a_server_killed_at_any_moment_bills_every_second_once_on_sqlite() {
    kill_and_again(Store::Sqlite, 20).await;
}

#[tokio::test]
async fn a_server_killed_at_any_moment_bills_every_second_once_on_postgres() {
    kill_and_again(Store::Postgres, 20).await;
}

/// A loop of launch, run and release goes on while the server is killed `times` at moments of chance.
async fn kill_and_again(store: Store, times: u32) {
    let mut town = Town::found(store, Road::Unix, Pace::default(), Plan::default()).await;
    let ann = town.member("ann", "10").await;
    let chance = Seeded::new(seed());
    let mut instances = Vec::new();
    for n in 0..times {
        let moment = Instant::now() + Duration::from_millis(below(&chance, 4_000));
        tokio::select! {
            () = work(&town, &ann, n, &mut instances) => {}
            () = tokio::time::sleep_until(moment.into()) => {}
        }
        town.server.kill9();
        pause(below(&chance, 300)).await;
        town.server.start_again();
    }
    let mut known: Vec<Value> = town.instances_of(&ann.caller).await;
    println!("{} instances over {times} deaths of the server", known.len());
    for one in known.iter().filter(|one| one["desired"] != "released" && !over(one)) {
        ann.caller
            .post(&format!("/teams/lab/instances/{}/release", one["id"].as_str().unwrap()), nothing())
            .await;
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

fn below(chance: &Seeded, most: u64) -> u64 {
    let mut bytes = [0; 8];
    chance.fill(&mut bytes);
    u64::from_le_bytes(bytes) % most
}

/// From `E2E_SEED`, so that a run can be had again, or from the clock.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = std::env::var("E2E_SEED").map_or(now.as_secs(), |text| text.parse().unwrap());
    println!("E2E_SEED={seed}");
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
    let made = ann.caller.post("/teams/lab/instances", order("dry")).await;
    let id = made["id"].as_str().unwrap();
    town.wait_for(id, "running").await;
    let draining = until("it drains", async || {
        let seen = town.instance(id).await;
        if seen["draining_since"].is_null() { Err(seen.to_string()) } else { Ok(seen) }
    })
    .await;
    assert_eq!(draining["desired"], "running");
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
    assert!((0..50_000).contains(&left), "{own}");
    let log = town.owner.list("/teams/lab/audit").await;
    let told =
        |action: &str| log.iter().filter(|line| line["action"] == action && line["target"] == id).count();
    assert!(told("instance.draining") >= 2, "{log:#?}");
    assert_eq!(told("instance.out_of_credits"), 1, "{log:#?}");
    town.assert_books_clean().await;

    ann.caller.post(&format!("/teams/lab/instances/{id}/release"), nothing()).await;
    town.wait_for(id, "released").await;
    assert!(town.containers().is_empty());
    town.assert_books_clean().await;
    assert_eq!(town.server.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn an_instance_outlives_its_engine_and_is_billed_throughout() {
    let mut town = Town::found(Store::Sqlite, Road::Unix, Pace::default(), Plan::default()).await;
    let ann = town.member("ann", "10").await;
    let made = ann.caller.post("/teams/lab/instances", order("tough")).await;
    let id = made["id"].as_str().unwrap().to_owned();
    town.wait_for(&id, "running").await;
    let started = engine::started_at(&town.stand.hosts[0], &id);
    town.stand.kill9(0);
    until("the host is missed", async || {
        let hosts = town.operator.list("/hosts").await;
        if hosts[0]["reach"] == "suspect" { Ok(()) } else { Err(hosts[0].to_string()) }
    })
    .await;
    town.stand.start(0).await;
    until("the host is back", async || {
        let hosts = town.operator.list("/hosts").await;
        if hosts[0]["reach"] == "up" { Ok(()) } else { Err(hosts[0].to_string()) }
    })
    .await;
    let back = town.wait_for(&id, "running").await;
    assert_eq!(instant(&back["started_at"]), started, "it is still the same run");
    let after = town.charges(&id).await.len();
    until("billing goes on", async || {
        let now = town.charges(&id).await.len();
        if now > after + 2 { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    let end = engine::end_watch(&town.stand, &id);
    ann.caller.post(&format!("/teams/lab/instances/{id}/release"), nothing()).await;
    let released = town.wait_for(&id, "released").await;
    assert_eq!(instant(&released["ended_at"]), end.join().expect("the end was seen"));
    town.assert_billed_exactly(&id).await;
    town.assert_books_clean().await;
}
