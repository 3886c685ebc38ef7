//! Rating: from the nano-credits that a price says to the micro-credits that are charged, losing nothing on
//! the way.
//!
//! Charges telescope: with C(k) the exact sum up to interval k, charge k is round(C(k)) − round(C(k−1)). They
//! sum to round(C) exactly however many intervals there are, so the error of a segment is at most half a
//! micro-credit.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{InstanceId, MemberId, PriceVersionId, SegmentId, TeamId, TransactionId},
    money::{Credits, Error, NanoCredits, prorate},
    time::{HOUR, Span, Timestamp},
};

/// What one interval of a segment was charged, and everything needed to compute it again.
///
/// A later revision of the same interval holds the difference to what was charged before, which may be
/// negative; its lines are those of the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The segment.
    pub segment: SegmentId,
    /// The interval.
    pub k: u64,
    /// 0 for the first; then the number of the revision of the segment that it came with.
    pub revision: u32,
    /// The team.
    pub team: TeamId,
    /// Who used it.
    pub member: MemberId,
    /// What was used: the id of an instance, a drive or another resource.
    pub resource: String,
    /// The instance, where it is one or belongs to one.
    pub instance: Option<InstanceId>,
    /// What was metered.
    pub kind: String,
    /// When the interval begins.
    pub from_at: Timestamp,
    /// When the interval ends.
    pub to_at: Timestamp,
    /// Units in use.
    pub quantity: u32,
    /// What the price said.
    pub nano: NanoCredits,
    /// What is charged: the telescoped rounding of `nano`.
    pub amount: Credits,
    /// The part of `amount` that is owed; where `amount` is negative, the part that was taken off what was owed. Never
    /// below zero, nor above what `amount` is without its sign.
    pub uncovered: Credits,
    /// The price version that was applied.
    pub price_version: PriceVersionId,
    /// Digest of the price plugin.
    pub component_digest: String,
    /// Digest of its configuration.
    pub config_digest: String,
    /// Digest of what it was told.
    pub input_digest: String,
    /// What the plugin was told the time was.
    pub told_now: Timestamp,
    /// The named lines of what the interval costs: `nano` is their sum, less what earlier revisions cost.
    pub lines: Vec<RatedLine>,
    /// Whether it is provisional, as the plugin gave no acceptable answer.
    pub parked: bool,
    /// Why it is provisional; empty otherwise.
    pub parked_because: String,
    /// Why a later revision was made; empty for the first.
    pub reason: String,
    /// The transaction that moved the money; `None` when nothing was to be moved.
    pub transaction: Option<TransactionId>,
    /// When it was written.
    pub created_at: Timestamp,
}

/// The public name of a charge: segment, interval and revision, `seg_….12.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChargeId {
    /// The segment.
    pub segment: SegmentId,
    /// The interval.
    pub k: u64,
    /// The revision.
    pub revision: u32,
}

/// A text that names no charge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected the id of a charge like `seg_….12.0`: segment, interval and revision, as `bills` gives it")]
pub struct ParseChargeIdError;

impl Charge {
    /// Its public name.
    pub const fn id(&self) -> ChargeId {
        ChargeId { segment: self.segment, k: self.k, revision: self.revision }
    }
}

impl fmt::Display for ChargeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.segment, self.k, self.revision)
    }
}

impl FromStr for ChargeId {
    type Err = ParseChargeIdError;
    fn from_str(text: &str) -> Result<Self, ParseChargeIdError> {
        let read = || {
            let mut parts = text.split('.');
            let segment = parts.next()?.parse().ok()?;
            let (k, revision) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            parts.next().is_none().then_some(Self { segment, k, revision })
        };
        // One name for each charge: no sign, no leading zero.
        read().filter(|id| i64::try_from(id.k).is_ok() && id.to_string() == text).ok_or(ParseChargeIdError)
    }
}

impl Serialize for ChargeId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChargeId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for ChargeId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some(r"^seg_[0-9a-f]{32}\.[0-9]+\.[0-9]+$"))
            .examples(["seg_01930f3c5e0a7c3db1d4a2f8e6c90b17.12.0"])
            .into()
    }
}

impl utoipa::ToSchema for ChargeId {}

/// A named part of what an interval costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RatedLine {
    /// The plugin's stable key of the line.
    pub line: String,
    /// What it costs, in nano-credits.
    pub nano: NanoCredits,
}

/// The running exact sum of a segment: turns each next amount into what is charged for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally(NanoCredits);

impl Tally {
    /// Goes on from `cumulative`, what all charges so far sum to.
    pub const fn from_cumulative(cumulative: NanoCredits) -> Self {
        Self(cumulative)
    }

