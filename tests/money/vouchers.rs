//! Vouchers: codes are shown once, good once a team, and not to be guessed.

use muster::time::{Clock as _, HOUR, Span};
use serde_json::{Value, json};

use crate::site::Site;

fn in_days(site: &Site, days: i64) -> String {
    (site.clock.now() + Span::from_micros(days * 24 * HOUR)).to_string()
}

/// Vouchers with these terms besides a week's time; the answer.
async fn mint(site: &Site, mut terms: Value) -> Value {
    terms["valid_until"] = json!(in_days(site, 7));
    site.post(&site.operator, "/vouchers", terms).await.want(201)
}

fn code(minted: &Value, place: usize) -> Value {
    json!({ "code": minted["items"][place]["code"] })
}

const REDEEM: &str = "vouchers/redeem";

#[tokio::test]
async fn a_code_is_shown_once_and_becomes_credits_once() {
    for site in Site::both().await {
        let terms = json!({ "amount": "10", "count": 3, "credit_days": 30, "note": "fair",
                            "valid_until": in_days(&site, 7) });
        site.post(&site.owner, "/vouchers", terms.clone()).await.fails(403, "refused");
        let minted = site.post_once(&site.operator, "mint", "/vouchers", terms.clone()).await.want(201);
        assert_eq!(minted["items"].as_array().unwrap().len(), 3);
        let again = site.post_once(&site.operator, "mint", "/vouchers", terms).await;
        assert!(again.replayed);
        assert_eq!(again.body["items"][0]["id"], minted["items"][0]["id"]);
        assert_eq!(again.body["items"][0]["code"], Value::Null);
        let listed = site.get(&site.operator, "/vouchers?limit=2").await.want(200).to_string();
        assert!(!listed.contains(minted["items"][0]["code"].as_str().unwrap()));

        let got = site.post_once(&site.owner, "k", REDEEM, code(&minted, 0)).await.want(201);
        assert_eq!((&got["amount"], &got["pool"]["available"]), (&json!("10"), &json!("10")));
        assert_eq!(got["expires_at"], json!(in_days(&site, 30)));
        assert!(site.post_once(&site.owner, "k", REDEEM, code(&minted, 0)).await.replayed);
        site.post(&site.owner, REDEEM, code(&minted, 0)).await.fails(409, "voucher-redeemed");
        let typed = minted["items"][1]["code"].as_str().unwrap().to_lowercase().replace('-', " ");
        site.post(&site.owner, REDEEM, json!({ "code": typed })).await.want(201);
        assert_eq!(site.available().await[0], "20");
        let redeemed = site.get(&site.owner, "vouchers").await.want(200);
        assert_eq!(redeemed["items"].as_array().unwrap().len(), 2);
        assert_eq!(redeemed["items"][1]["voucher"], minted["items"][0]["id"]);
        let lots = site.get(&site.owner, "lots?view=admin").await.want(200);
        assert_eq!(lots["items"][0]["category"], "promo");
        site.post(&site.worker, REDEEM, code(&minted, 2)).await.fails(403, "refused");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_voucher_can_be_revoked_used_up_over_or_for_another_team() {
    for site in Site::both().await {
        let minted = mint(&site, json!({ "amount": "1", "count": 3 })).await;
        let revoke = format!("/vouchers/{}/revoke", minted["items"][0]["id"].as_str().unwrap());
        assert!(site.post(&site.operator, &revoke, json!({})).await.want(200)["revoked_at"].is_string());
        site.post(&site.operator, &revoke, json!({})).await.fails(409, "illegal-state");
        site.post(&site.owner, REDEEM, code(&minted, 0)).await.fails(422, "voucher-unknown");

        let mine = mint(&site, json!({ "amount": "1", "team": "crew" })).await;
        site.post(&site.owner, REDEEM, code(&mine, 0)).await.want(201);
        let nobody = json!({ "amount": "1", "team": "nobody", "valid_until": in_days(&site, 1) });
        site.post(&site.operator, "/vouchers", nobody).await.fails(422, "invalid-input");
        let wrong = json!({ "amount": "0", "count": 1001, "most_uses": 0, "credit_days": 0,
                            "valid_until": in_days(&site, -1) });
        let wrong = site.post(&site.operator, "/vouchers", wrong).await.want(422);
        assert_eq!(wrong["errors"].as_array().unwrap().len(), 5, "{wrong:#}");

        const USED_UP: &str = "UPDATE vouchers SET uses = most_uses WHERE id = $1";
        let op = site.app.op(muster::op::Actor::System(muster::op::SystemActor::Setup));
        let mut tx = site.db.begin().await.unwrap();
        let id = minted["items"][1]["id"].as_str().unwrap().to_owned();
        tx.query(USED_UP).bind(id).execute().await.unwrap();
        tx.commit(&muster::op::SystemWarrant::of(&op).unwrap()).await.unwrap();
        let told = site.post(&site.owner, REDEEM, code(&minted, 1)).await.fails(409, "voucher-over");
        assert!(told.contains("as often"), "{told}");
        site.clock.advance(Span::from_seconds(7 * 86_400));
        let told = site.post(&site.owner, REDEEM, code(&minted, 2)).await.fails(409, "voucher-over");
        assert!(told.contains("until"), "{told}");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn whoever_guesses_codes_has_to_wait() {
    for site in Site::both().await {
        let minted = mint(&site, json!({ "amount": "1", "most_uses": 2 })).await;
        for guess in 0..5 {
            let guess = json!({ "code": format!("0000-0000-0000-000{guess}") });
            site.post(&site.owner, REDEEM, guess).await.fails(422, "voucher-unknown");
        }
        let told = site.post(&site.owner, REDEEM, code(&minted, 0)).await.fails(429, "throttled");
        assert!(told.contains("voucher codes"), "{told}");
        assert_eq!(site.available().await[0], "0");
        // Others are not kept waiting.
        site.post(&site.admin, REDEEM, code(&minted, 0)).await.want(201);
        site.clock.advance(Span::from_seconds(31));
        site.post(&site.owner, REDEEM, code(&minted, 0)).await.fails(409, "voucher-redeemed");
    }
}

#[tokio::test]
async fn many_at_once_redeem_a_voucher_once() {
    for site in Site::both().await {
        let minted = mint(&site, json!({ "amount": "5" })).await;
        let tries = (0..8).map(|turn| {
            let who = if turn % 2 == 0 { &site.owner } else { &site.admin };
            site.post(who, REDEEM, code(&minted, 0))
        });
        let answers = futures_util::future::join_all(tries).await;
        let good = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(good, 1);
        assert!(answers.iter().all(|answer| [201, 409].contains(&answer.status)), "{answers:#?}");
        assert_eq!(site.available().await[0], "5");
        site.assert_sound().await;
    }
}
