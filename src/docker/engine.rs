//! A Docker engine as a backend: containers by their name and labels, every call with a deadline.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use bollard::{
    Docker,
    exec::{CreateExecOptions, StartExecResults},
    models::{ContainerCreateBody, ContainerInspectResponse},
    query_parameters::{
        CreateContainerOptionsBuilder, CreateImageOptionsBuilder, EventsOptionsBuilder,
        ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StatsOptionsBuilder,
        StopContainerOptionsBuilder, UploadToContainerOptionsBuilder,
    },
};
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    AcceleratorCheck, Backend, Ensured, Error, How, Result, Trouble, Usage, probe, reading, recipe, transport,
};
use crate::{
    ids::{HostId, InstallationId, TeamId},
    model::{
        host::{Attach, Probe, Stats, TlsDocuments},
        instance::{Detail, Launch, Phase, Seen},
        snapshot::{Room, SnapshotOrder, StoredSnapshot},
        subnet::SubnetPool,
    },
    time::{Clock, SECOND, Span, Timestamp},
};

/// How long one call may take.
pub(super) const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// How long a fetch may go without a sign of progress, and how long it may take in all.
const PULL_STALL: Duration = Duration::from_secs(90);
const PULL_DEADLINE: Duration = Duration::from_secs(1800);
/// How long an engine may count what is stored: it looks at every file.
const USAGE_DEADLINE: Duration = Duration::from_secs(900);
/// The newest version of the interface that answers what is stored in the form that old engines use too.
const USAGE_MINOR: usize = 51;
/// How long a name may be reserved before its container can be looked at: engines do the two apart.
const ADOPT_DEADLINE: Duration = Duration::from_secs(2);
/// How often a container is made anew after another process took the port that the engine had chosen.
const PORT_TRIES: u32 = 3;
/// How much of a log is told.
const LOG_BYTES: usize = 256 * 1024;

/// One engine.
pub(super) struct Engine {
    line: transport::Line,
    negotiated: OnceCell<()>,
    /// Whether calls go over the network.
    pub(super) remote: bool,
}

impl Engine {
    /// The engine behind a unix socket. Connects at the first call.
    pub(super) fn unix(socket: &Path) -> Result<Self> {
        Ok(Self { line: transport::unix(socket)?, negotiated: OnceCell::new(), remote: false })
    }

    /// The engine at a network address. Connects at the first call.
    pub(super) fn tcp(authority: &str, documents: &TlsDocuments) -> Result<Self> {
        let line = transport::tcp(authority, documents)?;
        Ok(Self { line, negotiated: OnceCell::new(), remote: true })
    }

    /// The client, once both sides speak the same version of the interface.
    pub(super) async fn docker(&self) -> Result<&Docker> {
        // Clones share the version, so what a clone agrees on holds for all.
        self.negotiated
            .get_or_try_init(|| async {
                answered(self.line.docker.clone().negotiate_version()).await.map(drop)
            })
            .await?;
        Ok(&self.line.docker)
    }

    /// Whatever the engine knows of a container; `None` if it knows none.
    pub(super) async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>> {
        let docker = self.docker().await?;
        absent_is_none(answered(docker.inspect_container(id, None)).await)
    }

    /// One go at [`Backend::ensure`].
    async fn ensure_once(
        &self,
        launch: &Launch,
        installation: InstallationId,
        body: ContainerCreateBody,
    ) -> Result<Ensured> {
        let docker = self.docker().await?;
        let name = CreateContainerOptionsBuilder::new().name(&launch.container_name()).build();
        let ensured = match answered(docker.create_container(Some(name), body)).await {
            Ok(made) => Ensured { id: made.id, how: How::Created },
            Err(error) if error.trouble == Trouble::NameConflict => {
                let (id, phase) = self.adopt(launch, installation).await?;
                let ensured = Ensured { id, how: How::Adopted };
                if phase != Phase::Created {
                    return Ok(ensured);
                }
                ensured
            }
            Err(error) => return Err(error),
        };
        // An adopted container may lack its files, if its maker died or is slower than we are: put them
        // again.
        match self.fill_and_start(&ensured.id, launch).await {
            Err(error) if !error.is_unreachable() => {
                // Without force: should a parallel call have started it after all, it stays.
                let unused = RemoveContainerOptionsBuilder::new().v(true).build();
                let _ = answered(docker.remove_container(&ensured.id, Some(unused))).await;
                Err(error)
            }
            started => started.map(|()| ensured),
        }
    }

