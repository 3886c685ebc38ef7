//! A container engine in memory, with everything that engines do to us; it remembers what really ran, and when.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use muster::{
    docker::{AcceleratorCheck, Backend, Connector, Ensured, Error, How, Result, Trouble, Usage},
    ids::{HostId, InstallationId, InstanceId, SnapshotId, TeamId},
    model::{
        host::{AcceleratorFacts, Attach, Endpoint, HostFacts, Probe, Stats, TlsDocuments},
        instance::{Detail, Launch, Phase, Seen},
        snapshot::{Room, SnapshotOrder, StoredSnapshot},
        subnet::SubnetPool,
    },
    time::{Clock, ManualClock, Span, Timestamp},
};

use crate::fate::{Call, Fate};

/// Accelerators of a host.
pub(crate) const ACCELERATORS: usize = 3;
/// Their model.
pub(crate) const MODEL: &str = "Simulated H100";
/// Bytes of every snapshot.
const SNAPSHOT_BYTES: u64 = 1 << 20;
/// What an engine says of a container that ended while it was away: it does not know.
const AWAY: i64 = 255;

/// One host's engine. It goes on, whatever happens to the server.
pub(crate) struct Engine {
    name: String,
    /// The true time.
    truth: Arc<ManualClock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<String, Container>,
    /// The snapshots, and of which container each is.
    snapshots: BTreeMap<SnapshotId, String>,
    claimed_by: Option<(HostId, InstallationId)>,
    /// The engine's clock less the truth.
    skew: Span,
    unreachable: bool,
    lacks_images: bool,
    refuses: bool,
    /// Containers that were asked for and come into being later: when, and what.
    late: Vec<(Timestamp, Container)>,
    /// Whether the next containers are slow to come.
    slow: bool,
    /// Our volumes, and the bytes in each.
    volumes: BTreeMap<String, u64>,
}

#[derive(Clone)]
struct Container {
    instance: InstanceId,
    generation: u32,
    digest: String,
    accelerators: Vec<String>,
    /// The bytes that it has written to its disk.
    layer: u64,
    /// Which of its runs this is, from 0.
    nth: u32,
    run: Run,
}

/// One run of a container, as it really was and as the engine tells it.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// When it began, by the engine's clock.
    pub(crate) told_start: Timestamp,
    /// When it ended, by the engine's clock; made up when the engine was away.
    pub(crate) told_end: Option<Timestamp>,
    /// When it really began.
    pub(crate) true_start: Timestamp,
    /// When it really ended.
    pub(crate) true_end: Option<Timestamp>,
    /// Its exit code, once it ended.
    pub(crate) code: Option<i64>,
    /// When the server last heard that it runs, by the server's clock.
    pub(crate) heard_at: Option<Timestamp>,
    /// The same, by the true time.
    pub(crate) seen_at: Option<Timestamp>,
    /// Whether its container was taken away by somebody else, so that its end cannot be told.
    pub(crate) taken: bool,
}

/// What was found stored when a host was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Count {
    /// When, by the server's clock.
    pub(crate) at: Timestamp,
    /// The name of a volume, or the instance whose disk it is.
    pub(crate) what: String,
    /// The bytes in it.
    pub(crate) bytes: u64,
}

impl Run {
    fn begun(at: Timestamp, skew: Span) -> Self {
        Self {
            told_start: at + skew,
            told_end: None,
            true_start: at,
            true_end: None,
            code: None,
            heard_at: None,
            seen_at: None,
            taken: false,
        }
    }
}

