//! Hosts: making the containers that the database decided on, and telling what is there.
//!
//! [`Backend`] is all that the rest of the house knows of a host. `engine` drives a Docker engine,
//! `simulated` pretends. Nothing here decides what should run, and nothing here talks to the database.

mod engine;
mod error;
mod probe;
mod reading;
mod recipe;
mod simulated;
mod snapshot;
mod surroundings;
mod transport;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

pub use error::{Error, Trouble};
pub use simulated::Simulated;

use crate::{
    ids::{HostId, InstallationId, InstanceId, SnapshotId, TeamId},
    model::{
        host::{Attach, Endpoint, Probe, Stats, TlsDocuments},
        instance::{Detail, Launch, Seen},
        snapshot::{Room, SnapshotOrder, StoredSnapshot},
        subnet::SubnetPool,
    },
    time::{Clock, Span},
};

/// A result of a call to a host.
pub type Result<T> = std::result::Result<T, Error>;

/// What [`Backend::ensure`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// The backend's own id of the container.
    pub id: String,
    /// Whether it was made now or had been there.
    pub how: How,
}

/// Whether a container was made by this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// This call made it.
    Created,
    /// An earlier or parallel call made it; its labels are those of the launch.
    Adopted,
}

/// What is stored on a host, as its engine counts it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Our volumes by name, and the bytes in each. One that the engine cannot measure is left out.
    pub volumes: Vec<(String, u64)>,
    /// The writable layers of our containers, by instance and generation, and the bytes in each.
    pub writable_layers: Vec<(InstanceId, u32, u64)>,
    /// Our snapshots, and the bytes that each has of its own.
    pub snapshots: Vec<(SnapshotId, u64)>,
}

/// What an instance itself says of its accelerators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceleratorCheck {
    /// It sees exactly those it should.
    Confirmed,
    /// It sees others: these.
    Differ(Vec<String>),
    /// It cannot tell; the reason, such as an image without the vendor's tool.
    Unknown(String),
}

/// One host as the dispatcher uses it. Every call has a deadline of its own and may be repeated: a second
/// call finds what the first one made. A failed call says nothing about what happened on the host unless its
/// [`Trouble`] does.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Looks at the host: its size, settings, clock and accelerators. `probe_image` is run once under the
    /// host's way of attaching accelerators; it is fetched when the host lacks it.
    async fn probe(&self, probe_image: &str, clock: &dyn Clock) -> Result<Probe>;

    /// Claims the host for `host` of `installation`, or confirms the claim. Refuses a host that is claimed by
    /// another installation or under another id: a moved address, or one engine registered twice.
    async fn mark(&self, host: HostId, installation: InstallationId) -> Result<()>;

    /// Whether the host has the image.
    async fn image_present(&self, reference: &str) -> Result<bool>;

    /// Fetches the image. Gives up when nothing has arrived for a minute and a half, or after half an hour.
    async fn image_pull(&self, reference: &str) -> Result<()>;

    /// Makes and starts the container of `launch`, or adopts the one that has its name and labels. Its
    /// network and its volumes have to be there. A container that cannot be started is removed again; one
    /// that already ended is left as it is, for [`Backend::detail`] to tell.
    async fn ensure(&self, launch: &Launch, installation: InstallationId, attach: Attach) -> Result<Ensured>;

    /// Starts a container of `installation` again that has ended, with the disk that it ended with; one that runs is
    /// left as it is.
    ///
    /// # Errors
    /// [`Trouble::Missing`] when there is no such container: its disk is gone.
    async fn start(&self, id: &str, installation: InstallationId) -> Result<()>;

    /// How much our volumes and containers store. Engines walk over every file for it, so this may take minutes.
    async fn usage(&self, installation: InstallationId) -> Result<Usage>;

    /// Every container of `installation`, running or not.
    async fn list(&self, installation: InstallationId) -> Result<Vec<Seen>>;

    /// Everything about one container by its id or name; `None` if there is no such container.
    async fn detail(&self, id_or_name: &str) -> Result<Option<Detail>>;

    /// Asks the main process to end and kills it after `grace`. A container that is gone or ended counts as
    /// stopped.
    async fn stop(&self, id: &str, grace: Span) -> Result<()>;

    /// Freezes the processes of a running container; one that is frozen stays so.
    async fn pause(&self, id: &str) -> Result<()>;

    /// Lets a frozen container go on; one that runs is left as it is.
    async fn resume(&self, id: &str) -> Result<()>;

    /// Removes a container of `installation` with its writable layer, running or not; one that is gone is
    /// fine. Named volumes stay.
    async fn remove(&self, id: &str, installation: InstallationId) -> Result<()>;

    /// How much a snapshot of a container would take, and how much room the host has; `probe_image` is run once to see.
    async fn snapshot_room(&self, container: &str, probe_image: &str) -> Result<Room>;

    /// Keeps the disk of a container of `installation`, without its volumes. A running one is frozen meanwhile. A call
    /// that fails leaves nothing, except that one whose answer was lost may come to its end later.
    async fn snapshot_take(&self, order: &SnapshotOrder, installation: InstallationId) -> Result<()>;

    /// Every snapshot of `installation` that the host has; two of one, if it was asked twice.
    async fn snapshots(&self, installation: InstallationId) -> Result<Vec<StoredSnapshot>>;

    /// Takes a snapshot away; instances that were launched from it go on. `false`: the host keeps the data for as long
    /// as something there needs it, and it has to be asked again.
    async fn snapshot_remove(&self, stored: &StoredSnapshot, installation: InstallationId) -> Result<bool>;

    /// Makes the volume `name` with `labels`, or confirms that it is there and belongs to `installation`.
    async fn volume_ensure(
        &self,
        name: &str,
        installation: InstallationId,
        labels: &[(String, String)],
    ) -> Result<()>;

    /// Makes the network of `team` from a free part of `pool`, or confirms that it is there.
    async fn network_ensure(
        &self,
        team: TeamId,
        installation: InstallationId,
        pool: SubnetPool,
    ) -> Result<()>;

    /// The last `tail` lines that the container wrote, cut to the last 256 KiB.
    async fn logs(&self, id: &str, tail: u32) -> Result<String>;

    /// One reading of what the container uses.
    async fn stats(&self, id: &str) -> Result<Stats>;

    /// Asks inside the running container which accelerators it sees and compares them with `uuids`.
    async fn verify_accelerators(&self, id: &str, uuids: &[String]) -> Result<AcceleratorCheck>;

    /// A stream that says "look again" whenever something happened to a container of `installation`. It never
    /// says what; it may end or miss things, so a timer has to stand beside it.
    async fn wakes(&self, installation: InstallationId) -> Result<BoxStream<'static, ()>>;
}

