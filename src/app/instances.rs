//! Instances as people see them: lists, one instance with its tabs, and the wish to be rid of it.

use serde::Serialize;

use super::{
    App,
    dispatch::INSTANCE_TIME,
    gate::{Granted, Outcome, Scope},
};
use crate::{
    error::{Error, Result},
    ids::{HostId, ImageId, InstanceId, MemberId, ProductId, SnapshotId, TeamId},
    ledger::interval::Segment,
    model::{
        action::Action,
        host::{HostKind, Stats},
        instance::{Desired, Mount, PublishedPort, Reason, State},
        page::{Items, Page, View},
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{Conn, Tx, instances::InstanceRow},
    time::Timestamp,
};

/// An instance.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// Its team.
    pub team: TeamId,
    /// The member who launched it.
    pub member: MemberId,
    /// Its name for people.
    pub name: String,
    /// Its product.
    pub product: ProductId,
    /// The product's name.
    pub product_name: String,
    /// Its image.
    pub image: ImageId,
    /// The image's name.
    pub image_name: String,
    /// The snapshot that it was launched from, if it was; the image is the one that the snapshot goes back to.
    pub snapshot: Option<SnapshotId>,
    /// Its host.
    pub host: HostId,
    /// Whether the host only pretends: no container runs.
    pub simulated: bool,
    /// The region of its host.
    pub region: String,
    /// What is wanted of it.
    pub desired: Desired,
    /// Where it was last seen to be.
    pub state: State,
    /// Why it is no longer running, when it is not.
    pub reason: Option<Reason>,
    /// The reason in a sentence.
    pub reason_detail: String,
    /// Units of the product.
    pub unit_qty: u32,
    /// GPUs it holds or held.
    pub gpus: u32,
    /// Credits per hour as quoted at the last start.
    pub price_per_hour: Credits,
    /// Credits charged so far.
    pub cost: Credits,
    /// Since when it runs on the last of its money; absent while it is funded.
    pub draining_since: Option<Timestamp>,
    /// Since when it is paused because its money ran out; absent while it is not.
    pub paused_since: Option<Timestamp>,
    /// When it was launched.
    pub created_at: Timestamp,
    /// When its host's engine last started it.
    pub started_at: Option<Timestamp>,
    /// When its host's engine saw it end.
    pub ended_at: Option<Timestamp>,
    /// The exit code of its main process, once it ended.
    pub exit_code: Option<i64>,
}

/// How to get into an instance.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct InstanceAccess {
    /// Whether the host only pretends, so that nothing answers there.
    pub simulated: bool,
    /// The address at which the host's published ports are reached.
    pub address: String,
    /// All published ports.
    pub ports: Vec<PublishedPort>,
    /// The SSH command, if the image has a server on port 22.
    pub ssh: Option<String>,
    /// The notebook's address with its token, if the image has one on port 8888.
    pub jupyter_url: Option<String>,
    /// The notebook's token.
    pub jupyter_token: String,
}

/// The last lines that an instance wrote.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct InstanceLogs {
    /// The text, at most 256 KiB.
    pub text: String,
}

/// What an instance costs.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct InstanceBilling {
    /// When billing of the last run began: the engine's own start.
    pub start: Option<Timestamp>,
    /// When billing of the last run ended: the engine's own end.
    pub end: Option<Timestamp>,
    /// Microseconds of running time billed so far, over all runs.
    pub billed_micros: i64,
    /// Credits per hour as quoted at the last start.
    pub price_per_hour: Credits,
    /// Credits charged so far, for running and for the disk while it was stopped.
    pub cost: Credits,
    /// How it is paid.
    pub method: String,
    /// Credits of the hold that are neither captured nor released.
    pub hold_remaining: Credits,
}

/// The software side of an instance.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct InstanceConfig {
    /// The image's name.
    pub image_name: String,
    /// The image reference that the host's engine knows.
    pub image_reference: String,
    /// What the image is.
    pub image_description: String,
    /// Ports of the container that are published.
    pub ports: Vec<u16>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its command, if it was given one.
    pub command: Option<Vec<String>>,
    /// Its drives.
    pub mounts: Vec<MountView>,
}

