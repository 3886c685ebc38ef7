//! Snapshots on a simulated host: who may take how many, what they cost, whose they are, what is launched from them.

use muster::{
    app::secrets::Token,
    ids::HostId,
    money::Credits,
    op::{Actor, SystemActor},
    time::{Span, Timestamp},
};
use serde_json::{Value, json};

use crate::{
    resume::{assign, launch, plant, settle, start, stop},
    site::{Answer, Site},
};

pub(crate) async fn take(site: &Site, who: &Token, instance: &str, name: &str) -> Answer {
    let body = json!({ "name": name, "note": "before the upgrade" });
    site.post(who, &format!("instances/{instance}/snapshots"), body).await
}

/// Looks after the host until no snapshot is on its way.
pub(crate) async fn copied(site: &Site, host: HostId) {
    for _ in 0..500 {
        site.app.reconcile(&site.app.op(Actor::System(SystemActor::Reconciler)), host).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        let all = site.get(&site.owner, "snapshots?view=admin&limit=200").await.want(200);
        let way = ["wanted", "taking", "deleting"];
        if all["items"].as_array().unwrap().iter().all(|one| !way.contains(&one["state"].as_str().unwrap())) {
            settle(site, host).await;
            return;
        }
    }
    panic!("a snapshot is still on its way");
}

async fn ready(site: &Site, host: HostId, instance: &str, name: &str) -> Value {
    let id = take(site, &site.worker, instance, name).await.want(202)["id"].clone();
    copied(site, host).await;
    let seen = site.get(&site.worker, &format!("snapshots/{}", id.as_str().unwrap())).await.want(200);
    assert_eq!(seen["state"], "ready", "{seen:#}");
    seen
}

async fn state(site: &Site, instance: &str) -> Value {
    site.get(&site.worker, &format!("instances/{instance}")).await.want(200)["state"].clone()
}

async fn held(site: &Site) -> (Value, Value) {
    let own = site.get(&site.owner, &format!("members/{}/quota", site.member)).await.want(200);
    let team = site.get(&site.owner, "quota").await.want(200);
    (own["usage"]["snapshots"].clone(), team["usage"]["snapshots"].clone())
}

fn micros(text: &Value) -> i64 {
    text.as_str().unwrap().parse::<Credits>().unwrap().as_micros()
}

fn path(snapshot: &Value) -> String {
    format!("snapshots/{}", snapshot["id"].as_str().unwrap())
}

/// Lets the host be counted after `seconds`, and runs the meter.
async fn count_after(site: &Site, host: HostId, seconds: i64) {
    site.clock.advance(Span::from_seconds(seconds));
    let op = site.app.op(Actor::System(SystemActor::Meter));
    assert!(site.app.storage_pass(&op, host).await.unwrap(), "nothing was due");
    settle(site, host).await;
}

async fn billed(site: &Site) -> (i64, Vec<Value>) {
    let bill = site.get(&site.owner, "bills?view=admin&type=snapshot&limit=200").await.want(200);
    (micros(&bill["total"]), bill["items"].as_array().unwrap().clone())
}

