//! Funding: keeps what runs paid ahead, lends where the team's terms say so, and drains what cannot be paid.

use super::{App, gate::event_of};
use crate::{
    error::{Error, Result},
    ids::{BudgetId, HostId},
    ledger::{
        account::AccountKind,
        hold::{self, Hold},
        journal::{Journal, Outcome, user_of},
        posting::{IdemKey, Posting},
    },
    model::{
        instance::{Desired, Reason},
        terms::{Exhaustion, TeamTerms},
    },
    money::Credits,
    op::Op,
    store::{
        Tx,
        instances::InstanceRow,
        record::{AuditRow, OutboxRow},
    },
    time::{Span, Timestamp},
};

impl App {
    /// How long instances of a team are paid ahead.
    pub(crate) fn runway(&self, terms: &TeamTerms) -> Span {
        terms
            .runway_minutes
            .map_or(self.settings.runway, |minutes| Span::from_seconds(i64::from(minutes) * 60))
    }

    /// Extends the hold of a running instance to a full runway, once it has run down some and at once when money gets
    /// short; where the money does not reach, warns, and stops in time. Gives the host that has to be told.
    pub(crate) async fn fund(
        &self,
        op: &Op,
        tx: &mut Tx,
        journal: &mut Journal,
        instance: &InstanceRow,
        billed_until: Timestamp,
    ) -> Result<Option<HostId>> {
        if instance.desired != Desired::Running || instance.paused_since.is_some() {
            return Ok(None);
        }
        let Some(hold) = journal.hold_of(instance.id).cloned() else { return Ok(None) };
        let runway = self.runway(&journal.team().terms);
        let per_hour = instance.quoted_per_hour.to_nano()?;
        let needed = hold::extension_needed(hold.remaining()?, per_hour, runway)?;
        let slack = hold::slack(per_hour, runway)?;
        let is_calm = needed < slack && instance.draining_since.is_none();
        if is_calm && journal.hold_extendable(hold.id, slack, op.now())? == slack {
            return Ok(None);
        }
        // What a budget would not let it have is not lent either.
        let budgeted = journal.hold_budgeted(hold.id, needed, op.now())?;
        self.lend(op, journal, &hold, budgeted)?;
        let granted = journal.hold_extendable(hold.id, needed, op.now())?;
        if granted.is_positive() {
            self.hold_extend(op, journal, &hold, granted)?;
        }
        let remaining = journal.hold(hold.id)?.remaining()?;
        let Some(until) = hold::funded_until(billed_until, remaining, per_hour) else { return Ok(None) };
        if granted == needed {
            self.drain_end(tx, instance).await?;
            return Ok(None);
        }
        self.drain(op, tx, journal, instance, until, runway).await
    }

    /// Sets `amount` more aside for an instance.
    pub(crate) fn hold_extend(
        &self,
        op: &Op,
        journal: &mut Journal,
        hold: &Hold,
        amount: Credits,
    ) -> Result<()> {
        let number = journal.hold(hold.id)?.extensions + 1;
        let mut header = self.header(op, hold.team, IdemKey::hold_extend(hold.id, number));
        (header.member, header.instance) = (Some(hold.member), Some(hold.instance));
        match journal.hold_extend(header, hold.id, amount)? {
            Outcome::Applied => Ok(()),
            Outcome::Refused(bound) => Err(Error::internal(format!("an extension was refused: {bound:?}"))),
        }
    }

    /// Lends what an extension lacks, if the team's terms say so, up to its credit limit.
    fn lend(&self, op: &Op, journal: &mut Journal, hold: &Hold, needed: Credits) -> Result<()> {
        if journal.team().terms.exhaustion != Exhaustion::Continue {
            return Ok(());
        }
        let lacking = needed.minus(journal.spendable(hold.account, op.now())?)?;
        let open = journal.team().credit_limit.minus(journal.owed()?)?;
        let amount = lacking.min(open);
        if !amount.is_positive() {
            return Ok(());
        }
        let number = journal.hold(hold.id)?.extensions + 1;
        let mut header = self.header(op, hold.team, IdemKey::lend(hold.id, number));
        (header.member, header.instance) = (Some(hold.member), Some(hold.instance));
        let posting = Posting::lend(journal.own(AccountKind::Receivable)?, hold.account, amount)?;
        match journal.post(header, &posting)? {
            Outcome::Applied => Ok(()),
            Outcome::Refused(bound) => Err(Error::internal(format!("a loan was refused: {bound:?}"))),
        }
    }

    async fn drain_end(&self, tx: &mut Tx, instance: &InstanceRow) -> Result<()> {
        if instance.draining_since.is_some() {
            let mut instance = instance.clone();
            instance.draining_since = None;
            instance.warned_percent = 0;
            tx.instance_save(instance).await?;
        }
        Ok(())
    }

