//! Closing: makes a month's statement final once nothing of it is open, and writes credit notes for what comes later.
//!
//! A statement is computed from one snapshot, outside of the team's lock, and says how far in the books it reaches:
//! what is written meanwhile is on the next one. Under the lock only its row is added.

use super::{
    App,
    statements::{month_after, month_first, statement_draw},
};
use crate::{
    digest::Digest,
    error::Result,
    ids::TeamId,
    ledger::statement::Carry,
    op::Op,
    store::{
        identity::TeamRow,
        statements::{NoteDue, StatementRow},
    },
};

/// Teams of one page.
const PAGE: u32 = 200;

/// Whatever there is in the books.
const EVERYTHING: u64 = i64::MAX as u64;

/// What a credit note says where neither its transaction nor its charges do.
const LATE: &str = "use that was proven after the month was closed";

impl App {
    /// One pass over all teams: writes the credit notes that are due, and closes the months that can be. Gives the
    /// number of statements closed.
    pub async fn months_close(&self, op: &Op) -> Result<usize> {
        let mut closed = 0;
        let mut after = String::new();
        loop {
            let mut read = self.db.glance().await?;
            let teams = read.teams_page(&after, PAGE).await?;
            drop(read);
            let Some(last) = teams.last() else { return Ok(closed) };
            after = last.id.to_string();
            for team in &teams {
                match self.months_close_of(op, team).await {
                    Ok(count) => closed += count,
                    // One team's trouble must not keep the others' months open; the next pass tries again.
                    Err(error) => tracing::error!(team = %team.id, ?error, "closing a month failed"),
                }
            }
        }
    }

    async fn months_close_of(&self, op: &Op, team: &TeamRow) -> Result<usize> {
        let mut closed = 0;
        loop {
            self.credit_notes_issue(op, team.id).await?;
            if !self.month_close(op, team).await? {
                return Ok(closed);
            }
            closed += 1;
        }
    }

    /// Writes a credit note for every difference to a closed month that has none.
    async fn credit_notes_issue(&self, op: &Op, team: TeamId) -> Result<()> {
        let mut glance = self.db.glance().await?;
        let due = glance.notes_due(team, EVERYTHING).await?;
        drop(glance);
        if due.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        tx.team_lock(team).await?;
        let mut number = tx.note_last(team).await?;
        // Read again under the lock: another server may have been faster.
        let due = tx.notes_due(team, EVERYTHING).await?;
        for due in &due {
            number += 1;
            tx.note_insert(team, op.id(), number, due, reason_of(due), op.now()).await?;
        }
        self.system_commit(op, tx).await?;
        tracing::info!(%team, notes = due.len(), "credit notes issued");
        Ok(())
    }

    /// Closes the team's oldest open month if it can be; whether it was.
    async fn month_close(&self, op: &Op, team: &TeamRow) -> Result<bool> {
        let mut read = self.db.read().await?;
        let last = read.statement_last(team.id).await?;
        let (month, carry) = match &last {
            None => (month_first(team), Carry::NOTHING),
            Some(row) => (month_after(&team.terms.time_zone, &row.month)?, row.carry()?),
        };
        if op.now() < month.end_at + self.settings.statements.grace {
            return Ok(false);
        }
        let blockers = read.window_blockers(team.id, month.end_at).await?;
        if blockers.parked > 0 || blockers.unbilled > 0 {
            tracing::warn!(team = %team.id, month = month.name(), ?blockers, "a month cannot be closed yet");
            return Ok(false);
        }
        let booked = read.team_booked(team.id).await?;
        if !read.notes_due(team.id, booked).await?.is_empty() {
            // A difference came in between: its credit note belongs on this statement.
            return Ok(false);
        }
        let window = carry.window(&month, booked);
        let statement = statement_draw(&mut read, team, &month, &carry, &window).await?;
        drop(read);
        let document = statement.document()?;
        let row = StatementRow {
            id: op.id(),
            team: team.id,
            month: statement.month.clone(),
            number: statement.number,
            start_at: statement.start_at,
            end_at: statement.end_at,
            through_seq: statement.through_seq,
            opening: statement.opening,
            closing: statement.closing,
            digest: Digest::of(document.as_bytes()).to_string(),
            document,
            issued_at: op.now(),
        };
        let mut tx = self.db.begin().await?;
        tx.team_lock(team.id).await?;
        let present = tx.statement_last(team.id).await?;
        let moved = present.map(|row| row.number) != last.map(|row| row.number);
        if moved || tx.window_blockers(team.id, row.end_at).await? != blockers {
            return Ok(false);
        }
        tx.statement_insert(&row).await?;
        self.system_commit(op, tx).await?;
        tracing::info!(team = %team.id, month = row.month, number = row.number, "a month was closed");
        Ok(true)
    }
}

/// Why a credit note is written: in the words of the transaction, else of its charges.
fn reason_of(due: &NoteDue) -> &str {
    [due.reason.as_str(), due.because.as_str()].into_iter().find(|text| !text.is_empty()).unwrap_or(LATE)
}
