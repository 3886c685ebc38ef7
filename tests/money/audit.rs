//! The audit log: complete, filtered, exported, and chained so that whoever rewrites it is found out.

use muster::{
    op::{Actor, SystemActor, SystemWarrant},
    store::{Dialect, Tx},
    time::{Span, Timestamp},
};
use serde_json::{Value, json};

use crate::site::{START, Site};

async fn link(site: &Site) -> usize {
    site.app.audit_link(&site.app.op(Actor::System(SystemActor::Bookkeeper))).await.unwrap()
}

async fn verify(site: &Site) -> Value {
    site.get(&site.owner, "audit/verify").await.want(200)
}

fn actions(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|event| event["action"].as_str().unwrap()).collect()
}

/// A grant, an assignment, a refusal and a request, a minute apart.
async fn history(site: &Site) -> Value {
    let step = || site.clock.advance(Span::from_seconds(60));
    site.grant("100").await;
    step();
    let assigned = json!({ "member": site.member, "amount": "30" });
    site.post(&site.owner, "credits/assign", assigned.clone()).await.want(201);
    step();
    site.post(&site.worker, "credits/assign", assigned).await.fails(403, "refused");
    step();
    let asked = json!({ "kind": "credits", "amount": "5", "reason": "more" });
    let asked = site.post(&site.worker, "requests", asked).await.want(201);
    step();
    site.post(&site.admin, &format!("requests/{}/approve", asked["id"].as_str().unwrap()), json!({}))
        .await
        .want(200);
    step();
    asked
}

#[tokio::test]
async fn every_change_and_refusal_is_told_with_what_decided() {
    for site in Site::both().await {
        let asked = history(&site).await;
        let log = site.get(&site.owner, "audit").await.want(200);
        let mut told = actions(&log);
        // Two of one instant are in no order.
        told[..2].sort_unstable();
        told[2..4].sort_unstable();
        let wanted = [
            "ApproveRequest",
            "request.approved",
            "CreateRequest",
            "request.created",
            "AssignCredits",
            "AssignCredits",
            "GrantCredits",
        ];
        assert_eq!(told, wanted);
        let find = |action: &str| {
            log["items"].as_array().unwrap().iter().find(|event| event["action"] == action).unwrap().clone()
        };
        let refused = find("AssignCredits");
        assert_eq!((&refused["outcome"], &refused["member"]), (&json!("refused"), &json!(site.member)));
        assert_eq!(refused["document"], json!({ "policies": ["no-permit"] }));
        let approved = find("ApproveRequest");
        assert_eq!(approved["target"], asked["id"]);
        assert_eq!(approved["document"]["granted"]["amount"], "5");
        let preset = approved["versions"]["preset"].as_str().unwrap();
        assert!(preset.starts_with("glows/"), "{preset}");
        for version in ["schema", "platform"] {
            assert_eq!(approved["versions"][version].as_str().unwrap().len(), 16);
        }
        assert_eq!(approved["versions"]["team"], Value::Null);
        assert!(approved["request"].as_str().unwrap().starts_with("req_"));
        assert!(approved["decision"].as_str().unwrap().starts_with("dec_"));
        let granted = find("GrantCredits");
        assert_eq!((&granted["member"], &granted["versions"]["preset"]), (&Value::Null, &Value::Null));
    }
}

#[tokio::test]
async fn the_log_is_filtered_and_read_page_by_page() {
    for site in Site::both().await {
        let asked = history(&site).await;
        let get = async |query: &str| site.get(&site.owner, &format!("audit?{query}")).await.want(200);
        assert_eq!(actions(&get("outcome=refused").await), ["AssignCredits"]);
        assert_eq!(actions(&get("action=AssignCredits").await).len(), 2);
        let target = format!("target={}", asked["id"].as_str().unwrap());
        assert_eq!(actions(&get(&target).await).len(), 4);
        let admin = get("action=ApproveRequest").await["items"][0]["actor"].clone();
        let mut own = get(&format!("actor={}", admin.as_str().unwrap())).await;
        own["items"].as_array_mut().unwrap().sort_by_key(|event| event["action"].to_string());
        assert_eq!(actions(&own), ["ApproveRequest", "request.approved"]);
        // What the member did, and what was done to them.
        let page = get(&format!("member={}", site.member)).await;
        let mut of_member = actions(&page);
        of_member.sort_unstable();
        assert_eq!(of_member, ["AssignCredits", "AssignCredits", "CreateRequest", "request.created"]);
        let minute = |n: i64| START + Span::from_seconds(60 * n);
        let span = |from: Timestamp, to: Timestamp| format!("from={from}&to={to}");
        assert_eq!(actions(&get(&span(minute(0), minute(1))).await), ["GrantCredits"]);
        assert_eq!(actions(&get(&span(minute(1), minute(3))).await), ["AssignCredits", "AssignCredits"]);
        assert_eq!(actions(&get(&span(minute(5), minute(9))).await), [] as [&str; 0]);

        let whole = get("").await;
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = get(&format!("limit=3{cursor}")).await;
            paged.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(json!(paged), whole["items"]);
        for wrong in ["outcome=maybe", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z"] {
            site.get(&site.owner, &format!("audit?{wrong}")).await.fails(422, "invalid-input");
        }
        for path in ["audit", "audit/export", "audit/verify"] {
            site.get(&site.worker, path).await.fails(403, "refused");
            site.get(&site.owner, &format!("/{path}")).await.fails(403, "refused");
        }
        // The operator helps and reconciles, and so reads the log of a team too.
        site.get(&site.operator, "audit").await.want(200);
    }
}

