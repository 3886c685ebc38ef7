//! Launching: from a wish to a committed instance with its hold, its accelerators and its place, in one transaction.
//!
//! The container itself is `dispatch`'s business; when this is done the database says what shall run, and where.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    App,
    gate::{Granted, Outcome, Scope},
    instances::InstanceView,
    placing::{Source, bound_host, snapshot_ready, take_place},
    prices::ActivePrice,
    purse::{Purse, Wanted, api_key, concern, launch_facts},
    snapshots::in_sight,
};
use crate::{
    error::{Error, Findings, Kind, Result},
    ids::{AccountId, DriveId, HoldId, HostId, InstanceId, SnapshotId},
    ledger::{
        hold,
        journal::{self, Bound, Journal, NewHold, User},
        posting::IdemKey,
    },
    model::{
        action::Action,
        instance::{Desired, Mount, Spec, State},
        placement::{self, Need},
        quota::NO_ACCELERATOR,
        snapshot,
    },
    money::Credits,
    op::Op,
    policy::{BudgetRoom, Facts, Resource},
    store::{
        Conn, Json, Tx,
        catalog::{ImageRow, ProductRow},
        fleet::DriveRow,
        instances::InstanceRow,
        snapshots::SnapshotRow,
    },
};

/// What a member asks for.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInstance {
    /// A name for people, 1 to 64 characters.
    pub name: String,
    /// The product's name or id.
    pub product: String,
    /// The image's name or id; this or a snapshot.
    #[serde(default)]
    pub image: Option<String>,
    /// The snapshot to launch from, in place of an image: on the host that has it.
    #[serde(default)]
    pub snapshot: Option<SnapshotId>,
    /// Units of the product, 1 to 64; its GPUs and its price are multiplied by it.
    #[serde(default = "one")]
    pub unit_qty: u32,
    /// Public SSH keys that may enter as root, one line each, at most 16.
    #[serde(default)]
    pub ssh_public_keys: Vec<String>,
    /// Whether the team's drive is mounted at `/team_data`; writable for owner and admins only.
    #[serde(default = "yes")]
    pub mount_team_drive: bool,
    /// Whether the member's own drive is mounted at `/datadrive`.
    #[serde(default)]
    pub mount_personal_drive: bool,
    /// Environment of the main process, at most 64 variables. Not for secrets: the host's operator can read it.
    #[serde(default)]
    pub env: std::collections::BTreeMap<String, String>,
    /// A command in place of the image's own.
    #[serde(default)]
    pub command: Option<Vec<String>>,
}

const fn one() -> u32 {
    1
}

const fn yes() -> bool {
    true
}

/// What is asked before a launch.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEstimate {
    /// The product's name or id.
    pub product: String,
    /// The image's name or id.
    pub image: String,
    /// Units of the product.
    #[serde(default = "one")]
    pub unit_qty: u32,
}

/// What a launch would cost and what would stop it. A look, not a promise: the launch decides again.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Estimate {
    /// Credits per hour, by the team's active price.
    pub price_per_hour: Credits,
    /// Credits held at the launch.
    pub hold: Credits,
    /// Seconds that the hold pays ahead.
    pub runway_seconds: i64,
    /// Credits that can be spent now.
    pub available: Credits,
    /// What the tightest budget leaves; absent when no budget stands in the way of launches.
    pub budget: Option<BudgetRoom>,
    /// What would end the run first: `credits` or the name of the budget.
    pub binding: String,
    /// Whole minutes that credits and budgets pay for; absent when the price is 0.
    pub affordable_minutes: Option<i64>,
    /// GPUs that the instance would have.
    pub gpus: u32,
    /// Whether the launch would be allowed now.
    pub allowed: bool,
    /// What stands against it.
    pub denials: Vec<crate::error::Denial>,
    /// Why no host can take it now; absent when one can.
    pub no_capacity: Option<String>,
    /// Whether the price is the list price because the price plugin failed.
    pub degraded: bool,
}

/// Everything about a launch that can be known before it is decided.
pub(super) struct Plan {
    pub(super) product: ProductRow,
    image: ImageRow,
    /// The snapshot to launch from, if it is one.
    pub(super) snapshot: Option<SnapshotRow>,
    price: ActivePrice,
    pub(super) unit_qty: u32,
    gpus: u32,
    cpu_millis: u64,
    memory_bytes: u64,
}

