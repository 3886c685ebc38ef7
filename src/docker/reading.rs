//! An engine's answers, read into the nouns of the house. Pure.

use std::collections::HashMap;

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStatsResponse, ContainerSummary, PortMap,
};
use serde::Deserialize;

use super::{Error, Result, Trouble, Usage, recipe};
use crate::{
    ids::InstallationId,
    model::{
        host::Stats,
        instance::{Detail, Phase, PublishedPort, Seen},
    },
    time::Timestamp,
};

/// A listed container of ours; `None` if its labels do not say whose it is.
pub(super) fn seen(summary: ContainerSummary) -> Option<Seen> {
    let labels = summary.labels?;
    Some(Seen {
        id: summary.id?,
        instance: labels.get(recipe::INSTANCE)?.parse().ok()?,
        generation: labels.get(recipe::GENERATION)?.parse().ok()?,
        phase: summary.state.map_or(Phase::Other, |state| phase(state.as_ref())),
    })
}

/// Everything about an inspected container.
pub(super) fn detail(answer: ContainerInspectResponse) -> Result<Detail> {
    let id = answer.id.ok_or_else(|| Error::new(Trouble::Unreadable, "a container without an id"))?;
    let state = answer.state.unwrap_or_default();
    let phase = state_phase(&state);
    let ports = answer.network_settings.and_then(|network| network.ports).unwrap_or_default();
    let ended = phase == Phase::Exited;
    Ok(Detail {
        id,
        phase,
        started_at: instant(state.started_at.as_deref()),
        finished_at: instant(state.finished_at.as_deref()).filter(|_| ended),
        exit_code: state.exit_code.filter(|_| ended),
        out_of_memory: state.oom_killed.unwrap_or(false),
        ports: published(ports),
    })
}

/// Whether and how an inspected container runs.
pub(super) fn state_phase(state: &ContainerState) -> Phase {
    state.status.map_or(Phase::Other, |status| phase(status.as_ref()))
}

fn phase(word: &str) -> Phase {
    match word {
        "created" => Phase::Created,
        // A stopping container has not ended yet.
        "running" | "stopping" => Phase::Running,
        "paused" => Phase::Paused,
        "exited" | "dead" => Phase::Exited,
        _ => Phase::Other,
    }
}

/// The labels of an inspected container.
pub(super) fn labels(answer: &ContainerInspectResponse) -> HashMap<String, String> {
    answer.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default()
}

/// Engines write the year 1 where nothing happened yet.
fn instant(text: Option<&str>) -> Option<Timestamp> {
    text?.parse::<Timestamp>().ok().filter(|time| time.as_micros() > 0)
}

/// One entry for each published port, though engines list IPv4 and IPv6 apart.
fn published(ports: PortMap) -> Vec<PublishedPort> {
    let mut list: Vec<PublishedPort> = ports
        .into_iter()
        .filter_map(|(inside, bindings)| {
            let container = inside.strip_suffix("/tcp")?.parse().ok()?;
            let host = bindings?.iter().find_map(|binding| binding.host_port.as_ref()?.parse().ok())?;
            Some(PublishedPort { container, host })
        })
        .collect();
    list.sort_by_key(|port| port.container);
    list
}

/// One reading of a running container.
pub(super) fn stats(answer: ContainerStatsResponse) -> Result<Stats> {
    let read_at = instant(answer.read.as_deref()).ok_or_else(|| {
        Error::new(Trouble::Missing, "the container does not run, so nothing can be measured")
    })?;
    let memory = answer.memory_stats.unwrap_or_default();
    let networks = answer.networks.unwrap_or_default();
    let cpu = answer.cpu_stats.unwrap_or_default();
    let cpu_nanos = cpu.cpu_usage.and_then(|usage| usage.total_usage).unwrap_or(0);
    // Cached file pages can be taken back at any time; the names are those of cgroup v2 and v1.
    let kernel = memory.stats.unwrap_or_default();
    let cached = kernel.get("inactive_file").or_else(|| kernel.get("total_inactive_file"));
    Ok(Stats {
        read_at,
        cpu_nanos,
        cpu_millis: None,
        memory_bytes: memory.usage.unwrap_or(0).saturating_sub(cached.copied().unwrap_or(0)),
        memory_limit_bytes: memory.limit.unwrap_or(0),
        network_received_bytes: networks.values().filter_map(|one| one.rx_bytes).sum(),
        network_sent_bytes: networks.values().filter_map(|one| one.tx_bytes).sum(),
        pids: answer.pids_stats.and_then(|pids| pids.current).unwrap_or(0),
    })
}

