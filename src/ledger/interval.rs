//! Intervals: the pieces in which a segment is billed, a pure function of its start, its end and the grid.
//!
//! Boundaries are the segment's start, then every whole multiple of the grid since the epoch, then its end.
//! Nothing is accumulated by ticks, so that a restart, a late tick or a second tick derive the very same
//! pieces with the same `k`.

use std::iter::FusedIterator;

use crate::{
    ids::{AccountId, InstanceId, MemberId, PriceVersionId, SegmentId, TeamId},
    model::price::Sku,
    money::{Credits, NanoCredits},
    time::{Span, Timestamp},
};

/// A metered span with constant quantity and price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The segment.
    pub id: SegmentId,
    /// The team.
    pub team: TeamId,
    /// Who uses it.
    pub member: MemberId,
    /// What is used: the id of an instance, a drive or another resource.
    pub resource: String,
    /// The instance, where it is one or belongs to one.
    pub instance: Option<InstanceId>,
    /// The wallet or pool that pays; `None`: the hold of the instance does.
    pub account: Option<AccountId>,
    /// What is metered, such as `instance`.
    pub kind: String,
    /// Its place among the segments of this resource and kind, from 0.
    pub number: u32,
    /// Units in use.
    pub quantity: u32,
    /// The price that was quoted for it.
    pub price_version: PriceVersionId,
    /// What the price is told of it, as it stood when the segment was opened.
    pub sku: Sku,
    /// What was quoted for an hour of the whole: no charge is higher.
    pub quoted_per_hour: Credits,
    /// The wall-clock grid that it is cut by; above zero.
    pub grid: Span,
    /// When it began.
    pub start_at: Timestamp,
    /// When it ended; `None` while it runs.
    pub end_at: Option<Timestamp>,
    /// The last instant at which it was seen to run.
    pub proof_at: Timestamp,
    /// Everything before is charged.
    pub billed_until: Timestamp,
    /// The first interval that is not charged.
    pub next_k: u64,
    /// What all its charges sum to, before rounding.
    pub cumulative: NanoCredits,
    /// Whether it ended and everything is charged.
    pub settled: bool,
}

/// How far a segment is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// Everything before is charged.
    pub billed_until: Timestamp,
    /// The first interval that is not charged.
    pub next_k: u64,
}

/// One piece of a segment: the `k`th, from `from` up to but not including `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Its place in the segment, from 0.
    pub k: u64,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends; after `from`.
    pub to: Timestamp,
}

/// The intervals that can be charged, from the first uncharged on. Lazy: a year of outage costs no memory.
#[derive(Debug, Clone)]
pub struct ClosedIntervals {
    start: Timestamp,
    grid: Span,
    next_k: u64,
    until: Timestamp,
    /// Whether `until` is the end, so that the last piece may be a partial one.
    ended: bool,
}

impl Segment {
    /// How far it is billed, as it was read.
    pub const fn watermark(&self) -> Watermark {
        Watermark { billed_until: self.billed_until, next_k: self.next_k }
    }

    /// The intervals that are closed and not charged yet.
    ///
    /// While the segment runs these are the whole cells up to its proof of life; once it ended, the rest as
    /// well.
    pub fn closed_intervals(&self) -> ClosedIntervals {
        let (until, ended) = match self.end_at {
            Some(end) => (end, true),
            None => (self.proof_at, false),
        };
        closed_intervals(self.start_at, self.grid, self.next_k, until, ended)
    }
}

/// The intervals from `next_k` on of a segment that began at `start`, up to `until`.
///
/// `ended` says that `until` is the end of the segment; otherwise it is proof that the segment ran so far,
/// and only cells that are wholly proven count.
pub fn closed_intervals(
    start: Timestamp,
    grid: Span,
    next_k: u64,
    until: Timestamp,
    ended: bool,
) -> ClosedIntervals {
    ClosedIntervals { start, grid, next_k, until, ended }
}

/// Where interval `k` of a segment that began at `start` begins, and `k − 1` ends unless the segment ends
/// before.
pub fn boundary(start: Timestamp, grid: Span, k: u64) -> Timestamp {
    if k == 0 {
        return start;
    }
    let grid = i128::from(grid.as_micros().max(1));
    let cell = i128::from(start.as_micros()).div_euclid(grid);
    let micros = (cell + i128::from(k)) * grid;
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

impl Iterator for ClosedIntervals {
    type Item = Interval;

    fn next(&mut self) -> Option<Interval> {
        let from = boundary(self.start, self.grid, self.next_k);
        let whole = boundary(self.start, self.grid, self.next_k.saturating_add(1));
        let to = if self.ended { whole.min(self.until) } else { whole };
        if from >= to || to > self.until {
            return None;
        }
        let k = self.next_k;
        self.next_k += 1;
        Some(Interval { k, from, to })
    }
}

impl FusedIterator for ClosedIntervals {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn pieces(start: i64, grid: i64, next_k: u64, until: i64, ended: bool) -> Vec<Interval> {
        closed_intervals(at(start), Span::from_micros(grid), next_k, at(until), ended).collect()
    }

    proptest! {
        #[test]
        fn an_ended_segment_is_covered_without_gap_or_overlap(
            start in -500i64..500, length in 0i64..500, grid in 1i64..70,
        ) {
            let all = pieces(start, grid, 0, start + length, true);
            let mut reached = start;
            for (k, piece) in all.iter().enumerate() {
                prop_assert_eq!(piece.k, k as u64);
                prop_assert_eq!(piece.from, at(reached));
                prop_assert!(piece.from < piece.to);
                reached = piece.to.as_micros();
                prop_assert!(reached.rem_euclid(grid) == 0 || reached == start + length);
            }
            prop_assert_eq!(reached, start + length);
        }

        #[test]
        fn one_late_tick_equals_many_small_ones_and_a_second_tick_adds_nothing(
            start in 0i64..500, mut proofs in prop::collection::vec(0i64..600, 0..12), grid in 1i64..70,
        ) {
            proofs.sort_unstable();
            let end = start + proofs.last().copied().unwrap_or(0);
            let mut ticked = Vec::new();
            for proof in &proofs {
                for _ in 0..2 {
                    let fresh = pieces(start, grid, ticked.len() as u64, start + proof, false);
                    prop_assert!(fresh.iter().all(|piece| piece.to <= at(start + proof)));
                    ticked.extend(fresh);
                }
            }
            ticked.extend(pieces(start, grid, ticked.len() as u64, end, true));
            ticked.extend(pieces(start, grid, ticked.len() as u64, end, true));
            prop_assert_eq!(ticked, pieces(start, grid, 0, end, true));
        }
    }

    #[test]
    fn only_proven_cells_of_a_running_segment_are_closed() {
        let cells =
            |until, ended| pieces(90, 60, 0, until, ended).iter().map(|i| (i.from, i.to)).collect::<Vec<_>>();
        assert_eq!(cells(119, false), []);
        assert_eq!(cells(185, false), [(at(90), at(120)), (at(120), at(180))]);
        assert_eq!(cells(185, true), [(at(90), at(120)), (at(120), at(180)), (at(180), at(185))]);
        assert_eq!(cells(90, true), []);
    }
}
