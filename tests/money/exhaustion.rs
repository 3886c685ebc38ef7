//! What happens when the money, or a budget, is used up: warned in time, stopped while still paid, never below zero.

use serde_json::{Value, json};

use crate::stage::{Stage, credits, launch};

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
