//! Alerts: a figure of a team's money that somebody wants to hear of when it crosses a threshold.

use serde::{Deserialize, Serialize};

use super::team::words;
use crate::money::Credits;

words! {
    /// Which figure is watched.
    AlertMetric {
        /// Credits that can be spent, of the pool or of a member's wallet.
        Balance = "balance",
        /// Hours that they pay for what runs on that account now.
        RunwayHours = "runway_hours",
        /// How much of a budget's ceiling was charged in its present period, in percent.
        BudgetPercent = "budget_percent",
    }
}

/// A figure in the unit of its metric: credits, hours or percent, with six decimals.
pub type Figure = Credits;

impl AlertMetric {
    /// Whether a figure is on the side that is told of: a percentage at or above the threshold, any other below it.
    pub fn is_bad(self, figure: Figure, threshold: Figure) -> bool {
        match self {
            Self::Balance | Self::RunwayHours => figure < threshold,
            Self::BudgetPercent => figure >= threshold,
        }
    }
}

/// Hours that `spendable` pays at `per_hour`, rounded down to a millionth; without a cost there is no end to them.
pub fn runway_hours(spendable: Credits, per_hour: Credits) -> Figure {
    if !per_hour.is_positive() {
        return Figure::from_micros(i64::MAX);
    }
    let hours = i128::from(spendable.as_micros()) * 1_000_000 / i128::from(per_hour.as_micros());
    Figure::from_micros(i64::try_from(hours).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(text: &str) -> Figure {
        text.parse().unwrap()
    }

    #[test]
    fn money_is_bad_below_its_threshold_and_a_percentage_from_it_on() {
        assert!(AlertMetric::Balance.is_bad(figure("9.999999"), figure("10")));
        assert!(!AlertMetric::Balance.is_bad(figure("10"), figure("10")));
        assert!(AlertMetric::BudgetPercent.is_bad(figure("80"), figure("80")));
        assert!(!AlertMetric::BudgetPercent.is_bad(figure("79"), figure("80")));
    }

    #[test]
    fn a_runway_is_money_by_cost_and_endless_without_cost() {
        assert_eq!(runway_hours(figure("3"), figure("6")), figure("0.5"));
        assert!(!AlertMetric::RunwayHours.is_bad(runway_hours(Figure::ZERO, Figure::ZERO), figure("1000")));
    }
}
