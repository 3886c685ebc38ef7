//! Metering of storage: what each host stores is counted now and then, and a change of it closes one segment and opens
//! the next. So what is charged is a sum over the measured steps, and ends with the last measurement.
//!
//! Nobody holds money for storage: the meter takes it from the account that pays, and what is not there is owed.

use std::collections::{BTreeMap, HashMap};

use super::{App, prices::ActivePrice, storage_rates::rate_in};
use crate::{
    docker::Usage,
    error::{Error, Result},
    ids::{AccountId, HostId, InstanceId, MemberId, SegmentId, SnapshotId, TeamId},
    ledger::{account::AccountKind, interval::Segment},
    model::{
        host::Reach,
        instance::{Desired, State},
        price::Sku,
        quota::NO_ACCELERATOR,
        snapshot::SnapshotState,
        storage::{StorageKind, mebibytes, per_mib_hour},
        team::{MemberState, Spending},
    },
    money::{Credits, NanoCredits},
    op::Op,
    store::{
        Conn, Tx,
        fleet::{DriveRow, HostRow},
        instances::InstanceRow,
        snapshots::SnapshotRow,
        storage::StorageRateRow,
    },
    time::{Span, Timestamp},
};

/// The grid of storage: a quarter of an hour, which the months of every time zone begin on.
const GRID: Span = Span::from_seconds(900);

/// Something that a host stores.
#[derive(Clone)]
enum Stored {
    Drive(DriveRow),
    Stopped(Box<InstanceRow>),
    Snapshot(Box<SnapshotRow>),
}

/// What of the storage is to be metered from a measurement on.
struct Metered {
    member: MemberId,
    account: AccountId,
    quantity: u32,
    price: ActivePrice,
    sku: Sku,
}

/// A measurement of one stored thing, with everything that a change needs to be asked for before it is written.
struct Measured {
    stored: Stored,
    bytes: Option<u64>,
    metered: Option<Metered>,
    /// What an hour of it is quoted at; absent when nothing changes.
    quoted: Option<Credits>,
}

impl Stored {
    fn team(&self) -> TeamId {
        match self {
            Self::Drive(drive) => drive.team,
            Self::Stopped(instance) => instance.team,
            Self::Snapshot(snapshot) => snapshot.team,
        }
    }

    fn resource(&self) -> String {
        match self {
            Self::Drive(drive) => drive.id.to_string(),
            Self::Stopped(instance) => instance.id.to_string(),
            Self::Snapshot(snapshot) => snapshot.id.to_string(),
        }
    }

    const fn kind(&self) -> StorageKind {
        match self {
            Self::Drive(_) => StorageKind::Drive,
            Self::Stopped(_) => StorageKind::Stopped,
            Self::Snapshot(_) => StorageKind::Snapshot,
        }
    }

    fn instance(&self) -> Option<InstanceId> {
        match self {
            Self::Drive(_) | Self::Snapshot(_) => None,
            Self::Stopped(instance) => Some(instance.id),
        }
    }
}

impl Metered {
    /// Whether an open segment meters just this.
    fn is(&self, segment: &Segment) -> bool {
        segment.quantity == self.quantity
            && segment.member == self.member
            && segment.account == Some(self.account)
            && segment.price_version == self.price.version
            && segment.sku == self.sku
    }
}

impl App {
    /// Counts what a host stores when that is due. Gives whether it was.
    pub async fn storage_pass(&self, op: &Op, host: HostId) -> Result<bool> {
        if !self.fleet.measure_begins(host, op.now(), self.settings.probe_every) {
            return Ok(false);
        }
        self.storage_measure(op, host).await?;
        Ok(true)
    }

    /// Counts what a host stores, and meters it from now on by that.
    async fn storage_measure(&self, op: &Op, host: HostId) -> Result<()> {
        let mut read = self.db.read().await?;
        let Some(host) = read.host_fetch(host).await? else { return Ok(()) };
        // What answers in the place of a host that was away may be another: dispatch looks first.
        if host.reach != Reach::Up {
            return Ok(());
        }
        let drives = read.drives_on(host.id).await?;
        let instances = read.instances_live_on(host.id).await?;
        let snapshots = read.snapshots_live_on(host.id).await?;
        drop(read);
        let mut stored: Vec<Stored> = drives.into_iter().map(Stored::Drive).collect();
        let stopped = instances.into_iter().filter(is_stopped);
        stored.extend(stopped.map(|row| Stored::Stopped(Box::new(row))));
        let ready = snapshots.into_iter().filter(|row| row.state == SnapshotState::Ready);
        stored.extend(ready.map(|row| Stored::Snapshot(Box::new(row))));
        if stored.is_empty() {
            return Ok(());
        }
        let backend = self.backend(&host).await?;
        let measured_at = op.now();
        let usage = backend.usage(self.installation).await?;
        let mut teams: BTreeMap<TeamId, Vec<Measured>> = BTreeMap::new();
        for measured in self.measured(op, &host, stored, &usage).await? {
            teams.entry(measured.stored.team()).or_default().push(measured);
        }
        for (team, measured) in teams {
            // One team's trouble must not keep the others' storage from being metered; the next pass tries again.
            if let Err(error) = self.storage_write(op, team, &measured, measured_at).await {
                tracing::error!(%team, host = %host.name, ?error, "what is stored could not be written");
            }
        }
        Ok(())
    }

