//! Months that a bookkeeper can audit: drafts, closed statements that chain, credit notes, and what is behind them.

use std::{collections::BTreeMap, path::Path};

use muster::{app::secrets::Token, digest::Digest, ledger::statement::canonical, money::Credits};
use serde_json::{Value, json};

use crate::{
    month::{
        charges, close_months, csv_read, give_back, look, muster, november, park_first_charge, plant_offer,
        run, shell, wait_until,
    },
    site::Site,
};

fn credits(value: &Value) -> i64 {
    value.as_str().unwrap().parse::<Credits>().unwrap().as_micros()
}

async fn statement(site: &Site, month: &str) -> Value {
    site.get(&site.owner, &format!("statements/{month}?view=admin")).await.want(200)
}

/// All transactions of the team.
async fn transactions(site: &Site) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page =
            site.get(&site.owner, &format!("transactions?view=admin&limit=200{cursor}")).await.want(200);
        all.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { return all };
        cursor = format!("&cursor={next}");
    }
}

/// What a transaction moved into the pool and the wallets together.
fn net(transaction: &Value) -> i64 {
    let lines = transaction["lines"].as_array().unwrap();
    let spendable = lines.iter().filter(|line| {
        line["phase"] == "posted" && ["team_pool", "wallet"].contains(&line["account"].as_str().unwrap())
    });
    spendable.map(|line| credits(&line["amount"]) * if line["direction"] == "credit" { 1 } else { -1 }).sum()
}

/// The rows of the exported month, by the name of their columns.
async fn exported(site: &Site, who: &Token, path: &str) -> Vec<BTreeMap<String, String>> {
    let (kind, text) = site.file(who, path).await;
    assert_eq!(kind, "text/csv; charset=utf-8");
    let mut rows = csv_read(&text).into_iter();
    let head: Vec<String> = rows.next().unwrap().into_iter().flatten().collect();
    let row = |cells: Vec<Option<String>>| {
        assert_eq!(cells.len(), head.len());
        head.iter().cloned().zip(cells.into_iter().map(Option::unwrap_or_default)).collect()
    };
    rows.map(row).collect()
}

fn digest_holds(view: &Value) -> bool {
    let digest = Digest::of(canonical(&view["statement"]).as_bytes()).to_string();
    view["digest"] == json!(digest)
}

