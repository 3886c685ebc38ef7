//! Budgets in the journal: what counts for them, what was charged, what holds claim, also where one begins to count in
//! the middle.

use std::collections::BTreeSet;

use super::{Journal, User, user_of};
use crate::{
    error::{Error, Result},
    ids::{BudgetId, HoldId, TeamId},
    ledger::{
        budget::{Budget, BudgetScope, Claim, Period},
        hold::HoldState,
    },
    money::Credits,
    time::Timestamp,
};

impl Journal {
    /// The budgets that count what `user` does, with the period that `at` lies in. What holds have claimed of an
    /// earlier period is reserved of this one: they claim it there when they move next, and nobody else may take it
    /// meanwhile.
    pub fn budgets_of(&self, user: User, at: Timestamp) -> Result<Vec<(&Budget, Period)>> {
        let mut found = Vec::new();
        for budget in self.budgets_counting(user) {
            let mut period = self.period(budget, at);
            for (_, earlier) in self.periods_before(budget.id, period.start_at) {
                period.reserved = period.reserved.plus(earlier.reserved)?;
            }
            found.push((budget, period));
        }
        Ok(found)
    }

    fn periods_before(
        &self,
        budget: BudgetId,
        start_at: Timestamp,
    ) -> impl Iterator<Item = (&(BudgetId, Timestamp), &Period)> {
        self.rows.periods.range((budget, Timestamp::from_micros(i64::MIN))..(budget, start_at))
    }

    /// Adds charges, or takes back what was given back, to every budget that counts `user`, each in the period that it
    /// begins in.
    pub fn budgets_spend(&mut self, user: User, parts: &[(Timestamp, Credits)]) -> Result<()> {
        let counting: Vec<Budget> = self.budgets_counting(user).cloned().collect();
        for budget in counting {
            for (at, amount) in parts {
                let mut period = self.period(&budget, *at);
                if period.end_at.is_none_or(|end| end > budget.created_at)
                    && *at >= budget_begin(&budget, &period)
                {
                    period.spent = period.spent.plus(*amount)?;
                    self.rows.periods.insert((budget.id, period.start_at), period);
                }
            }
        }
        Ok(())
    }

    /// Notes that the team was told of `percent` of a budget's period.
    pub fn budget_told(&mut self, budget: BudgetId, start_at: Timestamp, percent: u8) {
        if let Some(period) = self.rows.periods.get_mut(&(budget, start_at)) {
            period.told_percent = percent;
        }
    }

    /// Every period that this journal moved, with its budget.
    pub fn periods_moved(&self) -> Vec<(&Budget, Period)> {
        let moved =
            self.rows.periods.iter().filter(|(key, period)| self.read.periods.get(key) != Some(period));
        moved.filter_map(|((budget, _), period)| Some((self.budgets.get(budget)?, *period))).collect()
    }

    fn budgets_counting(&self, user: User) -> impl Iterator<Item = &Budget> {
        let team = self.team.id;
        self.budgets.values().filter(move |budget| budget.active && counts(budget, team, user))
    }

    fn period(&self, budget: &Budget, at: Timestamp) -> Period {
        let fresh = budget.period_at(at, &self.team.terms.time_zone);
        self.rows.periods.get(&(budget.id, fresh.start_at)).copied().unwrap_or(fresh)
    }

    /// Makes what a hold claims of its budgets equal to what it has left, in the period that `now` lies in: after every
    /// move of the hold, and so also at the turn of a month, and when a budget was made or ended meanwhile.
    pub(super) fn claims_settle(&mut self, id: HoldId, now: Timestamp) -> Result<()> {
        let hold = self.hold(id)?;
        let (remaining, user) = (hold.remaining()?, user_of(hold));
        let old: Vec<Claim> = self.rows.claims.values().filter(|claim| claim.hold == id).copied().collect();
        for claim in old {
            if let Some(period) = self.rows.periods.get_mut(&(claim.budget, claim.start_at)) {
                period.reserved = period.reserved.minus(claim.reserved)?;
            }
            self.rows.claims.insert((id, claim.budget), Claim { reserved: Credits::ZERO, ..claim });
        }
        if !remaining.is_positive() {
            return Ok(());
        }
        let counting: Vec<Budget> = self.budgets_counting(user).cloned().collect();
        for budget in counting {
            let mut period = self.period(&budget, now);
            period.reserved = period.reserved.plus(remaining)?;
            let claim = Claim { hold: id, budget: budget.id, start_at: period.start_at, reserved: remaining };
            self.rows.periods.insert((budget.id, period.start_at), period);
            self.rows.claims.insert((id, budget.id), claim);
        }
        Ok(())
    }

    /// The period of a budget that `now` lies in.
    ///
    /// # Errors
    /// When the journal was not opened for the budget.
    pub fn budget_period(&self, id: BudgetId, now: Timestamp) -> Result<Period> {
        let budget = self.budgets.get(&id);
        let budget = budget.ok_or_else(|| Error::internal(format!("the journal was not opened for {id}")))?;
        Ok(self.period(budget, now))
    }

    /// The beginnings of the periods that a budget has in the team's time zone: the present one, and every earlier one
    /// that counted something. Months of a time zone that the team had before are none of them.
    ///
    /// # Errors
    /// When the journal was not opened for the budget.
    pub fn budget_begins(&self, id: BudgetId, now: Timestamp) -> Result<BTreeSet<Timestamp>> {
        let mut begins = BTreeSet::from([self.budget_period(id, now)?.start_at]);
        if let Some(budget) = self.budgets.get(&id) {
            let of = self.rows.periods.iter().filter(|((budget, _), _)| *budget == id);
            begins.extend(of.map(|(_, period)| period).filter_map(|period| {
                let own = budget.period_at(period.start_at, &self.team.terms.time_zone);
                ((own.start_at, own.end_at) == (period.start_at, period.end_at)).then_some(own.start_at)
            }));
        }
        Ok(begins)
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
        let hold = self.hold(id)?;
        let mut most = needed;
        for (budget, period) in self.budgets_of(user_of(hold), now)? {
            if budget.binds_running() {
                // All that the hold has left counts in this period from now on, wherever it counted before.
                let claim = self.rows.claims.get(&(id, budget.id));
                let own = claim.filter(|claim| claim.start_at <= period.start_at);
                let own = own.map_or(Credits::ZERO, |claim| claim.reserved);
                let others = Period { reserved: period.reserved.minus(own)?, ..period };
                most = most.min(budget.left(&others)?.minus(hold.remaining()?)?);
            }
        }
        Ok(most.max(Credits::ZERO))
    }
}

/// A one-time budget counts from when it was made, a monthly one from the beginning of its period.
fn budget_begin(budget: &Budget, period: &Period) -> Timestamp {
    if period.end_at.is_none() { budget.created_at } else { period.start_at }
}

/// Whether a budget counts what `user` does.
fn counts(budget: &Budget, team: TeamId, user: User) -> bool {
    match budget.scope {
        BudgetScope::Team => budget.subject == team.to_string(),
        BudgetScope::Member => budget.subject == user.member.to_string(),
        BudgetScope::ApiKey => user.api_key.is_some_and(|key| budget.subject == key.to_string()),
    }
}
