//! Bills of an instance that really ran, on a simulated host: what was held, charged and given back.

use muster::{
    ids::HostId,
    op::{Actor, SystemActor},
    time::Span,
};
use serde_json::{Value, json};

use crate::site::Site;

/// A host, a product for 6 credits an hour, and an image.
pub(crate) async fn plant_offer(site: &Site) -> HostId {
    let host = json!({ "name": "one", "endpoint": "simulated:", "region": "here" });
    let host = site.post(&site.operator, "/hosts", host).await.want(201);
    let product = json!({ "name": "cpu", "region": "here", "instance_type": "cpu", "accelerator": "none",
        "gpus_per_unit": 0, "cpu_millis": 1000, "memory_bytes": 1 << 30, "price_per_hour": "6", "published": true });
    site.post(&site.operator, "/products", product).await.want(201);
    let image = json!({ "name": "base", "reference": "base:1", "published": true });
    site.post(&site.operator, "/images", image).await.want(201);
    host["id"].as_str().unwrap().parse().unwrap()
}

/// Lets the host be looked at, and the meter run, after each of `minutes` minutes.
pub(crate) async fn run(site: &Site, host: HostId, minutes: u32) {
    for _ in 0..minutes {
        for _ in 0..3 {
            site.app.reconcile(&site.app.op(Actor::System(SystemActor::Reconciler)), host).await.unwrap();
        }
        site.clock.advance(Span::from_seconds(60));
        site.app.reconcile(&site.app.op(Actor::System(SystemActor::Reconciler)), host).await.unwrap();
        site.app.meter(&site.app.op(Actor::System(SystemActor::Meter))).await.unwrap();
    }
}

#[tokio::test]
async fn what_an_instance_used_is_on_the_bill_page_by_page() {
    for site in Site::both().await {
        let host = plant_offer(&site).await;
        site.grant("100").await;
        let assigned = json!({ "member": site.member, "amount": "50" });
        site.post(&site.owner, "credits/assign", assigned).await.want(201);
        let launch = json!({ "name": "box", "product": "cpu", "image": "base", "mount_team_drive": false });
        site.post(&site.worker, "instances", launch).await.want(201);
        run(&site, host, 5).await;

        let bill = site.get(&site.worker, "bills").await.want(200);
        let charges = bill["items"].as_array().unwrap();
        assert!(charges.len() >= 4, "{bill:#}");
        assert!(charges.iter().all(|charge| charge["type"] == "instance" && charge["account"] == "member"));
        let micros =
            |charge: &Value| charge["amount"].as_str().unwrap().parse::<muster::money::Credits>().unwrap();
        let sum: i64 = charges.iter().map(|charge| micros(charge).as_micros()).sum();
        let total: muster::money::Credits = bill["total"].as_str().unwrap().parse().unwrap();
        assert_eq!(total.as_micros(), sum);
        assert!(total.is_positive());

        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("bills?view=admin&type=instance&member={}&limit=2{cursor}", site.member);
            let page = site.get(&site.owner, &path).await.want(200);
            assert_eq!(page["total"], bill["total"]);
            paged.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(&paged, charges);
        let nothing = site.get(&site.owner, "bills?view=admin&type=storage").await.want(200);
        assert_eq!((&nothing["items"], &nothing["total"]), (&json!([]), &json!("0")));

        let balance = site.get(&site.worker, "balance").await.want(200);
        assert_eq!(balance["own"]["spent"], bill["total"]);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn what_is_held_for_an_instance_cannot_be_reclaimed() {
    for site in Site::both().await {
        let _ = plant_offer(&site).await;
        site.grant("100").await;
        let amount = |amount: &str| json!({ "member": site.member, "amount": amount });
        site.post(&site.owner, "credits/assign", amount("10")).await.want(201);
        let launch = json!({ "name": "box", "product": "cpu", "image": "base", "mount_team_drive": false });
        site.post(&site.worker, "instances", launch).await.want(201);
        let [_, free] = site.available().await;
        let held = site.get(&site.worker, "balance").await.want(200)["own"]["wallet"]["held"].clone();
        assert_ne!(held, json!("0"));

        let told =
            site.post(&site.owner, "credits/reclaim", amount("10")).await.fails(409, "not-enough-credits");
        assert!(told.contains(&format!("{free} credits available")), "{told}");
        site.post(&site.owner, "credits/reclaim", amount(&free)).await.want(201);
        assert_eq!(site.available().await[1], "0");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn only_the_operator_checks_the_books() {
    for site in Site::both().await {
        site.grant("1").await;
        site.get(&site.owner, "/ledger/verify").await.fails(403, "refused");
        site.assert_sound().await;
    }
}
