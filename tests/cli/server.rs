//! The real server behind the real client: a fresh SQLite database, one simulated host, intervals of a second.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A running server; it ends with this.
pub(crate) struct Server {
    /// Where it answers.
    pub(crate) url: String,
    /// The one-time token for its operator.
    pub(crate) claim: String,
    child: Child,
}

impl Server {
    /// Starts the program with its data in `folder`, and returns when it answers.
    pub(crate) fn start(folder: &Path) -> Self {
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_muster"))
            .args(["serve", "--listen", &listen, "--data-dir"])
            .arg(folder)
            .env("MUSTER_DATABASE", format!("sqlite:{}", folder.join("muster.db").display()))
            .env("MUSTER_METERING_INTERVAL_SECONDS", "1")
            .env("MUSTER_METERING_TICK_SECONDS", "1")
            .env("MUSTER_METERING_RUNWAY_SECONDS", "60")
            .env("MUSTER_METERING_STOP_LATENCY_SECONDS", "5")
            .env("MUSTER_RECONCILE_INTERVAL_SECONDS", "1")
            .env("MUSTER_RECONCILE_BUSY_SECONDS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut claim = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(token) = line.split(' ').find(|word| word.starts_with("muo_")) {
                token.clone_into(&mut claim);
            }
            if line.starts_with("muster listens on") {
                return Self { url: format!("http://{listen}"), claim, child };
            }
        }
        panic!("the server ended before it answered");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What ended already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
