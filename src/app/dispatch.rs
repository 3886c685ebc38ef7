//! Dispatch: makes one host look as the database says, and writes down what was seen.
//!
//! Level-triggered: every pass lists what is there, compares, and takes the next step of each instance. A step can be
//! repeated, and a crash anywhere is just another start. What the engine says of start and end is the truth for money.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use futures_util::{StreamExt, stream};

use super::{App, reaching::by_the_engine};
use crate::{
    docker::Backend,
    error::{Error, Result},
    ids::{HostId, InstanceId, TeamId},
    ledger::posting::IdemKey,
    model::instance::{Desired, Detail, Phase, Reason, Seen, State, container_name},
    op::Op,
    store::{Concern, Tx, fleet::HostRow, instances::InstanceRow},
    time::{Span, Timestamp},
};

/// How long a container may take to end by itself before it is killed.
const GRACE: Span = Span::from_seconds(10);

/// Instances of one host that are moved on at once.
const STEPS_AT_ONCE: usize = 8;

/// An exit code that says nothing: the engine was away when the container ended, and made up time and code.
const ENGINE_WAS_AWAY: i64 = 255;

/// What the time of a running instance is metered as.
pub(super) const INSTANCE_TIME: &str = "instance";

/// What a pass found to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Whether something is under way, so that the next look should be soon.
    pub busy: bool,
}

impl App {
    /// One pass over one host.
    pub async fn reconcile(&self, op: &Op, id: HostId) -> Result<Pass> {
        let mut read = self.db.read().await?;
        let Some(host) = read.host_fetch(id).await? else { return Ok(Pass { busy: false }) };
        let rows = read.instances_live_on(id).await?;
        drop(read);
        let backend = match self.backend(&host).await {
            Ok(backend) => backend,
            Err(error) => return self.host_missed(op, &host, &error.to_string()).await,
        };
        let looked_at = by_the_engine(&host, op.now());
        let seen = match backend.list(self.installation).await {
            Ok(seen) => seen,
            Err(error) => return self.host_missed(op, &host, &error.to_string()).await,
        };
        if !self.host_answered(op, &host, &*backend).await? {
            return Ok(Pass { busy: true });
        }
        let by_name: HashMap<(InstanceId, u32), &Seen> =
            seen.iter().map(|seen| ((seen.instance, seen.generation), seen)).collect();
        let copied = self.snapshots_step(op, &host, &backend, &by_name, looked_at).await;
        let alive: Vec<(TeamId, InstanceId)> = rows
            .iter()
            .filter(|row| row.state == State::Running && row.desired == Desired::Running)
            .filter(|row| by_name.get(&(row.id, row.generation)).is_some_and(|s| s.phase == Phase::Running))
            .map(|row| (row.team, row.id))
            .collect();
        self.proofs_advance(op, &alive, looked_at).await?;
        let known: HashMap<InstanceId, u32> = rows.iter().map(|row| (row.id, row.generation)).collect();
        let mut steps = Vec::with_capacity(rows.len());
        for row in rows {
            // A disk that is being copied stays as it is: what is started or goes on, and what is removed, waits.
            let goes = row.desired == Desired::Released && row.ended_at.is_some();
            let waits = matches!(row.state, State::Snapshotting | State::Scheduled | State::Paused) || goes;
            if waits && copied.instances.contains(&row.id) {
                continue;
            }
            let seen = by_name.get(&(row.id, row.generation)).copied();
            steps.push(self.step_or_tell(op, &host, &backend, row, seen, looked_at));
        }
        // Side by side: a container that is slow to stop must not keep the others waiting.
        let under_way: Vec<bool> = stream::iter(steps).buffer_unordered(STEPS_AT_ONCE).collect().await;
        let busy = copied.busy || under_way.contains(&true);
        for stray in seen.iter().filter(|seen| known.get(&seen.instance) != Some(&seen.generation)) {
            self.stray_remove(&*backend, &host, stray).await;
        }
        Ok(Pass { busy })
    }

