//! Looking at a host without anything installed on it: the engine's own words, and one short container that
//! lists the accelerators. Says why a host has none, because a host that silently has none is the commonest
//! complaint.

use std::{collections::HashMap, time::Duration};

use bollard::{
    models::{ContainerCreateBody, HostConfig, SystemInfo},
    query_parameters::{ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder},
};
use futures_util::TryStreamExt;

use super::{
    AcceleratorCheck, Backend, Error, Result, Trouble,
    engine::{Engine, answered, answered_within},
    recipe::{self, Devices},
};
use crate::{
    model::host::{AcceleratorFacts, Attach, HostFacts, Probe},
    time::{Clock, SECOND, Span, Timestamp},
};

/// Label of the short containers made here.
pub(super) const PROBE: &str = "muster.probe";
/// How long the vendor's tool may take: drivers that load at first use need half a minute.
const TOOL_DEADLINE: Duration = Duration::from_secs(60);
/// A probe container older than this was left behind by a server that died.
const LEFT_BEHIND: Span = Span::from_seconds(600);
/// A clock that is further off than this is worth a warning.
const CLOCK_TOLERANCE_MICROS: i64 = 2 * SECOND;
/// What the tool is asked, in this order.
const QUERY: [&str; 3] =
    ["nvidia-smi", "--query-gpu=uuid,name,memory.total,driver_version", "--format=csv,noheader,nounits"];

/// Everything about the host behind `engine`.
pub(super) async fn look(engine: &Engine, image: &str, clock: &dyn Clock) -> Result<Probe> {
    let docker = engine.docker().await?;
    let asked_at = clock.now();
    let info = answered(docker.info()).await?;
    let probed_at = clock.now();
    remove_left_behind(engine, &info).await?;

    let search = search_accelerators(engine, &info, image).await?;
    let clock_offset_micros = clock_offset(&info, asked_at, probed_at);
    let facts = HostFacts {
        engine_version: info.server_version.clone().unwrap_or_default(),
        api_version: docker.client_version().to_string(),
        cpu_millis: info.ncpu.and_then(|cores| u32::try_from(cores * 1000).ok()).unwrap_or(0),
        memory_bytes: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        attach: search.attach,
        no_accelerators_because: search.because,
        live_restore: info.live_restore_enabled.unwrap_or(false),
        warnings: warnings(&info, engine.remote, clock_offset_micros),
        clock_offset_micros,
        probed_at,
    };
    Ok(Probe { facts, accelerators: search.found })
}

struct Search {
    attach: Attach,
    found: Vec<AcceleratorFacts>,
    because: Option<String>,
}

/// Tries every way of attaching that the engine may have, best first, until one shows accelerators.
async fn search_accelerators(engine: &Engine, info: &SystemInfo, image: &str) -> Result<Search> {
    let nothing =
        |because: String| Search { attach: Attach::None, found: Vec::new(), because: Some(because) };
    if let Some(because) = image_lacking(engine, image).await? {
        return Ok(nothing(because));
    }
    let mut reasons = Vec::new();
    for attach in ways(info) {
        match trial(engine, image, attach).await {
            Ok(printed) => {
                let found = parse_accelerators(&printed);
                if !found.is_empty() {
                    return Ok(Search { attach, found, because: None });
                }
                reasons.push(format!("{attach}: nvidia-smi said {:?}", first_line(&printed)));
            }
            Err(error) if error.is_unreachable() => return Err(error),
            Err(error) => reasons.push(format!("{attach}: {}", first_line(&error.said))),
        }
    }
    Ok(nothing(format!(
        "no way of attaching accelerators works; is the vendor's driver and container toolkit installed? {}",
        reasons.join("; ")
    )))
}

/// Why the probe image cannot be had, if it cannot.
async fn image_lacking(engine: &Engine, image: &str) -> Result<Option<String>> {
    if engine.image_present(image).await? {
        return Ok(None);
    }
    match engine.image_pull(image).await {
        Ok(()) => Ok(None),
        Err(error) if error.is_unreachable() => Err(error),
        Err(error) => Ok(Some(format!(
            "the probe image {image} is not on the host and could not be fetched: {}",
            first_line(&error.said)
        ))),
    }
}

fn ways(info: &SystemInfo) -> Vec<Attach> {
    let cdi = info.cdi_spec_dirs.as_ref().is_some_and(|folders| !folders.is_empty());
    let runtime = info.runtimes.as_ref().is_some_and(|runtimes| runtimes.contains_key("nvidia"));
    // A driver for device requests shows nowhere: only a trial tells.
    let known = [(cdi, Attach::Cdi), (runtime, Attach::Runtime), (true, Attach::DeviceRequest)];
    known.into_iter().filter_map(|(there, attach)| there.then_some(attach)).collect()
}

/// What the vendor's tool prints in a container that gets all accelerators by `attach`.
async fn trial(engine: &Engine, image: &str, attach: Attach) -> Result<String> {
    let docker = engine.docker().await?;
    let made = answered(docker.create_container(None, trial_body(image, attach)?)).await?;
    let printed = run(engine, &made.id).await;
    let force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let removed = answered(docker.remove_container(&made.id, Some(force))).await;
    let printed = printed?;
    removed.map(|()| printed)
}