    /// The container that has the launch's name, if its labels are the launch's too.
    async fn adopt(&self, launch: &Launch, installation: InstallationId) -> Result<(String, Phase)> {
        let name = launch.container_name();
        let until = Instant::now() + ADOPT_DEADLINE;
        let found = loop {
            match self.inspect(&name).await? {
                Some(found) => break found,
                None if Instant::now() < until => sleep(Duration::from_millis(50)).await,
                None => {
                    let said = format!("the name {name} is reserved, but there is no such container");
                    return Err(Error::new(Trouble::NameConflict, said));
                }
            }
        };
        let labels = reading::labels(&found);
        for (label, ours) in recipe::labels(launch, installation) {
            if labels.get(&label) != Some(&ours) {
                let theirs = labels.get(&label).map_or("nothing", String::as_str);
                let said = format!("{name} exists with {label} = {theirs}, not {ours}");
                return Err(Error::new(Trouble::NameConflict, said));
            }
        }
        let detail = reading::detail(found)?;
        Ok((detail.id, detail.phase))
    }

    async fn fill_and_start(&self, id: &str, launch: &Launch) -> Result<()> {
        let docker = self.docker().await?;
        let archive = recipe::files(launch)
            .map_err(|error| Error::new(Trouble::Refused, format!("packing its files: {error}")))?;
        let root = UploadToContainerOptionsBuilder::new().path("/").build();
        answered(docker.upload_to_container(id, Some(root), bollard::body_full(archive.into()))).await?;
        answered(docker.start_container(id, None)).await
    }

    /// What `command` wrote inside a running container, and its exit code.
    async fn exec(&self, id: &str, command: &[&str]) -> Result<(i64, String)> {
        let docker = self.docker().await?;
        let order = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        let exec = answered(docker.create_exec(id, order)).await?.id;
        let mut text = String::new();
        if let StartExecResults::Attached { mut output, .. } =
            answered(docker.start_exec(&exec, None)).await?
        {
            let until = Instant::now() + CALL_DEADLINE;
            while let Some(piece) = timeout_at(until, output.next()).await.map_err(|_| late())? {
                text += &piece?.to_string();
            }
        }
        let code = answered(docker.inspect_exec(&exec)).await?.exit_code;
        Ok((code.unwrap_or(-1), text))
    }
}

#[async_trait]
impl Backend for Engine {
    async fn probe(&self, probe_image: &str, clock: &dyn Clock) -> Result<Probe> {
        probe::look(self, probe_image, clock).await
    }

    async fn mark(&self, host: HostId, installation: InstallationId) -> Result<()> {
        self.marker_ensure(host, installation).await
    }

    async fn image_present(&self, reference: &str) -> Result<bool> {
        let docker = self.docker().await?;
        match answered(docker.inspect_image(reference)).await {
            Err(error) if error.trouble == Trouble::ImageMissing => Ok(false),
            answer => answer.map(|_| true),
        }
    }

    async fn image_pull(&self, reference: &str) -> Result<()> {
        let docker = self.docker().await?;
        let mut order = CreateImageOptionsBuilder::new().from_image(reference);
        // Without a tag an engine would fetch every tag there is.
        if !names_version(reference) {
            order = order.tag("latest");
        }
        let mut progress = docker.create_image(Some(order.build()), None, None);
        let until = Instant::now() + PULL_DEADLINE;
        loop {
            let stalled = until.min(Instant::now() + PULL_STALL);
            let stopped = || Error::new(Trouble::Registry, format!("fetching {reference} came to a halt"));
            match timeout_at(stalled, progress.next()).await.map_err(|_| stopped())? {
                None => return Ok(()),
                Some(Err(error)) => return Err(Error::from(error).of_registry()),
                Some(Ok(step)) => {
                    if let Some(said) = step.error_detail.and_then(|detail| detail.message) {
                        return Err(Error::from_answer(0, &said).of_registry());
                    }
                }
            }
        }
    }