impl Engine {
    pub(crate) fn new(name: &str, truth: Arc<ManualClock>) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), truth, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.truth.now();
        let (due, late) = state.late.drain(..).partition(|(at, _)| *at <= now);
        state.late = late;
        for (at, mut container) in Vec::<(Timestamp, Container)>::into_iter(due) {
            (container.run.true_start, container.run.told_start) = (at, at + state.skew);
            state.containers.entry(container.name()).or_insert(container);
        }
        state
    }

    /// Every run there is to know of: those of containers that are there.
    pub(crate) fn names(&self) -> Vec<String> {
        self.state().containers.keys().cloned().collect()
    }

    pub(crate) fn running(&self) -> Vec<String> {
        let state = self.state();
        let running = state.containers.values().filter(|one| one.run.true_end.is_none());
        running.map(Container::name).collect()
    }

    // What happens to it ----------------------------------------------------------------------------------------

    /// Nobody reaches it, or it is reached again; containers run on meanwhile.
    pub(crate) fn unreachable(&self, unreachable: bool) {
        self.state().unreachable = unreachable;
    }

    pub(crate) fn is_unreachable(&self) -> bool {
        self.state().unreachable
    }

    /// Its clock is off by this much.
    pub(crate) fn skew(&self, skew: Span) {
        self.state().skew = skew;
    }

    /// Whether images have to be fetched, and cannot be.
    pub(crate) fn lacks_images(&self, lacks: bool) {
        self.state().lacks_images = lacks;
    }

    /// Whether it refuses to make containers.
    pub(crate) fn refuses(&self, refuses: bool) {
        self.state().refuses = refuses;
    }

    /// Whether containers come into being only after a while.
    pub(crate) fn slow(&self, slow: bool) {
        self.state().slow = slow;
    }

    /// What is stored there grows or shrinks.
    pub(crate) fn write(&self, bytes: u64) {
        let mut state = self.state();
        for (place, written) in state.volumes.values_mut().enumerate() {
            *written = if place % 2 == 0 { *written + bytes } else { bytes };
        }
        for container in state.containers.values_mut() {
            container.layer += bytes / 2;
        }
    }

    /// The machine lost its power a while ago and is back: what ran has ended then, and the engine makes up times.
    pub(crate) fn restart(&self, ago: Span, runs: &Runs) {
        let (now, mut state) = (self.truth.now(), self.state());
        let told = now + state.skew;
        for (name, one) in &mut state.containers {
            if one.run.true_end.is_none() {
                let ago = Timestamp::from_micros(now.as_micros() - ago.as_micros());
                let end = ago.max(one.run.true_start).max(one.run.seen_at.unwrap_or(ago));
                (one.run.true_end, one.run.told_end, one.run.code) = (Some(end), Some(told), Some(AWAY));
                runs.note(name, one);
            }
        }
    }

    /// The main process of a container ends by itself.
    pub(crate) fn exit(&self, name: &str, code: i64, runs: &Runs) {
        let mut state = self.state();
        let (now, skew) = (self.truth.now(), state.skew);
        if let Some(one) = state.containers.get_mut(name) {
            one.end(now, skew, code);
            runs.note(name, one);
        }
    }

    /// Somebody else removes a container.
    pub(crate) fn take(&self, name: &str, runs: &Runs) {
        let mut state = self.state();
        let (now, skew) = (self.truth.now(), state.skew);
        if let Some(mut one) = state.containers.remove(name) {
            one.end(now, skew, 137);
            one.run.taken = true;
            runs.note(name, &one);
        }
    }
}

impl Container {
    fn name(&self) -> String {
        muster::model::instance::container_name(self.instance, self.generation)
    }

    fn end(&mut self, now: Timestamp, skew: Span, code: i64) {
        if self.run.true_end.is_none() {
            (self.run.true_end, self.run.told_end, self.run.code) = (Some(now), Some(now + skew), Some(code));
        }
    }
}

/// What ran on all hosts, also in containers that are gone, and what was found stored there.
#[derive(Default)]
pub(crate) struct Runs(Mutex<BTreeMap<(InstanceId, u32, u32), Run>>, Mutex<Vec<Count>>);

