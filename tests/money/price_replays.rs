//! What past use would have cost by another price, that a team can ask for it before a price is activated, and the way
//! back to an earlier price.

use muster::{op::Actor, plugins::default_price, time::Span};
use serde_json::{Value, json};

use crate::{
    bills::run,
    charges::{charges, credits, launch},
    site::{Answer, Site},
};

/// Prices have to be tried on the past, be dearer by a tenth at the most, and come a day ahead.
const CAREFUL: &str = r#"
@id("tried")
@advice("replay a price over a past span before it is activated; more than 10 % dearer is not for one person")
@lifted_by("team owner")
forbid (principal, action in [Action::"ActivatePrice", Action::"RollBackPrice"], resource)
unless { context has replay && context.replay.failed == 0 && context.replay.increase_percent <= 10 };

@id("notice")
@advice("a price is announced a day before it counts")
@lifted_by("team owner")
forbid (principal, action == Action::"ActivatePrice", resource)
unless { context has notice_hours && context.notice_hours >= 24 };
"#;

struct Stage {
    site: Site,
    plugin: Value,
    from: Value,
    to: Value,
}

/// Ten minutes of use at the list price of 6 an hour.
async fn stages() -> Vec<Stage> {
    let mut stages = Vec::new();
    for site in Site::both().await {
        let now = || json!(site.app.op(Actor::Anonymous).now());
        let from = now();
        let host = launch(&site, "50").await;
        run(&site, host, 10).await;
        let plugin = site.upload(&site.owner, "ours", "application/wasm", default_price()).await.want(201);
        let to = now();
        stages.push(Stage { site, plugin, from, to });
    }
    stages
}

impl Stage {
    async fn replay(&self, percent: u32, extra: Value) -> Answer {
        let mut wish = json!({ "plugin": self.plugin["id"], "config": { "discount_percent": percent },
            "from": self.from, "to": self.to });
        wish.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        self.site.post(&self.site.owner, "price-replays", wish).await
    }

    async fn activate(&self, percent: u32, extra: Value) -> Answer {
        let mut wish = json!({ "plugin": self.plugin["id"], "config": { "discount_percent": percent } });
        wish.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        self.site.post(&self.site.owner, "prices", wish).await
    }
}