/// A drive in an instance.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct MountView {
    /// Where it appears.
    pub target: String,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// The hardware side of an instance.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct InstanceHardware {
    /// The accelerators it holds now.
    pub accelerators: Vec<AcceleratorView>,
    /// Processor time in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The product's instance type.
    pub instance_type: String,
}

/// An accelerator of an instance.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct AcceleratorView {
    /// The vendor's UUID.
    pub uuid: String,
    /// Its model.
    pub model: String,
    /// Its memory in MiB.
    pub memory_mib: u32,
}

impl InstanceView {
    /// The view of a row, with the names it refers to.
    pub(crate) async fn of(conn: &mut Conn, row: InstanceRow) -> Result<Self> {
        let product = conn.product_fetch(row.product).await?.ok_or_else(|| Error::not_found("product"))?;
        let image = conn.image_fetch(row.image).await?.ok_or_else(|| Error::not_found("image"))?;
        let host = conn.host_fetch(row.host).await?.ok_or_else(|| Error::not_found("host"))?;
        let cost = conn.charges_sum_of_instance(row.id).await?;
        Ok(Self {
            id: row.id,
            team: row.team,
            member: row.member,
            name: row.name,
            product: row.product,
            product_name: product.name,
            image: row.image,
            image_name: image.name,
            snapshot: row.snapshot,
            host: row.host,
            simulated: host.kind == HostKind::Simulated,
            region: host.region,
            desired: row.desired,
            state: row.state,
            reason: row.reason,
            reason_detail: row.reason_detail,
            unit_qty: row.unit_qty,
            gpus: row.gpus,
            price_per_hour: row.quoted_per_hour,
            cost,
            draining_since: row.draining_since,
            paused_since: row.paused_since,
            created_at: row.created_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            exit_code: row.exit_code,
        })
    }
}

