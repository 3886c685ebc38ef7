//! A host that is none: it keeps a list of pretended containers in a file, so that everything but the
//! container can be tried on a laptop, and so that a restarted server finds what it left.
//!
//! A pretended container runs from its start until it is stopped or removed, whatever happens to the server.
//! It has no network, no output and no use; its ports lead nowhere. Its accelerators begin with `SIM-`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{AcceleratorCheck, Backend, Ensured, Error, How, Result, Trouble, Usage};
use crate::{
    ids::{HostId, InstallationId, InstanceId, SnapshotId, TeamId},
    model::{
        host::{AcceleratorFacts, Attach, HostFacts, Probe, Stats},
        instance::{Detail, Launch, Phase, PublishedPort, Seen},
        snapshot::{self, Room, SnapshotOrder, StoredSnapshot},
        subnet::SubnetPool,
    },
    time::{Clock, Span, Timestamp},
};

/// Pretended size of the host.
const CORES: u32 = 64;
const MEMORY_BYTES: u64 = 512 << 30;
/// Pretended memory of one accelerator.
const ACCELERATOR_MIB: u32 = 81_920;
/// The first pretended host port.
const FIRST_PORT: u16 = 40_000;
/// What a container pretends to write in each of its runs: to its own disk, and to every drive that it may write to.
const LAYER_BYTES: u64 = 64 << 20;
const DRIVE_BYTES: u64 = 256 << 20;
/// Pretended size of its disk.
const DISK_BYTES: u64 = 1 << 40;

