//! The command line as a user meets it: the real binary, its exit code, its two outputs. The server is a stand-in
//! that answers what a test tells it and keeps what it was asked; the real one is met in the tests of the API.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop where it stands")]

mod charges;
mod desk;
mod requests;
mod server;

use std::os::unix::fs::PermissionsExt;

use desk::{Answer, Desk};

#[test]
fn help_names_every_command_and_the_exit_codes() {
    insta::assert_snapshot!(Desk::alone().run(&["--help"]));
}

#[test]
fn help_of_a_new_instance() {
    insta::assert_snapshot!(Desk::alone().run(&["instance", "create", "--help"]));
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    insta::assert_snapshot!(Desk::alone().run(&["instanec", "ls"]));
}

#[test]
fn settings_are_printed_as_a_file_that_reads_back() {
    let desk = Desk::alone();
    let url = "database=postgres://muster:s3cret@127.0.0.1/muster";
    let printed = desk.run(&["config", "print", "--redact", "--set", url, "--set", "limits.json_depth=16"]);
    assert!(!printed.contains("s3cret"));
    insta::assert_snapshot!(printed);
    let file = desk.home().join("settings.toml");
    std::fs::write(&file, desk.output(&["config", "print"]).stdout).unwrap();
    let checked = desk.run(&["config", "check", "--config", file.to_str().unwrap()]);
    assert!(checked.starts_with("exit 0\n"), "{checked}");
}

#[test]
fn every_wrong_setting_is_told() {
    let file = "--config=absent.toml";
    insta::assert_snapshot!(Desk::alone().run(&["config", "check", file]));
    let wrong = ["config", "check", "--set", "limits.json_dept=4", "--listen", "here"];
    insta::assert_snapshot!(Desk::alone().run(&wrong));
}

