//! Snapshots with the whole product: taken, launched from, and asked for by a server that is killed over it.

use std::time::{Duration, Instant};

use muster::chance::{Chance, Seeded, SystemChance};
use serde_json::{Value, json};

use crate::{
    server::{Caller, Pace, Store, nothing},
    support::Plan,
    town::{Member, Road, Town, instant, order, pause, text, until},
};

#[tokio::test]
async fn a_server_killed_over_a_snapshot_neither_loses_nor_doubles_one_on_sqlite() {
    killed_over_it(Store::Sqlite).await;
}

#[tokio::test]
async fn a_server_killed_over_a_snapshot_neither_loses_nor_doubles_one_on_postgres() {
    killed_over_it(Store::Postgres).await;
}

/// The names of the images on the host that carry the label of a snapshot.
fn images(town: &Town) -> Vec<String> {
    let host = &town.stand.hosts[0];
    let words = ["images", "--filter", "label=muster.snapshot", "--format", "{{.Repository}}:{{.Tag}}"];
    let listed = host.docker(&words);
    listed.lines().map(str::to_owned).collect()
}

async fn snapshot(member: &Member, id: &str) -> Value {
    member.caller.get(&format!("/teams/lab/snapshots/{id}")).await
}

async fn wait_for(member: &Member, id: &str, state: &str) -> Value {
    until(&format!("the snapshot is {state}"), async || {
        let seen = snapshot(member, id).await;
        if seen["state"] == state { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await
}

async fn take(member: &Member, instance: &str, name: &str) -> String {
    let path = format!("/teams/lab/instances/{instance}/snapshots");
    text(&member.caller.post(&path, json!({ "name": name })).await["id"])
}

async fn delete(caller: &Caller, path: &str) {
    let answer = caller.ask(reqwest::Method::DELETE, path, None).await;
    assert_eq!(answer.status.as_u16(), 202, "{}", answer.body);
}

fn inside(town: &Town, instance: &str, command: &str) -> String {
    let label = format!("label=muster.instance={instance}");
    let host = &town.stand.hosts[0];
    let container = host.docker(&["ps", "-q", "--filter", &label]).trim().to_owned();
    host.docker(&["exec", &container, "sh", "-c", command])
}

async fn killed_over_it(store: Store) {
    let mut town = Town::found(store, Road::Unix, Pace::default(), Plan::default()).await;
    let ann = town.member("ann", "10").await;
    let id = ann.launch("busy").await;
    town.wait_for(&id, "running").await;
    // Enough that a copy takes its time.
    inside(&town, &id, "head -c 80000000 /dev/urandom > /kept && sync");
    let chance = Seeded::new(fresh_seed());
    let mut wanted = Vec::new();
    for n in 0..6 {
        wanted.push(take(&ann, &id, &format!("copy {n}")).await);
        pause(chance.below(2_500)).await;
        town.server.kill9();
        pause(chance.below(800)).await;
        town.server.start_again();
        let last = wanted.last().unwrap().clone();
        wait_for(&ann, &last, "ready").await;
        let seen = town.wait_for(&id, "running").await;
        assert_eq!(seen["desired"], "running");
        assert_eq!(inside(&town, &id, "wc -c < /kept").trim(), "80000000", "it goes on");
    }
    // One image for each, by its name, and no other.
    let mut names: Vec<String> = wanted.iter().map(|id| format!("muster-snapshot:{id}")).collect();
    names.sort();
    until("there is one image for each snapshot", async || {
        let mut found = images(&town);
        found.sort();
        if found == names { Ok(()) } else { Err(format!("{found:?} is not {names:?}")) }
    })
    .await;

    // Killed over their end, too.
    for (n, id) in wanted.iter().enumerate() {
        let path = format!("/teams/lab/snapshots/{id}");
        delete(&ann.caller, &path).await;
        if n == 2 {
            town.server.kill9();
            // The client has to notice that its connection is dead.
            pause(300).await;
            town.server.start_again();
        }
    }
    until("no image is left", async || {
        let found = images(&town);
        if found.is_empty() { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    let usage = town.owner.get(&format!("/teams/lab/members/{}/quota", ann.id)).await["usage"].clone();
    assert_eq!(usage["snapshots"], 0, "{usage}");
    ann.release(&id).await;
    town.wait_for(&id, "released").await;
    assert!(town.containers().is_empty());
    town.assert_books_clean().await;
}

#[tokio::test]
async fn what_was_on_the_disk_is_there_in_an_instance_launched_from_its_snapshot() {
    let town = Town::found(Store::Sqlite, Road::Tcp, Pace::default(), Plan::default()).await;
    let (ann, ben) = (town.member("ann", "10").await, town.member("ben", "10").await);
    let id = ann.launch("first").await;
    town.wait_for(&id, "running").await;
    inside(&town, &id, "echo worth keeping > /kept; head -c 3000000 /dev/urandom > /more; sync");
    let taken = take(&ann, &id, "mine").await;
    // Released while it is taken: that waits for it.
    ann.release(&id).await;
    let ready = wait_for(&ann, &taken, "ready").await;
    assert!(
        ready["size_bytes"].as_u64().is_some_and(|bytes| (3_000_000..5_000_000).contains(&bytes)),
        "{ready}"
    );
    town.wait_for(&id, "released").await;

    ann.caller.post(&format!("/teams/lab/snapshots/{taken}/share"), nothing()).await;
    let mut new = order("second");
    new["image"] = Value::Null;
    new["snapshot"] = json!(taken);
    let child = text(&ben.caller.post("/teams/lab/instances", new).await["id"]);
    let running = town.wait_for(&child, "running").await;
    assert_eq!((&running["snapshot"], &running["gpus"]), (&json!(taken), &json!(1)));
    assert_eq!(inside(&town, &child, "cat /kept").trim(), "worth keeping");
    let access = ben.caller.get(&format!("/teams/lab/instances/{child}/access")).await;
    let token = inside(&town, &child, "cat /run/muster/jupyter_token");
    assert_eq!(access["jupyter_token"], token.trim(), "its own token, not that of the first");

    // Somebody removes an image from the host: that is seen, and told.
    let other = take(&ben, &child, "other").await;
    wait_for(&ben, &other, "ready").await;
    town.stand.hosts[0].docker(&["rmi", "-f", &format!("muster-snapshot:{other}")]);
    let lost = wait_for(&ben, &other, "failed").await;
    assert_eq!(lost["reason"], "it was removed from its host by somebody else", "{lost}");
    delete(&ben.caller, &format!("/teams/lab/snapshots/{other}")).await;

    // Gone for good for new launches; what runs from it goes on and can be stopped and started.
    delete(&town.owner, &format!("/teams/lab/snapshots/{taken}")).await;
    until("it is gone", async || {
        let listed = ben.caller.list("/teams/lab/snapshots").await;
        if listed.is_empty() { Ok(()) } else { Err(format!("{listed:?}")) }
    })
    .await;
    for (verb, state) in [("stop", "stopped"), ("start", "running")] {
        ben.caller.post(&format!("/teams/lab/instances/{child}/{verb}"), nothing()).await;
        town.wait_for(&child, state).await;
    }
    assert_eq!(inside(&town, &child, "cat /kept").trim(), "worth keeping");
    ben.release(&child).await;
    town.wait_for(&child, "released").await;
    until("the data is gone with the last that needed it", async || {
        let found = images(&town);
        if found.is_empty() { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    town.assert_books_clean().await;
    assert_eq!(town.server.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn what_runs_out_of_credits_is_paused_with_its_memory_and_goes_on_with_it() {
    let pace = Pace { runway: 20, stop_latency: 6 };
    let town = Town::found(Store::Sqlite, Road::Unix, pace, Plan::default()).await;
    let terms = town.owner.get("/teams/lab/terms").await;
    let pausing = json!({ "spending": terms["spending"], "exhaustion": "pause" });
    town.owner.put("/teams/lab/terms", pausing).await;
    let ann = town.member("ann", "0.05").await;
    let id = ann.launch("dry").await;
    town.wait_for(&id, "running").await;
    let host = &town.stand.hosts[0];
    let container = town.containers().remove(0);
    let beat = "i=0; while true; do sleep 0.2; i=$((i+1)); echo $i > /beats; done";
    host.docker(&["exec", "-d", &container, "sh", "-c", beat]);
    let paused = town.wait_for(&id, "paused").await;
    assert_eq!((&paused["reason"], &paused["desired"]), (&json!("credit"), &json!("running")), "{paused}");
    let state = || host.docker(&["inspect", "--format", "{{.State.Status}}", &container]).trim().to_owned();
    assert_eq!(state(), "paused");
    let gpus = town.operator.list("/accelerators").await;
    assert_eq!(gpus.iter().filter(|gpu| gpu["instance"] == json!(id)).count(), 1, "it keeps its accelerator");
    until("the rest comes back", async || {
        let money = town.assert_money_adds_up().await;
        if money.held == 0 { Ok(()) } else { Err(format!("{money:?}")) }
    })
    .await;
    let cost = town.instance(&id).await["cost"].clone();
    pause(3_000).await;
    assert_eq!(town.instance(&id).await["cost"], cost, "paused time costs nothing");

    town.owner.post("/teams/lab/credits/assign", json!({ "member": ann.id, "amount": "1" })).await;
    ann.caller.post(&format!("/teams/lab/instances/{id}/start"), nothing()).await;
    let again = town.wait_for(&id, "running").await;
    assert_eq!(instant(&again["started_at"]), instant(&paused["started_at"]), "the same processes");
    assert_eq!(state(), "running");
    let beats = || inside(&town, &id, "cat /beats").trim().parse::<u32>().unwrap_or(0);
    let before = beats();
    let patience = Instant::now() + Duration::from_secs(20);
    while beats() <= before {
        assert!(Instant::now() < patience, "its memory is lost");
        pause(200).await;
    }
    ann.release(&id).await;
    town.wait_for(&id, "released").await;
    assert!(town.containers().is_empty());
    town.assert_books_clean().await;
}

fn fresh_seed() -> u64 {
    let mut fresh = [0; 8];
    SystemChance.fill(&mut fresh);
    let seed = u64::from_le_bytes(fresh);
    eprintln!("the moments of this run come from {seed}");
    seed
}
