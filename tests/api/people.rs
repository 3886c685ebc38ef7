//! Teams, members, limits and keys.

use serde_json::json;

use crate::support::{Database, PASSWORD, TestApp, ids};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_lives_from_first_credits_to_removal() {
    for database in Database::BOTH {
        let app = TestApp::start(database).await;
        let team = app.team("glows").await;
        let members = "/teams/glows/members";
        let new = json!({ "account": "ada", "role": "member", "initial_credits": "10.5" });
        team.owner.post(members, new.clone()).await.problem(409, "not-enough-credits");
        app.fund(&team, "100").await;
        let key = team.owner.with("Idempotency-Key", "k1");
        let first = key.post(members, new).await.expect(201);
        assert_eq!(app.pool(&team).await, "89.5");
        let again = json!({ "account": "ada", "role": "member", "initial_credits": "10.5" });
        let again = key.post(members, again).await.expect(201);
        let password = first.body["login"]["password"].as_str().unwrap();
        let mut shown = first.body.clone();
        shown["login"].as_object_mut().unwrap().remove("password");
        assert_eq!(again.body, shown, "the same answer without the secret");
        key.post(members, json!({ "account": "bob" })).await.problem(422, "idempotency-mismatch");
        assert!(!app.kept().await.contains(password));
        let ada = format!("{members}/{}", first.text("id"));
        let detail = team.owner.get(&ada).await.expect(200);
        assert_eq!((detail.text("balance"), detail.text("total_spending")), ("10.5", "0"));
        team.owner.delete(&ada).await.expect(204);
        assert_eq!(app.pool(&team).await, "100");
        app.team_login(&team, "ada", password).await.problem(401, "wrong-credentials");
        team.owner.post(members, json!({ "account": "ada" })).await.problem(409, "account-taken");
        for n in 0..5 {
            team.owner.post(members, json!({ "account": format!("m{n}") })).await.expect(201);
        }
        team.owner.post(members, json!({ "account": "m5" })).await.problem(409, "member-limit");
        let audit = team.owner.get("/teams/glows/audit?limit=200").await.expect(200);
        assert!(audit.body["items"].as_array().unwrap().iter().any(|line| line["action"] == "RemoveMember"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_role_ends_the_tokens_of_before() {
    for database in Database::BOTH {
        let app = TestApp::start(database).await;
        let team = app.team("glows").await;
        let (id, ada) = app.member(&team, "ada", "admin").await;
        let path = format!("/teams/glows/members/{id}");
        ada.get("/teams/glows/audit").await.expect(200);
        app.pass(1);
        let seen = team.owner.get(&path).await.expect(200);
        team.owner.patch(&path, json!({ "role": "member" })).await.problem(428, "precondition-required");
        let owner = team.owner.with("If-Match", seen.etag());
        owner.patch(&path, json!({ "role": "billing" })).await.problem(422, "invalid-input");
        owner.patch(&path, json!({ "role": "owner" })).await.problem(403, "refused");
        owner.patch(&path, json!({ "role": "member" })).await.expect(200);
        owner.patch(&path, json!({ "alias": "A" })).await.problem(412, "stale-version");
        ada.get("/teams/glows").await.problem(401, "session-ended");
        let again = app.team_login(&team, "ada", PASSWORD).await.expect(200);
        let ada = app.bearer(again.text("token"));
        ada.get("/teams/glows/audit").await.problem(403, "refused");
        assert_eq!(ids(&ada.get("/teams/glows/members").await.expect(200)), [id]);
        let seen = team.owner.get(&path).await.expect(200);
        let owner = team.owner.with("If-Match", seen.etag());
        owner.patch(&path, json!({ "state": "suspended" })).await.expect(200);
        app.team_login(&team, "ada", PASSWORD).await.problem(403, "member-suspended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn teams_do_not_see_each_other_and_limits_are_versioned() {
    for database in Database::BOTH {
        let app = TestApp::start(database).await;
        let (team, other) = (app.team("glows").await, app.team_of("other", "novita").await);
        let (id, ada) = app.member(&team, "ada", "member").await;
        for path in ["/teams/other", "/teams/other/members", "/teams/nowhere", "/teams/other/quota"] {
            ada.get(path).await.problem(404, "not-found");
            team.owner.get(path).await.problem(404, "not-found");
        }
        other.owner.get(&format!("/teams/other/members/{id}")).await.problem(404, "not-found");
        let quota = team.owner.get("/teams/glows/quota").await.expect(200);
        let limits = json!({ "gpus": 4, "regions": ["tw-03"] });
        team.owner.put("/teams/glows/quota", limits.clone()).await.problem(428, "precondition-required");
        let owner = team.owner.with("If-Match", quota.etag());
        owner.put("/teams/glows/quota", limits.clone()).await.expect(200);
        owner.put("/teams/glows/quota", limits).await.problem(412, "stale-version");
        let path = format!("/teams/glows/members/{id}");
        let own = team.owner.get(&format!("{path}/quota")).await.expect(200);
        assert_eq!(own.body["effective"]["gpus"], json!(4));
        let owner = team.owner.with("If-Match", own.etag());
        owner.put(&format!("{path}/quota"), json!({ "gpus": 1 })).await.expect(200);
        let may = ada.get(&format!("{path}/permissions")).await.expect(200);
        assert_eq!((&may.body["limits"]["gpus"], &may.body["role"]), (&json!(1), &json!("member")));
        ada.get("/teams/glows/quota").await.problem(403, "refused");
        ada.get("/teams").await.problem(403, "refused");
        assert_eq!(
            app.operator().await.get("/teams").await.expect(200).body["items"].as_array().unwrap().len(),
            2
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scopes_say_until_it_ends() {
    for database in Database::BOTH {
        let app = TestApp::start(database).await;
        let team = app.team("glows").await;
        let keys = "/teams/glows/api-keys";
        team.owner.post(keys, json!({ "name": "k", "scopes": ["fly"] })).await.problem(422, "invalid-input");
        let new = json!({ "name": "k", "scopes": ["getTeam"], "expires_in_days": 1 });
        let made = team.owner.post(keys, new).await.expect(201);
        let key = app.bearer(made.text("token"));
        key.get("/teams/glows").await.expect(200);
        key.get("/teams/glows/members").await.problem(403, "refused");
        assert_eq!(key.get("/me").await.expect(200).body["scopes"], json!(["getTeam"]));
        let all = app.bearer(team.owner.post(keys, json!({ "name": "all" })).await.expect(201).text("token"));
        all.get("/teams/glows/members").await.expect(200);
        all.post(keys, json!({ "name": "child" })).await.problem(403, "refused");
        assert_eq!(ids(&team.owner.get(keys).await.expect(200)).len(), 2);
        app.pass(24 * 3600);
        key.get("/teams/glows").await.problem(401, "session-ended");
        let owner = json!({ "login": "glows-owner", "password": PASSWORD });
        let owner = app.anonymous().post("/auth/login", owner).await.expect(200);
        let owner = app.bearer(owner.text("token"));
        for id in ids(&owner.get(&format!("{keys}?view=admin")).await.expect(200)) {
            owner.delete(&format!("{keys}/{id}")).await.expect(204);
        }
        all.get("/teams/glows").await.problem(401, "session-ended");
    }
}
