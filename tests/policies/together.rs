//! Publications and launches at the same time, and several servers on one database.

use std::sync::Arc;

use serde_json::json;

use crate::scene::{both, launch, publish};

/// Members launch everything but this.
fn without(product: &str) -> String {
    format!(
        "@id(\"{product}\") @advice(\"not today\") forbid (principal in Role::\"member\", action == \
         Action::\"CreateInstance\", resource is Instance) when {{ resource.product == \"{product}\" }};"
    )
}

/// Odd versions forbid one product, even versions the other: what a decision says must fit the version that it names.
#[tokio::test(flavor = "multi_thread")]
async fn every_decision_is_of_exactly_one_version() {
    for site in both().await {
        let site = Arc::new(site);
        let publisher = tokio::spawn({
            let site = site.clone();
            async move {
                for base in 0..20 {
                    let text = without(if base % 2 == 0 { "spot-cpu" } else { "cpu" });
                    let planned = site
                        .post(&site.owner, "policies:plan", json!({ "text": text, "replay": 0 }))
                        .await
                        .want(200);
                    let body = json!({ "text": text, "plan": planned["plan"], "reason": "turn" });
                    publish(&site, &site.owner, base, body).await.want(201);
                }
            }
        });
        let mut launchers = Vec::new();
        for product in ["spot-cpu", "cpu"] {
            let (site, publisher_done) = (site.clone(), publisher.abort_handle());
            launchers.push(tokio::spawn(async move {
                let (mut allowed, mut refused) = (0, 0);
                while !publisher_done.is_finished() {
                    match launch(&site, &site.worker, product).await.status {
                        201 => allowed += 1,
                        403 => refused += 1,
                        other => panic!("{other}"),
                    }
                }
                (allowed, refused)
            }));
        }
        publisher.await.unwrap();
        for launcher in launchers {
            let (allowed, refused) = launcher.await.unwrap();
            assert!(allowed > 0 && refused > 0, "{allowed} allowed, {refused} refused");
        }
        const DECISIONS: &str = "SELECT document FROM decisions WHERE action = 'CreateInstance'";
        let rows: Vec<(String,)> = site.db.read().await.unwrap().query(DECISIONS).all().await.unwrap();
        assert!(rows.len() > 20);
        for (document,) in rows {
            let document: serde_json::Value = serde_json::from_str(&document).unwrap();
            let version = document["decision"]["versions"]["team"].as_i64().unwrap_or(0);
            let forbidden = match version {
                0 => None,
                odd if odd % 2 == 1 => Some("spot-cpu"),
                _ => Some("cpu"),
            };
            let allowed = document["decision"]["allowed"] == true;
            let product = document["resource"]["product"].as_str();
            assert_eq!(allowed, product != forbidden, "{document:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_and_a_restarted_one_know_the_live_version_at_once() {
    for site in both().await {
        let other = site.app_with(muster::plugins::Limits::default()).await;
        let key = site.post(&site.worker, "api-keys", json!({ "name": "k" })).await.want(201);
        let key = key["token"].as_str().unwrap().to_owned();
        let may = async |app: &muster::app::App| {
            let actor = app.authenticate(Some(&key)).await.unwrap();
            app.drives(&app.op(actor), "crew", Default::default()).await.is_ok()
        };
        assert!(may(&other).await);
        let no =
            "@id(\"no\") @advice(\"no\") forbid (principal, action == Action::\"ListDrives\", resource);";
        crate::scene::put(&site, no).await;
        assert!(!may(&other).await && !may(&site.app).await);
        let restarted = site.app_with(muster::plugins::Limits::default()).await;
        assert!(!may(&restarted).await);
        publish(&site, &site.owner, 1, json!({ "version": 0, "reason": "back" })).await.want(201);
        assert!(may(&other).await && may(&restarted).await && may(&site.app).await);
    }
}
