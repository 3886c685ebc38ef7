//! Many at once against one wallet and one pool: money for so many is money for exactly so many, and nobody waits for
//! ever.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use muster::{
    op::{Actor, SystemActor},
    time::Span,
};
use serde_json::{Value, json};

use crate::site::{Answer, Site};

/// Requests at once.
const CROWD: usize = 24;
/// Starts of one instance.
const ROUNDS: u32 = 60;
/// Longer than anything takes that is not stuck.
const STUCK: Duration = Duration::from_secs(120);

/// Asks again while the database has no turn to give, or a twin is being answered: that is no answer yet.
async fn answered(ask: impl AsyncFn() -> Answer) -> Answer {
    loop {
        let answer = ask().await;
        if answer.status != 503 && answer.body["code"] != "idempotency-race" {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same for many at once, each with its number; fails when they hang.
async fn crowd(ask: impl AsyncFn(usize) -> Answer) -> Vec<Answer> {
    let all = join_all((0..CROWD).map(|n| {
        let ask = &ask;
        answered(async move || ask(n).await)
    }));
    tokio::time::timeout(STUCK, all).await.expect("nobody waits for ever")
}

fn made(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 201).count()
}

async fn plant_offer(site: &Site) -> muster::ids::HostId {
    let host = json!({ "name": "one", "endpoint": "simulated:", "region": "here" });
    let host = site.post(&site.operator, "/hosts", host).await.want(201);
    let product = json!({ "name": "cpu", "region": "here", "instance_type": "cpu", "accelerator": "none",
        "gpus_per_unit": 0, "cpu_millis": 100, "memory_bytes": 64 << 20, "price_per_hour": "6", "published": true });
    site.post(&site.operator, "/products", product).await.want(201);
    let image = json!({ "name": "base", "reference": "base:1", "published": true });
    site.post(&site.operator, "/images", image).await.want(201);
    host["id"].as_str().unwrap().parse().unwrap()
}

fn transfer(site: &Site, amount: &str) -> Value {
    json!({ "member": site.member, "amount": amount })
}

fn order(n: usize) -> Value {
    json!({ "name": format!("n{n}"), "product": "cpu", "image": "base", "mount_team_drive": false })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_with_money_for_seven_launches_pays_for_seven() {
    for site in Site::both().await {
        plant_offer(&site).await;
        site.grant("100").await;
        // Each launch holds an hour at 6 credits.
        site.post(&site.owner, "credits/assign", transfer(&site, "42.5")).await.want(201);
        let answers = crowd(async |n| site.post(&site.worker, "instances", order(n)).await).await;
        assert_eq!(made(&answers), 7, "{answers:#?}");
        for refused in answers.iter().filter(|answer| answer.status != 201) {
            assert!(refused.status == 403 || refused.status == 409, "{refused:?}");
        }
        assert_eq!(site.available().await, ["57.5", "0.5"]);
        site.assert_sound().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_with_money_for_nine_assignments_gives_nine() {
    for site in Site::both().await {
        site.grant("9.9").await;
        let answers =
            crowd(async |_| site.post(&site.owner, "credits/assign", transfer(&site, "1")).await).await;
        assert_eq!(made(&answers), 9, "{answers:#?}");
        let refused = answers.into_iter().filter(|answer| answer.status != 201);
        refused.for_each(|answer| drop(answer.fails(409, "not-enough-credits")));
        assert_eq!(site.available().await, ["0.9", "9"]);
        let back =
            crowd(async |_| site.post(&site.owner, "credits/reclaim", transfer(&site, "2")).await).await;
        assert_eq!(made(&back), 4, "{back:#?}");
        assert_eq!(site.available().await, ["8.9", "1"]);
        site.assert_sound().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_of_one_request_act_once_and_hear_the_same() {
    for site in Site::both().await {
        let amount = json!({ "amount": "5" });
        let ask = async |_| site.post_once(&site.operator, "gift", "credits/grant", amount.clone()).await;
        let answers = crowd(ask).await;
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1, "{answers:#?}");
        assert!(answers.iter().all(|answer| answer.status == 201 && answer.body == answers[0].body));
        assert_eq!(site.available().await, ["5", "0"]);
        site.assert_sound().await;
    }
}

/// Everything at once: credits come and go, instances are launched and released, hosts are looked at, and four meters
/// charge the same intervals.
#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once_loses_nothing_and_charges_once() {
    for site in Site::both().await {
        let host = plant_offer(&site).await;
        site.grant("1000").await;
        site.post(&site.owner, "credits/assign", transfer(&site, "60")).await.want(201);
        for n in 0..5 {
            site.post(&site.worker, "instances", order(n)).await.want(201);
        }
        for round in 0..3 {
            look(&site, host).await;
            site.clock.advance(Span::from_seconds(60));
            look(&site, host).await;
            let meters = join_all((0..4).map(|_| meter(&site)));
            let (site_, round_) = (&site, round);
            let people = crowd(async move |n| match n % 4 {
                0 => site_.post(&site_.operator, "credits/grant", json!({ "amount": "1" })).await,
                1 => site_.post(&site_.owner, "credits/assign", transfer(site_, "2")).await,
                2 => site_.post(&site_.owner, "credits/reclaim", transfer(site_, "1")).await,
                _ => site_.post(&site_.worker, "instances", order(n + 100 * (round_ + 1))).await,
            });
            let all = futures_util::future::join3(meters, people, look(&site, host));
            let (_, answers, ()) = tokio::time::timeout(STUCK, all).await.expect("nobody waits for ever");
            let fine = |answer: &Answer| [201, 403, 409].contains(&answer.status);
            assert!(answers.iter().all(fine), "{answers:#?}");
            site.assert_sound().await;
        }
        // The five of the beginning ran for three minutes at 10 cents a minute; others began on the way.
        let bill = site.get(&site.worker, "bills?limit=200").await.want(200);
        let charges = bill["items"].as_array().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for charge in charges {
            let piece = (charge["instance"].to_string(), charge["k"].to_string());
            assert!(seen.insert(piece), "charged twice: {charge}");
            assert_eq!(charge["amount"], "0.1", "{charge}");
        }
        assert!(charges.len() >= 15, "{bill:#}");
        let granted = 1000 + 3 * 6;
        let balance = site.get(&site.owner, "balance?view=admin").await.want(200);
        let micros = |amount: &Value| -> i64 {
            amount.as_str().unwrap().parse::<muster::money::Credits>().unwrap().as_micros()
        };
        let members = balance["members"]["items"].as_array().unwrap();
        let wallets: i64 = members.iter().map(|member| micros(&member["wallet"]["posted"])).sum();
        let pool = micros(&balance["team"]["pool"]["posted"]);
        assert_eq!(pool + wallets + micros(&bill["total"]), granted * 1_000_000, "{balance:#}");
    }
}

async fn meter(site: &Site) {
    let app = Arc::clone(&site.app);
    let op = app.op(Actor::System(SystemActor::Meter));
    tokio::spawn(async move { app.meter(&op).await }).await.unwrap().unwrap();
}

async fn look(site: &Site, host: muster::ids::HostId) {
    for _ in 0..3 {
        let op = site.app.op(Actor::System(SystemActor::Reconciler));
        site.app.reconcile(&op, host).await.unwrap();
    }
}

/// Starts over and over while the host is looked at without a pause: what was set aside for a run stays until it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_what_was_stopped_never_takes_the_money_of_its_next_run() {
    for site in Site::both().await {
        let host = plant_offer(&site).await;
        let site = Arc::new(site);
        site.grant("1000").await;
        site.post(&site.owner, "credits/assign", transfer(&site, "500")).await.want(201);
        let made = site.post(&site.worker, "instances", order(0)).await.want(201);
        let path = format!("instances/{}", made["id"].as_str().unwrap());
        let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let looks = tokio::spawn({
            let (site, over) = (site.clone(), over.clone());
            async move {
                while !over.load(std::sync::atomic::Ordering::SeqCst) {
                    let op = site.app.op(Actor::System(SystemActor::Reconciler));
                    site.app.reconcile(&op, host).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        let until = async |state: &str| loop {
            let seen = site.get(&site.worker, &path).await.want(200);
            if seen["state"] == state {
                return;
            }
        };
        let held =
            async || site.get(&site.worker, "balance").await.want(200)["own"]["wallet"]["held"].clone();
        until("running").await;
        for round in 0..ROUNDS {
            answered(async || site.post(&site.worker, &format!("{path}/stop"), json!({})).await)
                .await
                .want(202);
            until("stopped").await;
            // At every moment of the looks that follow a stop.
            tokio::time::sleep(Duration::from_micros(u64::from(round) * 700 % 9_000)).await;
            answered(async || site.post(&site.worker, &format!("{path}/start"), json!({})).await)
                .await
                .want(202);
            until("running").await;
            assert_ne!(held().await, "0", "round {round}: it runs and nothing is set aside");
        }
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        looks.await.unwrap();
        site.assert_sound().await;
    }
}
