//! What happens when the money, or a budget, is used up: warned in time, stopped while still paid, never below zero.

use muster::op::{Actor, SystemActor};
use serde_json::{Value, json};

use crate::{
    snapshots::copied,
    stage::{Stage, credits, launch},
};

fn percents(told: &[Value]) -> Vec<i64> {
    told.iter().map(|document| document["percent_of_runway_left"].as_i64().unwrap()).collect()
}

async fn assert_nothing_below_zero(stage: &Stage) {
    let balance = stage.site.get(&stage.site.owner, "balance?view=admin").await.want(200);
    let wallets = balance["members"]["items"].as_array().unwrap().iter().map(|row| &row["wallet"]);
    for funds in wallets.chain([&balance["team"]["pool"]]) {
        for part in ["posted", "held", "available"] {
            assert!(credits(&funds[part]).as_micros() >= 0, "{part} of {balance:#}");
        }
    }
}

async fn state(stage: &Stage, instance: &str) -> (String, String) {
    let seen = stage.site.get(&stage.site.owner, instance).await.want(200);
    let text = |field: &str| seen[field].as_str().unwrap().to_owned();
    (text("state"), text("reason_detail"))
}

#[tokio::test]
async fn without_credits_an_instance_is_warned_thrice_and_stopped_in_time() {
    for stage in Stage::both("10", "1.3").await {
        let box_one = stage.launch(&stage.site.worker, "box").await;
        for _ in 0..16 {
            stage.run(1).await;
            assert_nothing_below_zero(&stage).await;
        }
        let (state, detail) = state(&stage, &box_one).await;
        assert_eq!(state, "stopped");
        assert!(detail.contains("add credits"), "{detail}");
        assert_eq!(percents(&stage.messages("instance.draining").await), [100, 50, 20]);
        assert_eq!(stage.messages("instance.out_of_credits").await.len(), 1);
        let terms = stage.site.get(&stage.site.owner, "terms").await.want(200);
        assert_eq!(terms["owed"], "0", "stopped while still paid");
        stage.site.assert_sound().await;
    }
}

