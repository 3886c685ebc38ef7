//! Webhooks, with a real receiver on this machine: signed messages, tried again, given up, and sent nowhere private.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use muster::time::Span;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{site::Site, stage::Stage};

/// A receiver: what came, and what it answers.
#[derive(Default)]
struct Desk {
    came: Mutex<Vec<(HeaderMap, Bytes)>>,
    answers: Mutex<VecDeque<u16>>,
}

impl Desk {
    /// Opens a receiver and gives its URL.
    async fn open() -> (Arc<Desk>, String) {
        let desk = Arc::new(Desk::default());
        let app = Router::new().route("/in", post(receive)).with_state(desk.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (desk, url)
    }

    /// Answers with these statuses, one after the other; then with 204.
    fn answer(&self, statuses: &[u16]) {
        self.answers.lock().unwrap().extend(statuses);
    }

    fn came(&self) -> Vec<(HeaderMap, Bytes)> {
        self.came.lock().unwrap().clone()
    }

    /// The kinds of what came.
    fn kinds(&self) -> Vec<String> {
        let bodies = self.came().into_iter().map(|(_, body)| serde_json::from_slice::<Value>(&body).unwrap());
        bodies.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }
}

async fn receive(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    desk.came.lock().unwrap().push((headers, body));
    let status = desk.answers.lock().unwrap().pop_front().unwrap_or(204);
    let elsewhere = [("location", "http://10.0.0.1/")];
    (StatusCode::from_u16(status).unwrap(), elsewhere).into_response()
}

/// Verifies a message as its receiver would.
#[track_caller]
fn assert_signed((headers, body): &(HeaderMap, Bytes), secret: &str) {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(body);
    let signature = header("webhook-signature");
    let signature = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
    mac.verify_slice(&signature).unwrap();
}

async fn hook(site: &Site, url: &str, kinds: Value) -> Value {
    site.post(&site.owner, "webhooks", json!({ "url": url, "kinds": kinds })).await.want(201)
}

/// Writes a message `budget.threshold`: a budget of nothing is used up at once.
async fn budget_message(site: &Site, name: &str) {
    let body =
        json!({ "name": name, "scope": "team", "period": "once", "ceiling": "0", "reaction": "alert" });
    site.post(&site.owner, "budgets", body).await.want(201);
}

async fn deliveries(site: &Site, hook: &Value, query: &str) -> Vec<Value> {
    let path = format!("webhooks/{}/deliveries{query}", hook["id"].as_str().unwrap());
    site.get(&site.owner, &path).await.want(200)["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn messages_go_signed_to_the_webhooks_that_want_them() {
    for stage in Stage::both("0", "0").await {
        let site = &stage.site;
        let ((budgets, one), (all, two), (none, three)) =
            (Desk::open().await, Desk::open().await, Desk::open().await);
        budget_message(site, "before there was a webhook").await;
        site.clock.advance(Span::from_seconds(1));
        let budgets_hook = hook(site, &one, json!(["budget."])).await;
        let all_hook = hook(site, &two, json!([])).await;
        hook(site, &three, json!(["invoice.", "budget.ended"])).await;
        budget_message(site, "after").await;
        site.post(&site.owner, "alerts", json!({ "metric": "balance", "threshold": "1" })).await.want(201);
        stage.watch().await;

        assert_eq!(stage.deliver().await, 3);
        assert_eq!(stage.deliver().await, 0);
        assert_eq!(budgets.kinds(), ["budget.threshold"]);
        let mut kinds = all.kinds();
        kinds.sort_unstable();
        assert_eq!(kinds, ["alert.fired", "budget.threshold"]);
        assert_eq!(none.kinds(), [""; 0]);
        let came = budgets.came().remove(0);
        assert_signed(&came, budgets_hook["secret"].as_str().unwrap());
        for came in all.came() {
            assert_signed(&came, all_hook["secret"].as_str().unwrap());
        }
        assert_eq!(came.0["content-type"], "application/cloudevents+json");
        let event: Value = serde_json::from_slice(&came.1).unwrap();
        assert_eq!((&event["specversion"], &event["data"]["name"]), (&json!("1.0"), &json!("after")));
        assert_eq!(event["id"].as_str().unwrap(), came.0["webhook-id"]);
        assert!(event["source"].as_str().unwrap().starts_with("http://muster.test/api/v1/teams/team_"));
        let seen = deliveries(site, &budgets_hook, "").await;
        assert_eq!((&seen[0]["state"], &seen[0]["tries"]), (&json!("delivered"), &json!(1)));
    }
}

#[tokio::test]
async fn a_failure_is_tried_again_after_a_pause_as_the_same_message() {
    for stage in Stage::both("0", "0").await {
        let site = &stage.site;
        let (desk, url) = Desk::open().await;
        desk.answer(&[500, 302]);
        let hook = hook(site, &url, json!([])).await;
        budget_message(site, "lab").await;
        assert_eq!(stage.deliver().await, 0);
        let seen = deliveries(site, &hook, "?state=waiting").await;
        assert_eq!(
            (&seen[0]["tries"], &seen[0]["last_error"]),
            (&json!(1), &json!("answered with status 500"))
        );
        site.clock.advance(Span::from_seconds(9));
        assert_eq!((stage.deliver().await, desk.came().len()), (0, 1));
        site.clock.advance(Span::from_seconds(1));
        assert_eq!((stage.deliver().await, desk.came().len()), (0, 2));
        let seen = deliveries(site, &hook, "").await;
        assert!(seen[0]["last_error"].as_str().unwrap().contains("redirects are not followed"), "{seen:?}");
        site.clock.advance(Span::from_seconds(20));
        assert_eq!((stage.deliver().await, desk.came().len()), (1, 3));
        let ids: Vec<_> = desk.came().iter().map(|(headers, _)| headers["webhook-id"].clone()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(deliveries(site, &hook, "?state=waiting").await, [Value::Null; 0]);
    }
}

#[tokio::test]
async fn a_message_that_nobody_takes_is_given_up_and_can_be_sent_again() {
    for stage in Stage::both("0", "0").await {
        let site = &stage.site;
        let (desk, url) = Desk::open().await;
        desk.answer(&[500; 12]);
        let hook = hook(site, &url, json!([])).await;
        budget_message(site, "lab").await;
        for _ in 0..20 {
            assert_eq!(stage.deliver().await, 0);
            if desk.came().len() == 12 {
                break;
            }
            site.clock.advance(Span::from_seconds(6 * 3_600));
        }
        site.clock.advance(Span::from_seconds(6 * 3_600));
        assert_eq!((stage.deliver().await, desk.came().len()), (0, 12));
        let dead = deliveries(site, &hook, "?state=dead").await;
        assert_eq!((dead.len(), &dead[0]["tries"], &dead[0]["next_at"]), (1, &json!(12), &Value::Null));
        let id = hook["id"].as_str().unwrap();
        let retry = format!("webhooks/{id}/deliveries/{}/retry", dead[0]["message"].as_str().unwrap());
        site.post(&site.worker, &retry, json!({})).await.fails(403, "refused");
        let waiting = site.post(&site.owner, &retry, json!({})).await.want(200);
        assert_eq!((&waiting["state"], &waiting["tries"]), (&json!("waiting"), &json!(0)));
        site.post(&site.owner, &retry, json!({})).await.fails(409, "illegal-state");
        assert_eq!(stage.deliver().await, 1);
        assert_eq!(deliveries(site, &hook, "?state=dead").await, [Value::Null; 0]);
    }
}

#[tokio::test]
async fn messages_go_to_no_private_address_that_the_operator_did_not_name() {
    for stage in Stage::both("0", "0").await {
        let site = &stage.site;
        let inside = [
            "http://10.1.2.3/",
            "http://192.168.0.1:8080/x",
            "http://169.254.169.254/latest/meta-data",
            "http://127.0.0.2/",
            "http://2130706434/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://0/",
        ];
        for url in inside {
            let refused = site.post(&site.owner, "webhooks", json!({ "url": url })).await.want(422);
            assert_eq!(refused["errors"][0]["pointer"], "/url");
            let told = refused["errors"][0]["detail"].as_str().unwrap();
            assert!(told.contains("webhooks.allow"), "{url}: {told}");
        }
        for url in [
            "ftp://example.org/",
            "nonsense",
            "http://",
            "https://me:secret@example.org/",
            "http://1.1.1.1/#x",
        ] {
            let refused = site.post(&site.owner, "webhooks", json!({ "url": url })).await.want(422);
            assert_eq!(refused["errors"][0]["pointer"], "/url", "{url}");
        }
        // A name is as good as its addresses; of this one the operator named one.
        let (desk, url) = Desk::open().await;
        let named = hook(site, &url.replace("127.0.0.1", "localhost"), json!([])).await;
        let test = format!("webhooks/{}/test", named["id"].as_str().unwrap());
        assert_eq!(site.post(&site.owner, &test, json!({})).await.want(200)["status"], 204);
        assert_eq!(desk.kinds(), ["webhook.test"]);
    }
}

#[tokio::test]
async fn a_secret_is_shown_once_and_a_webhook_is_the_owners_and_admins() {
    for stage in Stage::both("0", "0").await {
        let site = &stage.site;
        let (desk, url) = Desk::open().await;
        let body = json!({ "url": url, "kinds": ["budget."] });
        site.post(&site.worker, "webhooks", body.clone()).await.fails(403, "refused");
        let made = site.post_once(&site.admin, "once", "webhooks", body.clone()).await.want(201);
        let again = site.post_once(&site.admin, "once", "webhooks", body).await.want(201);
        assert!(made["secret"].as_str().unwrap().starts_with("whsec_") && again["secret"].is_null());
        assert_eq!(made["id"], again["id"]);
        let list = site.get(&site.owner, "webhooks").await.want(200);
        assert!(!list.to_string().contains("whsec_") && list["items"].as_array().unwrap().len() == 1);
        site.get(&site.worker, "webhooks").await.fails(403, "refused");
        let wrong = json!({ "url": url, "kinds": ["Budget*"] });
        let refused = site.post(&site.owner, "webhooks", wrong).await.want(422);
        assert_eq!(refused["errors"][0]["pointer"], "/kinds/0");

        let path = format!("webhooks/{}", made["id"].as_str().unwrap());
        desk.answer(&[503]);
        let test = site.post(&site.owner, &format!("{path}/test"), json!({})).await.want(200);
        let told = json!({ "delivered": false, "status": null, "error": "answered with status 503" });
        assert_eq!(test, told);
        assert_signed(&desk.came()[0], made["secret"].as_str().unwrap());
        budget_message(site, "lab").await;
        site.change(&site.worker, "DELETE", &path, None, json!({})).await.fails(403, "refused");
        site.change(&site.owner, "DELETE", &path, None, json!({})).await.want(204);
        assert_eq!((stage.deliver().await, desk.came().len()), (0, 1));
        for _ in 0..10 {
            hook(site, &url, json!([])).await;
        }
        site.post(&site.owner, "webhooks", json!({ "url": url })).await.fails(409, "too-many");
    }
}

#[tokio::test]
async fn a_webhook_is_changed_at_the_version_that_was_read_and_rests_when_it_is_told_to() {
    for stage in Stage::both("0", "0").await {
        let site = &stage.site;
        let ((desk, one), (other, two)) = (Desk::open().await, Desk::open().await);
        desk.answer(&[500]);
        let made = hook(site, &one, json!([])).await;
        let path = format!("webhooks/{}", made["id"].as_str().unwrap());
        budget_message(site, "fails at first").await;
        assert_eq!(stage.deliver().await, 0);

        let rest = json!({ "active": false });
        site.change(&site.worker, "PATCH", &path, Some(&json!(1)), rest.clone()).await.fails(403, "refused");
        let resting = site.change(&site.owner, "PATCH", &path, Some(&json!(1)), rest.clone()).await.want(200);
        assert_eq!((&resting["active"], &resting["version"]), (&json!(false), &json!(2)));
        site.change(&site.owner, "PATCH", &path, Some(&json!(1)), rest).await.fails(412, "stale-version");
        site.clock.advance(Span::from_seconds(3_600));
        budget_message(site, "written while it rests").await;
        assert_eq!((stage.deliver().await, desk.came().len()), (0, 1));

        let inside = site
            .change(&site.owner, "PATCH", &path, Some(&json!(2)), json!({ "url": "http://10.1.2.3/" }))
            .await
            .want(422);
        assert_eq!(inside["errors"][0]["pointer"], "/url");
        let change = json!({ "active": true, "url": two, "kinds": ["budget."] });
        site.change(&site.owner, "PATCH", &path, Some(&json!(2)), change).await.want(200);
        // What waited goes to the new address; what was written meanwhile went nowhere.
        assert_eq!((stage.deliver().await, desk.came().len(), other.came().len()), (1, 1, 1));
        assert_signed(&other.came()[0], made["secret"].as_str().unwrap());
        let seen = site.get(&site.owner, &path).await.want(200);
        assert_eq!((&seen["url"], &seen["kinds"]), (&json!(two), &json!(["budget."])));
        assert_eq!(seen["secret"], Value::Null);
    }
}
