//! What must be true of the books, checked row by row: the same checks for `muster ledger verify` and for
//! tests.
//!
//! Feed a [`Verifier`] one consistent reading of the rows, in the order of its methods; [`Verifier::finish`]
//! reports. It keeps one record per account, segment and capture in memory, never the entries.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{
    account::{Account, AccountKind, Balance, Movement},
    hold::{Hold, HoldState},
    interval::{Segment, boundary},
    posting::{Direction, IdemKey, Line, Phase, Transaction, TransactionKind, is_balanced},
    rating::Charge,
};
use crate::{
    ids::{AccountId, SegmentId, TeamId, TransactionId},
    model::team::words,
    time::Timestamp,
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
        /// A hold never gives more than it has, a closed one gave all, and accounts hold what their holds
        /// say.
        HoldsMatch = "holds-match",
        /// A charge moved exactly its amount, in one transaction that charges nothing else; where the charges of a
        /// revision cancel each other out, in none.
        ChargesMatch = "charges-match-transactions",
        /// The charged intervals of a segment have no gap, no overlap, and are those of its grid.
        IntervalsCover = "intervals-cover",
        /// The charges of a segment sum to its rounded total.
        ChargesTelescope = "charges-telescope",
        /// A capture carries the key that its charges derive.
        KeysDerived = "keys-derived",
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
    /// Holds.
    pub holds: u64,
    /// Segments.
    pub segments: u64,
    /// Charges.
    pub charges: u64,
    /// Transactions.
    pub transactions: u64,
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

/// An entry with its place among the moves of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The transaction that it is part of.
    pub transaction: TransactionId,
    /// Which move of the account this transaction is, from 1.
    pub account_move: u64,
    /// What it moves.
    pub line: Line,
}

/// Reads the rows of the books and remembers what is wrong with them.
#[derive(Debug, Default)]
pub struct Verifier {
    report: Report,
    accounts: BTreeMap<AccountId, Replay>,
    held: BTreeMap<AccountId, i128>,
    segments: BTreeMap<SegmentId, Billing>,
    captures: HashMap<TransactionId, Capture>,
    /// What charges of revisions that moved no money sum to.
    unmoved: BTreeMap<(SegmentId, u32), i128>,
}

/// An account as its row says and as its entries so far say.
#[derive(Debug)]
struct Replay {
    row: Account,
    balance: Balance,
    reached: u64,
    last: Option<TransactionId>,
    pending: Movement,
}

/// A segment as its row says and as its charges so far say.
#[derive(Debug)]
struct Billing {
    row: Segment,
    next_k: u64,
    reached: Timestamp,
    nano: i128,
    amount: i128,
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

    /// Reads an account. All accounts come first.
    pub fn account(&mut self, row: Account) {
        self.report.counts.accounts += 1;
        self.held.insert(row.id, 0);
        let (balance, pending) = (Balance::default(), Movement::default());
        self.accounts.insert(row.id, Replay { row, balance, reached: 0, last: None, pending });
    }

    /// Reads an entry. Those of one account come in the order of its moves.
    pub fn entry(&mut self, entry: &Entry) {
        self.report.counts.entries += 1;
        let Some(replay) = self.accounts.get_mut(&entry.line.account) else {
            let ids = vec![entry.line.account.to_string(), entry.transaction.to_string()];
            return self.report.note(Invariant::CountersMatch, ids, "an entry of no account".to_owned());
        };
        if entry.account_move != replay.reached {
            replay.settle(&mut self.report);
            if entry.account_move != replay.reached + 1 {
                let ids = vec![replay.row.id.to_string(), entry.transaction.to_string()];
                let detail = format!("move {} follows move {}", entry.account_move, replay.reached);
                self.report.note(Invariant::CountersMatch, ids, detail);
            }
            replay.reached = entry.account_move;
        }
        replay.last = Some(entry.transaction);
        if let Err(error) = replay.pending.add(&entry.line) {
            let ids = vec![replay.row.id.to_string(), entry.transaction.to_string()];
            self.report.note(Invariant::CountersMatch, ids, error.to_string());
        }
    }

    /// Reads a hold.
    pub fn hold(&mut self, hold: &Hold) {
        self.report.counts.holds += 1;
        let remaining = hold.remaining().map_or(-1, |left| i128::from(left.as_micros()));
        if remaining < 0 || (hold.state == HoldState::Closed && remaining != 0) {
            let detail = format!(
                "{} hold: reserved {}, captured {}, released {}",
                hold.state, hold.reserved, hold.captured, hold.released
            );
            let ids = vec![hold.id.to_string(), hold.instance.to_string()];
            self.report.note(Invariant::HoldsMatch, ids, detail);
        }
        if hold.state == HoldState::Open {
            *self.held.entry(hold.account).or_default() += remaining;
        }
    }

