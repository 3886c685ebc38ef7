//! Charges of an instance that really ran: explained, computed again, rated anew, and taken back.

use std::sync::Arc;

use muster::{
    app::secrets::Token,
    digest::Digest,
    ids::HostId,
    ledger::{
        proof::{Check, Proof},
        rating::RatedLine,
    },
    money::Credits,
    op::{Actor, SystemActor},
    plugins::{Limits, Plugins, default_price},
    time::Span,
};
use serde_json::{Value, json};

use crate::{
    bills::{plant_offer, run},
    site::{Site, plugins},
};

const WASM: &str = "application/wasm";

/// A running instance of a product for 6 credits an hour, paid by a wallet with `credits`.
pub(crate) async fn launch(site: &Site, credits: &str) -> HostId {
    let host = plant_offer(site).await;
    site.grant("1000").await;
    let assigned = json!({ "member": site.member, "amount": credits });
    site.post(&site.owner, "credits/assign", assigned).await.want(201);
    let launch = json!({ "name": "box", "product": "cpu", "image": "base", "mount_team_drive": false });
    site.post(&site.worker, "instances", launch).await.want(201);
    host
}

/// Everything that was charged, the oldest interval first.
pub(crate) async fn charges(site: &Site) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("bills?view=admin&limit=200{cursor}");
        let page = site.get(&site.owner, &path).await.want(200);
        all.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    all.reverse();
    all
}

pub(crate) fn credits(value: &Value) -> Credits {
    value.as_str().unwrap().parse().unwrap()
}

pub(crate) fn sum(charges: &[Value]) -> i64 {
    charges.iter().map(|charge| credits(&charge["amount"]).as_micros()).sum()
}

fn name(charge: &Value) -> &str {
    charge["id"].as_str().unwrap()
}

/// Computes a charge again from what the server gives out: the comparisons.
async fn computed_again(site: &Site, plugins: &Plugins, who: &Token, id: &str) -> Vec<Check> {
    let proof = site.get(who, &format!("charges/{id}/proof")).await.want(200);
    let proof: Proof = serde_json::from_str(&proof.to_string()).unwrap();
    let (status, wasm) = site.bytes(who, &format!("components/{}", proof.component_digest)).await;
    assert_eq!(status, 200);
    let digest = Digest::of(&wasm);
    let plugin = plugins.load(digest, async { Ok(wasm.into()) }).await.unwrap();
    let (context, record) = if proof.told.is_unused() {
        return proof.check(&digest.to_string(), Ok(Vec::new())).unwrap();
    } else {
        proof.told.question(proof.config.clone())
    };
    let lines = plugins.rate(&Arc::clone(&plugin), &context, &[record]).await.unwrap();
    let lines = lines.into_iter().map(|line| RatedLine { line: line.line, nano: line.amount }).collect();
    proof.check(&digest.to_string(), Ok(lines)).unwrap()
}

/// Every charge of the team is what its proof says.
pub(crate) async fn assert_all_proven(site: &Site) {
    let plugins = plugins(Limits::default());
    for charge in charges(site).await {
        let checks = computed_again(site, &plugins, &site.owner, name(&charge)).await;
        let wrong: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
        assert!(wrong.is_empty(), "{charge:#}: {wrong:?}");
    }
}

#[tokio::test]
async fn a_charge_can_be_explained_and_computed_again() {
    for site in Site::both().await {
        let host = launch(&site, "50").await;
        run(&site, host, 4).await;
        assert_all_proven(&site).await;

        let all = charges(&site).await;
        let detail = site.get(&site.worker, &format!("charges/{}", name(&all[1]))).await.want(200);
        assert_eq!(detail["charge"], all[1]);
        assert_eq!(detail["revisions"], json!([all[1]["id"]]));
        let payment = &detail["payment"];
        assert_eq!((&payment["kind"], &payment["owed"]), (&json!("capture"), &json!("0")));
        let lot = &payment["lots"][0];
        assert_eq!((&lot["direction"], &lot["account"]), (&json!("debit"), &json!("wallet")));
        assert_eq!((&lot["category"], &lot["member"]), (&json!("promo"), &json!(site.member)));
        assert_eq!(lot["amount"], payment["amount"]);
    }
}