/// Makes the connection to a host. [`Direct`] reaches the host; a simulator of the whole server brings its own.
#[async_trait]
pub trait Connector: Send + Sync {
    /// The connection to `host` at `endpoint`; `tls` are the documents that a `tcp` endpoint needs.
    async fn connect(
        &self,
        host: HostId,
        endpoint: &Endpoint,
        tls: Option<&TlsDocuments>,
    ) -> Result<Arc<dyn Backend>>;
}

/// Accelerators that a simulated host pretends to have.
const SIMULATED_ACCELERATORS: u32 = 4;

/// Reaches hosts where their endpoints say; a simulated one is a file in `simulated_dir` and goes by `clock`.
pub(crate) struct Direct {
    /// Where simulated hosts keep their state.
    pub(crate) simulated_dir: PathBuf,
    /// What simulated hosts take the time from.
    pub(crate) clock: Arc<dyn Clock>,
}

#[async_trait]
impl Connector for Direct {
    async fn connect(
        &self,
        host: HostId,
        endpoint: &Endpoint,
        tls: Option<&TlsDocuments>,
    ) -> Result<Arc<dyn Backend>> {
        if *endpoint != Endpoint::Simulated {
            return connect(endpoint, tls);
        }
        let file = self.simulated_dir.join(format!("{host}.json"));
        Ok(Arc::new(Simulated::open(&file, host, SIMULATED_ACCELERATORS, self.clock.clone()).await?))
    }
}

/// The engine at `endpoint`; `tls` are the documents that a `tcp` endpoint needs. Nothing is sent yet:
/// whether the host answers shows at the first call. A simulated host is opened by [`Simulated::open`]
/// instead.
pub fn connect(endpoint: &Endpoint, tls: Option<&TlsDocuments>) -> Result<Arc<dyn Backend>> {
    match (endpoint, tls) {
        (Endpoint::Unix(socket), _) => Ok(Arc::new(engine::Engine::unix(socket)?)),
        (Endpoint::Tcp { authority }, Some(documents)) => {
            Ok(Arc::new(engine::Engine::tcp(authority, documents)?))
        }
        (Endpoint::Tcp { .. }, None) => {
            Err(Error::new(Trouble::Endpoint, "a tcp endpoint needs ca_pem, cert_pem and key_pem"))
        }
        (Endpoint::Simulated, _) => {
            Err(Error::new(Trouble::Endpoint, "a simulated host has no engine to connect to"))
        }
    }
}
