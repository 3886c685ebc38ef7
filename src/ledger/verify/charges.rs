//! Segments and their charges: every interval once, every amount in one transaction, every revision of what it revises.

use std::collections::{BTreeMap, HashMap};

use super::{Invariant, Report, accounts::Accounts, wide};
use crate::{
    ids::{SegmentId, TransactionId},
    ledger::{
        account::AccountKind,
        booking::Booking,
        interval::{Segment, boundary},
        posting::{IdemKey, TransactionKind},
        rating::Charge,
    },
    time::Timestamp,
};

/// All segments, and the transactions that charge them.
#[derive(Debug, Default)]
pub(super) struct Charges {
    segments: BTreeMap<SegmentId, Billing>,
    captures: HashMap<TransactionId, Capture>,
    /// What charges of revisions that moved no money sum to.
    unmoved: BTreeMap<(SegmentId, u32), i128>,
}

/// A segment as its row says and as its charges so far say.
#[derive(Debug)]
struct Billing {
    row: Segment,
    next_k: u64,
    reached: Timestamp,
    nano: i128,
    amount: i128,
    last: Option<(u64, u32, Timestamp, Timestamp)>,
}

/// What the charges that point at one transaction sum to.
#[derive(Debug)]
struct Capture {
    segment: SegmentId,
    revision: u32,
    first_k: u64,
    amount: i128,
    uncovered: i128,
}

impl Charges {
    pub(super) fn segment(&mut self, row: Segment) {
        let billing = Billing { next_k: 0, reached: row.start_at, nano: 0, amount: 0, last: None, row };
        self.segments.insert(billing.row.id, billing);
    }

    pub(super) fn charge(&mut self, charge: &Charge, report: &mut Report) {
        let ids = || vec![charge.segment.to_string(), format!("k={} revision={}", charge.k, charge.revision)];
        match self.segments.get_mut(&charge.segment) {
            Some(billing) => {
                if let Some((invariant, detail)) = billing.add(charge) {
                    report.note(invariant, ids(), detail);
                }
            }
            None => {
                report.note(Invariant::IntervalsCover, ids(), "a charge of no segment".to_owned());
            }
        }
        let Some(transaction) = charge.transaction else {
            if charge.revision > 0 {
                *self.unmoved.entry((charge.segment, charge.revision)).or_default() += wide(charge.amount);
            } else if charge.amount.as_micros() != 0 {
                let detail = format!("{} charged and no transaction", charge.amount);
                report.note(Invariant::ChargesMatch, ids(), detail);
            }
            return;
        };
        let capture = self.captures.entry(transaction).or_insert(Capture {
            segment: charge.segment,
            revision: charge.revision,
            first_k: charge.k,
            amount: 0,
            uncovered: 0,
        });
        if (capture.segment, capture.revision) != (charge.segment, charge.revision) {
            let detail = format!("{transaction} charges {} too", capture.segment);
            report.note(Invariant::ChargesMatch, ids(), detail);
        }
        capture.amount += wide(charge.amount);
        // A charge that gives back takes from what is owed.
        capture.uncovered += wide(charge.amount).signum() * wide(charge.uncovered);
    }

    pub(super) fn booking(&mut self, booking: &Booking, accounts: &Accounts, report: &mut Report) {
        let id = booking.header.id;
        let Some(capture) = self.captures.remove(&id) else {
            if booking.kind == TransactionKind::Capture {
                let detail = "a capture without a charge".to_owned();
                report.note(Invariant::ChargesMatch, vec![id.to_string()], detail);
            }
            return;
        };
        let ids = || vec![id.to_string(), capture.segment.to_string(), format!("k={}", capture.first_k)];
        let earned = accounts.posted(booking, AccountKind::Revenue);
        if earned != capture.amount {
            let detail = format!("charges sum to {} µ and {earned} µ were moved", capture.amount);
            report.note(Invariant::ChargesMatch, ids(), detail);
        }
        let expected =
            if capture.revision == 0 { TransactionKind::Capture } else { TransactionKind::Correction };
        if booking.kind != expected {
            let detail = format!("a {} where a {expected} was expected", booking.kind);
            report.note(Invariant::RevisionsMatch, ids(), detail);
        }
        let owed = -accounts.posted(booking, AccountKind::Receivable);
        if owed != capture.uncovered {
            let detail = format!("{} µ are uncovered and {owed} µ are owed", capture.uncovered);
            report.note(Invariant::ChargesMatch, ids(), detail);
        }
        let derived = IdemKey::capture(capture.segment, capture.first_k, capture.revision);
        if booking.header.idem_key != derived {
            let detail = format!("has the key {} instead of {derived}", booking.header.idem_key);
            report.note(Invariant::KeysDerived, ids(), detail);
        }
    }

