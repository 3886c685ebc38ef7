//! Holds: money set aside so that a running instance can always be charged, and how long it lasts.
//!
//! Amounts to hold are rounded up and lengths of time down, so that a funded second is really funded.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AccountId, ApiKeyId, HoldId, InstanceId, MemberId, TeamId},
    model::team::words,
    money::{Credits, Error, NanoCredits},
    time::{HOUR, Span, Timestamp},
};

/// Percentages of the runway left at which a draining instance's member is warned, highest first.
pub const WARN_PERCENTS: [u8; 3] = [100, 50, 20];

words! {
    /// Where a hold stands.
    HoldState {
        /// Money is set aside.
        Open = "open",
        /// All of it was captured or given back.
        Closed = "closed",
    }
}

/// Money set aside for one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The hold.
    pub id: HoldId,
    /// The team.
    pub team: TeamId,
    /// Who launched the instance.
    pub member: MemberId,
    /// The instance.
    pub instance: InstanceId,
    /// The wallet or pool that the money is held in.
    pub account: AccountId,
    /// Everything that was ever set aside.
    pub reserved: Credits,
    /// The part that was charged.
    pub captured: Credits,
    /// The part that was given back.
    pub released: Credits,
    /// The API key that launched the instance, if one did.
    pub api_key: Option<ApiKeyId>,
    /// How often it was extended.
    pub extensions: u32,
    /// Where it stands.
    pub state: HoldState,
    /// When it was placed.
    pub created_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
}

/// How a charge divides between a hold and what lies beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cover {
    /// The part that the hold pays.
    pub covered: Credits,
    /// The part beyond the hold, owed.
    pub uncovered: Credits,
}

impl Hold {
    /// What is still set aside.
    pub fn remaining(&self) -> Result<Credits, Error> {
        self.reserved.minus(self.captured)?.minus(self.released)
    }

    /// Divides a charge of `amount`, not below zero, between the hold and what lies beyond it.
    pub fn cover(&self, amount: Credits) -> Result<Cover, Error> {
        let covered = amount.min(self.remaining()?);
        Ok(Cover { covered, uncovered: amount.minus(covered)? })
    }
}

/// What `runway` costs at `per_hour`, rounded up to a whole micro-credit.
pub fn runway_cost(per_hour: NanoCredits, runway: Span) -> Result<Credits, Error> {
    let nano_hours = i128::from(per_hour.as_nanos()) * i128::from(runway.as_micros());
    let per_micro_credit = i128::from(HOUR) * 1000;
    let whole = (nano_hours + per_micro_credit - 1).div_euclid(per_micro_credit);
    i64::try_from(whole).map(Credits::from_micros).map_err(|_| Error::Overflow)
}

/// How long `remaining` pays at `per_hour`, rounded down to a microsecond; `None`: for ever, since it costs
/// nothing.
pub fn funded_for(remaining: Credits, per_hour: NanoCredits) -> Option<Span> {
    let per_hour = i128::from(per_hour.as_nanos());
    if per_hour <= 0 {
        return None;
    }
    let micros = i128::from(remaining.as_micros().max(0)) * 1000 * i128::from(HOUR) / per_hour;
    Some(Span::from_micros(i64::try_from(micros).unwrap_or(i64::MAX)))
}

/// Until when `remaining` pays if everything before `billed_until` is charged; `None`: for ever.
pub fn funded_until(billed_until: Timestamp, remaining: Credits, per_hour: NanoCredits) -> Option<Timestamp> {
    funded_for(remaining, per_hour).map(|span| billed_until + span)
}

/// What to add to `remaining` so that it pays for the full `runway` again; zero when it does already.
pub fn extension_needed(remaining: Credits, per_hour: NanoCredits, runway: Span) -> Result<Credits, Error> {
    let missing = runway_cost(per_hour, runway)?.minus(remaining)?;
    Ok(missing.max(Credits::ZERO))
}

/// How far a hold may run down before it is filled up again, while there is plenty: a quarter of the `runway`.
///
/// Filling up after every charge would double what a charge writes.
pub fn slack(per_hour: NanoCredits, runway: Span) -> Result<Credits, Error> {
    runway_cost(per_hour, Span::from_micros(runway.as_micros() / 4))
}