impl NewInstance {
    fn source(&self) -> Result<Source<'_>> {
        match (&self.image, self.snapshot) {
            (Some(image), None) => Ok(Source::Image(image)),
            (None, Some(snapshot)) => Ok(Source::Snapshot(snapshot)),
            _ => Err(Error::field("/image", "an image or a snapshot: one of the two, and not both")),
        }
    }

    fn check(&self) -> Result<()> {
        let mut findings = Findings::new();
        findings.text(&self.name, "/name", 1, 64);
        findings.check(
            (1..=64).contains(&self.unit_qty),
            "/unit_qty",
            format!("1 to 64, got {}", self.unit_qty),
        );
        findings.check(self.ssh_public_keys.len() <= 16, "/ssh_public_keys", "at most 16 keys");
        for (i, key) in self.ssh_public_keys.iter().enumerate() {
            let fine = key.len() <= 8192 && is_ssh_key(key);
            findings.check(
                fine,
                &format!("/ssh_public_keys/{i}"),
                "one public key line such as `ssh-ed25519 AAAA… me`",
            );
        }
        findings.check(self.env.len() <= 64, "/env", "at most 64 variables");
        for (name, value) in &self.env {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let fine = (1..=128).contains(&name.len()) && name.chars().all(word) && value.len() <= 4096;
            let pointer = format!("/env/{name}");
            findings.check(fine, &pointer, "a name of letters, digits and _, a value of at most 4096 bytes");
            let ours = name.starts_with("NVIDIA_") || name.starts_with("MUSTER_");
            findings.check(!ours, &pointer, "names that begin with NVIDIA_ or MUSTER_ are set by the server");
        }
        if let Some(command) = &self.command {
            let length: usize = command.iter().map(String::len).sum();
            let fine = (1..=64).contains(&command.len()) && length <= 16_384;
            findings.check(fine, "/command", "1 to 64 words, at most 16384 bytes together");
        }
        findings.done()
    }
}

fn is_ssh_key(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let kind = words.next().is_some_and(|kind| {
        ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"]
            .iter()
            .any(|known| kind.starts_with(known))
    });
    let body = words.next().is_some_and(|body| body.len() >= 16 && body.starts_with("AAAA"));
    kind && body && !line.contains(['\n', '\r'])
}

