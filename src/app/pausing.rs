//! Pausing what cannot be paid, and letting it go on: the container is frozen with all that it has in memory.
//!
//! A frozen process cannot give its accelerator back: what it keeps there would be lost, and nothing would stop it from
//! using the device when it goes on. So the accelerators stay with the instance, its running time is not billed, its
//! disk is billed as that of a stopped one, and after an hour it is stopped for good.

use super::{App, dispatch::INSTANCE_TIME};
use crate::{
    docker::Backend,
    error::Result,
    model::instance::{Desired, Phase, Seen, State},
    op::Op,
    store::instances::InstanceRow,
    time::Span,
};

/// How long a paused instance may keep its accelerators without paying for them.
const LONGEST: Span = Span::from_seconds(3_600);

impl App {
    /// The next step of what is there and shall run: nothing, unless it shall be paused, or is paused and shall not be.
    pub(super) async fn running(
        &self,
        op: &Op,
        backend: &dyn Backend,
        row: InstanceRow,
        seen: Option<&Seen>,
        phase: Phase,
    ) -> Result<bool> {
        let Some(seen) = seen else { return Ok(true) };
        if row.paused_since.is_none() {
            if phase == Phase::Paused {
                // Somebody paused it behind our back, or an engine died while it took a snapshot.
                backend.resume(&seen.id).await?;
            }
            return Ok(false);
        }
        backend.pause(&seen.id).await?;
        let Some((mut tx, mut row)) = self.row_lock(&row).await? else { return Ok(true) };
        if row.paused_since.is_none() || row.state != State::Running {
            return Ok(true);
        }
        if let Some(segment) = tx.segment_open_of(&row.id.to_string(), INSTANCE_TIME).await? {
            tx.segment_close(segment.id, row.proof_at.unwrap_or(segment.proof_at)).await?;
        }
        row.state = State::Paused;
        let row = tx.instance_save(row).await?;
        self.instance_note(op, &mut tx, &row, "instance.paused").await?;
        self.system_commit(op, tx).await?;
        self.fleet.measure_soon(row.host, op.now());
        tracing::info!(instance = %row.id, "paused");
        Ok(true)
    }

    /// The next step of what is paused: it goes on, stays as it is, or is stopped when that has lasted too long.
    pub(super) async fn paused(
        &self,
        op: &Op,
        backend: &dyn Backend,
        row: InstanceRow,
        seen: Option<&Seen>,
    ) -> Result<bool> {
        let Some(since) = row.paused_since else { return self.run_on(op, backend, row, seen).await };
        if let Some(seen) = seen.filter(|seen| seen.phase == Phase::Running) {
            backend.pause(&seen.id).await?;
        }
        if op.now() - since < LONGEST {
            return self.stopped(op, row).await;
        }
        let Some((mut tx, mut row)) = self.row_lock(&row).await? else { return Ok(true) };
        if row.state != State::Paused || row.paused_since != Some(since) {
            return Ok(true);
        }
        row.desired = Desired::Stopped;
        row.reason_detail = format!("{}; after an hour it was stopped", row.reason_detail);
        let row = tx.instance_save(row).await?;
        self.instance_note(op, &mut tx, &row, "instance.stopped").await?;
        self.system_commit(op, tx).await?;
        Ok(true)
    }

    /// Lets go on what was frozen, and bills it again from now on. What ended meanwhile, or shall end, is not billed:
    /// the next pass finds it so.
    pub(super) async fn run_on(
        &self,
        op: &Op,
        backend: &dyn Backend,
        row: InstanceRow,
        seen: Option<&Seen>,
    ) -> Result<bool> {
        let before = row.state;
        let alive = seen.filter(|seen| matches!(seen.phase, Phase::Running | Phase::Paused));
        if let Some(frozen) =
            alive.filter(|seen| seen.phase == Phase::Paused && row.desired == Desired::Running)
        {
            backend.resume(&frozen.id).await?;
        }
        let Some((mut tx, mut row)) = self.row_lock(&row).await? else { return Ok(true) };
        if row.state != before {
            return Ok(true);
        }
        if row.desired == Desired::Running && alive.is_some() {
            let now = op.now();
            row.proof_at = Some(now);
            let segment = self.segment(op, &mut tx, &row, now).await?;
            tx.segment_open(&segment).await?;
        }
        row.state = State::Running;
        tx.instance_save(row).await?;
        self.system_commit(op, tx).await?;
        Ok(true)
    }
}
