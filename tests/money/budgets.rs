//! Budgets: what they count and claim, whom they bind, who sees them, and when the team is told.

use muster::{app::secrets::Token, money::Credits, time::Span};
use serde_json::{Value, json};

use crate::{
    site::{Answer, Site},
    stage::{Stage, credits, launch},
};

fn budget(name: &str, ceiling: &str) -> Value {
    json!({ "name": name, "scope": "team", "period": "monthly", "ceiling": ceiling, "reaction": "alert" })
}

fn of(scope: &str, subject: &Value, ceiling: &str) -> Value {
    json!({ "name": format!("{scope} {subject}"), "scope": scope, "subject": subject, "period": "monthly",
        "ceiling": ceiling, "reaction": "alert" })
}

async fn seen(site: &Site, budget: &Value) -> Value {
    let path = format!("budgets/{}", budget["id"].as_str().unwrap());
    site.get(&site.owner, &path).await.want(200)
}

/// What is held for what the worker runs.
async fn held(site: &Site) -> Value {
    let held = site.get(&site.worker, "balance").await.want(200)["own"]["wallet"]["held"].clone();
    assert!(credits(&held).is_positive());
    held
}

async fn set(site: &Site, who: &Token, budget: &Value, change: Value) -> Answer {
    let path = format!("budgets/{}", budget["id"].as_str().unwrap());
    site.change(who, "PATCH", &path, Some(&budget["version"]), change).await
}

