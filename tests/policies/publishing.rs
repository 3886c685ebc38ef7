//! From a text to what is refused because of it, and back.

use serde_json::json;

use crate::scene::{NIGHT, both, label, launch, plan, publish, put, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_version_holds_for_the_next_request_and_can_be_taken_back() {
    for site in both().await {
        label(&site, &["intern"]).await;
        until(&site, 18);
        launch(&site, &site.worker, "spot-cpu").await.want(201);
        let empty = site.get(&site.worker, "policies").await.want(200);
        assert_eq!((&empty["version"], &empty["text"]), (&json!(0), &json!("")));

        let planned = plan(&site, NIGHT).await;
        assert_eq!((&planned["base"], &planned["policies"]), (&json!(0), &json!(1)));
        assert!(planned["text"].as_str().unwrap().starts_with("@id(\"night-spot\")\n@advice("));
        assert!(planned["diff"].as_str().unwrap().starts_with("+@id"));
        let changes = planned["effects"]["changes"].as_array().unwrap();
        let member = changes.iter().find(|change| change["role"] == "member").unwrap();
        assert_eq!(
            (&member["label"], &member["loses"], &member["gains"]),
            (&json!("intern"), &json!(6), &json!(0))
        );
        assert!(member["example"].as_str().unwrap().ends_with("Wednesday 18:00"), "{member:#}");
        // The launch of a moment ago would have been refused.
        let flips = &planned["replay"]["flips"];
        assert_eq!(
            (&flips[0]["action"], &flips[0]["allows"]),
            (&json!("createInstance"), &json!(false)),
            "{planned:#}"
        );
        assert_eq!((&planned["replay"]["refused"], &planned["replay"]["allowed"]), (&json!(1), &json!(0)));
        assert_eq!(site.get(&site.owner, "policies").await.want(200)["version"], 0, "a plan changes nothing");

        let body =
            json!({ "text": NIGHT, "plan": planned["plan"], "reason": "interns forget them over night" });
        publish(&site, &site.worker, 0, body.clone()).await.fails(403, "refused");
        let made = publish(&site, &site.owner, 0, body.clone()).await.want(201);
        assert_eq!((&made["number"], &made["live"], &made["policies"]), (&json!(1), &json!(true), &json!(1)));
        publish(&site, &site.owner, 0, body).await.fails(412, "stale-version");

        let refused = launch(&site, &site.worker, "spot-cpu").await.want(403);
        let denial = &refused["denials"][0];
        assert_eq!(denial["policy"], "team/night-spot");
        assert_eq!(denial["advice"], "interns launch no spot machines after 18:00");
        assert_eq!(denial["lifted_by"], "team owner");
        launch(&site, &site.worker, "cpu").await.want(201);
        let why = format!("decisions/{}", refused["decision"].as_str().unwrap());
        let why = site.get(&site.worker, &why).await.want(200);
        assert_eq!(why["document"]["decision"]["versions"]["team"], 1);
        assert_eq!((&why["decision"], &why["now"]), (&json!("deny"), &json!("deny")));
        assert_eq!(why["document"]["principal"]["labels"], json!(["intern"]));
        assert_eq!(why["document"]["principal"]["wall"]["hour"], 18);

        // By day, and without the label, it does not speak.
        until(&site, 9);
        launch(&site, &site.worker, "spot-cpu").await.want(201);
        until(&site, 20);
        label(&site, &[]).await;
        launch(&site, &site.worker, "spot-cpu").await.want(201);
        label(&site, &["intern"]).await;
        launch(&site, &site.worker, "spot-cpu").await.fails(403, "refused");

        let back =
            publish(&site, &site.owner, 1, json!({ "version": 0, "reason": "too strict" })).await.want(201);
        assert_eq!((&back["number"], &back["policies"]), (&json!(2), &json!(0)));
        launch(&site, &site.worker, "spot-cpu").await.want(201);
        let again = publish(&site, &site.owner, 2, json!({ "version": 1, "reason": "not so strict" }))
            .await
            .want(201);
        assert_eq!((&again["number"], &again["parent"]), (&json!(3), &json!(2)));
        launch(&site, &site.worker, "spot-cpu").await.fails(403, "refused");

        let history = site.get(&site.worker, "policies/versions?limit=2").await.want(200);
        let numbers: Vec<_> =
            history["items"].as_array().unwrap().iter().map(|row| row["number"].clone()).collect();
        assert_eq!((numbers, &history["next_cursor"]), (vec![json!(3), json!(2)], &json!("2")));
        let rest = site.get(&site.worker, "policies/versions?limit=2&cursor=2").await.want(200);
        assert_eq!(rest["items"][0]["reason"], "interns forget them over night");
        let diff = site.get(&site.worker, "policies/diff?from=2").await.want(200);
        assert!(diff["diff"].as_str().unwrap().contains("+forbid ("), "{diff:#}");
        let log = site.get(&site.owner, "audit").await.want(200);
        let line =
            log["items"].as_array().unwrap().iter().find(|line| line["target"] == "policies@3").unwrap();
        assert_eq!((&line["action"], &line["document"]["back_to"]), (&json!("PublishPolicies"), &json!(1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_planned_is_not_published() {
    for site in both().await {
        let planned = plan(&site, NIGHT).await;
        let other = NIGHT.replace("18", "19");
        let send = async |body| publish(&site, &site.owner, 0, body).await;
        send(json!({ "text": other, "plan": planned["plan"], "reason": "r" }))
            .await
            .fails(409, "plan-mismatch");
        send(json!({ "text": NIGHT, "reason": "r" })).await.fails(422, "invalid-input");
        send(json!({ "text": NIGHT, "version": 1, "reason": "r" })).await.fails(422, "invalid-input");
        send(json!({ "text": NIGHT, "plan": planned["plan"], "reason": "" }))
            .await
            .fails(422, "invalid-input");
        send(json!({ "version": 7, "reason": "r" })).await.fails(404, "not-found");
        let without = site.change(
            &site.owner,
            "POST",
            "policies:publish",
            None,
            json!({ "version": 0, "reason": "r" }),
        );
        without.await.fails(428, "precondition-required");
        // Somebody else was faster.
        assert_eq!(put(&site, &other).await, 1);
        send(json!({ "text": NIGHT, "plan": planned["plan"], "reason": "r" }))
            .await
            .fails(412, "stale-version");
        let late = json!({ "text": NIGHT, "plan": planned["plan"], "reason": "r" });
        publish(&site, &site.owner, 1, late).await.fails(409, "plan-mismatch");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_text_is_told_with_its_place_and_a_broken_case_blocks() {
    for site in both().await {
        let wrong = format!("{NIGHT}\n@id(\"b\") permit (principal, action == Action::\"Fly\", resource);");
        let answer = site.post(&site.owner, "policies:plan", json!({ "text": wrong })).await.want(422);
        assert_eq!(answer["errors"][0]["pointer"], "/text");
        let detail = answer["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.starts_with("line 8, column ") && detail.contains("Fly"), "{detail}");

        let case = json!({ "name": "interns work by day", "who": { "role": "member", "labels": ["intern"] },
            "action": "createInstance", "thing": { "product": "spot-cpu" }, "hour": 17, "expect": "allow" });
        let body = json!({ "text": NIGHT, "cases": [case] });
        let planned = site.post(&site.owner, "policies:plan", body.clone()).await.want(200);
        assert_eq!((&planned["cases"], &planned["failed"]), (&json!(1), &json!([])));
        let mut whole = body;
        (whole["plan"], whole["reason"]) = (planned["plan"].clone(), json!("with a case"));
        publish(&site, &site.owner, 0, whole).await.want(201);
        // The case stays and guards the next change.
        let planned = plan(&site, &NIGHT.replace("18", "12")).await;
        assert_eq!(planned["failed"][0]["name"], "interns work by day", "{planned:#}");
        assert!(
            planned["plan"].is_null()
                && planned["blocked"].as_str().unwrap().contains("1 of the team's cases")
        );
        let king = json!({ "name": "x", "who": { "role": "king" }, "action": "fly", "expect": "deny" });
        let wrong = json!({ "text": "", "cases": [king] });
        assert_eq!(site.post(&site.owner, "policies:plan", wrong).await.status, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_text_goes_through_and_a_hasty_team_waits() {
    for site in both().await {
        let policy = |n: usize| {
            let filler = "x".repeat(120);
            format!(
                "@id(\"p{n}\") @doc(\"{filler}\") permit (principal, action == Action::\"GetTeam\", resource) \
                 when {{ context.hour == {n} }};\n"
            )
        };
        let text: String = (0..200).map(policy).collect();
        assert!(text.len() > 40_000 && text.len() <= 65_536);
        assert_eq!(put(&site, &text).await, 1);
        site.get(&site.worker, "/teams/crew").await.want(200);
        let more = format!("{text}{}", policy(200));
        let told = site
            .post(&site.owner, "policies:plan", json!({ "text": more }))
            .await
            .fails(422, "invalid-input");
        assert!(told.contains("a team may have 200"), "{told}");
        for number in 1..60 {
            publish(&site, &site.owner, number, json!({ "version": 0, "reason": "again" })).await.want(201);
        }
        let told = publish(&site, &site.owner, 60, json!({ "version": 0, "reason": "again" }))
            .await
            .fails(429, "throttled");
        assert!(told.contains("within an hour"), "{told}");
        site.clock.advance(muster::time::Span::from_seconds(3_600));
        publish(&site, &site.owner, 60, json!({ "version": 0, "reason": "again" })).await.want(201);
    }
}
