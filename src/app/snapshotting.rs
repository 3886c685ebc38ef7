//! Snapshots on their hosts: which are to be taken, which were, and which are to go.
//!
//! Level-triggered like everything that hosts do: every pass compares the rows with what the host has, by the label of
//! each image, and takes the next step of each. A server that dies in between leaves a row and maybe an image, and the
//! next pass finds out.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{App, dispatch::INSTANCE_TIME, fleet::Copy};
use crate::{
    docker::{self, Backend, Trouble},
    error::Result,
    ids::InstanceId,
    model::{
        instance::{Desired, Phase, Seen, State},
        snapshot::{SnapshotOrder, SnapshotState, StoredSnapshot},
    },
    op::Op,
    store::{Tx, fleet::HostRow, instances::InstanceRow, snapshots::SnapshotRow},
    time::{Span, Timestamp},
};

/// For how long a paused container is left to an engine that a server before this one may have told to copy it. An
/// engine that died over it leaves the container paused and copies nothing.
const ENGINE_MAY_COPY: Span = Span::from_seconds(300);

/// What a pass over the snapshots of a host found.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Whether something is under way.
    pub(super) busy: bool,
    /// The instances whose disks are still to be copied: they must not go away.
    pub(super) instances: HashSet<InstanceId>,
}

/// The containers that a host has, by instance and generation.
type Containers<'a> = HashMap<(InstanceId, u32), &'a Seen>;

impl App {
    /// The next step of each snapshot of a host.
    pub(super) async fn snapshots_step(
        &self,
        op: &Op,
        host: &HostRow,
        backend: &Arc<dyn Backend>,
        containers: &Containers<'_>,
        looked_at: Timestamp,
    ) -> Copied {
        let mut copied = Copied::default();
        if let Err(error) =
            self.snapshots_compare(op, host, backend, containers, looked_at, &mut copied).await
        {
            tracing::warn!(host = %host.name, ?error, "the snapshots of a host could not be looked at");
            copied.busy = true;
        }
        copied
    }

    async fn snapshots_compare(
        &self,
        op: &Op,
        host: &HostRow,
        backend: &Arc<dyn Backend>,
        containers: &Containers<'_>,
        looked_at: Timestamp,
        copied: &mut Copied,
    ) -> Result<()> {
        let mut read = self.db.read().await?;
        let rows = read.snapshots_live_on(host.id).await?;
        drop(read);
        // Until it is known better, what shall be copied stays.
        let pending = rows.iter().filter(|row| row.state.is_pending());
        copied.instances.extend(pending.map(|row| row.instance));
        let all = backend.snapshots(self.installation).await?;
        let mut under_way = HashSet::new();
        for row in &rows {
            let stored: Vec<&StoredSnapshot> = all.iter().filter(|one| one.snapshot == row.id).collect();
            let step = self.snapshot_step(op, host, backend, row, &stored, containers, looked_at).await;
            let goes_on = step.unwrap_or_else(|error| {
                tracing::warn!(snapshot = %row.id, host = %host.name, ?error, "a step failed; it is tried again");
                true
            });
            copied.busy |= goes_on;
            if goes_on {
                under_way.insert(row.instance);
            }
        }
        copied.instances = under_way;
        let live: HashMap<_, _> = rows.iter().map(|row| (row.id, row.state)).collect();
        for stored in &all {
            // Its twin has the name; or no row wants it, and what ran from it has kept it until now.
            let twin = !stored.named && live.get(&stored.snapshot) == Some(&SnapshotState::Ready);
            if twin || !live.contains_key(&stored.snapshot) {
                self.snapshot_stray_remove(&**backend, host, stored, twin).await?;
            }
        }
        Ok(())
    }

    async fn snapshot_stray_remove(
        &self,
        backend: &dyn Backend,
        host: &HostRow,
        stored: &StoredSnapshot,
        twin: bool,
    ) -> Result<()> {
        // It may have been asked for after the rows were read.
        let row = self.db.read().await?.snapshot_fetch(stored.snapshot).await?;
        let wanted = row.is_some_and(|row| {
            let over = matches!(row.state, SnapshotState::Failed | SnapshotState::Deleted);
            !over && row.host == host.id
        });
        if wanted && !twin {
            return Ok(());
        }
        match backend.snapshot_remove(stored, self.installation).await {
            Ok(true) => {
                tracing::info!(snapshot = %stored.snapshot, host = %host.name, "removed what nothing wants");
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(snapshot = %stored.snapshot, ?error, "a stray snapshot could not be removed");
            }
        }
        Ok(())
    }