#[tokio::test]
async fn a_replay_says_what_the_past_would_have_cost_and_charges_nothing() {
    for stage in stages().await {
        let site = &stage.site;
        let charged = charges(site).await;
        let total: i64 = charged.iter().map(|charge| credits(&charge["amount"]).as_micros()).sum();
        assert!(total > 0);

        let same = stage.replay(0, json!({})).await.want(201);
        assert_eq!(credits(&same["before"]).as_micros(), total);
        assert_eq!((&same["difference"], &same["increase_percent"]), (&json!("0"), &json!(0)));
        assert_eq!((&same["intervals"], &same["largest"]), (&json!(charged.len()), &json!([])));

        let half = stage.replay(50, json!({})).await.want(201);
        assert_eq!(
            (credits(&half["after"]).as_micros(), &half["increase_percent"]),
            (total / 2, &json!(-50))
        );
        assert_eq!(half["members"][0]["account"], "member");
        assert_eq!(
            (&half["products"][0]["product"], &half["products"][0]["kind"]),
            (&json!("cpu"), &json!("instance"))
        );
        let largest = half["largest"].as_array().unwrap();
        assert_eq!((largest.len(), &largest[0]["segment"]), (1, &charged[0]["segment"]));
        assert_eq!(largest[0]["lines"].as_object().unwrap().len(), 1);
        assert_eq!((&half["failed"], &half["failed_because"]), (&json!(0), &Value::Null));

        // As the price of another product it concerns nothing of it, and nothing before the first use does.
        let other = json!({ "name": "big", "region": "here", "instance_type": "cpu", "accelerator": "none",
            "gpus_per_unit": 0, "cpu_millis": 1000, "memory_bytes": 1 << 30, "price_per_hour": "9",
            "published": true });
        site.post(&site.operator, "/products", other).await.want(201);
        let none = stage.replay(50, json!({ "product": "big" })).await.want(201);
        assert_eq!((&none["intervals"], &none["before"]), (&json!(0), &json!("0")));
        assert_eq!(stage.replay(50, json!({ "product": "cpu" })).await.want(201)["after"], half["after"]);
        let before = json!({ "from": "2025-01-01T00:00:00Z", "to": stage.from });
        assert_eq!(stage.replay(50, before).await.want(201)["segments"], 0);

        assert_eq!(charges(site).await, charged);
        let listed = site.get(&site.owner, "price-replays?limit=2").await.want(200);
        assert_eq!(listed["items"].as_array().unwrap().len(), 2);
        assert!(listed["next_cursor"].is_string());
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn what_was_found_unused_stays_free_and_a_price_that_fails_is_told_apart() {
    for stage in stages().await {
        let site = &stage.site;
        let charged = charges(site).await;
        let unused = json!({ "segment": charged[2]["segment"], "from": charged[2]["from"], "to": charged[2]["to"],
            "reason": "it hung" });
        site.post(&site.operator, "charges/correct", unused).await.want(201);
        let whole: i64 = charged.iter().map(|charge| credits(&charge["amount"]).as_micros()).sum();
        let less = credits(&charged[2]["amount"]).as_micros();
        let replayed = stage.replay(0, json!({})).await.want(201);
        assert_eq!(credits(&replayed["before"]).as_micros(), whole - less);
        assert_eq!(replayed["difference"], "0");

        let broken = stage.replay(0, json!({ "config": { "discount_percent": "many" } })).await.want(201);
        assert_eq!((&broken["before"], &broken["after"]), (&json!("0"), &json!("0")));
        assert_eq!(broken["failed"], json!(charged.len() - 1));
        assert!(broken["failed_because"].as_str().unwrap().contains("discount_percent"), "{broken:#}");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_replay_asks_for_leave_and_for_a_span() {
    for stage in stages().await {
        let site = &stage.site;
        let wish = json!({ "plugin": stage.plugin["id"], "from": stage.from, "to": stage.to });
        site.post(&site.worker, "price-replays", wish).await.fails(403, "refused");
        site.get(&site.worker, "price-replays").await.fails(403, "refused");
        let pointer = |answer: Answer| answer.want(422)["errors"][0]["pointer"].clone();
        assert_eq!(pointer(stage.replay(0, json!({ "to": stage.from })).await), "/to");
        assert_eq!(pointer(stage.replay(0, json!({ "product": "none" })).await), "/product");
        let nobodys = "plug_00000000000000000000000000000000";
        assert_eq!(pointer(stage.replay(0, json!({ "plugin": nobodys })).await), "/plugin");
        assert_eq!(site.get(&site.owner, "price-replays").await.want(200)["items"], json!([]));
    }
}

#[tokio::test]
async fn a_team_that_wants_its_prices_tried_has_only_those_that_were() {
    for stage in stages().await {
        let site = &stage.site;
        // What was used cost half, by a price of the team.
        stage.activate(50, json!({})).await.want(201);
        site.post(&site.worker, "instances", json!({ "name": "two", "product": "cpu", "image": "base" }))
            .await
            .want(201);
        let planned = site.post(&site.owner, "policies:plan", json!({ "text": CAREFUL })).await.want(200);
        let publish = json!({ "text": CAREFUL, "plan": planned["plan"], "reason": "careful" });
        site.change(&site.owner, "POST", "policies:publish", Some(&planned["base"]), publish).await.want(201);

        let day = json!(site.app.op(Actor::Anonymous).now() + Span::from_seconds(86_400));
        let soon = json!({ "effective_at": day });
        let refused = stage.activate(45, soon.clone()).await.want(403);
        assert_eq!(refused["denials"][0]["policy"], "team/tried", "{refused:#}");
        stage.replay(45, json!({})).await.want(201);
        let refused = stage.activate(45, json!({})).await.want(403);
        assert_eq!(refused["denials"][0]["policy"], "team/notice", "{refused:#}");
        stage.activate(45, soon.clone()).await.want(201);
        // Another configuration is another price.
        stage.activate(44, soon).await.fails(403, "refused");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn the_price_before_comes_back_as_a_version_of_its_own() {
    for stage in stages().await {
        let site = &stage.site;
        let back = async |wish: Value| site.post(&site.owner, "prices/rollback", wish).await;
        back(json!({})).await.fails(409, "no-earlier-price");
        stage.activate(10, json!({})).await.want(201);
        back(json!({})).await.fails(409, "no-earlier-price");
        stage.activate(20, json!({})).await.want(201);
        stage.activate(20, json!({})).await.want(201);
        stage.activate(90, json!({ "product": "cpu" })).await.want(201);
        site.post(&site.worker, "prices/rollback", json!({})).await.fails(403, "refused");
        let first = back(json!({})).await.want(201);
        let shown = (&first["number"], &first["config"]["discount_percent"], &first["active"]);
        assert_eq!(shown, (&json!(5), &json!(10), &json!(true)));
        assert_eq!(back(json!({ "number": 3 })).await.want(201)["config"]["discount_percent"], 20);
        back(json!({ "product": "cpu" })).await.fails(409, "no-earlier-price");
        back(json!({ "number": 4 })).await.fails(409, "no-earlier-price");
        let pointer = back(json!({ "product": "none" })).await.want(422)["errors"][0]["pointer"].clone();
        assert_eq!(pointer, "/product");
        site.assert_sound().await;
    }
}