    /// Reads a segment. All segments come before the first charge.
    pub fn segment(&mut self, row: Segment) {
        self.report.counts.segments += 1;
        let billing = Billing { next_k: 0, reached: row.start_at, nano: 0, amount: 0, row };
        self.segments.insert(billing.row.id, billing);
    }

    /// Reads a charge. Those of one segment come in the order of `k`, then of revision.
    pub fn charge(&mut self, charge: &Charge) {
        self.report.counts.charges += 1;
        let ids = || vec![charge.segment.to_string(), format!("k={} revision={}", charge.k, charge.revision)];
        match self.segments.get_mut(&charge.segment) {
            Some(billing) => {
                if let Some(detail) = billing.add(charge) {
                    self.report.note(Invariant::IntervalsCover, ids(), detail);
                }
            }
            None => {
                self.report.note(Invariant::IntervalsCover, ids(), "a charge of no segment".to_owned());
            }
        }
        let Some(transaction) = charge.transaction else {
            if charge.revision > 0 {
                let sum = self.unmoved.entry((charge.segment, charge.revision)).or_default();
                *sum += i128::from(charge.amount.as_micros());
            } else if charge.amount.as_micros() != 0 {
                let detail = format!("{} charged and no transaction", charge.amount);
                self.report.note(Invariant::ChargesMatch, ids(), detail);
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
            self.report.note(Invariant::ChargesMatch, ids(), detail);
        }
        capture.amount += i128::from(charge.amount.as_micros());
        // A charge that gives back takes from what is owed.
        let side = i128::from(charge.amount.as_micros().signum());
        capture.uncovered += side * i128::from(charge.uncovered.as_micros());
    }

    /// Reads a transaction with its lines, after all charges.
    pub fn transaction(&mut self, transaction: &Transaction) {
        self.report.counts.transactions += 1;
        let id = transaction.header.id;
        if transaction.lines.is_empty() || !is_balanced(&transaction.lines) {
            let detail = format!("{} lines do not sum to zero", transaction.lines.len());
            self.report.note(Invariant::Balanced, vec![id.to_string()], detail);
        }
        let Some(capture) = self.captures.remove(&id) else {
            if transaction.kind == TransactionKind::Capture {
                let detail = "a capture without a charge".to_owned();
                self.report.note(Invariant::ChargesMatch, vec![id.to_string()], detail);
            }
            return;
        };
        let ids = || vec![id.to_string(), capture.segment.to_string(), format!("k={}", capture.first_k)];
        let earned = self.posted(transaction, AccountKind::Revenue);
        if earned != capture.amount {
            let detail = format!("charges sum to {} µ and {earned} µ were moved", capture.amount);
            self.report.note(Invariant::ChargesMatch, ids(), detail);
        }
        if !matches!(transaction.kind, TransactionKind::Capture | TransactionKind::Correction) {
            return;
        }
        let owed = -self.posted(transaction, AccountKind::Receivable);
        if owed != capture.uncovered {
            let detail = format!("{} µ are uncovered and {owed} µ are owed", capture.uncovered);
            self.report.note(Invariant::ChargesMatch, ids(), detail);
        }
        let derived = IdemKey::capture(capture.segment, capture.first_k, capture.revision);
        if transaction.header.idem_key != derived {
            let detail = format!("has the key {} instead of {derived}", transaction.header.idem_key);
            self.report.note(Invariant::KeysDerived, ids(), detail);
        }
    }

    /// Checks what can be told only at the end, and reports.
    pub fn finish(mut self) -> Report {
        for (transaction, capture) in &self.captures {
            let ids = vec![capture.segment.to_string(), transaction.to_string()];
            let detail = "charged in a transaction that does not exist".to_owned();
            self.report.note(Invariant::ChargesMatch, ids, detail);
        }
        for ((segment, revision), sum) in self.unmoved.iter().filter(|(_, sum)| **sum != 0) {
            let ids = vec![segment.to_string(), format!("revision={revision}")];
            let detail = format!("charges without a transaction sum to {sum} µ");
            self.report.note(Invariant::ChargesMatch, ids, detail);
        }
        for billing in self.segments.values() {
            billing.finish(&mut self.report);
        }
        let mut teams: BTreeMap<TeamId, (i128, i128)> = BTreeMap::new();
        for replay in self.accounts.values_mut() {
            replay.finish(&mut self.report);
            let row = &replay.row.balance;
            let (posted, pending) = teams.entry(replay.row.team).or_default();
            *posted += i128::from(row.credits_posted.as_micros()) - i128::from(row.debits_posted.as_micros());
            *pending +=
                i128::from(row.credits_pending.as_micros()) - i128::from(row.debits_pending.as_micros());
        }
        for (team, (posted, pending)) in teams {
            if (posted, pending) != (0, 0) {
                let detail = format!("posted sums to {posted} µ, pending to {pending} µ");
                self.report.note(Invariant::BooksBalanced, vec![team.to_string()], detail);
            }
        }
        for (account, held) in &self.held {
            let pending =
                self.accounts.get(account).map(|a| i128::from(a.row.balance.debits_pending.as_micros()));
            if pending != Some(*held) {
                let detail = format!("open holds sum to {held} µ, the account holds {pending:?} µ");
                self.report.note(Invariant::HoldsMatch, vec![account.to_string()], detail);
            }
        }
        self.report
    }

    /// What `transaction` posted into accounts of `kind`, in micro-credits; negative when it took from them.
    fn posted(&self, transaction: &Transaction, kind: AccountKind) -> i128 {
        let of_kind = |line: &&Line| {
            let account = self.accounts.get(&line.account);
            line.phase == Phase::Posted && account.is_some_and(|account| account.row.kind == kind)
        };
        let signed = transaction.lines.iter().filter(of_kind).map(|line| match line.direction {
            Direction::Credit => i128::from(line.amount.as_micros()),
            Direction::Debit => -i128::from(line.amount.as_micros()),
        });
        signed.sum()
    }
}

impl Replay {
    /// Applies the lines of the move that was read, and checks the floor after it.
    fn settle(&mut self, report: &mut Report) {
        let Some(transaction) = self.last.take() else { return };
        let ids = || vec![self.row.id.to_string(), transaction.to_string()];
        match self.balance.moved(&self.pending) {
            Err(error) => report.note(Invariant::CountersMatch, ids(), error.to_string()),
            Ok(balance) => {
                if !balance.keeps(self.row.floor) {
                    let detail = format!("below its floor after move {}: {balance:?}", self.reached);
                    report.note(Invariant::FloorKept, ids(), detail);
                }
                self.balance = balance;
            }
        }
        self.pending = Movement::default();
    }

