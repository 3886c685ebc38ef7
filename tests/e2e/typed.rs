//! The same job, typed: every step through the command line of the same program.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    engine,
    server::{Pace, Server, Store},
    support::{IMAGE, Plan, Stand},
    town::{instant, micros, price_of, text},
};

/// Exit codes that the documentation promises.
const REFUSED: i32 = 4;
const NOT_FOUND: i32 = 5;

/// One person with a terminal of their own.
struct Person {
    home: PathBuf,
    url: String,
}

impl Person {
    fn new(server: &Server, name: &str) -> Person {
        let home = server.folder().join(name);
        std::fs::create_dir(&home).unwrap();
        Person { home, url: server.url.clone() }
    }

    /// Types a command with `input` on standard input: exit code, answer, complaint.
    fn run(&self, line: &[&str], input: &str) -> (i32, Value, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_muster"))
            .args(line)
            .args(["--output", "json"])
            .env_clear()
            .env("XDG_CONFIG_HOME", &self.home)
            .env("MUSTER_SERVER", &self.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), answer, complaint)
    }

    /// A command that has to succeed.
    fn types(&self, line: &[&str]) -> Value {
        self.types_with(line, "")
    }

    fn types_with(&self, line: &[&str], input: &str) -> Value {
        let (code, answer, complaint) = self.run(line, input);
        assert_eq!(code, 0, "muster {line:?}: {complaint}");
        // People get a table out of the same answer.
        assert!(!answer.is_null(), "muster {line:?} answers no JSON");
        answer
    }

    /// A command that has to fail in this way; gives the complaint.
    fn fails(&self, line: &[&str], code: i32) -> String {
        let (ended, _, complaint) = self.run(line, "");
        assert_eq!(ended, code, "muster {line:?}: {complaint}");
        complaint
    }
}