#[tokio::test]
async fn a_charge_is_for_whoever_may_see_it() {
    for site in Site::both().await {
        let host = launch(&site, "50").await;
        run(&site, host, 2).await;
        let all = charges(&site).await;
        let path = format!("charges/{}", name(&all[0]));
        site.get(&site.worker, &path).await.want(200);
        site.get(&site.operator, &path).await.want(200);
        let absent = format!("charges/{}", name(&all[0]).replacen(".0.0", ".9999.0", 1));
        site.get(&site.owner, &absent).await.fails(404, "not-found");
        site.get(&site.owner, "charges/nonsense").await.want(404);
        let digest = Digest::of(default_price()).to_string();
        assert_eq!(
            site.bytes(&site.worker, &format!("components/{digest}")).await,
            (200, default_price().to_vec())
        );
        // What no price is made of is not given out, though it may be stored.
        let other = wat::parse_str("(component)").unwrap();
        let path = format!("components/{}", Digest::of(&other));
        site.get(&site.owner, &path).await.fails(404, "not-found");
    }
}

#[tokio::test]
async fn charges_are_rated_anew_by_another_price_to_the_micro_credit() {
    for site in Site::both().await {
        let host = launch(&site, "50").await;
        run(&site, host, 6).await;
        let before = charges(&site).await;
        let segment = &before[0]["segment"];
        let wallet = credits(&json!(site.available().await[1]));
        let plugin = site.upload(&site.owner, "ours", WASM, default_price()).await.want(201);
        let cheap = json!({ "plugin": plugin["id"], "config": { "discount_percent": 33 } });
        let cheap = site.post(&site.owner, "prices", cheap).await.want(201);
        let old = before[0]["price_version"].clone();

        let from = &before[1]["from"];
        let wish = |price: &Value, dry_run| {
            json!({ "segment": segment, "from": from, "to": before[3]["to"], "price_version": price,
                "reason": "it was announced cheaper", "dry_run": dry_run })
        };
        site.post(&site.worker, "charges/re-rate", wish(&cheap["id"], true)).await.fails(403, "refused");
        site.post(&site.operator, "charges/re-rate", wish(&cheap["id"], true)).await.fails(403, "refused");
        let shown = site.post(&site.owner, "charges/re-rate", wish(&cheap["id"], true)).await.want(200);
        assert_eq!(charges(&site).await, before, "a dry run changes nothing");
        let made = site.post(&site.owner, "charges/re-rate", wish(&cheap["id"], false)).await.want(201);
        assert_eq!((&made["difference"], &made["first"]), (&shown["difference"], &shown["first"]));
        assert_eq!((&made["intervals"], &made["revision"]), (&json!(3), &json!(1)));
        assert_eq!(made["transactions"].as_array().unwrap().len(), 1);
        let after = charges(&site).await;
        let difference = credits(&made["difference"]).as_micros();
        assert_eq!(sum(&after) - sum(&before), difference);
        let three: i64 = before[1..4].iter().map(|charge| credits(&charge["amount"]).as_micros()).sum();
        assert!((difference + three * 33 / 100).abs() <= 2, "{difference} of {three}");
        let back = credits(&json!(site.available().await[1])).minus(wallet).unwrap();
        assert_eq!(back.as_micros(), -difference);
        site.assert_sound().await;
        assert_all_proven(&site).await;
        let detail = site.get(&site.owner, &format!("charges/{}", made["first"].as_str().unwrap())).await;
        let payment = detail.want(200)["payment"].clone();
        assert_eq!(
            (&payment["kind"], &payment["lots"][0]["direction"]),
            (&json!("correction"), &json!("credit"))
        );

        // What runs on is charged as if nothing had happened, and the way back is as exact.
        run(&site, host, 2).await;
        let again = site.post(&site.admin, "charges/re-rate", wish(&old, false)).await.want(201);
        assert_eq!(credits(&again["difference"]).as_micros(), -difference);
        site.assert_sound().await;
        assert_all_proven(&site).await;
        run(&site, host, 2).await;
        site.assert_sound().await;
        assert_all_proven(&site).await;
    }
}