#[test]
fn doctor_tells_in_json_what_it_found() {
    let desk = Desk::alone();
    let output = desk.output(&["doctor", "--output", "json", "--data-dir", "/proc/nowhere/at-all"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<_> = found["items"].as_array().unwrap().iter().map(|item| item["check"].clone()).collect();
    assert_eq!(names, ["settings", "data folder", "database", "Docker", "solver", "clock"]);
    let broken = desk.output(&["doctor", "--listen", "nowhere"]);
    assert_eq!(broken.status.code(), Some(1));
}

#[test]
fn completions_are_a_script() {
    let script = Desk::alone().run(&["completions", "bash"]);
    assert!(script.starts_with("exit 0\n") && script.contains("_muster()"));
}

#[test]
fn without_a_server_the_way_out_is_told() {
    insta::assert_snapshot!(Desk::alone().run(&["whoami", "--server", "http://127.0.0.1:1"]));
}

#[test]
fn a_login_keeps_its_token_privately_and_for_its_own_server_only() {
    let desk = Desk::with([
        Answer::json(200, r#"{"token": "t0ken", "expires_at": "2027-01-01T00:00:00Z"}"#),
        Answer::json(200, r#"{"login": "ann"}"#),
    ]);
    let said =
        desk.run_with_input(&["login", "ann", "--password-stdin", "--server", desk.url()], "pass word\n");
    assert_eq!(said, "exit 0\n--- stdout\nSigned in as ann.\n--- stderr\n");
    let file = desk.home().join(".config/muster/profiles.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(desk.run(&["whoami"]), "exit 0\n--- stdout\nlogin  ann\n--- stderr\n");
    let asked = desk.asked();
    assert!(asked[0].starts_with("POST /api/v1/auth/login "), "{}", asked[0]);
    assert!(asked[0].ends_with(r#"{"login":"ann","password":"pass word"}"#), "{}", asked[0]);
    assert!(asked[0].contains("idempotency-key: "), "{}", asked[0]);
    assert!(asked[1].starts_with("GET /api/v1/me ") && asked[1].contains("authorization: Bearer t0ken"));
    let other = Desk::with([Answer::json(401, r#"{"detail": "no token", "code": "unauthenticated"}"#)]);
    let refused = desk.run(&["whoami", "--server", other.url()]);
    assert!(refused.starts_with("exit 3\n"), "{refused}");
    assert!(!other.asked()[0].contains("t0ken"));
}

#[test]
fn a_refusal_is_told_with_its_limits_and_has_its_exit_code() {
    let body = r#"{"title": "Refused", "status": 403, "code": "refused", "request_id": "req_1",
        "detail": "the team holds 4 of 4 GPUs; this can be lifted by: team owner or admin", "denials": [
        {"policy": "plat/quota-gpus", "advice": "GPUs held at once", "lifted_by": "team owner or admin",
         "limit": {"name": "gpus", "max": "4", "used": "4", "requested": "1"}}]}"#;
    let desk = Desk::with([Answer::json(403, body)]);
    let create = ["instance", "create", "lab", "--product", "h100", "--image", "base", "--env", "A=b"];
    let said = desk.run(&[&create[..], &["--server", desk.url(), "--team", "acme"]].concat());
    insta::assert_snapshot!(said);
    let asked = desk.asked();
    assert!(asked[0].starts_with("POST /api/v1/teams/acme/instances "), "{}", asked[0]);
}

#[test]
fn a_list_follows_its_cursor_and_is_a_table_or_json() {
    let pages = || {
        [
            Answer::json(
                200,
                r#"{"items": [{"id": "inst_1", "name": "a", "state": "running"}], "next_cursor": "c1"}"#,
            ),
            Answer::json(
                200,
                r#"{"items": [{"id": "inst_2", "name": "b", "state": "failed"}], "next_cursor": null}"#,
            ),
        ]
    };
    let desk = Desk::with(pages());
    let list = ["instance", "ls", "--view", "self", "--team", "acme", "--server"];
    insta::assert_snapshot!(desk.run(&[&list[..], &[desk.url()]].concat()));
    let asked = desk.asked();
    assert!(asked[0].starts_with("GET /api/v1/teams/acme/instances?view=self&limit=200 "), "{}", asked[0]);
    assert!(asked[1].contains("&cursor=c1 "), "{}", asked[1]);
    let desk = Desk::with(pages());
    insta::assert_snapshot!(desk.run(&[&list[..], &[desk.url(), "--output", "json"]].concat()));
}

#[test]
fn a_wait_tells_each_state_once_and_fails_with_the_instance() {
    let desk = Desk::with([
        Answer::json(201, r#"{"id": "inst_1", "state": "scheduled"}"#),
        Answer::json(200, r#"{"id": "inst_1", "state": "pulling"}"#),
        Answer::json(200, r#"{"id": "inst_1", "state": "failed", "reason": "image_missing"}"#),
    ]);
    let create =
        ["instance", "create", "lab", "--product", "h100", "--image", "base", "--wait", "--team", "acme"];
    insta::assert_snapshot!(desk.run(&[&create[..], &["--server", desk.url()]].concat()));
}

#[test]
fn a_quota_changes_what_is_named_against_the_version_that_was_read() {
    let desk = Desk::with([
        Answer::json(200, r#"{"limits": {"gpus": 4, "regions": ["tw-03"]}}"#).with("etag", "\"7\""),
        Answer::json(200, r#"{"limits": {"gpus": 8, "regions": ["tw-03"]}}"#),
    ]);
    let said = desk.run(&["quota", "set", "gpus=8", "--team", "acme", "--server", desk.url()]);
    assert!(said.starts_with("exit 0\n"), "{said}");
    let put = desk.asked().remove(1);
    assert!(put.starts_with("PUT /api/v1/teams/acme/quota ") && put.contains("if-match: \"7\""), "{put}");
    assert!(put.ends_with(r#"{"gpus":8,"regions":["tw-03"]}"#), "{put}");
}

#[test]
fn terms_that_are_not_named_stay() {
    let desk = Desk::with([
        Answer::json(
            200,
            r#"{"spending": "wallet", "time_zone": "UTC", "billing_starts": "pull", "exhaustion": "stop",
                "runway_minutes": 30, "credit_limit": "0", "owed": "0", "version": 7}"#,
        )
        .with("etag", "\"v7\""),
        Answer::json(200, r#"{"spending": "pool"}"#),
    ]);
    let set =
        ["team", "set-terms", "--spending", "pool", "--runway-minutes", "0", "--team", "acme", "--server"];
    let said = desk.run(&[&set[..], &[desk.url()]].concat());
    assert!(said.starts_with("exit 0\n"), "{said}");
    let put = desk.asked().remove(1);
    assert!(put.starts_with("PUT /api/v1/teams/acme/terms ") && put.contains("if-match: \"v7\""), "{put}");
    let body = r#"{"spending":"pool","time_zone":"UTC","billing_starts":"pull","exhaustion":"stop"}"#;
    assert!(put.ends_with(body), "{put}");
}

#[test]
fn a_snapshot_is_deleted_only_by_whoever_means_it() {
    let kept = || Answer::json(200, r#"{"id": "snap_1", "name": "mine"}"#);
    let desk = Desk::with([kept()]);
    let said = desk.run(&["snapshot", "rm", "snap_1", "--team", "acme", "--server", desk.url()]);
    assert!(!said.starts_with("exit 0\n") && said.contains("say --yes"), "{said}");
    let asked = desk.asked();
    assert!(
        asked.len() == 1 && asked[0].starts_with("GET /api/v1/teams/acme/snapshots/snap_1 "),
        "{asked:?}"
    );

    let desk = Desk::with([kept()]);
    let said = desk.run(&["snapshot", "rm", "snap_1", "--yes", "--team", "acme", "--server", desk.url()]);
    assert!(said.starts_with("exit 0\n"), "{said}");
    assert!(desk.asked()[0].starts_with("DELETE /api/v1/teams/acme/snapshots/snap_1 "));
}

#[test]
fn a_budget_says_whose_it_is() {
    let desk = Desk::with([Answer::json(201, r#"{"id": "bud_1"}"#)]);
    let add =
        ["budget", "add", "lab", "20", "--member", "mem_1", "--at", "50,100", "--team", "acme", "--server"];
    let said = desk.run(&[&add[..], &[desk.url()]].concat());
    assert!(said.starts_with("exit 0\n"), "{said}");
    let asked = desk.asked().remove(0);
    let body = concat!(
        r#"{"name":"lab","scope":"member","subject":"mem_1","ceiling":"20","period":"monthly","#,
        r#""reaction":"deny","thresholds":[50,100]}"#
    );
    assert!(asked.starts_with("POST /api/v1/teams/acme/budgets ") && asked.ends_with(body), "{asked}");
}

#[test]
fn a_test_message_that_nobody_takes_is_an_exit_code() {
    let desk =
        Desk::with([Answer::json(200, r#"{"delivered": false, "status": null, "error": "no answer"}"#)]);
    let test = ["webhook", "test", "hook_1", "--team", "acme", "--server"];
    let said = desk.run(&[&test[..], &[desk.url()]].concat());
    assert!(said.starts_with("exit 1\n") && said.contains("no answer"), "{said}");
    assert!(desk.asked()[0].starts_with("POST /api/v1/teams/acme/webhooks/hook_1/test "));
}

#[test]
fn a_team_command_without_a_team_asks_for_one() {
    let said = Desk::alone().run(&["credits", "balance"]);
    assert!(said.starts_with("exit 7\n") && said.contains("MUSTER_TEAM"), "{said}");
}

#[test]
fn an_export_of_the_books_comes_as_it_is_even_if_json_is_asked_for() {
    let lines = "{\"type\":\"account\"}\n{\"type\":\"lot\"}\n";
    for form in ["table", "json"] {
        let desk = Desk::with([Answer::json(200, lines)]);
        let arguments = ["ledger", "export", "--form", "dump", "--output", form, "--server", desk.url()];
        let shown = desk.run(&arguments);
        assert!(shown.contains(lines), "{shown}");
        assert!(desk.asked()[0].starts_with("GET /api/v1/ledger/export?form=dump "), "{:?}", desk.asked());
    }
}

#[test]
fn broken_books_are_an_exit_code() {
    let body = r#"{"ok": false, "violations": [{"rule": "I1", "id": "txn_1", "detail": "sums to 3"}]}"#;
    let desk = Desk::with([Answer::json(200, body)]);
    insta::assert_snapshot!(desk.run(&["ledger", "verify", "--server", desk.url()]));
}