    /// A container with our label that no live row wants: an instance that is over, or an old generation.
    async fn stray_remove(&self, backend: &dyn Backend, host: &HostRow, stray: &Seen) {
        // A launch may have been committed after the rows were read, so ask once more before removing anything.
        let wanted = async {
            let mut read = self.db.read().await?;
            let row = read.instance_fetch(stray.instance).await?;
            Ok::<_, Error>(row.is_some_and(|row| {
                !row.state.is_final() && row.generation == stray.generation && row.host == host.id
            }))
        };
        match wanted.await {
            Ok(false) => {
                tracing::info!(instance = %stray.instance, host = %host.name, "removing what nothing wants");
                if let Err(error) = backend.remove(&stray.id, self.installation).await {
                    tracing::warn!(instance = %stray.instance, ?error, "a stray container could not be removed");
                }
            }
            Ok(true) => {}
            Err(error) => tracing::warn!(?error, "a stray container could not be looked up"),
        }
    }

    /// The next step of one instance; a step that fails is told and tried again soon.
    async fn step_or_tell(
        &self,
        op: &Op,
        host: &HostRow,
        backend: &Arc<dyn Backend>,
        row: InstanceRow,
        seen: Option<&Seen>,
        looked_at: Timestamp,
    ) -> bool {
        let id = row.id;
        self.step(op, host, backend, row, seen, looked_at).await.unwrap_or_else(|error| {
            tracing::warn!(instance = %id, host = %host.name, ?error, "a step failed; it is tried again");
            true
        })
    }

    /// The next step of one instance. Gives whether more is to come soon.
    async fn step(
        &self,
        op: &Op,
        host: &HostRow,
        backend: &Arc<dyn Backend>,
        row: InstanceRow,
        seen: Option<&Seen>,
        looked_at: Timestamp,
    ) -> Result<bool> {
        match (row.desired, row.state, seen.map(|seen| seen.phase)) {
            (Desired::Running, State::Scheduled | State::Pulling | State::Starting, _) => {
                self.start(op, host, backend, row).await
            }
            (_, State::Snapshotting, _) => self.run_on(op, &**backend, row, seen).await,
            (Desired::Running, State::Paused, Some(Phase::Running | Phase::Paused)) => {
                self.paused(op, &**backend, row, seen).await
            }
            (Desired::Running, State::Running, Some(phase @ (Phase::Running | Phase::Paused))) => {
                self.running(op, &**backend, row, seen, phase).await
            }
            (Desired::Running, State::Unreachable, Some(Phase::Running | Phase::Paused)) => {
                self.returned(op, &**backend, row, looked_at).await
            }
            (Desired::Running, State::Running | State::Paused | State::Unreachable, _) => {
                self.ended_by_itself(op, &**backend, row, seen).await
            }
            (_, State::Released | State::Failed, _)
            | (Desired::Running, State::Stopped | State::Stopping | State::Releasing, _) => Ok(false),
            (Desired::Stopped, State::Stopped, Some(Phase::Running | Phase::Paused)) => {
                // Somebody started it behind our back: its accelerators may be another's by now.
                if let Some(seen) = seen {
                    backend.stop(&seen.id, GRACE).await?;
                }
                self.stopped(op, row).await
            }
            (Desired::Stopped, State::Stopped, _) => self.stopped(op, row).await,
            (Desired::Stopped, _, _) => self.stop(op, &**backend, row, seen, State::Stopped).await,
            (Desired::Released, _, Some(_)) if row.ended_at.is_none() => {
                self.stop(op, &**backend, row, seen, State::Releasing).await
            }
            (Desired::Released, _, Some(Phase::Running | Phase::Paused)) => {
                // It ended once and runs again: somebody started it behind our back.
                self.stop(op, &**backend, row, seen, State::Releasing).await
            }
            (Desired::Released, _, _) => {
                self.state_save(op, row.clone(), State::Releasing).await?;
                if let Some(seen) = seen {
                    backend.remove(&seen.id, self.installation).await?;
                }
                self.settle(op, row).await
            }
        }
    }

