//! P4: questions to the policies over HTTP, beside a plain server around the bare engine.
//!
//! The yardstick is built here, since cedar-agent comes in no registry: an `axum` server that, as it does, keeps
//! policies and entities in memory and answers `POST /` with principal, action, resource and context as JSON by
//! `is_authorized` over the whole set. It has our shipped policies and the same member. Ours reads key, team and
//! member from the database first, and answers with reasons, limits and what is held.

use std::{str::FromStr, sync::Arc, time::Duration};

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request, Schema};
use muster::time::SystemClock;
use serde_json::{Value, json};

use crate::support::{
    http::{CONNECTIONS, load, request},
    report::{Bar, Wanted},
    server::{Server, pin_self},
    site::Site,
};

/// The word that makes this program the yardstick.
pub(crate) const CEDAR: &str = "__cedar";

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);
const SERVERS: usize = 0;
const LOAD: usize = 1;

const SCHEMA: &str = include_str!("../policies/schema.cedarschema");
const TEXTS: [&str; 5] = [
    include_str!("../policies/platform/guardrails.cedar"),
    include_str!("../policies/platform/limits.cedar"),
    include_str!("../policies/platform/site.cedar"),
    include_str!("../policies/platform/visibility.cedar"),
    include_str!("../policies/presets/glows/roles.cedar"),
];

pub(crate) async fn measure() -> Vec<Bar> {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::in_folder(folder.path(), Arc::new(SystemClock)).await;
    let team = site.team("askers").await;
    site.db.close().await;
    let cedar = Server::this_program(CEDAR, SERVERS);
    let muster = Server::muster(folder.path(), Some(SERVERS));
    let path = format!("/api/v1/teams/{}/authorize", team.id);
    let question = json!({ "action": "listInstances", "owner": team.member });
    let one = json!({ "questions": [question] });
    let many = json!({ "questions": vec![question.clone(); 200] });
    let (one, many) =
        (request("POST", &path, &team.token, Some(&one)), request("POST", &path, &team.token, Some(&many)));
    let bare = json!({ "principal": "Member::\"me\"", "action": "Action::\"ListInstances\"",
        "resource": "Record::\"it\"", "context": { "in_scope": true } });
    let bare = request("POST", "/", "", Some(&bare));
    let mut asked = bar("P4", "POST authorize ÷ a plain server around the engine", Wanted::Nothing);
    let mut batch = bar("P4 batch", "questions of batches of 200 ÷ the same", Wanted::Nothing);
    pin_self(&LOAD.to_string());
    for _ in 0..ROUNDS {
        asked.ours.push(load(muster.address, &one, TIME).await);
        let yardstick = load(cedar.address, &bare, TIME).await;
        asked.yardstick.push(yardstick);
        batch.ours.push(200.0 * load(muster.address, &many, TIME).await);
        batch.yardstick.push(yardstick);
    }
    pin_self(&format!("{SERVERS},{LOAD}"));
    vec![asked, batch]
}

fn bar(id: &'static str, what: &'static str, wanted: Wanted) -> Bar {
    let settings = format!(
        "SQLite, the shipped policies, {CONNECTIONS} keep-alive connections, each server alone on processor \
         {SERVERS}, the load on {LOAD}, {ROUNDS} rounds of {} s",
        TIME.as_secs()
    );
    Bar { id, what, wanted, unit: "1/s", ours: Vec::new(), yardstick: Vec::new(), settings }
}

/// The bare engine with everything in memory.
struct Bare {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: Entities,
}

impl Bare {
    fn new() -> Self {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
        let uid = |kind: &str, id: &str| json!({ "type": kind, "id": id });
        let refer = |kind: &str, id: &str| json!({ "__entity": uid(kind, id) });
        let shown = json!({ "all": true, "names": [] });
        let entities = json!([
            {
                "uid": uid("Member", "me"),
                "attrs": {
                    "team": refer("Team", "ours"), "active": true, "reset": false, "key": false, "account": "ada",
                    "labels": [], "quota": { "instances": i64::MAX, "gpus": i64::MAX, "gpus_per_instance": i64::MAX },
                    "visible": { "regions": shown, "instance_types": shown, "accelerators": shown, "images": shown },
                },
                "parents": [uid("Role", "owner")],
            },
            {
                "uid": uid("Record", "it"),
                "attrs": { "team": refer("Team", "ours"), "owner": refer("Member", "me") },
                "parents": [],
            },
        ]);
        let entities = Entities::from_json_value(entities, None).unwrap();
        Self {
            authorizer: Authorizer::new(),
            policies: PolicySet::from_str(&TEXTS.concat()).unwrap(),
            entities: schema.action_entities().unwrap().add_entities(entities, None).unwrap(),
        }
    }

    fn allows(&self, question: Value) -> bool {
        let name = |field: &str| EntityUid::from_str(question[field].as_str().unwrap()).unwrap();
        let context = Context::from_json_value(question["context"].clone(), None).unwrap();
        let asked = Request::new(name("principal"), name("action"), name("resource"), context, None).unwrap();
        let answer = self.authorizer.is_authorized(&asked, &self.policies, &self.entities);
        answer.decision() == Decision::Allow
    }
}

/// Answers questions at `address` until the process is ended.
pub(crate) fn cedar_serve(address: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let bare = Arc::new(Bare::new());
        let answer = async move |axum::Json(question): axum::Json<Value>| {
            assert!(bare.allows(question), "the yardstick refuses");
            axum::Json(json!({ "decision": "Allow" }))
        };
        let routes = axum::Router::new().route("/", axum::routing::get(async || "ready").post(answer));
        axum::serve(listener, routes).await.unwrap();
    });
}
