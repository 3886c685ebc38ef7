//! Revisions: what changes when intervals of a segment are rated anew.
//!
//! A revision holds differences. The charges of a segment go on to telescope over all its revisions: interval k has
//! cost round(C(k)) − round(C(k−1)) in the end, with C the exact sum of what its intervals cost now. So an interval
//! after the ones that were rated anew may move by a micro-credit, and has a revision of its own then.

use std::collections::BTreeMap;

use crate::money::{Credits, Error, NanoCredits};

/// What an interval was charged so far, over all its revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The interval.
    pub k: u64,
    /// Its latest revision.
    pub revision: u32,
    /// What its revisions cost, before rounding.
    pub nano: NanoCredits,
    /// What they were charged.
    pub amount: Credits,
    /// The part of it that was owed when it was charged, less what was taken off that since.
    pub uncovered: Credits,
}

/// How one interval changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The interval.
    pub k: u64,
    /// Added to its exact cost.
    pub nano: NanoCredits,
    /// Added to what it was charged.
    pub amount: Credits,
    /// The most of a give-back that can be taken off what is owed, or of a charge that can be owed.
    pub most_uncovered: Credits,
}

/// How a segment changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The intervals that change, and those that were rated anew with the same result, in order.
    pub changes: Vec<Change>,
    /// What all charges of the segment sum to afterwards, before rounding.
    pub cumulative: NanoCredits,
}

/// What changes when the intervals in `anew` cost what they say there. `before` is the exact sum of all intervals ahead
/// of the first in `standing`, which goes on to the last that was charged.
///
/// # Errors
/// [`Error::Overflow`] when a sum leaves the range of money.
pub fn revise(
    before: NanoCredits,
    standing: &[Standing],
    anew: &BTreeMap<u64, NanoCredits>,
) -> Result<Revision, Error> {
    let mut cumulative = before;
    let mut changes = Vec::with_capacity(anew.len());
    for was in standing {
        let nano = anew.get(&was.k).copied().unwrap_or(was.nano);
        let reached = cumulative.round();
        cumulative = cumulative.plus(nano)?;
        let amount = cumulative.round().minus(reached)?.minus(was.amount)?;
        if anew.contains_key(&was.k) || amount != Credits::ZERO {
            let most_uncovered =
                if amount.is_positive() { amount } else { was.uncovered.min(Credits::ZERO.minus(amount)?) };
            changes.push(Change { k: was.k, nano: difference(nano, was.nano)?, amount, most_uncovered });
        }
    }
    Ok(Revision { changes, cumulative })
}

/// Divides what of a charge or give-back of `changes` moves what is owed among them, the last first: as many parts as
/// there are changes, each on the side of the whole.
///
/// # Errors
/// [`Error::Overflow`] when a sum leaves the range of money.
pub fn share_owed(changes: &[Change], owed: Credits, gives_back: bool) -> Result<Vec<Credits>, Error> {
    let mut left = owed;
    let mut shares = vec![Credits::ZERO; changes.len()];
    for (share, change) in shares.iter_mut().zip(changes).rev() {
        if (change.amount < Credits::ZERO) == gives_back {
            *share = left.min(change.most_uncovered).max(Credits::ZERO);
            left = left.minus(*share)?;
        }
    }
    Ok(shares)
}

