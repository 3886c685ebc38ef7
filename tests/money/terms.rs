//! Terms of money: who sets them, within which limits, and how much the operator lends.

use serde_json::{Value, json};

use crate::stage::Stage;

#[tokio::test]
async fn terms_are_set_by_whoever_runs_the_team_on_the_version_they_read() {
    for stage in Stage::both("0", "0").await {
        let site = &stage.site;
        let before = site.get(&site.owner, "terms").await.want(200);
        assert_eq!((&before["spending"], &before["exhaustion"]), (&json!("wallet"), &json!("snapshot_stop")));
        assert_eq!((&before["credit_limit"], &before["owed"]), (&json!("0"), &json!("0")));
        let terms = json!({ "spending": "pool", "time_zone": "Europe/Berlin", "billing_starts": "pull",
            "exhaustion": "continue", "runway_minutes": 30 });
        let put = async |who, version: &Value, body: &Value| {
            site.change(who, "PUT", "terms", Some(version), body.clone()).await
        };
        put(&site.worker, &before["version"], &terms).await.fails(403, "refused");
        let after = put(&site.admin, &before["version"], &terms).await.want(200);
        for (field, value) in terms.as_object().unwrap() {
            assert_eq!(&after[field], value, "{field}");
        }
        assert_eq!(site.get(&site.operator, "terms").await.want(200), after);
        put(&site.owner, &before["version"], &terms).await.fails(412, "stale-version");
        site.change(&site.owner, "PUT", "terms", None, terms.clone())
            .await
            .fails(428, "precondition-required");
        site.get(&site.worker, "terms").await.fails(403, "refused");
        assert_eq!(site.get(&site.worker, "balance").await.want(200)["spending"], "pool");
    }
}

#[tokio::test]
async fn wrong_terms_are_refused_with_the_field() {
    for stage in Stage::both("0", "0").await {
        let site = &stage.site;
        let version = site.get(&site.owner, "terms").await.want(200)["version"].clone();
        let put = async |body| site.change(&site.owner, "PUT", "terms", Some(&version), body).await;
        for minutes in [9, 1441] {
            let refused = put(json!({ "spending": "pool", "runway_minutes": minutes })).await.want(422);
            assert_eq!(refused["errors"][0]["pointer"], "/runway_minutes");
        }
        put(json!({ "spending": "pool", "time_zone": "Mars/Olympus" })).await.fails(400, "wrong-type");
        put(json!({ "spending": "pool", "nonsense": 1 })).await.fails(400, "unknown-field");
        put(json!({ "runway_minutes": 20 })).await.fails(400, "wrong-type");
        let after = site.get(&site.owner, "terms").await.want(200);
        assert_eq!((&after["version"], &after["spending"]), (&version, &json!("wallet")));
    }
}

#[tokio::test]
async fn only_the_operator_lends() {
    for stage in Stage::both("0", "0").await {
        let site = &stage.site;
        let put = async |who, limit: &str| {
            site.change(who, "PUT", "credit-limit", None, json!({ "credit_limit": limit })).await
        };
        put(&site.owner, "5").await.fails(403, "refused");
        put(&site.operator, "-1").await.fails(422, "invalid-input");
        let limited = put(&site.operator, "5").await.want(200);
        assert_eq!(limited["credit_limit"], "5");
        assert_eq!(site.get(&site.owner, "terms").await.want(200), limited);
        put(&site.operator, "0").await.want(200);
    }
}
