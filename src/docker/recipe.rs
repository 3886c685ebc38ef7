//! How the container of a launch is made: names, labels, limits and the files put into it before it starts.
//!
//! Tenants are hostile: nothing of the host is shared with a container but named volumes and the accelerators
//! that were allocated. Secrets go into files, never into the environment, which every view of a container
//! shows.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, DeviceRequest, HostConfig, HostConfigLogConfig, Mount, MountType, PortBinding,
    RestartPolicy, RestartPolicyNameEnum,
};

use super::{Error, Result, Trouble};
use crate::{
    ids::{InstallationId, TeamId},
    model::{host::Attach, instance::Launch},
};

/// Label: the installation that a thing belongs to.
pub(super) const INSTALLATION: &str = "muster.installation";
/// Label: the instance of a container.
pub(super) const INSTANCE: &str = "muster.instance";
/// Label: the generation of a container.
pub(super) const GENERATION: &str = "muster.generation";
/// Label: the team of a container or network.
pub(super) const TEAM: &str = "muster.team";
/// Label: the digest of the specification that a container was made from.
pub(super) const SPEC: &str = "muster.spec";
/// Label: the accelerators of a container, joined by commas.
pub(super) const ACCELERATORS: &str = "muster.accelerators";

/// What the vendor's runtime reads to decide which accelerators a container sees. Set on every container,
/// because an image may carry a value of its own, such as `all`.
pub(super) const VISIBLE_DEVICES: &str = "NVIDIA_VISIBLE_DEVICES";

/// What a login, a notebook and a package manager need, and no raw sockets or device nodes.
const CAPABILITIES: [&str; 9] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
    "AUDIT_WRITE",
    "KILL",
    "NET_BIND_SERVICE",
];

/// The network of `team` on any host.
pub(super) fn network_name(team: TeamId) -> String {
    format!("muster-{team}")
}

/// The interface of that network on the host. Interface names have 15 characters at most; the last digits of
/// an id are the random ones.
pub(super) fn bridge_name(team: TeamId) -> String {
    let id = team.to_string();
    let tail = id.get(id.len().saturating_sub(8)..).unwrap_or_default();
    format!("mst-{tail}")
}

/// The labels by which a container is found again.
pub(super) fn labels(launch: &Launch, installation: InstallationId) -> HashMap<String, String> {
    HashMap::from([
        (INSTALLATION.to_owned(), installation.to_string()),
        (INSTANCE.to_owned(), launch.instance.to_string()),
        (GENERATION.to_owned(), launch.generation.to_string()),
        (TEAM.to_owned(), launch.team.to_string()),
        (SPEC.to_owned(), launch.spec_digest.clone()),
        (ACCELERATORS.to_owned(), launch.accelerators.join(",")),
    ])
}