    /// The next step of one snapshot. Gives whether its instance has to be kept as it is for it.
    #[expect(clippy::too_many_arguments, reason = "what one pass knows")]
    async fn snapshot_step(
        &self,
        op: &Op,
        host: &HostRow,
        backend: &Arc<dyn Backend>,
        row: &SnapshotRow,
        stored: &[&StoredSnapshot],
        containers: &Containers<'_>,
        looked_at: Timestamp,
    ) -> Result<bool> {
        let named = stored.iter().find(|one| one.named).copied();
        match row.state {
            SnapshotState::Failed | SnapshotState::Deleted => Ok(false),
            SnapshotState::Ready => self.snapshot_confirm(op, row, named).await,
            SnapshotState::Deleting => {
                if matches!(self.fleet.copy_asked(row.id), Copy::UnderWay) {
                    return Ok(true);
                }
                for one in stored {
                    // What is still needed there stays without a row, and is asked for again in every pass.
                    backend.snapshot_remove(one, self.installation).await?;
                }
                self.snapshot_end(op, row, SnapshotState::Deleted, "").await
            }
            SnapshotState::Wanted | SnapshotState::Taking => {
                match (self.fleet.copy_asked(row.id), named) {
                    (Copy::UnderWay, _) => Ok(true),
                    (_, Some(one)) => self.snapshot_ready(op, row, one).await,
                    // It was listed before it was there, or the answer was lost: the next pass sees.
                    (Copy::Over(Ok(())), None) => Ok(true),
                    (Copy::Over(Err(error)), None) if error.is_unreachable() => Ok(true),
                    (Copy::Over(Err(error)), None) => {
                        let why = reason_of(&error);
                        self.snapshot_end(op, row, SnapshotState::Failed, &why).await
                    }
                    (Copy::Unasked, None) => {
                        self.snapshot_begin(op, host, backend, row, containers, looked_at).await
                    }
                }
            }
        }
    }

    /// Has the disk copied, as soon as the instance is where it can be.
    async fn snapshot_begin(
        &self,
        op: &Op,
        host: &HostRow,
        backend: &Arc<dyn Backend>,
        row: &SnapshotRow,
        containers: &Containers<'_>,
        looked_at: Timestamp,
    ) -> Result<bool> {
        let instance = self.db.read().await?.instance_fetch(row.instance).await?;
        let there = instance.filter(|instance| !instance.state.is_final());
        let found = there.and_then(|instance| {
            let seen = containers.get(&(instance.id, instance.generation)).copied()?;
            Some((instance, seen))
        });
        let Some((instance, seen)) = found else {
            let why = "its instance's container is gone, and the disk with it";
            return self.snapshot_end(op, row, SnapshotState::Failed, why).await;
        };
        match (instance.state, seen.phase) {
            // What shall stop is copied when it has: then nothing has to be paused for it.
            (State::Running, _) if instance.desired == Desired::Stopped => return Ok(true),
            (State::Snapshotting, Phase::Paused)
                if row.taking_at.is_some_and(|at| op.now() - at < ENGINE_MAY_COPY) =>
            {
                return Ok(true);
            }
            (State::Running, Phase::Running)
            | (State::Stopped, Phase::Exited | Phase::Created)
            | (State::Paused, Phase::Paused)
            | (State::Snapshotting, _) => {}
            _ => return Ok(true),
        }
        if !self.snapshot_begun(op, row, &instance, looked_at).await? {
            return Ok(true);
        }
        let order = SnapshotOrder { snapshot: row.id, team: row.team, container: seen.id.clone() };
        self.fleet.copy(host, backend, order, self.installation);
        Ok(true)
    }

    /// Notes that the disk is being copied, and ends the bill of a running instance for as long; `false` when the world
    /// has moved meanwhile.
    async fn snapshot_begun(
        &self,
        op: &Op,
        row: &SnapshotRow,
        instance: &InstanceRow,
        looked_at: Timestamp,
    ) -> Result<bool> {
        let Some((mut tx, mut fresh)) = self.row_lock(instance).await? else { return Ok(false) };
        let Some(mut row) = tx.snapshot_fetch(row.id).await?.filter(|row| row.state.is_pending()) else {
            return Ok(false);
        };
        if fresh.state != instance.state || fresh.desired != instance.desired {
            return Ok(false);
        }
        if fresh.state == State::Running {
            if let Some(segment) = tx.segment_open_of(&fresh.id.to_string(), INSTANCE_TIME).await? {
                tx.segment_close(segment.id, looked_at).await?;
            }
            fresh.proof_at = fresh.proof_at.max(Some(looked_at));
            fresh.state = State::Snapshotting;
            tx.instance_save(fresh).await?;
        }
        row.state = SnapshotState::Taking;
        row.taking_at = Some(op.now());
        tx.snapshot_save(row).await?;
        self.system_commit(op, tx).await?;
        Ok(true)
    }

