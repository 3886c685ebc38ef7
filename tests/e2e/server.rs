//! The real program: started on a free port, killed, started again; and whoever calls it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::postgres;

/// The two databases that everything has to work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Sqlite,
    Postgres,
}

/// The lengths that a scenario wants, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) runway: u32,
    pub(crate) stop_latency: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { runway: 60, stop_latency: 5 }
    }
}

/// One running server.
pub(crate) struct Server {
    /// Where it answers.
    pub(crate) url: String,
    /// The one-time token of its last start, while nobody had claimed it.
    pub(crate) claim: Option<String>,
    child: Option<Child>,
    folder: tempfile::TempDir,
    /// The address of its database.
    pub(crate) database: String,
    listen: String,
    pace: Pace,
}

impl Server {
    pub(crate) fn start(store: Store, pace: Pace) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let database = match store {
            Store::Sqlite => format!("sqlite:{}", folder.path().join("muster.db").display()),
            Store::Postgres => postgres::fresh_database(),
        };
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let url = format!("http://{listen}");
        let mut server = Server { url, claim: None, child: None, folder, database, listen, pace };
        server.start_again();
        server
    }

    /// Starts the program on the same data, and returns when it answers.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_muster"))
            .args(["serve", "--data-dir"])
            .arg(self.folder.path().join("data"))
            .args(["--listen", &self.listen])
            .env("MUSTER_DATABASE", &self.database)
            .env("MUSTER_METERING_INTERVAL_SECONDS", "1")
            // A check of the whole books takes its time in a build that is not optimised.
            .env("MUSTER_LIMITS_REQUEST_SECONDS", "300")
            .env("MUSTER_METERING_TICK_SECONDS", "1")
            .env("MUSTER_METERING_RUNWAY_SECONDS", self.pace.runway.to_string())
            .env("MUSTER_METERING_STOP_LATENCY_SECONDS", self.pace.stop_latency.to_string())
            .env("MUSTER_RECONCILE_INTERVAL_SECONDS", "2")
            .env("MUSTER_RECONCILE_BUSY_SECONDS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        self.child = Some(child);
        self.claim = None;
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = lines.recv_timeout(left).unwrap_or_else(|_| panic!("no start:\n{}", self.log()));
            if let Some(token) = line.split(' ').find(|word| word.starts_with("muo_")) {
                self.claim = Some(token.to_owned());
            }
            if line.starts_with("muster listens on") {
                return;
            }
        }
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill9(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let asked = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(asked.success());
        let until = Instant::now() + Duration::from_secs(30);
        while child.try_wait().unwrap().is_none() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status} after at most half a minute:\n{}", self.log());
    }

    /// Somebody who is not signed in.
    pub(crate) fn caller(&self) -> Caller {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Caller { http, base: format!("{}/api/v1", self.url), token: None }
    }

    /// A folder that lives as long as the server's data.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The lines of the log that tell of a fault of ours.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.log().lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect()
    }

    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        fs::File::open(self.log_path()).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(12_000);
            let from = (from..=log.len()).find(|&at| log.is_char_boundary(at)).unwrap_or(0);
            eprintln!("--- the server's log, its end ---\n{}", &log[from..]);
        }
    }
}

/// The lines of a pipe; it is read on to its end so that the writer never waits.
fn lines_of(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    told
}

/// Somebody who calls the server over HTTP.
#[derive(Clone)]
pub(crate) struct Caller {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    pub(crate) etag: Option<String>,
}

impl Caller {
    /// The same, with the token of an answer to a login.
    pub(crate) fn signed_in(&self, answer: &Value) -> Caller {
        let token = answer["token"].as_str().unwrap_or_else(|| panic!("no token in {answer}"));
        Caller { token: Some(token.to_owned()), ..self.clone() }
    }

    /// One request; fails only when there is no answer.
    pub(crate) async fn try_ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&'static str, &str)],
    ) -> reqwest::Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await?;
        let etag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let status = answer.status();
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body, etag })
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.try_ask(method, path, body, &[]).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, None).await;
        assert_eq!(answer.status, StatusCode::OK, "GET {path}: {}", answer.body);
        answer.body
    }

    /// What a GET answers when it is refused.
    pub(crate) async fn get_not(&self, path: &str, status: u16) -> Value {
        let answer = self.ask(Method::GET, path, None).await;
        assert_eq!(answer.status.as_u16(), status, "GET {path}: {}", answer.body);
        answer.body
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.ask(Method::POST, path, Some(&body)).await;
        assert!(answer.status.is_success(), "POST {path} {body}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// What a POST answers when it is refused.
    pub(crate) async fn post_not(&self, path: &str, body: Value, status: u16) -> Value {
        let answer = self.ask(Method::POST, path, Some(&body)).await;
        assert_eq!(answer.status.as_u16(), status, "POST {path} {body}: {}", answer.body);
        answer.body
    }

    /// Changes what is there now.
    pub(crate) async fn patch(&self, path: &str, body: Value) -> Value {
        self.change(Method::PATCH, path, body).await
    }

    /// Puts `body` in the place of what is there now.
    pub(crate) async fn put(&self, path: &str, body: Value) -> Value {
        self.change(Method::PUT, path, body).await
    }

    async fn change(&self, method: Method, path: &str, body: Value) -> Value {
        let now = self.ask(Method::GET, path, None).await;
        assert_eq!(now.status, StatusCode::OK, "GET {path}: {}", now.body);
        let etag = now.etag.unwrap_or_else(|| panic!("GET {path} has no ETag"));
        let headers = [("if-match", etag.as_str())];
        let answer = self.try_ask(method, path, Some(&body), &headers).await.unwrap();
        assert!(answer.status.is_success(), "{path} {body}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// Every item of a list, page after page.
    pub(crate) async fn list(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{sign}limit=200{cursor}")).await;
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}

/// The empty body of a request that needs none.
pub(crate) fn nothing() -> Value {
    json!({})
}