/// The engine's order for the container of `launch`.
pub(super) fn container_body(
    launch: &Launch,
    installation: InstallationId,
    attach: Attach,
) -> Result<ContainerCreateBody> {
    let spec = &launch.spec;
    let devices = Devices::of(attach, &launch.accelerators)?;
    let mut env: Vec<String> = spec
        .env
        .iter()
        .filter(|(name, _)| name != VISIBLE_DEVICES)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    env.push(format!("{VISIBLE_DEVICES}={}", devices.visible));

    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        hostname: Some(launch.instance.to_string().replace('_', "-")),
        cmd: spec.command.clone(),
        env: Some(env),
        labels: Some(labels(launch, installation)),
        exposed_ports: Some(spec.ports.iter().map(|port| format!("{port}/tcp")).collect()),
        host_config: Some(HostConfig {
            runtime: devices.runtime,
            device_requests: devices.requests,
            network_mode: Some(network_name(launch.team)),
            port_bindings: Some(spec.ports.iter().map(|port| published(*port)).collect()),
            mounts: Some(spec.mounts.iter().map(mounted).collect()),
            memory: Some(signed(spec.memory_bytes)),
            memory_swap: Some(signed(spec.memory_bytes)),
            nano_cpus: Some(i64::from(spec.cpu_millis) * 1_000_000),
            shm_size: Some(signed(spec.shm_bytes)),
            pids_limit: Some(i64::from(spec.pids)),
            init: Some(true),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
            log_config: Some(bounded_log()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    })
}

/// How accelerators are asked for.
pub(super) struct Devices {
    /// The value of [`VISIBLE_DEVICES`].
    pub(super) visible: String,
    /// The runtime to run under, if not the engine's own choice.
    pub(super) runtime: Option<String>,
    /// The device requests.
    pub(super) requests: Option<Vec<DeviceRequest>>,
}

impl Devices {
    /// The way `attach` of asking for `accelerators`, which may also be the one word `all`.
    pub(super) fn of(attach: Attach, accelerators: &[String]) -> Result<Self> {
        let void = Self { visible: "void".to_owned(), runtime: None, requests: None };
        if accelerators.is_empty() {
            return Ok(void);
        }
        let listed = accelerators.join(",");
        match attach {
            Attach::Cdi => {
                let names = accelerators.iter().map(|uuid| format!("nvidia.com/gpu={uuid}")).collect();
                Ok(Self { requests: Some(vec![request("cdi", names, None)]), ..void })
            }
            Attach::Runtime => Ok(Self { visible: listed, runtime: Some("nvidia".to_owned()), ..void }),
            Attach::DeviceRequest => {
                let wanted = vec!["gpu".to_owned(), "utility".to_owned(), "compute".to_owned()];
                let requests = vec![request("nvidia", accelerators.to_vec(), Some(vec![wanted]))];
                Ok(Self { visible: listed, requests: Some(requests), ..void })
            }
            Attach::None => Err(Error::new(
                Trouble::GpuDriver,
                format!("the host attaches no accelerators, yet {listed} should run there"),
            )),
        }
    }
}

fn request(driver: &str, ids: Vec<String>, capabilities: Option<Vec<Vec<String>>>) -> DeviceRequest {
    DeviceRequest {
        driver: Some(driver.to_owned()),
        device_ids: Some(ids),
        capabilities,
        ..DeviceRequest::default()
    }
}

/// An empty host port lets the engine take a free one.
fn published(port: u16) -> (String, Option<Vec<PortBinding>>) {
    let anywhere = PortBinding { host_ip: None, host_port: Some(String::new()) };
    (format!("{port}/tcp"), Some(vec![anywhere]))
}

fn mounted(mount: &crate::model::instance::Mount) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(mount.volume.clone()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        ..Mount::default()
    }
}

pub(super) fn bounded_log() -> HostConfigLogConfig {
    let limits = HashMap::from([("max-size", "10m"), ("max-file", "3")]);
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(limits.into_iter().map(|(name, limit)| (name.to_owned(), limit.to_owned())).collect()),
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The archive that is unpacked at `/` before the start: who may log in, and the token of the notebook
/// server.
pub(super) fn files(launch: &Launch) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let keys: String = launch.spec.ssh_public_keys.iter().map(|key| format!("{}\n", key.trim())).collect();
    folder(&mut archive, "root/.ssh/", 0o700)?;
    file(&mut archive, "root/.ssh/authorized_keys", &keys)?;
    folder(&mut archive, "run/muster/", 0o755)?;
    file(&mut archive, "run/muster/jupyter_token", &launch.jupyter_token)?;
    archive.into_inner()
}

fn folder(archive: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32) -> std::io::Result<()> {
    let mut header = header_of_root(mode, 0);
    header.set_entry_type(tar::EntryType::Directory);
    archive.append_data(&mut header, path, std::io::empty())
}

fn file(archive: &mut tar::Builder<Vec<u8>>, path: &str, text: &str) -> std::io::Result<()> {
    let mut header = header_of_root(0o600, text.len() as u64);
    archive.append_data(&mut header, path, text.as_bytes())
}