    async fn returned(
        &self,
        op: &Op,
        backend: &dyn Backend,
        row: InstanceRow,
        at: Timestamp,
    ) -> Result<bool> {
        let name = container_name(row.id, row.generation);
        let Some(detail) = backend.detail(&name).await? else { return Ok(true) };
        let alive = matches!(detail.phase, Phase::Running | Phase::Paused);
        let same = alive && detail.started_at == row.started_at;
        if !same {
            // It was restarted behind our back: the old run is over, and the new one is not ours to bill.
            return self.ended(op, row, &detail).await;
        }
        let who = (row.team, row.id);
        self.state_save(op, row, State::Running).await?;
        if detail.phase == Phase::Running {
            self.proofs_advance(op, &[who], at).await?;
        }
        Ok(false)
    }

    async fn ended_by_itself(
        &self,
        op: &Op,
        backend: &dyn Backend,
        row: InstanceRow,
        seen: Option<&Seen>,
    ) -> Result<bool> {
        if let Some(seen) = seen
            && let Some(detail) = backend.detail(&seen.id).await?
        {
            return self.ended(op, row, &detail).await;
        }
        // Removed outside of us: nobody can say when, so it is billed to the last proof of life.
        let Some((mut tx, mut row)) = self.row_lock(&row).await? else { return Ok(true) };
        let end = row.proof_at.unwrap_or(op.now());
        row.reason = Some(Reason::HostLost);
        row.reason_detail = "its container was removed from the host by somebody else".to_owned();
        self.end_write(&mut tx, &mut row, end).await?;
        row.state = State::Stopped;
        let row = tx.instance_save(row).await?;
        self.instance_note(op, &mut tx, &row, "instance.stopped").await?;
        self.system_commit(op, tx).await?;
        Ok(false)
    }

    /// The main process is over: writes the end, frees the accelerators, keeps the container until it is released.
    pub(super) async fn ended(&self, op: &Op, row: InstanceRow, detail: &Detail) -> Result<bool> {
        let Some((mut tx, mut row)) = self.row_lock(&row).await? else { return Ok(true) };
        row.exit_code = detail.exit_code;
        let unasked = row.desired == Desired::Running;
        if unasked {
            row.reason = Some(if detail.out_of_memory { Reason::OutOfMemory } else { Reason::Exited });
            row.reason_detail = match detail.exit_code {
                Some(ENGINE_WAS_AWAY) | None => "it ended while its host's engine was away".to_owned(),
                Some(code) => format!("its main process ended with exit code {code}"),
            };
            row.desired = Desired::Stopped;
        }
        let end = end_of(row.started_at, row.proof_at, detail, op.now());
        self.end_write(&mut tx, &mut row, end).await?;
        row.state = State::Stopped;
        let row = tx.instance_save(row).await?;
        if unasked {
            self.instance_note(op, &mut tx, &row, "instance.stopped").await?;
        }
        self.system_commit(op, tx).await?;
        Ok(false)
    }

