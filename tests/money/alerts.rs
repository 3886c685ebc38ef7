//! Alerts: one message for each crossing, armed again on the good side.

use serde_json::{Value, json};

use crate::stage::Stage;

async fn figures(stage: &Stage) -> Vec<String> {
    let told = stage.messages("alert.fired").await;
    told.iter().map(|document| document["figure"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_balance_is_told_once_for_each_time_that_it_falls() {
    for stage in Stage::both("20", "0").await {
        let site = &stage.site;
        let alert = json!({ "metric": "balance", "threshold": "10" });
        let made = site.post(&site.owner, "alerts", alert).await.want(201);
        assert_eq!((&made["armed"], &made["subject"]), (&json!(true), &Value::Null));
        assert_eq!(stage.watch().await, 0);
        stage.assign("15").await;
        assert_eq!((stage.watch().await, stage.watch().await), (1, 0));
        let seen = site.get(&site.owner, "alerts").await.want(200);
        assert_eq!(seen["items"][0]["armed"], false);
        assert!(seen["items"][0]["fired_at"].is_string());
        site.grant("10").await;
        assert_eq!(stage.watch().await, 0);
        assert_eq!(site.get(&site.owner, "alerts").await.want(200)["items"][0]["armed"], true);
        stage.assign("8").await;
        assert_eq!(stage.watch().await, 1);
        assert_eq!(figures(&stage).await, ["5", "7"]);
        let told = stage.messages("alert.fired").await;
        let document = json!({ "alert": made["id"], "metric": "balance", "subject": null, "threshold": "10",
            "figure": "5" });
        assert_eq!(told[0], document);
    }
}

#[tokio::test]
async fn a_runway_is_what_can_be_spent_by_what_runs_on_that_account() {
    for stage in Stage::both("100", "20").await {
        let site = &stage.site;
        for subject in [json!(site.member), Value::Null] {
            let alert = json!({ "metric": "runway_hours", "threshold": "1.5", "subject": subject });
            site.post(&site.owner, "alerts", alert).await.want(201);
        }
        assert_eq!(stage.watch().await, 0, "nothing runs");
        stage.launch(&site.worker, "one").await;
        stage.run(1).await;
        assert_eq!(stage.watch().await, 0, "one runs for three hours");
        stage.launch(&site.worker, "two").await;
        stage.run(4).await;
        assert_eq!(stage.watch().await, 1, "two run for less than one and a half; nothing runs on the pool");
        let told = stage.messages("alert.fired").await;
        assert_eq!(told[0]["subject"], json!(site.member));
        stage.assign("10").await;
        assert_eq!(stage.watch().await, 0);
        let seen = site.get(&site.owner, "alerts").await.want(200);
        assert_eq!(seen["items"][0]["armed"], true);
    }
}

#[tokio::test]
async fn a_percentage_of_a_budget_is_told_from_its_threshold_on() {
    for stage in Stage::both("100", "20").await {
        let site = &stage.site;
        let budget = json!({ "name": "lab", "scope": "team", "period": "monthly", "ceiling": "1",
            "reaction": "alert" });
        let budget = site.post(&site.owner, "budgets", budget).await.want(201);
        let alert = json!({ "metric": "budget_percent", "threshold": "70", "subject": budget["id"] });
        site.post(&site.owner, "alerts", alert).await.want(201);
        stage.launch(&site.worker, "box").await;
        stage.run(5).await;
        assert_eq!(stage.watch().await, 0);
        stage.run(3).await;
        assert_eq!((stage.watch().await, stage.watch().await), (1, 0));
    }
}

#[tokio::test]
async fn wrong_alerts_are_refused_and_others_are_nobodys_business() {
    for stage in Stage::both("0", "0").await {
        let site = &stage.site;
        let wrong = [
            (json!({ "metric": "balance", "threshold": "-1" }), "/threshold"),
            (json!({ "metric": "budget_percent", "threshold": "50" }), "/subject"),
            (json!({ "metric": "budget_percent", "threshold": "101" }), "/threshold"),
            (
                json!({ "metric": "balance", "threshold": "1", "subject": format!("mem_{:032}", 1) }),
                "/subject",
            ),
        ];
        for (body, pointer) in wrong {
            let refused = site.post(&site.owner, "alerts", body).await.want(422);
            assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused:#}");
        }
        let alert = json!({ "metric": "balance", "threshold": "1" });
        site.post(&site.worker, "alerts", alert.clone()).await.fails(403, "refused");
        let made = site.post(&site.admin, "alerts", alert).await.want(201);
        let path = format!("alerts/{}", made["id"].as_str().unwrap());
        site.change(&site.worker, "DELETE", &path, None, json!({})).await.fails(403, "refused");
        site.get(&site.worker, "alerts").await.fails(403, "refused");
        site.change(&site.owner, "DELETE", &path, None, json!({})).await.want(204);
        site.change(&site.owner, "DELETE", &path, None, json!({})).await.fails(404, "not-found");
        assert_eq!(site.get(&site.owner, "alerts").await.want(200)["items"], json!([]));
    }
}
