//! The guide for those who write a price: its files are written, its commands are run, and must show what it shows.

use std::{fs, path::Path};

use crate::{
    desk::Desk,
    site::{Answer, Site},
    sources::TARGET,
};

/// Ids, digests and measures, which differ from run to run and from compiler to compiler, cut short; in a table they
/// keep their width.
fn disguised(text: &str) -> String {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut shown = String::new();
    for line in text.lines() {
        let mut pieces: Vec<String> = Vec::new();
        for piece in line.split_inclusive(|letter| !is_word(letter)) {
            let word = piece.trim_end_matches(|letter| !is_word(letter));
            let rest = &piece[word.len()..];
            let width = if rest == " " { word.len() } else { 0 };
            pieces.push(match word.split_once('_') {
                Some((kind, id)) if id.len() == 32 && hex(id) => {
                    format!("{:width$}{rest}", format!("{kind}_…"))
                }
                None if word.len() == 64 && hex(word) => format!("{:width$}{rest}", "c0ffee…"),
                _ => piece.to_owned(),
            });
        }
        let mut line = pieces.concat();
        for measure in ["fuel  ", "memory_bytes  "] {
            if line.starts_with(measure) {
                let number = line.trim_start_matches(|letter: char| !letter.is_ascii_digit()).to_owned();
                line = line.replace(&number, "…");
            }
        }
        if let Some((before, after)) = line.clone().split_once(" bytes, digest") {
            let number = before.rsplit(' ').next().unwrap();
            line = format!("{}… bytes, digest{after}", before.strip_suffix(number).unwrap());
        }
        // The size of the component, in the one table that has it.
        let sized = line.starts_with("plug_") && line.contains(" muster:plugin/pricing@1.0.0 ");
        if sized {
            let words = line.split(' ').map(|word| {
                let number = word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_digit());
                if number { format!("{:width$}", "…", width = word.len()) } else { word.to_owned() }
            });
            line = words.collect::<Vec<_>>().join(" ");
        }
        shown += &format!("{}\n", line.trim_end());
    }
    shown
}

/// Runs a line against the site, as its owner.
async fn told(desk: &Desk, site: &Site, plugin: &mut String, line: &str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = site.door.clone();
    let server = tokio::spawn(async move { axum::serve(listener, door).await.unwrap() });
    let mut command = tokio::process::Command::from(desk.command(line));
    command.env("MUSTER_SERVER", format!("http://{address}")).env("MUSTER_TEAM", "crew");
    command.env("MUSTER_TOKEN", site.owner.reveal()).env("PLUGIN", &*plugin);
    let output = command.output().await.unwrap();
    server.abort();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let whole = text(output.stdout) + &text(output.stderr);
    let mut words = whole.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    if let Some(id) = words.find(|word| word.starts_with("plug_") && word.len() == 37)
        && plugin.is_empty()
    {
        id.clone_into(plugin);
    }
    disguised(&whole)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_makes_a_price() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/write-a-plugin.md");
    let guide = fs::read_to_string(&path).unwrap();
    tokio::task::spawn_blocking(|| std::sync::LazyLock::force(&TARGET)).await.unwrap();
    for site in Site::both().await {
        let (desk, mut plugin) = (Desk::new(), String::new());
        let mut shown = String::new();
        let mut lines = guide.lines();
        while let Some(line) = lines.next() {
            shown += &format!("{line}\n");
            if let Some(file) = line.strip_prefix("<!-- file ").and_then(|rest| rest.strip_suffix(" -->")) {
                let fence = lines.next().unwrap();
                let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
                let text = text.join("\n") + "\n";
                desk.write(file, &text);
                shown += &format!("{fence}\n{text}```\n");
            }
            if line != "```console" {
                continue;
            }
            let prompt = lines.next().unwrap();
            let command = prompt.strip_prefix("$ ").expect("a console begins with a command");
            lines.by_ref().find(|line| *line == "```").expect("a console ends");
            let output = told(&desk, &site, &mut plugin, command).await;
            if command.starts_with("muster plugin new") {
                desk.share_builds("long-run");
            }
            shown += &format!("{prompt}\n{}\n```\n", output.trim_end());
        }
        if shown != guide {
            let fresh = path.with_extension("md.new");
            fs::write(&fresh, shown).unwrap();
            panic!(
                "the guide shows something else: read the difference of {}, then move it into place",
                fresh.display()
            );
        }
        // What the team pays by from now on.
        let prices: Answer = site.get(&site.owner, "prices").await;
        assert_eq!(prices.want(200)["items"][0]["config"]["after_hours"], 48);
    }
}