    /// Stops what runs and writes down when it ended, by the engine's own clock.
    async fn stop(
        &self,
        op: &Op,
        backend: &dyn Backend,
        row: InstanceRow,
        seen: Option<&Seen>,
        into: State,
    ) -> Result<bool> {
        let detail = match seen {
            Some(seen) => {
                if row.state != State::Stopping && row.state != State::Releasing {
                    let state = if into == State::Stopped { State::Stopping } else { State::Releasing };
                    self.state_save(op, row.clone(), state).await?;
                }
                if seen.phase == Phase::Paused {
                    // What is frozen cannot hear that it shall end.
                    backend.resume(&seen.id).await?;
                }
                backend.stop(&seen.id, GRACE).await?;
                backend.detail(&seen.id).await?
            }
            None => None,
        };
        let Some((mut tx, mut row)) = self.row_lock(&row).await? else { return Ok(true) };
        let never_ran =
            detail.as_ref().is_none_or(|detail| detail.started_at.is_none()) && row.started_at.is_none();
        if row.ended_at.is_none()
            && let Some(started_at) = detail.as_ref().and_then(|detail| detail.started_at)
            && row.started_at != Some(started_at)
            && tx.segment_open_of(&row.id.to_string(), INSTANCE_TIME).await?.is_none()
        {
            // It was started by a pass that died before writing so: its time is owed all the same.
            row.started_at = Some(started_at);
            let segment = self.segment(op, &mut tx, &row, started_at).await?;
            tx.segment_open(&segment).await?;
        }
        let end = match &detail {
            Some(detail) => end_of(row.started_at, row.proof_at, detail, op.now()),
            None => row.proof_at.unwrap_or(op.now()),
        };
        row.exit_code = detail.as_ref().and_then(|detail| detail.exit_code);
        if never_ran {
            row.ended_at = Some(op.now());
            self.accelerators_free(&mut tx, &row).await?;
        } else {
            self.end_write(&mut tx, &mut row, end).await?;
        }
        row.state = into;
        tx.instance_save(row).await?;
        self.system_commit(op, tx).await?;
        Ok(into != State::Stopped)
    }

    /// The container is gone for good: once everything is charged, gives back hold, quota and accelerators.
    async fn settle(&self, op: &Op, row: InstanceRow) -> Result<bool> {
        if row.ended_at.is_none() {
            let Some((mut tx, mut row)) = self.row_lock(&row).await? else { return Ok(true) };
            let end = row.proof_at.unwrap_or(op.now());
            self.end_write(&mut tx, &mut row, end).await?;
            row.state = State::Releasing;
            tx.instance_save(row).await?;
            self.system_commit(op, tx).await?;
            return Ok(true);
        }
        self.meter_instance(op, &row).await?;
        let Some((mut tx, mut row)) = self.row_lock(&row).await? else { return Ok(true) };
        if tx.segments_of_instance(row.id).await?.iter().any(|segment| !segment.settled) {
            return Ok(true);
        }
        row.state = State::Released;
        self.give_back(op, &mut tx, &row).await?;
        tx.instance_save(row).await?;
        self.system_commit(op, tx).await?;
        Ok(false)
    }

    /// A launch that cannot come to life: nothing ran, so everything is given back.
    pub(super) async fn fail(&self, op: &Op, row: InstanceRow, reason: Reason, detail: &str) -> Result<bool> {
        let Some((mut tx, mut row)) = self.row_lock(&row).await? else { return Ok(true) };
        row.state = State::Failed;
        row.reason = Some(reason);
        row.reason_detail = detail.chars().take(500).collect();
        row.ended_at = Some(op.now());
        self.give_back(op, &mut tx, &row).await?;
        let row = tx.instance_save(row).await?;
        self.instance_note(op, &mut tx, &row, "instance.failed").await?;
        self.system_commit(op, tx).await?;
        Ok(false)
    }

    async fn give_back(&self, op: &Op, tx: &mut Tx, row: &InstanceRow) -> Result<()> {
        self.hold_give_back(op, tx, row).await?;
        self.accelerators_free(tx, row).await?;
        for holder in [row.member.to_string(), row.team.to_string()] {
            tx.usage_release(&holder, 1, 0).await?;
        }
        Ok(())
    }

    async fn hold_give_back(&self, op: &Op, tx: &mut Tx, row: &InstanceRow) -> Result<()> {
        let mut journal = tx.journal(op, row.team, &Concern::hold_of(row.member, row.id)).await?;
        let Some(hold) = journal.hold_of(row.id).map(|hold| hold.id) else { return Ok(()) };
        let mut header = self.header(op, row.team, IdemKey::hold_release(hold));
        (header.member, header.instance) = (Some(row.member), Some(row.id));
        journal.hold_release(header, hold)?;
        Ok(tx.journal_write(&journal).await?)
    }

