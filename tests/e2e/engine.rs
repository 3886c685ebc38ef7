//! The way around muster: what the engine itself says of a container, and a login into it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    support::{Stand, StandHost},
    town::{instant, pause},
};

/// Everything that the engine knows of the one container of `instance`.
pub(crate) fn inspect(host: &StandHost, instance: &str) -> Value {
    let label = format!("label=muster.instance={instance}");
    let found = host.docker(&["ps", "-aq", "--filter", &label]);
    let ids: Vec<&str> = found.lines().collect();
    assert_eq!(ids.len(), 1, "containers of {instance}");
    let told: Value = serde_json::from_str(&host.docker(&["inspect", ids[0]])).unwrap();
    told[0].clone()
}

/// The container is exactly what was ordered, and has nothing of the host.
pub(crate) fn assert_as_ordered(host: &StandHost, instance: &Value, gpu: &str) {
    let told = inspect(host, instance["id"].as_str().unwrap());
    let (config, limits) = (&told["Config"], &told["HostConfig"]);
    let visible: Vec<&str> = words(&config["Env"])
        .into_iter()
        .filter(|line| line.starts_with("NVIDIA_VISIBLE_DEVICES="))
        .collect();
    assert_eq!(visible, [format!("NVIDIA_VISIBLE_DEVICES={gpu}")]);
    assert_eq!(config["Labels"]["muster.instance"], instance["id"]);
    assert_eq!(config["Labels"]["muster.team"], instance["team"]);
    assert_eq!(config["Labels"]["muster.generation"], "1");
    assert_eq!(config["Labels"]["muster.accelerators"], gpu);
    let expected = json!({"Runtime": "nvidia", "Memory": 64 << 20, "MemorySwap": 64 << 20,
        "NanoCpus": 100_000_000, "PidsLimit": 4096, "Privileged": false, "Binds": null,
        "SecurityOpt": ["no-new-privileges"], "CapDrop": ["ALL"]});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&limits[name], value, "{name}");
    }
    assert_eq!(limits["RestartPolicy"]["Name"], "no");
    let mounts = told["Mounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    assert_eq!((&mounts[0]["Destination"], &mounts[0]["RW"]), (&json!("/team_data"), &json!(false)));
}

fn words(list: &Value) -> BTreeSet<&str> {
    list.as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

/// When the engine started the container of `instance`, in microseconds.
pub(crate) fn started_at(host: &StandHost, instance: &str) -> i64 {
    instant(&inspect(host, instance)["State"]["StartedAt"])
}

/// Watches the container of `instance` until it has ended, and gives the engine's own time of that. A removed
/// container tells nothing any more, so somebody has to look in between.
pub(crate) fn end_watch(stand: &Stand, instance: &str) -> JoinHandle<i64> {
    let host = &stand.hosts[0];
    let id = inspect(host, instance)["Id"].as_str().unwrap().to_owned();
    let socket = format!("unix://{}", host.socket.display());
    std::thread::spawn(move || {
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            let words = ["-H", &socket, "inspect", "-f", "{{json .State}}", &id];
            let told = Command::new("docker").args(words).output().unwrap();
            assert!(told.status.success(), "removed before its end was seen");
            let state: Value = serde_json::from_slice(&told.stdout).unwrap();
            if state["Running"] == false {
                return instant(&state["FinishedAt"]);
            }
        }
        panic!("{id} does not end");
    })
}

/// What `command` prints in a login by the command line that muster gives; the container may still be making its
/// host key.
pub(crate) async fn login(access: &Value, key: &Path, command: &str) -> String {
    let line = access["ssh"].as_str().unwrap_or_else(|| panic!("no way in: {access}"));
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("ssh"));
    let key = PathBuf::from(key);
    for _ in 0..150 {
        let output = Command::new("ssh")
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "-i"])
            .arg(&key)
            .args(words.clone())
            .arg(command)
            .output()
            .unwrap();
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap();
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let too_early = said.contains("refused") || said.contains("closed") || said.contains("reset");
        assert!(too_early, "no login: {said}");
        pause(200).await;
    }
    panic!("no login within half a minute");
}
