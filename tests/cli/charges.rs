//! A charge in the terminal: explained, computed again with the server and without it, taken back. Real server, real
//! client, a simulated host.

use std::{path::Path, thread, time::Duration};

use serde_json::{Value, json};

use crate::{desk::Desk, server::Server};

/// Someone with a terminal who is signed in.
struct Person<'s> {
    desk: Desk,
    server: &'s Server,
}

impl<'s> Person<'s> {
    fn new(server: &'s Server) -> Self {
        Self { desk: Desk::alone(), server }
    }

    /// A command that has to succeed.
    fn types(&self, line: &str) -> Value {
        self.types_with(line, "")
    }

    fn types_with(&self, line: &str, input: &str) -> Value {
        let words: Vec<&str> =
            line.split(' ').chain(["--output", "json", "--server", &self.server.url]).collect();
        let output = self.desk.output_with_input(&words, input);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "muster {line}: {complaint}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What a command shows, whatever it is.
    fn sees(&self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').chain(["--server", &self.server.url]).collect();
        self.desk.run(&words)
    }
}

/// Snapshots without what is different in every run.
fn steady(body: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    for (found, shown) in [
        (r"[0-9a-f]{64}", "<sha256>"),
        (r"\b([a-z]+)_[0-9a-f]{32}", "${1}_<id>"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "<time>"),
        // How long the first piece of a second was is not known.
        (r"exact sum    \d+\.\d{9} \+ (\S+) = \d+\.\d{9}", "exact sum    <before> + ${1} = <after>"),
        (r"before it    \d+\.\d{9} \+ (\S+) = \d+\.\d{9}", "before it    <before> + ${1} = <after>"),
        (r"rounded    \S+ - \S+ =", "rounded    <after> - <before> ="),
        (r"it moved \S+ credits", "it moved <sum> credits"),
        (r"lot          \S+ (out of|back into)", "lot          <part> ${1}"),
        (r"number \d+ of", "number <k> of"),
        (r"(seg_<id>)\.\d+\.", "${1}.<k>."),
        (r" +\n", "\n"),
    ] {
        settings.add_filter(found, shown);
    }
    settings.bind(body);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A team whose owner ran an instance for some seconds.
fn set_up<'s>(server: &'s Server) -> (Person<'s>, Person<'s>) {
    let (root, olga) = (Person::new(server), Person::new(server));
    root.types_with(&format!("operator claim {} root --password-stdin", server.claim), "correct horse\n");
    root.types("host add one --endpoint simulated: --region here");
    root.types("image add base base:1");
    let product = "product add small --region here --instance-type cpu --cpu-millis 100 --memory-gib 1";
    root.types(&format!("{product} --price-per-hour 3.6"));
    root.types_with("user add olga --password-stdin", "first password\n");
    olga.types_with("login olga --password-stdin", "first password\n");
    olga.types_with("password --password-stdin", "first password\nsecond password\n");
    olga.types("team create lab");
    olga.types("profile use default --team lab");
    root.types("credits grant 100 --team lab");
    let member = text(&olga.types("member ls")["items"][0]["id"]);
    olga.types(&format!("credits assign {member} 10"));
    let made = olga.types("instance create box --product small --image base --wait");
    thread::sleep(Duration::from_secs(5));
    olga.types(&format!("instance release {} --wait", text(&made["id"])));
    (root, olga)
}

#[test]
fn a_charge_is_explained_and_computed_again_with_the_server_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (root, olga) = set_up(&server);
    let charges = olga.types("charge ls --view admin");
    let charge = charges["items"].as_array().unwrap().iter().find(|charge| charge["k"] == 1).unwrap().clone();
    let id = text(&charge["id"]);
    assert!(olga.sees("charge ls --view admin").contains(&id));
    steady(|| insta::assert_snapshot!("explained", olga.sees(&format!("charge explain {id}"))));
    steady(|| insta::assert_snapshot!("equal", olga.sees(&format!("charge verify {id}"))));

    let (segment, from) = (text(&charge["segment"]), text(&charge["from"]));
    let span = format!("{segment} --from {from} --to {} --reason outage", text(&charge["to"]));
    let shown = root.types(&format!("charge correct {span} --team lab --dry-run"));
    assert_eq!((&shown["difference"], &shown["dry_run"]), (&json!("-0.001"), &json!(true)));
    let made = root.types(&format!("charge correct {span} --team lab"));
    let back = text(&made["first"]);
    steady(|| insta::assert_snapshot!("taken_back", olga.sees(&format!("charge explain {back}"))));
    assert!(olga.sees(&format!("charge verify {back}")).starts_with("exit 0\n"));
    let rated = olga.types(&format!("charge re-rate {segment} --reason again --dry-run"));
    assert_eq!(rated["difference"], "0");

    let kept = olga.desk.home().join("kept");
    olga.types(&format!("charge verify {id} --save {}", kept.display()));
    drop(server);
    verify_offline(&kept, &id);
}

/// Computes the charge again from the files in `kept`, where there is no server; then from files that lie.
fn verify_offline(kept: &Path, id: &str) {
    let desk = Desk::alone();
    let proof = kept.join(format!("{id}.json"));
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(&proof).unwrap()).unwrap();
    let component = kept.join(format!("{}.wasm", text(&stored["component_digest"])));
    let verify = |proof: &Path, component: &Path| {
        let (proof, component) = (proof.to_str().unwrap(), component.to_str().unwrap());
        desk.run(&["charge", "verify", id, "--proof", proof, "--component", component])
    };
    assert!(verify(&proof, &component).starts_with("exit 0\n"));
    let without = desk.run(&["charge", "verify", id, "--proof", proof.to_str().unwrap()]);
    assert!(without.starts_with("exit 7\n") && without.contains("--component"), "{without}");

    let lie = |field: &str, value: Value| {
        let mut lie = stored.clone();
        lie[field] = value;
        let path = kept.join("lie.json");
        std::fs::write(&path, lie.to_string()).unwrap();
        path
    };
    let dearer = lie("amount", json!("0.002"));
    steady(|| insta::assert_snapshot!("a_lie", verify(&dearer, &component)));
    let other = lie("config", json!(r#"{"discount_percent":50}"#));
    let told = verify(&other, &component);
    assert!(told.starts_with("exit 1\n") && told.contains("configuration digest"), "{told}");
    let foreign = kept.join("foreign.wasm");
    std::fs::write(&foreign, wat::parse_str("(component)").unwrap()).unwrap();
    let told = verify(&proof, &foreign);
    assert!(told.starts_with("exit 1\n") && told.contains("component digest"), "{told}");
    let wrong = desk.run(&["charge", "verify", "nonsense"]);
    assert!(wrong.starts_with("exit 2\n") && wrong.contains("seg_"), "{wrong}");
}
