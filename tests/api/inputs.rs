//! Input that cannot be meant is refused with its place, and leaves every table as it was.

use serde_json::json;

use crate::support::{Database, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_changes_nothing() {
    for database in Database::BOTH {
        let app = TestApp::start(database).await;
        let team = app.team("glows").await;
        let other = app.team("other").await;
        let (foreign, _) = app.member(&other, "ada", "member").await;
        let before = app.counts().await;
        let huge = format!(r#"{{"account":"bob","note":"{}"}}"#, "x".repeat(70_000));
        let cases = [
            ("{", 400, "malformed-json"),
            (r#"{"account":"bob"} x"#, 400, "malformed-json"),
            (r#"{"account":"bob","colour":1}"#, 400, "unknown-field"),
            (r#"{"account":7}"#, 400, "wrong-type"),
            (r#"{"account":"bob","role":"king"}"#, 400, "wrong-type"),
            (r#"{"account":"b b"}"#, 422, "invalid-input"),
            (r#"{"account":"bob","password":"short"}"#, 422, "invalid-input"),
            (r#"{"account":"bob","role":"billing"}"#, 422, "invalid-input"),
            (r#"{"account":"bob","initial_credits":"-1"}"#, 422, "invalid-input"),
            (r#"{"account":"bob","initial_credits":"0.0000001"}"#, 400, "wrong-type"),
            (&huge, 413, "body-too-large"),
        ];
        for (body, status, code) in cases {
            team.owner.post_raw("/teams/glows/members", body).await.problem(status, code);
        }
        let path = format!("/teams/glows/members/{foreign}");
        team.owner.delete(&path).await.problem(404, "not-found");
        team.owner.delete("/teams/glows/members/mem_1").await.problem(404, "not-found");
        let bad = team.owner.with("If-Match", "7").patch("/teams/glows", json!({})).await;
        bad.problem(422, "invalid-input");
        assert_eq!(app.counts().await, before);
    }
}
