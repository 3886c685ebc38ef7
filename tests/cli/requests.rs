//! Asking for more at the terminal: the command that a refusal prints, and what it sends.

use crate::desk::{Answer, Desk};

#[test]
fn a_refusal_prints_the_command_that_asks_for_what_is_missing() {
    let body = r#"{"title": "Refused", "status": 403, "code": "refused", "request_id": "req_1",
        "detail": "instances held at once: at most 1; this can be lifted by: team owner or admin", "denials": [
        {"policy": "plat/funds", "advice": "4.5 are missing", "lifted_by": "whoever assigns credits",
         "limit": {"name": "credits", "max": "1.5", "requested": "6"},
         "request": {"method": "POST", "path": "/api/v1/teams/team_1/requests",
                     "body": {"kind": "credits", "amount": "4.5", "reason": "to run cpu in here"}}},
        {"policy": "plat/quota-instances", "advice": "at most 1", "lifted_by": "team owner or admin",
         "limit": {"name": "instances", "max": "1", "used": "1", "requested": "1"},
         "request": {"method": "POST", "path": "/api/v1/teams/team_1/requests",
                     "body": {"kind": "quota", "limits": {"instances": 2}, "reason": "to run cpu in here"}}}]}"#;
    let desk = Desk::with([Answer::json(403, body)]);
    let create = ["instance", "create", "lab", "--product", "cpu", "--image", "base", "--team", "acme"];
    let said = desk.run(&[&create[..], &["--server", desk.url()]].concat());
    assert!(said.starts_with("exit 4\n"), "{said}");
    let wanted = "Ask for it:\n  \
                  muster --team team_1 request credits 4.5 --reason 'to run cpu in here'\n  \
                  muster --team team_1 request quota instances=2 --reason 'to run cpu in here'\n";
    assert!(said.contains(wanted), "{said}");

    // What it prints is what it understands, and sends what was offered.
    let desk = Desk::with([Answer::json(201, r#"{"id": "ask_1", "state": "open"}"#)]);
    let typed = ["--team", "team_1", "request", "quota", "instances=2", "--reason", "to run cpu in here"];
    desk.run(&[&typed[..], &["--server", desk.url()]].concat());
    let asked = desk.asked().remove(0);
    assert!(asked.starts_with("POST /api/v1/teams/team_1/requests "), "{asked}");
    let body = r#"{"kind":"quota","limits":{"instances":2},"reason":"to run cpu in here"}"#;
    assert!(asked.ends_with(body), "{asked}");
}

#[test]
fn requests_are_listed_with_what_was_wanted_and_given() {
    let page = r#"{"items": [
        {"id": "ask_2", "member": "mem_1", "kind": "quota", "state": "approved", "limits": {"gpus": 4},
         "granted": {"limits": {"gpus": 2}, "until": null}, "reason": "a model"},
        {"id": "ask_1", "member": "mem_1", "kind": "credits", "state": "open", "amount": "20", "reason": "a week"}],
        "next_cursor": null}"#;
    let desk = Desk::with([Answer::json(200, page)]);
    let said = desk.run(&["request", "ls", "--state", "open", "--team", "acme", "--server", desk.url()]);
    let lines: Vec<&str> = said.lines().skip(2).collect();
    assert!(lines[0].contains("WANTED") && lines[0].contains("GIVEN"), "{said}");
    assert!(lines[1].contains("gpus=4") && lines[1].contains("gpus=2"), "{said}");
    assert!(lines[2].contains("20 credits"), "{said}");
    assert!(desk.asked()[0].starts_with("GET /api/v1/teams/acme/requests?state=open&limit=100 "));
}

#[test]
fn a_limit_for_a_while_is_put_on_the_version_that_was_read() {
    let desk = Desk::with([
        Answer::json(200, r#"{"limits": {"gpus": 4}}"#).with("etag", "\"v7\""),
        Answer::json(200, r#"{"limits": {"gpus": 4}}"#),
    ]);
    let set =
        ["quota", "set", "--member", "mem_1", "gpus=8", "--until", "2026-12-01T00:00:00Z", "--team", "acme"];
    let said = desk.run(&[&set[..], &["--reason", "the deadline", "--server", desk.url()]].concat());
    assert!(said.starts_with("exit 0\n"), "{said}");
    let put = desk.asked().remove(1);
    assert!(put.starts_with("PUT /api/v1/teams/acme/members/mem_1/quota/temporary "), "{put}");
    assert!(put.contains("if-match: \"v7\""), "{put}");
    let body = r#"{"limits":{"gpus":8},"until":"2026-12-01T00:00:00Z","reason":"the deadline"}"#;
    assert!(put.ends_with(body), "{put}");
}

#[test]
fn a_log_that_was_tampered_with_is_an_alarm() {
    let report = r#"{"ok": false, "linked": 2, "pending": 0, "head": "2:ab", "found": 1,
        "faults": [{"event": "aud_1", "detail": "the event was removed"}]}"#;
    let desk = Desk::with([Answer::json(200, report)]);
    let said = desk.run(&["audit", "verify", "--team", "acme", "--noted", "1:cd", "--server", desk.url()]);
    assert!(said.starts_with("exit 1\n") && said.contains("aud_1"), "{said}");
    assert!(desk.asked()[0].starts_with("GET /api/v1/teams/acme/audit/verify?noted=1%3Acd "));
}