    /// The host has it: from now on it is stored.
    async fn snapshot_ready(&self, op: &Op, row: &SnapshotRow, stored: &StoredSnapshot) -> Result<bool> {
        let Some((mut tx, mut row)) = self.snapshot_lock(row).await? else { return Ok(false) };
        row.state = SnapshotState::Ready;
        row.stored_as = Some(stored.stored_as.clone());
        row.size_bytes = Some(stored.size_bytes);
        row.ready_at = Some(op.now());
        let row = tx.snapshot_save(row).await?;
        self.snapshot_tell(op, &mut tx, &row, "snapshot.ready").await?;
        self.system_commit(op, tx).await?;
        self.fleet.measure_soon(row.host, op.now());
        tracing::info!(snapshot = %row.id, instance = %row.instance, "a snapshot is ready");
        Ok(false)
    }

    /// Looks whether what is stored is still there, under the name that it is launched by.
    async fn snapshot_confirm(
        &self,
        op: &Op,
        row: &SnapshotRow,
        named: Option<&StoredSnapshot>,
    ) -> Result<bool> {
        let Some(named) = named else {
            let why = "it was removed from its host by somebody else";
            return self.snapshot_end(op, row, SnapshotState::Failed, why).await;
        };
        if row.stored_as.as_ref() != Some(&named.stored_as) {
            // A twin that an engine finished late has taken the name over.
            let Some((mut tx, mut row)) = self.snapshot_lock(row).await? else { return Ok(false) };
            row.stored_as = Some(named.stored_as.clone());
            row.size_bytes = Some(named.size_bytes);
            tx.snapshot_save(row).await?;
            self.system_commit(op, tx).await?;
        }
        Ok(false)
    }

    /// It is gone, or never came to be.
    async fn snapshot_end(
        &self,
        op: &Op,
        row: &SnapshotRow,
        state: SnapshotState,
        why: &str,
    ) -> Result<bool> {
        let Some((mut tx, row)) = self.snapshot_lock(row).await? else { return Ok(true) };
        let row = self.snapshot_end_write(op, &mut tx, row, state, why).await?;
        self.system_commit(op, tx).await?;
        if state == SnapshotState::Failed {
            tracing::warn!(snapshot = %row.id, why, "a snapshot failed");
        }
        Ok(false)
    }

    /// Writes that a snapshot is over, and that it counts no longer.
    pub(super) async fn snapshot_end_write(
        &self,
        op: &Op,
        tx: &mut Tx,
        mut row: SnapshotRow,
        state: SnapshotState,
        why: &str,
    ) -> Result<SnapshotRow> {
        if row.state != SnapshotState::Deleting {
            self.snapshot_uncount(tx, &row).await?;
        }
        row.state = state;
        row.reason = why.chars().take(500).collect();
        let row = tx.snapshot_save(row).await?;
        if state == SnapshotState::Failed {
            self.snapshot_tell(op, tx, &row, "snapshot.failed").await?;
        }
        Ok(row)
    }

    /// Opens a transaction with the snapshot as it is now; `None` if it has moved on since it was read.
    async fn snapshot_lock(&self, row: &SnapshotRow) -> Result<Option<(Tx, SnapshotRow)>> {
        let mut tx = self.db.begin().await?;
        tx.team_lock(row.team).await?;
        let fresh = tx.snapshot_fetch(row.id).await?.filter(|fresh| fresh.version == row.version);
        Ok(fresh.map(|fresh| (tx, fresh)))
    }

    async fn snapshot_tell(&self, op: &Op, tx: &mut Tx, row: &SnapshotRow, kind: &str) -> Result<()> {
        let document = serde_json::json!({
            "snapshot": row.id, "name": row.name, "owner": row.owner, "instance": row.instance, "cause": row.cause,
            "reason": row.reason, "size_bytes": row.size_bytes,
        });
        self.tell(op, tx, &row.team.to_string(), kind, &row.id.to_string(), document).await
    }
}

/// Why a host did not take a snapshot, for whoever asked for it: without what the engine said of paths.
fn reason_of(error: &docker::Error) -> String {
    match error.trouble {
        Trouble::DiskFull if error.said.starts_with("its disk") => format!("not enough room: {}", error.said),
        Trouble::DiskFull => "its host's disk is full".to_owned(),
        Trouble::Missing => "its instance's container is gone, and the disk with it".to_owned(),
        trouble => {
            format!("its host could not take it ({trouble}); the operator finds the reason in the log")
        }
    }
}
