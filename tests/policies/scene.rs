//! A team with machines to launch, of which some are spot machines, and somebody labelled an intern.

use muster::{app::secrets::Token, time::Span};
use serde_json::{Value, json};

use crate::site::{Answer, Site};

/// Interns have no spot machines in the evening.
pub(crate) const NIGHT: &str = r#"
@id("night-spot")
@advice("interns launch no spot machines after 18:00")
@lifted_by("team owner")
forbid (principal, action == Action::"CreateInstance", resource is Instance)
when { principal.labels.contains("intern") && resource.product like "spot-*" && context.hour >= 18 };
"#;

/// Sites on both databases, where it is a Saturday, 08:27 in the zone of the team.
pub(crate) async fn both() -> Vec<Site> {
    let mut sites = Vec::new();
    for site in Site::both().await {
        let host = json!({ "name": "one", "endpoint": "simulated:", "region": "here" });
        site.post(&site.operator, "/hosts", host).await.want(201);
        for (name, price) in [("spot-cpu", "1"), ("cpu", "6")] {
            let product = json!({ "name": name, "region": "here", "instance_type": "cpu", "accelerator": "none",
                "gpus_per_unit": 0, "cpu_millis": 10, "memory_bytes": 1 << 24, "price_per_hour": price,
                "published": true });
            site.post(&site.operator, "/products", product).await.want(201);
        }
        let image = json!({ "name": "base", "reference": "base:1", "published": true });
        site.post(&site.operator, "/images", image).await.want(201);
        let version = site.get(&site.owner, "terms").await.want(200)["version"].clone();
        let terms = json!({ "spending": "pool", "runway_minutes": 10, "time_zone": "UTC" });
        site.change(&site.owner, "PUT", "terms", Some(&version), terms).await.want(200);
        site.grant("1000").await;
        sites.push(site);
    }
    sites
}

/// Gives the worker these labels.
pub(crate) async fn label(site: &Site, labels: &[&str]) {
    let path = format!("members/{}", site.member);
    let version = site.get(&site.owner, &path).await.want(200)["version"].clone();
    let change = json!({ "labels": labels });
    site.change(&site.owner, "PATCH", &path, Some(&version), change).await.want(200);
}

/// What comes of a launch.
pub(crate) async fn launch(site: &Site, who: &Token, product: &str) -> Answer {
    let wish = json!({ "name": "box", "product": product, "image": "base", "mount_team_drive": false });
    site.post(who, "instances", wish).await
}

/// Lets it become this hour of the day, today or tomorrow.
pub(crate) fn until(site: &Site, hour: i64) {
    use muster::time::Clock;
    let seconds = site.clock.now().as_micros() / 1_000_000;
    let past = seconds.rem_euclid(86_400);
    site.clock.advance(Span::from_seconds((hour * 3_600 - past).rem_euclid(86_400)));
}

/// Plans a text.
pub(crate) async fn plan(site: &Site, text: &str) -> Value {
    site.post(&site.owner, "policies:plan", json!({ "text": text })).await.want(200)
}

/// Publishes in the place of a version.
pub(crate) async fn publish(site: &Site, who: &Token, base: i64, body: Value) -> Answer {
    site.change(who, "POST", "policies:publish", Some(&json!(base)), body).await
}

/// Plans a text and publishes it; the new version's number.
pub(crate) async fn put(site: &Site, text: &str) -> i64 {
    let plan = plan(site, text).await;
    let body = json!({ "text": text, "plan": plan["plan"], "reason": "a test" });
    publish(site, &site.owner, plan["base"].as_i64().unwrap(), body).await.want(201)["number"]
        .as_i64()
        .unwrap()
}
