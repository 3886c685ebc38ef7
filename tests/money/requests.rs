//! What members ask for: filed from a refusal, granted in part, decided once, over in time, and checked again when it
//! is granted.

use muster::time::Span;
use serde_json::{Value, json};

use crate::{
    quotas::{box_named, furnished},
    site::{START, Site},
};

fn credits(amount: &str) -> Value {
    json!({ "kind": "credits", "amount": amount, "reason": "for the week" })
}

fn quota(limits: Value) -> Value {
    json!({ "kind": "quota", "limits": limits, "reason": "a bigger model" })
}

fn path_of(request: &Value, what: &str) -> String {
    format!("requests/{}{what}", request["id"].as_str().unwrap())
}

/// The id of the member with this role.
async fn role_of(site: &Site, role: &str) -> Value {
    let members = site.get(&site.owner, "members").await.want(200);
    let mut members = members["items"].as_array().unwrap().iter();
    members.find(|member| member["role"] == role).unwrap()["id"].clone()
}

async fn kinds_of_messages(site: &Site) -> Vec<String> {
    let mut read = site.db.read().await.unwrap();
    let sql = "SELECT kind FROM outbox WHERE kind LIKE 'request.%' ORDER BY created_at, kind";
    let kinds: Vec<(String,)> = read.query(sql).all().await.unwrap();
    kinds.into_iter().map(|(kind,)| kind).collect()
}