impl App {
    /// What a launch would cost, and whether it would be allowed.
    pub async fn estimate(&self, op: &Op, team: &str, new: NewEstimate) -> Result<Estimate> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let source = Source::Image(&new.image);
        let plan = self.plan(&mut read, &scope, &new.product, source, new.unit_qty).await?;
        drop(read);
        let (per_hour, degraded) = self.quote(op, &scope, &plan).await?;
        let mut read = self.db.read().await?;
        let hold = self.hold_for(&scope, per_hour)?;
        let journal = read.journal_look(op, scope.team.id, &concern(op, &scope)).await?;
        let purse = Purse::of(op, &scope, &journal)?;
        let available = purse.funds;
        let facts = launch_facts(&mut read, &scope, &purse, plan.wanted(per_hour, hold)).await?;
        self.look(op, &scope.asker, Action::CreateEstimate, plan.resource(&scope)?, facts.clone()).await?;
        let decision = self.decide(&scope.asker, Action::CreateInstance, &plan.resource(&scope)?, &facts);
        let need = plan.need(None);
        let candidates = read.candidates().await?;
        let no_capacity = placement::place(&need, &candidates).err().map(|why| why.to_string());
        let (binding, most) = purse.binding();
        let affordable = (per_hour.is_positive() && most.is_positive())
            .then(|| i128::from(most.as_micros()) * 60 / i128::from(per_hour.as_micros()))
            .map(|minutes| i64::try_from(minutes).unwrap_or(i64::MAX));
        Ok(Estimate {
            price_per_hour: per_hour,
            hold,
            runway_seconds: self.runway(&scope.team.terms).as_micros() / crate::time::SECOND,
            available,
            budget: purse.room.clone(),
            binding,
            affordable_minutes: if per_hour.is_positive() { affordable.or(Some(0)) } else { None },
            gpus: plan.gpus,
            allowed: decision.allowed(),
            denials: decision.denials().to_vec(),
            no_capacity,
            degraded,
        })
    }

    /// Launches an instance: decided, paid ahead, placed and recorded in one transaction, or not at all.
    pub async fn instance_create(&self, op: &Op, team: &str, new: NewInstance) -> Result<InstanceView> {
        new.check()?;
        new.source()?;
        self.unless_answered(op).await?;
        for _ in 0..ATTEMPTS {
            let mut read = self.db.read().await?;
            let scope = self.enter(op, &mut read, team).await?;
            let plan = self.plan(&mut read, &scope, &new.product, new.source()?, new.unit_qty).await?;
            drop(read);
            if let Some(snapshot) = &plan.snapshot {
                let resource = in_sight(&scope, snapshot);
                self.look(op, &scope.asker, Action::GetSnapshot, resource, Facts::default()).await?;
            }
            let (per_hour, _) = self.quote(op, &scope, &plan).await?;
            if let Some(made) = self.launch(op, team, &new, &plan, per_hour).await? {
                self.fleet.wake(made.host);
                return Ok(made);
            }
        }
        let told = "the catalogue or the price kept changing during the launch; try again";
        Err(Error::new(Kind::Unavailable, "unavailable", told).retry_after(1))
    }

    /// The deciding transaction. `None`: what the quote was made for has changed meanwhile, so quote again.
    async fn launch(
        &self,
        op: &Op,
        team: &str,
        new: &NewInstance,
        quoted: &Plan,
        per_hour: Credits,
    ) -> Result<Option<InstanceView>> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let mut journal = tx.journal(op, scope.team.id, &concern(op, &scope)).await?;
        let plan = self.plan(&mut tx, &scope, &new.product, new.source()?, new.unit_qty).await?;
        let seen = plan.snapshot.as_ref().is_none_or(|snapshot| self.may_see(&scope, snapshot));
        if !plan.same_price(quoted) || !seen {
            return Ok(None);
        }
        let hold = self.hold_for(&scope, per_hour)?;
        let purse = Purse::of(op, &scope, &journal)?;
        let facts = launch_facts(&mut tx, &scope, &purse, plan.wanted(per_hour, hold)).await?;
        let resource = plan.resource(&scope)?;
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::CreateInstance, resource, facts).await?;
        let member = scope.member()?.clone();
        let bound_to = bound_host(&mut tx, &scope, new, &plan).await?;
        let place = take_place(&mut tx, &plan, bound_to).await?;
        reserve_quota(op, &mut tx, &scope, 1, plan.gpus).await?;
        let instance: InstanceId = op.id();
        let mounts = self.drives_ensure(op, &mut tx, &scope, new, place.host).await?;
        let spec = plan.spec(new, mounts);
        let token = super::secrets::Token::fresh(super::secrets::TokenKind::Session, op.chance());
        let jupyter = token.reveal().trim_start_matches("mus_").to_owned();
        let row = InstanceRow {
            id: instance,
            team: scope.team.id,
            member: member.id,
            name: new.name.clone(),
            product: plan.product.id,
            image: plan.image.id,
            host: place.host,
            desired: Desired::Running,
            state: State::Scheduled,
            reason: None,
            reason_detail: String::new(),
            generation: 1,
            unit_qty: plan.unit_qty,
            gpus: plan.gpus,
            cpu_millis: plan.cpu_millis,
            memory_bytes: plan.memory_bytes,
            spec_digest: spec.digest(),
            spec: Json(spec),
            jupyter_sealed: self.seal.seal(jupyter.as_bytes(), &instance.to_string(), op.chance())?,
            ports: Json(Vec::new()),
            price_version: plan.price.version,
            unit_price: plan.product.price_per_hour,
            quoted_per_hour: per_hour,
            container_id: None,
            exit_code: None,
            created_at: op.now(),
            started_at: None,
            ended_at: None,
            proof_at: None,
            draining_since: None,
            warned_percent: UNWARNED,
            api_key: api_key(op),
            pulling_at: None,
            held: Json(place.accelerators.clone()),
            snapshot: plan.snapshot.as_ref().map(|snapshot| snapshot.id),
            paused_since: None,
            version: 1,
        };
        tx.instance_insert(&row).await?;
        if !tx.allocations_take(instance, &place.accelerators).await? {
            return Ok(None);
        }
        self.hold_place(op, &mut journal, &row, purse.account, hold)?;
        tx.journal_write(&journal).await?;
        let view = InstanceView::of(&mut tx, row).await?;
        self.launch_conclude(op, tx, &permit, &view).await?;
        Ok(Some(view))
    }

    async fn launch_conclude(&self, op: &Op, tx: Tx, granted: &Granted, view: &InstanceView) -> Result<()> {
        let outcome = Outcome {
            team: view.team.to_string(),
            target: view.id.to_string(),
            document: serde_json::json!({ "product": view.product, "image": view.image, "gpus": view.gpus }),
            status: 201,
            answer: view,
        };
        self.conclude(op, tx, granted, outcome).await
    }

    /// Sets a launch's runway aside.
    pub(super) fn hold_place(
        &self,
        op: &Op,
        journal: &mut Journal,
        instance: &InstanceRow,
        account: AccountId,
        amount: Credits,
    ) -> Result<()> {
        let hold: HoldId = op.id();
        let user = User { member: instance.member, api_key: instance.api_key };
        let mut header = self.header(op, instance.team, IdemKey::hold_place(hold));
        (header.member, header.instance) = (Some(instance.member), Some(instance.id));
        match journal
            .hold_place(header, NewHold { id: hold, user, instance: instance.id, account, amount })?
        {
            journal::Outcome::Applied => Ok(()),
            // The policy saw enough a moment ago in this very transaction, so this is the net under it.
            journal::Outcome::Refused(Bound::Account(_)) => {
                let told = "the credits were spent meanwhile; look at the balance";
                Err(Error::conflict("not-enough-credits", told))
            }
            journal::Outcome::Refused(Bound::Budget(_)) => {
                let told = "a budget was used up meanwhile; look at the budgets";
                Err(Error::conflict("budget-used-up", told))
            }
        }
    }

    async fn drives_ensure(
        &self,
        op: &Op,
        tx: &mut Tx,
        scope: &Scope,
        new: &NewInstance,
        host: HostId,
    ) -> Result<Vec<Mount>> {
        let member = scope.member()?;
        let mut mounts = Vec::new();
        let wanted = [
            (new.mount_team_drive, None, TEAM_DRIVE, !member.role.runs_the_team()),
            (new.mount_personal_drive, Some(member.id), PERSONAL_DRIVE, false),
        ];
        for (_, owner, target, read_only) in wanted.into_iter().filter(|(wanted, ..)| *wanted) {
            let known = tx.drive_on(scope.team.id, owner, host).await?;
            let drive = match known {
                Some(drive) => drive,
                None => {
                    let id: DriveId = op.id();
                    let volume = format!("muster-{id}");
                    let row = DriveRow {
                        id,
                        team: scope.team.id,
                        member: owner,
                        host,
                        volume,
                        created_at: op.now(),
                        measured_bytes: None,
                        measured_at: None,
                    };
                    tx.drive_insert(&row).await?;
                    self.fleet.measure_soon(host, op.now());
                    row
                }
            };
            mounts.push(Mount { volume: drive.volume, target: target.to_owned(), read_only });
        }
        Ok(mounts)
    }

    /// The hold of a launch: a full runway at the quoted price.
    pub(super) fn hold_for(&self, scope: &Scope, per_hour: Credits) -> Result<Credits> {
        Ok(hold::runway_cost(per_hour.to_nano()?, self.runway(&scope.team.terms))?)
    }

    pub(super) async fn plan(
        &self,
        conn: &mut Conn,
        scope: &Scope,
        product: &str,
        source: Source<'_>,
        unit_qty: u32,
    ) -> Result<Plan> {
        let mut findings = Findings::new();
        let product = conn.product_find(product).await?.filter(|row| row.published);
        let (image, snapshot) = match source {
            Source::Image(image) => (conn.image_find(image).await?.filter(|row| row.published), None),
            Source::Snapshot(id) => {
                let snapshot = snapshot_ready(conn, scope, id, product.as_ref()).await?;
                (conn.image_fetch(snapshot.image).await?, Some(snapshot))
            }
        };
        findings.check(
            product.is_some(),
            "/product",
            "there is no such product; `catalog` lists those you may see",
        );
        findings.check(
            image.is_some(),
            "/image",
            "there is no such image; `catalog` lists those you may see",
        );
        findings.check((1..=64).contains(&unit_qty), "/unit_qty", format!("1 to 64, got {unit_qty}"));
        findings.done()?;
        let (Some(product), Some(image)) = (product, image) else { return Err(Error::not_found("product")) };
        let price = self.price_active(conn, scope.team.id, Some(product.id)).await?;
        let unit = |per_unit: u64| per_unit.saturating_mul(u64::from(unit_qty));
        Ok(Plan {
            gpus: product.gpus_per_unit.saturating_mul(unit_qty),
            cpu_millis: unit(product.cpu_millis),
            memory_bytes: unit(product.memory_bytes),
            product,
            image,
            snapshot,
            price,
            unit_qty,
        })
    }

    /// What the team's active price expects of the launch per hour; the list price if the plugin fails.
    async fn quote(&self, op: &Op, scope: &Scope, plan: &Plan) -> Result<(Credits, bool)> {
        let member = scope.member.as_ref().map(|member| member.id.to_string()).unwrap_or_default();
        self.price_quote(op, scope.team.id, &plan.price, &plan.product, member, plan.unit_qty).await
    }
}

