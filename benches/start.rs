//! S1 and S2: how soon the server is ready on a database that is there, and how much memory it takes.

use std::{sync::Arc, time::Duration};

use muster::time::SystemClock;

use crate::support::{
    http::{connect, request},
    report::{Bar, Wanted},
    server::Server,
    site::{Site, Team},
};

const STARTS: usize = 9;
const TEAMS: usize = 100;
/// How long a server rests before its memory is read.
const REST: Duration = Duration::from_secs(2);

pub(crate) async fn measure() -> Vec<Bar> {
    let (empty, full) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let site = Site::in_folder(full.path(), Arc::new(SystemClock)).await;
    site.catalogue(10, "any").await;
    let mut teams = Vec::new();
    for number in 0..TEAMS {
        teams.push(site.team(&format!("team-{number}")).await);
    }
    // The first start compiles the site's price plugin.
    drop(Server::muster(full.path(), None));
    drop(Server::muster(empty.path(), None));
    let (mut ready, mut idle, mut loaded) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..STARTS {
        let server = Server::muster(full.path(), None);
        ready.push(server.ready_after.as_secs_f64() * 1e3);
        // Memory does not change from start to start as times do.
        if round % 3 == 0 {
            read_everything(&server, &teams).await;
            tokio::time::sleep(REST).await;
            loaded.push(server.resident_mb());
            let server = Server::muster(empty.path(), None);
            tokio::time::sleep(REST).await;
            idle.push(server.resident_mb());
        }
    }
    site.verify().await;
    let s1 = "`muster serve` until /readyz says so";
    let s2 = "resident memory, idle on an empty database";
    vec![
        bar("S1", s1, Wanted::AtMost(150.0, 50.0), "ms", ready),
        bar("S2", s2, Wanted::AtMost(80.0, 50.0), "MB", idle),
        bar(
            "S2 loaded",
            "resident memory after reads by 100 teams",
            Wanted::AtMost(150.0, 90.0),
            "MB",
            loaded,
        ),
    ]
}

fn bar(id: &'static str, what: &'static str, wanted: Wanted, unit: &'static str, ours: Vec<f64>) -> Bar {
    let settings = format!("SQLite, default settings, {TEAMS} teams, {} starts", ours.len());
    Bar { id, what, wanted, unit, ours, yardstick: Vec::new(), settings }
}

/// Every team looks at its catalogue, its drives and its instances.
async fn read_everything(server: &Server, teams: &[Team]) {
    let mut client = connect(server.address).await;
    for team in teams {
        for noun in ["catalog", "drives", "instances"] {
            let path = format!("/api/v1/teams/{}/{noun}", team.id);
            client.ask(&request("GET", &path, &team.token, None)).await;
        }
    }
}
