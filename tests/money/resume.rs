//! Instances that were stopped and are started again, on a simulated host: what each run costs, and what stands in the
//! way of a start.

use muster::{
    app::secrets::Token,
    ids::HostId,
    money::{Credits, NanoCredits, prorate},
    op::{Actor, SystemActor},
    time::{HOUR, Span, Timestamp},
};
use serde_json::{Value, json};

use crate::site::Site;

/// A host with four accelerators, products with none, one and four of them for 6 credits an hour, and an image.
pub(crate) async fn plant(site: &Site) -> HostId {
    let host = json!({ "name": "one", "endpoint": "simulated:", "region": "here" });
    let host = site.post(&site.operator, "/hosts", host).await.want(201);
    for (name, gpus, accelerator) in
        [("cpu", 0, "none"), ("gpu", 1, "Simulated accelerator"), ("box", 4, "Simulated accelerator")]
    {
        let product = json!({ "name": name, "region": "here", "instance_type": "any", "accelerator": accelerator,
            "gpus_per_unit": gpus, "cpu_millis": 1000, "memory_bytes": 1 << 30, "price_per_hour": "6",
            "published": true });
        site.post(&site.operator, "/products", product).await.want(201);
    }
    let image = json!({ "name": "base", "reference": "base:1", "published": true });
    site.post(&site.operator, "/images", image).await.want(201);
    host["id"].as_str().unwrap().parse().unwrap()
}

/// Gives the member `amount`.
pub(crate) async fn assign(site: &Site, amount: &str) {
    let body = json!({ "member": site.member, "amount": amount });
    site.post(&site.owner, "credits/assign", body).await.want(201);
}

/// Launches `product`, with the member's own drive or without any.
pub(crate) async fn launch(site: &Site, who: &Token, product: &str, drive: bool) -> String {
    let body = json!({ "name": "box", "product": product, "image": "base", "mount_team_drive": false,
        "mount_personal_drive": drive });
    let made = site.post(who, "instances", body).await.want(201);
    made["id"].as_str().unwrap().to_owned()
}

/// Looks after the host until nothing is under way, then runs the meter.
pub(crate) async fn settle(site: &Site, host: HostId) {
    for _ in 0..6 {
        site.app.reconcile(&site.app.op(Actor::System(SystemActor::Reconciler)), host).await.unwrap();
    }
    site.app.meter(&site.app.op(Actor::System(SystemActor::Meter))).await.unwrap();
}

/// Lets `steps` times `seconds` pass, with a look at the host and the meter after each.
pub(crate) async fn pass(site: &Site, host: HostId, steps: u32, seconds: i64) {
    for _ in 0..steps {
        site.clock.advance(Span::from_seconds(seconds));
        site.app.reconcile(&site.app.op(Actor::System(SystemActor::Reconciler)), host).await.unwrap();
        site.app.meter(&site.app.op(Actor::System(SystemActor::Meter))).await.unwrap();
    }
    settle(site, host).await;
}

async fn verb(site: &Site, who: &Token, id: &str, verb: &str) -> crate::site::Answer {
    site.post(who, &format!("instances/{id}/{verb}"), json!({})).await
}

pub(crate) async fn stop(site: &Site, host: HostId, id: &str) -> Value {
    verb(site, &site.worker, id, "stop").await.want(202);
    settle(site, host).await;
    let stopped = site.get(&site.worker, &format!("instances/{id}")).await.want(200);
    assert_eq!(stopped["state"], "stopped", "{stopped:#}");
    stopped
}

pub(crate) async fn start(site: &Site, host: HostId, id: &str) -> Value {
    verb(site, &site.worker, id, "start").await.want(202);
    settle(site, host).await;
    let started = site.get(&site.worker, &format!("instances/{id}")).await.want(200);
    assert_eq!(started["state"], "running", "{started:#}");
    started
}

/// What the last run of an instance costs at 6 credits an hour, to the micro-credit.
fn cost_of(run: &Value) -> i64 {
    let at = |field: &str| run[field].as_str().unwrap().parse::<Timestamp>().unwrap();
    let rate = NanoCredits::from_nanos(6_000_000_000);
    let length = (at("ended_at") - at("started_at")).as_micros();
    assert!(length > 0, "{run:#}");
    prorate(rate, length, HOUR).unwrap().round().as_micros()
}

fn micros(text: &Value) -> i64 {
    text.as_str().unwrap().parse::<Credits>().unwrap().as_micros()
}