    /// What all charges so far sum to.
    pub const fn cumulative(self) -> NanoCredits {
        self.0
    }

    /// Adds `nano` and gives what is charged for it.
    pub fn charge(&mut self, nano: NanoCredits) -> Result<Credits, Error> {
        let before = self.0;
        self.0 = before.plus(nano)?;
        self.0.round().minus(before.round())
    }
}

/// What the span from `from` to `to` of a segment costs at a constant rate: the provisional charge when a
/// price plugin fails. Telescopes in nano-credits, so consecutive spans sum to what the whole costs.
pub fn at_rate(
    per_hour: NanoCredits,
    segment_start: Timestamp,
    from: Timestamp,
    to: Timestamp,
) -> Result<NanoCredits, Error> {
    let until = |end: Timestamp| prorate(per_hour, (end - segment_start).as_micros(), HOUR);
    let (before, after) = (until(from)?.as_nanos(), until(to)?.as_nanos());
    after.checked_sub(before).map(NanoCredits::from_nanos).ok_or(Error::Overflow)
}

/// Whether `nano` for `span` is more than the quoted rate allows. One nano-credit is granted for the plugin's
/// rounding.
pub fn exceeds_quote(nano: NanoCredits, per_hour: NanoCredits, span: Span) -> bool {
    let charged = i128::from(nano.as_nanos()) * i128::from(HOUR);
    let allowed = i128::from(per_hour.as_nanos()) * i128::from(span.as_micros());
    charged > allowed + i128::from(HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EPOCH: Timestamp = Timestamp::from_micros(0);

    proptest! {
        #[test]
        fn charges_sum_to_the_rounded_total(nanos in prop::collection::vec(-5_000i64..1_000_000, 0..200)) {
            let mut tally = Tally::default();
            let mut charged = Credits::ZERO;
            for nano in &nanos {
                charged = charged.plus(tally.charge(NanoCredits::from_nanos(*nano)).unwrap()).unwrap();
            }
            let total = NanoCredits::from_nanos(nanos.iter().sum());
            prop_assert_eq!(tally.cumulative(), total);
            prop_assert_eq!(charged, total.round());
        }

        #[test]
        fn a_charge_of_something_is_never_negative(
            before in 0i64..i64::MAX / 2, nano in 0i64..i64::MAX / 2,
        ) {
            let mut tally = Tally::from_cumulative(NanoCredits::from_nanos(before));
            prop_assert!(tally.charge(NanoCredits::from_nanos(nano)).unwrap() >= Credits::ZERO);
        }

        #[test]
        fn a_constant_rate_costs_the_same_in_pieces_and_stays_within_its_quote(
            per_hour in 0i64..1_000_000_000_000, mut cuts in prop::collection::vec(0i64..HOUR * 50, 2..20),
        ) {
            cuts.sort_unstable();
            let rate = NanoCredits::from_nanos(per_hour);
            let at = |micros: i64| EPOCH + Span::from_micros(micros);
            let mut total = NanoCredits::ZERO;
            for pair in cuts.windows(2) {
                let (from, to) = (at(pair[0]), at(pair[1]));
                let nano = at_rate(rate, EPOCH, from, to).unwrap();
                prop_assert!(!exceeds_quote(nano, rate, to - from));
                total = total.plus(nano).unwrap();
            }
            let whole = at_rate(rate, EPOCH, at(cuts[0]), at(cuts[cuts.len() - 1])).unwrap();
            prop_assert_eq!(total, whole);
        }
    }

    #[test]
    fn a_charge_has_one_name() {
        let segment = crate::ids::Id::fresh(EPOCH, &crate::chance::Seeded::new(1));
        let id = ChargeId { segment, k: 12, revision: 1 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "12.1", &format!("{segment}.12"), &format!("{segment}.012.1"), &format!("{id}.0")] {
            assert_eq!(wrong.parse::<ChargeId>(), Err(ParseChargeIdError), "{wrong}");
        }
    }

    #[test]
    fn more_than_the_quote_is_seen() {
        let quote = NanoCredits::from_nanos(1_000_000_000);
        let second = Span::from_seconds(1);
        assert!(!exceeds_quote(NanoCredits::from_nanos(277_778), quote, second));
        assert!(exceeds_quote(NanoCredits::from_nanos(277_779), quote, second));
        let even = NanoCredits::from_nanos(3_600_000_000);
        assert!(!exceeds_quote(NanoCredits::from_nanos(1_000_001), even, second), "the one that is granted");
    }
}