#[tokio::test]
async fn a_member_takes_snapshots_of_what_runs_and_of_what_is_stopped_up_to_the_limit() {
    for site in Site::both().await {
        let host = plant(&site).await;
        site.grant("100").await;
        assign(&site, "50").await;
        let version = site.get(&site.owner, "quota").await.want(200)["version"].clone();
        let limits = json!({ "snapshots": 2 });
        site.change(&site.owner, "PUT", "quota", Some(&version), limits).await.want(200);
        let id = launch(&site, &site.worker, "gpu", true).await;
        take(&site, &site.worker, &id, "early").await.fails(409, "illegal-state");
        settle(&site, host).await;
        for (body, pointer) in [
            (json!({ "name": "" }), "/name"),
            (json!({ "name": "n".repeat(65) }), "/name"),
            (json!({ "name": "n", "note": "n".repeat(1001) }), "/note"),
        ] {
            let told = site.post(&site.worker, &format!("instances/{id}/snapshots"), body).await.want(422);
            assert_eq!(told["errors"][0]["pointer"], pointer, "{told:#}");
        }

        let wish = json!({ "name": "first" });
        let at = format!("instances/{id}/snapshots");
        let first = site.post_once(&site.worker, "once", &at, wish.clone()).await.want(202);
        let again = site.post_once(&site.worker, "once", &at, wish).await;
        assert!(again.replayed && again.body["id"] == first["id"], "{again:?}");
        assert_eq!((&first["state"], &first["size_bytes"]), (&json!("wanted"), &Value::Null));
        take(&site, &site.worker, &id, "second").await.fails(409, "illegal-state");
        copied(&site, host).await;
        let seen = site.get(&site.worker, &path(&first)).await.want(200);
        assert_eq!((&seen["state"], &seen["size_bytes"]), (&json!("ready"), &json!(64 << 20)), "{seen:#}");
        assert_eq!((&seen["image_name"], &seen["region"]), (&json!("base"), &json!("here")));
        assert_eq!(state(&site, &id).await, "running", "it goes on");

        stop(&site, host, &id).await;
        let second = ready(&site, host, &id, "second").await;
        assert_eq!(state(&site, &id).await, "stopped");
        assert_eq!(held(&site).await, (json!(2), json!(2)));
        let told = take(&site, &site.worker, &id, "third").await.want(403);
        let denial = &told["denials"][0];
        assert_eq!(
            (&denial["policy"], &denial["lifted_by"]),
            (&json!("plat/quota-snapshots"), &json!("team owner or admin"))
        );
        let limit = json!({ "name": "snapshots", "max": "2", "used": "2", "requested": "1" });
        assert_eq!(denial["limit"], limit, "{told:#}");

        let mine = site.get(&site.worker, "snapshots").await.want(200);
        assert_eq!(mine["items"].as_array().unwrap().len(), 2);
        let admins = site.get(&site.admin, "snapshots").await.want(200);
        assert_eq!(admins["items"], json!([]), "its own, of which it has none");
        site.get(&site.worker, "snapshots?view=admin").await.want(403);
        let told = take(&site, &site.admin, &id, "theirs").await.want(403);
        assert_eq!(told["denials"][0]["policy"], "plat/own-name", "{told:#}");

        assert_eq!(site.delete(&site.worker, &path(&second)).await, 202);
        assert_eq!(held(&site).await, (json!(1), json!(1)), "it counts no longer at once");
        copied(&site, host).await;
        site.get(&site.worker, &path(&second)).await.fails(404, "not-found");
        ready(&site, host, &id, "third").await;
        start(&site, host, &id).await;
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn the_time_of_a_snapshot_is_not_billed_and_a_release_waits_for_it() {
    for site in Site::both().await {
        let host = plant(&site).await;
        site.grant("100").await;
        assign(&site, "50").await;
        let id = launch(&site, &site.worker, "gpu", false).await;
        settle(&site, host).await;
        let started: Timestamp =
            site.get(&site.worker, &format!("instances/{id}")).await.want(200)["started_at"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
        site.clock.advance(Span::from_seconds(600));
        let seen = take(&site, &site.worker, &id, "kept").await.want(202);
        site.app.reconcile(&site.app.op(Actor::System(SystemActor::Reconciler)), host).await.unwrap();
        assert_eq!(state(&site, &id).await, "snapshotting");
        // As if the host had copied for an hour.
        site.clock.advance(Span::from_seconds(3_600));
        copied(&site, host).await;
        assert_eq!(state(&site, &id).await, "running");
        site.clock.advance(Span::from_seconds(600));
        settle(&site, host).await;
        take(&site, &site.worker, &id, "last").await.want(202);
        site.post(&site.worker, &format!("instances/{id}/release"), json!({})).await.want(202);
        copied(&site, host).await;
        for _ in 0..5 {
            settle(&site, host).await;
        }
        let over = site.get(&site.worker, &format!("instances/{id}")).await.want(200);
        assert_eq!(over["state"], "released", "{over:#}");
        assert_eq!(over["cost"], "2", "twenty minutes at six credits an hour: {over:#}");
        let ended: Timestamp = over["ended_at"].as_str().unwrap().parse().unwrap();
        assert!((ended - started).as_micros() >= 4_800 * 1_000_000);
        let all = site.get(&site.worker, "snapshots").await.want(200);
        let states: Vec<_> = all["items"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
        assert_eq!(states, ["ready", "ready"], "{all:#}");
        assert_eq!(site.delete(&site.worker, &path(&seen)).await, 202);
        copied(&site, host).await;
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn what_snapshots_store_is_billed_to_their_owner_and_to_the_pool_once_shared() {
    for site in Site::both().await {
        let host = plant(&site).await;
        site.grant("100").await;
        assign(&site, "50").await;
        count_after(&site, host, 1).await;
        let id = launch(&site, &site.worker, "cpu", false).await;
        settle(&site, host).await;
        stop(&site, host, &id).await;
        let kept = ready(&site, host, &id, "kept").await;
        count_after(&site, host, 61).await;
        count_after(&site, host, 3_600).await;
        assert_eq!(billed(&site).await.0, 0, "free without a rate");

        let rate = json!({ "kind": "snapshot", "price_per_gib_hour": "1.024" });
        site.put(&site.operator, "/storage-rates", rate).await.want(200);
        count_after(&site, host, 3_600).await;
        count_after(&site, host, 3_600).await;
        let (total, charges) = billed(&site).await;
        assert!(total > 0, "{charges:#?}");
        assert!(
            charges.iter().all(|one| one["account"] == "member" && one["quantity"] == 64),
            "{charges:#?}"
        );
        let pool = micros(&json!(site.available().await[0]));

        let shared = site.post(&site.worker, &format!("{}/share", path(&kept)), json!({})).await.want(200);
        assert_eq!((&shared["owner"], &shared["taken_by"]), (&Value::Null, &json!(site.member)));
        assert_eq!(held(&site).await, (json!(0), json!(1)), "the team's, and no longer the member's");
        site.post(&site.owner, &format!("{}/share", path(&kept)), json!({}))
            .await
            .fails(409, "illegal-state");
        count_after(&site, host, 61).await;
        count_after(&site, host, 3_600).await;

        // Everybody sees it and may launch from it; who may change what is the team's, may delete it.
        assert_eq!(site.get(&site.admin, "snapshots").await.want(200)["items"][0]["id"], kept["id"]);
        assert_eq!(site.get(&site.worker, &path(&kept)).await.want(200)["owner"], Value::Null);
        assert_eq!(site.delete(&site.worker, &path(&kept)).await, 403);
        assert_eq!(site.delete(&site.admin, &path(&kept)).await, 202);
        copied(&site, host).await;
        let (total, charges) = billed(&site).await;
        let of = |account: &str| {
            let theirs = charges.iter().filter(|one| one["account"] == account);
            theirs.map(|one| micros(&one["amount"])).sum::<i64>()
        };
        assert_eq!(
            of("member"),
            65_084,
            "64 MiB from the first count with a rate to the first one after it was shared"
        );
        assert_eq!(of("owner"), 64_000, "an hour more for the team");
        assert_eq!(micros(&json!(site.available().await[0])), pool - 64_000);
        site.clock.advance(Span::from_seconds(7_200));
        settle(&site, host).await;
        assert_eq!(billed(&site).await.0, total, "what is gone costs nothing");
        assert_eq!(held(&site).await, (json!(0), json!(0)));
        site.assert_sound().await;
    }
}

#[tokio::test]
async fn a_launch_from_a_snapshot_goes_to_its_host_or_says_why_not() {
    for site in Site::both().await {
        let host = plant(&site).await;
        site.grant("100").await;
        assign(&site, "80").await;
        let id = launch(&site, &site.worker, "gpu", false).await;
        settle(&site, host).await;
        let kept = ready(&site, host, &id, "kept").await;
        // A second host with room, which does not have it.
        let other = json!({ "name": "two", "endpoint": "simulated:", "region": "here" });
        site.post(&site.operator, "/hosts", other).await.want(201);
        let far = json!({ "name": "far", "region": "there", "instance_type": "any", "accelerator": "none",
            "gpus_per_unit": 0, "cpu_millis": 1000, "memory_bytes": 1 << 30, "price_per_hour": "6",
            "published": true });
        site.post(&site.operator, "/products", far).await.want(201);
        let kept_id = &kept["id"];
        let order = |product: &str| json!({ "name": "child", "product": product, "snapshot": kept_id, "mount_team_drive": false });
        let mut both = order("gpu");
        both["image"] = json!("base");
        let told = site.post(&site.worker, "instances", both).await.want(422);
        assert_eq!(told["errors"][0]["pointer"], "/image", "{told:#}");
        let told = site.post(&site.worker, "instances", order("far")).await.want(422);
        assert!(told["errors"][0]["detail"].as_str().unwrap().contains("the region here"), "{told:#}");
        let admin = site.get(&site.admin, "/me").await.want(200)["membership"]["member"].clone();
        site.post(&site.owner, "credits/assign", json!({ "member": admin, "amount": "10" })).await.want(201);
        let told = site.post(&site.admin, "instances", order("cpu")).await.want(201);
        assert_eq!(told["snapshot"], kept["id"], "an admin may use what is in the team");

        let full = site.post(&site.worker, "instances", order("box")).await.fails(409, "no-capacity");
        assert!(
            full.contains("the host that has it") && full.contains("1 without its drives or its snapshot"),
            "{full}"
        );
        let child = site.post(&site.worker, "instances", order("gpu")).await.want(201);
        assert_eq!((&child["host"], &child["image_name"]), (&json!(host), &json!("base")));
        settle(&site, host).await;
        let child = child["id"].as_str().unwrap();
        assert_eq!(state(&site, child).await, "running");
        // Its own snapshot has what came before it too.
        let grown = ready(&site, host, child, "grown").await;
        assert_eq!(grown["size_bytes"], 128 << 20);

        assert_eq!(site.delete(&site.worker, &path(&kept)).await, 202);
        let told = site.post(&site.worker, "instances", order("gpu")).await.fails(409, "illegal-state");
        assert!(told.contains("deleting"), "{told}");
        copied(&site, host).await;
        let told = site.post(&site.worker, "instances", order("gpu")).await.want(422);
        assert_eq!(told["errors"][0]["pointer"], "/snapshot", "{told:#}");
        assert_eq!(state(&site, child).await, "running", "what was launched from it goes on");

        // A host that is given up takes its snapshots with it.
        for instance in
            site.get(&site.owner, "instances?view=admin").await.want(200)["items"].as_array().unwrap()
        {
            let release = format!("instances/{}/release", instance["id"].as_str().unwrap());
            site.post(&site.owner, &release, json!({})).await.want(202);
        }
        settle(&site, host).await;
        site.post(&site.operator, &format!("/hosts/{host}/retire"), json!({})).await.want(200);
        let lost = site.get(&site.worker, &path(&grown)).await.want(200);
        assert_eq!((&lost["state"], &lost["reason"]), (&json!("failed"), &json!("its host was retired")));
        assert_eq!(held(&site).await, (json!(0), json!(0)));
        assert_eq!(site.delete(&site.worker, &path(&grown)).await, 202);
        site.assert_sound().await;
    }
}
