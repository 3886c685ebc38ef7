//! Budgets that begin to count in the middle: what was used before, and what open holds claim already.

use super::{Journal, user_of};
use crate::{
    error::{Error, Result},
    ids::{BudgetId, HoldId},
    ledger::{budget::Period, hold::HoldState},
    money::Credits,
    time::Timestamp,
};

impl Journal {
    /// The period of a budget that `now` lies in.
    ///
    /// # Errors
    /// When the journal was not opened for the budget.
    pub fn budget_period(&self, id: BudgetId, now: Timestamp) -> Result<Period> {
        let budget = self.budgets.get(&id);
        let budget = budget.ok_or_else(|| Error::internal(format!("the journal was not opened for {id}")))?;
        Ok(self.period(budget, now))
    }

    /// Says what was charged in the period of a budget that `now` lies in. Thresholds that are no longer reached may be
    /// told again, and so may all of them after a change of what the period is.
    ///
    /// # Errors
    /// When the journal was not opened for the budget.
    pub fn budget_recount(&mut self, id: BudgetId, spent: Credits, now: Timestamp) -> Result<()> {
        let mut period = self.budget_period(id, now)?;
        period.spent = spent;
        if let Some(budget) = self.budgets.get(&id) {
            period.told_percent = period.told_percent.min(budget.percent_spent(&period));
        }
        self.rows.periods.insert((id, period.start_at), period);
        Ok(())
    }

    /// Makes what every open hold of this journal claims of budgets equal to what it has left.
    pub fn claims_renew(&mut self, now: Timestamp) -> Result<()> {
        let open = self.rows.holds.values().filter(|hold| hold.state == HoldState::Open);
        let open: Vec<HoldId> = open.map(|hold| hold.id).collect();
        open.into_iter().try_for_each(|hold| self.claims_settle(hold, now))
    }

    /// How much of `needed` every budget that binds running instances leaves to a hold.
    ///
    /// # Errors
    /// When the journal was not opened for the hold.
    pub fn hold_budgeted(&self, id: HoldId, needed: Credits, now: Timestamp) -> Result<Credits> {
        let mut most = needed;
        for (budget, period) in self.budgets_of(user_of(self.hold(id)?), now) {
            if budget.binds_running() {
                most = most.min(budget.left(&period)?);
            }
        }
        Ok(most)
    }
}
