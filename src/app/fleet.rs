//! The fleet: one live connection per host, and a bell that says "look at this host now".

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use super::App;
use crate::{
    docker::{self, Backend, Connector},
    error::{Error, Findings, Result},
    ids::{HostId, InstallationId, SnapshotId},
    model::{
        host::{Endpoint, TlsDocuments},
        snapshot::SnapshotOrder,
    },
    store::fleet::HostRow,
    time::{Span, Timestamp},
};

/// The shortest time between two probes of one host.
const PROBE_PAUSE: Span = Span::from_seconds(60);

/// The shortest time between two counts of what a host stores: an engine looks at every file for it.
const MEASURE_PAUSE: Span = Span::from_seconds(60);

/// A connection, and the version of the host's row that it was made for.
struct Connection {
    version: i64,
    backend: Arc<dyn Backend>,
}

/// Connections to hosts and the bells of their loops.
pub(crate) struct Fleet {
    connector: Arc<dyn Connector>,
    connections: Mutex<HashMap<HostId, Connection>>,
    probes: Mutex<HashMap<HostId, Timestamp>>,
    measures: Mutex<HashMap<HostId, Timestamp>>,
    pulls: Pulls,
    copies: Copies,
    bells: Mutex<HashMap<HostId, Arc<Notify>>>,
    roster: Arc<Notify>,
}

/// Images on their way to hosts; one that could not be fetched stays here until that was told.
type Pulls = Arc<Mutex<HashMap<(HostId, String), Option<docker::Error>>>>;

/// Snapshots that hosts are told to take; how it ended stays here until that was asked.
type Copies = Arc<Mutex<HashMap<SnapshotId, Option<docker::Result<()>>>>>;

/// How a snapshot is getting on that a host was told to take.
pub(crate) enum Copy {
    /// This server did not ask for it, or was told already how it ended.
    Unasked,
    /// The host is at it.
    UnderWay,
    /// It is over.
    Over(docker::Result<()>),
}

impl Fleet {
    /// A fleet without connections.
    pub(crate) fn new(connector: Arc<dyn Connector>) -> Self {
        Self {
            connector,
            connections: Mutex::default(),
            probes: Mutex::default(),
            measures: Mutex::default(),
            pulls: Pulls::default(),
            copies: Copies::default(),
            bells: Mutex::default(),
            roster: Arc::default(),
        }
    }

    /// Rings the bell of a host, so that its loop looks at once.
    pub(crate) fn wake(&self, host: HostId) {
        self.bell(host).notify_one();
    }