impl App {
    /// The instances of a team, the newest last: the caller's own, or everybody's.
    pub async fn instances_page(
        &self,
        op: &Op,
        team: &str,
        view: View,
        page: &Page,
    ) -> Result<Items<InstanceView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let owner = scope.owner_in(view);
        let resource = Resource::Record { team: scope.team.id, owner };
        self.look(op, &scope.asker, Action::ListInstances, resource, Facts::default()).await?;
        let rows = read.instances_page(scope.team.id, owner, page.after(), limit + 1).await?;
        let rows = Items::cut(rows, limit, |row| row.id.to_string());
        let mut items = Vec::with_capacity(rows.items.len());
        for row in rows.items {
            items.push(InstanceView::of(&mut read, row).await?);
        }
        Ok(Items { items, next_cursor: rows.next_cursor })
    }

    /// One instance.
    pub async fn instance_fetch(&self, op: &Op, team: &str, id: InstanceId) -> Result<InstanceView> {
        let (mut read, _, row) = self.instance_look(op, team, id, Action::GetInstance).await?;
        InstanceView::of(&mut read, row).await
    }

    /// How to get into it.
    pub async fn instance_access(&self, op: &Op, team: &str, id: InstanceId) -> Result<InstanceAccess> {
        let (mut read, _, row) = self.instance_look(op, team, id, Action::GetInstanceAccess).await?;
        let host = read.host_fetch(row.host).await?.ok_or_else(|| Error::not_found("host"))?;
        let token = self.seal.open(&row.jupyter_sealed, &row.id.to_string())?;
        let token = String::from_utf8_lossy(&token).into_owned();
        let published = |inside: u16| row.ports.0.iter().find(|port| port.container == inside);
        let (running, address) = (row.state == State::Running, host.address);
        let ssh = published(22).filter(|_| running);
        let jupyter = published(8888).filter(|_| running);
        Ok(InstanceAccess {
            simulated: host.kind == HostKind::Simulated,
            ssh: ssh.map(|port| format!("ssh -p {} root@{address}", port.host)),
            jupyter_url: jupyter.map(|port| format!("http://{address}:{}/lab?token={token}", port.host)),
            ports: if running { row.ports.0.clone() } else { Vec::new() },
            jupyter_token: token,
            address,
        })
    }

    /// The last lines it wrote.
    pub async fn instance_logs(
        &self,
        op: &Op,
        team: &str,
        id: InstanceId,
        tail: u32,
    ) -> Result<InstanceLogs> {
        if !(1..=10_000).contains(&tail) {
            return Err(Error::field("tail", format!("1 to 10000 lines, got {tail}")));
        }
        let (mut read, _, row) = self.instance_look(op, team, id, Action::GetInstanceLogs).await?;
        let Some(container) = &row.container_id else { return Ok(InstanceLogs { text: String::new() }) };
        let host = read.host_fetch(row.host).await?.ok_or_else(|| Error::not_found("host"))?;
        drop(read);
        let backend = self.backend(&host).await?;
        Ok(InstanceLogs { text: backend.logs(container, tail).await? })
    }

    /// What it uses now.
    pub async fn instance_metrics(&self, op: &Op, team: &str, id: InstanceId) -> Result<Stats> {
        let (mut read, _, row) = self.instance_look(op, team, id, Action::GetInstanceMetrics).await?;
        let container = match (&row.container_id, row.state) {
            (Some(container), State::Running) => container.clone(),
            _ => return Err(Error::conflict("not-running", "only a running instance can be measured")),
        };
        let host = read.host_fetch(row.host).await?.ok_or_else(|| Error::not_found("host"))?;
        drop(read);
        Ok(self.backend(&host).await?.stats(&container).await?)
    }

    /// What it costs.
    pub async fn instance_billing(&self, op: &Op, team: &str, id: InstanceId) -> Result<InstanceBilling> {
        let (mut read, _, row) = self.instance_look(op, team, id, Action::GetInstanceBilling).await?;
        let cost = read.charges_sum_of_instance(row.id).await?;
        let segments = read.segments_of_instance(row.id).await?;
        let runs = segments.iter().filter(|segment| segment.kind == INSTANCE_TIME);
        let billed = |segment: &Segment| (segment.billed_until - segment.start_at).as_micros();
        let billed_micros = runs.map(billed).sum();
        let hold = read.hold_open_of_instance(row.id).await?;
        let remaining = hold.map(|hold| hold.remaining()).transpose()?.unwrap_or(Credits::ZERO);
        Ok(InstanceBilling {
            start: row.started_at,
            end: row.ended_at,
            billed_micros,
            price_per_hour: row.quoted_per_hour,
            cost,
            method: "pay_as_you_go".to_owned(),
            hold_remaining: remaining,
        })
    }

    /// Its software side.
    pub async fn instance_config(&self, op: &Op, team: &str, id: InstanceId) -> Result<InstanceConfig> {
        let (mut read, _, row) = self.instance_look(op, team, id, Action::GetInstanceConfig).await?;
        let image = read.image_fetch(row.image).await?.ok_or_else(|| Error::not_found("image"))?;
        let spec = row.spec.0;
        let mount = |mount: Mount| MountView { target: mount.target, read_only: mount.read_only };
        Ok(InstanceConfig {
            image_name: image.name,
            image_description: image.description,
            image_reference: spec.image,
            ports: spec.ports,
            env: spec.env,
            command: spec.command,
            mounts: spec.mounts.into_iter().map(mount).collect(),
        })
    }

    /// Its hardware side.
    pub async fn instance_hardware(&self, op: &Op, team: &str, id: InstanceId) -> Result<InstanceHardware> {
        let (mut read, _, row) = self.instance_look(op, team, id, Action::GetInstanceHardware).await?;
        let product = read.product_fetch(row.product).await?.ok_or_else(|| Error::not_found("product"))?;
        let held = read.accelerators_of_instance(row.id).await?;
        let view = |row: crate::store::fleet::AcceleratorRow| AcceleratorView {
            uuid: row.uuid,
            model: row.model,
            memory_mib: row.memory_mib,
        };
        Ok(InstanceHardware {
            accelerators: held.into_iter().map(view).collect(),
            cpu_millis: row.cpu_millis,
            memory_bytes: row.memory_bytes,
            instance_type: product.instance_type,
        })
    }

    /// Wishes it stopped: it keeps its disk, which costs storage, and gives back its accelerators.
    pub async fn instance_stop(&self, op: &Op, team: &str, id: InstanceId) -> Result<InstanceView> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        tx.team_lock(scope.team.id).await?;
        let mut row = owned(&mut tx, &scope, id).await?;
        let resource = row.resource(&mut tx).await?;
        let facts = self.owner_facts(&mut tx, &scope, row.member).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::StopInstance, resource, facts).await?;
        if row.state.is_final() || row.desired == Desired::Released {
            let told = format!("the instance is {} and was given up, so it cannot be stopped", row.state);
            return Err(Error::conflict("illegal-state", told));
        }
        let own = scope.member.as_ref().is_some_and(|member| member.id == row.member);
        if row.desired == Desired::Running {
            row.desired = Desired::Stopped;
            row.reason = Some(if own { Reason::User } else { Reason::Admin });
            row = tx.instance_save(row).await?;
        }
        self.wish_conclude(op, tx, &permit, row, own).await
    }

    /// Wishes it gone. The host is told at once; the money is settled when the container is.
    pub async fn instance_release(&self, op: &Op, team: &str, id: InstanceId) -> Result<InstanceView> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        tx.team_lock(scope.team.id).await?;
        let mut row = owned(&mut tx, &scope, id).await?;
        let resource = row.resource(&mut tx).await?;
        let facts = self.owner_facts(&mut tx, &scope, row.member).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::ReleaseInstance, resource, facts).await?;
        if row.state.is_final() {
            let told = format!("the instance is {} already", row.state);
            return Err(Error::conflict("illegal-state", told));
        }
        let own = scope.member.as_ref().is_some_and(|member| member.id == row.member);
        if row.desired != Desired::Released {
            row.desired = Desired::Released;
            row.reason.get_or_insert(if own { Reason::User } else { Reason::Admin });
            self.stopped_end(&mut tx, row.id).await?;
            row = tx.instance_save(row).await?;
        }
        self.wish_conclude(op, tx, &permit, row, own).await
    }

    /// Records what is wished of an instance, and tells its host.
    async fn wish_conclude(
        &self,
        op: &Op,
        mut tx: Tx,
        permit: &Granted,
        row: InstanceRow,
        own: bool,
    ) -> Result<InstanceView> {
        let host = row.host;
        let view = InstanceView::of(&mut tx, row).await?;
        let outcome = Outcome {
            team: view.team.to_string(),
            target: view.id.to_string(),
            document: serde_json::json!({ "own": own }),
            status: 202,
            answer: &view,
        };
        self.conclude(op, tx, permit, outcome).await?;
        self.fleet.wake(host);
        Ok(view)
    }

    async fn instance_look(
        &self,
        op: &Op,
        team: &str,
        id: InstanceId,
        action: Action,
    ) -> Result<(crate::store::Read, Scope, InstanceRow)> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let row = owned(&mut read, &scope, id).await?;
        let resource = row.resource(&mut read).await?;
        self.look(op, &scope.asker, action, resource, Facts::default()).await?;
        Ok((read, scope, row))
    }
}

impl Scope {
    /// The owner that a list is narrowed to.
    pub(crate) fn owner_in(&self, view: View) -> Option<MemberId> {
        match view {
            View::Own => self.member.as_ref().map(|member| member.id),
            View::Admin => None,
        }
    }
}

impl InstanceRow {
    /// The instance as the policy sees it.
    pub(crate) async fn resource(&self, conn: &mut Conn) -> Result<Resource> {
        let product = conn.product_fetch(self.product).await?.ok_or_else(|| Error::not_found("product"))?;
        let image = conn.image_fetch(self.image).await?.ok_or_else(|| Error::not_found("image"))?;
        Ok(Resource::Instance {
            team: self.team,
            owner: self.member,
            region: product.region,
            instance_type: product.instance_type,
            accelerator: product.accelerator,
            image: image.name,
            product: product.name,
            product_labels: product.labels.0,
            gpus: self.gpus,
        })
    }
}

/// The instance, if it is the team's: another team's is not there.
pub(super) async fn owned(conn: &mut Conn, scope: &Scope, id: InstanceId) -> Result<InstanceRow> {
    let row = conn.instance_fetch(id).await?.filter(|row| row.team == scope.team.id);
    row.ok_or_else(|| Error::not_found("instance"))
}
