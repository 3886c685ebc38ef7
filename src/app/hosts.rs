//! Hosts: registering, probing, cordoning, retiring; and the accelerators that probes found.

use serde::{Deserialize, Serialize};

use super::{App, gate::Outcome};
use crate::{
    docker::Backend,
    error::{Error, Findings, Result},
    ids::{HostId, InstanceId},
    model::{
        action::Action,
        host::{AdminState, Endpoint, HostFacts, HostKind, Reach, TlsDocuments},
        page::{Items, Page},
    },
    op::Op,
    policy::{Facts, Resource},
    store::fleet::{AcceleratorRow, HostRow},
    time::Timestamp,
};

/// A host to register.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHost {
    /// Its name for people, 1 to 64 characters, unique.
    pub name: String,
    /// `unix:///path/of/docker.sock`, `tcp://host:port` or `simulated:`.
    pub endpoint: String,
    /// Its region; products are matched by it.
    pub region: String,
    /// The address at which its published ports are reached; the endpoint's own unless told.
    #[serde(default)]
    pub address: Option<String>,
    /// An image on the host with a C library, for the probe of its accelerators.
    #[serde(default = "probe_image")]
    pub probe_image: String,
    /// The TLS documents of a `tcp://` endpoint.
    #[serde(default)]
    pub tls: Option<TlsDocuments>,
}

fn probe_image() -> String {
    "ubuntu:24.04".to_owned()
}

/// A host.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct HostView {
    /// Its id.
    pub id: HostId,
    /// Its name for people.
    pub name: String,
    /// What drives it.
    pub kind: HostKind,
    /// Where its engine answers.
    pub endpoint: String,
    /// Its region.
    pub region: String,
    /// The address at which published ports are reached.
    pub address: String,
    /// The image that a probe runs.
    pub probe_image: String,
    /// What the operator wants of it.
    pub admin_state: AdminState,
    /// Whether it answers.
    pub reach: Reach,
    /// Why not, when it does not.
    pub reach_detail: String,
    /// What the last probe found.
    pub facts: Option<HostFacts>,
    /// When it last answered.
    pub last_ok_at: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// An accelerator, and who holds it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct FleetAccelerator {
    /// The vendor's UUID.
    pub uuid: String,
    /// Its host.
    pub host: HostId,
    /// Its model: what products name.
    pub model: String,
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// Its driver version.
    pub driver: String,
    /// Whether the last probe found it.
    pub healthy: bool,
    /// When a probe last found it.
    pub seen_at: Timestamp,
    /// The instance that holds it.
    pub instance: Option<InstanceId>,
}

impl NewHost {
    fn check(&self) -> Result<Endpoint> {
        let mut findings = Findings::new();
        findings.text(&self.name, "/name", 1, 64);
        findings.text(&self.region, "/region", 1, 64);
        findings.text(&self.probe_image, "/probe_image", 1, 256);
        let endpoint = Endpoint::parse(&self.endpoint, "/endpoint", &mut findings);
        let tcp = matches!(endpoint, Some(Endpoint::Tcp { .. }));
        if endpoint.is_some() {
            let told = "a tcp:// endpoint needs ca_pem, cert_pem and key_pem, and no other takes them";
            findings.check(self.tls.is_some() == tcp, "/tls", told);
        }
        if let Some(address) = &self.address {
            findings.text(address, "/address", 1, 253);
        }
        findings.done()?;
        endpoint.ok_or_else(|| Error::field("/endpoint", "not an endpoint"))
    }

    fn address(&self, endpoint: &Endpoint) -> String {
        match (&self.address, endpoint) {
            (Some(address), _) => address.clone(),
            (None, Endpoint::Tcp { authority }) => {
                authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host).to_owned()
            }
            (None, Endpoint::Unix(_) | Endpoint::Simulated) => "127.0.0.1".to_owned(),
        }
    }
}

impl From<HostRow> for HostView {
    fn from(row: HostRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            kind: row.kind,
            endpoint: row.endpoint,
            region: row.region,
            address: row.address,
            probe_image: row.probe_image,
            admin_state: row.admin_state,
            reach: row.reach,
            reach_detail: row.reach_detail,
            facts: row.facts.map(|facts| facts.0),
            last_ok_at: row.last_ok_at,
            created_at: row.created_at,
        }
    }
}

impl From<AcceleratorRow> for FleetAccelerator {
    fn from(row: AcceleratorRow) -> Self {
        Self {
            uuid: row.uuid,
            host: row.host,
            model: row.model,
            memory_mib: row.memory_mib,
            driver: row.driver,
            healthy: row.healthy,
            seen_at: row.seen_at,
            instance: row.instance,
        }
    }
}

