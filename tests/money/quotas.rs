//! Limits: what a member and a whole team may hold and spend, for good or for a while, and who changed it.

use muster::time::Span;
use serde_json::{Value, json};

use crate::{
    bills::{plant_offer, run},
    site::{START, Site},
};

/// A site with an offer for 6 credits an hour, and a member with 1000 credits.
pub(crate) async fn furnished() -> [(Site, muster::ids::HostId); 2] {
    let mut found = Vec::new();
    for site in Site::both().await {
        let host = plant_offer(&site).await;
        site.grant("5000").await;
        let members = site.get(&site.owner, "members").await.want(200);
        for member in members["items"].as_array().unwrap() {
            let assigned = json!({ "member": member["id"], "amount": "1000" });
            site.post(&site.owner, "credits/assign", assigned).await.want(201);
        }
        found.push((site, host));
    }
    found.try_into().ok().unwrap()
}

pub(crate) fn box_named(name: &str) -> Value {
    json!({ "name": name, "product": "cpu", "image": "base", "mount_team_drive": false })
}

fn own(site: &Site) -> String {
    format!("members/{}/quota", site.member)
}

async fn quota_put(site: &Site, limits: Value) {
    let version = site.get(&site.owner, &own(site)).await.want(200)["version"].clone();
    site.change(&site.owner, "PUT", &own(site), Some(&version), limits).await.want(200);
}

/// The only denial of a refused launch.
#[track_caller]
fn denial(refused: Value) -> Value {
    assert_eq!(refused["code"], "refused", "{refused:#}");
    assert_eq!(refused["denials"].as_array().unwrap().len(), 1, "{refused:#}");
    refused["denials"][0].clone()
}

#[tokio::test]
async fn limits_for_a_while_end_at_their_instant_and_what_stands_holds_again() {
    for (site, host) in furnished().await {
        quota_put(&site, json!({ "instances": 1 })).await;
        let first = site.post(&site.worker, "instances", box_named("one")).await.want(201);
        site.post(&site.worker, "instances", box_named("two")).await.fails(403, "refused");

        let version = site.get(&site.owner, &own(&site)).await.want(200)["version"].clone();
        let temporary = format!("{}/temporary", own(&site));
        let until = START + Span::from_seconds(600);
        let more = json!({ "limits": { "instances": 2 }, "until": until, "reason": "the deadline" });
        site.change(&site.worker, "PUT", &temporary, Some(&version), more.clone())
            .await
            .fails(403, "refused");
        site.change(&site.admin, "PUT", &temporary, None, more.clone())
            .await
            .fails(428, "precondition-required");
        site.change(&site.admin, "PUT", &temporary, Some(&json!(99)), more.clone())
            .await
            .fails(412, "stale-version");
        let past = json!({ "limits": { "instances": 2 }, "until": START });
        site.change(&site.admin, "PUT", &temporary, Some(&version), past).await.fails(422, "invalid-input");
        let put = site.change(&site.admin, "PUT", &temporary, Some(&version), more).await.want(200);
        assert_eq!(put["limits"], json!({ "instances": 1 }));
        assert_eq!(put["effective"], json!({ "instances": 2 }));
        let seen = site.get(&site.worker, &own(&site)).await.want(200);
        assert_eq!(seen["temporary"], json!([{ "limits": { "instances": 2 }, "until": until }]));
        let question = json!({ "questions": [{ "action": "listInstances" }] });
        let answered = site.post(&site.worker, "authorize", question).await.want(200);
        assert_eq!(answered["answers"][0]["limits"], json!({ "instances": 2 }), "{answered:#}");
        let second = site.post(&site.worker, "instances", box_named("two")).await.want(201);

        // Nobody sweeps: the clock alone ends it.
        run(&site, host, 10).await;
        let over = site.get(&site.worker, &own(&site)).await.want(200);
        assert_eq!((&over["temporary"], &over["effective"]), (&json!([]), &json!({ "instances": 1 })));
        assert_eq!(over["version"], put["version"]);
        let permissions = site.get(&site.worker, &format!("members/{}/permissions", site.member)).await;
        assert_eq!(permissions.want(200)["limits"], json!({ "instances": 1 }));
        let told = denial(site.post(&site.worker, "instances", box_named("three")).await.want(403));
        assert_eq!(told["policy"], "plat/quota-instances");
        assert_eq!((&told["limit"]["max"], &told["limit"]["used"]), (&json!("1"), &json!("2")));
        for made in [first, second] {
            let path = format!("instances/{}/release", made["id"].as_str().unwrap());
            site.post(&site.worker, &path, json!({})).await.want(202);
        }
    }
}

