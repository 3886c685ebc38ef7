//! Coming in: the claim, the throttle, the forced first reset.

use serde_json::json;

use crate::support::{Database, PASSWORD, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn the_site_is_claimed_once() {
    for database in Database::BOTH {
        let app = TestApp::start(database).await;
        let body = |token: &str| json!({ "token": token, "login": "root2", "password": PASSWORD });
        app.anonymous().post("/auth/claim", body("muo_wrong")).await.problem(401, "claim-refused");
        let operator = app.operator().await;
        app.anonymous().post("/auth/claim", body(&app.claim)).await.problem(401, "claim-refused");
        let me = operator.get("/me").await.expect(200);
        assert_eq!((&me.body["user"]["login"], &me.body["user"]["operator"]), (&json!("root"), &json!(true)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_and_unknown_logins_look_alike_and_have_to_wait() {
    for database in Database::BOTH {
        let app = TestApp::start(database).await;
        app.operator().await;
        for login in ["root", "nobody"] {
            let try_with = |password: &str| {
                let body = json!({ "login": login, "password": password });
                let door = app.anonymous();
                async move { door.post("/auth/login", body).await }
            };
            for _ in 0..5 {
                try_with("wrong").await.problem(401, "wrong-credentials");
            }
            let blocked = try_with(PASSWORD).await.problem(429, "throttled");
            let wait: i64 = blocked.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((30..=31).contains(&wait), "{wait}");
            app.pass(wait);
            try_with("wrong").await.problem(401, "wrong-credentials");
            app.pass(31);
            try_with(PASSWORD).await.problem(429, "throttled");
        }
        app.pass(60);
        let body = json!({ "login": " ROOT ", "password": PASSWORD });
        app.anonymous().post("/auth/login", body).await.expect(200);
        assert!(!app.kept().await.contains(PASSWORD));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_does_not_learn_which_teams_there_are() {
    for database in Database::BOTH {
        let app = TestApp::start(database).await;
        let team = app.team("glows").await;
        for name in [team.slug.as_str(), "nobodys"] {
            let path = format!("/teams/{name}/members");
            app.anonymous().get(&path).await.problem(401, "unauthenticated");
            app.anonymous().post(&path, json!({ "account": "eve" })).await.problem(401, "unauthenticated");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_password_opens_nothing_but_its_own_change() {
    for database in Database::BOTH {
        let app = TestApp::start(database).await;
        let team = app.team("glows").await;
        let path = format!("/teams/{}/members", team.slug);
        let issued = team.owner.post(&path, json!({ "account": "ada" })).await.expect(201);
        let login = &issued.body["login"];
        assert_eq!((&login["server"], &login["team"]), (&json!("https://muster.test"), &json!("glows")));
        let first = login["password"].as_str().unwrap();
        let signed_in = app.team_login(&team, "ada", first).await.expect(200);
        let ada = app.bearer(signed_in.text("token"));
        ada.get("/me").await.problem(403, "refused");
        ada.get("/teams/glows").await.problem(403, "refused");
        let user = app.user("ada").await;
        let link = json!({ "team": "glows", "account": "ada", "password": first });
        user.post("/me/links", link).await.problem(403, "reset-required");
        let same = json!({ "current_password": first, "new_password": first });
        ada.post("/auth/password", same).await.problem(422, "invalid-input");
        let change = json!({ "current_password": first, "new_password": PASSWORD });
        let full = ada.post("/auth/password", change).await.expect(200);
        ada.get("/me").await.problem(401, "session-ended");
        let ada = app.bearer(full.text("token"));
        let me = ada.get("/me").await.expect(200);
        assert_eq!(me.body["membership"]["state"], json!("active"));
        let link = json!({ "team": "glows", "account": "ada", "password": PASSWORD });
        user.get("/teams/glows").await.problem(404, "not-found");
        user.post("/me/links", link).await.expect(201);
        user.get("/teams/glows").await.expect(200);
        ada.post("/auth/logout", json!({})).await.expect(204);
        ada.get("/me").await.problem(401, "session-ended");
    }
}
