//! Payments by a provider: whatever it does, every payment is credited once, and what went back has left the books.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use muster::{ids::TopUpId, money::Credits, time::Span};
use serde_json::json;

use crate::{
    fake::{Fake, signature},
    site::{Extra, Site},
};

/// A server on each database with a provider of its own.
async fn paying(seed: Option<u64>) -> Vec<(Site, Arc<Fake>)> {
    let fakes = Mutex::new(Vec::new());
    let sites = Site::both_with(|| {
        let fake = Arc::new(Fake::new(seed));
        fakes.lock().unwrap().push(fake.clone());
        Extra { providers: vec![fake], ..Extra::default() }
    })
    .await;
    sites.into_iter().zip(fakes.into_inner().unwrap()).collect()
}

async fn ask(site: &Site, amount: &str) -> TopUpId {
    let asked = json!({ "amount": amount, "provider": "fake" });
    let top_up = site.post(&site.owner, "top-ups", asked).await.want(201);
    assert_eq!(top_up["state"], "created");
    top_up["id"].as_str().unwrap().parse().unwrap()
}

async fn deliver(site: &Site, (signature, body): (String, Vec<u8>)) -> bool {
    let taken = site.post_signed("/providers/fake/events", ("fake-signature", &signature), &body).await;
    taken.want(200)["counted"] == json!(true)
}

/// All top-ups, by id.
async fn top_ups(site: &Site) -> BTreeMap<TopUpId, serde_json::Value> {
    let page = site.get(&site.owner, "top-ups?limit=200").await.want(200);
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| (item["id"].as_str().unwrap().parse().unwrap(), item.clone())).collect()
}

fn micros(value: &serde_json::Value) -> i64 {
    value.as_str().unwrap().parse::<Credits>().unwrap().as_micros()
}

