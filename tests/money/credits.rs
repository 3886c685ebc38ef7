//! Credits between the pool and the wallets: never more than there is, never twice.

use serde_json::{Value, json};

use crate::site::Site;

fn transfer(site: &Site, amount: &str) -> Value {
    json!({ "member": site.member, "amount": amount, "note": "for the week" })
}

async fn transactions(site: &Site) -> usize {
    let books = site.get(&site.owner, "transactions?view=admin&limit=200").await.want(200);
    books["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn credits_go_to_a_wallet_and_back_as_far_as_they_reach() {
    for site in Site::both().await {
        site.grant("100").await;
        let moved = site.post(&site.admin, "credits/assign", transfer(&site, "30.25")).await.want(201);
        assert_eq!(moved["pool"]["available"], "69.75");
        assert_eq!(moved["wallet"], json!({ "posted": "30.25", "held": "0", "available": "30.25" }));

        let told = site.post(&site.admin, "credits/assign", transfer(&site, "69.750001")).await;
        let told = told.fails(409, "not-enough-credits");
        assert!(told.contains("69.75 credits available"), "{told}");
        let told = site.post(&site.owner, "credits/reclaim", transfer(&site, "31")).await;
        let told = told.fails(409, "not-enough-credits");
        assert!(told.contains("30.25 credits available"), "{told}");
        assert_eq!(site.available().await, ["69.75", "30.25"]);
        assert_eq!(transactions(&site).await, 2);

        site.post(&site.owner, "credits/reclaim", transfer(&site, "30.25")).await.want(201);
        assert_eq!(site.available().await, ["100", "0"]);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn wrong_amounts_wrong_members_and_the_wrong_people_move_nothing() {
    for site in Site::both().await {
        site.grant("100").await;
        for amount in ["0", "-1", "1000000000"] {
            let refused = site.post(&site.owner, "credits/assign", transfer(&site, amount)).await.want(422);
            assert_eq!(refused["errors"][0]["pointer"], "/amount", "{refused:#}");
        }
        site.post(&site.owner, "credits/assign", transfer(&site, "0.0000001")).await.fails(400, "wrong-type");
        let stranger = json!({ "member": format!("mem_{:032}", 1), "amount": "1" });
        site.post(&site.owner, "credits/assign", stranger).await.fails(422, "invalid-input");
        site.post(&site.worker, "credits/assign", transfer(&site, "1")).await.fails(403, "refused");
        site.post(&site.worker, "credits/reclaim", transfer(&site, "1")).await.fails(403, "refused");
        site.post(&site.owner, "credits/grant", json!({ "amount": "1" })).await.fails(403, "refused");
        assert_eq!(site.available().await, ["100", "0"]);
        assert_eq!(transactions(&site).await, 1);
    }
}

#[tokio::test]
async fn a_repeated_request_moves_credits_once() {
    for site in Site::both().await {
        site.grant("100").await;
        let body = transfer(&site, "40");
        let first = site.post_once(&site.owner, "monday", "credits/assign", body.clone()).await;
        let again = site.post_once(&site.owner, "monday", "credits/assign", body).await;
        assert!(!first.replayed && again.replayed);
        assert_eq!(first.want(201), again.want(201));
        let other = site.post_once(&site.owner, "monday", "credits/assign", transfer(&site, "41")).await;
        other.fails(422, "idempotency-mismatch");
        assert_eq!(site.available().await, ["60", "40"]);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_member_sees_their_own_money_and_not_the_teams() {
    for site in Site::both().await {
        site.grant("100").await;
        site.post(&site.owner, "credits/assign", transfer(&site, "40")).await.want(201);
        let own = site.get(&site.worker, "balance").await.want(200);
        assert_eq!(own["own"]["wallet"]["available"], "40");
        assert_eq!((&own["team"], &own["members"]), (&Value::Null, &Value::Null));
        assert_eq!(own["spending"], "wallet");
        site.get(&site.worker, "balance?view=admin").await.fails(403, "refused");
        site.get(&site.worker, "transactions?view=admin").await.fails(403, "refused");
        site.get(&site.worker, "bills?view=admin").await.fails(403, "refused");
        let seen = site.get(&site.worker, "transactions").await.want(200);
        let seen = seen["items"].as_array().unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!((&seen[0]["kind"], &seen[0]["amount"]), (&json!("assign"), &json!("40")));
        let lines = [
            json!({ "account": "team_pool", "member": null, "direction": "debit", "phase": "posted", "amount": "40" }),
            json!({ "account": "wallet", "member": site.member, "direction": "credit", "phase": "posted",
                    "amount": "40" }),
        ];
        assert_eq!(seen[0]["lines"], json!(lines));
    }
}

#[tokio::test]
async fn pages_of_transactions_join_without_gap_or_repeat() {
    for site in Site::both().await {
        site.grant("100").await;
        for amount in ["1", "2", "3", "4"] {
            site.post(&site.owner, "credits/assign", transfer(&site, amount)).await.want(201);
        }
        let (mut amounts, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("transactions?view=admin&limit=2{cursor}");
            let page = site.get(&site.owner, &path).await.want(200);
            let rows = page["items"].as_array().unwrap();
            amounts.extend(rows.iter().map(|row| row["amount"].as_str().unwrap().to_owned()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        amounts.sort_unstable();
        assert_eq!(amounts, ["1", "100", "2", "3", "4"]);
        let of_member = format!("transactions?view=admin&member={}", site.member);
        let of_member = site.get(&site.owner, &of_member).await.want(200);
        assert_eq!(of_member["items"].as_array().unwrap().len(), 4);
        site.get(&site.owner, "transactions?cursor=nonsense").await.fails(422, "invalid-input");
        site.get(&site.owner, "bills?cursor=nonsense").await.fails(422, "invalid-input");
        site.get(&site.owner, "balance?limit=201").await.fails(422, "invalid-input");
    }
}

#[tokio::test]
async fn goodwill_goes_to_the_pool_or_to_a_wallet_and_says_what_for() {
    for site in Site::both().await {
        let sorry = json!({ "amount": "3", "note": "the outage of May" });
        site.post(&site.owner, "credits/goodwill", sorry.clone()).await.fails(403, "refused");
        let pool = site.post(&site.operator, "credits/goodwill", sorry).await.want(201);
        assert_eq!((&pool["kind"], &pool["wallet"]), (&json!("goodwill"), &json!(null)));
        let sorry = json!({ "amount": "2", "note": "a lost night", "member": site.member });
        let wallet = site.post(&site.operator, "credits/goodwill", sorry).await.want(201);
        assert_eq!(wallet["wallet"]["available"], "2");
        assert_eq!(site.available().await, ["3", "2"]);
        let silent = json!({ "amount": "2", "note": " " });
        site.post(&site.operator, "credits/goodwill", silent).await.fails(422, "invalid-input");
        let nobody = json!({ "amount": "2", "note": "x", "member": format!("mem_{:032x}", 1) });
        site.post(&site.operator, "credits/goodwill", nobody).await.fails(422, "invalid-input");
        let past = json!({ "amount": "2", "expires_at": "2020-01-01T00:00:00Z" });
        site.post(&site.operator, "credits/grant", past).await.fails(422, "invalid-input");
        site.assert_sound().await;
    }
}