#[tokio::test]
async fn limits_for_a_while_can_be_ended_early_and_everything_is_in_the_history() {
    for (site, _) in furnished().await {
        let limits = json!({ "instances": 1, "spend_per_hour": "12.5" });
        let why = format!("{}?reason=new%20here", own(&site));
        site.change(&site.owner, "PUT", &why, Some(&json!(1)), limits).await.want(200);
        site.clock.advance(Span::from_seconds(1));
        let temporary = format!("{}/temporary", own(&site));
        let until = START + Span::from_seconds(3600);
        let more = json!({ "limits": { "instances": 5 }, "until": until, "reason": "a workshop" });
        site.change(&site.admin, "PUT", &temporary, Some(&json!(2)), more).await.want(200);
        site.clock.advance(Span::from_seconds(1));
        let ended =
            site.change(&site.admin, "DELETE", &temporary, Some(&json!(3)), json!({})).await.want(200);
        assert_eq!(ended["effective"]["instances"], 1);

        let path = format!("{}/history", own(&site));
        let history = site.get(&site.worker, &path).await.want(200);
        let told: Vec<_> = history["items"].as_array().unwrap().iter().rev().collect();
        assert_eq!(told.len(), 3, "{history:#}");
        let changes = json!([
            { "limit": "instances", "from": null, "to": 1 },
            { "limit": "spend_per_hour", "from": null, "to": "12.5" },
        ]);
        assert_eq!((&told[0]["changes"], &told[0]["reason"]), (&changes, &json!("new here")));
        assert_eq!((&told[1]["kind"], &told[1]["until"]), (&json!("temporary"), &json!(until)));
        assert_eq!(told[1]["reason"], "a workshop");
        assert_ne!(told[0]["actor"], told[1]["actor"]);
        assert_eq!(told[2]["changes"], json!([{ "limit": "instances", "from": 5, "to": null }]));
        let first = site.get(&site.owner, &format!("{path}?limit=2")).await.want(200);
        let cursor = first["next_cursor"].as_str().unwrap();
        let rest = site.get(&site.owner, &format!("{path}?limit=2&cursor={cursor}")).await.want(200);
        assert_eq!(rest["items"], json!([told[0]]));

        let others = site.get(&site.owner, "members").await.want(200);
        let other = others["items"].as_array().unwrap().iter().find(|row| row["id"] != json!(site.member));
        let path = format!("members/{}/quota/history", other.unwrap()["id"].as_str().unwrap());
        site.get(&site.worker, &path).await.fails(403, "refused");
        site.get(&site.worker, "quota/history").await.fails(403, "refused");
    }
}

