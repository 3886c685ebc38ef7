//! The fleet: one live connection per host, and a bell that says "look at this host now".

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use super::App;
use crate::{
    docker::{self, Backend},
    error::{Error, Findings, Result},
    ids::HostId,
    model::host::{Endpoint, TlsDocuments},
    store::fleet::HostRow,
    time::Clock,
};

/// Accelerators that a simulated host pretends to have.
const SIMULATED_ACCELERATORS: u32 = 4;

/// Connections to hosts and the bells of their loops.
pub(crate) struct Fleet {
    simulated_dir: PathBuf,
    clock: Arc<dyn Clock>,
    connections: Mutex<HashMap<HostId, (i64, Arc<dyn Backend>)>>,
    bells: Mutex<HashMap<HostId, Arc<Notify>>>,
    roster: Arc<Notify>,
}

impl Fleet {
    /// A fleet without connections.
    pub(crate) fn new(simulated_dir: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            simulated_dir,
            clock,
            connections: Mutex::default(),
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

    fn known(&self, host: &HostRow) -> Option<Arc<dyn Backend>> {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, backend) = connections.get(&host.id)?;
        (*version == host.version).then(|| backend.clone())
    }

    fn keep(&self, host: &HostRow, backend: Arc<dyn Backend>) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.insert(host.id, (host.version, backend));
    }
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
        let backend: Arc<dyn Backend> = match endpoint {
            Endpoint::Simulated => {
                let file = self.fleet.simulated_dir.join(format!("{}.json", host.id));
                let clock = self.fleet.clock.clone();
                Arc::new(docker::Simulated::open(&file, host.id, SIMULATED_ACCELERATORS, clock).await?)
            }
            other => docker::connect(&other, tls.as_ref())?,
        };
        self.fleet.keep(host, backend.clone());
        Ok(backend)
    }
}
