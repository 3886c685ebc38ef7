//! A candidate beside the live policies: what it would have said, while nothing hangs on it.

use muster::{
    op::{Actor, SystemActor},
    time::Span,
};
use serde_json::{Value, json};

use crate::{
    scene::{NIGHT, both, label, launch, plan, publish, put, until},
    site::Site,
};

/// Starts a candidate.
async fn start(site: &Site, text: &str) -> Value {
    let body = json!({ "text": text, "reason": "is it too strict?" });
    site.post(&site.owner, "policies:shadow", body).await.want(201)
}

/// One pass of the loop that asks candidates.
async fn pass(site: &Site, app: &muster::app::App) -> i64 {
    app.shadows_pass(&site.app.op(Actor::System(SystemActor::Bookkeeper))).await.unwrap()
}

async fn shown(site: &Site) -> Value {
    site.get(&site.worker, "policies:shadow").await.want(200)
}

/// What the candidate would refuse and allow.
fn counts(shadow: &Value) -> [i64; 2] {
    ["refused", "allowed"].map(|field| shadow[field].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_tells_what_it_would_change_and_changes_nothing() {
    for site in both().await {
        label(&site, &["intern"]).await;
        site.get(&site.worker, "policies:shadow").await.fails(404, "not-found");
        let begun = start(&site, NIGHT).await;
        assert_eq!(
            (&begun["number"], &begun["running"], &begun["asked"]),
            (&json!(1), &json!(true), &json!(0))
        );
        until(&site, 19);
        for _ in 0..3 {
            launch(&site, &site.worker, "spot-cpu").await.want(201);
        }
        launch(&site, &site.worker, "cpu").await.want(201);
        site.get(&site.worker, "balance").await.want(200);
        pass(&site, &site.app).await;
        let shadow = shown(&site).await;
        assert_eq!(counts(&shadow), [3, 0], "{shadow:#}");
        assert_eq!(shadow["asked"], 5, "{shadow:#}");
        let differences = shadow["differences"].as_array().unwrap();
        assert_eq!(differences.len(), 1, "{shadow:#}");
        let one = &differences[0];
        assert_eq!((&one["role"], &one["action"]), (&json!("member"), &json!("createInstance")));
        assert_eq!((&one["policies"], &one["count"]), (&json!(["team/night-spot"]), &json!(3)));
        let example = format!("decisions/{}", one["examples"][2].as_str().unwrap());
        let why = site.get(&site.owner, &example).await.want(200);
        assert_eq!((&why["decision"], &why["action"]), (&json!("allow"), &json!("CreateInstance")));

        // More of the same is counted with the same, and the first examples stay.
        site.clock.advance(Span::from_seconds(60));
        for _ in 0..4 {
            launch(&site, &site.worker, "spot-cpu").await.want(201);
        }
        pass(&site, &site.app).await;
        let shadow = shown(&site).await;
        let again = &shadow["differences"][0];
        assert_eq!(
            (&again["count"], again["examples"].as_array().unwrap().len()),
            (&json!(7), 5),
            "{shadow:#}"
        );
        assert_eq!((&again["first_at"], &again["examples"][0]), (&one["first_at"], &one["examples"][0]));
        assert_ne!(again["last_at"], one["last_at"]);
        assert_eq!(site.get(&site.owner, "policies").await.want(200)["version"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_was_not_recorded_is_recorded_as_an_example_and_an_allowance_names_what_is_lifted() {
    for site in both().await {
        let blind = "@id(\"blind\") @advice(\"no\") forbid (principal in Role::\"member\", action == \
                     Action::\"GetBalance\", resource);";
        start(&site, blind).await;
        for _ in 0..40 {
            site.get(&site.worker, "balance").await.want(200);
        }
        pass(&site, &site.app).await;
        let shadow = shown(&site).await;
        assert_eq!(counts(&shadow), [40, 0]);
        for example in shadow["differences"][0]["examples"].as_array().unwrap() {
            let path = format!("decisions/{}", example.as_str().unwrap());
            // Recorded looks wait for their own loop; an example is there at once, or is one of those.
            site.app.looks_write(&site.app.op(Actor::System(SystemActor::Bookkeeper))).await.unwrap();
            assert_eq!(site.get(&site.worker, &path).await.want(200)["action"], "GetBalance");
        }
        site.change(&site.owner, "DELETE", "policies:shadow", None, json!({})).await.want(200);

        // Live it is forbidden now; a candidate without the rule, and one that permits more.
        put(&site, blind).await;
        let more = "@id(\"more\") permit (principal in Role::\"member\", action == Action::\"ListAlerts\", resource);";
        start(&site, more).await;
        site.get(&site.worker, "balance").await.fails(403, "refused");
        site.get(&site.worker, "alerts").await.fails(403, "refused");
        pass(&site, &site.app).await;
        let shadow = shown(&site).await;
        assert_eq!(counts(&shadow), [0, 2], "{shadow:#}");
        let mut told: Vec<_> = shadow["differences"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["action"].as_str().unwrap().to_owned(), one["policies"].clone()))
            .collect();
        told.sort_by(|a, b| a.0.cmp(&b.0));
        let wanted = [
            ("getBalance".to_owned(), json!(["team/blind"])),
            ("listAlerts".to_owned(), json!(["team/more"])),
        ];
        assert_eq!(told, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_at_a_time_until_it_is_stopped_published_or_over() {
    for site in both().await {
        let wish = |hours: i64| json!({ "text": NIGHT, "hours": hours, "reason": "r" });
        for (field, wrong) in
            [("hours", json!(0)), ("hours", json!(721)), ("reason", json!("")), ("text", json!("x"))]
        {
            let mut body = wish(1);
            body[field] = wrong;
            site.post(&site.owner, "policies:shadow", body).await.fails(422, "invalid-input");
        }
        site.post(&site.worker, "policies:shadow", wish(1)).await.fails(403, "refused");
        site.post(&site.admin, "policies:shadow", wish(720)).await.want(201);
        let told = site.post(&site.owner, "policies:shadow", wish(1)).await.fails(409, "shadow-running");
        assert!(told.contains("stop it first"), "{told}");
        site.change(&site.worker, "DELETE", "policies:shadow", None, json!({})).await.fails(403, "refused");
        let stopped = site.change(&site.owner, "DELETE", "policies:shadow", None, json!({})).await.want(200);
        assert_eq!((&stopped["running"], &stopped["ending"]), (&json!(false), &json!("stopped")));
        site.change(&site.owner, "DELETE", "policies:shadow", None, json!({})).await.fails(404, "not-found");

        // Its time passes, with and without a loop that looks.
        site.post(&site.owner, "policies:shadow", wish(1)).await.want(201);
        assert!(pass(&site, &site.app).await > 0);
        site.clock.advance(Span::from_seconds(3_600));
        label(&site, &["intern"]).await;
        assert_eq!(pass(&site, &site.app).await, 0, "nothing is asked of it any more");
        let over = shown(&site).await;
        assert_eq!((&over["ending"], &over["ended_at"]), (&json!("over"), &over["ends_at"]), "{over:#}");
        let log = site.get(&site.owner, "audit").await.want(200);
        assert!(log["items"].as_array().unwrap().iter().any(|line| line["action"] == "policy.shadow_over"));
        site.post(&site.owner, "policies:shadow", wish(1)).await.want(201);
        site.clock.advance(Span::from_seconds(3_600));
        assert_eq!(site.post(&site.owner, "policies:shadow", wish(2)).await.want(201)["number"], 4);

        // Another text than its own does not end it, its own does.
        assert_eq!(put(&site, "").await, 1);
        assert_eq!(shown(&site).await["running"], true);
        let planned = plan(&site, NIGHT).await;
        let body = json!({ "text": NIGHT, "plan": planned["plan"], "reason": "it was right" });
        publish(&site, &site.owner, 1, body).await.want(201);
        assert_eq!(shown(&site).await["ending"], "published");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_after_a_restart_and_on_every_server() {
    for site in both().await {
        let blind =
            "@id(\"blind\") @advice(\"no\") forbid (principal, action == Action::\"ListDrives\", resource);";
        let other = site.app_with(muster::plugins::Limits::default()).await;
        let key = site.post(&site.worker, "api-keys", json!({ "name": "k" })).await.want(201);
        let key = key["token"].as_str().unwrap().to_owned();
        let look = async |app: &muster::app::App| {
            let actor = app.authenticate(Some(&key)).await.unwrap();
            app.drives(&app.op(actor), "crew", Default::default()).await.unwrap();
        };
        look(&other).await;
        assert_eq!(pass(&site, &other).await, 0);
        start(&site, blind).await;
        look(&other).await;
        let restarted = site.app_with(muster::plugins::Limits::default()).await;
        look(&restarted).await;
        look(&site.app).await;
        for app in [&other, &restarted] {
            assert_eq!(pass(&site, app).await, 1);
        }
        pass(&site, &site.app).await;
        let shadow = shown(&site).await;
        assert_eq!((counts(&shadow), &shadow["differences"][0]["count"]), ([3, 0], &json!(3)), "{shadow:#}");
        site.change(&site.owner, "DELETE", "policies:shadow", None, json!({})).await.want(200);
        look(&other).await;
        assert_eq!(pass(&site, &other).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_cannot_be_read_says_so_and_hurts_nobody() {
    for site in both().await {
        start(&site, NIGHT).await;
        // A text that an older server had taken, and that this one cannot read.
        const BROKEN: &str = "UPDATE policy_shadows SET text = 'forbid (principal' WHERE number = 1";
        let op = site.app.op(Actor::System(SystemActor::Bookkeeper));
        let mut tx = site.db.begin().await.unwrap();
        tx.query(BROKEN).execute().await.unwrap();
        tx.commit(&muster::op::SystemWarrant::of(&op).unwrap()).await.unwrap();
        site.get(&site.worker, "balance").await.want(200);
        launch(&site, &site.worker, "cpu").await.want(201);
        pass(&site, &site.app).await;
        let shadow = shown(&site).await;
        assert!(shadow["failed"].as_i64().unwrap() >= 2, "{shadow:#}");
        assert_eq!((counts(&shadow), &shadow["failed"]), ([0, 0], &shadow["asked"]), "{shadow:#}");
    }
}
