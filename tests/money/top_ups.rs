//! Top-ups: who may ask, who may decide, and that one payment is credited once.

use serde_json::json;

use crate::site::Site;

#[tokio::test]
async fn a_top_up_of_the_owner_reaches_the_pool_when_the_operator_confirms() {
    for site in Site::both().await {
        let asked = json!({ "amount": "100.5", "note": "invoice 7" });
        let top_up = site.post(&site.owner, "top-ups", asked).await.want(201);
        assert_eq!((&top_up["state"], &top_up["provider"]), (&json!("pending"), &json!("manual")));
        assert_eq!(site.available().await, ["0", "0"]);

        let confirm = format!("top-ups/{}/confirm", top_up["id"].as_str().unwrap());
        site.post(&site.owner, &confirm, json!({})).await.fails(403, "refused");
        let paid = site.post(&site.operator, &confirm, json!({ "note": "seen" })).await.want(200);
        assert_eq!(paid["state"], "succeeded");
        assert_eq!(site.available().await, ["100.5", "0"]);

        let told = site.post(&site.operator, &confirm, json!({})).await.fails(409, "illegal-state");
        assert!(told.contains("succeeded"), "{told}");
        let refuse = confirm.replace("/confirm", "/refuse");
        site.post(&site.operator, &refuse, json!({})).await.fails(409, "illegal-state");
        assert_eq!(site.available().await, ["100.5", "0"]);
        let books = site.get(&site.owner, "transactions?view=admin").await.want(200);
        assert_eq!(books["items"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&books["items"][0]["kind"], &books["items"][0]["reason"]),
            (&json!("top_up"), &json!("seen"))
        );
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_refused_top_up_credits_nothing_and_stays_refused() {
    for site in Site::both().await {
        let top_up = site.post(&site.owner, "top-ups", json!({ "amount": "5" })).await.want(201);
        let refuse = format!("top-ups/{}/refuse", top_up["id"].as_str().unwrap());
        site.post(&site.operator, &refuse, json!({ "note": "no money came" })).await.want(200);
        let confirm = refuse.replace("/refuse", "/confirm");
        site.post(&site.operator, &confirm, json!({})).await.fails(409, "illegal-state");
        assert_eq!(site.available().await, ["0", "0"]);
        let all = site.get(&site.owner, "top-ups").await.want(200);
        assert_eq!(all["items"][0]["state"], "refused");
    }
}

#[tokio::test]
async fn only_the_owner_asks_for_a_top_up_and_a_refusal_names_the_policy() {
    for site in Site::both().await {
        let asked = json!({ "amount": "100" });
        let refused = site.post(&site.admin, "top-ups", asked.clone()).await.want(403);
        assert_eq!(refused["denials"][0]["policy"], "preset/glows/owner-recharges", "{refused:#}");
        let refused = site.post(&site.worker, "top-ups", asked).await.want(403);
        assert!(refused["denials"][0]["policy"].is_string(), "{refused:#}");
        assert!(refused["denials"][0]["lifted_by"].is_string(), "{refused:#}");
        let none = site.get(&site.owner, "top-ups").await.want(200);
        assert_eq!(none["items"], json!([]));
    }
}