/// The warning that is due when money for `funded` of a full `runway` is left and it is not being extended.
///
/// `warned` is the lowest percentage warned of so far, 0 for none. When several are passed at once only the
/// lowest is due: an instance that was away is told where it stands, not where it stood.
pub fn warning_due(funded: Span, runway: Span, warned: u8) -> Option<u8> {
    let left = i128::from(funded.as_micros()) * 100;
    let reached = |percent: &u8| left <= i128::from(runway.as_micros()) * i128::from(*percent);
    let due = WARN_PERCENTS.into_iter().rfind(reached)?;
    (warned == 0 || due < warned).then_some(due)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUNWAY: Span = Span::from_seconds(3600);

    fn nano(nanos: i64) -> NanoCredits {
        NanoCredits::from_nanos(nanos)
    }

    proptest! {
        #[test]
        fn an_extended_hold_pays_for_the_runway_and_a_micro_credit_less_does_not(
            per_hour in 1i64..1_000_000_000_000, remaining in 0i64..1_000_000_000, seconds in 1i64..100_000,
        ) {
            let (per_hour, remaining) = (nano(per_hour), Credits::from_micros(remaining));
            let runway = Span::from_seconds(seconds);
            let extension = extension_needed(remaining, per_hour, runway).unwrap();
            let full = remaining.plus(extension).unwrap();
            prop_assert!(funded_for(full, per_hour).unwrap() >= runway);
            if extension.is_positive() {
                let short = full.minus(Credits::from_micros(1)).unwrap();
                prop_assert!(funded_for(short, per_hour).unwrap() < runway);
            }
        }

        #[test]
        fn what_is_funded_is_covered(per_hour in 1i64..1_000_000_000_000, remaining in 0i64..1_000_000_000) {
            let remaining = Credits::from_micros(remaining);
            let funded = funded_for(remaining, nano(per_hour)).unwrap();
            prop_assert!(runway_cost(nano(per_hour), funded).unwrap() <= remaining);
        }
    }

    #[test]
    fn a_hold_covers_what_it_has_left_and_says_until_when_that_lasts() {
        let (now, chance) = (Timestamp::from_micros(7), crate::chance::Seeded::new(1));
        let micros = Credits::from_micros;
        let hold = Hold {
            id: crate::ids::Id::fresh(now, &chance),
            team: crate::ids::Id::fresh(now, &chance),
            member: crate::ids::Id::fresh(now, &chance),
            instance: crate::ids::Id::fresh(now, &chance),
            account: crate::ids::Id::fresh(now, &chance),
            reserved: micros(100),
            captured: micros(60),
            released: micros(10),
            api_key: None,
            extensions: 0,
            state: HoldState::Open,
            created_at: now,
            closed_at: None,
        };
        assert_eq!(hold.remaining(), Ok(micros(30)));
        assert_eq!(hold.cover(micros(20)), Ok(Cover { covered: micros(20), uncovered: Credits::ZERO }));
        assert_eq!(hold.cover(micros(45)), Ok(Cover { covered: micros(30), uncovered: micros(15) }));
        // A micro-credit an hour.
        let until = funded_until(now, micros(2), nano(1_000));
        assert_eq!(until, Some(now + Span::from_seconds(2 * 3_600)));
    }

    #[test]
    fn what_costs_nothing_is_funded_for_ever() {
        assert_eq!(funded_until(Timestamp::from_micros(0), Credits::ZERO, nano(0)), None);
        assert_eq!(extension_needed(Credits::ZERO, nano(0), RUNWAY), Ok(Credits::ZERO));
    }

    #[test]
    fn each_warning_is_due_once_and_a_late_look_gives_the_lowest() {
        let at = |minutes: i64, warned| warning_due(Span::from_seconds(minutes * 60), RUNWAY, warned);
        assert_eq!(at(61, 0), None);
        assert_eq!(at(60, 0), Some(100));
        assert_eq!(at(45, 100), None);
        assert_eq!(at(30, 100), Some(50));
        assert_eq!(at(12, 50), Some(20));
        assert_eq!(at(0, 20), None);
        assert_eq!(at(5, 0), Some(20));
    }
}