#[tokio::test]
async fn the_whole_job_can_be_typed() {
    let stand = Stand::up_with(&[Plan::default()]).await;
    let server = Server::start(Store::Sqlite, Pace::default());
    let root = Person::new(&server, "root");
    let token = server.claim.clone().unwrap();
    root.types_with(&["operator", "claim", &token, "root", "--password-stdin"], "correct horse\n");
    set_up_site(&root, &stand);

    let olga = Person::new(&server, "olga");
    root.types_with(&["user", "add", "olga", "--password-stdin"], "first password\n");
    olga.types_with(&["login", "olga", "--password-stdin"], "first password\n");
    olga.types_with(&["password", "--password-stdin"], "first password\nsecond password\n");
    olga.types(&["team", "create", "lab"]);
    olga.types(&["profile", "use", "default", "--team", "lab"]);
    let asked = olga.types(&["top-up", "ask", "100", "--note", "invoice 7"]);
    root.types(&["top-up", "confirm", &text(&asked["id"]), "--team", "lab"]);
    olga.types(&["quota", "set", "regions=lab", "gpus=1"]);
    let ann_id = issue_ann(&olga);

    let ann = Person::new(&server, "ann");
    ann.types_with(&["login", "ann", "--team", "lab", "--password-stdin"], "first password\n");
    ann.fails(&["catalog"], REFUSED);
    ann.types_with(&["password", "--password-stdin"], "first password\nsecond password\n");
    let shown = ann.types(&["catalog"]);
    assert_eq!(shown["items"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(ann.types(&["catalog", "--images"])["items"][0]["name"], "gpu-mini");
    let estimate = ann.types(&["estimate", "--product", "small", "--image", "gpu-mini"]);
    assert_eq!(estimate["allowed"], true, "{estimate}");

    let (key, _) = stand.ssh_key();
    let public = key.with_extension("pub");
    let create = ["instance", "create", "one", "--product", "small", "--image", "gpu-mini"];
    let ssh = ["--ssh-key", public.to_str().unwrap(), "--wait"];
    let made = ann.types(&[&create[..], &ssh[..]].concat());
    assert_eq!(made["state"], "running");
    let id = text(&made["id"]);
    let refused = ann.fails(&create, REFUSED);
    assert!(refused.contains("plat/quota-gpus") && refused.contains("team owner or admin"), "{refused}");
    let access = ann.types(&["instance", "access", &id]);
    assert_eq!(engine::login(&access, &key, "echo inside").await, "inside\n");
    looks_around(&ann, &id);
    ann.fails(&["instance", "show", "inst_00000000000070008000000000000000"], NOT_FOUND);

    let released = ann.types(&["instance", "release", &id, "--wait"]);
    assert_eq!(released["state"], "released");
    let due = price_of(instant(&released["ended_at"]) - instant(&released["started_at"]), 1);
    let bills = olga.types(&["bill", "--view", "admin", "--member", &ann_id, "--type", "instance"]);
    let sum: i64 = bills["items"].as_array().unwrap().iter().map(|charge| micros(&charge["amount"])).sum();
    assert_eq!(sum, due);
    runs_the_rest(&root, &olga, &ann_id);
    assert_eq!(root.types(&["ledger", "verify"])["ok"], true);
    ann.types(&["logout"]);
    ann.fails(&["whoami"], 3);
}

fn set_up_site(root: &Person, stand: &Stand) {
    let host = &stand.hosts[0];
    let socket = format!("unix://{}", host.socket.display());
    let add = ["host", "add", "h1", "--endpoint", &socket, "--region", "lab", "--address", &host.ip];
    let added = root.types(&[&add[..], &["--probe-image", IMAGE]].concat());
    let host = text(&added["id"]);
    root.types(&["host", "probe", &host]);
    root.types(&["host", "cordon", &host]);
    root.types(&["host", "uncordon", &host]);
    assert_eq!(root.types(&["host", "show", &host])["admin_state"], "active");
    assert_eq!(root.types(&["accelerator", "ls"])["items"].as_array().unwrap().len(), 2);
    root.types(&["image", "add", "gpu-mini", IMAGE, "--port", "22", "--port", "8888"]);
    root.types(&["image", "set", "gpu-mini", "--description", "a small one"]);
    let product = ["product", "add", "small", "--region", "lab", "--instance-type", "gpu"];
    let gpu = ["--accelerator", "NVIDIA Stand-In", "--gpus-per-unit", "1"];
    let size = ["--cpu-millis", "100", "--memory-gib", "1", "--price-per-hour", "9"];
    root.types(&[&product[..], &gpu[..], &size[..]].concat());
    root.types(&["product", "set", "small", "--price-per-hour", "7.2"]);
    let far = ["product", "add", "far", "--region", "moon", "--instance-type", "cpu"];
    root.types(&[&far[..], &size[..]].concat());
    for noun in ["host", "product", "image", "user"] {
        assert!(!root.types(&[noun, "ls"])["items"].as_array().unwrap().is_empty(), "{noun}");
    }
    root.types(&["team", "ls", "--all"]);
}

fn issue_ann(olga: &Person) -> String {
    let add = ["member", "add", "ann", "--initial-credits", "10", "--password-stdin"];
    let issued = olga.types_with(&add, "first password\n");
    text(&issued["id"])
}

/// Every look at an instance that there is.
fn looks_around(ann: &Person, id: &str) {
    for part in ["show", "metrics", "billing", "config", "hardware"] {
        ann.types(&["instance", part, id]);
    }
    assert!(ann.types(&["instance", "logs", id])["text"].as_str().unwrap().contains("ready: 1 keys"));
    assert_eq!(ann.types(&["instance", "ls"])["items"][0]["id"], json!(id));
    assert_eq!(ann.types(&["instance", "drives"])["items"].as_array().unwrap().len(), 1);
    ann.types(&["credits", "balance"]);
    ann.types(&["credits", "transactions"]);
    ann.types(&["whoami"]);
    ann.types(&["team", "ls"]);
}

/// What is left of the owner's and the operator's commands.
fn runs_the_rest(root: &Person, olga: &Person, ann: &str) {
    olga.types(&["credits", "assign", ann, "1.5", "--note", "for more"]);
    olga.types(&["credits", "reclaim", ann, "0.5"]);
    root.types(&["credits", "grant", "3", "--team", "lab"]);
    olga.types(&["member", "set", ann, "--alias", "Ann"]);
    assert_eq!(olga.types(&["member", "show", ann])["alias"], "Ann");
    olga.types(&["member", "permissions", ann]);
    olga.types(&["quota", "set", "--member", ann, "instances=3"]);
    olga.types(&["quota", "show"]);
    assert_eq!(olga.types(&["quota", "show", "--member", ann])["limits"]["instances"], 3);
    olga.types(&["team", "set", "--description", "where things are tried"]);
    olga.types(&["team", "show"]);
    let key = olga.types(&["api-key", "create", "ci", "--scope", "listInstances"]);
    olga.types(&["api-key", "revoke", &text(&key["id"])]);
    for noun in ["member", "top-up", "price", "plugin", "api-key"] {
        olga.types(&[noun, "ls"]);
    }
    let asked = olga.types(&["top-up", "ask", "5"]);
    root.types(&["top-up", "refuse", &text(&asked["id"]), "--team", "lab"]);
    olga.types(&["credits", "transactions", "--limit", "5"]);
}
