//! Top-ups: who may ask, who may decide, and that one payment is credited once.

use serde_json::json;

use crate::site::{Extra, Site};

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
async fn a_refused_top_up_has_failed_credits_nothing_and_stays_so() {
    for site in Site::both().await {
        let top_up = site.post(&site.owner, "top-ups", json!({ "amount": "5" })).await.want(201);
        let refuse = format!("top-ups/{}/refuse", top_up["id"].as_str().unwrap());
        site.post(&site.operator, &refuse, json!({ "note": "no money came" })).await.want(200);
        let confirm = refuse.replace("/refuse", "/confirm");
        site.post(&site.operator, &confirm, json!({})).await.fails(409, "illegal-state");
        assert_eq!(site.available().await, ["0", "0"]);
        let all = site.get(&site.owner, "top-ups").await.want(200);
        assert_eq!(
            (&all["items"][0]["state"], &all["items"][0]["failure"]),
            (&json!("failed"), &json!("no money came"))
        );
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

/// A top-up by hand that was confirmed; its id.
async fn paid(site: &Site, amount: &str) -> String {
    let top_up = site.post(&site.owner, "top-ups", json!({ "amount": amount })).await.want(201);
    let id = top_up["id"].as_str().unwrap().to_owned();
    site.post(&site.operator, &format!("top-ups/{id}/confirm"), json!({})).await.want(200);
    id
}

#[tokio::test]
async fn a_refund_takes_at_most_what_is_unused_of_that_payment() {
    for site in Site::both().await {
        let (first, second) = (paid(&site, "10").await, paid(&site, "5").await);
        // The older payment is assigned first.
        let assigned = json!({ "member": site.member, "amount": "7" });
        site.post(&site.owner, "credits/assign", assigned).await.want(201);
        let refund = format!("top-ups/{first}/refund");
        let amount = |amount: &str| json!({ "amount": amount, "note": "asked for" });
        let told = site.post(&site.operator, &refund, amount("4")).await.fails(409, "refund-too-large");
        assert!(told.starts_with("3 credits"), "{told}");
        site.post(&site.owner, &refund, amount("3")).await.fails(403, "refused");
        let view = site.post_once(&site.operator, "k", &refund, amount("3")).await.want(200);
        assert_eq!((&view["state"], &view["refunded"]), (&json!("succeeded"), &json!("3")));
        assert!(site.post_once(&site.operator, "k", &refund, amount("3")).await.replayed);
        assert_eq!(site.available().await, ["5", "7"]);

        // What comes back from a member is unused again.
        let reclaimed = json!({ "member": site.member, "amount": "7" });
        site.post(&site.owner, "credits/reclaim", reclaimed).await.want(201);
        let view = site.post(&site.operator, &refund, amount("7")).await.want(200);
        assert_eq!((&view["state"], &view["refunded"]), (&json!("refunded"), &json!("10")));
        site.post(&site.operator, &refund, amount("1")).await.fails(409, "illegal-state");
        assert_eq!(site.available().await, ["5", "0"]);
        let all = format!("top-ups/{second}/refund");
        site.post(&site.operator, &all, amount("5")).await.want(200);
        assert_eq!(site.available().await, ["0", "0"]);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_dispute_takes_the_unused_rest_and_what_was_used_is_owed_until_it_is_settled_or_given_up() {
    for site in Site::both().await {
        let id = paid(&site, "10").await;
        let assigned = json!({ "member": site.member, "amount": "6" });
        site.post(&site.owner, "credits/assign", assigned).await.want(201);
        let dispute = format!("top-ups/{id}/dispute");
        site.post(&site.owner, &dispute, json!({})).await.fails(403, "refused");
        let view = site.post(&site.operator, &dispute, json!({ "note": "by the bank" })).await.want(200);
        assert_eq!((&view["state"], &view["refunded"]), (&json!("disputed"), &json!("10")));
        assert_eq!(site.available().await, ["0", "6"]);
        site.post(&site.operator, &dispute, json!({})).await.fails(409, "illegal-state");

        // Of the next payment the debt is paid first.
        paid(&site, "4").await;
        assert_eq!(site.available().await, ["0", "6"]);
        let give_up = |amount: &str| json!({ "amount": amount, "note": "we know them" });
        let write_off = "credits/write-off";
        let told = site.post(&site.operator, write_off, give_up("3")).await.fails(409, "owes-less");
        assert!(told.contains("owes 2 credits"), "{told}");
        site.post(&site.owner, write_off, give_up("1")).await.fails(403, "refused");
        site.post(&site.operator, write_off, give_up("1.5")).await.want(201);
        paid(&site, "4").await;
        assert_eq!(site.available().await, ["3.5", "6"]);
        site.post(&site.operator, write_off, give_up("1")).await.fails(409, "owes-less");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_large_top_up_needs_two_operators_and_a_refusal_says_who_is_missing() {
    let extra = || Extra { two_person_above: Some("100".parse().unwrap()), ..Extra::default() };
    for site in Site::both_with(extra).await {
        let small = site.post(&site.owner, "top-ups", json!({ "amount": "100" })).await.want(201);
        let small = format!("top-ups/{}/confirm", small["id"].as_str().unwrap());
        assert_eq!(site.post(&site.operator, &small, json!({})).await.want(200)["state"], "succeeded");

        let large = site.post(&site.owner, "top-ups", json!({ "amount": "100.000001" })).await.want(201);
        let large = format!("top-ups/{}/confirm", large["id"].as_str().unwrap());
        let first = site.post(&site.operator, &large, json!({})).await.want(200);
        assert_eq!((&first["state"], &first["decided_by"]), (&json!("pending"), &json!(null)));
        assert_eq!(first["confirmed_by"].as_array().unwrap().len(), 1);
        assert_eq!(site.available().await[0], "100");
        let again = site.post(&site.operator, &large, json!({})).await.want(403);
        assert_eq!(again["denials"][0]["policy"], "plat/two-persons", "{again:#}");
        assert_eq!(again["denials"][0]["lifted_by"], "another operator");
        assert!(again["denials"][0]["advice"].as_str().unwrap().contains("another operator still has to"));
        let second = site.post(&site.second_operator, &large, json!({})).await.want(200);
        assert_eq!(second["state"], "succeeded");
        assert_eq!(second["confirmed_by"].as_array().unwrap().len(), 2);
        assert_eq!(site.available().await[0], "200.000001");
        site.post(&site.owner, &large, json!({})).await.fails(403, "refused");
        site.assert_sound().await;
    }
}
