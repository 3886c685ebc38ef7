//! Budgets: how much money a team, a member or an API key may use up, once or in a calendar month of the team.
//!
//! What was spent of a period is the sum of the charges that begin in it; what is reserved is what open holds have
//! claimed of it. A budget therefore counts the whole month, also if it was made in the middle.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{BudgetId, HoldId, TeamId},
    model::team::words,
    money::{Credits, Error},
    time::{TimeZone, Timestamp},
};

words! {
    /// Whose use a budget counts.
    BudgetScope {
        /// The whole team's.
        Team = "team",
        /// One member's.
        Member = "member",
        /// What was launched by one API key.
        ApiKey = "api_key",
    }
}

words! {
    /// How often a budget begins anew.
    BudgetPeriod {
        /// Never: it is used up for good.
        Once = "once",
        /// With every calendar month in the team's time zone.
        Monthly = "monthly",
    }
}

words! {
    /// What happens when a budget is used up.
    Reaction {
        /// The team is told.
        Alert = "alert",
        /// New launches are refused; what runs goes on.
        Deny = "deny",
        /// New launches are refused, and what runs drains and stops.
        Drain = "drain",
    }
}

/// A budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// The budget.
    pub id: BudgetId,
    /// The team.
    pub team: TeamId,
    /// Its name within the team.
    pub name: String,
    /// Whose use it counts.
    pub scope: BudgetScope,
    /// The id of the team, member or key.
    pub subject: String,
    /// How often it begins anew.
    pub period: BudgetPeriod,
    /// How much may be used up in a period.
    pub ceiling: Credits,
    /// Percentages of the ceiling at which the team is told, ascending.
    pub thresholds: Vec<u8>,
    /// What happens when it is used up.
    pub reaction: Reaction,
    /// Whether it counts now.
    pub active: bool,
    /// Raised by every change.
    pub version: i64,
    /// Who made it: a name from [`crate::op::Actor::name`].
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What was used up of a budget in one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// When it begins; the budget's own beginning for a one-time budget.
    pub start_at: Timestamp,
    /// When it ends; `None`: never.
    pub end_at: Option<Timestamp>,
    /// What open holds have claimed.
    pub reserved: Credits,
    /// What was charged.
    pub spent: Credits,
    /// The highest percentage that the team was told of.
    pub told_percent: u8,
}

/// What an open hold has claimed of a budget, and in which period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The hold.
    pub hold: HoldId,
    /// The budget.
    pub budget: BudgetId,
    /// The period, by its beginning.
    pub start_at: Timestamp,
    /// How much.
    pub reserved: Credits,
}

impl Budget {
    /// The period that `at` lies in, with nothing in it. What happened before a one-time budget was made counts as of
    /// its first instant.
    pub fn period_at(&self, at: Timestamp, zone: &TimeZone) -> Period {
        let (start_at, end_at) = match self.period {
            BudgetPeriod::Once => (self.created_at, None),
            BudgetPeriod::Monthly => {
                let month = zone.month_at(at);
                (month.start_at, Some(month.end_at))
            }
        };
        Period { start_at, end_at, reserved: Credits::ZERO, spent: Credits::ZERO, told_percent: 0 }
    }

    /// What may still be reserved in `period`; never below zero.
    pub fn left(&self, period: &Period) -> Result<Credits, Error> {
        Ok(self.ceiling.minus(period.spent)?.minus(period.reserved)?.max(Credits::ZERO))
    }

    /// Whether it stands in the way of a launch.
    pub const fn binds_launches(&self) -> bool {
        self.active && matches!(self.reaction, Reaction::Deny | Reaction::Drain)
    }

    /// Whether it stands in the way of what runs already.
    pub const fn binds_running(&self) -> bool {
        self.active && matches!(self.reaction, Reaction::Drain)
    }

    /// How much of the ceiling was charged, in whole percent; 255 at the most, and 100 of a ceiling of nothing.
    pub fn percent_spent(&self, period: &Period) -> u8 {
        let (spent, ceiling) =
            (i128::from(period.spent.as_micros().max(0)), i128::from(self.ceiling.as_micros()));
        let percent = if ceiling > 0 { spent * 100 / ceiling } else { 100 };
        u8::try_from(percent).unwrap_or(u8::MAX)
    }