/// What an engine says is stored, as far as it is read here: lists may be absent or null.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stored {
    #[serde(default)]
    containers: Option<Vec<StoredContainer>>,
    #[serde(default)]
    volumes: Option<Vec<StoredVolume>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredContainer {
    #[serde(default)]
    labels: Option<HashMap<String, String>>,
    #[serde(default)]
    size_rw: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredVolume {
    name: String,
    #[serde(default)]
    labels: Option<HashMap<String, String>>,
    #[serde(default)]
    usage_data: Option<VolumeUsage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VolumeUsage {
    size: i64,
}

/// What of the engine's answer belongs to `installation`.
pub(super) fn usage(answer: &[u8], installation: InstallationId) -> Result<Usage> {
    let stored: Stored = serde_json::from_slice(answer)
        .map_err(|error| Error::new(Trouble::Unreadable, format!("what is stored: {error}")))?;
    let owner = installation.to_string();
    let ours = |labels: &HashMap<String, String>| labels.get(recipe::INSTALLATION) == Some(&owner);
    let volumes = stored.volumes.into_iter().flatten().filter_map(|volume| {
        volume.labels.as_ref().filter(|labels| ours(labels))?;
        // An engine writes -1 where it cannot tell.
        Some((volume.name, u64::try_from(volume.usage_data?.size).ok()?))
    });
    let writable_layers = stored.containers.into_iter().flatten().filter_map(|container| {
        let labels = container.labels.as_ref().filter(|labels| ours(labels))?;
        let instance = labels.get(recipe::INSTANCE)?.parse().ok()?;
        let generation = labels.get(recipe::GENERATION)?.parse().ok()?;
        Some((instance, generation, u64::try_from(container.size_rw).ok()?))
    });
    Ok(Usage {
        volumes: volumes.collect(),
        writable_layers: writable_layers.collect(),
        snapshots: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_that_never_ran_has_no_times_and_one_that_ended_tells_how() {
        let created = json!({"Id": "c1", "State": {"Status": "created", "ExitCode": 0,
            "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"}});
        let seen = detail(serde_json::from_value(created).unwrap()).unwrap();
        assert_eq!((seen.phase, seen.started_at, seen.exit_code), (Phase::Created, None, None));

        let ended = json!({"Id": "c1", "State": {"Status": "exited", "ExitCode": 137, "OOMKilled": true,
            "StartedAt": "2026-11-22T06:00:00.5Z", "FinishedAt": "2026-11-22T07:00:00Z"}});
        let seen = detail(serde_json::from_value(ended).unwrap()).unwrap();
        assert_eq!((seen.exit_code, seen.out_of_memory), (Some(137), true));
        assert_eq!(seen.finished_at.unwrap().to_string(), "2026-11-22T07:00:00Z");
    }

    #[test]
    fn a_port_published_on_both_families_is_one_port_and_an_unpublished_one_is_none() {
        let both = json!([{"HostIp": "0.0.0.0", "HostPort": "32768"}, {"HostIp": "::", "HostPort": "32769"}]);
        let ports =
            json!({"22/tcp": both, "8888/tcp": null, "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "5353"}]});
        let list = published(serde_json::from_value(ports).unwrap());
        assert_eq!(list, [PublishedPort { container: 22, host: 32768 }]);
    }

    #[test]
    fn only_what_is_ours_and_was_measured_counts_as_stored() {
        use crate::{
            chance::Seeded,
            ids::{Id, InstanceId},
        };
        let (now, chance) = (Timestamp::from_micros(0), Seeded::new(4));
        let (ours, theirs) = (InstallationId::fresh(now, &chance), InstallationId::fresh(now, &chance));
        let instance = InstanceId::fresh(now, &chance);
        let volume = |name: &str, of: InstallationId, size: i64| {
            json!({"Name": name, "Labels": {"muster.installation": of.to_string()},
                "UsageData": {"Size": size, "RefCount": 1}})
        };
        let answer = json!({"LayersSize": 5, "Images": null,
            "Containers": [{"Id": "c", "SizeRw": 77, "Labels": {"muster.installation": ours.to_string(),
                "muster.instance": instance.to_string(), "muster.generation": "2"}}, {"Id": "d", "Labels": null}],
            "Volumes": [volume("a", ours, 9), volume("b", theirs, 9), volume("c", ours, -1),
                {"Name": "d", "Labels": null, "UsageData": null}]});
        let read = usage(answer.to_string().as_bytes(), ours).unwrap();
        assert_eq!(read.volumes, [("a".to_owned(), 9)]);
        assert_eq!(read.writable_layers, [(instance, 2, 77)]);
        assert_eq!(usage(b"{\"Volumes\": null}", ours).unwrap(), Usage::default());
    }

    #[test]
    fn cached_pages_do_not_count_as_used_memory() {
        let reading = json!({"read": "2026-11-22T06:00:00Z", "cpu_stats": {"cpu_usage": {"total_usage": 7}},
            "memory_stats": {"usage": 1000, "limit": 5000, "stats": {"inactive_file": 300}},
            "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}}});
        let stats = stats(serde_json::from_value(reading).unwrap()).unwrap();
        assert_eq!((stats.memory_bytes, stats.memory_limit_bytes), (700, 5000));
        assert_eq!((stats.network_received_bytes, stats.network_sent_bytes), (11, 22));
    }

    #[test]
    fn a_stopped_container_gives_no_reading_instead_of_zeros() {
        let reading = json!({"read": "0001-01-01T00:00:00Z"});
        assert_eq!(stats(serde_json::from_value(reading).unwrap()).unwrap_err().trouble, Trouble::Missing);
    }
}