    /// The bell of a host.
    pub(crate) fn bell(&self, host: HostId) -> Arc<Notify> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.entry(host).or_default().clone()
    }

    /// Rings when hosts were registered or retired.
    pub(crate) fn roster(&self) -> Arc<Notify> {
        self.roster.clone()
    }

    /// Whether a probe of the host may begin now: one a minute at most, however often it fails.
    pub(crate) fn probe_begins(&self, host: HostId, now: Timestamp) -> bool {
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        let due = probes.get(&host).is_none_or(|last| now - *last >= PROBE_PAUSE);
        if due {
            probes.insert(host, now);
        }
        due
    }

    /// Whether what the host stores is to be counted now; the next time is `every` later, unless it is wanted before.
    pub(crate) fn measure_begins(&self, host: HostId, now: Timestamp, every: Span) -> bool {
        let mut measures = self.measures.lock().unwrap_or_else(PoisonError::into_inner);
        let due = measures.get(&host).is_none_or(|next| now >= *next);
        if due {
            measures.insert(host, now + every.max(MEASURE_PAUSE));
        }
        due
    }

    /// Notes that the host stores something new, so that it is counted a minute from now at the latest.
    pub(crate) fn measure_soon(&self, host: HostId, now: Timestamp) {
        let mut measures = self.measures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = measures.get_mut(&host) {
            *next = (*next).min(now + MEASURE_PAUSE);
        }
    }

    /// Fetches an image beside the loop of its host, which has to look after what runs meanwhile; its bell rings when
    /// that is over. Asked again, it does nothing while the fetch is under way.
    ///
    /// # Errors
    /// Why the fetch failed, once; asked again after that, it is tried again.
    pub(crate) fn image_pull(
        &self,
        host: HostId,
        backend: &Arc<dyn Backend>,
        image: &str,
    ) -> docker::Result<()> {
        let key = (host, image.to_owned());
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        match pulls.remove(&key) {
            Some(Some(failure)) => return Err(failure),
            Some(None) => {
                pulls.insert(key, None);
                return Ok(());
            }
            None => pulls.insert(key.clone(), None),
        };
        let (bell, backend, pulls) = (self.bell(host), backend.clone(), self.pulls.clone());
        tokio::spawn(async move {
            let failure = backend.image_pull(&key.1).await.err();
            let mut pulls = pulls.lock().unwrap_or_else(PoisonError::into_inner);
            pulls.remove(&key);
            if failure.is_some() {
                pulls.insert(key, failure);
            }
            bell.notify_one();
        });
        Ok(())
    }

    /// Has a snapshot taken beside the loop of its host, whose bell rings when that is over: an engine copies for
    /// minutes. Where there is too little room it is not begun.
    pub(crate) fn copy(
        &self,
        host: &HostRow,
        backend: &Arc<dyn Backend>,
        order: SnapshotOrder,
        installation: InstallationId,
    ) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if copies.insert(order.snapshot, None).is_some_and(|before| before.is_none()) {
            return;
        }
        let (bell, backend, copies) = (self.bell(host.id), backend.clone(), self.copies.clone());
        let probe_image = host.probe_image.clone();
        tokio::spawn(async move {
            let taken = copy(&*backend, &order, &probe_image, installation).await;
            copies.lock().unwrap_or_else(PoisonError::into_inner).insert(order.snapshot, Some(taken));
            bell.notify_one();
        });
    }

    /// How a snapshot is getting on; the end is told once.
    pub(crate) fn copy_asked(&self, snapshot: SnapshotId) -> Copy {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        match copies.remove(&snapshot) {
            None => Copy::Unasked,
            Some(Some(ended)) => Copy::Over(ended),
            Some(None) => {
                copies.insert(snapshot, None);
                Copy::UnderWay
            }
        }
    }

    fn known(&self, host: &HostRow) -> Option<Arc<dyn Backend>> {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let known = connections.get(&host.id)?;
        (known.version == host.version).then(|| known.backend.clone())
    }

    fn keep(&self, host: &HostRow, backend: Arc<dyn Backend>) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.insert(host.id, Connection { version: host.version, backend });
    }
}

async fn copy(
    backend: &dyn Backend,
    order: &SnapshotOrder,
    probe_image: &str,
    installation: InstallationId,
) -> docker::Result<()> {
    let room = backend.snapshot_room(&order.container, probe_image).await?;
    if !room.suffices() {
        return Err(docker::Error::new(docker::Trouble::DiskFull, room.lack()));
    }
    backend.snapshot_take(order, installation).await
}

impl App {
    /// The connection to a host; made when there is none for this version of its row.
    pub(crate) async fn backend(&self, host: &HostRow) -> Result<Arc<dyn Backend>> {
        if let Some(backend) = self.fleet.known(host) {
            return Ok(backend);
        }
        let mut findings = Findings::new();
        let endpoint = Endpoint::parse(&host.endpoint, "/endpoint", &mut findings);
        findings.done()?;
        let endpoint = endpoint.ok_or_else(|| Error::not_found("host"))?;
        let tls = match &host.tls_sealed {
            None => None,
            Some(sealed) => {
                let plain = self.seal.open(sealed, &host.id.to_string())?;
                Some(serde_json::from_slice::<TlsDocuments>(&plain).map_err(Error::internal)?)
            }
        };
        let backend = self.fleet.connector.connect(host.id, &endpoint, tls.as_ref()).await?;
        self.fleet.keep(host, backend.clone());
        Ok(backend)
    }
}