fn header_of_root(mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::{
        chance::Seeded,
        ids::{Id, InstanceId},
        model::instance::Spec,
        time::Timestamp,
    };

    fn launch(accelerators: &[&str]) -> Launch {
        let chance = Seeded::new(5);
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        Launch {
            instance: InstanceId::fresh(now, &chance),
            generation: 3,
            team: TeamId::fresh(now, &chance),
            spec: Spec {
                image: "img:1".to_owned(),
                cpu_millis: 1500,
                memory_bytes: 1 << 30,
                shm_bytes: 1 << 26,
                pids: 512,
                ports: vec![22, 8888],
                env: vec![
                    (VISIBLE_DEVICES.to_owned(), "all".to_owned()),
                    ("LANG".to_owned(), "C.UTF-8".to_owned()),
                ],
                mounts: vec![],
                ssh_public_keys: vec!["ssh-ed25519 AAAA one ".to_owned(), "ssh-ed25519 BBBB two".to_owned()],
                command: None,
            },
            spec_digest: "d1".to_owned(),
            accelerators: accelerators.iter().map(|&uuid| uuid.to_owned()).collect(),
            jupyter_token: "a-secret-token".to_owned(),
        }
    }

    fn body(attach: Attach, accelerators: &[&str]) -> ContainerCreateBody {
        let installation = InstallationId::fresh(Timestamp::from_micros(0), &Seeded::new(1));
        container_body(&launch(accelerators), installation, attach).unwrap()
    }

    #[test]
    fn a_tenant_cannot_choose_its_accelerators_by_the_environment() {
        for (attach, accelerators, visible) in [
            (Attach::Runtime, vec![], "void"),
            (Attach::None, vec![], "void"),
            (Attach::Runtime, vec!["GPU-a", "GPU-b"], "GPU-a,GPU-b"),
            (Attach::DeviceRequest, vec!["GPU-a"], "GPU-a"),
            (Attach::Cdi, vec!["GPU-a"], "void"),
        ] {
            let env = body(attach, &accelerators).env.unwrap();
            let set: Vec<_> = env.iter().filter(|line| line.starts_with(VISIBLE_DEVICES)).collect();
            assert_eq!(set, [&format!("{VISIBLE_DEVICES}={visible}")], "{attach} {accelerators:?}");
            assert!(env.contains(&"LANG=C.UTF-8".to_owned()));
        }
    }

    #[test]
    fn each_way_of_attaching_asks_in_its_own_words() {
        let host = |attach| body(attach, &["GPU-a"]).host_config.unwrap();
        assert_eq!(host(Attach::Runtime).runtime.as_deref(), Some("nvidia"));
        let cdi = host(Attach::Cdi).device_requests.unwrap().remove(0);
        assert_eq!(cdi.device_ids.unwrap(), ["nvidia.com/gpu=GPU-a"]);
        let request = host(Attach::DeviceRequest).device_requests.unwrap().remove(0);
        assert_eq!(
            (request.driver.as_deref(), request.device_ids.unwrap()),
            (Some("nvidia"), vec!["GPU-a".into()])
        );
        let none = container_body(
            &launch(&["GPU-a"]),
            InstallationId::fresh(Timestamp::from_micros(0), &Seeded::new(1)),
            Attach::None,
        );
        assert_eq!(none.unwrap_err().trouble, Trouble::GpuDriver);
    }

    #[test]
    fn the_token_is_in_a_file_for_root_only_and_nowhere_else() {
        let text = serde_json::to_string(&body(Attach::Runtime, &["GPU-a"])).unwrap();
        assert!(!text.contains("a-secret-token"));

        let bytes = files(&launch(&[])).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let (path, mode) = (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap());
            assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (0, 0));
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.push((path, mode, text));
        }
        assert_eq!(found[1].2, "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two\n");
        assert_eq!((found[1].0.as_str(), found[1].1), ("root/.ssh/authorized_keys", 0o600));
        assert_eq!((found[3].0.as_str(), found[3].1), ("run/muster/jupyter_token", 0o600));
        assert_eq!(found[3].2, "a-secret-token");
    }

    #[test]
    fn a_bridge_name_fits_an_interface() {
        let team = launch(&[]).team;
        assert_eq!(bridge_name(team).len(), 12);
        assert!(team.to_string().ends_with(bridge_name(team).trim_start_matches("mst-")));
    }
}