impl Runs {
    fn note(&self, _name: &str, container: &Container) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let run = runs
            .entry((container.instance, container.generation, container.nth))
            .or_insert(container.run.clone());
        let heard_at = run.heard_at.max(container.run.heard_at);
        *run = Run { heard_at, ..container.run.clone() };
    }

    /// The runs of an instance, in their order.
    pub(crate) fn of(&self, instance: InstanceId) -> Vec<Run> {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.iter().filter(|((id, ..), _)| *id == instance).map(|(_, run)| run.clone()).collect()
    }

    /// What was found of this volume or disk, in the order of counting.
    pub(crate) fn counts_of(&self, what: &str) -> Vec<Count> {
        let counts = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().filter(|count| count.what == what).cloned().collect()
    }
}

/// Every host, as one life of the server reaches them.
pub(crate) struct Lines {
    pub(crate) engines: BTreeMap<HostId, Arc<Engine>>,
    pub(crate) fate: Arc<Fate>,
    /// The server's clock.
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) runs: Arc<Runs>,
    /// The engine of a host that is being registered.
    pub(crate) unnamed: Mutex<Vec<Arc<Engine>>>,
}

#[async_trait]
impl Connector for Lines {
    async fn connect(
        &self,
        host: HostId,
        _endpoint: &Endpoint,
        _tls: Option<&TlsDocuments>,
    ) -> Result<Arc<dyn Backend>> {
        let unnamed = || self.unnamed.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let engine = self.engines.get(&host).cloned().or_else(unnamed).unwrap();
        let (fate, clock, runs) = (self.fate.clone(), self.clock.clone(), self.runs.clone());
        Ok(Arc::new(Line { engine, fate, clock, runs }))
    }
}

/// One host, as one life of the server reaches it.
struct Line {
    engine: Arc<Engine>,
    fate: Arc<Fate>,
    clock: Arc<ManualClock>,
    runs: Arc<Runs>,
}

fn silence() -> Error {
    Error::new(Trouble::Unreachable, "no answer")
}

impl Line {
    fn call<T>(&self, act: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.engine.state();
        if state.unreachable {
            return Err(silence());
        }
        match self.fate.call() {
            Call::Lost => Err(silence()),
            Call::Made => act(&mut state),
            Call::Unanswered => {
                drop(act(&mut state));
                Err(silence())
            }
        }
    }
}

#[async_trait]
impl Backend for Line {
    async fn probe(&self, _probe_image: &str, clock: &dyn Clock) -> Result<Probe> {
        let name = &self.engine.name;
        let accelerators = (0..ACCELERATORS).map(|number| AcceleratorFacts {
            uuid: format!("{name}-{number}"),
            model: MODEL.to_owned(),
            memory_mib: 81_920,
            driver: "none".to_owned(),
        });
        self.call(|state| {
            let offset = self.engine.truth.now() + state.skew - clock.now();
            Ok(Probe {
                facts: HostFacts {
                    engine_version: "simulated".to_owned(),
                    api_version: "simulated".to_owned(),
                    cpu_millis: 64_000,
                    memory_bytes: 512 << 30,
                    attach: Attach::Runtime,
                    no_accelerators_because: None,
                    live_restore: true,
                    warnings: Vec::new(),
                    clock_offset_micros: offset.as_micros(),
                    probed_at: clock.now(),
                },
                accelerators: accelerators.collect(),
            })
        })
    }

    async fn mark(&self, host: HostId, installation: InstallationId) -> Result<()> {
        self.call(|state| {
            match *state.claimed_by.get_or_insert((host, installation)) == (host, installation) {
                true => Ok(()),
                false => Err(Error::new(Trouble::Foreign, "claimed by another")),
            }
        })
    }

    async fn image_present(&self, _reference: &str) -> Result<bool> {
        self.call(|state| Ok(!state.lacks_images))
    }

    async fn image_pull(&self, _reference: &str) -> Result<()> {
        self.call(|state| match state.lacks_images {
            true => Err(Error::new(Trouble::Registry, "toomanyrequests")),
            false => Ok(()),
        })
    }

