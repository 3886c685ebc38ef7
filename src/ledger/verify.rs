//! What must be true of the books, checked row by row: the same checks for `muster ledger verify` and for
//! tests.
//!
//! Feed a [`Verifier`] one consistent reading of the rows, in the order of its methods; [`Verifier::finish`]
//! reports. It keeps one record per account, lot, segment and capture in memory, never the entries.

mod accounts;
mod bookings;
mod budgets;
mod charges;
mod lots;
mod top_ups;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::{
    accounts::Accounts, bookings::Teams, budgets::Budgets, charges::Charges, lots::Lots, top_ups::Payments,
};
pub use self::{accounts::Entry, lots::Moved, top_ups::Payment};
use super::{
    account::Account,
    booking::Booking,
    budget::{Budget, Claim, Period},
    chain::Link,
    hold::{Hold, HoldState},
    interval::Segment,
    lot::Lot,
    rating::Charge,
};
use crate::{
    ids::{ApiKeyId, BudgetId, HoldId, LotId, TeamId},
    model::team::words,
    money::Credits,
    time::TimeZone,
};

/// Violations that are kept with their details; further ones are only counted.
pub const KEPT_VIOLATIONS: usize = 100;

words! {
    /// A property of the books.
    Invariant {
        /// In every transaction debits equal credits, in each phase.
        Balanced = "transaction-balanced",
        /// Over all accounts of a team posted and pending amounts sum to zero.
        BooksBalanced = "books-balanced",
        /// The counters of an account are what its entries sum to, and no entry is missing.
        CountersMatch = "counters-match-entries",
        /// No account was ever below its floor, after any of its moves.
        FloorKept = "floor-kept",
        /// The transactions of a team are numbered without a gap.
        NumbersComplete = "numbers-complete",
        /// Every link of a team's chain is the digest of the transactions that it covers.
        ChainIntact = "chain-intact",
        /// The counters of a lot are what its moves sum to, and the lots of an account are its balance.
        LotsMatch = "lots-match",
        /// Whatever moves a wallet or a pool names the lots that it moves, exactly.
        LinesNameLots = "lines-name-lots",
        /// Lots were used up in their order, and none after it was over.
        LotsInOrder = "lots-in-order",
        /// An open hold has pinned what it has left, and a lot is pinned by holds alone.
        PinsMatch = "pins-match",
        /// A hold never gives more than it has, a closed one gave all, and accounts hold what their holds
        /// say.
        HoldsMatch = "holds-match",
        /// What is reserved of a budget is what open holds claim of it, and what was spent is what was charged.
        BudgetsMatch = "budgets-match",
        /// A charge moved exactly its amount, in one transaction that charges nothing else; where the charges of a
        /// revision cancel each other out, in none.
        ChargesMatch = "charges-match-transactions",
        /// A later revision is of the very interval that was charged first, and is a correction.
        RevisionsMatch = "revisions-match",
        /// The charged intervals of a segment have no gap, no overlap, and are those of its grid.
        IntervalsCover = "intervals-cover",
        /// The charges of a segment sum to its rounded total.
        ChargesTelescope = "charges-telescope",
        /// A capture carries the key that its charges derive.
        KeysDerived = "keys-derived",
        /// Every paid top-up was credited once, and what came in less what went back is what was paid.
        TopUpsCredited = "top-ups-credited",
    }
}

/// A property that does not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The property.
    pub invariant: Invariant,
    /// The rows concerned, most telling first.
    pub ids: Vec<String>,
    /// What was found and what was expected.
    pub detail: String,
}

/// How many rows were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Accounts.
    pub accounts: u64,
    /// Entries.
    pub entries: u64,
    /// Lots.
    pub lots: u64,
    /// Holds.
    pub holds: u64,
    /// Budgets.
    pub budgets: u64,
    /// Segments.
    pub segments: u64,
    /// Charges.
    pub charges: u64,
    /// Top-ups.
    pub top_ups: u64,
    /// Transactions.
    pub transactions: u64,
    /// Links of the chains.
    pub links: u64,
}

/// The outcome of a check of the books.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How many rows were checked.
    pub counts: Counts,
    /// How many violations there are.
    pub found: u64,
    /// The first [`KEPT_VIOLATIONS`] of them.
    pub violations: Vec<Violation>,
}