    fn finish(&mut self, report: &mut Report) {
        self.settle(report);
        let ids = || vec![self.row.id.to_string(), self.row.team.to_string()];
        if self.balance != self.row.balance || self.reached != self.row.moves {
            let detail = format!(
                "the row says {:?} after {} moves, the entries say {:?} after {}",
                self.row.balance, self.row.moves, self.balance, self.reached
            );
            report.note(Invariant::CountersMatch, ids(), detail);
        }
        if !self.row.balance.keeps(self.row.floor) {
            let detail = format!("below its floor now: {:?}", self.row.balance);
            report.note(Invariant::FloorKept, ids(), detail);
        }
    }
}

impl Billing {
    /// Adds a charge; says what is wrong with its place.
    fn add(&mut self, charge: &Charge) -> Option<String> {
        self.nano += i128::from(charge.nano.as_nanos());
        self.amount += i128::from(charge.amount.as_micros());
        if charge.revision > 0 {
            return (charge.k >= self.next_k).then(|| "a revision of what was never charged".to_owned());
        }
        let whole = boundary(self.row.start_at, self.row.grid, charge.k.saturating_add(1));
        let to = self.row.end_at.map_or(whole, |end| whole.min(end));
        let expected = (self.next_k, self.reached, to);
        self.next_k = charge.k.saturating_add(1);
        self.reached = charge.to_at;
        let found = (charge.k, charge.from_at, charge.to_at);
        (found != expected).then(|| format!("charged {found:?}, expected {expected:?}"))
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
        let rounded = i128::from(row.cumulative.round().as_micros());
        if (cumulative, rounded) != (self.nano, self.amount) {
            let detail = format!(
                "charges sum to {} nano and {} µ, expected {cumulative} nano and {rounded} µ",
                self.nano, self.amount
            );
            report.note(Invariant::ChargesTelescope, ids(), detail);
        }
    }
}
