//! Changing a team's policies: a plan and a publication of 200 policies, and 100 000 recorded decisions asked again.
//!
//! All through the HTTP door of the whole server, by the owner's API key. A publication is what comes after its plan:
//! check, commit, swap.

use std::{sync::Arc, time::Instant};

use muster::{
    ids::DecisionId,
    model::action::Action,
    policy::{Facts, MemberPrincipal, Policies, Principal},
    store::record::DecisionRow,
    time::SystemClock,
};
use serde_json::{Value, json};

use crate::{
    decision::{fresh, instance, seat},
    support::{
        http::{connect, request},
        report::{Bar, Wanted},
        server::Server,
        site::{Site, Team},
    },
    team_policies::spread,
};

/// As many as a team may have.
const POLICIES: usize = 200;
const PUBLICATIONS: usize = 9;
const REPLAYS: usize = 3;
/// As many as are kept of a team.
const DECISIONS: usize = 100_000;
/// Decisions that are planted in one transaction.
const PAGE: usize = 5_000;

pub(crate) async fn measure() -> Vec<Bar> {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::in_folder(folder.path(), Arc::new(SystemClock)).await;
    let team = site.team("lawmakers").await;
    plant(&site, &team).await;
    site.db.close().await;
    let policies = Policies::shipped().unwrap();
    let text = spread(&policies, POLICIES);
    let (mut planned, mut published) = (
        bar("plan", "plan 200 policies, without asking recorded decisions again", "ms", PUBLICATIONS),
        bar("publish", "publish 200 policies that were planned", "ms", PUBLICATIONS),
    );
    let mut replayed = bar("replay", "ask 100 000 recorded decisions again", "s", REPLAYS);
    let server = Server::muster(folder.path(), None);
    for round in 0..PUBLICATIONS {
        let [plan, publication] = publish(&server, &team, &format!("// {round}\n{text}")).await;
        planned.ours.push(plan);
        published.ours.push(publication);
    }
    for _ in 0..REPLAYS {
        replayed.ours.push(replay(&server, &team, &text).await);
    }
    vec![planned, published, replayed]
}

fn bar(id: &'static str, what: &'static str, unit: &'static str, rounds: usize) -> Bar {
    let settings = format!("SQLite, synchronous FULL, one connection, {rounds} rounds");
    Bar { id, what, wanted: Wanted::Nothing, unit, ours: Vec::new(), yardstick: Vec::new(), settings }
}

/// Milliseconds of the plan and of the publication.
async fn publish(server: &Server, team: &Team, text: &str) -> [f64; 2] {
    let path = |verb: &str| format!("/api/v1/teams/{}/policies:{verb}", team.id);
    let mut client = connect(server.address).await;
    let began = Instant::now();
    let wish = json!({ "text": text, "replay": 0 });
    let plan = client.json(&request("POST", &path("plan"), &team.token, Some(&wish))).await;
    let planned = began.elapsed().as_secs_f64() * 1e3;
    assert_eq!(plan["policies"], POLICIES, "{plan:#}");
    let wish = json!({ "text": text, "plan": plan["plan"], "reason": "a bench" });
    let wish = request("POST", &path("publish"), &team.token, Some(&wish));
    let began = Instant::now();
    let made = client.json(&on_version(&wish, &plan["base"])).await;
    assert_eq!(made["live"], true, "{made:#}");
    [planned, began.elapsed().as_secs_f64() * 1e3]
}

/// The request with the version that it is about.
fn on_version(request: &[u8], version: &Value) -> Vec<u8> {
    let text = String::from_utf8(request.to_vec()).unwrap();
    let header = format!("Host: bench\r\nIf-Match: \"v{version}\"\r\n");
    text.replacen("Host: bench\r\n", &header, 1).into_bytes()
}

/// Seconds until all are asked again.
async fn replay(server: &Server, team: &Team, text: &str) -> f64 {
    let path = format!("/api/v1/teams/{}/policies:replay", team.id);
    let wish = json!({ "text": text, "last": DECISIONS });
    let began = Instant::now();
    let mut client = connect(server.address).await;
    let replayed = client.json(&request("POST", &path, &team.token, Some(&wish))).await;
    assert_eq!(replayed["asked"], DECISIONS, "{replayed:#}");
    began.elapsed().as_secs_f64()
}

/// Decisions as the gate records them: looks at an instance.
async fn plant(site: &Site, team: &Team) {
    let policies = Policies::shipped().unwrap();
    let member: MemberPrincipal = seat(team.id, team.member);
    let principal = Principal::Member(Arc::new(member));
    let resource = instance(team.id, team.member);
    let decision = policies.decide(&principal, Action::GetInstance, &resource, &Facts::default());
    let document = json!({ "principal": principal, "resource": resource, "facts": Facts::default(),
        "decision": decision });
    let document = document.to_string();
    for _ in 0..DECISIONS / PAGE {
        site.write(async |tx| {
            for _ in 0..PAGE {
                let row = DecisionRow {
                    id: fresh::<DecisionId>(),
                    team: team.id.to_string(),
                    at: site.op.now(),
                    actor: team.member.to_string(),
                    action: Action::GetInstance.name().to_owned(),
                    resource: team.member.to_string(),
                    allowed: true,
                    document: document.clone(),
                };
                tx.decision_insert(&row).await.unwrap();
            }
        })
        .await;
    }
}