#[tokio::test]
async fn an_export_has_every_event_once_in_both_forms() {
    for site in Site::both().await {
        history(&site).await;
        assert_eq!(link(&site).await, 7);
        let whole = site.get(&site.owner, "audit").await.want(200);
        let (kind, text) = site.file(&site.owner, "audit/export").await;
        assert_eq!(kind, "application/x-ndjson");
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.reverse();
        assert_eq!(json!(lines), whole["items"]);
        assert!(lines.iter().all(|line| line["link"].is_string()));
        let (kind, text) = site.file(&site.owner, "audit/export?form=csv&outcome=refused").await;
        assert_eq!(kind, "text/csv; charset=utf-8");
        let rows: Vec<&str> = text.split("\r\n").collect();
        assert!(rows[0].starts_with("id,at,actor,member,action,target,outcome"), "{text}");
        assert_eq!(rows.len(), 3, "a head, one refusal, and the end: {text}");
        assert!(
            rows[1].contains(",AssignCredits,") && rows[1].contains(r#""{""policies"":[""no-permit""]}""#)
        );
    }
}

#[tokio::test]
async fn a_sound_log_is_sound_and_late_events_find_their_place() {
    for site in Site::both().await {
        history(&site).await;
        let report = verify(&site).await;
        assert_eq!(
            (&report["ok"], &report["linked"], &report["pending"]),
            (&json!(true), &json!(0), &json!(7))
        );
        assert_eq!(report["head"], Value::Null);
        assert_eq!(link(&site).await, 7);
        assert_eq!(link(&site).await, 0);
        let first = verify(&site).await;
        assert_eq!((&first["linked"], &first["pending"]), (&json!(7), &json!(0)));
        let noted = first["head"].as_str().unwrap().to_owned();

        site.grant("1").await;
        // A transaction that began before the last one that was linked, and ended after it.
        let late = event(&site, Span::from_seconds(-100)).await;
        assert_eq!(link(&site).await, 2);
        let report = site.get(&site.owner, &format!("audit/verify?noted={noted}")).await.want(200);
        assert_eq!((&report["ok"], &report["linked"]), (&json!(true), &json!(9)), "{report:#}");
        let log = site.get(&site.owner, "audit").await.want(200);
        assert!(log["items"].as_array().unwrap().iter().any(|event| event["id"] == json!(late)));
        let wrong = format!("7:{}", "0".repeat(64));
        let report = site.get(&site.owner, &format!("audit/verify?noted={wrong}")).await.want(200);
        assert_eq!((&report["ok"], &report["faults"][0]["event"]), (&json!(false), &json!(wrong)));
        let beyond = format!("99:{}", "0".repeat(64));
        let report = site.get(&site.owner, &format!("audit/verify?noted={beyond}")).await.want(200);
        assert_eq!(report["faults"][0]["detail"], "the chain ends at 9");
        site.get(&site.owner, "audit/verify?noted=x").await.fails(422, "invalid-input");
        let of_site = site.get(&site.operator, "/audit/verify").await.want(200);
        assert_eq!(of_site["ok"], true, "{of_site:#}");
    }
}

/// Writes an event past the services, as old as `ago`; its id.
async fn event(site: &Site, ago: Span) -> String {
    use muster::ids::{AuditId, Id};
    let at = muster::time::Clock::now(&*site.clock) + ago;
    let id = AuditId::fresh(at, &muster::chance::Seeded::new(99));
    let team = site.get(&site.owner, "/teams/crew").await.want(200)["id"].as_str().unwrap().to_owned();
    let sql = "INSERT INTO audit_events (id, team, at, actor, action, target, outcome, request, document)
               VALUES ($1, $2, $3, 'nobody', 'Nothing', '', 'done', '', '{}')";
    let mut tx = site.db.begin().await.unwrap();
    tx.query(sql).bind(id).bind(team.as_str()).bind(at).execute().await.unwrap();
    commit(site, tx).await;
    id.to_string()
}

async fn commit(site: &Site, tx: Tx) {
    let op = site.app.op(Actor::System(SystemActor::Setup));
    tx.commit(&SystemWarrant::of(&op).unwrap()).await.unwrap();
}

#[tokio::test]
async fn the_log_refuses_to_be_rewritten() {
    for site in Site::both().await {
        history(&site).await;
        link(&site).await;
        for sql in [
            "UPDATE audit_events SET actor = 'nobody' WHERE id <> $1",
            "DELETE FROM audit_events WHERE id <> $1",
            "UPDATE audit_links SET digest = 'x' WHERE event <> $1",
            "DELETE FROM audit_links WHERE event <> $1",
            "UPDATE quota_changes SET reason = 'x' WHERE id <> $1",
            "DELETE FROM quota_changes WHERE id <> $1",
        ] {
            if sql.contains("quota_changes") {
                let version = site.get(&site.owner, "quota").await.want(200)["version"].clone();
                site.change(&site.owner, "PUT", "quota", Some(&version), json!({ "gpus": 1 }))
                    .await
                    .want(200);
            }
            let mut tx = site.db.begin().await.unwrap();
            let refused = tx.query(sql).bind("").execute().await.unwrap_err().to_string();
            drop(tx);
            assert!(refused.contains("append only"), "{sql}: {refused}");
        }
    }
}

/// Takes the guards of the log away.
async fn disarm(site: &Site) {
    let mut tx = site.db.begin().await.unwrap();
    let statements: &[&'static str] = match site.db.dialect() {
        Dialect::Sqlite => &[
            "DROP TRIGGER audit_events_keep",
            "DROP TRIGGER audit_events_stay",
            "DROP TRIGGER audit_links_keep",
            "DROP TRIGGER audit_links_stay",
        ],
        Dialect::Postgres => &[
            "ALTER TABLE audit_events DISABLE TRIGGER audit_events_keep",
            "ALTER TABLE audit_links DISABLE TRIGGER audit_links_keep",
        ],
    };
    for sql in statements {
        tx.query(sql).execute().await.unwrap();
    }
    commit(site, tx).await;
}

async fn tamper(site: &Site, sql: &'static str, id: &str) {
    let mut tx = site.db.begin().await.unwrap();
    assert_eq!(tx.query(sql).bind(id).execute().await.unwrap(), 1, "{sql}");
    commit(site, tx).await;
}

#[tokio::test]
async fn whoever_tampers_is_found_out_and_the_row_is_named() {
    for site in Site::both().await {
        history(&site).await;
        link(&site).await;
        disarm(&site).await;
        let log = site.get(&site.owner, "audit").await.want(200);
        let ids: Vec<String> = log["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect();
        let named = async || {
            let report = verify(&site).await;
            assert_eq!(report["ok"], report["found"] == json!(0), "{report:#}");
            let faults = report["faults"].as_array().unwrap().clone();
            faults.iter().map(|fault| fault["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(named().await, [] as [String; 0]);
        for (sql, undo) in [
            (
                "UPDATE audit_events SET actor = actor || 'x' WHERE id = $1",
                "UPDATE audit_events SET actor = substr(actor, 1, length(actor) - 1) WHERE id = $1",
            ),
            (
                "UPDATE audit_events SET outcome = outcome || 'x' WHERE id = $1",
                "UPDATE audit_events SET outcome = substr(outcome, 1, length(outcome) - 1) WHERE id = $1",
            ),
            (
                "UPDATE audit_events SET at = at + 1 WHERE id = $1",
                "UPDATE audit_events SET at = at - 1 WHERE id = $1",
            ),
            (
                "UPDATE audit_events SET team_version = 'x' WHERE id = $1",
                "UPDATE audit_events SET team_version = NULL WHERE id = $1",
            ),
        ] {
            tamper(&site, sql, &ids[2]).await;
            assert_eq!(named().await, [ids[2].clone()], "{sql}");
            tamper(&site, undo, &ids[2]).await;
            assert_eq!(named().await, [] as [String; 0], "{undo}");
        }
        // A link that is changed accuses itself and the one that builds on it.
        tamper(&site, "UPDATE audit_links SET digest = 'x' WHERE event = $1", &ids[3]).await;
        assert!(named().await.contains(&ids[3]));
        tamper(&site, "DELETE FROM audit_events WHERE id = $1", &ids[1]).await;
        assert!(named().await.contains(&ids[1]));

        // Slipped in between: no link covers it, and no later pass gives it one.
        let slipped = event(&site, Span::from_seconds(-4_000)).await;
        site.grant("1").await;
        link(&site).await;
        assert!(named().await.contains(&slipped));
    }
}
