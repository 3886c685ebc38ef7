//! Parked charges: what a price gave no usable answer for is charged at the quoted rate, and rated again by itself.

use muster::{
    op::{Actor, SystemActor},
    plugins::{Limits, default_price},
    time::Span,
};
use serde_json::{Value, json};

use crate::{
    charges::{assert_all_proven, charges, credits, launch, sum},
    site::Site,
};

/// Runs the instance for `minutes` minutes on a server whose limits let no price answer.
async fn run_parked(site: &Site, host: muster::ids::HostId, minutes: u32) {
    let broken = site.app_with(Limits { charges_per_record: 0, ..Limits::default() }).await;
    for _ in 0..minutes {
        for _ in 0..3 {
            site.app.reconcile(&site.app.op(Actor::System(SystemActor::Reconciler)), host).await.unwrap();
        }
        site.clock.advance(Span::from_seconds(60));
        site.app.reconcile(&site.app.op(Actor::System(SystemActor::Reconciler)), host).await.unwrap();
        broken.meter(&broken.op(Actor::System(SystemActor::Meter))).await.unwrap();
    }
}

async fn rate_parked(site: &Site) -> usize {
    site.app.rate_parked(&site.app.op(Actor::System(SystemActor::Rater))).await.unwrap()
}

/// A team whose price is half of the list price, with a quote at the full one, has a running instance.
async fn latest(site: &Site) -> Vec<Value> {
    let all = charges(site).await;
    let newer = |one: &Value| {
        all.iter().any(|other| {
            (&other["segment"], &other["k"]) == (&one["segment"], &one["k"])
                && other["revision"].as_u64() > one["revision"].as_u64()
        })
    };
    all.iter().filter(|one| !newer(one)).cloned().collect()
}

#[tokio::test]
async fn a_parked_charge_is_rated_again_by_itself_and_not_with_every_tick() {
    for site in Site::both().await {
        let host = launch(&site, "50").await;
        run_parked(&site, host, 4).await;
        let before = charges(&site).await;
        assert!(before.len() >= 3);
        for charge in &before {
            assert_eq!((&charge["parked"], &charge["lines"][0]["line"]), (&json!(true), &json!("quoted")));
        }
        assert_all_proven(&site).await;

        // It has just failed, so it is left alone for a while.
        assert_eq!(rate_parked(&site).await, 0);
        site.clock.advance(Span::from_seconds(29));
        assert_eq!(rate_parked(&site).await, 0);
        site.clock.advance(Span::from_seconds(1));
        assert_eq!(rate_parked(&site).await, before.len());
        assert_eq!(rate_parked(&site).await, 0);
        let after = charges(&site).await;
        assert_eq!(after.len(), before.len() * 2, "also a revision of nothing is written");
        for charge in latest(&site).await {
            assert_eq!((&charge["parked"], &charge["revision"]), (&json!(false), &json!(1)));
            assert_ne!(charge["lines"][0]["line"], "quoted");
        }
        // The list price is what was quoted, so no money moves.
        assert_eq!(sum(&after), sum(&before));
        site.assert_sound().await;
        assert_all_proven(&site).await;
    }
}

#[tokio::test]
async fn what_still_fails_waits_longer_each_time() {
    for site in Site::both().await {
        let host = launch(&site, "50").await;
        run_parked(&site, host, 2).await;
        let broken = site.app_with(Limits { charges_per_record: 0, ..Limits::default() }).await;
        let rater = || broken.op(Actor::System(SystemActor::Rater));
        let before = charges(&site).await;
        for seconds in [0, 30, 59, 1, 119, 1] {
            site.clock.advance(Span::from_seconds(seconds));
            assert_eq!(broken.rate_parked(&rater()).await.unwrap(), 0);
        }
        assert_eq!(charges(&site).await, before);
        // Another server knows nothing of that and has its own patience.
        assert_eq!(rate_parked(&site).await, 0);
        site.clock.advance(Span::from_seconds(30));
        assert_eq!(rate_parked(&site).await, before.len());
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_parked_charge_can_be_rated_by_hand_with_a_repaired_price() {
    for site in Site::both().await {
        let host = launch(&site, "50").await;
        run_parked(&site, host, 4).await;
        let before = charges(&site).await;
        let plugin = site.upload(&site.owner, "fixed", "application/wasm", default_price()).await.want(201);
        let half = json!({ "plugin": plugin["id"], "config": { "discount_percent": 50 } });
        let half = site.post(&site.owner, "prices", half).await.want(201);
        let wish =
            json!({ "segment": before[0]["segment"], "price_version": half["id"], "reason": "repaired" });
        let made = site.post_once(&site.owner, "key", "charges/re-rate", wish.clone()).await.want(201);
        assert_eq!(credits(&made["difference"]).as_micros(), -sum(&before) / 2);
        let again = site.post_once(&site.owner, "key", "charges/re-rate", wish).await;
        assert!(again.replayed);
        assert_eq!(again.body, made);
        assert!(latest(&site).await.iter().all(|charge| charge["parked"] == false));
        site.clock.advance(Span::from_seconds(60));
        assert_eq!(rate_parked(&site).await, 0);
        site.assert_sound().await;
        assert_all_proven(&site).await;
    }
}