#[tokio::test]
async fn a_budget_counts_what_was_charged_before_it_and_claims_what_runs() {
    for stage in Stage::both("100", "50").await {
        let site = &stage.site;
        stage.launch(&site.worker, "box").await;
        stage.run(5).await;
        let charged = stage.charged_since("").await;
        assert!(charged.is_positive());

        let made = site.post(&site.owner, "budgets", budget("all", "20")).await.want(201);
        let present = &made["present"];
        assert_eq!((credits(&present["spent"]), &present["reserved"]), (charged, &held(site).await));
        assert_eq!(present["starts_at"], "2025-11-01T00:00:00Z");
        assert_eq!(present["resets_at"], "2025-12-01T00:00:00Z");
        let rest = credits(&json!("20")).minus(charged).unwrap();
        let rest = rest.minus(credits(&present["reserved"])).unwrap();
        assert_eq!(credits(&present["left"]), rest);
        assert_eq!(seen(site, &made).await, made);

        stage.run(5).await;
        let present = seen(site, &made).await["present"].clone();
        assert_eq!(credits(&present["spent"]), stage.charged_since("").await);
        assert_eq!(present["reserved"], held(site).await);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_budget_of_a_member_or_key_counts_only_theirs() {
    for stage in Stage::both("100", "50").await {
        let site = &stage.site;
        let key = site.post(&site.worker, "api-keys", json!({ "name": "robot" })).await.want(201);
        let other = site.post(&site.worker, "api-keys", json!({ "name": "idle" })).await.want(201);
        let make = async |body| site.post(&site.owner, "budgets", body).await.want(201);
        let of_member = make(of("member", &json!(site.member), "20")).await;
        let of_key = make(of("api_key", &key["id"], "20")).await;
        let of_other = make(of("api_key", &other["id"], "20")).await;
        let once = make(json!({ "name": "once", "scope": "team", "period": "once", "ceiling": "20",
            "reaction": "alert" }))
        .await;
        stage.launch(&site.worker, "by-hand").await;
        site.post_with_key(key["token"].as_str().unwrap(), "instances", launch("by-robot")).await.want(201);
        stage.run(4).await;

        let all = stage.charged_since("").await;
        let spent = async |budget: &Value| credits(&seen(site, budget).await["present"]["spent"]);
        assert_eq!(spent(&of_member).await, all);
        assert_eq!(spent(&once).await, all);
        assert_eq!(spent(&of_other).await, Credits::ZERO);
        let by_key = spent(&of_key).await;
        assert!(by_key.is_positive() && by_key < all, "{by_key} of {all}");
        let reserved = async |budget: &Value| credits(&seen(site, budget).await["present"]["reserved"]);
        let by_all = credits(&held(site).await);
        assert_eq!(reserved(&of_member).await, by_all);
        let robots = reserved(&of_key).await;
        assert!(robots.is_positive() && robots < by_all, "{robots} of {by_all}");
        assert_eq!(seen(site, &once).await["present"]["resets_at"], Value::Null);

        // One that is made later counts the same from the charges.
        let later = json!({ "name": "later", "scope": "api_key", "subject": key["id"], "period": "monthly",
            "ceiling": "20", "reaction": "alert" });
        assert_eq!(credits(&make(later).await["present"]["spent"]), by_key);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn an_ended_budget_counts_nothing_and_catches_up_when_it_counts_again() {
    for stage in Stage::both("100", "50").await {
        let site = &stage.site;
        stage.launch(&site.worker, "box").await;
        let made = site.post(&site.owner, "budgets", budget("all", "20")).await.want(201);
        stage.run(3).await;
        let path = format!("budgets/{}", made["id"].as_str().unwrap());
        let before = seen(site, &made).await;
        site.change(&site.owner, "DELETE", &path, None, json!({})).await.want(204);
        let ended = seen(site, &made).await;
        assert_eq!((&ended["active"], &ended["present"]["reserved"]), (&json!(false), &json!("0")));
        stage.run(3).await;
        assert_eq!(seen(site, &made).await["present"]["spent"], before["present"]["spent"]);

        let again = set(site, &site.owner, &ended, json!({ "active": true })).await.want(200);
        assert_eq!(credits(&again["present"]["spent"]), stage.charged_since("").await);
        assert_eq!(again["present"]["reserved"], "1");
        stage.run(2).await;
        assert_eq!(credits(&seen(site, &made).await["present"]["spent"]), stage.charged_since("").await);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_monthly_budget_begins_anew_with_the_teams_month() {
    for stage in Stage::both("100", "50").await {
        let site = &stage.site;
        // To ten minutes before December.
        site.clock.advance(Span::from_seconds(8 * 86_400 + 55_380));
        let made = site.post(&site.owner, "budgets", budget("all", "2")).await.want(201);
        assert_eq!(made["present"]["starts_at"], "2025-11-01T00:00:00Z");
        stage.launch(&site.worker, "box").await;
        stage.run(8).await;
        let november = seen(site, &made).await;
        assert!(credits(&november["present"]["spent"]).is_positive());
        assert_eq!(november["present"]["reserved"], held(site).await);
        stage.run(10).await;
        let december = seen(site, &made).await;
        assert_eq!(december["present"]["starts_at"], "2025-12-01T00:00:00Z");
        let since = stage.charged_since("2025-12-01").await;
        assert!(since.is_positive() && since < stage.charged_since("").await);
        assert_eq!(credits(&december["present"]["spent"]), since);
        assert_eq!(december["present"]["reserved"], held(site).await);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn what_runs_into_a_new_month_is_reserved_there_before_it_is_metered() {
    for stage in Stage::both("100", "50").await {
        let site = &stage.site;
        // To ten minutes before December.
        site.clock.advance(Span::from_seconds(8 * 86_400 + 55_380));
        let mut binding = budget("all", "2.5");
        binding["reaction"] = json!("deny");
        site.post(&site.owner, "budgets", binding).await.want(201);
        stage.launch(&site.worker, "one").await;
        stage.launch(&site.worker, "two").await;
        site.clock.advance(Span::from_seconds(660));
        let refused = site.post(&site.worker, "instances", launch("three")).await.want(403);
        let limit = json!({ "name": "budget", "max": "2.5", "used": "2", "requested": "1" });
        assert_eq!(refused["denials"][0]["limit"], limit, "{refused:#}");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_change_of_time_zone_counts_the_month_anew_and_forgets_nothing() {
    for stage in Stage::both("100", "50").await {
        let site = &stage.site;
        // In Auckland December begins at 11:00 of the 30th; to ten minutes before.
        site.clock.advance(Span::from_seconds(8 * 86_400 + 8_580));
        let made = site.post(&site.owner, "budgets", budget("all", "20")).await.want(201);
        stage.launch(&site.worker, "box").await;
        stage.run(20).await;
        let all = stage.charged_since("").await;
        assert_eq!(credits(&seen(site, &made).await["present"]["spent"]), all);
        stage
            .terms(json!({ "spending": "wallet", "runway_minutes": 10, "time_zone": "Pacific/Auckland" }))
            .await;
        let there = seen(site, &made).await["present"].clone();
        assert_eq!(there["starts_at"], "2025-11-30T11:00:00Z");
        let since = stage.charged_since("2025-11-30T11:00").await;
        assert!(since.is_positive() && since < all);
        assert_eq!((credits(&there["spent"]), &there["reserved"]), (since, &held(site).await));
        stage.terms(json!({ "spending": "wallet", "runway_minutes": 10 })).await;
        let back = seen(site, &made).await["present"].clone();
        assert_eq!((credits(&back["spent"]), &back["reserved"]), (all, &held(site).await));
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn each_threshold_is_told_once_until_the_ceiling_is_raised() {
    for stage in Stage::both("100", "50").await {
        let site = &stage.site;
        let mut body = budget("all", "1");
        body["thresholds"] = json!([50, 80, 100]);
        let made = site.post(&site.owner, "budgets", body).await.want(201);
        stage.launch(&site.worker, "box").await;
        let percents = async || -> Vec<Value> {
            let told = stage.messages("budget.threshold").await;
            told.iter().map(|document| document["percent"].clone()).collect()
        };
        stage.run(4).await;
        assert_eq!(percents().await, [Value::Null; 0]);
        stage.run(9).await;
        assert_eq!(percents().await, [50, 80, 100]);
        let now = seen(site, &made).await;
        let raised = set(site, &site.owner, &now, json!({ "ceiling": "2" })).await.want(200);
        assert!(raised["present"]["percent"].as_i64().unwrap() < 80);
        stage.run(6).await;
        assert_eq!(percents().await, [50, 80, 100, 80]);

        // One that is made over its thresholds is told of at once.
        site.post(&site.owner, "budgets", budget("late", "1")).await.want(201);
        assert_eq!(percents().await.last(), Some(&json!(100)));
    }
}

#[tokio::test]
async fn wrong_budgets_are_refused_with_the_field() {
    for stage in Stage::both("0", "0").await {
        let site = &stage.site;
        let with = |field: &str, value: Value| {
            let mut body = budget("all", "20");
            body[field] = value;
            body
        };
        let wrong = [
            (with("name", json!("")), "/name"),
            (with("ceiling", json!("-1")), "/ceiling"),
            (with("thresholds", json!([80, 50])), "/thresholds"),
            (with("thresholds", json!([0])), "/thresholds"),
            (with("thresholds", json!([101])), "/thresholds"),
            (with("thresholds", json!([1, 2, 3, 4, 5, 6])), "/thresholds"),
            (with("subject", json!(site.member)), "/subject"),
            (of("member", &json!(format!("mem_{:032}", 1)), "1"), "/subject"),
            (of("api_key", &json!("nonsense"), "1"), "/subject"),
        ];
        for (body, pointer) in wrong {
            let refused = site.post(&site.owner, "budgets", body.clone()).await.want(422);
            assert_eq!(refused["errors"][0]["pointer"], pointer, "{body}: {refused:#}");
        }
        let made = site.post(&site.owner, "budgets", budget("all", "20")).await.want(201);
        site.post(&site.owner, "budgets", budget("all", "1")).await.fails(409, "name-taken");
        set(site, &site.owner, &made, json!({ "ceiling": "30" })).await.want(200);
        set(site, &site.owner, &made, json!({ "ceiling": "40" })).await.fails(412, "stale-version");
        assert_eq!(seen(site, &made).await["ceiling"], "30");
        site.get(&site.owner, &format!("budgets/bud_{:032}", 1)).await.fails(404, "not-found");
    }
}

#[tokio::test]
async fn a_member_sees_their_own_budgets_and_changes_none() {
    for stage in Stage::both("0", "0").await {
        let site = &stage.site;
        let key = site.post(&site.worker, "api-keys", json!({ "name": "robot" })).await.want(201);
        let mut ids = Vec::new();
        for body in
            [budget("all", "20"), of("member", &json!(site.member), "20"), of("api_key", &key["id"], "20")]
        {
            ids.push(site.post(&site.admin, "budgets", body).await.want(201));
            site.clock.advance(Span::from_seconds(1));
        }
        let own = site.get(&site.worker, "budgets").await.want(200);
        let own: Vec<&Value> = own["items"].as_array().unwrap().iter().map(|row| &row["id"]).collect();
        assert_eq!(own, [&ids[1]["id"], &ids[2]["id"]]);
        site.get(&site.worker, "budgets?view=admin").await.fails(403, "refused");
        let path = |at: usize| format!("budgets/{}", ids[at]["id"].as_str().unwrap());
        site.get(&site.worker, &path(0)).await.fails(403, "refused");
        site.get(&site.worker, &path(2)).await.want(200);
        set(site, &site.worker, &ids[1], json!({ "ceiling": "99" })).await.fails(403, "refused");
        site.post(&site.worker, "budgets", budget("mine", "1")).await.fails(403, "refused");
        site.change(&site.worker, "DELETE", &path(1), None, json!({})).await.fails(403, "refused");
        let page = site.get(&site.owner, "budgets?view=admin&limit=2").await.want(200);
        let next = page["next_cursor"].as_str().unwrap();
        let rest =
            site.get(&site.owner, &format!("budgets?view=admin&limit=2&cursor={next}")).await.want(200);
        assert_eq!(
            (page["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()),
            (2, 1)
        );
    }
}

#[tokio::test]
async fn an_estimate_says_what_would_end_the_run_first() {
    for stage in Stage::both("100", "5").await {
        let site = &stage.site;
        let ask = async |product: &str| {
            let body = json!({ "product": product, "image": "base" });
            site.post(&site.worker, "estimates", body).await.want(200)
        };
        let by_credits = ask("cpu").await;
        assert_eq!(
            (&by_credits["binding"], &by_credits["affordable_minutes"]),
            (&json!("credits"), &json!(50))
        );
        assert_eq!((&by_credits["budget"], &by_credits["allowed"]), (&Value::Null, &json!(true)));

        let mut body = of("member", &json!(site.member), "2");
        (body["name"], body["reaction"]) = (json!("lab"), json!("deny"));
        site.post(&site.owner, "budgets", body).await.want(201);
        let by_budget = ask("cpu").await;
        assert_eq!((&by_budget["binding"], &by_budget["affordable_minutes"]), (&json!("lab"), &json!(20)));
        assert_eq!(by_budget["budget"], json!({ "name": "lab", "left": "2", "ceiling": "2" }));
        let free = ask("free").await;
        assert_eq!((&free["price_per_hour"], &free["affordable_minutes"]), (&json!("0"), &Value::Null));

        stage.launch(&site.worker, "one").await;
        stage.launch(&site.worker, "two").await;
        let none = ask("cpu").await;
        assert_eq!((&none["allowed"], &none["affordable_minutes"]), (&json!(false), &json!(0)));
        let refused = site.post(&site.worker, "instances", launch("three")).await.want(403);
        let denial = &refused["denials"][0];
        assert_eq!(denial["policy"], "plat/budget", "{refused:#}");
        let limit = json!({ "name": "budget", "max": "2", "used": "2", "requested": "1" });
        assert_eq!(denial["limit"], limit, "{refused:#}");
        assert!(denial["lifted_by"].as_str().unwrap().contains("raising the budget"), "{refused:#}");
        site.assert_sound().await;
    }
}