#[tokio::test]
async fn with_credit_an_instance_goes_on_to_the_limit_and_drains_then() {
    for stage in Stage::both("10", "1.3").await {
        let site = &stage.site;
        let limit = async |limit: &str| {
            site.change(&site.operator, "PUT", "credit-limit", None, json!({ "credit_limit": limit })).await
        };
        limit("0.7").await.want(200);
        stage.terms(json!({ "spending": "wallet", "exhaustion": "continue", "runway_minutes": 10 })).await;
        let box_one = stage.launch(&site.worker, "box").await;
        // 1.3 credits and 0.7 lent pay 20 minutes.
        for _ in 0..14 {
            stage.run(1).await;
            assert_nothing_below_zero(&stage).await;
        }
        let terms = site.get(&site.owner, "terms").await.want(200);
        assert_eq!(terms["owed"], "0.7");
        assert_eq!(state(&stage, &box_one).await.0, "running");
        let told = limit("0.5").await.want(422);
        assert!(told["errors"][0]["detail"].as_str().unwrap().contains("at least 0.7"), "{told:#}");
        for _ in 0..9 {
            stage.run(1).await;
            assert_nothing_below_zero(&stage).await;
        }
        assert_eq!(state(&stage, &box_one).await.0, "stopped");
        assert_eq!(percents(&stage.messages("instance.draining").await), [100, 50, 20]);
        assert_eq!(stage.messages("instance.out_of_credits").await.len(), 1);
        let terms = site.get(&site.owner, "terms").await.want(200);
        assert_eq!(terms["owed"], "0.7", "the limit is never passed");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn credits_that_come_in_time_end_a_drain() {
    for stage in Stage::both("10", "1.3").await {
        let box_one = stage.launch(&stage.site.worker, "box").await;
        stage.run(9).await;
        assert_eq!(percents(&stage.messages("instance.draining").await), [100, 50]);
        stage.assign("5").await;
        stage.run(12).await;
        assert_eq!(state(&stage, &box_one).await.0, "running");
        assert_eq!(stage.messages("instance.out_of_credits").await, [Value::Null; 0]);
        stage.site.assert_sound().await;
    }
}

fn team_budget(reaction: &str, ceiling: &str) -> Value {
    json!({ "name": "lab", "scope": "team", "period": "monthly", "ceiling": ceiling, "reaction": reaction })
}

#[tokio::test]
async fn a_budget_that_drains_stops_what_runs() {
    for stage in Stage::both("100", "50").await {
        let site = &stage.site;
        site.post(&site.owner, "budgets", team_budget("drain", "1.3")).await.want(201);
        let box_one = stage.launch(&site.worker, "box").await;
        stage.run(5).await;
        assert_eq!(state(&stage, &box_one).await.0, "running");
        let refused = site.post(&site.worker, "instances", launch("two")).await.want(403);
        assert_eq!(refused["denials"][0]["policy"], "plat/budget");
        stage.run(11).await;
        let (state, detail) = state(&stage, &box_one).await;
        assert_eq!(state, "stopped");
        assert!(detail.contains("the budget lab is used up"), "{detail}");
        assert_eq!(percents(&stage.messages("instance.draining").await), [100, 50, 20]);
        let budgets = site.get(&site.owner, "budgets?view=admin").await.want(200);
        let present = &budgets["items"][0]["present"];
        assert!(credits(&present["spent"]) <= credits(&json!("1.3")), "{present:#}");
        assert_eq!(present["reserved"], "0");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn what_a_budget_refuses_is_not_lent() {
    for stage in Stage::both("10", "1.2").await {
        let site = &stage.site;
        let limit = json!({ "credit_limit": "5" });
        site.change(&site.operator, "PUT", "credit-limit", None, limit).await.want(200);
        stage.terms(json!({ "spending": "wallet", "exhaustion": "continue", "runway_minutes": 10 })).await;
        site.post(&site.owner, "budgets", team_budget("drain", "1.5")).await.want(201);
        let box_one = stage.launch(&site.worker, "box").await;
        stage.run(18).await;
        assert_eq!(state(&stage, &box_one).await.0, "stopped");
        assert_eq!(site.get(&site.owner, "terms").await.want(200)["owed"], "0.3");
        assert_nothing_below_zero(&stage).await;
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_raised_budget_ends_a_drain() {
    for stage in Stage::both("100", "50").await {
        let site = &stage.site;
        let made = site.post(&site.owner, "budgets", team_budget("drain", "1.3")).await.want(201);
        let box_one = stage.launch(&site.worker, "box").await;
        stage.run(9).await;
        assert_eq!(percents(&stage.messages("instance.draining").await), [100, 50]);
        let path = format!("budgets/{}", made["id"].as_str().unwrap());
        let raised = json!({ "ceiling": "9" });
        site.change(&site.owner, "PATCH", &path, Some(&made["version"]), raised).await.want(200);
        stage.run(12).await;
        assert_eq!(state(&stage, &box_one).await.0, "running");
        assert_eq!(stage.messages("instance.out_of_credits").await, [Value::Null; 0]);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_budget_that_denies_refuses_launches_and_lets_run() {
    for stage in Stage::both("100", "50").await {
        let site = &stage.site;
        let box_one = stage.launch(&site.worker, "box").await;
        site.post(&site.owner, "budgets", team_budget("deny", "1.3")).await.want(201);
        let refused = site.post(&site.worker, "instances", launch("two")).await.want(403);
        assert_eq!(refused["denials"][0]["policy"], "plat/budget");
        stage.run(16).await;
        assert_eq!(state(&stage, &box_one).await.0, "running");
        assert_eq!(stage.messages("instance.draining").await, [Value::Null; 0]);
        site.assert_sound().await;
    }
}

async fn snapshots(stage: &Stage) -> Vec<Value> {
    copied(&stage.site, stage.host).await;
    let all = stage.site.get(&stage.site.worker, "snapshots").await.want(200);
    all["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn unless_told_what_runs_out_is_snapshotted_and_stopped_and_the_next_copy_takes_the_place_of_the_last()
{
    for stage in Stage::both("10", "1.3").await {
        let site = &stage.site;
        let box_one = stage.launch(&site.worker, "box").await;
        stage.run(16).await;
        let kept = snapshots(&stage).await;
        assert_eq!(kept.len(), 1, "{kept:#?}");
        assert_eq!((&kept[0]["state"], &kept[0]["cause"]), (&json!("ready"), &json!("credit")));
        assert_eq!(
            (&kept[0]["name"], &kept[0]["owner"]),
            (&json!("box out of credits"), &json!(site.member))
        );
        assert_eq!(state(&stage, &box_one).await.0, "stopped");
        stage.assign("1.2").await;
        site.post(&site.worker, &format!("{box_one}/start"), json!({})).await.want(202);
        stage.run(18).await;
        assert_eq!(state(&stage, &box_one).await.0, "stopped");
        let next = snapshots(&stage).await;
        assert_eq!(next.len(), 1, "{next:#?}");
        assert_ne!(next[0]["id"], kept[0]["id"]);

        // Where the member may keep none, it is stopped all the same, and says so.
        let version = site.get(&site.owner, "quota").await.want(200)["version"].clone();
        site.change(&site.owner, "PUT", "quota", Some(&version), json!({ "snapshots": 0 })).await.want(200);
        stage.assign("1.2").await;
        site.post(&site.worker, &format!("{box_one}/start"), json!({})).await.want(202);
        stage.run(18).await;
        let (state, detail) = state(&stage, &box_one).await;
        assert_eq!(state, "stopped");
        assert!(detail.contains("No snapshot was taken"), "{detail}");
        assert_eq!(snapshots(&stage).await, [Value::Null; 0]);
        assert_nothing_below_zero(&stage).await;
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn what_is_paused_keeps_its_accelerators_pays_its_disk_and_goes_on_after_a_top_up() {
    for stage in Stage::both("10", "1.3").await {
        let site = &stage.site;
        let rate = json!({ "kind": "stopped", "price_per_gib_hour": "1.024" });
        site.put(&site.operator, "/storage-rates", rate).await.want(200);
        let gpu = json!({ "name": "gpu", "region": "here", "instance_type": "any",
            "accelerator": "Simulated accelerator", "gpus_per_unit": 1,
            "cpu_millis": 100, "memory_bytes": 1 << 26, "price_per_hour": "6",
            "published": true });
        site.post(&site.operator, "/products", gpu).await.want(201);
        stage.terms(json!({ "spending": "wallet", "exhaustion": "pause", "runway_minutes": 10 })).await;
        let mut order = launch("box");
        order["product"] = json!("gpu");
        let made = site.post(&site.worker, "instances", order).await.want(201);
        let box_one = format!("instances/{}", made["id"].as_str().unwrap());
        stage.run(16).await;
        let (paused, detail) = state(&stage, &box_one).await;
        assert_eq!(paused, "paused");
        assert!(detail.contains("keeps its accelerators"), "{detail}");
        let seen = site.get(&site.worker, &box_one).await.want(200);
        assert_eq!(
            (&seen["desired"], &seen["reason"], &seen["ended_at"]),
            (&json!("running"), &json!("credit"), &Value::Null)
        );
        let held = site.get(&site.worker, "balance").await.want(200)["own"]["wallet"]["held"].clone();
        assert_eq!(held, "0", "what was left of its hold came back");
        let hardware = site.get(&site.worker, &format!("{box_one}/hardware")).await.want(200);
        assert_eq!(hardware["accelerators"].as_array().unwrap().len(), 1);
        let usage =
            site.get(&site.owner, &format!("members/{}/quota", site.member)).await.want(200)["usage"].clone();
        assert_eq!((&usage["instances"], &usage["gpus"]), (&json!(1), &json!(1)));
        assert_eq!(percents(&stage.messages("instance.draining").await), [100, 50, 20]);
        assert_eq!(stage.messages("instance.out_of_credits").await.len(), 1);
        assert_eq!(stage.messages("instance.paused").await.len(), 1, "in the log, though nobody is told");
        let cost = credits(&seen["cost"]);

        // Paused time is not running time, but its disk is stored.
        let count = async || {
            let op = site.app.op(Actor::System(SystemActor::Meter));
            assert!(site.app.storage_pass(&op, stage.host).await.unwrap());
            site.app.meter(&site.app.op(Actor::System(SystemActor::Meter))).await.unwrap();
        };
        count().await;
        // A new drive is counted soon, and with it all that is stored there.
        let free = json!({ "name": "free", "product": "free", "image": "base", "mount_team_drive": false,
            "mount_personal_drive": true });
        site.post(&site.worker, "instances", free).await.want(201);
        stage.run(20).await;
        count().await;
        let total = async |kind: &str| {
            let bill = site.get(&site.worker, &format!("bills?type={kind}&limit=200")).await.want(200);
            credits(&bill["total"])
        };
        assert_eq!(total("instance").await, cost);
        assert_eq!(
            total("stopped").await.as_micros(),
            18_133,
            "64 MiB for the 17 minutes up to the last quarter"
        );

        let told = site.post(&site.worker, &format!("{box_one}/start"), json!({})).await.want(403);
        assert_eq!(told["denials"][0]["policy"], "plat/funds", "{told:#}");
        stage.assign("2").await;
        let answer = site.post(&site.worker, &format!("{box_one}/start"), json!({})).await.want(202);
        assert_eq!((&answer["state"], &answer["paused_since"]), (&json!("paused"), &Value::Null));
        stage.settle().await;
        let again = site.get(&site.worker, &box_one).await.want(200);
        assert_eq!(
            (&again["state"], &again["started_at"]),
            (&json!("running"), &seen["started_at"]),
            "{again:#}"
        );
        let usage =
            site.get(&site.owner, &format!("members/{}/quota", site.member)).await.want(200)["usage"].clone();
        assert_eq!(usage["gpus"], 1, "counted once");
        stage.run(5).await;
        assert_eq!(total("instance").await.as_micros() - cost.as_micros(), 500_000, "five minutes more");

        // Paused again, and left so: after an hour somebody else may have the accelerator.
        stage.run(20).await;
        assert_eq!(state(&stage, &box_one).await.0, "paused");
        stage.run(62).await;
        let (stopped, detail) = state(&stage, &box_one).await;
        assert_eq!(stopped, "stopped");
        assert!(detail.contains("after an hour it was stopped"), "{detail}");
        let usage =
            site.get(&site.owner, &format!("members/{}/quota", site.member)).await.want(200)["usage"].clone();
        assert_eq!(usage["gpus"], 0);
        site.post(&site.worker, &format!("{box_one}/release"), json!({})).await.want(202);
        stage.run(2).await;
        assert_eq!(state(&stage, &box_one).await.0, "released");
        assert_nothing_below_zero(&stage).await;
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn what_is_paused_can_be_stopped_and_released() {
    for stage in Stage::both("10", "2.6").await {
        let site = &stage.site;
        stage.terms(json!({ "spending": "wallet", "exhaustion": "pause", "runway_minutes": 10 })).await;
        let (one, two) = (stage.launch(&site.worker, "one").await, stage.launch(&site.worker, "two").await);
        stage.run(17).await;
        for instance in [&one, &two] {
            assert_eq!(state(&stage, instance).await.0, "paused");
        }
        site.post(&site.worker, &format!("{one}/stop"), json!({})).await.want(202);
        site.post(&site.worker, &format!("{two}/release"), json!({})).await.want(202);
        stage.run(2).await;
        assert_eq!(state(&stage, &one).await.0, "stopped");
        assert_eq!(state(&stage, &two).await.0, "released");
        stage.assign("2").await;
        site.post(&site.worker, &format!("{one}/start"), json!({})).await.want(202);
        stage.run(1).await;
        assert_eq!(state(&stage, &one).await.0, "running");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_grace_ends_the_drain_before_the_money_does_and_never_after_it() {
    for stage in Stage::both("10", "1.3").await {
        let site = &stage.site;
        let version = site.get(&site.owner, "terms").await.want(200)["version"].clone();
        for wrong in [0, 11] {
            let terms = json!({ "spending": "wallet", "runway_minutes": 10, "grace_minutes": wrong });
            let told = site.change(&site.owner, "PUT", "terms", Some(&version), terms).await.want(422);
            assert_eq!(told["errors"][0]["pointer"], "/grace_minutes", "{told:#}");
        }
        let terms =
            json!({ "spending": "wallet", "exhaustion": "stop", "runway_minutes": 10, "grace_minutes": 4 });
        assert_eq!(stage.terms(terms).await["grace_minutes"], 4);
        let box_one = stage.launch(&site.worker, "box").await;
        // 1.3 credits pay three minutes more than the runway; then it drains, and has four minutes.
        stage.run(6).await;
        assert_eq!(state(&stage, &box_one).await.0, "running");
        assert_eq!(percents(&stage.messages("instance.draining").await).first(), Some(&100));
        stage.run(3).await;
        assert_eq!(state(&stage, &box_one).await.0, "stopped");
        assert_eq!(stage.messages("instance.out_of_credits").await.len(), 1);
        let left = credits(&json!(site.available().await[1])).as_micros();
        assert!((400_000..900_000).contains(&left), "the rest of the hold came back: {left}");
        site.assert_sound().await;
    }
}
