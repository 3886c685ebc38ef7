//! Budgets that are counted anew: after an instance went from one hand to another, and in months that are over.

use muster::{money::Credits, time::Span};
use serde_json::{Value, json};

use crate::{
    resume::{assign, launch, pass, plant, settle, start, stop},
    site::Site,
    stage::credits,
};

async fn budget(site: &Site, scope: &str, subject: Option<&Value>) -> Value {
    let body = json!({ "name": scope, "scope": scope, "subject": subject, "period": "monthly", "ceiling": "40",
        "reaction": "drain" });
    site.post(&site.owner, "budgets", body).await.want(201)
}

async fn change(site: &Site, budget: &Value, change: Value) -> Value {
    let path = format!("budgets/{}", budget["id"].as_str().unwrap());
    let seen = site.get(&site.owner, &path).await.want(200);
    site.change(&site.owner, "PATCH", &path, Some(&seen["version"]), change).await.want(200)
}

async fn spent(site: &Site, budget: &Value) -> Credits {
    let path = format!("budgets/{}", budget["id"].as_str().unwrap());
    credits(&site.get(&site.owner, &path).await.want(200)["present"]["spent"])
}

#[tokio::test]
async fn a_keys_budget_counts_the_runs_that_the_key_began_whoever_starts_the_instance_again() {
    for site in Site::both().await {
        let host = plant(&site).await;
        site.grant("100").await;
        assign(&site, "50").await;
        let key = site.post(&site.worker, "api-keys", json!({ "name": "robot" })).await.want(201);
        let of_key = budget(&site, "api_key", Some(&key["id"])).await;
        let body = json!({ "name": "box", "product": "gpu", "image": "base", "mount_team_drive": false });
        let made = site.post_with_key(key["token"].as_str().unwrap(), "instances", body).await.want(201);
        let id = made["id"].as_str().unwrap().to_owned();
        settle(&site, host).await;
        pass(&site, host, 5, 60).await;
        stop(&site, host, &id).await;
        let first = spent(&site, &of_key).await;
        assert!(first.is_positive());
        start(&site, host, &id).await;
        pass(&site, host, 5, 60).await;
        stop(&site, host, &id).await;
        assert_eq!(spent(&site, &of_key).await, first, "the second run is not the key's");
        change(&site, &of_key, json!({ "ceiling": "30" })).await;
        assert_eq!(spent(&site, &of_key).await, first, "counted anew it is the same");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn months_of_a_time_zone_that_the_team_left_and_months_without_the_budget_are_counted_anew() {
    for site in Site::both().await {
        let host = plant(&site).await;
        site.grant("100").await;
        assign(&site, "90").await;
        let all = budget(&site, "team", None).await;
        let id = launch(&site, &site.worker, "gpu", false).await;
        settle(&site, host).await;
        pass(&site, host, 3, 600).await;
        let zone = async |zone: &str| {
            let terms = json!({ "spending": "wallet", "runway_minutes": 10, "time_zone": zone });
            let version = site.get(&site.owner, "terms").await.want(200)["version"].clone();
            site.change(&site.owner, "PUT", "terms", Some(&version), terms).await.want(200);
        };
        zone("Pacific/Auckland").await;
        pass(&site, host, 3, 600).await;
        site.assert_sound().await;
        zone("UTC").await;
        pass(&site, host, 1, 600).await;
        site.assert_sound().await;

        // It counts no longer, until some days into the next month.
        change(&site, &all, json!({ "active": false })).await;
        pass(&site, host, 2, 600).await;
        stop(&site, host, &id).await;
        site.clock.advance(Span::from_seconds(35 * 86_400));
        change(&site, &all, json!({ "active": true })).await;
        assert_eq!(spent(&site, &all).await, Credits::ZERO);
        site.assert_sound().await;
    }
}
