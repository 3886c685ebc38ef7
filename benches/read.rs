//! P3: authenticated and decided reads over HTTP, beside an axum server that says hello.
//!
//! There is no route that only decides yet, so the cheapest decided read stands in: a member looks at their team. It
//! finds the API key, the team and the member in the database, decides, and answers JSON. The catalogue is measured
//! too: it decides once more for every product and image.

use std::time::Duration;

use muster::time::SystemClock;

use crate::support::{
    http::{CONNECTIONS, load, request},
    report::{Bar, Wanted},
    server::{Server, pin_self},
    site::Site,
};

/// The word that makes this program the yardstick.
pub(crate) const HELLO: &str = "__hello";

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);
/// Servers have this processor for themselves, the load has the other.
const SERVERS: usize = 0;
const LOAD: usize = 1;

pub(crate) async fn measure() -> Vec<Bar> {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::in_folder(folder.path(), std::sync::Arc::new(SystemClock)).await;
    site.catalogue(10, "any").await;
    let team = site.team("readers").await;
    site.db.close().await;
    let hello = Server::this_program(HELLO, SERVERS);
    let muster = Server::muster(folder.path(), Some(SERVERS));
    let get = |noun: &str| request("GET", &format!("/api/v1/teams/{}{noun}", team.id), &team.token, None);
    let (plain, one, catalog) = (request("GET", "/", "", None), get(""), get("/catalog"));
    let (mut read, mut listed) = (
        bar("P3", "GET one's team by API key ÷ axum hello", Wanted::AtLeast(0.35, 0.6)),
        bar("P3 catalog", "GET the catalogue (3 decisions) ÷ axum hello", Wanted::Nothing),
    );
    pin_self(&LOAD.to_string());
    for _ in 0..ROUNDS {
        read.ours.push(load(muster.address, &one, TIME).await);
        let yardstick = load(hello.address, &plain, TIME).await;
        read.yardstick.push(yardstick);
        listed.ours.push(load(muster.address, &catalog, TIME).await);
        listed.yardstick.push(yardstick);
    }
    pin_self(&format!("{SERVERS},{LOAD}"));
    vec![read, listed]
}

fn bar(id: &'static str, what: &'static str, wanted: Wanted) -> Bar {
    let settings = format!(
        "SQLite, {CONNECTIONS} keep-alive connections, each server alone on processor {SERVERS}, the load on \
         {LOAD}, {ROUNDS} rounds of {} s",
        TIME.as_secs()
    );
    Bar { id, what, wanted, unit: "1/s", ours: Vec::new(), yardstick: Vec::new(), settings }
}

/// Serves hello at `address` until the process is ended.
pub(crate) fn hello_serve(address: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let routes = axum::Router::new().route("/", axum::routing::get(async || "hello"));
        axum::serve(listener, routes).await.unwrap();
    });
}