    async fn ensure(
        &self,
        launch: &Launch,
        _installation: InstallationId,
        _attach: Attach,
    ) -> Result<Ensured> {
        let (id, now) = (launch.container_name(), self.engine.truth.now());
        self.call(|state| {
            if let Some(found) = state.containers.get(&id) {
                let same = found.digest == launch.spec_digest;
                let other = || Error::new(Trouble::NameConflict, format!("{id} was made otherwise"));
                let adopted = Ensured { id: id.clone(), how: How::Adopted };
                return same.then_some(adopted).ok_or_else(other);
            }
            if state.refuses {
                return Err(Error::new(Trouble::Refused, "the engine does not want to"));
            }
            let container = Container {
                instance: launch.instance,
                generation: launch.generation,
                digest: launch.spec_digest.clone(),
                accelerators: launch.accelerators.clone(),
                layer: 64 << 20,
                nth: 0,
                run: Run::begun(now, state.skew),
            };
            if state.slow {
                if !state.late.iter().any(|(_, one)| one.name() == id) {
                    state.late.push((now + Span::from_seconds(20), container));
                }
                return Err(silence());
            }
            self.runs.note(&id, &container);
            state.containers.insert(id.clone(), container);
            Ok(Ensured { id: id.clone(), how: How::Created })
        })
    }

    async fn start(&self, id: &str, _installation: InstallationId) -> Result<()> {
        let now = self.engine.truth.now();
        self.call(|state| {
            let (refuses, skew) = (state.refuses, state.skew);
            let missing = || Error::new(Trouble::Missing, format!("No such container: {id}"));
            let found = state.containers.get_mut(id).ok_or_else(missing)?;
            if found.run.true_end.is_none() {
                return Ok(());
            }
            if refuses {
                return Err(Error::new(Trouble::Refused, "the engine does not want to"));
            }
            (found.nth, found.layer) = (found.nth + 1, found.layer + (64 << 20));
            found.run = Run::begun(now, skew);
            self.runs.note(id, found);
            Ok(())
        })
    }

    async fn usage(&self, _installation: InstallationId) -> Result<Usage> {
        let usage = self.call(|state| {
            let layer = |one: &Container| (one.instance, one.generation, one.layer);
            Ok(Usage {
                volumes: state.volumes.iter().map(|(name, bytes)| (name.clone(), *bytes)).collect(),
                writable_layers: state.containers.values().map(layer).collect(),
                snapshots: state.snapshots.keys().map(|id| (*id, SNAPSHOT_BYTES)).collect(),
            })
        })?;
        let at = self.clock.now();
        let volumes = usage.volumes.iter().map(|(name, bytes)| (name.clone(), *bytes));
        let layers = usage.writable_layers.iter().map(|(id, _, bytes)| (id.to_string(), *bytes));
        let counts = volumes.chain(layers).map(|(what, bytes)| Count { at, what, bytes });
        self.runs.1.lock().unwrap_or_else(PoisonError::into_inner).extend(counts);
        Ok(usage)
    }

    async fn list(&self, _installation: InstallationId) -> Result<Vec<Seen>> {
        let seen = self.call(|state| {
            let seen = state.containers.iter().map(|(name, one)| {
                let phase = if one.run.true_end.is_some() { Phase::Exited } else { Phase::Running };
                Seen { id: name.clone(), instance: one.instance, generation: one.generation, phase }
            });
            Ok(seen.collect::<Vec<_>>())
        })?;
        for one in seen.iter().filter(|one| one.phase == Phase::Running) {
            if let Some(container) = self.engine.state().containers.get_mut(&one.id) {
                container.run.heard_at = container.run.heard_at.max(Some(self.clock.now()));
                container.run.seen_at = Some(self.engine.truth.now());
                self.runs.note(&one.id, container);
            }
        }
        Ok(seen)
    }

    async fn detail(&self, id_or_name: &str) -> Result<Option<Detail>> {
        self.call(|state| {
            Ok(state.containers.get(id_or_name).map(|one| Detail {
                id: id_or_name.to_owned(),
                phase: if one.run.true_end.is_some() { Phase::Exited } else { Phase::Running },
                started_at: Some(one.run.told_start),
                finished_at: one.run.told_end,
                exit_code: one.run.code,
                out_of_memory: one.run.code == Some(137),
                ports: Vec::new(),
            }))
        })
    }