/// Reads the rows of the books and remembers what is wrong with them.
#[derive(Debug, Default)]
pub struct Verifier {
    report: Report,
    teams: Teams,
    accounts: Accounts,
    holds: BTreeMap<HoldId, Hold>,
    lots: Lots,
    budgets: Budgets,
    charges: Charges,
    payments: Payments,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.found == 0
    }

    fn note(&mut self, invariant: Invariant, ids: Vec<String>, detail: String) {
        self.found += 1;
        if self.violations.len() < KEPT_VIOLATIONS {
            self.violations.push(Violation { invariant, ids, detail });
        }
    }
}

impl Verifier {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a team with the number of its last transaction and the time zone of its months.
    pub fn team(&mut self, team: TeamId, booked: u64, zone: TimeZone) {
        self.teams.team(team, booked);
        self.budgets.team(team, zone);
    }

    /// Reads an account. All accounts come before the first entry.
    pub fn account(&mut self, row: Account) {
        self.report.counts.accounts += 1;
        self.accounts.account(row);
    }

    /// Reads an entry. Those of one account come in the order of its moves.
    pub fn entry(&mut self, entry: &Entry) {
        self.report.counts.entries += 1;
        self.accounts.entry(entry, &mut self.report);
    }

    /// Reads a hold. All holds come before the first pin and the first claim.
    pub fn hold(&mut self, hold: Hold) {
        self.report.counts.holds += 1;
        self.accounts.hold(&hold, &mut self.report);
        if hold.state == HoldState::Open {
            self.holds.insert(hold.id, hold);
        }
    }

    /// Reads a lot. All lots come before the first move and the first pin.
    pub fn lot(&mut self, row: Lot) {
        self.report.counts.lots += 1;
        self.lots.lot(row);
    }

    /// Reads a part of a lot that a line moved. Those of one account come in the order of its moves, then of lines.
    pub fn lot_move(&mut self, moved: &Moved) {
        self.lots.lot_move(moved, &mut self.report);
    }

    /// Reads what a hold has pinned of a lot.
    pub fn pin(&mut self, hold: HoldId, lot: LotId, amount: Credits) {
        self.lots.pin(self.holds.get(&hold), hold, lot, amount, &mut self.report);
    }

    /// Reads a budget. All budgets come before the first period.
    pub fn budget(&mut self, row: Budget) {
        self.report.counts.budgets += 1;
        self.budgets.budget(row);
    }

    /// Reads a period of a budget. All periods come before the first claim and the first charge.
    pub fn period(&mut self, budget: BudgetId, row: Period) {
        self.budgets.period(budget, row, &mut self.report);
    }

    /// Reads what a hold claims of a budget.
    pub fn claim(&mut self, claim: &Claim) {
        self.budgets.claim(claim, self.holds.get(&claim.hold), &mut self.report);
    }

    /// Reads a segment. All segments come before the first charge.
    pub fn segment(&mut self, row: Segment) {
        self.report.counts.segments += 1;
        self.charges.segment(row);
    }

    /// Reads a charge, with the API key that launched what was used. Those of one segment come in the order of `k`,
    /// then of revision.
    pub fn charge(&mut self, charge: &Charge, api_key: Option<ApiKeyId>) {
        self.report.counts.charges += 1;
        self.charges.charge(charge, &mut self.report);
        self.budgets.charge(charge, api_key);
    }

    /// Reads a top-up.
    pub fn top_up(&mut self, payment: Payment) {
        self.report.counts.top_ups += 1;
        self.payments.top_up(payment);
    }

    /// Reads a link of a team's chain. All links come before the first booking; those of a team in order.
    pub fn link(&mut self, link: Link) {
        self.report.counts.links += 1;
        self.teams.link(link);
    }

    /// Reads a transaction with its lines, after everything else. Those of one team come in the order of their numbers.
    pub fn booking(&mut self, booking: &Booking) {
        self.report.counts.transactions += 1;
        self.teams.booking(booking, &self.accounts, &mut self.report);
        self.charges.booking(booking, &self.accounts, &mut self.report);
        self.payments.booking(booking, &self.accounts, &mut self.report);
    }

    /// Checks what can be told only at the end, and reports.
    pub fn finish(mut self) -> Report {
        self.teams.finish(&mut self.report);
        self.accounts.finish(&mut self.report);
        self.lots.finish(&self.holds, &self.accounts, &mut self.report);
        self.budgets.finish(&mut self.report);
        self.charges.finish(&mut self.report);
        self.payments.finish(&self.accounts, &mut self.report);
        self.report
    }
}

/// Micro-credits, wide enough for any sum.
fn wide(amount: Credits) -> i128 {
    i128::from(amount.as_micros())
}