#[tokio::test]
async fn a_month_adds_up_and_is_what_the_books_say() {
    for site in Site::both().await {
        november(&site).await;
        let view = statement(&site, "2025-11").await;
        assert_eq!((&view["state"], &view["digest"]), (&json!("draft"), &Value::Null));
        let november = &view["statement"];
        let end = november["end_at"].as_str().unwrap();
        assert_eq!(end, "2025-12-01T00:00:00Z");
        let all = transactions(&site).await;
        let (early, late): (Vec<&Value>, Vec<&Value>) =
            all.iter().partition(|row| row["occurred_at"].as_str().unwrap() < end);
        assert!(!early.is_empty() && !late.is_empty());
        assert_eq!(november["transactions"], json!(early.len()));
        assert_eq!((&november["opening"], &november["in"]), (&json!("0"), &json!("120")));
        assert_eq!(credits(&november["closing"]), early.iter().map(|row| net(row)).sum::<i64>());
        let kinds: Vec<&str> =
            november["lines"].as_array().unwrap().iter().map(|line| line["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["assign", "capture", "grant", "top_up"]);

        // What was used is what the charges say, and no charge crosses the month.
        let charged = |from: &str, to: &str, all: &[muster::ledger::rating::Charge]| -> i64 {
            let span = from.parse().unwrap()..to.parse().unwrap();
            all.iter()
                .filter(|charge| span.contains(&charge.from_at))
                .map(|charge| charge.amount.as_micros())
                .sum()
        };
        let all_charges = charges(&site).await;
        let in_november = charged("2025-11-01T00:00:00Z", end, &all_charges);
        assert_eq!(credits(&november["usage"]["total"]), in_november);
        assert_eq!(credits(&november["out"]), in_november);
        for by in ["by_member", "by_kind", "by_product"] {
            let lines = november["usage"][by].as_array().unwrap();
            assert_eq!(lines.iter().map(|line| credits(&line["amount"])).sum::<i64>(), in_november, "{by}");
        }
        assert_eq!(november["usage"]["by_member"][0]["name"], "member");
        assert_eq!(november["price_components"].as_array().unwrap().len(), 1);

        // The next draft goes on where this one ends, and together they are the books.
        let december = statement(&site, "2025-12").await["statement"].clone();
        assert_eq!(december["opening"], november["closing"]);
        assert_eq!(credits(&december["closing"]), all.iter().map(net).sum::<i64>());
        assert_eq!(credits(&december["usage"]["total"]), charged(end, "2026-01-01T00:00:00Z", &all_charges));
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_month_is_closed_once_and_every_transaction_is_on_one_statement() {
    for site in Site::both().await {
        november(&site).await;
        wait_until(&site, "2025-12-02T23:59:00Z");
        assert_eq!(close_months(&site).await, 0, "the grace is not over");
        wait_until(&site, "2025-12-03T00:00:00Z");
        park_first_charge(&site, true).await;
        assert_eq!(close_months(&site).await, 0, "a charge is in doubt");
        park_first_charge(&site, false).await;
        let draft = statement(&site, "2025-11").await;
        assert_eq!(close_months(&site).await, 1);
        assert_eq!(close_months(&site).await, 0);
        let closed = statement(&site, "2025-11").await;
        assert_eq!((&closed["state"], &closed["statement"]), (&json!("final"), &draft["statement"]));
        assert!(digest_holds(&closed), "{closed:#}");

        // A month without anything is closed as well, in its turn; the chain is whole.
        wait_until(&site, "2026-02-03T00:00:00Z");
        assert_eq!(close_months(&site).await, 2);
        let mut seen = Vec::new();
        let mut before = closed.clone();
        for (nth, month) in ["2025-12", "2026-01", "2026-02"].into_iter().enumerate() {
            let next = statement(&site, month).await;
            assert_eq!(next["statement"]["number"], json!(nth + 2));
            assert_eq!(next["statement"]["opening"], before["statement"]["closing"]);
            assert_eq!(next["statement"]["start_at"], before["statement"]["end_at"]);
            assert_eq!(next["statement"]["previous_digest"], before["digest"]);
            assert_eq!(next["state"], if nth < 2 { "final" } else { "draft" });
            assert!(nth == 2 || digest_holds(&next));
            before = next;
        }
        assert_eq!(before["statement"]["transactions"], 0);
        for month in ["2025-11", "2025-12", "2026-01", "2026-02"] {
            let rows = exported(&site, &site.owner, &format!("statements/{month}?view=admin&form=csv")).await;
            let rows: Vec<_> = rows.iter().filter(|row| row["record"] == "transaction").collect();
            let view = statement(&site, month).await;
            assert_eq!(view["statement"]["transactions"], json!(rows.len()));
            let micros =
                |row: &BTreeMap<String, String>, key: &str| row[key].parse::<Credits>().unwrap().as_micros();
            let sum = |key: &str| rows.iter().map(|row| micros(row, key)).sum::<i64>();
            assert_eq!(credits(&view["statement"]["in"]), sum("in"));
            assert_eq!(credits(&view["statement"]["out"]), sum("out"));
            seen.extend(rows.iter().map(|row| row["seq"].parse::<usize>().unwrap()));
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=transactions(&site).await.len()).collect::<Vec<_>>());
        let list = site.get(&site.owner, "statements?view=admin&limit=3").await.want(200);
        let months: Vec<_> =
            list["items"].as_array().unwrap().iter().map(|item| item["month"].clone()).collect();
        assert_eq!(months, ["2026-02", "2026-01", "2025-12"]);
        let rest = site.get(&site.owner, "statements?view=admin&cursor=2025-12").await.want(200);
        assert_eq!(rest["items"].as_array().unwrap().len(), 1);
        assert_eq!(rest["items"][0]["digest"], closed["digest"]);
    }
}

#[tokio::test]
async fn a_month_stays_open_while_something_that_ran_in_it_is_not_charged() {
    const FORGET: &str = "UPDATE segments SET settled = $1, billed_until = start_at WHERE number = 0";
    const RECALL: &str = "UPDATE segments SET settled = $1, billed_until = end_at WHERE number = 0";
    for site in Site::both().await {
        november(&site).await;
        wait_until(&site, "2025-12-03T00:00:00Z");
        for (sql, settled, closed) in [(FORGET, false, 0), (RECALL, true, 1)] {
            let op = site.app.op(muster::op::Actor::System(muster::op::SystemActor::Setup));
            let mut tx = site.db.begin().await.unwrap();
            tx.query(sql).bind(settled).execute().await.unwrap();
            tx.commit(&muster::op::SystemWarrant::of(&op).unwrap()).await.unwrap();
            assert_eq!(close_months(&site).await, closed);
        }
    }
}

#[tokio::test]
async fn what_is_corrected_later_gets_a_credit_note_and_is_on_the_next_statement() {
    for site in Site::both().await {
        november(&site).await;
        wait_until(&site, "2025-12-03T00:00:00Z");
        assert_eq!(close_months(&site).await, 1);
        let november = statement(&site, "2025-11").await;
        let none = site.get(&site.owner, "credit-notes?view=admin").await.want(200);
        assert_eq!(none["items"], json!([]));
        let transaction = give_back(&site).await;
        assert_eq!(close_months(&site).await, 0);
        assert_eq!(statement(&site, "2025-11").await, november, "what is closed stays as it is");

        let notes = site.get(&site.owner, "credit-notes?view=admin").await.want(200);
        let note = &notes["items"][0];
        assert_eq!(notes["items"].as_array().unwrap().len(), 1);
        assert_eq!((&note["number"], &note["month"]), (&json!(1), &json!("2025-11")));
        assert_eq!((&note["amount"], &note["transaction"]), (&json!("-0.1"), &json!(transaction)));
        assert_eq!((&note["statement"], &note["reason"]), (&november["id"], &json!("the host was down")));
        assert_eq!(note["charges"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&note["charges"][0]["amount"], &note["charges"][0]["charges"]),
            (&json!("-0.1"), &json!(1))
        );
        site.assert_sound().await;
        let own = site.get(&site.worker, "credit-notes").await.want(200);
        assert_eq!(own["items"], notes["items"], "the charges are the member's own");
        site.get(&site.worker, "credit-notes?view=admin").await.fails(403, "refused");

        wait_until(&site, "2026-01-03T00:00:00Z");
        assert_eq!(close_months(&site).await, 1);
        let december = statement(&site, "2025-12").await["statement"].clone();
        let listed = json!([{ "number": 1, "month": "2025-11", "transaction": transaction, "amount": "-0.1",
            "reason": "the host was down" }]);
        assert_eq!(december["credit_notes"], listed);
        let correction =
            december["lines"].as_array().unwrap().iter().find(|line| line["kind"] == "correction");
        assert_eq!(correction.unwrap()["in"], "0.1");
        let rows = exported(&site, &site.owner, "statements/2025-12?view=admin&form=csv").await;
        let late: Vec<_> =
            rows.iter().filter(|row| row["record"] == "charge" && row["charge"].ends_with(".1")).collect();
        assert_eq!(late.len(), 1);
        assert_eq!((late[0]["amount"].as_str(), late[0]["reason"].as_str()), ("-0.1", "the host was down"));
        assert_eq!(close_months(&site).await, 0, "one difference has one note");
        assert_eq!(site.get(&site.owner, "credit-notes?view=admin").await.want(200), notes);
    }
}

#[tokio::test]
async fn what_is_proven_after_the_close_is_late_on_the_next_statement_and_owed_where_nothing_pays() {
    for site in Site::both().await {
        let host = plant_offer(&site).await;
        site.grant("100").await;
        let assigned = json!({ "member": site.member, "amount": "60" });
        site.post(&site.owner, "credits/assign", assigned).await.want(201);
        wait_until(&site, "2025-11-30T23:50:00Z");
        let launch = json!({ "name": "box", "product": "cpu", "image": "base", "mount_team_drive": false });
        site.post(&site.worker, "instances", launch).await.want(201);
        run(&site, host, 3).await;
        // Nobody hears of the host until the month is closed; then it turns out to have run all the time.
        wait_until(&site, "2025-12-03T00:00:00Z");
        assert_eq!(close_months(&site).await, 1);
        let before = charges(&site).await.len();
        look(&site, host).await;
        let late: Vec<_> = charges(&site).await.into_iter().skip(before).collect();
        assert_eq!(close_months(&site).await, 0);

        let end = "2025-12-01T00:00:00Z".parse().unwrap();
        let sum = |amount: fn(&muster::ledger::rating::Charge) -> Credits, month_only: bool| -> i64 {
            let counted = late.iter().filter(|charge| !month_only || charge.from_at < end);
            counted.map(|charge| amount(charge).as_micros()).sum()
        };
        let november = sum(|charge| charge.amount, true);
        assert!(november > 0);
        let notes = site.get(&site.owner, "credit-notes?view=admin").await.want(200);
        assert_eq!(notes["items"].as_array().unwrap().len(), 1);
        assert_eq!(
            (credits(&notes["items"][0]["amount"]), &notes["items"][0]["month"]),
            (november, &json!("2025-11"))
        );
        let december = statement(&site, "2025-12").await["statement"].clone();
        let lines = december["lines"].as_array().unwrap();
        let counts =
            |late: bool| lines.iter().filter(move |line| line["late"] == late && line["kind"] == "capture");
        assert_eq!((counts(true).count(), counts(false).count()), (1, 1));
        assert_eq!(credits(&counts(true).next().unwrap()["out"]), november);
        assert_eq!(credits(&december["usage"]["total"]), sum(|charge| charge.amount, false));
        let owed = sum(|charge| charge.uncovered, false);
        assert!(owed > 0);
        assert_eq!((credits(&december["usage"]["owed"]), credits(&december["owed_closing"])), (owed, owed));
        assert_eq!(december["owed_opening"], "0");
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_member_sees_their_own_part_and_nothing_of_the_books() {
    for site in Site::both().await {
        november(&site).await;
        site.get(&site.worker, "statements/2025-11?view=admin").await.fails(403, "refused");
        site.get(&site.worker, "statements/2025-11?view=admin&form=csv").await.fails(403, "refused");
        site.get(&site.worker, "statements?view=admin").await.fails(403, "refused");
        site.get(&site.worker, "costs?view=admin&month=2025-11").await.fails(403, "refused");
        let own = site.get(&site.worker, "statements/2025-11").await.want(200);
        let whole = statement(&site, "2025-11").await;
        assert_eq!((&own["statement"], &own["own"]), (&Value::Null, &whole["statement"]["usage"]));
        let admins = site.get(&site.admin, "statements/2025-11").await.want(200);
        assert_eq!((&admins["own"]["total"], &admins["own"]["charges"]), (&json!("0"), &json!(0)));
        let rows = exported(&site, &site.worker, "statements/2025-11?form=csv").await;
        assert!(!rows.is_empty() && rows.iter().all(|row| row["record"] == "charge"));
        assert!(rows.iter().all(|row| row["member"] == site.member.to_string()));
        let list = site.get(&site.worker, "statements").await.want(200);
        assert_eq!(list["items"][1]["opening"], Value::Null);
    }
}

#[tokio::test]
async fn months_that_are_none_and_months_that_were_not_are_told() {
    for site in Site::both().await {
        for wrong in ["2025-13", "november", "25-11"] {
            let told = site.get(&site.owner, &format!("statements/{wrong}?view=admin")).await.want(422);
            assert_eq!(told["errors"][0]["pointer"], "month", "{told:#}");
        }
        site.get(&site.owner, "statements/2025-10?view=admin").await.fails(404, "not-found");
        site.get(&site.owner, "statements/2025-12?view=admin").await.fails(404, "not-found");
        site.get(&site.owner, "statements?view=admin&cursor=x").await.fails(422, "invalid-input");
        site.get(&site.owner, "credit-notes?view=admin&cursor=x").await.fails(422, "invalid-input");
        let told = site.get(&site.owner, "costs?view=admin&month=never").await.want(422);
        assert_eq!(told["errors"][0]["pointer"], "month");
    }
}

#[tokio::test]
async fn nobody_changes_what_is_closed() {
    const CHANGE: &str = "UPDATE statements SET closing = closing + 1";
    const REMOVE: &str = "DELETE FROM statements";
    for site in Site::both().await {
        november(&site).await;
        wait_until(&site, "2025-12-03T00:00:00Z");
        assert_eq!(close_months(&site).await, 1);
        for sql in [CHANGE, REMOVE] {
            let mut tx = site.db.begin().await.unwrap();
            let refused = tx.query(sql).execute().await.unwrap_err();
            assert!(format!("{refused:?}").contains("append only"), "{refused:?}");
        }
    }
}

/// The guide's commands, one after the other: each is run, and must show what the guide shows.
#[tokio::test]
async fn the_guide_shows_what_a_bookkeeper_sees() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/audit-a-month.md");
    let guide = std::fs::read_to_string(&path).unwrap();
    for site in Site::both().await {
        november(&site).await;
        wait_until(&site, "2025-12-03T00:00:00Z");
        assert_eq!(close_months(&site).await, 1);
        give_back(&site).await;
        assert_eq!(close_months(&site).await, 0);
        let mut shown = String::new();
        let mut lines = guide.lines();
        while let Some(line) = lines.next() {
            shown += &format!("{line}\n");
            if line != "```console" {
                continue;
            }
            let command = lines.next().unwrap().strip_prefix("$ ").expect("a console begins with a command");
            lines.by_ref().find(|line| *line == "```").expect("a console ends");
            let who = if command.contains("ledger") { &site.operator } else { &site.owner };
            let output = disguised(&shell(&site, who, command).await);
            shown += &format!("$ {command}\n{}\n```\n", output.trim_end());
        }
        if shown != guide {
            let fresh = path.with_extension("md.new");
            std::fs::write(&fresh, shown).unwrap();
            panic!(
                "the guide shows something else: read the difference of {}, then move it into place",
                fresh.display()
            );
        }
    }
}

/// Ids and digests, which differ from run to run, cut short; in a table an id keeps its width.
fn disguised(text: &str) -> String {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pieces = text.split_inclusive(|letter| !is_word(letter)).map(|piece| {
        let word = piece.trim_end_matches(|letter| !is_word(letter));
        let rest = &piece[word.len()..];
        match word.split_once('_') {
            Some((kind, id)) if id.len() == 32 && hex(id) => {
                let width = if rest == " " { word.len() } else { 0 };
                format!("{:width$}{rest}", format!("{kind}_…"))
            }
            None if word.len() == 64 && hex(word) => format!("c0ffee…{rest}"),
            _ => piece.to_owned(),
        }
    });
    pieces.collect()
}

/// Ids and digests differ from run to run: they are shown by their kind only.
macro_rules! snapshot {
    ($name:literal, $shown:expr) => {
        let shown = $shown;
        insta::with_settings!({ filters => vec![
            (r"\b[0-9a-f]{64}\b", "[digest]"),
            (r"\b([a-z]+)_[0-9a-f]{32}\b", "[$1]"),
        ] }, { insta::assert_snapshot!($name, shown) });
    };
}

/// What a bookkeeper reads; the same on both databases. `docs/guides/audit-a-month.md` shows these very outputs.
#[tokio::test]
async fn a_bookkeeper_audits_a_month_from_the_command_line() {
    for site in Site::both().await {
        november(&site).await;
        wait_until(&site, "2025-12-03T00:00:00Z");
        assert_eq!(close_months(&site).await, 1);
        give_back(&site).await;
        assert_eq!(close_months(&site).await, 0);
        wait_until(&site, "2026-01-03T00:00:00Z");
        assert_eq!(close_months(&site).await, 1);
        snapshot!("statement-ls", muster(&site, &site.owner, &["statement", "ls"]).await);
        snapshot!("statement-show", muster(&site, &site.owner, &["statement", "show", "2025-11"]).await);
        snapshot!("statement-show-next", muster(&site, &site.owner, &["statement", "show", "2025-12"]).await);
        let own = ["statement", "show", "2025-11", "--view", "self"];
        snapshot!("statement-show-own", muster(&site, &site.worker, &own).await);
        snapshot!("credit-note-ls", muster(&site, &site.owner, &["credit-note", "ls"]).await);
        let export = muster(&site, &site.owner, &["statement", "export", "2025-11"]).await;
        let head: Vec<&str> = export.lines().take(8).collect();
        snapshot!("statement-export", head.join("\n"));
        assert_eq!(export, site.file(&site.owner, "statements/2025-11?view=admin&form=csv").await.1);
        let document =
            muster(&site, &site.owner, &["statement", "export", "2025-11", "--form", "json"]).await;
        let closed = statement(&site, "2025-11").await;
        assert_eq!(json!(Digest::of(document.as_bytes()).to_string()), closed["digest"]);
        let costs = muster(&site, &site.owner, &["costs", "export", "--month", "2025-11"]).await;
        assert_eq!(costs, site.file(&site.owner, "costs?view=admin&month=2025-11").await.1);
        let absent = muster(&site, &site.owner, &["statement", "show", "2024-01"]).await;
        assert!(absent.starts_with("exit 5\n"), "{absent}");
    }
}