#[tokio::test]
async fn a_price_above_the_quote_is_not_taken_and_bad_wishes_name_their_field() {
    for site in Site::both().await {
        let host = launch(&site, "50").await;
        run(&site, host, 3).await;
        let before = charges(&site).await;
        let segment = &before[0]["segment"];
        let wish = |extra: Value| {
            let mut wish = json!({ "segment": segment, "reason": "why" });
            wish.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            wish
        };
        let field = |answer: crate::site::Answer| answer.want(422)["errors"][0]["pointer"].clone();
        let none = wish(json!({ "segment": "seg_00000000000070008000000000000000" }));
        assert_eq!(field(site.post(&site.owner, "charges/re-rate", none).await), "/segment");
        let price = wish(json!({ "price_version": "price_00000000000070008000000000000000" }));
        assert_eq!(field(site.post(&site.owner, "charges/re-rate", price).await), "/price_version");
        let silent = wish(json!({ "reason": "" }));
        assert_eq!(field(site.post(&site.owner, "charges/re-rate", silent).await), "/reason");
        let backwards = wish(json!({ "from": before[2]["from"], "to": before[1]["from"] }));
        assert_eq!(field(site.post(&site.owner, "charges/re-rate", backwards).await), "/to");
        let early = wish(json!({ "from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z" }));
        assert_eq!(field(site.post(&site.owner, "charges/re-rate", early).await), "/segment");
        assert_eq!(charges(&site).await, before);
    }
}

#[tokio::test]
async fn the_operator_takes_back_what_was_charged_while_the_host_was_down() {
    for site in Site::both().await {
        let host = launch(&site, "50").await;
        run(&site, host, 6).await;
        let before = charges(&site).await;
        let wallet = credits(&json!(site.available().await[1]));
        // From within the second interval to the end of the fourth.
        let from: muster::time::Timestamp = before[1]["from"].as_str().unwrap().parse().unwrap();
        let wish = json!({ "segment": before[0]["segment"], "from": from + Span::from_seconds(1),
            "to": before[3]["to"], "reason": "the host was down" });
        site.post(&site.owner, "charges/correct", wish.clone()).await.fails(403, "refused");
        let made = site.post(&site.operator, "charges/correct", wish.clone()).await.want(201);
        assert_eq!((&made["intervals"], &made["nano_after"]), (&json!(3), &json!(0)));
        assert_ne!(made["input_digest_before"], made["input_digest_after"]);
        let three: i64 = before[1..4].iter().map(|charge| credits(&charge["amount"]).as_micros()).sum();
        assert_eq!(credits(&made["difference"]).as_micros(), -three);
        let back = credits(&json!(site.available().await[1])).minus(wallet).unwrap();
        assert_eq!(back.as_micros(), three);
        site.assert_sound().await;
        assert_all_proven(&site).await;
        let log = site.get(&site.owner, "audit?limit=20").await.want(200);
        let line = log["items"].as_array().unwrap().iter().find(|line| line["action"] == "CorrectCharges");
        let document = line.unwrap()["document"].to_string();
        for digest in ["input_digest_before", "input_digest_after"] {
            assert!(document.contains(made[digest].as_str().unwrap()), "{document}");
        }

        // Once more changes nothing, and rating again leaves alone what was not used.
        let again = site.post(&site.operator, "charges/correct", wish).await.want(201);
        assert_eq!((&again["difference"], &again["transactions"]), (&json!("0"), &json!([])));
        let rate = json!({ "segment": before[0]["segment"], "reason": "once more" });
        let rated = site.post(&site.owner, "charges/re-rate", rate).await.want(201);
        assert_eq!(rated["difference"], "0");
        assert_eq!(rated["intervals"].as_u64().unwrap() as usize, before.len() - 3);
        site.assert_sound().await;
        assert_all_proven(&site).await;
    }
}