#[tokio::test]
async fn what_ran_out_of_credits_is_started_again_after_a_top_up_and_each_run_is_billed_exactly() {
    for site in Site::both().await {
        let host = plant(&site).await;
        site.grant("100").await;
        assign(&site, "6").await;
        let id = launch(&site, &site.worker, "gpu", false).await;
        settle(&site, host).await;
        // An odd beginning, so that the run is no whole number of intervals.
        pass(&site, host, 1, 13).await;
        pass(&site, host, 58, 59).await;
        pass(&site, host, 18, 10).await;
        let stopped = site.get(&site.worker, &format!("instances/{id}")).await.want(200);
        assert_eq!(
            (&stopped["state"], &stopped["reason"]),
            (&json!("stopped"), &json!("credit")),
            "{stopped:#}"
        );
        let first = cost_of(&stopped);
        assert_eq!(micros(&stopped["cost"]), first);
        assert!(first < 6_000_000, "stopped while it was paid");

        let told = verb(&site, &site.worker, &id, "start").await.want(403);
        assert_eq!(told["denials"][0]["policy"], "plat/funds", "{told:#}");
        assign(&site, "20").await;
        let answer = verb(&site, &site.worker, &id, "start").await.want(202);
        assert_eq!((&answer["state"], &answer["desired"]), (&json!("scheduled"), &json!("running")));
        assert_eq!(
            (&answer["reason"], &answer["ended_at"], &answer["exit_code"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        let held = site.get(&site.worker, "balance").await.want(200)["own"]["wallet"]["held"].clone();
        assert_eq!(held, "6", "a full runway");
        site.assert_sound().await;
        verb(&site, &site.worker, &id, "start").await.fails(409, "illegal-state");

        settle(&site, host).await;
        pass(&site, host, 7, 41).await;
        let again = stop(&site, host, &id).await;
        assert_eq!(again["reason"], "user");
        let second = cost_of(&again);
        assert_eq!(micros(&again["cost"]), first + second);
        let billing = site.get(&site.worker, &format!("instances/{id}/billing")).await.want(200);
        assert_eq!(billing["hold_remaining"], "0");
        assert_eq!(micros(&json!(site.available().await[1])), 26_000_000 - first - second);

        let charges = site.get(&site.worker, "bills?limit=200").await.want(200);
        let segments: std::collections::BTreeSet<&str> =
            charges["items"].as_array().unwrap().iter().map(|one| one["segment"].as_str().unwrap()).collect();
        assert_eq!(segments.len(), 2, "a run is a segment");
        verb(&site, &site.worker, &id, "release").await.want(202);
        settle(&site, host).await;
        let over = site.get(&site.worker, &format!("instances/{id}")).await.want(200);
        assert_eq!((&over["state"], &over["cost"]), (&json!("released"), &again["cost"]));
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_start_takes_the_same_accelerators_or_is_refused_and_they_count_again() {
    for site in Site::both().await {
        let host = plant(&site).await;
        site.grant("100").await;
        assign(&site, "50").await;
        let admin = site.get(&site.admin, "/me").await.want(200)["membership"]["member"].clone();
        let id = launch(&site, &site.worker, "box", false).await;
        settle(&site, host).await;
        pass(&site, host, 1, 60).await;
        let hardware = format!("instances/{id}/hardware");
        let had = site.get(&site.worker, &hardware).await.want(200)["accelerators"].clone();
        assert_eq!(had.as_array().unwrap().len(), 4);
        let gpus = async || {
            let member = site.get(&site.owner, &format!("members/{}", site.member)).await.want(200);
            (member["usage"]["instances"].clone(), member["usage"]["gpus"].clone())
        };
        assert_eq!(gpus().await, (json!(1), json!(4)));
        stop(&site, host, &id).await;
        assert_eq!(gpus().await, (json!(1), json!(0)), "stopped, it holds none");

        let body = json!({ "member": admin, "amount": "20" });
        site.post(&site.owner, "credits/assign", body).await.want(201);
        let other = launch(&site, &site.admin, "gpu", false).await;
        let told = verb(&site, &site.worker, &id, "start").await.fails(409, "no-capacity");
        assert!(told.contains("its accelerators are in use"), "{told}");
        assert_eq!(gpus().await, (json!(1), json!(0)), "a refused start changes nothing");
        let held = site.get(&site.worker, "balance").await.want(200)["own"]["wallet"]["held"].clone();
        assert_eq!(held, "0");
        settle(&site, host).await;
        verb(&site, &site.admin, &other, "release").await.want(202);
        settle(&site, host).await;

        let told = verb(&site, &site.admin, &id, "start").await.want(403);
        assert_eq!(told["denials"][0]["policy"], "plat/own-name", "nobody spends as somebody else: {told:#}");
        start(&site, host, &id).await;
        assert_eq!(site.get(&site.worker, &hardware).await.want(200)["accelerators"], had);
        assert_eq!(gpus().await, (json!(1), json!(4)));
        site.post(&site.operator, &format!("/hosts/{host}/cordon"), json!({})).await.want(200);
        stop(&site, host, &id).await;
        let told = verb(&site, &site.worker, &id, "start").await.fails(409, "no-capacity");
        assert!(told.contains("cordoned"), "{told}");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn what_was_stopped_before_it_ran_costs_nothing_and_is_started_like_a_launch() {
    for site in Site::both().await {
        let host = plant(&site).await;
        site.grant("100").await;
        assign(&site, "10").await;
        let id = launch(&site, &site.worker, "gpu", false).await;
        let stopped = stop(&site, host, &id).await;
        assert_eq!((&stopped["started_at"], &stopped["cost"]), (&Value::Null, &json!("0")));
        assert_eq!(site.available().await[1], "10");
        let running = start(&site, host, &id).await;
        assert_eq!(running["reason"], Value::Null);
        pass(&site, host, 2, 45).await;
        let ended = stop(&site, host, &id).await;
        assert_eq!(micros(&ended["cost"]), cost_of(&ended));
        site.assert_sound().await;
    }
}