/// A pretended host.
pub struct Simulated {
    file: PathBuf,
    accelerators: Vec<String>,
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

/// What the file holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    claimed_by: Option<(HostId, InstallationId)>,
    containers: BTreeMap<String, Container>,
    volumes: BTreeMap<String, InstallationId>,
    /// What is in the volumes that were ever written to, in bytes.
    #[serde(default)]
    written: BTreeMap<String, u64>,
    #[serde(default)]
    snapshots: BTreeMap<SnapshotId, Snapshot>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Snapshot {
    installation: InstallationId,
    size_bytes: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Container {
    installation: InstallationId,
    instance: InstanceId,
    generation: u32,
    spec_digest: String,
    accelerators: Vec<String>,
    memory_bytes: u64,
    ports: Vec<PublishedPort>,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    /// The volumes that it may write to.
    #[serde(default)]
    drives: Vec<String>,
    /// How often it was started.
    #[serde(default = "once")]
    runs: u64,
    /// Whether its processes are frozen.
    #[serde(default)]
    paused: bool,
    /// What the snapshot that it was made from has of its own.
    #[serde(default)]
    below_bytes: u64,
}

const fn once() -> u64 {
    1
}

impl Simulated {
    /// The pretended host that `file` describes, an empty one if there is no such file. `host` names its
    /// `accelerators` pieces of hardware, so that no two hosts have the same.
    pub async fn open(file: &Path, host: HostId, accelerators: u32, clock: Arc<dyn Clock>) -> Result<Self> {
        let kept = match tokio::fs::read(file).await {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| broken(file, &error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(broken(file, &error)),
        };
        let id = host.to_string();
        let tail = id.get(id.len().saturating_sub(12)..).unwrap_or_default();
        let accelerators = (0..accelerators).map(|number| format!("SIM-{tail}-{number}")).collect();
        Ok(Self { file: file.to_owned(), accelerators, clock, kept: Mutex::new(kept) })
    }

    /// Applies `change` and writes the file anew; a change that failed is forgotten.
    async fn change<T>(&self, change: impl FnOnce(&mut Kept) -> Result<T> + Send) -> Result<T> {
        let mut kept = self.kept.lock().await;
        let mut next = kept.clone();
        let answer = change(&mut next)?;
        let text = serde_json::to_vec_pretty(&next).map_err(|error| broken(&self.file, &error))?;
        let beside = self.file.with_extension("new");
        tokio::fs::write(&beside, text).await.map_err(|error| broken(&beside, &error))?;
        tokio::fs::rename(&beside, &self.file).await.map_err(|error| broken(&self.file, &error))?;
        *kept = next;
        Ok(answer)
    }
}

impl Kept {
    fn free_ports(&self, wanted: &[u16]) -> Vec<PublishedPort> {
        let taken: Vec<u16> =
            self.containers.values().flat_map(|one| &one.ports).map(|port| port.host).collect();
        let free = (FIRST_PORT..=u16::MAX).filter(|port| !taken.contains(port));
        wanted.iter().zip(free).map(|(&container, host)| PublishedPort { container, host }).collect()
    }

    /// What is free on the disk.
    fn free_bytes(&self) -> u64 {
        let layers: u64 = self.containers.values().map(Container::layer_bytes).sum();
        let snapshots: u64 = self.snapshots.values().map(|one| one.size_bytes).sum();
        DISK_BYTES.saturating_sub(self.written.values().sum::<u64>() + layers + snapshots)
    }

    /// Freezes a container, or lets it go on; one that ended stays so.
    fn freeze(&mut self, id: &str, paused: bool) -> Result<()> {
        self.containers.get_mut(id).ok_or_else(|| no_container(id))?.paused = paused;
        Ok(())
    }

    /// The snapshot that an image reference names.
    fn snapshot_named(&self, image: &str) -> Option<&Snapshot> {
        self.snapshots.iter().find(|(id, _)| snapshot::reference(**id) == image).map(|(_, kept)| kept)
    }

    /// Pretends that a run filled these volumes a little more.
    fn write_to(&mut self, volumes: &[String]) {
        for volume in volumes {
            *self.written.entry(volume.clone()).or_default() += DRIVE_BYTES;
        }
    }
}

impl Container {
    fn phase(&self) -> Phase {
        match (self.finished_at, self.paused) {
            (Some(_), _) => Phase::Exited,
            (None, true) => Phase::Paused,
            (None, false) => Phase::Running,
        }
    }

    fn layer_bytes(&self) -> u64 {
        self.runs.saturating_mul(LAYER_BYTES)
    }
}

fn stored(kept: &Kept, of: InstallationId) -> impl Iterator<Item = StoredSnapshot> {
    let ours = kept.snapshots.iter().filter(move |(_, one)| one.installation == of);
    ours.map(|(id, one)| StoredSnapshot {
        snapshot: *id,
        stored_as: snapshot::reference(*id),
        named: true,
        size_bytes: one.size_bytes,
    })
}

fn broken(file: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::new(Trouble::Refused, format!("the simulated host's file {}: {why}", file.display()))
}

fn foreign(what: &str) -> Error {
    Error::new(Trouble::Foreign, format!("{what} belongs to another registration"))
}

fn no_container(id: &str) -> Error {
    Error::new(Trouble::Missing, format!("there is no simulated container {id}"))
}

#[async_trait]
impl Backend for Simulated {
    async fn probe(&self, _probe_image: &str, clock: &dyn Clock) -> Result<Probe> {
        let accelerators = self.accelerators.iter().map(|uuid| AcceleratorFacts {
            uuid: uuid.clone(),
            model: "Simulated accelerator".to_owned(),
            memory_mib: ACCELERATOR_MIB,
            driver: "none".to_owned(),
        });
        let none = self.accelerators.is_empty();
        let facts = HostFacts {
            engine_version: "simulated".to_owned(),
            api_version: "simulated".to_owned(),
            cpu_millis: CORES * 1000,
            memory_bytes: MEMORY_BYTES,
            attach: if none { Attach::None } else { Attach::Runtime },
            no_accelerators_because: none.then(|| "the simulated host was made without any".to_owned()),
            live_restore: true,
            warnings: vec!["simulated: nothing runs here".to_owned()],
            clock_offset_micros: 0,
            probed_at: clock.now(),
        };
        Ok(Probe { facts, accelerators: accelerators.collect() })
    }

    async fn mark(&self, host: HostId, installation: InstallationId) -> Result<()> {
        self.change(|kept| {
            match *kept.claimed_by.get_or_insert((host, installation)) == (host, installation) {
                true => Ok(()),
                false => Err(foreign("the simulated host")),
            }
        })
        .await
    }

    async fn image_present(&self, reference: &str) -> Result<bool> {
        let is_snapshot = reference.starts_with(&format!("{}:", snapshot::REPOSITORY));
        Ok(!is_snapshot || self.kept.lock().await.snapshot_named(reference).is_some())
    }

    async fn image_pull(&self, _reference: &str) -> Result<()> {
        Ok(())
    }

    async fn ensure(
        &self,
        launch: &Launch,
        installation: InstallationId,
        _attach: Attach,
    ) -> Result<Ensured> {
        let id = launch.container_name();
        self.change(|kept| {
            if let Some(found) = kept.containers.get(&id) {
                let same = found.installation == installation && found.spec_digest == launch.spec_digest;
                let adopted = Ensured { id: id.clone(), how: How::Adopted };
                let other = || Error::new(Trouble::NameConflict, format!("{id} was made otherwise"));
                return same.then_some(adopted).ok_or_else(other);
            }
            if let Some(mount) = launch.spec.mounts.iter().find(|one| !kept.volumes.contains_key(&one.volume))
            {
                return Err(Error::new(Trouble::Missing, format!("there is no volume {}", mount.volume)));
            }
            let container = Container {
                installation,
                instance: launch.instance,
                generation: launch.generation,
                spec_digest: launch.spec_digest.clone(),
                accelerators: launch.accelerators.clone(),
                memory_bytes: launch.spec.memory_bytes,
                ports: kept.free_ports(&launch.spec.ports),
                started_at: self.clock.now(),
                finished_at: None,
                drives: launch
                    .spec
                    .mounts
                    .iter()
                    .filter(|mount| !mount.read_only)
                    .map(|mount| mount.volume.clone())
                    .collect(),
                runs: once(),
                paused: false,
                below_bytes: kept.snapshot_named(&launch.spec.image).map_or(0, |below| below.size_bytes),
            };
            kept.write_to(&container.drives);
            kept.containers.insert(id.clone(), container);
            Ok(Ensured { id: id.clone(), how: How::Created })
        })
        .await
    }

    async fn start(&self, id: &str, installation: InstallationId) -> Result<()> {
        let now = self.clock.now();
        self.change(|kept| {
            let found = kept.containers.get_mut(id).ok_or_else(|| no_container(id))?;
            if found.installation != installation {
                return Err(foreign(id));
            }
            found.paused = false;
            if found.finished_at.take().is_some() {
                found.started_at = now;
                found.runs += 1;
                let drives = found.drives.clone();
                kept.write_to(&drives);
            }
            Ok(())
        })
        .await
    }

    async fn usage(&self, installation: InstallationId) -> Result<Usage> {
        let kept = self.kept.lock().await;
        let volumes = kept.volumes.iter().filter(|(_, owner)| **owner == installation);
        let layers = kept.containers.values().filter(|one| one.installation == installation);
        Ok(Usage {
            volumes: volumes
                .map(|(name, _)| (name.clone(), kept.written.get(name).copied().unwrap_or_default()))
                .collect(),
            writable_layers: layers.map(|one| (one.instance, one.generation, one.layer_bytes())).collect(),
            snapshots: stored(&kept, installation).map(|one| (one.snapshot, one.size_bytes)).collect(),
        })
    }

    async fn list(&self, installation: InstallationId) -> Result<Vec<Seen>> {
        let kept = self.kept.lock().await;
        let ours = kept.containers.iter().filter(|(_, one)| one.installation == installation);
        Ok(ours
            .map(|(id, one)| Seen {
                id: id.clone(),
                instance: one.instance,
                generation: one.generation,
                phase: one.phase(),
            })
            .collect())
    }

    async fn detail(&self, id_or_name: &str) -> Result<Option<Detail>> {
        let kept = self.kept.lock().await;
        Ok(kept.containers.get(id_or_name).map(|one| Detail {
            id: id_or_name.to_owned(),
            phase: one.phase(),
            started_at: Some(one.started_at),
            finished_at: one.finished_at,
            exit_code: one.finished_at.map(|_| 0),
            out_of_memory: false,
            ports: if one.finished_at.is_some() { Vec::new() } else { one.ports.clone() },
        }))
    }

    async fn stop(&self, id: &str, _grace: Span) -> Result<()> {
        let now = self.clock.now();
        self.change(|kept| {
            if let Some(found) = kept.containers.get_mut(id) {
                found.finished_at.get_or_insert(now);
                found.paused = false;
            }
            Ok(())
        })
        .await
    }

    async fn pause(&self, id: &str) -> Result<()> {
        self.change(|kept| kept.freeze(id, true)).await
    }

    async fn resume(&self, id: &str) -> Result<()> {
        self.change(|kept| kept.freeze(id, false)).await
    }

    async fn remove(&self, id: &str, installation: InstallationId) -> Result<()> {
        self.change(|kept| match kept.containers.get(id) {
            Some(found) if found.installation != installation => Err(foreign(id)),
            _ => {
                kept.containers.remove(id);
                Ok(())
            }
        })
        .await
    }

    async fn snapshot_room(&self, container: &str, _probe_image: &str) -> Result<Room> {
        let kept = self.kept.lock().await;
        let found = kept.containers.get(container).ok_or_else(|| no_container(container))?;
        Ok(Room { disk_bytes: found.layer_bytes(), free_bytes: Some(kept.free_bytes()) })
    }

    async fn snapshot_take(&self, order: &SnapshotOrder, installation: InstallationId) -> Result<()> {
        self.change(|kept| {
            let found =
                kept.containers.get(&order.container).ok_or_else(|| no_container(&order.container))?;
            if found.installation != installation {
                return Err(foreign(&order.container));
            }
            let size_bytes = found.below_bytes + found.layer_bytes();
            kept.snapshots.insert(order.snapshot, Snapshot { installation, size_bytes });
            Ok(())
        })
        .await
    }

    async fn snapshots(&self, installation: InstallationId) -> Result<Vec<StoredSnapshot>> {
        Ok(stored(&*self.kept.lock().await, installation).collect())
    }

    async fn snapshot_remove(&self, stored: &StoredSnapshot, installation: InstallationId) -> Result<bool> {
        self.change(|kept| match kept.snapshots.get(&stored.snapshot) {
            Some(found) if found.installation != installation => Err(foreign(&stored.stored_as)),
            _ => {
                kept.snapshots.remove(&stored.snapshot);
                Ok(true)
            }
        })
        .await
    }

    async fn volume_ensure(
        &self,
        name: &str,
        installation: InstallationId,
        _labels: &[(String, String)],
    ) -> Result<()> {
        self.change(|kept| {
            let owner = *kept.volumes.entry(name.to_owned()).or_insert(installation);
            if owner == installation { Ok(()) } else { Err(foreign(name)) }
        })
        .await
    }

    async fn network_ensure(&self, _team: TeamId, _of: InstallationId, _pool: SubnetPool) -> Result<()> {
        Ok(())
    }

    async fn logs(&self, id: &str, _tail: u32) -> Result<String> {
        let kept = self.kept.lock().await;
        let found = kept.containers.contains_key(id);
        found.then(|| "simulated: nothing runs here\n".to_owned()).ok_or_else(|| no_container(id))
    }

    async fn stats(&self, id: &str) -> Result<Stats> {
        let kept = self.kept.lock().await;
        let running = kept.containers.get(id).filter(|one| one.finished_at.is_none());
        let found = running.ok_or_else(|| no_container(id))?;
        Ok(Stats {
            read_at: self.clock.now(),
            cpu_nanos: 0,
            cpu_millis: None,
            memory_bytes: 0,
            memory_limit_bytes: found.memory_bytes,
            network_received_bytes: 0,
            network_sent_bytes: 0,
            pids: 0,
        })
    }

    async fn verify_accelerators(&self, id: &str, uuids: &[String]) -> Result<AcceleratorCheck> {
        let kept = self.kept.lock().await;
        let found = kept.containers.get(id).ok_or_else(|| no_container(id))?;
        Ok(match found.accelerators == uuids {
            true => AcceleratorCheck::Confirmed,
            false => AcceleratorCheck::Differ(found.accelerators.clone()),
        })
    }

    async fn wakes(&self, _installation: InstallationId) -> Result<BoxStream<'static, ()>> {
        Ok(stream::pending().boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chance::Seeded, ids::Id, model::instance::Spec, time::ManualClock};

    fn order(seed: u64) -> Launch {
        let (now, chance) = (Timestamp::from_micros(0), Seeded::new(seed));
        Launch {
            instance: InstanceId::fresh(now, &chance),
            generation: 1,
            team: TeamId::fresh(now, &chance),
            spec: Spec {
                image: "any".to_owned(),
                cpu_millis: 1000,
                memory_bytes: 1 << 30,
                shm_bytes: 0,
                pids: 10,
                ports: vec![22, 8888],
                env: vec![],
                mounts: vec![],
                ssh_public_keys: vec![],
                command: None,
            },
            spec_digest: "d".to_owned(),
            accelerators: vec!["SIM-1".to_owned()],
            jupyter_token: "token-of-the-test".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_restarted_server_finds_what_it_left_and_no_secret_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("host.json");
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_000_000)));
        let (now, chance) = (clock.now(), Seeded::new(9));
        let (host, ours) = (HostId::fresh(now, &chance), InstallationId::fresh(now, &chance));
        let theirs = InstallationId::fresh(now, &chance);

        let first = Simulated::open(&file, host, 2, clock.clone()).await.unwrap();
        first.mark(host, ours).await.unwrap();
        let made = first.ensure(&order(1), ours, Attach::Runtime).await.unwrap();
        first.ensure(&order(2), ours, Attach::Runtime).await.unwrap();
        drop(first);
        assert!(!std::fs::read_to_string(&file).unwrap().contains("token-of-the-test"));

        let second = Simulated::open(&file, host, 2, clock.clone()).await.unwrap();
        assert_eq!(second.mark(host, theirs).await.unwrap_err().trouble, Trouble::Foreign);
        let again = second.ensure(&order(1), ours, Attach::Runtime).await.unwrap();
        assert_eq!((again.how, &again.id), (How::Adopted, &made.id));
        assert_eq!(second.list(ours).await.unwrap().len(), 2);
        assert_eq!(second.list(theirs).await.unwrap(), []);

        clock.advance(Span::from_seconds(60));
        second.stop(&made.id, Span::default()).await.unwrap();
        let detail = second.detail(&made.id).await.unwrap().unwrap();
        assert_eq!(detail.started_at.map(Timestamp::as_micros), Some(1_000_000));
        assert_eq!(detail.finished_at.map(Timestamp::as_micros), Some(61_000_000));
        assert_eq!(second.remove(&made.id, theirs).await.unwrap_err().trouble, Trouble::Foreign);
        let stored = |usage: Usage| usage.writable_layers.iter().map(|(_, _, bytes)| *bytes).sum::<u64>();
        assert_eq!(stored(second.usage(ours).await.unwrap()), 2 * LAYER_BYTES);
        assert_eq!(second.start(&made.id, theirs).await.unwrap_err().trouble, Trouble::Foreign);
        for _ in 0..2 {
            second.start(&made.id, ours).await.unwrap();
        }
        let detail = second.detail(&made.id).await.unwrap().unwrap();
        assert_eq!(detail.started_at.map(Timestamp::as_micros), Some(61_000_000));
        assert_eq!((detail.phase, detail.finished_at), (Phase::Running, None));
        assert_eq!(stored(second.usage(ours).await.unwrap()), 3 * LAYER_BYTES);
        assert_eq!(second.start("none", ours).await.unwrap_err().trouble, Trouble::Missing);
        for _ in 0..2 {
            second.remove(&made.id, ours).await.unwrap();
        }
        assert_eq!(second.detail(&made.id).await.unwrap(), None);
    }

    #[tokio::test]
    async fn two_simulated_hosts_never_have_the_same_accelerator_and_ports_are_given_once() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
        let mut uuids = std::collections::BTreeSet::new();
        for seed in [1, 2] {
            let host = HostId::fresh(clock.now(), &Seeded::new(seed));
            let file = folder.path().join(format!("{host}.json"));
            let simulated = Simulated::open(&file, host, 2, clock.clone()).await.unwrap();
            let probe = simulated.probe("any", &*clock).await.unwrap();
            uuids.extend(probe.accelerators.into_iter().map(|one| one.uuid));

            let mut ports = Vec::new();
            for seed in [3, 4] {
                let made = simulated.ensure(&order(seed), fresh_site(), Attach::Runtime).await.unwrap();
                ports.extend(simulated.detail(&made.id).await.unwrap().unwrap().ports);
            }
            let hosts: std::collections::BTreeSet<u16> = ports.iter().map(|port| port.host).collect();
            assert_eq!(hosts.len(), 4);
        }
        assert_eq!(uuids.len(), 4);
    }

    fn fresh_site() -> InstallationId {
        InstallationId::fresh(Timestamp::from_micros(0), &Seeded::new(8))
    }
}