/// What a container that was made prints until it ends.
pub(super) async fn run(engine: &Engine, id: &str) -> Result<String> {
    let docker = engine.docker().await?;
    answered(docker.start_container(id, None)).await?;
    let ended = answered_within(TOOL_DEADLINE, docker.wait_container(id, None).try_next()).await;
    match ended {
        // A tool that failed explains itself in its output.
        Ok(_) => {}
        Err(error) if error.trouble == Trouble::Refused => {}
        Err(error) if error.is_unreachable() => {
            // Is it the host that hangs, or the driver? A host that still answers tells the two apart.
            answered(docker.ping()).await?;
            let said = format!("nvidia-smi did not end within {} s", TOOL_DEADLINE.as_secs());
            return Err(Error::new(Trouble::GpuDriver, said));
        }
        Err(error) => return Err(error),
    }
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail("200").build();
    let pieces: Vec<_> = answered(docker.logs(id, Some(options)).try_collect()).await?;
    Ok(pieces.iter().map(ToString::to_string).collect())
}

fn trial_body(image: &str, attach: Attach) -> Result<ContainerCreateBody> {
    let devices = Devices::of(attach, &["all".to_owned()])?;
    Ok(ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["nvidia-smi".to_owned()]),
        cmd: Some(QUERY.iter().skip(1).map(|&word| word.to_owned()).collect()),
        env: Some(vec![
            format!("{}={}", recipe::VISIBLE_DEVICES, devices.visible),
            "NVIDIA_DRIVER_CAPABILITIES=utility".to_owned(),
        ]),
        labels: Some(HashMap::from([(PROBE.to_owned(), "accelerators".to_owned())])),
        host_config: Some(HostConfig {
            runtime: devices.runtime,
            device_requests: devices.requests,
            network_mode: Some("none".to_owned()),
            readonly_rootfs: Some(true),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            cap_drop: Some(vec!["ALL".to_owned()]),
            memory: Some(256 << 20),
            memory_swap: Some(256 << 20),
            pids_limit: Some(64),
            log_config: Some(recipe::bounded_log()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    })
}

/// Removes what a server left that died while it probed.
async fn remove_left_behind(engine: &Engine, info: &SystemInfo) -> Result<()> {
    let Some(now) = system_time(info) else { return Ok(()) };
    let docker = engine.docker().await?;
    let filters = [("label", vec![PROBE.to_owned()])];
    let all = ListContainersOptionsBuilder::new().all(true).filters(&filters.into()).build();
    for left in answered(docker.list_containers(Some(all))).await? {
        let made_at = Timestamp::from_micros(left.created.unwrap_or(0).saturating_mul(SECOND));
        if let Some(id) = left.id.filter(|_| now - made_at > LEFT_BEHIND) {
            let force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            let _ = answered(docker.remove_container(&id, Some(force))).await;
        }
    }
    Ok(())
}

fn system_time(info: &SystemInfo) -> Option<Timestamp> {
    info.system_time.as_ref()?.parse().ok()
}

/// The engine's clock less ours in the middle of the call, in microseconds.
fn clock_offset(info: &SystemInfo, asked_at: Timestamp, answered_at: Timestamp) -> i64 {
    let middle = asked_at + Span::from_micros((answered_at - asked_at).as_micros() / 2);
    system_time(info).map_or(0, |theirs| (theirs - middle).as_micros())
}

fn warnings(info: &SystemInfo, remote: bool, clock_offset_micros: i64) -> Vec<String> {
    let secured = |word: &str| {
        info.security_options.iter().flatten().any(|option| option.split(',').any(|part| part == word))
    };
    let off_seconds = clock_offset_micros / SECOND;
    let ours = [
        (
            !info.live_restore_enabled.unwrap_or(false),
            "live-restore is off: a restart of the engine stops every instance".to_owned(),
        ),
        (
            !secured("name=userns"),
            "user namespaces are off: root in an instance is root outside, should it escape".to_owned(),
        ),
        (!secured("name=seccomp"), "the engine does not filter system calls (seccomp)".to_owned()),
        (
            remote,
            "reached over the network: keep the port behind a firewall, its client key is root on the host"
                .to_owned(),
        ),
        (
            info.default_runtime.as_deref() == Some("nvidia"),
            "nvidia is the default runtime: containers that muster did not make see all accelerators"
                .to_owned(),
        ),
        (
            clock_offset_micros.abs() > CLOCK_TOLERANCE_MICROS,
            format!("its clock differs from ours by {off_seconds} s: synchronise it"),
        ),
    ];
    let theirs = info.warnings.iter().flatten().map(|said| said.trim_start_matches("WARNING: ").to_owned());
    ours.into_iter().filter_map(|(holds, text)| holds.then_some(text)).chain(theirs).collect()
}

/// The lines of the vendor's tool that describe an accelerator; others, such as warnings, are passed over.
fn parse_accelerators(printed: &str) -> Vec<AcceleratorFacts> {
    printed.lines().filter_map(parse_accelerator).collect()
}

fn parse_accelerator(line: &str) -> Option<AcceleratorFacts> {
    let mut fields = line.split(',').map(str::trim);
    let (uuid, model, memory, driver) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let plausible = uuid.contains('-') && uuid.len() <= 80 && !uuid.contains(char::is_whitespace);
    plausible.then(|| AcceleratorFacts {
        uuid: uuid.to_owned(),
        model: model.to_owned(),
        // Accelerators that share the processor's memory answer [N/A].
        memory_mib: memory.trim_end_matches(" MiB").parse().unwrap_or(0),
        driver: driver.to_owned(),
    })
}

/// Compares what `nvidia-smi -L` listed with what should be there.
pub(super) fn compare_accelerators(listed: &str, wanted: &[String]) -> AcceleratorCheck {
    let mut seen: Vec<String> = listed
        .lines()
        .filter_map(|line| line.split_once("(UUID: ")?.1.strip_suffix(')'))
        .map(str::to_owned)
        .collect();
    let mut wanted = wanted.to_vec();
    seen.sort();
    wanted.sort();
    if seen == wanted { AcceleratorCheck::Confirmed } else { AcceleratorCheck::Differ(seen) }
}

fn first_line(text: &str) -> String {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing").trim().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_tools_lines_are_read_and_its_complaints_are_not() {
        let printed = "Warning: infoROM is corrupted at gpu 0000:01:00.0, see the manual\n\
            GPU-aa-1, NVIDIA H100 80GB HBM3, 81559, 550.54.15\n\
            GPU-bb-2, NVIDIA GH200 480GB, [N/A], 550.54.15\r\n\
            GPU-cc-3, Tesla T4, 15360 MiB, 535.1\n";
        let found = parse_accelerators(printed);
        let short: Vec<_> = found.iter().map(|one| (one.uuid.as_str(), one.memory_mib)).collect();
        assert_eq!(short, [("GPU-aa-1", 81_559), ("GPU-bb-2", 0), ("GPU-cc-3", 15_360)]);
        assert_eq!(found[0].model, "NVIDIA H100 80GB HBM3");
        assert!(parse_accelerators("No devices were found\n").is_empty());
        assert!(parse_accelerators("Failed to initialize NVML: Unknown Error").is_empty());
    }

    #[test]
    fn an_instance_that_sees_too_few_or_too_many_accelerators_is_told_from_a_good_one() {
        let listed = "GPU 0: NVIDIA H100 (UUID: GPU-b)\nGPU 1: NVIDIA H100 (UUID: GPU-a)\n";
        let wanted = |uuids: &[&str]| uuids.iter().map(|&uuid| uuid.to_owned()).collect::<Vec<_>>();
        assert_eq!(compare_accelerators(listed, &wanted(&["GPU-a", "GPU-b"])), AcceleratorCheck::Confirmed);
        assert_eq!(compare_accelerators("No devices were found", &[]), AcceleratorCheck::Confirmed);
        let both = AcceleratorCheck::Differ(wanted(&["GPU-a", "GPU-b"]));
        assert_eq!(compare_accelerators(listed, &wanted(&["GPU-a"])), both);
        let none = AcceleratorCheck::Differ(vec![]);
        assert_eq!(compare_accelerators("Failed to initialize NVML", &wanted(&["GPU-a"])), none);
    }

    #[test]
    fn ways_of_attaching_are_tried_best_first() {
        let info = |text: serde_json::Value| serde_json::from_value::<SystemInfo>(text).unwrap();
        let all = info(json!({"CDISpecDirs": ["/etc/cdi"], "Runtimes": {"nvidia": {"path": "x"}}}));
        assert_eq!(ways(&all), [Attach::Cdi, Attach::Runtime, Attach::DeviceRequest]);
        assert_eq!(ways(&info(json!({"CDISpecDirs": []}))), [Attach::DeviceRequest]);
    }

    #[test]
    fn a_well_kept_local_host_has_no_warnings_and_a_careless_one_has_many() {
        let info = |text: serde_json::Value| serde_json::from_value::<SystemInfo>(text).unwrap();
        let good = info(json!({"LiveRestoreEnabled": true,
            "SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"], "DefaultRuntime": "runc"}));
        assert_eq!(warnings(&good, false, 1_999_999), Vec::<String>::new());
        let bad = info(json!({"DefaultRuntime": "nvidia", "Warnings": ["WARNING: No swap limit support"]}));
        assert_eq!(warnings(&bad, true, -3 * SECOND).len(), 7);
    }

    #[test]
    fn half_of_the_round_trip_is_not_taken_for_a_wrong_clock() {
        let info: SystemInfo =
            serde_json::from_value(json!({"SystemTime": "2026-11-22T06:00:01.5Z"})).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let offset = clock_offset(&info, at("2026-11-22T06:00:00Z"), at("2026-11-22T06:00:02Z"));
        assert_eq!(offset, SECOND / 2);
    }
}