    /// Takes the accelerators back, from the instance and from the counts of its holders.
    async fn accelerators_free(&self, tx: &mut Tx, row: &InstanceRow) -> Result<()> {
        let freed = tx.allocations_free(row.id).await?;
        if freed > 0 {
            for holder in [row.member.to_string(), row.team.to_string()] {
                tx.usage_release(&holder, 0, freed).await?;
            }
        }
        Ok(())
    }

    /// The time of a stopped instance costs nothing: once its run is charged, what is left of its hold comes back.
    pub(super) async fn stopped(&self, op: &Op, row: InstanceRow) -> Result<bool> {
        let mut read = self.db.read().await?;
        let held = read.hold_open_of_instance(row.id).await?.is_some();
        let segments = read.segments_of_instance(row.id).await?;
        let mut runs = segments.iter().filter(|segment| segment.kind == INSTANCE_TIME);
        let settled = runs.all(|segment| segment.settled);
        drop(read);
        if !held {
            return Ok(false);
        }
        if !settled {
            self.meter_instance(op, &row).await?;
            return Ok(true);
        }
        let Some((mut tx, fresh)) = self.row_lock(&row).await? else { return Ok(true) };
        let rests = |one: &InstanceRow| (one.state, one.desired, one.paused_since);
        if rests(&fresh) != rests(&row) {
            // It was started meanwhile: what is held now is for its next run.
            return Ok(true);
        }
        self.hold_give_back(op, &mut tx, &fresh).await?;
        self.system_commit(op, tx).await?;
        Ok(false)
    }

    /// A start that the host refused: it stays stopped, with its disk and without what was set aside for the run.
    pub(super) async fn start_refused(
        &self,
        op: &Op,
        backend: &dyn Backend,
        row: InstanceRow,
        reason: Reason,
        detail: &str,
    ) -> Result<bool> {
        let seen = match &row.container_id {
            Some(container) => {
                backend.stop(container, GRACE).await?;
                backend.detail(container).await?
            }
            None => None,
        };
        let Some((mut tx, mut row)) = self.row_lock(&row).await? else { return Ok(true) };
        row.state = State::Stopped;
        let unasked = row.desired == Desired::Running;
        if unasked {
            row.desired = Desired::Stopped;
            row.reason = Some(reason);
            row.reason_detail = detail.chars().take(500).collect();
        }
        // What it may have run for a moment is not billed.
        row.started_at = seen.and_then(|seen| seen.started_at).or(row.started_at);
        row.ended_at = Some(op.now());
        self.accelerators_free(&mut tx, &row).await?;
        let row = tx.instance_save(row).await?;
        if unasked {
            self.instance_note(op, &mut tx, &row, "instance.stopped").await?;
        }
        self.system_commit(op, tx).await?;
        Ok(true)
    }

    /// Writes the end of a run: closes its segment and frees its accelerators.
    async fn end_write(&self, tx: &mut Tx, row: &mut InstanceRow, end: Timestamp) -> Result<()> {
        if row.ended_at.is_none() {
            row.ended_at = Some(end);
            if let Some(segment) = tx.segment_open_of(&row.id.to_string(), INSTANCE_TIME).await? {
                tx.segment_close(segment.id, end).await?;
            }
        }
        row.paused_since = None;
        self.fleet.measure_soon(row.host, row.ended_at.unwrap_or(end));
        self.accelerators_free(tx, row).await
    }

    pub(super) async fn state_save(&self, op: &Op, row: InstanceRow, state: State) -> Result<()> {
        let Some((mut tx, mut row)) = self.row_lock(&row).await? else { return Ok(()) };
        if row.state != state && row.state.may_become(state) {
            row.state = state;
            tx.instance_save(row).await?;
            self.system_commit(op, tx).await?;
        }
        Ok(())
    }

