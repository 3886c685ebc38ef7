//! Recorded looks. Changes and refusals are recorded with their own commits; of the looks that were allowed one in so
//! many is kept, in memory until a loop of the server writes what has gathered. No look waits for it, and a server that
//! dies forgets a few.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{
    App,
    gate::{Asker, document_of, name_of},
};
use crate::{
    error::Result,
    ids::DecisionId,
    op::Op,
    policy::{Decision, Facts, Principal, Resource},
    store::record::DecisionRow,
};

/// One look in so many is recorded.
const ONE_IN: u64 = 32;
/// Decisions that wait to be written; what comes on top is not recorded.
const MOST_WAITING: usize = 4_096;

/// The looks that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    seen: AtomicU64,
    waiting: Mutex<Vec<DecisionRow>>,
}

impl Recorder {
    /// Whether this look is one to record.
    fn wants(&self) -> bool {
        self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(ONE_IN)
    }

    /// Whether there was room for it.
    fn put(&self, row: DecisionRow) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = waiting.len() < MOST_WAITING;
        if fits {
            waiting.push(row);
        }
        fits
    }

    fn take(&self) -> Vec<DecisionRow> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl App {
    /// Notes a look that a member was allowed, if it is one to record; the decision under which it will be.
    pub(super) fn look_note(
        &self,
        op: &Op,
        asker: &Asker,
        resource: &Resource,
        facts: &Facts,
        decision: &Decision,
    ) -> Result<Option<DecisionId>> {
        let (Some(team), Principal::Member(_)) = (asker.team, &asker.principal) else { return Ok(None) };
        if !self.recorder.wants() {
            return Ok(None);
        }
        let id = op.id();
        let kept = self.recorder.put(DecisionRow {
            id,
            team: team.to_string(),
            at: op.now(),
            actor: op.actor.name(),
            action: decision.action().to_owned(),
            resource: name_of(resource),
            allowed: true,
            document: document_of(&asker.principal, resource, facts, decision)?,
        });
        Ok(kept.then_some(id))
    }

    /// Writes the looks that wait; how many there were.
    pub async fn looks_write(&self, op: &Op) -> Result<usize> {
        let rows = self.recorder.take();
        if rows.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin(op).await?;
        for row in &rows {
            tx.decision_insert(row).await?;
        }
        self.system_commit(op, tx).await?;
        Ok(rows.len())
    }
}
