//! Automatic top-ups: they ask within their caps, one at a time, wait after failures and give up.

use muster::time::Span;
use serde_json::{Value, json};

use crate::site::Site;

fn setting() -> Value {
    json!({ "threshold": "20", "target": "100", "provider": "manual", "day_cap": "150", "month_cap": "200",
            "min_gap_seconds": 60 })
}

const PATH: &str = "auto-top-up";

async fn open(site: &Site) -> Vec<Value> {
    let all = site.get(&site.owner, "top-ups?limit=200").await.want(200);
    let items = all["items"].as_array().unwrap().iter();
    items.filter(|item| item["state"] == "pending").cloned().collect()
}

async fn decide(site: &Site, top_up: &Value, word: &str) {
    let path = format!("top-ups/{}/{word}", top_up["id"].as_str().unwrap());
    site.post(&site.operator, &path, json!({})).await.want(200);
}

#[tokio::test]
async fn a_setting_is_read_changed_at_its_version_and_taken_away() {
    for site in Site::both().await {
        site.get(&site.owner, PATH).await.fails(404, "not-found");
        site.change(&site.admin, "PUT", PATH, Some(&json!(0)), setting()).await.fails(403, "refused");
        site.change(&site.owner, "PUT", PATH, Some(&json!(1)), setting()).await.fails(412, "stale-version");
        let made = site.change(&site.owner, "PUT", PATH, Some(&json!(0)), setting()).await.want(200);
        assert_eq!((&made["version"], &made["active"]), (&json!(1), &json!(true)));
        site.change(&site.owner, "PUT", PATH, Some(&json!(0)), setting()).await.fails(412, "stale-version");
        let changed = site.change(&site.owner, "PUT", PATH, Some(&json!(1)), setting()).await.want(200);
        assert_eq!(site.get(&site.owner, PATH).await.want(200), changed);
        let wrong = json!({ "threshold": "-1", "target": "-1", "provider": "x", "day_cap": "0", "month_cap": "0",
                            "min_gap_seconds": 9_999_999 });
        let wrong = site.change(&site.owner, "PUT", PATH, Some(&json!(2)), wrong).await.want(422);
        assert_eq!(wrong["errors"].as_array().unwrap().len(), 6, "{wrong:#}");
        site.change(&site.owner, "DELETE", PATH, Some(&json!(1)), Value::Null)
            .await
            .fails(412, "stale-version");
        site.change(&site.owner, "DELETE", PATH, Some(&json!(2)), Value::Null).await.want(204);
        site.change(&site.owner, "DELETE", PATH, Some(&json!(2)), Value::Null).await.fails(404, "not-found");
    }
}

#[tokio::test]
async fn a_pool_that_runs_low_is_filled_up_one_payment_at_a_time_within_the_caps() {
    for site in Site::both().await {
        site.grant("20").await;
        site.change(&site.owner, "PUT", PATH, Some(&json!(0)), setting()).await.want(200);
        site.cashier().await;
        assert_eq!(open(&site).await, Vec::<Value>::new());
        let give = json!({ "member": site.member, "amount": "15" });
        site.post(&site.owner, "credits/assign", give).await.want(201);
        site.cashier().await;
        site.cashier().await;
        let asked = open(&site).await;
        assert_eq!(asked.len(), 1);
        assert_eq!((&asked[0]["amount"], &asked[0]["automatic"]), (&json!("95"), &json!(true)));
        assert_eq!(asked[0]["requested_by"], "system/cashier");
        decide(&site, &asked[0], "confirm").await;

        let give = json!({ "member": site.member, "amount": "100" });
        site.post(&site.owner, "credits/assign", give.clone()).await.want(201);
        site.cashier().await;
        assert_eq!(open(&site).await.len(), 0, "the gap");
        site.clock.advance(Span::from_seconds(61));
        site.cashier().await;
        let asked = open(&site).await;
        assert_eq!(asked[0]["amount"], "55", "what the day leaves");
        decide(&site, &asked[0], "confirm").await;
        let give = json!({ "member": site.member, "amount": "55" });
        site.post(&site.owner, "credits/assign", give).await.want(201);
        site.clock.advance(Span::from_seconds(61));
        site.cashier().await;
        assert_eq!(open(&site).await.len(), 0, "the day's cap");
        site.clock.advance(Span::from_seconds(86_000));
        site.cashier().await;
        let asked = open(&site).await;
        assert_eq!(asked[0]["amount"], "50", "what the month leaves");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn failures_make_it_wait_and_the_fifth_switches_it_off() {
    for site in Site::both().await {
        let setting = json!({ "threshold": "20", "target": "100", "provider": "manual", "day_cap": "1000",
                              "month_cap": "1000", "min_gap_seconds": 0 });
        site.change(&site.owner, "PUT", PATH, Some(&json!(0)), setting).await.want(200);
        let mut hours = 1;
        for failure in 1..=5 {
            site.cashier().await;
            decide(&site, &open(&site).await[0], "refuse").await;
            let view = site.get(&site.owner, PATH).await.want(200);
            assert_eq!((&view["failures"], &view["active"]), (&json!(failure), &json!(failure < 5)));
            site.clock.advance(Span::from_seconds(hours * 3_600 - 1));
            site.cashier().await;
            assert_eq!(open(&site).await.len(), 0, "after {failure} failures");
            site.clock.advance(Span::from_seconds(1));
            hours *= 2;
        }
        site.cashier().await;
        assert_eq!(open(&site).await.len(), 0);
        const TOLD: &str = "SELECT COUNT(*), COUNT(*) FROM outbox WHERE kind = 'auto_top_up.switched_off'";
        assert_eq!(site.pair(TOLD).await.0, 1);
    }
}