impl App {
    /// Registers a host: it must answer, be nobody else's, and be probed, before it is written.
    pub async fn host_create(&self, op: &Op, new: NewHost) -> Result<HostView> {
        let endpoint = new.check()?;
        self.unless_answered(op).await?;
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        let taken = read.host_by_name(&new.name).await?;
        drop(read);
        self.look(op, &asker, Action::CreateHost, Resource::Site, Facts::default()).await?;
        if taken.is_some() {
            return Err(Error::conflict("name-taken", "a host with this name is registered"));
        }
        let id: HostId = op.id();
        let tls_sealed = match &new.tls {
            None => None,
            Some(tls) => {
                let plain = zeroize::Zeroizing::new(serde_json::to_vec(tls).map_err(Error::internal)?);
                Some(self.seal.seal(&plain, &id.to_string(), op.chance())?)
            }
        };
        let row = HostRow {
            id,
            name: new.name.clone(),
            kind: endpoint.kind(),
            endpoint: new.endpoint.clone(),
            tls_sealed,
            region: new.region.clone(),
            address: new.address(&endpoint),
            probe_image: new.probe_image.clone(),
            admin_state: AdminState::Active,
            reach: Reach::Up,
            reach_detail: String::new(),
            facts: None,
            misses: 0,
            last_ok_at: Some(op.now()),
            version: 1,
            created_at: op.now(),
        };
        let backend = self.backend(&row).await?;
        backend.mark(id, self.installation).await?;
        let probe = backend.probe(&row.probe_image, self.clock()).await?;
        let tx = self.begin(op).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &asker, Action::CreateHost, Resource::Site, Facts::default()).await?;
        tx.host_insert(&row).await?;
        tx.host_facts_save(id, &probe.facts, &probe.accelerators).await?;
        let fresh = tx.host_fetch(id).await?.ok_or_else(|| Error::not_found("host"))?;
        let view = HostView::from(fresh);
        let outcome = Outcome {
            team: String::new(),
            target: id.to_string(),
            document: serde_json::json!({ "name": new.name, "endpoint": new.endpoint, "region": new.region }),
            status: 201,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        self.fleet.roster().notify_one();
        Ok(view)
    }

    /// Hosts, the oldest first.
    pub async fn hosts_page(&self, op: &Op, page: &Page) -> Result<Items<HostView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ListHosts, Resource::Site, Facts::default()).await?;
        let rows = read.hosts_page(page.after(), limit + 1).await?;
        let rows: Vec<HostView> = rows.into_iter().map(HostView::from).collect();
        Ok(Items::cut(rows, limit, |row| row.id.to_string()))
    }

    /// One host.
    pub async fn host_fetch(&self, op: &Op, id: HostId) -> Result<HostView> {
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::GetHost, Resource::Site, Facts::default()).await?;
        let row = read.host_fetch(id).await?;
        row.map(HostView::from).ok_or_else(|| Error::not_found("host"))
    }

    /// Probes a host now.
    pub async fn host_probe(&self, op: &Op, id: HostId) -> Result<HostView> {
        self.unless_answered(op).await?;
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ProbeHost, Resource::Site, Facts::default()).await?;
        let row = read.host_fetch(id).await?.ok_or_else(|| Error::not_found("host"))?;
        drop(read);
        let backend = self.backend(&row).await?;
        let probe = backend.probe(&row.probe_image, self.clock()).await?;
        let tx = self.begin(op).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &asker, Action::ProbeHost, Resource::Site, Facts::default()).await?;
        tx.host_facts_save(id, &probe.facts, &probe.accelerators).await?;
        let fresh = tx.host_fetch(id).await?.ok_or_else(|| Error::not_found("host"))?;
        let view = HostView::from(fresh);
        let outcome = Outcome {
            team: String::new(),
            target: id.to_string(),
            document: serde_json::json!({ "accelerators": probe.accelerators.len() }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// Changes what is wanted of a host. Retiring one that still has instances is refused.
    pub async fn host_admin(&self, op: &Op, id: HostId, state: AdminState) -> Result<HostView> {
        let action = match state {
            AdminState::Active => Action::UncordonHost,
            AdminState::Cordoned => Action::CordonHost,
            AdminState::Retired => Action::RetireHost,
        };
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, permit) = self.permit(op, tx, &asker, action, Resource::Site, Facts::default()).await?;
        tx.host_lock(id).await?;
        let row = tx.host_fetch(id).await?.ok_or_else(|| Error::not_found("host"))?;
        if row.admin_state == AdminState::Retired {
            return Err(Error::conflict("illegal-state", "a retired host stays retired; register it anew"));
        }
        let live = tx.instances_live_count(id).await?;
        if state == AdminState::Retired && live > 0 {
            let told = format!("{live} instances are on this host; cordon it and release them first");
            return Err(Error::conflict("host-in-use", told));
        }
        tx.host_admin_save(id, state).await?;
        if state == AdminState::Retired {
            // What is left there is out of everybody's reach.
            tx.storage_segments_end(id).await?;
            self.snapshots_lose(op, &mut tx, id).await?;
        }
        let fresh = tx.host_fetch(id).await?.ok_or_else(|| Error::not_found("host"))?;
        let view = HostView::from(fresh);
        let outcome = Outcome {
            team: String::new(),
            target: id.to_string(),
            document: serde_json::json!({ "admin_state": state }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        self.fleet.roster().notify_one();
        Ok(view)
    }

    /// All accelerators, by UUID.
    pub async fn accelerators_page(&self, op: &Op, page: &Page) -> Result<Items<FleetAccelerator>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ListAccelerators, Resource::Site, Facts::default()).await?;
        let rows = read.accelerators_page(page.after(), limit + 1).await?;
        let rows: Vec<FleetAccelerator> = rows.into_iter().map(FleetAccelerator::from).collect();
        Ok(Items::cut(rows, limit, |row| row.uuid.clone()))
    }

    /// Probes a host on behalf of its loop.
    pub(crate) async fn host_probe_save(&self, op: &Op, host: &HostRow, backend: &dyn Backend) -> Result<()> {
        let probe = backend.probe(&host.probe_image, self.clock()).await?;
        let mut tx = self.db.begin().await?;
        tx.host_facts_save(host.id, &probe.facts, &probe.accelerators).await?;
        self.system_commit(op, tx).await
    }
}