    async fn stop(&self, id: &str, _grace: Span) -> Result<()> {
        let now = self.engine.truth.now();
        self.call(|state| {
            let skew = state.skew;
            if let Some(one) = state.containers.get_mut(id) {
                one.end(now, skew, 0);
                self.runs.note(id, one);
            }
            Ok(())
        })
    }

    async fn remove(&self, id: &str, _installation: InstallationId) -> Result<()> {
        let now = self.engine.truth.now();
        self.call(|state| {
            let skew = state.skew;
            if let Some(mut one) = state.containers.remove(id) {
                one.end(now, skew, 137);
                self.runs.note(id, &one);
            }
            Ok(())
        })
    }

    async fn pause(&self, id: &str) -> Result<()> {
        // No team of the script has its instances paused.
        Err(Error::new(Trouble::Refused, format!("{id} is not to be paused")))
    }

    async fn resume(&self, id: &str) -> Result<()> {
        Err(Error::new(Trouble::Refused, format!("{id} was never paused")))
    }

    async fn snapshot_room(&self, container: &str, _probe_image: &str) -> Result<Room> {
        self.call(|state| {
            let found = state.containers.contains_key(container);
            let room = Room { disk_bytes: 1 << 20, free_bytes: Some(1 << 40) };
            found.then_some(room).ok_or_else(|| Error::new(Trouble::Missing, "No such container"))
        })
    }

    async fn snapshot_take(&self, order: &SnapshotOrder, _installation: InstallationId) -> Result<()> {
        self.call(|state| {
            if !state.containers.contains_key(&order.container) {
                return Err(Error::new(Trouble::Missing, "No such container"));
            }
            state.snapshots.insert(order.snapshot, order.container.clone());
            Ok(())
        })
    }

    async fn snapshots(&self, _installation: InstallationId) -> Result<Vec<StoredSnapshot>> {
        self.call(|state| {
            let stored = state.snapshots.keys().map(|id| StoredSnapshot {
                snapshot: *id,
                stored_as: id.to_string(),
                named: true,
                size_bytes: SNAPSHOT_BYTES,
            });
            Ok(stored.collect())
        })
    }

    async fn snapshot_remove(&self, stored: &StoredSnapshot, _installation: InstallationId) -> Result<bool> {
        self.call(|state| {
            state.snapshots.remove(&stored.snapshot);
            Ok(true)
        })
    }

    async fn volume_ensure(
        &self,
        name: &str,
        _installation: InstallationId,
        _labels: &[(String, String)],
    ) -> Result<()> {
        self.call(|state| {
            state.volumes.entry(name.to_owned()).or_insert(1 << 20);
            Ok(())
        })
    }

    async fn network_ensure(&self, _team: TeamId, _of: InstallationId, _pool: SubnetPool) -> Result<()> {
        self.call(|_| Ok(()))
    }

    async fn logs(&self, _id: &str, _tail: u32) -> Result<String> {
        Ok(String::new())
    }

    async fn stats(&self, id: &str) -> Result<Stats> {
        Err(Error::new(Trouble::Missing, format!("nothing is measured of {id}")))
    }

    async fn verify_accelerators(&self, id: &str, uuids: &[String]) -> Result<AcceleratorCheck> {
        self.call(|state| {
            let found = state.containers.get(id).filter(|one| one.run.true_end.is_none());
            let found = found.ok_or_else(|| Error::new(Trouble::Missing, "No such container"))?;
            Ok(match found.accelerators == uuids {
                true => AcceleratorCheck::Confirmed,
                false => AcceleratorCheck::Differ(found.accelerators.clone()),
            })
        })
    }

    async fn wakes(&self, _installation: InstallationId) -> Result<BoxStream<'static, ()>> {
        Ok(stream::pending().boxed())
    }
}