#[tokio::test]
async fn what_runs_may_cost_so_much_an_hour_and_no_more() {
    for (site, host) in furnished().await {
        quota_put(&site, json!({ "spend_per_hour": "13" })).await;
        let one = site.post(&site.worker, "instances", box_named("one")).await.want(201);
        let two = site.post(&site.worker, "instances", box_named("two")).await.want(201);
        let told = denial(site.post(&site.worker, "instances", box_named("three")).await.want(403));
        assert_eq!(told["policy"], "plat/quota-spend");
        let limit = json!({ "name": "spend_per_hour", "max": "13", "used": "12", "requested": "6" });
        assert_eq!(told["limit"], limit);
        assert_eq!(told["lifted_by"], "team owner or admin");
        let usage = site.get(&site.worker, &own(&site)).await.want(200)["usage"].clone();
        assert_eq!(usage["spend_per_hour"], "12");
        let asked = json!({ "product": "cpu", "image": "base" });
        let estimate = site.post(&site.worker, "estimates", asked).await.want(200);
        assert_eq!((&estimate["allowed"], &estimate["denials"][0]), (&json!(false), &told));

        // What stands still costs nothing by the hour, and is counted again when it is started.
        run(&site, host, 1).await;
        let path = |made: &Value, what: &str| format!("instances/{}{what}", made["id"].as_str().unwrap());
        site.post(&site.worker, &path(&one, "/stop"), json!({})).await.want(202);
        run(&site, host, 1).await;
        site.post(&site.worker, "instances", box_named("three")).await.want(201);
        let told = denial(site.post(&site.worker, &path(&one, "/start"), json!({})).await.want(403));
        assert_eq!(told["policy"], "plat/quota-spend");
        site.post(&site.worker, &path(&two, "/release"), json!({})).await.want(202);
        run(&site, host, 1).await;
        site.post(&site.worker, &path(&one, "/start"), json!({})).await.want(202);
        // It does not bind who decides it.
        site.post(&site.admin, "instances", box_named("mine")).await.want(201);
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn the_ceiling_of_a_team_is_the_operators_and_binds_everybody() {
    for (site, _) in furnished().await {
        let ceiling = json!({ "spend_per_hour": "12", "instances": 5 });
        let version = site.get(&site.owner, "quota").await.want(200)["version"].clone();
        site.change(&site.owner, "PUT", "quota/ceiling", Some(&version), ceiling.clone())
            .await
            .fails(403, "refused");
        let lists = json!({ "regions": [], "gpus_per_instance": 4 });
        let wrong =
            site.change(&site.operator, "PUT", "quota/ceiling", Some(&version), lists).await.want(422);
        let wrong: Vec<_> =
            wrong["errors"].as_array().unwrap().iter().map(|field| &field["pointer"]).collect();
        assert_eq!(wrong, [&json!("/regions"), &json!("/gpus_per_instance")]);
        let path = "quota/ceiling?reason=a%20trial";
        let put = site.change(&site.operator, "PUT", path, Some(&version), ceiling.clone()).await.want(200);
        assert_eq!(put["ceiling"], ceiling);

        site.post(&site.worker, "instances", box_named("one")).await.want(201);
        site.post(&site.admin, "instances", box_named("two")).await.want(201);
        for who in [&site.owner, &site.worker] {
            let told = denial(site.post(who, "instances", box_named("three")).await.want(403));
            assert_eq!(
                (&told["policy"], &told["lifted_by"]),
                (&json!("plat/quota-team-spend"), &json!("operator"))
            );
            assert_eq!((&told["limit"]["max"], &told["limit"]["used"]), (&json!("12"), &json!("12")));
        }
        let version = put["version"].clone();
        let ceiling = json!({ "instances": 2 });
        site.change(&site.operator, "PUT", path, Some(&version), ceiling).await.want(200);
        let told = denial(site.post(&site.owner, "instances", box_named("three")).await.want(403));
        assert_eq!(told["policy"], "plat/quota-team-instances");
        let history = site.get(&site.owner, "quota/history").await.want(200);
        assert_eq!(history["items"][0]["changes"][0], json!({ "limit": "instances", "from": 5, "to": 2 }));
        assert_eq!(history["items"][0]["kind"], "ceiling");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_launches_at_once_as_many_succeed_as_the_hour_may_cost() {
    for (site, _) in furnished().await {
        quota_put(&site, json!({ "spend_per_hour": "20" })).await;
        let names: Vec<String> = (0..8).map(|n| format!("box-{n}")).collect();
        let launches = names.iter().map(|name| site.post(&site.worker, "instances", box_named(name)));
        let answers = futures_util::future::join_all(launches).await;
        let made = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(made, 3, "{answers:#?}");
        assert!(answers.iter().all(|answer| [201, 403].contains(&answer.status)), "{answers:#?}");
        let usage = site.get(&site.worker, &own(&site)).await.want(200)["usage"].clone();
        assert_eq!(usage["spend_per_hour"], "18");
    }
}