    async fn ensure(&self, launch: &Launch, installation: InstallationId, attach: Attach) -> Result<Ensured> {
        let body = recipe::container_body(launch, installation, attach)?;
        // An engine makes a volume that is missing, without a limit and without an owner.
        for mount in &launch.spec.mounts {
            self.volume_check(&mount.volume, installation).await?;
        }
        let mut tries = 1;
        loop {
            match self.ensure_once(launch, installation, body.clone()).await {
                Err(error) if error.trouble == Trouble::CapacityPort && tries < PORT_TRIES => tries += 1,
                ended => return ended,
            }
        }
    }

    async fn start(&self, id: &str, installation: InstallationId) -> Result<()> {
        let missing = || Error::new(Trouble::Missing, format!("there is no container {id}"));
        let found = self.inspect(id).await?.ok_or_else(missing)?;
        check_owner(&reading::labels(&found), installation, &format!("the container {id}"))?;
        // An engine answers "not modified" where it runs already, which is no error.
        answered(self.docker().await?.start_container(id, None)).await
    }

    async fn usage(&self, installation: InstallationId) -> Result<Usage> {
        let minor = self.docker().await?.client_version().minor_version.min(USAGE_MINOR);
        let path = format!("/v1.{minor}/system/df?type=container&type=volume");
        let answer = timeout(USAGE_DEADLINE, self.line.get(&path)).await.map_err(|_| late())??;
        let mut usage = reading::usage(&answer, installation)?;
        let stored = self.snapshots_listed(installation).await?;
        usage.snapshots = stored.into_iter().map(|one| (one.snapshot, one.size_bytes)).collect();
        Ok(usage)
    }

    async fn list(&self, installation: InstallationId) -> Result<Vec<Seen>> {
        let docker = self.docker().await?;
        let ours = [("label", vec![format!("{}={installation}", recipe::INSTALLATION)])];
        let options = ListContainersOptionsBuilder::new().all(true).filters(&ours.into()).build();
        let listed = answered(docker.list_containers(Some(options))).await?;
        Ok(listed.into_iter().filter_map(reading::seen).collect())
    }

    async fn detail(&self, id_or_name: &str) -> Result<Option<Detail>> {
        self.inspect(id_or_name).await?.map(reading::detail).transpose()
    }

    async fn stop(&self, id: &str, grace: Span) -> Result<()> {
        let docker = self.docker().await?;
        let grace = grace.to_std();
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let stopped = answered_within(grace + CALL_DEADLINE, docker.stop_container(id, Some(options))).await;
        absent_is_none(stopped).map(drop)
    }

    async fn pause(&self, id: &str) -> Result<()> {
        match answered(self.docker().await?.pause_container(id)).await {
            Err(error) if error.said.contains("is already paused") => Ok(()),
            paused => paused,
        }
    }

    async fn resume(&self, id: &str) -> Result<()> {
        match answered(self.docker().await?.unpause_container(id)).await {
            Err(error) if error.said.contains("is not paused") => Ok(()),
            resumed => resumed,
        }
    }

    async fn remove(&self, id: &str, installation: InstallationId) -> Result<()> {
        let Some(found) = self.inspect(id).await? else { return Ok(()) };
        check_owner(&reading::labels(&found), installation, &format!("the container {id}"))?;
        let docker = self.docker().await?;
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match absent_is_none(answered(docker.remove_container(id, Some(options))).await) {
            Err(error) if error.said.contains("is already in progress") => Ok(()),
            removed => removed.map(drop),
        }
    }

    async fn snapshot_room(&self, container: &str, probe_image: &str) -> Result<Room> {
        self.room(container, probe_image).await
    }

    async fn snapshot_take(&self, order: &SnapshotOrder, installation: InstallationId) -> Result<()> {
        self.commit(order, installation).await
    }

    async fn snapshots(&self, installation: InstallationId) -> Result<Vec<StoredSnapshot>> {
        self.snapshots_listed(installation).await
    }

    async fn snapshot_remove(&self, stored: &StoredSnapshot, installation: InstallationId) -> Result<bool> {
        self.snapshot_drop(stored, installation).await
    }

    async fn volume_ensure(
        &self,
        name: &str,
        installation: InstallationId,
        labels: &[(String, String)],
    ) -> Result<()> {
        self.volume_make(name, installation, labels).await
    }

    async fn network_ensure(
        &self,
        team: TeamId,
        installation: InstallationId,
        pool: SubnetPool,
    ) -> Result<()> {
        self.network_make(team, installation, pool).await
    }

