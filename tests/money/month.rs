//! A month of a team for the tests of statements and cost files: credits, two instances, one of them over midnight,
//! and a terminal to look at it from.

use std::{path::Path, process::Stdio};

use muster::{
    app::secrets::Token,
    ids::{HostId, TransactionId},
    ledger::rating::Charge,
    op::{Actor, Op, SystemActor, SystemWarrant},
    store::{ChargeCursor, ChargeFilter},
    time::{Span, Timestamp},
};
use serde_json::json;

use crate::site::Site;

/// A host, a product for 6 credits an hour, and an image.
pub(crate) async fn plant_offer(site: &Site) -> HostId {
    let host = json!({ "name": "one", "endpoint": "simulated:", "region": "here" });
    let host = site.post(&site.operator, "/hosts", host).await.want(201);
    let product = json!({ "name": "cpu", "region": "here", "instance_type": "cpu", "accelerator": "none",
        "gpus_per_unit": 0, "cpu_millis": 1000, "memory_bytes": 1 << 30, "price_per_hour": "6", "published": true });
    site.post(&site.operator, "/products", product).await.want(201);
    let image = json!({ "name": "base", "reference": "base:1", "published": true });
    site.post(&site.operator, "/images", image).await.want(201);
    host["id"].as_str().unwrap().parse().unwrap()
}

/// Puts the clock forward to `at`.
pub(crate) fn wait_until(site: &Site, at: &str) {
    let at: Timestamp = at.parse().unwrap();
    site.clock.advance(at - site.app.op(Actor::Anonymous).now());
}

/// Lets the host be looked at, and the meter run, after each of `minutes` minutes.
pub(crate) async fn run(site: &Site, host: HostId, minutes: u32) {
    for _ in 0..minutes {
        look(site, host).await;
        site.clock.advance(Span::from_seconds(60));
        look(site, host).await;
    }
}

/// Lets the host be looked at, and the meter run.
pub(crate) async fn look(site: &Site, host: HostId) {
    for _ in 0..3 {
        site.app.reconcile(&site.app.op(Actor::System(SystemActor::Reconciler)), host).await.unwrap();
    }
    site.app.meter(&site.app.op(Actor::System(SystemActor::Meter))).await.unwrap();
}

/// Runs an instance for `minutes` minutes, and gives it up.
pub(crate) async fn use_instance(site: &Site, host: HostId, name: &str, minutes: u32) {
    let launch = json!({ "name": name, "product": "cpu", "image": "base", "mount_team_drive": false });
    let instance = site.post(&site.worker, "instances", launch).await.want(201);
    run(site, host, minutes).await;
    let release = format!("instances/{}/release", instance["id"].as_str().unwrap());
    site.post(&site.worker, &release, json!({})).await.want(202);
    run(site, host, 1).await;
}

/// A November in which 100 credits were paid and 20 given, and two instances ran: one on the 22nd, one from the last
/// minutes of the month into December. Leaves the clock on the morning of 1 December.
pub(crate) async fn november(site: &Site) -> HostId {
    let host = plant_offer(site).await;
    site.grant("20").await;
    let top_up =
        site.post(&site.owner, "top-ups", json!({ "amount": "100", "note": "invoice 7" })).await.want(201);
    let confirm = format!("top-ups/{}/confirm", top_up["id"].as_str().unwrap());
    site.post(&site.operator, &confirm, json!({ "note": "seen" })).await.want(200);
    let assigned = json!({ "member": site.member, "amount": "50" });
    site.post(&site.owner, "credits/assign", assigned).await.want(201);
    use_instance(site, host, "first", 5).await;
    wait_until(site, "2025-11-30T23:50:30Z");
    use_instance(site, host, "second", 20).await;
    wait_until(site, "2025-12-01T08:00:00Z");
    host
}

/// One pass over the months. Gives the number of statements closed.
pub(crate) async fn close_months(site: &Site) -> usize {
    site.app.months_close(&site.app.op(Actor::System(SystemActor::Closer))).await.unwrap()
}