#[tokio::test]
async fn what_is_owed_is_reduced_before_money_comes_back() {
    for site in Site::both().await {
        // Enough for the hold of an hour and nothing more; the meter sleeps for two.
        let host = launch(&site, "6").await;
        run(&site, host, 2).await;
        site.clock.advance(Span::from_seconds(7_200));
        run(&site, host, 1).await;
        let before = charges(&site).await;
        let owed: i64 = before.iter().map(|charge| credits(&charge["uncovered"]).as_micros()).sum();
        assert!(owed > 0);
        let last = before.last().unwrap();
        assert_eq!(last["uncovered"], last["amount"], "what nobody pays are the last seconds");
        let two_hours = json!({ "segment": last["segment"], "from": before[0]["from"], "to": last["to"],
            "reason": "none of it ran" });
        let made = site.post(&site.operator, "charges/correct", two_hours).await.want(201);
        assert_eq!(credits(&made["difference"]).as_micros(), -sum(&before));
        let detail = site.get(&site.owner, &format!("charges/{}", made["last"].as_str().unwrap())).await;
        let detail = detail.want(200);
        assert_eq!(credits(&detail["payment"]["owed"]).as_micros(), owed);
        assert_eq!(sum(&charges(&site).await), 0);
        site.assert_sound().await;
        assert_all_proven(&site).await;
    }
}

#[tokio::test]
async fn a_revision_is_one_transaction_for_each_month() {
    for site in Site::both().await {
        let host = launch(&site, "900").await;
        run(&site, host, 1).await;
        // Into December with one late pass of the meter: nine days of minutes.
        let midnight: muster::time::Timestamp = "2025-12-01T00:05:00Z".parse().unwrap();
        let now = site.app.op(Actor::System(SystemActor::Meter)).now();
        for _ in 0..2 {
            site.app.reconcile(&site.app.op(Actor::System(SystemActor::Reconciler)), host).await.unwrap();
        }
        site.clock.advance(midnight - now);
        run(&site, host, 1).await;
        let bill = site.get(&site.owner, "bills?view=admin&limit=1").await.want(200);
        let segment = &bill["items"][0]["segment"];
        let wish = json!({ "segment": segment, "from": "2025-11-30T23:57:00Z", "to": "2025-12-01T00:03:00Z",
            "reason": "the host was down over midnight" });
        let made = site.post(&site.operator, "charges/correct", wish).await.want(201);
        assert_eq!((&made["intervals"], &made["difference"]), (&json!(6), &json!("-0.6")));
        assert_eq!(made["transactions"].as_array().unwrap().len(), 2);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn rounding_moves_neighbours_by_a_micro_credit_and_may_cancel_out() {
    for site in Site::both().await {
        let host = plant_offer(&site).await;
        let thin = json!({ "name": "thin", "region": "here", "instance_type": "cpu", "accelerator": "none",
            "gpus_per_unit": 0, "cpu_millis": 100, "memory_bytes": 1 << 30, "price_per_hour": "0.0001",
            "published": true });
        site.post(&site.operator, "/products", thin).await.want(201);
        site.grant("100").await;
        let assigned = json!({ "member": site.member, "amount": "1" });
        site.post(&site.owner, "credits/assign", assigned).await.want(201);
        let launch = json!({ "name": "box", "product": "thin", "image": "base", "mount_team_drive": false });
        site.post(&site.worker, "instances", launch).await.want(201);
        let plugin = site.upload(&site.owner, "ours", WASM, default_price()).await.want(201);
        let cheap = json!({ "plugin": plugin["id"], "config": { "discount_percent": 33 } });
        let cheap = site.post(&site.owner, "prices", cheap).await.want(201);
        run(&site, host, 4).await;
        let (mut cancelled, mut moved) = (0, 0);
        for _ in 0..4 {
            run(&site, host, 1).await;
            let before = charges(&site).await;
            let second = before.iter().find(|charge| charge["k"] == 1).unwrap();
            for price in [&cheap["id"], &before[0]["price_version"]] {
                let wish = json!({ "segment": second["segment"], "from": second["from"], "to": second["to"],
                    "price_version": price, "reason": "a thin price" });
                let made = site.post(&site.owner, "charges/re-rate", wish).await.want(201);
                assert_eq!(made["intervals"], 1);
                assert!(made["rounded"].as_u64().unwrap() > 0, "{made:#}");
                if made["transactions"] == json!([]) {
                    cancelled += 1
                } else {
                    moved += 1
                }
                site.assert_sound().await;
            }
            // There and back again leaves every interval as it was.
            assert_eq!(sum(&charges(&site).await), sum(&before));
        }
        assert!(cancelled > 0 && moved > 0, "{cancelled} cancelled out, {moved} moved");
        assert_all_proven(&site).await;
    }
}
