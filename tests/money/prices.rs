//! Prices by scope: the team's before the site's, a product's before that of all, each from its instant on; what runs
//! keeps the price that it was quoted.

use muster::{plugins::default_price, time::Span};
use serde_json::{Value, json};

use crate::{
    bills::run,
    charges::{charges, credits, launch},
    site::Site,
};

/// What an hour of the product costs by the estimate of a launch.
async fn estimate(site: &Site) -> String {
    let wish = json!({ "product": "cpu", "image": "base", "unit_qty": 1 });
    let told = site.post(&site.worker, "estimates", wish).await.want(200);
    told["price_per_hour"].as_str().unwrap_or_else(|| panic!("{told:#}")).to_owned()
}

fn off(plugin: &Value, percent: u32, extra: Value) -> Value {
    let mut wish = json!({ "plugin": plugin["id"], "config": { "discount_percent": percent } });
    wish.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    wish
}

/// The active versions of a list: number, product or null, whether of the site.
fn active(list: &Value) -> Vec<(u64, bool, bool)> {
    let rows = list["items"].as_array().unwrap().iter().filter(|row| row["active"] == true);
    rows.map(|row| {
        (row["number"].as_u64().unwrap(), row["product"].is_null(), row["of_site"].as_bool().unwrap())
    })
    .collect()
}

#[tokio::test]
async fn the_nearest_price_that_is_effective_counts_and_a_running_instance_keeps_its_own() {
    for site in Site::both().await {
        let host = launch(&site, "50").await;
        assert_eq!(estimate(&site).await, "6");
        let plugin = site.upload(&site.owner, "ours", "application/wasm", default_price()).await.want(201);
        let now = site.app.op(muster::op::Actor::Anonymous).now();
        let (hour, past) = (now + Span::from_seconds(3_600), now - Span::from_seconds(1));

        // The site's own, for its operator alone.
        let ten = off(&plugin, 10, json!({}));
        site.post(&site.owner, "/prices", ten.clone()).await.fails(403, "refused");
        site.get(&site.owner, "/prices").await.fails(403, "refused");
        site.post(&site.operator, "/prices", ten).await.want(201);
        assert_eq!(estimate(&site).await, "5.4");
        site.post(&site.operator, "/prices", off(&plugin, 20, json!({ "product": "cpu" }))).await.want(201);
        assert_eq!(estimate(&site).await, "4.8");
        // What comes after counts for all others only.
        site.post(&site.operator, "/prices", off(&plugin, 90, json!({}))).await.want(201);
        assert_eq!(estimate(&site).await, "4.8");
        let sites = site.get(&site.operator, "/prices").await.want(200);
        assert_eq!(active(&sites), [(4, true, true), (3, false, true)]);

        // The team's own goes before, a product's before that of all, a later one from its instant on.
        let wrong = off(&plugin, 1, json!({ "effective_at": past }));
        assert_eq!(
            site.post(&site.owner, "prices", wrong).await.want(422)["errors"][0]["pointer"],
            "/effective_at"
        );
        let wrong = off(&plugin, 1, json!({ "product": "none" }));
        assert_eq!(
            site.post(&site.owner, "prices", wrong).await.want(422)["errors"][0]["pointer"],
            "/product"
        );
        site.post(&site.owner, "prices", off(&plugin, 30, json!({}))).await.want(201);
        assert_eq!(estimate(&site).await, "4.2");
        let later = off(&plugin, 50, json!({ "effective_at": hour }));
        let later = site.post(&site.owner, "prices", later).await.want(201);
        assert_eq!((&later["active"], &later["effective_at"]), (&json!(false), &json!(hour)));
        assert_eq!(estimate(&site).await, "4.2");
        let list = site.get(&site.worker, "prices").await.want(200);
        assert_eq!(active(&list), [(1, true, false)]);
        site.clock.advance(Span::from_seconds(3_600));
        assert_eq!(estimate(&site).await, "3");
        assert_eq!(active(&site.get(&site.worker, "prices").await.want(200)), [(2, true, false)]);
        site.post(&site.owner, "prices", off(&plugin, 75, json!({ "product": "cpu" }))).await.want(201);
        assert_eq!(estimate(&site).await, "1.5");
        let list = site.get(&site.worker, "prices").await.want(200);
        assert_eq!(active(&list), [(3, false, false), (2, true, false)]);

        // The instance was launched at the list price and stays there.
        run(&site, host, 3).await;
        let all = charges(&site).await;
        let minute = all.iter().find(|charge| charge["k"] == 1).unwrap();
        assert_eq!(credits(&minute["amount"]).as_micros(), 100_000);
        assert!(all.iter().all(|charge| charge["price_version"] == all[0]["price_version"]));
        site.assert_sound().await;
    }
}