#[tokio::test]
async fn a_payment_is_begun_asked_after_and_credited_by_its_message_or_by_an_answer() {
    for (site, fake) in paying(None).await {
        let (by_message, by_answer) = (ask(&site, "10").await, ask(&site, "20").await);
        site.cashier().await;
        assert!(top_ups(&site).await.values().all(|top_up| top_up["state"] == "pending"));
        assert_eq!(site.available().await[0], "0");

        fake.change(by_message, |known| known.paid = true);
        let message = fake.next_message(true).unwrap();
        assert!(deliver(&site, message.clone()).await);
        assert!(!deliver(&site, message).await);
        assert_eq!(site.available().await[0], "10");

        fake.change(by_answer, |known| known.paid = true);
        site.clock.advance(Span::from_seconds(30));
        site.cashier().await;
        assert_eq!(site.available().await[0], "30");
        while let Some(message) = fake.next_message(true) {
            deliver(&site, message).await;
        }
        assert_eq!(site.available().await[0], "30");
        let found = &top_ups(&site).await[&by_answer];
        assert_eq!((&found["state"], &found["decided_by"]), (&json!("succeeded"), &json!("provider/fake")));
        assert_eq!(found["provider_ref"], json!(format!("pay-{by_answer}")));
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_message_that_is_not_the_providers_own_counts_for_nothing() {
    for (site, fake) in paying(None).await {
        let id = ask(&site, "10").await;
        site.cashier().await;
        fake.change(id, |known| known.paid = true);
        let (signed, body) = fake.next_message(true).unwrap();
        let path = "/providers/fake/events";
        site.post_signed(path, ("fake-signature", "wrong"), &body).await.fails(401, "event-refused");
        site.post_signed(path, ("other", &signed), &body).await.fails(401, "event-refused");
        let none = String::from_utf8(body.clone()).unwrap().replace("topup_0", "topup_f");
        let signed_none = signature(none.as_bytes());
        let sent = site.post_signed(path, ("fake-signature", &signed_none), none.as_bytes());
        sent.await.fails(404, "not-found");
        site.post_signed("/providers/manual/events", ("x", "y"), &body).await.fails(401, "event-refused");
        site.post_signed("/providers/nobody/events", ("x", "y"), &body).await.fails(404, "not-found");
        assert_eq!(site.available().await[0], "0");
        site.post_signed(path, ("fake-signature", &signed), &body).await.want(200);
        assert_eq!(site.available().await[0], "10");
    }
}

#[tokio::test]
async fn the_operator_does_not_decide_what_a_provider_decides() {
    for (site, _) in paying(None).await {
        let id = ask(&site, "10").await;
        for word in ["confirm", "refuse"] {
            let path = format!("top-ups/{id}/{word}");
            let told = site.post(&site.operator, &path, json!({})).await.fails(409, "illegal-state");
            assert!(told.contains("fake"), "{told}");
        }
        let unknown = json!({ "amount": "1", "provider": "bank" });
        let wrong = site.post(&site.owner, "top-ups", unknown).await.want(422);
        assert_eq!(wrong["errors"][0]["pointer"], "/provider", "{wrong:#}");
        assert_eq!(wrong["errors"][0]["detail"], "one of fake, manual", "{wrong:#}");
    }
}

#[tokio::test]
async fn a_refund_of_the_operator_reaches_the_provider_though_answers_are_lost() {
    for (site, fake) in paying(Some(3)).await {
        let id = ask(&site, "10").await;
        for _ in 0..20 {
            site.cashier().await;
            site.clock.advance(Span::from_seconds(3_600));
        }
        fake.change(id, |known| known.paid = true);
        deliver(&site, fake.next_message(false).unwrap()).await;
        let refund = format!("top-ups/{id}/refund");
        let view = site.post(&site.operator, &refund, json!({ "amount": "4" })).await.want(200);
        assert_eq!((&view["state"], &view["refunded"]), (&json!("succeeded"), &json!("4")));
        let view = site.post(&site.operator, &refund, json!({ "amount": "6" })).await.want(200);
        assert_eq!((&view["state"], &view["refunded"]), (&json!("refunded"), &json!("10")));
        site.post(&site.operator, &refund, json!({ "amount": "1" })).await.fails(409, "illegal-state");
        for _ in 0..20 {
            site.cashier().await;
            site.clock.advance(Span::from_seconds(3_600));
        }
        assert_eq!(fake.payments()[&id].refunded, 10_000_000);
        assert_eq!(site.available().await[0], "0");
        site.assert_sound().await;
    }
}

/// One life of a site with a provider that follows a seed; then everything settles, and the two agree.
async fn simulate(site: &Site, fake: &Fake, steps: u32) {
    for _ in 0..steps {
        match fake.roll(8) {
            0 => drop(ask(site, &format!("{}.5", 1 + fake.roll(40))).await),
            1 | 2 => site.cashier().await,
            3 => fake.live(),
            4 | 5 => {
                if let Some(message) = fake.next_message(false) {
                    deliver(site, message).await;
                }
            }
            6 => {
                // What members have is used, as far as refunds go.
                let part = json!({ "member": site.member, "amount": format!("{}", 1 + fake.roll(9)) });
                let assigned = site.post(&site.owner, "credits/assign", part).await;
                assert!([201, 409].contains(&assigned.status), "{:#}", assigned.body);
            }
            _ => {
                let known: Vec<_> = top_ups(site).await.into_keys().collect();
                if let Some(id) = known.get(usize::try_from(fake.roll(8)).unwrap()) {
                    let amount = json!({ "amount": format!("{}", 1 + fake.roll(5)) });
                    let refunded = site.post(&site.operator, &format!("top-ups/{id}/refund"), amount).await;
                    assert!([200, 409].contains(&refunded.status), "{:#}", refunded.body);
                }
            }
        }
        site.clock.advance(Span::from_seconds(i64::try_from(fake.roll(60)).unwrap()));
    }
    fake.calm();
    while let Some(message) = fake.next_message(false) {
        deliver(site, message).await;
    }
    for _ in 0..4 {
        site.clock.advance(Span::from_seconds(3_600));
        site.cashier().await;
    }
    let payments = fake.payments();
    let (mut paid, mut back) = (0, 0);
    for (id, top_up) in top_ups(site).await {
        let known = payments.get(&id).expect("every top-up was begun in the end");
        assert_eq!(known.begun, 1, "{id} would be paid twice");
        let state = top_up["state"].as_str().unwrap();
        if known.paid {
            assert!(["succeeded", "refunded", "disputed"].contains(&state), "{top_up:#}");
            let gone = if known.disputed { known.amount } else { known.refunded };
            assert_eq!(micros(&top_up["refunded"]), gone, "{top_up:#}");
            assert_eq!(state == "succeeded", gone < known.amount, "{top_up:#}");
            (paid, back) = (paid + known.amount, back + gone);
        } else {
            assert!(["pending", "failed"].contains(&state), "{top_up:#}");
            assert_eq!(top_up["refunded"], "0");
        }
    }
    const CASH: &str = "SELECT debits_posted, credits_posted FROM accounts WHERE kind = 'cash'";
    assert_eq!(site.pair(CASH).await, (paid, back), "what came in and what went back");
    const ONCE: &str = "
        SELECT COUNT(*), (SELECT COUNT(*) FROM top_ups WHERE lot IS NOT NULL)
        FROM transactions WHERE kind = 'top_up'";
    let (credited, with_lot) = site.pair(ONCE).await;
    let successes = payments.values().filter(|known| known.paid).count();
    assert_eq!((credited, with_lot), (i64::try_from(successes).unwrap(), credited));
    site.assert_sound().await;
}

#[tokio::test]
async fn whatever_a_provider_does_each_payment_is_credited_once_and_the_books_agree_with_it() {
    for seed in 1..=6 {
        for (site, fake) in paying(Some(seed)).await {
            println!("seed {seed}");
            simulate(&site, &fake, 120).await;
        }
    }
}
