//! D1: from the request of a launch to a running instance, beside the bare calls to the engine.
//!
//! Ours goes over HTTP, through the launch's transaction and the host's loop, and ends when a client sees `running`.
//! The yardstick asks the same engine over its socket to create and start a container with the very same settings,
//! network and drive, as the engine itself tells them of ours.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use muster::time::SystemClock;
use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixStream};

use crate::support::{
    docker::{self, Stand},
    http::{Client, connect, request},
    report::{Bar, Wanted},
    server::Server,
    site::{IMAGE, PRODUCT, REGION, Site, Team},
};

const LAUNCHES: usize = 20;
/// Between two looks at an instance.
const POLL: Duration = Duration::from_millis(4);

pub(crate) async fn measure() -> Vec<Bar> {
    let stand = Stand::up(1).await;
    let socket = stand.hosts[0].socket.as_path();
    let folder = tempfile::tempdir().unwrap();
    let site = Site::in_folder(folder.path(), Arc::new(SystemClock)).await;
    site.catalogue(500, docker::IMAGE).await;
    let team = site.team("launchers").await;
    let operator = site.operator().await;
    let server = Server::muster(folder.path(), None);
    let mut member = Member { client: connect(server.address).await, team };
    member.host_register(&operator, socket).await;
    let mut engine = Client::new(UnixStream::connect(socket).await.unwrap());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // The first one of each makes the network and the drive.
    for round in 0..=LAUNCHES {
        let (instance, launched) = member.launch().await;
        let settings = settings_of(&mut engine, &instance).await;
        member.release(&instance).await;
        let started = create_and_start(&mut engine, &settings).await;
        if round > 0 {
            ours.push(launched);
            theirs.push(started);
        }
    }
    drop(server);
    let entries = site.verify().await;
    vec![Bar {
        id: "D1",
        what: "launch until running ÷ Docker create and start, p50",
        wanted: Wanted::AtMost(1.15, 1.05),
        unit: "ms",
        ours,
        yardstick: theirs,
        settings: format!(
            "one engine over its socket, half a core and 64 MiB, one drive, one published port, {LAUNCHES} rounds, \
             looked at every {} ms, SQLite; {entries} entries verified",
            POLL.as_millis()
        ),
    }]
}

/// A member of a team at the server's door.
struct Member {
    client: Client<TcpStream>,
    team: Team,
}

impl Member {
    async fn host_register(&mut self, operator: &str, socket: &Path) {
        let host = json!({
            "name": "one",
            "endpoint": format!("unix://{}", socket.display()),
            "region": REGION,
            "probe_image": docker::IMAGE,
        });
        self.client.json(&request("POST", "/api/v1/hosts", operator, Some(&host))).await;
    }

    /// The id of a launched instance, and how many milliseconds it took to be running.
    async fn launch(&mut self) -> (String, f64) {
        let wish = json!({ "name": "box", "product": PRODUCT, "image": IMAGE });
        let path = format!("/api/v1/teams/{}/instances", self.team.id);
        let began = Instant::now();
        let made = self.client.json(&request("POST", &path, &self.team.token, Some(&wish))).await;
        let id = made["id"].as_str().unwrap().to_owned();
        self.wait(&id, "running").await;
        (id, began.elapsed().as_secs_f64() * 1e3)
    }

    /// Gives the instance up and waits until it is gone: the host is no larger than the machine.
    async fn release(&mut self, id: &str) {
        let path = format!("/api/v1/teams/{}/instances/{id}/release", self.team.id);
        self.client.json(&request("POST", &path, &self.team.token, None)).await;
        self.wait(id, "released").await;
    }

    async fn wait(&mut self, id: &str, state: &str) {
        let path = format!("/api/v1/teams/{}/instances/{id}", self.team.id);
        let look = request("GET", &path, &self.team.token, None);
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let seen = self.client.json(&look).await;
            if seen["state"] == state {
                return;
            }
            assert!(seen["state"] != "failed" && Instant::now() < until, "not {state}: {seen}");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// What a container like that of the instance is created with; without its labels, which would make it ours.
async fn settings_of(engine: &mut Client<UnixStream>, instance: &str) -> Value {
    let path = format!("/containers/muster-{instance}-g1/json");
    let told = engine.json(&request("GET", &path, "", None)).await;
    let mut settings = told["Config"].clone();
    settings["HostConfig"] = told["HostConfig"].clone();
    for own in ["Hostname", "Labels"] {
        settings.as_object_mut().unwrap().remove(own);
    }
    settings
}

/// Milliseconds of the two calls; the container is removed again.
async fn create_and_start(engine: &mut Client<UnixStream>, settings: &Value) -> f64 {
    let began = Instant::now();
    let made = engine.json(&request("POST", "/containers/create", "", Some(settings))).await;
    let path = format!("/containers/{}", made["Id"].as_str().unwrap());
    engine.ask(&request("POST", &format!("{path}/start"), "", None)).await;
    let took = began.elapsed().as_secs_f64() * 1e3;
    engine.ask(&request("DELETE", &format!("{path}?force=1"), "", None)).await;
    took
}
