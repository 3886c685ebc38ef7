//! The roles of the presets glows and grid over HTTP, with the tokens of people who signed in: what their guides say in
//! sentences, noun by noun. What is in no list here is not allowed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Caller, Database, TeamHandle, TestApp};

/// What a role may do with one noun: look, use, change; each with all, with its own, or with nothing.
type Reaches = BTreeMap<String, [&'static str; 3]>;

/// The nouns of a team, as the owner's permissions list them.
async fn nouns(team: &TeamHandle) -> Vec<String> {
    let members = team.owner.get(&format!("/teams/{}/members", team.slug)).await.expect(200);
    let mut members = members.body["items"].as_array().unwrap().iter();
    let owner = members.find(|member| member["role"] == "owner").unwrap()["id"].as_str().unwrap().to_owned();
    let seen = team.owner.get(&format!("/teams/{}/members/{owner}/permissions", team.slug)).await.expect(200);
    let rows = seen.body["matrix"].as_array().unwrap();
    rows.iter().map(|row| row["kind"].as_str().unwrap().to_owned()).collect()
}

/// Asks for every noun and verb about one's own, a colleague's and the team's.
async fn reaches(caller: &Caller, team: &TeamHandle, own: &str, other: &str, nouns: &[String]) -> Reaches {
    let mut questions = Vec::new();
    for noun in nouns {
        for verb in ["view", "use", "write"] {
            for owner in [json!(own), json!(other), Value::Null] {
                questions.push(json!({ "action": format!("{noun}:{verb}"), "owner": owner }));
            }
        }
    }
    let mut answers = Vec::new();
    for batch in questions.chunks(200) {
        let body = json!({ "questions": batch });
        let path = format!("/teams/{}/authorize", team.slug);
        answers
            .extend(caller.post(&path, body).await.expect(200).body["answers"].as_array().unwrap().clone());
    }
    let words: Vec<&str> = answers
        .chunks(3)
        .map(|three| match [0, 1, 2].map(|at| three[at]["decision"] == "allow") {
            [true, true, true] => "all",
            [true, false, false] => "own",
            [false, false, false] => "-",
            other => panic!("{other:?}: {three:#?}"),
        })
        .collect();
    nouns.iter().cloned().zip(words.chunks(3).map(|three| [three[0], three[1], three[2]])).collect()
}

/// The expectation: all of `lists` for these nouns, and nothing for any other.
fn expected(nouns: &[String], lists: &[(&[&str], [&'static str; 3])]) -> Reaches {
    let mut expected: Reaches = nouns.iter().map(|noun| (noun.clone(), ["-"; 3])).collect();
    for (kinds, reach) in lists {
        for kind in *kinds {
            let known = expected.insert((*kind).to_owned(), *reach);
            assert_eq!(known, Some(["-"; 3]), "{kind} is no noun, or is told twice");
        }
    }
    expected
}

/// The same with everything allowed that is not in the lists: for those who run the team.
fn all_but(nouns: &[String], lists: &[(&[&str], [&'static str; 3])]) -> Reaches {
    let listed = expected(nouns, lists);
    let named = |noun: &String| lists.iter().any(|(kinds, _)| kinds.contains(&noun.as_str()));
    listed
        .into_iter()
        .map(|(noun, reach)| if named(&noun) { (noun, reach) } else { (noun, ["all"; 3]) })
        .collect()
}

const SITE_OWNED: (&[&str], [&str; 3]) = (&["metal_instance", "metal_storage"], ["all", "-", "-"]);

#[tokio::test(flavor = "multi_thread")]
async fn glows_members_work_with_their_own_and_admins_do_all_but_bring_money_in() {
    for database in Database::BOTH {
        let app = TestApp::start(database).await;
        let team = app.team("glows").await;
        let (admin_id, admin) = app.member(&team, "ada", "admin").await;
        let (id, member) = app.member(&team, "mia", "member").await;
        let nouns = nouns(&team).await;
        // "Create New, Instances, Datadrive, Snapshots, Storage Space, Billing, Profile" and what belongs to them.
        let own: &[&str] = &[
            "instance",
            "template",
            "storage",
            "snapshot",
            "network_group",
            "run",
            "session",
            "datastore",
            "job",
            "serverless",
            "llm_endpoint",
        ];
        let wanted = expected(
            &nouns,
            &[
                (own, ["own", "own", "own"]),
                (&["ssh_key", "registry_auth", "api_key", "request"], ["own", "-", "own"]),
                (
                    &["balance", "transaction", "bill", "billing_details", "budget", "member", "permission"],
                    ["own", "-", "-"],
                ),
                (&["team", "catalog", "price", "image", "policy"], ["all", "-", "-"]),
            ],
        );
        assert_eq!(reaches(&member, &team, &id, &admin_id, &nouns).await, wanted);
        // "All owner rights except create team and recharge."
        let money_in: &[&str] = &["top_up", "auto_top_up", "payment_method"];
        let wanted = all_but(&nouns, &[(money_in, ["all", "-", "-"]), SITE_OWNED]);
        assert_eq!(reaches(&admin, &team, &admin_id, &id, &nouns).await, wanted);
        let topped =
            admin.post("/teams/glows/top-ups", json!({ "amount": "5" })).await.problem(403, "refused");
        assert_eq!(topped.body["denials"][0]["policy"], "preset/glows/owner-recharges", "{:#}", topped.body);
        team.owner.post("/teams/glows/top-ups", json!({ "amount": "5" })).await.expect(201);
        member.get("/teams/glows/instances?view=admin").await.problem(403, "refused");
        member.get("/teams/glows/instances").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grid_collaborators_see_all_and_change_their_own() {
    for database in Database::BOTH {
        let app = TestApp::start(database).await;
        let team = app.team_of("grid", "grid").await;
        let (admin_id, admin) = app.member(&team, "ada", "admin").await;
        let (id, caller) = app.member(&team, "bea", "collaborator").await;
        let (_, other) = app.member(&team, "cyn", "collaborator").await;
        let nouns = nouns(&team).await;
        let runs: &[&str] = &[
            "instance",
            "run",
            "session",
            "datastore",
            "job",
            "serverless",
            "llm_endpoint",
            "template",
            "snapshot",
        ];
        let wanted = expected(
            &nouns,
            &[
                (runs, ["all", "all", "own"]),
                (&["playground"], ["all", "all", "-"]),
                (&["storage", "network_group"], ["all", "-", "own"]),
                (
                    &[
                        "team",
                        "member",
                        "policy",
                        "catalog",
                        "price",
                        "balance",
                        "llm_metrics",
                        "llm_settings",
                        "image",
                        "image_prewarm",
                        "numa_setting",
                    ],
                    ["all", "-", "-"],
                ),
                (&["ssh_key", "registry_auth", "api_key", "request"], ["own", "-", "own"]),
                (&["transaction", "bill", "billing_details", "budget", "permission"], ["own", "-", "-"]),
            ],
        );
        assert_eq!(reaches(&caller, &team, &id, &admin_id, &nouns).await, wanted);
        let owners: &[&str] = &["identity_verification", "payment_method", "auto_top_up", "affiliate"];
        let wanted = all_but(&nouns, &[(owners, ["all", "-", "-"]), SITE_OWNED]);
        assert_eq!(reaches(&admin, &team, &admin_id, &id, &nouns).await, wanted);

        machines(&app, &team).await;
        let instances = "/teams/grid/instances";
        let wish = json!({ "name": "box", "product": "cpu", "image": "base", "mount_team_drive": false });
        let hers = caller.post(instances, wish.clone()).await.expect(201).text("id").to_owned();
        let hers = format!("{instances}/{hers}");
        let listed = other.get(&format!("{instances}?view=admin")).await.expect(200);
        assert_eq!(listed.body["items"][0]["member"], json!(id));
        for page in ["", "/billing", "/config", "/hardware", "/access"] {
            other.get(&format!("{hers}{page}")).await.expect(200);
        }
        for verb in ["stop", "start", "release"] {
            let refused = other.post(&format!("{hers}/{verb}"), json!({})).await.problem(403, "refused");
            let denials = refused.body["denials"].as_array().unwrap();
            let not_hers = |denial: &&Value| denial["policy"] == "preset/grid/no-touching-others";
            let denial = denials.iter().find(not_hers).unwrap_or_else(|| panic!("{:#}", refused.body));
            assert_eq!(denial["advice"], "only its creator may do this; it belongs to bea");
            assert_eq!(denial["lifted_by"], "its creator, or the team owner or an admin");
        }
        caller.post(&format!("{hers}/stop"), json!({})).await.expect(202);
        admin.post(&format!("{hers}/stop"), json!({})).await.expect(202);
        admin.post(&format!("{hers}/release"), json!({})).await.expect(202);
        let another = other.post(instances, wish).await.expect(201).text("id").to_owned();
        team.owner.post(&format!("{instances}/{another}/release"), json!({})).await.expect(202);
    }
}

/// Something to launch, and money for it.
async fn machines(app: &TestApp, team: &TeamHandle) {
    let operator = app.operator().await;
    let host = json!({ "name": "one", "endpoint": "simulated:", "region": "here" });
    operator.post("/hosts", host).await.expect(201);
    let product = json!({ "name": "cpu", "region": "here", "instance_type": "cpu", "accelerator": "none",
        "gpus_per_unit": 0, "cpu_millis": 10, "memory_bytes": 1 << 24, "price_per_hour": "1", "published": true });
    operator.post("/products", product).await.expect(201);
    let image = json!({ "name": "base", "reference": "base:1", "published": true });
    operator.post("/images", image).await.expect(201);
    app.fund(team, "100").await;
}
