//! Many launches at once: quota and money are given out once.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    server::{Pace, Store},
    support::Plan,
    town::{Road, Town, micros, order, until},
};

#[tokio::test]
async fn twenty_launches_at_once_get_five_gpus_and_no_more_on_sqlite() {
    rush(Store::Sqlite).await;
}

#[tokio::test]
async fn twenty_launches_at_once_get_five_gpus_and_no_more_on_postgres() {
    rush(Store::Postgres).await;
}

/// Micro-credits that a launch of the small product sets aside for a runway of a minute.
const HOLD: i64 = 120_000;

async fn rush(store: Store) {
    let plan = Plan { gpus: Some(8), live_restore: true };
    let town = Town::found(store, Road::Unix, Pace::default(), plan).await;
    // Credits for seven holds, GPUs for five: the quota binds.
    let ann = town.member("ann", "0.84").await;
    town.owner.put(&format!("/teams/lab/members/{}/quota", ann.id), json!({"gpus": 5})).await;
    let launches = (0..20).map(|n| {
        let caller = ann.caller.clone();
        async move {
            let new = order(&format!("n{n}"));
            caller.ask(reqwest::Method::POST, "/teams/lab/instances", Some(&new)).await
        }
    });
    let answers = join_all(launches).await;
    let made: Vec<&Value> = answers.iter().filter(|a| a.status == 201).map(|a| &a.body).collect();
    let refused: Vec<_> = answers.iter().filter(|a| a.status != 201).collect();
    assert_eq!((made.len(), refused.len()), (5, 15), "{answers:#?}");
    assert!(refused.iter().all(|answer| answer.status == 403 || answer.status == 409), "{refused:#?}");

    until("five of them run", async || {
        let seen = town.instances_of(&ann.caller).await;
        let running = seen.iter().filter(|one| one["state"] == "running").count();
        if (running, seen.len()) == (5, 5) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert_eq!(town.containers().len(), 5);
    assert_eq!(usage(&town, &ann.id).await, (5, 5));
    let money = town.assert_money_adds_up().await;
    assert!(money.held >= 5 * HOLD - 5 * HOLD / 10 && money.held + money.spent <= 840_000, "{money:?}");
    let held: Vec<Value> = town
        .operator
        .list("/accelerators")
        .await
        .into_iter()
        .filter(|gpu| !gpu["instance"].is_null())
        .collect();
    assert_eq!(held.len(), 5, "{held:?}");

    for one in &made {
        ann.release(one["id"].as_str().unwrap()).await;
    }
    for one in &made {
        let id = one["id"].as_str().unwrap();
        town.wait_for(id, "released").await;
        town.assert_billed_exactly(id).await;
    }
    assert_eq!(usage(&town, &ann.id).await, (0, 0));
    assert!(town.containers().is_empty());
    let own = ann.caller.get("/teams/lab/balance").await;
    let wallet = &own["own"]["wallet"];
    let money = town.assert_money_adds_up().await;
    assert_eq!((micros(&wallet["posted"]), money.held), (840_000 - money.spent, 0), "{own}");
    town.assert_books_clean().await;
    assert_eq!(town.server.faults(), Vec::<String>::new());
}

/// Instances and GPUs that count against the member.
async fn usage(town: &Town, member: &str) -> (u64, u64) {
    let told = town.owner.get(&format!("/teams/lab/members/{member}/permissions")).await;
    let of = |name: &str| told["usage"][name].as_u64().unwrap_or_else(|| panic!("{told}"));
    (of("instances"), of("gpus"))
}
