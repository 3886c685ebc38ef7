//! The death of a Postgres with all its processes: what it had not given into the disk's care is lost.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::postgres::program;

/// Kills the private Postgres behind this address, whose watch starts it again, and returns when it answers.
pub(crate) fn crash(address: &str) {
    let (_, folder) = address.split_once("?host=").expect("the address of a private Postgres");
    let file = Path::new(folder).join("data/postmaster.pid");
    let first = std::fs::read_to_string(file).expect("a running Postgres");
    let first = first.lines().next().expect("its process id").to_owned();
    let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
    let children = children.expect("a running Postgres");
    let all = std::iter::once(first.as_str()).chain(children.split_whitespace());
    // Some of them may have come to their end by themselves meanwhile.
    Command::new("kill").arg("-9").args(all).stderr(Stdio::null()).status().expect("the program `kill`");
    let end = Instant::now() + Duration::from_secs(60);
    while !Command::new(program("pg_isready")).args(["-qh", folder]).status().expect("its client").success() {
        assert!(Instant::now() < end, "Postgres is not back after a minute");
        std::thread::sleep(Duration::from_millis(50));
    }
}
