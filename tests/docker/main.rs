//! The docker room against real engines, over the unix socket and over mutual TLS.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops loudly")]

#[path = "../support/docker.rs"]
mod support;

mod faults;
mod life;
mod probing;
mod snapshots;
mod storage;

use std::{collections::BTreeSet, path::Path, process::Command, sync::Arc};

use muster::{
    chance::SystemChance,
    docker::{Backend, connect},
    ids::{Id, InstallationId, InstanceId, TeamId},
    model::{
        host::Endpoint,
        instance::{Launch, Mount, Spec},
        subnet::SubnetPool,
    },
    time::{Clock, SystemClock},
};
use support::{IMAGE, StandHost};

fn fresh<T: Id>() -> T {
    T::fresh(SystemClock.now(), &SystemChance)
}

fn by_unix(host: &StandHost) -> Arc<dyn Backend> {
    connect(&Endpoint::Unix(host.socket.clone()), None).unwrap()
}

fn by_tcp(host: &StandHost) -> Arc<dyn Backend> {
    connect(&Endpoint::Tcp { authority: host.authority.clone() }, Some(&host.tls)).unwrap()
}

fn pool() -> SubnetPool {
    "10.201.0.0/16".parse().unwrap()
}

/// A launch of the test image with these accelerators and one read-only team drive.
fn launch(team: TeamId, accelerators: &[String]) -> Launch {
    Launch {
        instance: fresh::<InstanceId>(),
        generation: 1,
        team,
        spec: Spec {
            image: IMAGE.to_owned(),
            cpu_millis: 500,
            memory_bytes: 256 << 20,
            shm_bytes: 64 << 20,
            pids: 128,
            ports: vec![22, 8888],
            env: vec![("NVIDIA_VISIBLE_DEVICES".to_owned(), "all".to_owned())],
            mounts: vec![Mount { volume: volume_of(team), target: "/team_data".to_owned(), read_only: true }],
            ssh_public_keys: Vec::new(),
            command: None,
        },
        spec_digest: "0123abcd".to_owned(),
        accelerators: accelerators.to_vec(),
        jupyter_token: "token-of-the-test".to_owned(),
    }
}

fn volume_of(team: TeamId) -> String {
    format!("muster-test-{team}")
}

/// Makes what a launch of `team` needs to be there before.
async fn prepare(backend: &dyn Backend, team: TeamId, installation: InstallationId) {
    backend.network_ensure(team, installation, pool()).await.unwrap();
    backend.volume_ensure(&volume_of(team), installation, &[]).await.unwrap();
}

/// What `command` prints in a login on the published port; the container may still be making its host key.
async fn login(host: &StandHost, key: &Path, port: u16, command: &str) -> String {
    for _ in 0..100 {
        let output = Command::new("ssh")
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-i"])
            .arg(key)
            .args(["-p", &port.to_string(), &format!("root@{}", host.ip), command])
            .output()
            .unwrap();
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap();
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let too_early = said.contains("refused") || said.contains("closed") || said.contains("reset");
        assert!(too_early, "no login: {said}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    unreachable!("no login within ten seconds")
}

fn words(list: &serde_json::Value) -> BTreeSet<&str> {
    list.as_array().unwrap().iter().filter_map(serde_json::Value::as_str).collect()
}