/// Where instances see the team's drive.
pub(super) const TEAM_DRIVE: &str = "/team_data";

/// Where instances see their member's own drive.
pub(super) const PERSONAL_DRIVE: &str = "/datadrive";

/// How often a launch is tried again when the world moved under it.
pub(super) const ATTEMPTS: u32 = 4;

/// No warning was given yet.
pub(super) const UNWARNED: u8 = 0;

impl Plan {
    pub(super) fn resource(&self, scope: &Scope) -> Result<Resource> {
        Ok(Resource::Instance {
            team: scope.team.id,
            owner: scope.member()?.id,
            region: self.product.region.clone(),
            instance_type: self.product.instance_type.clone(),
            accelerator: self.product.accelerator.clone(),
            image: self.image.name.clone(),
            product: self.product.name.clone(),
            product_labels: self.product.labels.0.clone(),
            gpus: self.gpus,
        })
    }

    pub(super) fn wanted(&self, per_hour: Credits, hold: Credits) -> Wanted {
        Wanted { instances: 1, gpus: self.gpus, per_hour, hold }
    }

    pub(super) fn need(&self, bound_to: Option<HostId>) -> Need {
        Need {
            region: self.product.region.clone(),
            accelerator: (self.gpus > 0 && self.product.accelerator != NO_ACCELERATOR)
                .then(|| self.product.accelerator.clone()),
            gpus: self.gpus,
            cpu_millis: self.cpu_millis,
            memory_bytes: self.memory_bytes,
            bound_to,
        }
    }