    /// Opens a transaction with the instance as it is now; `None` if it has moved on since it was read.
    pub(super) async fn row_lock(&self, row: &InstanceRow) -> Result<Option<(Tx, InstanceRow)>> {
        let mut tx = self.db.begin().await?;
        tx.team_lock(row.team).await?;
        let fresh =
            tx.instance_fetch(row.id).await?.ok_or_else(|| Error::internal("an instance vanished"))?;
        let moved = fresh.generation != row.generation || fresh.state.is_final();
        Ok((!moved).then_some((tx, fresh)))
    }

    /// Notes that these instances ran at `at`, team by team: under the team's lock, like everything else that is
    /// written of an instance, so that neither a deadlock nor an older copy of the row can undo it.
    pub(super) async fn proofs_advance(
        &self,
        op: &Op,
        alive: &[(TeamId, InstanceId)],
        at: Timestamp,
    ) -> Result<()> {
        let mut teams: BTreeMap<TeamId, Vec<InstanceId>> = BTreeMap::new();
        for (team, id) in alive {
            teams.entry(*team).or_default().push(*id);
        }
        for (team, ids) in teams {
            let mut tx = self.db.begin().await?;
            tx.team_lock(team).await?;
            tx.proofs_advance(&ids, at).await?;
            self.system_commit(op, tx).await?;
        }
        Ok(())
    }
}

/// When a run ended: by the engine where it can know. Where it guesses, or its clock was set meanwhile so that the
/// end is before the start or still to come, the last proof that it ran.
fn end_of(
    started_at: Option<Timestamp>,
    proof_at: Option<Timestamp>,
    detail: &Detail,
    now: Timestamp,
) -> Timestamp {
    let start = started_at.or(detail.started_at).unwrap_or(now);
    let guessed = detail.exit_code == Some(ENGINE_WAS_AWAY);
    let known = detail.finished_at.filter(|finished| !guessed && (start..=now).contains(finished));
    known.unwrap_or(proof_at.unwrap_or(start)).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end, in seconds, of a run from 100 that was last seen at 160, asked at 200.
    fn end(finished: Option<i64>, exit_code: Option<i64>) -> i64 {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let detail = Detail {
            id: "c".to_owned(),
            phase: Phase::Exited,
            started_at: Some(at(100)),
            finished_at: finished.map(at),
            exit_code,
            out_of_memory: false,
            ports: Vec::new(),
        };
        end_of(Some(at(100)), Some(at(160)), &detail, at(200)).as_micros() / 1_000_000
    }

    #[test]
    fn a_run_ends_when_the_engine_saw_it_end() {
        assert_eq!(
            [end(Some(180), Some(0)), end(Some(150), Some(137)), end(Some(100), Some(1))],
            [180, 150, 100]
        );
    }

    #[test]
    fn where_the_engine_guesses_or_its_clock_was_set_the_last_proof_counts() {
        assert_eq!(end(Some(195), Some(ENGINE_WAS_AWAY)), 160, "the engine was away");
        assert_eq!(end(Some(900), Some(0)), 160, "the end is still to come");
        assert_eq!(end(Some(40), Some(0)), 160, "the end is before the start");
        assert_eq!(end(None, None), 160, "there is no end");
    }

    #[test]
    fn a_run_never_ends_before_it_began() {
        let start = Timestamp::from_micros(5_000_000);
        let detail = Detail {
            id: "c".to_owned(),
            phase: Phase::Exited,
            started_at: Some(start),
            finished_at: None,
            exit_code: Some(ENGINE_WAS_AWAY),
            out_of_memory: false,
            ports: Vec::new(),
        };
        let before = Some(Timestamp::from_micros(1));
        assert_eq!(end_of(Some(start), before, &detail, start), start);
        assert_eq!(end_of(Some(start), None, &detail, start), start);
    }
}
