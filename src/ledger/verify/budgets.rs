//! Budgets: what holds claim of them, and what was charged in their periods.

use std::collections::BTreeMap;

use super::{Invariant, Report, wide};
use crate::{
    ids::{ApiKeyId, BudgetId, TeamId},
    ledger::{
        budget::{Budget, BudgetScope, Claim, Period},
        hold::Hold,
        rating::Charge,
    },
    time::{TimeZone, Timestamp},
};

/// All budgets.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    budgets: BTreeMap<BudgetId, Replay>,
    of_team: BTreeMap<TeamId, Vec<BudgetId>>,
    zones: BTreeMap<TeamId, TimeZone>,
}

/// A budget with its periods.
#[derive(Debug)]
struct Replay {
    row: Budget,
    periods: BTreeMap<Timestamp, Counted>,
}

/// A period as its row says and as claims and charges say.
#[derive(Debug)]
struct Counted {
    row: Period,
    claimed: i128,
    charged: i128,
}

impl Budgets {
    pub(super) fn team(&mut self, team: TeamId, zone: TimeZone) {
        self.zones.insert(team, zone);
    }

    pub(super) fn budget(&mut self, row: Budget) {
        self.of_team.entry(row.team).or_default().push(row.id);
        self.budgets.insert(row.id, Replay { row, periods: BTreeMap::new() });
    }

    pub(super) fn period(&mut self, budget: BudgetId, row: Period, report: &mut Report) {
        match self.budgets.get_mut(&budget) {
            Some(replay) => {
                replay.periods.insert(row.start_at, Counted { row, claimed: 0, charged: 0 });
            }
            None => {
                let ids = vec![budget.to_string(), row.start_at.to_string()];
                report.note(Invariant::BudgetsMatch, ids, "a period of no budget".to_owned());
            }
        }
    }

    pub(super) fn claim(&mut self, claim: &Claim, hold: Option<&Hold>, report: &mut Report) {
        let ids = || vec![claim.budget.to_string(), claim.hold.to_string(), claim.start_at.to_string()];
        let remaining = hold.map(|hold| hold.remaining().map_or(-1, wide));
        if remaining != Some(wide(claim.reserved)) {
            let detail = format!("claims {}, the open hold has {remaining:?} µ left", claim.reserved);
            report.note(Invariant::BudgetsMatch, ids(), detail);
        }
        let budget = self.budgets.get_mut(&claim.budget);
        match budget.and_then(|replay| replay.periods.get_mut(&claim.start_at)) {
            Some(counted) => counted.claimed += wide(claim.reserved),
            None => report.note(Invariant::BudgetsMatch, ids(), "a claim of no period".to_owned()),
        }
    }

    pub(super) fn charge(&mut self, charge: &Charge, api_key: Option<ApiKeyId>) {
        for id in self.of_team.get(&charge.team).into_iter().flatten() {
            let Some(replay) = self.budgets.get_mut(id) else { continue };
            let counts = match replay.row.scope {
                BudgetScope::Team => true,
                BudgetScope::Member => replay.row.subject == charge.member.to_string(),
                BudgetScope::ApiKey => api_key.is_some_and(|key| replay.row.subject == key.to_string()),
            };
            if counts {
                let until_then = replay.periods.range_mut(..=charge.from_at);
                let periods = until_then.map(|(_, counted)| counted);
                for counted in
                    periods.filter(|counted| counted.row.end_at.is_none_or(|end| charge.from_at < end))
                {
                    counted.charged += wide(charge.amount);
                }
            }
        }
    }

    /// Whether a period is one of those that the team's time zone has now.
    fn is_present(&self, budget: &Budget, row: &Period) -> bool {
        let period = self.zones.get(&budget.team).map(|zone| budget.period_at(row.start_at, zone));
        period.is_some_and(|period| (period.start_at, period.end_at) == (row.start_at, row.end_at))
    }

    pub(super) fn finish(&self, report: &mut Report) {
        for replay in self.budgets.values() {
            for counted in replay.periods.values() {
                let row = &counted.row;
                let ids = || vec![replay.row.id.to_string(), row.start_at.to_string()];
                if wide(row.reserved) != counted.claimed {
                    let detail = format!("{} is reserved, holds claim {} µ", row.reserved, counted.claimed);
                    report.note(Invariant::BudgetsMatch, ids(), detail);
                }
                // A budget that was ended no longer counts, nor does the month of another time zone.
                if replay.row.active
                    && self.is_present(&replay.row, row)
                    && wide(row.spent) != counted.charged
                {
                    let detail = format!("{} is spent, charges sum to {} µ", row.spent, counted.charged);
                    report.note(Invariant::BudgetsMatch, ids(), detail);
                }
            }
        }
    }
}