    fn spec(&self, new: &NewInstance, mounts: Vec<Mount>) -> Spec {
        let ports: BTreeSet<u16> = self.image.ports.0.iter().copied().collect();
        let copied = self.snapshot.as_ref().map(|snapshot| snapshot::reference(snapshot.id));
        Spec {
            image: copied.unwrap_or_else(|| self.image.reference.clone()),
            cpu_millis: u32::try_from(self.cpu_millis).unwrap_or(u32::MAX),
            memory_bytes: self.memory_bytes,
            shm_bytes: (self.memory_bytes / 4).max(64 << 20),
            pids: 4096,
            ports: ports.into_iter().collect(),
            env: new.env.clone().into_iter().collect(),
            mounts,
            ssh_public_keys: new.ssh_public_keys.clone(),
            command: new.command.clone(),
        }
    }

    fn same_price(&self, quoted: &Plan) -> bool {
        self.price.version == quoted.price.version
            && self.product.id == quoted.product.id
            && self.product.version == quoted.product.version
    }
}

/// Counts a launch against the member's limits and the team's ceiling. What it costs for an hour is counted from the
/// instances themselves, which nobody else adds to under the team's lock.
pub(super) async fn reserve_quota(
    op: &Op,
    tx: &mut Tx,
    scope: &Scope,
    instances: u32,
    gpus: u32,
) -> Result<()> {
    let member = scope.member()?;
    let binds = !member.role.runs_the_team();
    let (limits, ceiling) = (member.limits_at(op.now(), &scope.team.limits), &scope.team.ceiling);
    // A limit that was lowered below what is held stands in the way only of more.
    let most_instances = limits.instances.filter(|_| binds && instances > 0);
    let most_gpus = limits.gpus.filter(|_| binds && gpus > 0);
    let team_instances = ceiling.instances.filter(|_| instances > 0);
    let team_gpus = ceiling.gpus.filter(|_| gpus > 0);
    let (own, whole) = (member.id.to_string(), scope.team.id.to_string());
    let fits = tx.usage_reserve(&own, instances, gpus, most_instances, most_gpus).await?
        && tx.usage_reserve(&whole, instances, gpus, team_instances, team_gpus).await?;
    if fits {
        return Ok(());
    }
    // The policy saw room a moment ago in this very transaction, so this is the net under it.
    Err(Error::conflict(
        "quota-race",
        "another launch took the rest of the quota meanwhile; look at what is held",
    ))
}