    async fn logs(&self, id: &str, tail: u32) -> Result<String> {
        let docker = self.docker().await?;
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&tail.to_string()).build();
        let mut pieces = docker.logs(id, Some(options));
        let mut text = Vec::new();
        let until = Instant::now() + CALL_DEADLINE;
        while let Some(piece) = timeout_at(until, pieces.try_next()).await.map_err(|_| late())?? {
            text.extend_from_slice(&piece.into_bytes());
            // Cut now and then instead of at every piece.
            if text.len() > 2 * LOG_BYTES {
                text.drain(..text.len() - LOG_BYTES);
            }
        }
        text.drain(..text.len().saturating_sub(LOG_BYTES));
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    async fn stats(&self, id: &str) -> Result<Stats> {
        let docker = self.docker().await?;
        let once = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let mut readings = Box::pin(docker.stats(id, Some(once)));
        let reading = answered(readings.try_next()).await?;
        reading::stats(reading.ok_or_else(|| Error::new(Trouble::Unreadable, "no reading came"))?)
    }

    async fn verify_accelerators(&self, id: &str, uuids: &[String]) -> Result<AcceleratorCheck> {
        match self.exec(id, &["nvidia-smi", "-L"]).await {
            Ok((126 | 127, said)) => Ok(AcceleratorCheck::Unknown(said.trim().to_owned())),
            Ok((_, listed)) => Ok(probe::compare_accelerators(&listed, uuids)),
            Err(error) if error.said.contains("executable file not found") => {
                Ok(AcceleratorCheck::Unknown(error.said))
            }
            Err(error) => Err(error),
        }
    }

    async fn wakes(&self, installation: InstallationId) -> Result<BoxStream<'static, ()>> {
        let docker = self.docker().await?.clone();
        // The stream connects when it is first read. What happens until then is told too: the engine
        // remembers.
        let now = answered(docker.info()).await?.system_time.and_then(|time| time.parse::<Timestamp>().ok());
        let micros = now.map_or(0, Timestamp::as_micros);
        let since = format!("{}.{:06}", micros / SECOND, micros % SECOND);
        let label = format!("{}={installation}", recipe::INSTALLATION);
        let ours = [("type", vec!["container".to_owned()]), ("label", vec![label])];
        let options = EventsOptionsBuilder::new().since(&since).filters(&ours.into()).build();
        let events = docker.events(Some(options));
        Ok(events.take_while(|event| std::future::ready(event.is_ok())).map(drop).boxed())
    }
}

/// What the engine answered, or that it did not within [`CALL_DEADLINE`].
pub(super) async fn answered<T>(
    call: impl Future<Output = std::result::Result<T, bollard::errors::Error>>,
) -> Result<T> {
    answered_within(CALL_DEADLINE, call).await
}

/// What the engine answered, or that it did not within `deadline`.
pub(super) async fn answered_within<T>(
    deadline: Duration,
    call: impl Future<Output = std::result::Result<T, bollard::errors::Error>>,
) -> Result<T> {
    match timeout(deadline, call).await {
        Ok(answer) => answer.map_err(Error::from),
        Err(_) => Err(late()),
    }
}

/// The failure of a call that outlived its deadline.
pub(super) fn late() -> Error {
    Error::new(Trouble::Unreachable, "no answer within the deadline")
}

/// Turns "there is no such thing" into `None`.
pub(super) fn absent_is_none<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.trouble == Trouble::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses what carries the label of another installation, or none.
pub(super) fn check_owner(
    labels: &std::collections::HashMap<String, String>,
    installation: InstallationId,
    what: &str,
) -> Result<()> {
    match labels.get(recipe::INSTALLATION) {
        Some(owner) if *owner == installation.to_string() => Ok(()),
        Some(owner) => Err(Error::new(Trouble::Foreign, format!("{what} belongs to {owner}"))),
        None => Err(Error::new(Trouble::Foreign, format!("{what} was not made by muster"))),
    }
}

/// Whether an image reference carries a tag or a digest.
fn names_version(reference: &str) -> bool {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    last.contains([':', '@'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_registry_is_no_tag() {
        assert!(!names_version("registry.example:5000/team/image"));
        assert!(names_version("registry.example:5000/team/image:1"));
        assert!(names_version("image@sha256:00"));
        assert!(!names_version("image"));
    }
}
