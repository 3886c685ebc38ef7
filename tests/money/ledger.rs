//! The books as a whole, through the door: exported, chained, and as they were.

use std::collections::BTreeMap;

use muster::{
    op::{Actor, SystemActor, SystemWarrant},
    time::{Clock as _, Span, Timestamp},
};
use serde_json::{Value, json};

use crate::{
    bills::{plant_offer, run},
    site::Site,
};

/// A team with a gift, an assignment and an instance that ran for three minutes.
async fn live(site: &Site) {
    let host = plant_offer(site).await;
    site.grant("100").await;
    let assigned = json!({ "member": site.member, "amount": "50" });
    site.post(&site.owner, "credits/assign", assigned).await.want(201);
    let launch = json!({ "name": "box", "product": "cpu", "image": "base", "mount_team_drive": false });
    site.post(&site.worker, "instances", launch).await.want(201);
    run(site, host, 3).await;
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn the_operator_exports_the_books_and_nobody_else_does() {
    for site in Site::both().await {
        live(&site).await;
        site.get(&site.owner, "/ledger/export?form=dump").await.fails(403, "refused");
        let (status, told) = site.text(&site.operator, "/ledger/export?form=all").await;
        assert!((400..500).contains(&status) && told.contains("dump"), "{status} {told}");

        let (status, dump) = site.text(&site.operator, "/ledger/export?form=dump").await;
        assert_eq!(status, 200);
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for line in lines(&dump) {
            *kinds.entry(line["type"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let report = site.get(&site.operator, "/ledger/verify").await.want(200);
        for (kind, counted) in [
            ("account", "accounts"),
            ("transaction", "transactions"),
            ("lot", "lots"),
            ("hold", "holds"),
            ("segment", "segments"),
            ("charge", "charges"),
        ] {
            assert_eq!(json!(kinds.get(kind)), report[counted], "{kind}: {kinds:?}");
        }
        let (_, again) = site.text(&site.operator, "/ledger/export?form=dump").await;
        assert_eq!(dump, again);

        let (_, log) = site.text(&site.operator, "/ledger/export?form=log").await;
        let log = lines(&log);
        assert_eq!(json!(log.len()), report["transactions"]);
        for (line, seq) in log.iter().zip(1..) {
            assert_eq!((&line["type"], &line["seq"]), (&json!("transaction"), &json!(seq)));
        }
        let assign = log.iter().find(|line| line["kind"] == "assign").unwrap();
        assert_eq!(assign["lines"][0]["amount"], json!(50_000_000));
        assert!(assign["lines"][1]["lots"][0]["made"]["parent"].is_string(), "{assign:#}");
    }
}

#[tokio::test]
async fn the_bookkeeper_links_what_is_new_and_the_check_sees_a_rewritten_reason() {
    const DISARM_SQLITE: &str = "DROP TRIGGER transactions_keep";
    const DISARM_POSTGRES: &str = "ALTER TABLE transactions DISABLE TRIGGER transactions_keep";
    const REWRITE: &str = "UPDATE transactions SET reason = 'as agreed' WHERE seq = 2";
    for site in Site::both().await {
        live(&site).await;
        let op = site.app.op(Actor::System(SystemActor::Bookkeeper));
        assert_eq!(site.app.books_link(&op).await.unwrap(), 1);
        assert_eq!(site.app.books_link(&op).await.unwrap(), 0, "nothing is linked twice");
        site.grant("1").await;
        assert_eq!(site.app.books_link(&op).await.unwrap(), 1);
        site.assert_sound().await;
        assert_eq!(site.get(&site.operator, "/ledger/verify").await.want(200)["links"], json!(2));

        let mut tx = site.db.begin().await.unwrap();
        tx.query_by(DISARM_SQLITE, DISARM_POSTGRES).execute().await.unwrap();
        assert_eq!(tx.query(REWRITE).execute().await.unwrap(), 1);
        tx.commit(&SystemWarrant::of(&op).unwrap()).await.unwrap();
        let report = site.get(&site.operator, "/ledger/verify").await.want(200);
        assert_eq!((&report["ok"], &report["found"]), (&json!(false), &json!(1)), "{report:#}");
        assert_eq!(report["violations"][0]["invariant"], "chain-intact");
    }
}

#[tokio::test]
async fn balances_of_the_past_are_those_that_were_seen_then() {
    for site in Site::both().await {
        let mut seen: Vec<(Timestamp, Value)> = Vec::new();
        let see = async |seen: &mut Vec<(Timestamp, Value)>| {
            seen.push((site.clock.now(), site.get(&site.owner, "balance?view=admin").await.want(200)));
            site.clock.advance(Span::from_seconds(1));
        };
        see(&mut seen).await;
        let host = plant_offer(&site).await;
        site.grant("100").await;
        see(&mut seen).await;
        let amount = |amount: &str| json!({ "member": site.member, "amount": amount });
        site.post(&site.owner, "credits/assign", amount("50")).await.want(201);
        see(&mut seen).await;
        let launch = json!({ "name": "box", "product": "cpu", "image": "base", "mount_team_drive": false });
        let box_ = site.post(&site.worker, "instances", launch).await.want(201);
        see(&mut seen).await;
        for _ in 0..3 {
            run(&site, host, 1).await;
            see(&mut seen).await;
        }
        let path = format!("instances/{}/release", box_["id"].as_str().unwrap());
        site.post(&site.worker, &path, json!({})).await;
        run(&site, host, 1).await;
        see(&mut seen).await;
        site.post(&site.owner, "credits/reclaim", amount("7")).await.want(201);
        see(&mut seen).await;

        let different = seen.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
        assert!(different >= 6, "too little happened: {seen:#?}");
        for (at, then) in &seen {
            let mut now = site.get(&site.owner, &format!("balance?view=admin&at={at}")).await.want(200);
            assert_eq!(now["at"].take(), json!(at));
            let mut then = then.clone();
            then["at"].take();
            assert_eq!(now, then, "as of {at}");
        }
        let later = site.clock.now() + Span::from_seconds(60);
        site.get(&site.owner, &format!("balance?at={later}")).await.fails(422, "invalid-input");
    }
}