#[tokio::test]
async fn credits_are_asked_for_given_in_part_and_refused() {
    for site in Site::both().await {
        site.grant("100").await;
        let asked = site.post(&site.worker, "requests", credits("40")).await.want(201);
        assert_eq!((&asked["state"], &asked["member"]), (&json!("open"), &json!(site.member)));
        assert_eq!(asked["expires_at"], json!(START + Span::from_seconds(14 * 86_400)));
        let told = site.post(&site.worker, "requests", credits("1")).await.fails(409, "request-open");
        assert!(told.contains("cancel"), "{told}");

        let approve = path_of(&asked, "/approve");
        site.post(&site.worker, &approve, json!({})).await.fails(403, "refused");
        let more = site.post(&site.admin, &approve, json!({ "amount": "41" })).await.want(422);
        assert_eq!(more["errors"][0]["pointer"], "/amount");
        for wrong in [json!({ "limits": { "gpus": 1 } }), json!({ "until": START + Span::from_seconds(9) })] {
            site.post(&site.admin, &approve, wrong).await.fails(422, "invalid-input");
        }
        assert_eq!(site.available().await, ["100", "0"]);
        site.clock.advance(Span::from_seconds(1));
        let part = json!({ "amount": "15.5", "note": "half for now" });
        let given = site.post(&site.admin, &approve, part).await.want(200);
        assert_eq!((&given["state"], &given["answer"]), (&json!("approved"), &json!("half for now")));
        assert_eq!((&given["amount"], &given["granted"]["amount"]), (&json!("40"), &json!("15.5")));
        assert_eq!(site.available().await, ["84.5", "15.5"]);
        let books = site.get(&site.worker, "transactions").await.want(200);
        assert_eq!(
            (&books["items"][0]["id"], &books["items"][0]["reason"]),
            (&given["granted"]["transaction"], &json!("for the week"))
        );
        let again = site.post(&site.owner, &approve, json!({})).await.fails(409, "request-decided");
        assert!(again.contains("approved already"), "{again}");
        site.post(&site.worker, &path_of(&asked, "/cancel"), json!({})).await.fails(409, "request-decided");

        site.clock.advance(Span::from_seconds(1));
        let second = site.post(&site.worker, "requests", credits("7")).await.want(201);
        site.clock.advance(Span::from_seconds(1));
        site.post(&site.owner, &path_of(&second, "/refuse"), json!({ "note": "" }))
            .await
            .fails(422, "invalid-input");
        let no =
            site.post(&site.owner, &path_of(&second, "/refuse"), json!({ "note": "no" })).await.want(200);
        assert_eq!((&no["state"], &no["granted"]), (&json!("refused"), &Value::Null));
        site.clock.advance(Span::from_seconds(1));
        let third = site.post(&site.worker, "requests", credits("8")).await.want(201);
        site.post(&site.worker, &path_of(&third, "/cancel"), json!({})).await.want(200);
        let told = kinds_of_messages(&site).await;
        let wanted =
            ["request.created", "request.approved", "request.created", "request.refused", "request.created"];
        assert_eq!(told, wanted);
        assert_eq!(site.available().await, ["84.5", "15.5"]);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn everybody_sees_their_own_and_those_who_decide_see_all() {
    for site in Site::both().await {
        let first = site.post(&site.worker, "requests", credits("4")).await.want(201);
        site.clock.advance(Span::from_seconds(1));
        let second = site.post(&site.admin, "requests", credits("5")).await.want(201);
        site.clock.advance(Span::from_seconds(1));
        let third = site.post(&site.worker, "requests", quota(json!({ "gpus": 4 }))).await.want(201);
        let ids = |page: Value| -> Vec<Value> {
            page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
        };
        let all = [&third, &second, &first].map(|request| request["id"].clone());
        assert_eq!(ids(site.get(&site.owner, "requests").await.want(200)), all);
        assert_eq!(ids(site.get(&site.operator, "requests").await.want(200)), all);
        let own = [&third, &first].map(|request| request["id"].clone());
        assert_eq!(ids(site.get(&site.worker, "requests").await.want(200)), own);
        site.get(&site.worker, &format!("requests?member={}", second["member"].as_str().unwrap()))
            .await
            .fails(403, "refused");
        site.get(&site.worker, &path_of(&second, "")).await.fails(403, "refused");
        assert_eq!(site.get(&site.owner, &path_of(&second, "")).await.want(200), second);
        let few = site.get(&site.owner, "requests?kind=quota&state=open").await.want(200);
        assert_eq!(ids(few), [third["id"].clone()]);
        let page = site.get(&site.owner, "requests?limit=2").await.want(200);
        let rest = format!("requests?limit=2&cursor={}", page["next_cursor"].as_str().unwrap());
        assert_eq!(ids(site.get(&site.owner, &rest).await.want(200)), [first["id"].clone()]);
        site.get(&site.owner, "requests?state=lost").await.fails(400, "malformed-query");
    }
}

#[tokio::test]
async fn what_nobody_could_give_is_not_asked_for() {
    for site in Site::both().await {
        site.post(&site.owner, "requests", credits("4")).await.fails(409, "nothing-to-ask-for");
        site.post(&site.admin, "requests", quota(json!({ "gpus": 4 })))
            .await
            .fails(409, "nothing-to-ask-for");
        site.post(&site.operator, "requests", credits("4")).await.fails(403, "not-a-member");
        for (body, pointer) in [
            (json!({ "kind": "credits", "reason": "x" }), "/amount"),
            (json!({ "kind": "credits", "amount": "0", "reason": "x" }), "/amount"),
            (json!({ "kind": "credits", "amount": "1", "reason": "" }), "/reason"),
            (json!({ "kind": "credits", "amount": "1", "limits": {}, "reason": "x" }), "/limits"),
            (json!({ "kind": "quota", "reason": "x" }), "/limits"),
            (quota(json!({})), "/limits"),
            (quota(json!({ "gpus": 1_000_001 })), "/limits/gpus"),
            (json!({ "kind": "team_quota", "limits": { "gpus": 1 }, "reason": "x" }), "/kind"),
            (json!({ "kind": "credits", "amount": "1", "reason": "x", "expires_at": START }), "/expires_at"),
            (json!({ "kind": "quota", "limits": { "gpus": 1 }, "reason": "x", "until": START }), "/until"),
        ] {
            let refused = site.post(&site.worker, "requests", body).await.want(422);
            assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused:#}");
        }
        assert_eq!(site.get(&site.owner, "requests").await.want(200)["items"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_who_approve_at_once_give_once() {
    for site in Site::both().await {
        site.grant("100").await;
        for round in 1..=5 {
            let asked = site.post(&site.worker, "requests", credits("3")).await.want(201);
            let approve = path_of(&asked, "/approve");
            let (one, two) = tokio::join!(
                site.post(&site.owner, &approve, json!({})),
                site.post(&site.admin, &approve, json!({}))
            );
            let mut statuses = [one.status, two.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 409], "{one:#?} {two:#?}");
            assert_eq!(site.available().await[1], (round * 3).to_string());
        }
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn when_the_money_is_gone_nothing_is_decided_and_the_request_stays_open() {
    for site in Site::both().await {
        site.grant("10").await;
        let asked = site.post(&site.worker, "requests", credits("10")).await.want(201);
        let approve = path_of(&asked, "/approve");
        let away = role_of(&site, "admin").await;
        site.post(&site.owner, "credits/assign", json!({ "member": away, "amount": "6" })).await.want(201);
        let told = site.post(&site.admin, &approve, json!({})).await.fails(409, "not-enough-credits");
        assert!(told.contains("4 credits available"), "{told}");
        let seen = site.get(&site.worker, &path_of(&asked, "")).await.want(200);
        assert_eq!((&seen["state"], &seen["decided_by"]), (&json!("open"), &Value::Null));
        assert_eq!(site.available().await[1], "0");

        let given = site.post_once(&site.admin, "k", &approve, json!({ "amount": "4" })).await.want(200);
        let again = site.post_once(&site.admin, "k", &approve, json!({ "amount": "4" })).await;
        assert!(again.replayed);
        assert_eq!(again.want(200), given);
        assert_eq!(site.available().await, ["0", "4"]);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn nobody_is_given_anything_after_they_have_gone() {
    for site in Site::both().await {
        site.grant("10").await;
        let asked = site.post(&site.worker, "requests", credits("10")).await.want(201);
        let limits = site.post(&site.worker, "requests", quota(json!({ "gpus": 4 }))).await.want(201);
        assert_eq!(site.delete(&site.owner, &format!("members/{}", site.member)).await, 204);
        for request in [asked, limits] {
            site.post(&site.owner, &path_of(&request, "/approve"), json!({}))
                .await
                .fails(409, "illegal-state");
            site.post(&site.owner, &path_of(&request, "/refuse"), json!({ "note": "gone" })).await.want(200);
        }
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_request_is_over_when_nobody_decides_in_time() {
    for site in Site::both().await {
        site.grant("100").await;
        let soon = json!(START + Span::from_seconds(60));
        let body = json!({ "kind": "credits", "amount": "5", "reason": "now", "expires_at": soon });
        let asked = site.post(&site.worker, "requests", body).await.want(201);
        site.clock.advance(Span::from_seconds(60));
        let seen = site.get(&site.worker, "requests").await.want(200);
        assert_eq!(seen["items"][0]["state"], "expired");
        assert_eq!(site.get(&site.owner, "requests?state=open").await.want(200)["items"], json!([]));
        let over = site.get(&site.owner, "requests?state=expired").await.want(200);
        assert_eq!(over["items"][0]["id"], asked["id"]);
        let told = site.post(&site.owner, &path_of(&asked, "/approve"), json!({})).await;
        assert!(told.fails(409, "request-decided").contains("nobody decided"));
        assert_eq!(site.available().await, ["100", "0"]);
        // It does not stand in the way of the next one.
        let next = site.post(&site.worker, "requests", credits("5")).await.want(201);
        site.clock.advance(Span::from_seconds(13 * 86_400));
        site.post(&site.owner, &path_of(&next, "/approve"), json!({})).await.want(200);
        assert_eq!(site.available().await, ["95", "5"]);
    }
}

#[tokio::test]
async fn limits_are_given_in_part_for_good_or_for_a_while() {
    for (site, _) in furnished().await {
        let own = format!("members/{}/quota", site.member);
        site.change(&site.owner, "PUT", &own, Some(&json!(1)), json!({ "instances": 1 })).await.want(200);
        site.post(&site.worker, "instances", box_named("one")).await.want(201);
        let refused = site.post(&site.worker, "instances", box_named("two")).await.want(403);
        let offer = &refused["denials"][0]["request"];
        assert_eq!(
            (&offer["method"], &offer["body"]["limits"]),
            (&json!("POST"), &json!({ "instances": 2 }))
        );

        // The offer of the refusal is a whole request.
        let path = offer["path"].as_str().unwrap().strip_prefix("/api/v1").unwrap().to_owned();
        let asked = site.post(&site.worker, &path, offer["body"].clone()).await.want(201);
        assert_eq!((&asked["kind"], &asked["reason"]), (&json!("quota"), &json!("to run cpu in here")));
        let until = START + Span::from_seconds(3_600);
        let word = json!({ "until": until, "note": "for today" });
        let given = site.post(&site.admin, &path_of(&asked, "/approve"), word).await.want(200);
        assert_eq!(given["granted"], json!({ "limits": { "instances": 2 }, "until": until }));
        site.post(&site.worker, "instances", box_named("two")).await.want(201);
        let seen = site.get(&site.worker, &own).await.want(200);
        assert_eq!(
            (&seen["limits"], &seen["effective"]),
            (&json!({ "instances": 1 }), &json!({ "instances": 2 }))
        );

        site.clock.advance(Span::from_seconds(1));
        let more = json!({ "instances": 9, "gpus": 8, "regions": ["here", "there"] });
        let asked = site.post(&site.worker, "requests", quota(more)).await.want(201);
        let beyond = json!({ "limits": { "instances": 10, "snapshots": 1, "regions": ["away"] } });
        let beyond = site.post(&site.admin, &path_of(&asked, "/approve"), beyond).await.want(422);
        let beyond: Vec<_> =
            beyond["errors"].as_array().unwrap().iter().map(|field| &field["pointer"]).collect();
        assert_eq!(beyond, ["/limits/instances", "/limits/snapshots", "/limits/regions"]);
        let part = json!({ "limits": { "instances": 3, "regions": ["here"] } });
        site.post(&site.admin, &path_of(&asked, "/approve"), part).await.want(200);
        let standing = json!({ "instances": 3, "regions": ["here"] });
        assert_eq!(site.get(&site.worker, &own).await.want(200)["limits"], standing);
        site.clock.advance(Span::from_seconds(3_600));
        let after = site.get(&site.worker, &own).await.want(200);
        assert_eq!((&after["effective"], &after["temporary"]), (&standing, &json!([])));

        let history = site.get(&site.worker, &format!("{own}/history")).await.want(200);
        assert_eq!(history["items"][0]["request"], asked["id"]);
        assert_eq!(history["items"][0]["changes"][0], json!({ "limit": "instances", "from": 1, "to": 3 }));
        assert_eq!(
            (&history["items"][1]["kind"], &history["items"][1]["reason"]),
            (&json!("temporary"), &json!("for today"))
        );
    }
}

#[tokio::test]
async fn a_refusal_for_money_offers_to_ask_for_what_is_missing() {
    for (site, _) in furnished().await {
        let back = json!({ "member": site.member, "amount": "998.5" });
        site.post(&site.owner, "credits/reclaim", back).await.want(201);
        let refused = site.post(&site.worker, "instances", box_named("one")).await.want(403);
        let denial = &refused["denials"][0];
        assert_eq!(
            (&denial["policy"], &denial["request"]["body"]["amount"]),
            (&json!("plat/funds"), &json!("4.5"))
        );
        let path = denial["request"]["path"].as_str().unwrap().strip_prefix("/api/v1").unwrap();
        let asked = site.post(&site.worker, path, denial["request"]["body"].clone()).await.want(201);
        site.post(&site.owner, &path_of(&asked, "/approve"), json!({})).await.want(200);
        site.post(&site.worker, "instances", box_named("one")).await.want(201);
        // The owner has nobody to ask, and is told to top up.
        let back = json!({ "member": role_of(&site, "owner").await, "amount": "1000" });
        site.post(&site.owner, "credits/reclaim", back).await.want(201);
        let refused = site.post(&site.owner, "instances", box_named("mine")).await.want(403);
        assert_eq!(
            (&refused["denials"][0]["policy"], refused["denials"][0].get("request")),
            (&json!("plat/funds"), None)
        );
    }
}

#[tokio::test]
async fn what_the_whole_team_may_hold_is_for_the_operator_to_decide() {
    for (site, _) in furnished().await {
        let version = site.get(&site.owner, "quota").await.want(200)["version"].clone();
        let ceiling = json!({ "instances": 1 });
        site.change(&site.operator, "PUT", "quota/ceiling", Some(&version), ceiling).await.want(200);
        site.post(&site.owner, "instances", box_named("one")).await.want(201);
        let refused = site.post(&site.worker, "instances", box_named("two")).await.want(403);
        assert_eq!(refused["denials"][0].get("request"), None, "a member cannot ask the operator");
        let refused = site.post(&site.owner, "instances", box_named("two")).await.want(403);
        let offer = refused["denials"][0]["request"].clone();
        let path = offer["path"].as_str().unwrap().strip_prefix("/api/v1").unwrap();
        site.post(&site.worker, path, offer["body"].clone()).await.fails(403, "refused");
        let lists = json!({ "limits": { "regions": ["here"] }, "reason": "x" });
        site.post(&site.owner, path, lists).await.fails(422, "invalid-input");
        let asked = site.post(&site.owner, path, offer["body"].clone()).await.want(201);
        assert_eq!((&asked["kind"], &asked["limits"]), (&json!("team_quota"), &json!({ "instances": 2 })));

        site.post(&site.owner, &path_of(&asked, "/approve"), json!({})).await.fails(409, "operator-decides");
        let id = asked["id"].as_str().unwrap();
        site.post(&site.owner, &format!("/requests/{id}/approve"), json!({})).await.fails(403, "refused");
        site.get(&site.owner, "/requests").await.fails(403, "refused");
        let seen = site.get(&site.operator, "/requests?state=open").await.want(200);
        assert_eq!(seen["items"][0]["id"], asked["id"]);
        let until = json!({ "until": START + Span::from_seconds(99) });
        site.post(&site.operator, &format!("/requests/{id}/approve"), until)
            .await
            .fails(422, "invalid-input");
        site.post(&site.operator, &format!("/requests/{id}/approve"), json!({})).await.want(200);
        site.post(&site.operator, &format!("/requests/{id}/refuse"), json!({ "note": "no" }))
            .await
            .fails(409, "request-decided");
        site.post(&site.worker, "instances", box_named("two")).await.want(201);
        let quota = site.get(&site.owner, "quota").await.want(200);
        assert_eq!(quota["ceiling"], json!({ "instances": 2 }));
        // A request of a member is none of the operator's.
        let mine = site.post(&site.worker, "requests", credits("1")).await.want(201);
        let path = format!("/requests/{}/approve", mine["id"].as_str().unwrap());
        site.post(&site.operator, &path, json!({})).await.fails(404, "not-found");
    }
}