    /// The highest threshold that was reached and not told yet. Thresholds that are passed together are told as one.
    pub fn threshold_due(&self, period: &Period) -> Option<u8> {
        let reached = self.percent_spent(period);
        let due = self.thresholds.iter().copied().filter(|&percent| percent <= reached).max()?;
        (due > period.told_percent).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chance::Seeded, ids::Id};

    fn budget(period: BudgetPeriod, ceiling: i64) -> Budget {
        let (now, chance) = (Timestamp::from_micros(0), Seeded::new(1));
        Budget {
            id: BudgetId::fresh(now, &chance),
            team: TeamId::fresh(now, &chance),
            name: "all".to_owned(),
            scope: BudgetScope::Team,
            subject: String::new(),
            period,
            ceiling: Credits::from_micros(ceiling),
            thresholds: vec![50, 80, 100],
            reaction: Reaction::Drain,
            active: true,
            version: 1,
            created_by: "somebody".to_owned(),
            created_at: now,
        }
    }

    #[test]
    fn a_threshold_is_told_once_and_those_passed_together_as_one() {
        let budget = budget(BudgetPeriod::Once, 1_000);
        let mut period = budget.period_at(Timestamp::from_micros(5), &TimeZone::UTC);
        let mut spend = |spent: i64, told: u8| {
            (period.spent, period.told_percent) = (Credits::from_micros(spent), told);
            budget.threshold_due(&period)
        };
        assert_eq!(spend(499, 0), None);
        assert_eq!(spend(500, 0), Some(50));
        assert_eq!(spend(700, 50), None);
        assert_eq!(spend(5_000, 50), Some(100));
        assert_eq!(spend(9_000, 100), None);
    }

    #[test]
    fn only_what_counts_binds_and_only_a_drain_binds_what_runs() {
        let with = |reaction, active| {
            let budget = Budget { reaction, active, ..budget(BudgetPeriod::Once, 1_000) };
            (budget.binds_launches(), budget.binds_running())
        };
        assert_eq!(with(Reaction::Alert, true), (false, false));
        assert_eq!(with(Reaction::Deny, true), (true, false));
        assert_eq!(with(Reaction::Drain, true), (true, true));
        assert_eq!(with(Reaction::Deny, false), (false, false));
        assert_eq!(with(Reaction::Drain, false), (false, false));
    }

    #[test]
    fn what_is_left_is_neither_spent_nor_reserved_and_never_below_zero() {
        let at = Timestamp::from_micros(5);
        let left = |ceiling, spent, reserved| {
            let budget = budget(BudgetPeriod::Once, ceiling);
            let (spent, reserved) = (Credits::from_micros(spent), Credits::from_micros(reserved));
            let period = Period { spent, reserved, ..budget.period_at(at, &TimeZone::UTC) };
            (budget.left(&period).unwrap().as_micros(), budget.percent_spent(&period))
        };
        assert_eq!(left(1_000, 300, 100), (600, 30));
        assert_eq!(left(1_000, 900, 300), (0, 90));
        assert_eq!(left(0, 0, 0), (0, 100), "of nothing everything is used up");
        assert_eq!(left(1, 3, 0), (0, u8::MAX));
    }

    #[test]
    fn a_month_is_the_teams_own() {
        let budget = budget(BudgetPeriod::Monthly, 1);
        let zone: TimeZone = "Asia/Tokyo".parse().unwrap();
        let at: Timestamp = "2026-11-30T15:00:00Z".parse().unwrap();
        let december = budget.period_at(at, &zone);
        assert_eq!(december.start_at, at);
        assert_eq!(december.end_at, Some("2026-12-31T15:00:00Z".parse().unwrap()));
        assert_eq!(budget.period_at(at, &TimeZone::UTC).start_at, "2026-11-01T00:00:00Z".parse().unwrap());
    }
}