    pub(super) fn finish(&self, report: &mut Report) {
        for (transaction, capture) in &self.captures {
            let ids = vec![capture.segment.to_string(), transaction.to_string()];
            let detail = "charged in a transaction that does not exist".to_owned();
            report.note(Invariant::ChargesMatch, ids, detail);
        }
        for ((segment, revision), sum) in self.unmoved.iter().filter(|(_, sum)| **sum != 0) {
            let ids = vec![segment.to_string(), format!("revision={revision}")];
            let detail = format!("charges without a transaction sum to {sum} µ");
            report.note(Invariant::ChargesMatch, ids, detail);
        }
        for billing in self.segments.values() {
            billing.finish(report);
        }
    }
}

impl Billing {
    /// Adds a charge; says what is wrong with its place.
    fn add(&mut self, charge: &Charge) -> Option<(Invariant, String)> {
        self.nano += i128::from(charge.nano.as_nanos());
        self.amount += wide(charge.amount);
        let found = (charge.k, charge.revision, charge.from_at, charge.to_at);
        let before = self.last.replace(found);
        if charge.revision > 0 {
            // Revisions are counted over the whole segment, so one interval may miss some.
            let follows = before.is_some_and(|(k, revision, from, to)| {
                (k, from, to) == (charge.k, charge.from_at, charge.to_at) && revision < charge.revision
            });
            let told = || format!("revised {found:?} after {before:?}");
            return (!follows).then(|| (Invariant::RevisionsMatch, told()));
        }
        let whole = boundary(self.row.start_at, self.row.grid, charge.k.saturating_add(1));
        let to = self.row.end_at.map_or(whole, |end| whole.min(end));
        let expected = (self.next_k, self.reached, to);
        self.next_k = charge.k.saturating_add(1);
        self.reached = charge.to_at;
        let found = (charge.k, charge.from_at, charge.to_at);
        (found != expected)
            .then(|| (Invariant::IntervalsCover, format!("charged {found:?}, expected {expected:?}")))
    }

    fn finish(&self, report: &mut Report) {
        let row = &self.row;
        let ids = || vec![row.id.to_string(), row.resource.clone()];
        if (row.next_k, row.billed_until) != (self.next_k, self.reached) {
            let detail = format!(
                "the row says billed until {} (k={}), the charges say {} (k={})",
                row.billed_until, row.next_k, self.reached, self.next_k
            );
            report.note(Invariant::IntervalsCover, ids(), detail);
        }
        let end = row.end_at.unwrap_or(row.proof_at);
        if row.billed_until > end || (row.settled && row.end_at != Some(row.billed_until)) {
            let detail = format!("billed until {} and known until {end}", row.billed_until);
            report.note(Invariant::IntervalsCover, ids(), detail);
        }
        let cumulative = i128::from(row.cumulative.as_nanos());
        let rounded = wide(row.cumulative.round());
        if (cumulative, rounded) != (self.nano, self.amount) {
            let detail = format!(
                "charges sum to {} nano and {} µ, expected {cumulative} nano and {rounded} µ",
                self.nano, self.amount
            );
            report.note(Invariant::ChargesTelescope, ids(), detail);
        }
    }
}