    /// What of the count belongs to what is stored, what it is metered as, and the quotes for what has changed.
    async fn measured(
        &self,
        op: &Op,
        host: &HostRow,
        stored: Vec<Stored>,
        usage: &Usage,
    ) -> Result<Vec<Measured>> {
        let volumes: HashMap<&str, u64> =
            usage.volumes.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        let layers: HashMap<(InstanceId, u32), u64> = usage
            .writable_layers
            .iter()
            .map(|(id, generation, bytes)| ((*id, *generation), *bytes))
            .collect();
        let snapshots: HashMap<SnapshotId, u64> = usage.snapshots.iter().copied().collect();
        let mut read = self.db.read().await?;
        let rates = read.storage_rates().await?;
        let open = read.storage_segments_on(host.id).await?;
        let mut all = Vec::with_capacity(stored.len());
        for stored in stored {
            let bytes = match &stored {
                Stored::Drive(drive) => volumes.get(drive.volume.as_str()).copied(),
                Stored::Stopped(row) => layers.get(&(row.id, row.generation)).copied(),
                Stored::Snapshot(row) => snapshots.get(&row.id).copied(),
            };
            let metered = match bytes {
                Some(bytes) => self.metered(&mut read, &rates, host, &stored, bytes).await?,
                None => None,
            };
            all.push(Measured { stored, bytes, metered, quoted: None });
        }
        drop(read);
        for measured in &mut all {
            let (resource, kind) = (measured.stored.resource(), measured.stored.kind().word());
            let open = open.iter().find(|open| open.resource == resource && open.kind == kind);
            if let Some(metered) = &measured.metered
                && !open.is_some_and(|open| metered.is(open))
            {
                measured.quoted = Some(self.storage_quote(op, measured.stored.team(), metered).await?);
            }
        }
        Ok(all)
    }

    async fn storage_quote(&self, op: &Op, team: TeamId, metered: &Metered) -> Result<Credits> {
        let (sku, member) = (metered.sku.clone(), metered.member.to_string());
        let (per_hour, _) = self.sku_quote(op, team, &metered.price, sku, member, metered.quantity).await?;
        Ok(per_hour)
    }

    /// What `bytes` of something stored are metered as; `None` where there is no rate for it.
    async fn metered(
        &self,
        conn: &mut Conn,
        rates: &[StorageRateRow],
        host: &HostRow,
        stored: &Stored,
        bytes: u64,
    ) -> Result<Option<Metered>> {
        let kind = stored.kind();
        let Some(rate) = rate_in(rates, kind, &host.region) else { return Ok(None) };
        let Some((member, account)) = payer(conn, stored).await? else { return Ok(None) };
        let sku = Sku {
            name: kind.word().to_owned(),
            kind: kind.word().to_owned(),
            region: host.region.clone(),
            instance_type: "storage".to_owned(),
            accelerator: NO_ACCELERATOR.to_owned(),
            unit_price: per_mib_hour(rate)?,
        };
        let price = self.price_active(conn, stored.team(), None).await?;
        Ok(Some(Metered { member, account, quantity: mebibytes(bytes), price, sku }))
    }

    /// Writes the measurements of one team: proofs where nothing changed, and a new segment where something did.
    async fn storage_write(&self, op: &Op, team: TeamId, all: &[Measured], at: Timestamp) -> Result<()> {
        let mut tx = self.db.begin().await?;
        tx.team_lock(team).await?;
        for measured in all {
            if let (Stored::Drive(drive), Some(bytes)) = (&measured.stored, measured.bytes) {
                tx.drive_measured(drive.id, bytes, at).await?;
            }
            if let Stored::Stopped(row) = &measured.stored
                && !tx.instance_fetch(row.id).await?.as_ref().is_some_and(is_stopped)
            {
                // It was started or released meanwhile, and that has ended its segment.
                continue;
            }
            if let Stored::Snapshot(row) = &measured.stored
                && tx.snapshot_fetch(row.id).await?.is_none_or(|now| now.version != row.version)
            {
                // It was shared or deleted meanwhile: the next count knows more.
                continue;
            }
            self.storage_meter(op, &mut tx, measured, at).await?;
        }
        self.system_commit(op, tx).await
    }

