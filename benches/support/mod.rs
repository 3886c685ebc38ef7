//! What the bars share: a site with its rows, the server as a process, a small HTTP client, and the report.

pub(crate) mod http;
pub(crate) mod report;
pub(crate) mod rows;
pub(crate) mod server;
pub(crate) mod site;

#[path = "../../tests/support/docker.rs"]
#[expect(dead_code, reason = "the benches break nothing on purpose")]
pub(crate) mod docker;
#[path = "../../tests/support/postgres.rs"]
pub(crate) mod postgres;