fn setup(site: &Site) -> Op {
    site.app.op(Actor::System(SystemActor::Setup))
}

/// The charges of the team, the oldest first.
pub(crate) async fn charges(site: &Site) -> Vec<Charge> {
    let mut read = site.db.read().await.unwrap();
    let team = read.team_by_slug("crew").await.unwrap().unwrap();
    let page = read.charges_page(team.id, &ChargeFilter::default(), ChargeCursor::START, 10_000).await;
    let mut charges = page.unwrap();
    charges.reverse();
    charges
}

/// Puts the oldest charge into doubt, or out of it again, as a failing plugin and its repair do.
pub(crate) async fn park_first_charge(site: &Site, parked: bool) {
    const PARK: &str = "UPDATE charges SET parked = $3 WHERE segment = $1 AND k = $2";
    let first = charges(site).await.remove(0);
    let op = setup(site);
    let mut tx = site.db.begin().await.unwrap();
    tx.query(PARK).bind(first.segment).bind(first.k).bind(parked).execute().await.unwrap();
    tx.commit(&SystemWarrant::of(&op).unwrap()).await.unwrap();
}

/// Takes back the oldest charge, as the operator does for a time in which nothing ran.
pub(crate) async fn give_back(site: &Site) -> TransactionId {
    let first = charges(site).await.remove(0);
    let body = json!({ "segment": first.segment, "from": first.from_at, "to": first.to_at, "reason": "the host was down" });
    site.post(&site.operator, "charges/correct", body).await.want(201);
    let mut revised = charges(site).await.into_iter().filter(|charge| charge.revision == 1);
    revised.next().unwrap().transaction.unwrap()
}

/// Runs the client against this server, and shows its output; where it fails, exit code and both outputs.
pub(crate) async fn muster(site: &Site, who: &Token, arguments: &[&str]) -> String {
    shell(site, who, &[&["muster"], arguments].concat().join(" ")).await
}

/// Runs a line as a shell does that knows the client and this server, and shows its output; where it fails, exit code
/// and both outputs.
pub(crate) async fn shell(site: &Site, who: &Token, line: &str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = site.door.clone();
    let server = tokio::spawn(async move { axum::serve(listener, door).await.unwrap() });
    let home = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_BIN_EXE_muster")).parent().unwrap();
    let mut command = tokio::process::Command::new("/bin/sh");
    command.args(["-c", line]).env_clear().env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
    command.env("HOME", home.path()).current_dir(home.path());
    command.env("MUSTER_SERVER", format!("http://{address}")).env("MUSTER_TEAM", "crew");
    command.env("MUSTER_TOKEN", who.reveal()).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    server.abort();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    match (code, text(output.stderr)) {
        (0, errors) if errors.is_empty() => text(output.stdout),
        (code, errors) => format!("exit {code}\n{}--- stderr\n{errors}", text(output.stdout)),
    }
}

/// Reads CSV as RFC 4180 has it. A cell that is not there is `None`, an empty text in quotes is a text.
pub(crate) fn csv_read(text: &str) -> Vec<Vec<Option<String>>> {
    let (mut rows, mut row, mut cell, mut quoted, mut was_quoted) =
        (Vec::new(), Vec::new(), String::new(), false, false);
    let mut letters = text.chars().peekable();
    let finish = |cell: &mut String, was_quoted: &mut bool| {
        let text = std::mem::take(cell);
        let is_text = std::mem::take(was_quoted) || !text.is_empty();
        is_text.then_some(text)
    };
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted => row.push(finish(&mut cell, &mut was_quoted)),
            '\r' if !quoted => {
                assert_eq!(letters.next(), Some('\n'), "a line ends in CRLF");
                row.push(finish(&mut cell, &mut was_quoted));
                rows.push(std::mem::take(&mut row));
            }
            other => cell.push(other),
        }
    }
    assert!(row.is_empty() && cell.is_empty() && !quoted, "the last line is whole");
    rows
}
