//! B9: launches over HTTP through policy, price plugin and ledger, beside the ledger alone.
//!
//! The server is the whole server: while it takes launches, its loop brings them to life on a simulated host. The
//! yardstick is what a launch does to the books and nothing else, eight at a time through the same `Db`.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use muster::{ids::InstanceId, time::SystemClock};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{
    http::{CONNECTIONS, connect, request},
    report::{Bar, Wanted},
    rows::Ground,
    server::Server,
    site::{IMAGE, PRODUCT, REGION, Site, Team, credits},
};

const ROUNDS: usize = 5;
/// Launches of one connection in one round.
const LAUNCHES: usize = 25;

pub(crate) async fn measure() -> Vec<Bar> {
    let (folder, books_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let doors = Doors::open(folder.path()).await;
    let books = Books::open(books_folder.path()).await;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(books.holds_per_second().await);
        ours.push(doors.launches_per_second().await);
        doors.wait_until_all_run().await;
    }
    let launched = doors.site.count("SELECT count(*) FROM instances WHERE state = 'running'").await;
    assert_eq!(launched, (ROUNDS * CONNECTIONS * LAUNCHES) as u64, "every launch that was answered runs");
    let entries = doors.site.verify().await + books.site.verify().await;
    vec![Bar {
        id: "B9",
        what: "HTTP launches through policy, plugin and ledger ÷ ledger alone",
        wanted: Wanted::AtLeast(0.5, 0.8),
        unit: "1/s",
        ours,
        yardstick: theirs,
        settings: format!(
            "SQLite, synchronous FULL; {CONNECTIONS} connections of {CONNECTIONS} teams, {ROUNDS} rounds of {} \
             launches with idempotency keys on one simulated host; server and load share all processors; {entries} \
             entries verified",
            CONNECTIONS * LAUNCHES
        ),
    }]
}

/// The server, with a team for each connection.
struct Doors {
    server: Server,
    site: Site,
    teams: Vec<Team>,
}

impl Doors {
    async fn open(data: &Path) -> Self {
        let site = Site::in_folder(data, Arc::new(SystemClock)).await;
        site.catalogue(10, "any").await;
        let teams = teams(&site).await;
        let operator = site.operator().await;
        let server = Server::muster(data, None);
        let host = json!({ "name": "one", "endpoint": "simulated:", "region": REGION });
        let mut client = connect(server.address).await;
        client.json(&request("POST", "/api/v1/hosts", &operator, Some(&host))).await;
        Self { server, site, teams }
    }

    async fn launches_per_second(&self) -> f64 {
        let (mut tasks, began) = (JoinSet::new(), Instant::now());
        for team in &self.teams {
            let (address, token) = (self.server.address, team.token.clone());
            let path = format!("/api/v1/teams/{}/instances", team.id);
            tasks.spawn(async move {
                let mut client = connect(address).await;
                for _ in 0..LAUNCHES {
                    let wish = json!({ "name": "box", "product": PRODUCT, "image": IMAGE });
                    client.json(&request("POST", &path, &token, Some(&wish))).await;
                }
            });
        }
        tasks.join_all().await;
        (CONNECTIONS * LAUNCHES) as f64 / began.elapsed().as_secs_f64()
    }

    /// Lets the host's loop catch up, so that the next round begins at rest.
    async fn wait_until_all_run(&self) {
        let until = Instant::now() + Duration::from_secs(120);
        while self.site.count("SELECT count(*) FROM instances WHERE state <> 'running'").await > 0 {
            assert!(Instant::now() < until, "launched instances do not come to life");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The ledger alone.
struct Books {
    site: Arc<Site>,
    teams: Vec<Arc<Team>>,
    ground: Ground,
}

impl Books {
    async fn open(data: &Path) -> Self {
        let site = Site::in_folder(data, Arc::new(SystemClock)).await;
        let (product, image) = site.catalogue(10, "any").await;
        let teams = teams(&site).await.into_iter().map(Arc::new).collect();
        let ground = Ground { product, image, host: site.host().await, price: site.price().await };
        Self { site: Arc::new(site), teams, ground }
    }

    async fn holds_per_second(&self) -> f64 {
        let mut ready = Vec::new();
        for team in &self.teams {
            ready.push((team.clone(), self.instances(team).await));
        }
        let (mut tasks, began) = (JoinSet::new(), Instant::now());
        for (team, instances) in ready {
            let site = self.site.clone();
            tasks.spawn(async move {
                for instance in instances {
                    site.write(async |tx| site.hold(tx, &team, instance, credits(1)).await).await;
                }
            });
        }
        tasks.join_all().await;
        (CONNECTIONS * LAUNCHES) as f64 / began.elapsed().as_secs_f64()
    }

    /// Instances that wait for their hold.
    async fn instances(&self, team: &Team) -> Vec<InstanceId> {
        self.site
            .write(async |tx| {
                let mut planted = Vec::new();
                for _ in 0..LAUNCHES {
                    planted.push(self.site.instance(tx, team, &self.ground).await);
                }
                planted
            })
            .await
    }
}

async fn teams(site: &Site) -> Vec<Team> {
    let mut teams = Vec::new();
    for number in 0..CONNECTIONS {
        teams.push(site.team(&format!("team-{number}")).await);
    }
    teams
}