    async fn storage_meter(&self, op: &Op, tx: &mut Tx, measured: &Measured, at: Timestamp) -> Result<()> {
        let (resource, kind) = (measured.stored.resource(), measured.stored.kind().word());
        let open = tx.segment_open_of(&resource, kind).await?;
        match (&open, &measured.metered) {
            (Some(open), Some(metered)) if metered.is(open) => {
                tx.segment_proof_advance(open.id, at).await?;
                return Ok(());
            }
            // Another pass was here between the count and now: the next one knows more.
            (_, Some(_)) if measured.quoted.is_none() => return Ok(()),
            (Some(open), _) => {
                // What has changed was there up to now; what is gone was there at its last proof.
                let end = if measured.bytes.is_some() { at } else { open.proof_at };
                tx.segment_close(open.id, end).await?;
            }
            (None, _) => {}
        }
        if let (Some(metered), Some(quoted)) = (&measured.metered, measured.quoted) {
            let segment = Segment {
                id: op.id::<SegmentId>(),
                team: measured.stored.team(),
                member: metered.member,
                number: tx.segments_next(&resource, kind).await?,
                resource,
                instance: measured.stored.instance(),
                account: Some(metered.account),
                kind: kind.to_owned(),
                quantity: metered.quantity,
                price_version: metered.price.version,
                sku: metered.sku.clone(),
                quoted_per_hour: quoted,
                grid: GRID.max(self.settings.interval),
                start_at: at,
                end_at: None,
                proof_at: at,
                billed_until: at,
                next_k: 0,
                cumulative: NanoCredits::ZERO,
                settled: false,
            };
            tx.segment_open(&segment).await?;
        }
        Ok(())
    }

    /// Ends the metering of a stopped instance's disk: it is started again, or released.
    pub(super) async fn stopped_end(&self, tx: &mut Tx, instance: InstanceId) -> Result<()> {
        self.stored_end(tx, &instance.to_string(), StorageKind::Stopped).await
    }

    /// Ends the metering of something that is stored, at its last proof.
    pub(super) async fn stored_end(&self, tx: &mut Tx, resource: &str, kind: StorageKind) -> Result<()> {
        if let Some(open) = tx.segment_open_of(resource, kind.word()).await? {
            tx.segment_close(open.id, open.proof_at).await?;
        }
        Ok(())
    }
}

/// Whether the time of an instance costs nothing and its disk does: it is stopped, or paused for want of money.
fn is_stopped(row: &InstanceRow) -> bool {
    let paused = row.state == State::Paused && row.desired == Desired::Running && row.paused_since.is_some();
    paused || (row.state == State::Stopped && row.desired == Desired::Stopped)
}

/// Whose use something stored is, and which account pays for it. `None` where nobody ever paid for it.
async fn payer(conn: &mut Conn, stored: &Stored) -> Result<Option<(MemberId, AccountId)>> {
    let owner = match stored {
        Stored::Stopped(row) => {
            let hold = conn.hold_last_of_instance(row.id).await?;
            return Ok(hold.map(|hold| (row.member, hold.account)));
        }
        Stored::Drive(drive) => drive.member,
        Stored::Snapshot(snapshot) => snapshot.owner,
    };
    let gone = || Error::internal("something stored without its team");
    let team = conn.team_fetch(stored.team()).await?.ok_or_else(gone)?;
    let member = match owner {
        Some(member) => conn.member_fetch(member).await?,
        None => None,
    };
    // The wallet of a removed member was emptied into the pool, which has to pay for what is left of them.
    let wallet = member
        .as_ref()
        .filter(|member| team.spending == Spending::Wallet && member.state != MemberState::Removed);
    let account = match wallet {
        Some(member) => conn.account_of_member(team.id, member.id).await?,
        None => conn.account_of_team(team.id, AccountKind::TeamPool).await?,
    };
    let user = match member {
        Some(member) => Some(member.id),
        None => conn.team_owner(team.id).await?,
    };
    Ok(user.map(|user| (user, account.id)))
}