fn difference(one: NanoCredits, other: NanoCredits) -> Result<NanoCredits, Error> {
    one.as_nanos().checked_sub(other.as_nanos()).map(NanoCredits::from_nanos).ok_or(Error::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::rating::Tally;
    use proptest::prelude::*;

    fn nano(nanos: i64) -> NanoCredits {
        NanoCredits::from_nanos(nanos)
    }

    fn charged(nanos: &[i64]) -> Vec<Standing> {
        let mut tally = Tally::default();
        let one = |(k, nanos): (usize, &i64)| {
            let amount = tally.charge(nano(*nanos)).unwrap();
            Standing { k: k as u64, revision: 0, nano: nano(*nanos), amount, uncovered: Credits::ZERO }
        };
        nanos.iter().enumerate().map(one).collect()
    }

    /// Applies a revision of everything from `first` on.
    fn apply(all: &mut [Standing], first: usize, anew: &BTreeMap<u64, NanoCredits>) -> Revision {
        let before = all[..first].iter().map(|one| one.nano.as_nanos()).sum();
        let revision = revise(nano(before), &all[first..], anew).unwrap();
        for change in &revision.changes {
            let one = &mut all[usize::try_from(change.k).unwrap()];
            one.nano = one.nano.plus(change.nano).unwrap();
            one.amount = one.amount.plus(change.amount).unwrap();
            one.revision += 1;
        }
        revision
    }

    proptest! {
        #[test]
        fn however_often_it_is_revised_a_segment_sums_to_its_rounded_total(
            nanos in prop::collection::vec(0i64..5_000, 1..60),
            times in prop::collection::vec((0usize..60, prop::collection::vec(0i64..5_000, 1..20)), 1..6),
        ) {
            let mut all = charged(&nanos);
            for (first, prices) in times {
                let first = first % all.len();
                let anew: BTreeMap<u64, NanoCredits> =
                    (first as u64..all.len() as u64).zip(prices.into_iter().map(nano)).collect();
                let revision = apply(&mut all, first, &anew);
                // What was rated anew costs that; all others cost what they did.
                for (k, price) in &anew {
                    prop_assert_eq!(all[usize::try_from(*k).unwrap()].nano, *price);
                    prop_assert!(revision.changes.iter().any(|change| change.k == *k));
                }
                for change in revision.changes.iter().filter(|change| !anew.contains_key(&change.k)) {
                    prop_assert_eq!(change.nano, NanoCredits::ZERO);
                    prop_assert_eq!(change.amount.as_micros().abs(), 1);
                }
                let exact: i64 = all.iter().map(|one| one.nano.as_nanos()).sum();
                let amounts: i64 = all.iter().map(|one| one.amount.as_micros()).sum();
                prop_assert_eq!(revision.cumulative, nano(exact));
                prop_assert_eq!(amounts, nano(exact).round().as_micros());
                // And it is as if it had been charged so from the start.
                let now: Vec<i64> = all.iter().map(|one| one.nano.as_nanos()).collect();
                for (one, fresh) in all.iter().zip(charged(&now)) {
                    prop_assert_eq!(one.amount, fresh.amount);
                }
            }
        }

        #[test]
        fn a_revision_that_is_taken_back_leaves_nothing(
            nanos in prop::collection::vec(0i64..5_000, 1..60), first in 0usize..60, price in 0i64..5_000,
        ) {
            let first = first % nanos.len();
            let mut all = charged(&nanos);
            let there = BTreeMap::from([(first as u64, nano(price))]);
            let back = BTreeMap::from([(first as u64, nano(nanos[first]))]);
            apply(&mut all, first, &there);
            apply(&mut all, first, &back);
            for (one, fresh) in all.iter().zip(charged(&nanos)) {
                prop_assert_eq!((one.nano, one.amount), (fresh.nano, fresh.amount));
            }
        }

        #[test]
        fn shares_sum_to_what_is_owed_and_keep_their_side(
            parts in prop::collection::vec((-50i64..50, 0i64..60), 0..12), wanted in 0i64..300, gives_back: bool,
        ) {
            let micros = Credits::from_micros;
            let changes: Vec<Change> = parts.iter().map(|&(amount, owed)| Change {
                k: 0, nano: NanoCredits::ZERO, amount: micros(amount),
                most_uncovered: micros(owed.min(amount.abs())),
            }).collect();
            let side = |change: &&Change| (change.amount < Credits::ZERO) == gives_back;
            let most: i64 = changes.iter().filter(side).map(|change| change.most_uncovered.as_micros()).sum();
            let shares = share_owed(&changes, micros(wanted), gives_back).unwrap();
            prop_assert_eq!(shares.iter().map(|share| share.as_micros()).sum::<i64>(), wanted.min(most));
            for (share, change) in shares.iter().zip(&changes) {
                prop_assert!(*share >= Credits::ZERO && *share <= change.most_uncovered);
                prop_assert!(*share == Credits::ZERO || side(&change));
            }
        }
    }
}
