//! The guide for those who write a team's policies: its commands are run, and must show what the guide shows.

use std::{path::Path, process::Stdio};

use muster::app::secrets::Token;

use crate::{
    scene::{both, label, launch, until},
    site::Site,
};

/// A terminal: the same folder and the same variables from command to command.
struct Terminal<'a> {
    site: &'a Site,
    folder: tempfile::TempDir,
    plan: String,
    decision: String,
}

impl Terminal<'_> {
    async fn run(&mut self, who: &Token, line: &str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = self.site.door.clone();
        let server = tokio::spawn(async move { axum::serve(listener, door).await.unwrap() });
        let binaries = Path::new(env!("CARGO_BIN_EXE_muster")).parent().unwrap();
        let mut command = tokio::process::Command::new("/bin/sh");
        command.args(["-c", line]).env_clear().env("PATH", format!("{}:/usr/bin:/bin", binaries.display()));
        command.env("HOME", self.folder.path()).current_dir(self.folder.path());
        command.env("MUSTER_SERVER", format!("http://{address}")).env("MUSTER_TEAM", "crew");
        command.env("INTERN", self.site.member.to_string()).env("PLAN", &self.plan);
        command.env("DECISION", &self.decision);
        command.env("MUSTER_TOKEN", who.reveal()).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        server.abort();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let whole = text(output.stdout) + &text(output.stderr);
        let mut words = whole.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        if let Some(plan) = words.clone().find(|word| word.len() == 64) {
            plan.clone_into(&mut self.plan);
        }
        if let Some(decision) = words.find(|word| word.starts_with("dec_") && word.len() == 36) {
            decision.clone_into(&mut self.decision);
        }
        disguised(&whole)
    }
}

/// Ids and digests, which differ from run to run, cut short; in a table they keep their width.
fn disguised(text: &str) -> String {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pieces = text.split_inclusive(|letter| !is_word(letter)).map(|piece| {
        let word = piece.trim_end_matches(|letter| !is_word(letter));
        let rest = &piece[word.len()..];
        let width = if rest == " " { word.len() } else { 0 };
        match word.split_once('_') {
            Some((kind, id)) if id.len() == 32 && hex(id) => format!("{:width$}{rest}", format!("{kind}_…")),
            None if word.len() == 64 && hex(word) => format!("c0ffee…{rest}"),
            None if word.len() == 16 && hex(word) => format!("c0ffee…{rest}"),
            _ => piece.to_owned(),
        }
    });
    let shown: String = pieces.collect();
    shown.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_shows_what_a_team_sees() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/policies.md");
    let guide = std::fs::read_to_string(&path).unwrap();
    for site in both().await {
        // What the guide's week was like.
        label(&site, &["intern"]).await;
        for hour in [17, 19, 21] {
            until(&site, hour);
            launch(&site, &site.worker, "spot-cpu").await.want(201);
        }
        until(&site, 10);
        let folder = tempfile::tempdir().unwrap();
        let mut terminal = Terminal { site: &site, folder, plan: String::new(), decision: String::new() };
        let mut shown = String::new();
        let mut lines = guide.lines();
        while let Some(line) = lines.next() {
            shown += &format!("{line}\n");
            if let Some(hour) = line.strip_prefix("<!-- clock ").and_then(|rest| rest.strip_suffix(" -->")) {
                until(&site, hour.parse().unwrap());
            }
            if line != "```console" {
                continue;
            }
            let prompt = lines.next().unwrap();
            let (who, command) = match prompt.split_once("$ ").expect("a console begins with a command") {
                ("", command) => (&site.owner, command),
                ("intern", command) => (&site.worker, command),
                other => panic!("{other:?}"),
            };
            lines.by_ref().find(|line| *line == "```").expect("a console ends");
            let output = terminal.run(who, command).await;
            shown += &format!("{prompt}\n{}\n```\n", output.trim_end());
        }
        if shown != guide {
            let fresh = path.with_extension("md.new");
            std::fs::write(&fresh, shown).unwrap();
            panic!(
                "the guide shows something else: read the difference of {}, then move it into place",
                fresh.display()
            );
        }
    }
}