    async fn drain(
        &self,
        op: &Op,
        tx: &mut Tx,
        journal: &Journal,
        before: &InstanceRow,
        until: Timestamp,
        runway: Span,
    ) -> Result<Option<HostId>> {
        let mut instance = before.clone();
        let since = *instance.draining_since.get_or_insert(op.now());
        let paid = until - op.now();
        let grace = journal.team().terms.grace_minutes;
        let grace = grace.map(|minutes| Span::from_seconds(i64::from(minutes) * 60));
        // A grace ends sooner what is paid, and never later.
        let left = grace.map_or(paid, |grace| paid.min(since + grace - op.now()));
        let whole = grace.map_or(runway, |grace| grace.min(runway));
        if let Some(percent) = hold::warning_due(left, whole, instance.warned_percent) {
            instance.warned_percent = percent;
            self.notice(op, tx, &instance, "instance.draining", percent, until).await?;
        }
        let mut woken = None;
        let over = grace.is_some() && left <= Span::default();
        if over || paid <= self.settings.stop_latency {
            self.exhaust(op, tx, journal, &mut instance).await?;
            self.notice(op, tx, &instance, "instance.out_of_credits", 0, until).await?;
            woken = Some(instance.host);
        }
        if instance != *before {
            tx.instance_save(instance).await?;
        }
        Ok(woken)
    }

    /// Does with an instance that cannot be paid what the team's terms say.
    async fn exhaust(
        &self,
        op: &Op,
        tx: &mut Tx,
        journal: &Journal,
        instance: &mut InstanceRow,
    ) -> Result<()> {
        let mut told = match binding_budget(op, journal, instance)? {
            Some((_, name)) => format!("the budget {name} is used up; raise it and start the instance again"),
            None => "its money ran out; add credits and start it again".to_owned(),
        };
        match journal.team().terms.exhaustion {
            Exhaustion::Pause => {
                instance.paused_since = Some(op.now());
                told += ". It keeps its accelerators for an hour";
            }
            Exhaustion::Stop | Exhaustion::Continue => instance.desired = Desired::Stopped,
            Exhaustion::SnapshotStop => {
                instance.desired = Desired::Stopped;
                if !self.snapshot_of_exhausted(op, tx, instance).await? {
                    told += ". No snapshot was taken: the limit of snapshots is reached";
                }
            }
        }
        instance.reason = Some(Reason::Credit);
        instance.reason_detail = told;
        Ok(())
    }

    /// Tells of budgets that have passed one of their thresholds.
    pub(crate) async fn budgets_tell(&self, op: &Op, tx: &mut Tx, journal: &mut Journal) -> Result<()> {
        let due = journal.periods_moved().into_iter().filter_map(|(budget, period)| {
            let percent = budget.threshold_due(&period)?;
            let document = serde_json::json!({
                "budget": budget.id, "name": budget.name, "scope": budget.scope, "subject": budget.subject,
                "percent": percent, "spent": period.spent, "ceiling": budget.ceiling, "reaction": budget.reaction,
                "period_start": period.start_at,
            });
            Some((budget.id, period.start_at, percent, document))
        });
        let due: Vec<_> = due.collect();
        let team = journal.team().id.to_string();
        for (budget, start_at, percent, document) in due {
            journal.budget_told(budget, start_at, percent);
            self.tell(op, tx, &team, "budget.threshold", &budget.to_string(), document).await?;
        }
        Ok(())
    }

    /// Leaves a message about an instance's money for whoever listens.
    async fn notice(
        &self,
        op: &Op,
        tx: &mut Tx,
        instance: &InstanceRow,
        kind: &str,
        percent: u8,
        until: Timestamp,
    ) -> Result<()> {
        let document = serde_json::json!({
            "instance": instance.id,
            "member": instance.member,
            "percent_of_runway_left": percent,
            "funded_until": until,
        });
        self.tell(op, tx, &instance.team.to_string(), kind, &instance.id.to_string(), document).await
    }

    /// Leaves a message of the server's own for whoever listens, and a line in the audit log.
    pub(crate) async fn tell(
        &self,
        op: &Op,
        tx: &mut Tx,
        team: &str,
        kind: &str,
        target: &str,
        document: serde_json::Value,
    ) -> Result<()> {
        let row = OutboxRow {
            id: op.id(),
            team: team.to_owned(),
            kind: kind.to_owned(),
            document: document.to_string(),
            created_at: op.now(),
            delivered_at: None,
        };
        tx.outbox_insert(&row).await?;
        self.note(op, tx, team, kind, target, document).await
    }

    /// Leaves a line in the audit log for what the server found or did by itself, and nobody is told of.
    pub(crate) async fn note(
        &self,
        op: &Op,
        tx: &mut Tx,
        team: &str,
        kind: &str,
        target: &str,
        document: serde_json::Value,
    ) -> Result<()> {
        let event = event_of(op, team.to_owned(), kind, target.to_owned());
        Ok(tx.audit_insert(&AuditRow { document: document.to_string(), ..event }).await?)
    }

    /// The same of an instance that came to another state without anybody's asking for it.
    pub(crate) async fn instance_note(
        &self,
        op: &Op,
        tx: &mut Tx,
        row: &InstanceRow,
        kind: &str,
    ) -> Result<()> {
        let document = serde_json::json!({ "reason": row.reason, "detail": row.reason_detail });
        self.note(op, tx, &row.team.to_string(), kind, &row.id.to_string(), document).await
    }
}

/// The budget that keeps a running instance from being paid on, if it is a budget and not the money.
fn binding_budget(op: &Op, journal: &Journal, instance: &InstanceRow) -> Result<Option<(BudgetId, String)>> {
    let Some(hold) = journal.hold_of(instance.id) else { return Ok(None) };
    let money = journal.spendable(hold.account, op.now())?;
    for (budget, period) in journal.budgets_of(user_of(hold), op.now())? {
        if budget.binds_running() && budget.left(&period)? < money {
            return Ok(Some((budget.id, budget.name.clone())));
        }
    }
    Ok(None)
}
