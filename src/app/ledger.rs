//! The check of the whole books, for the operator.

use serde::Serialize;

use super::App;
use crate::{
    error::Result,
    ledger::verify::{Invariant, Report, Violation},
    model::action::Action,
    op::Op,
    policy::{Facts, Resource},
};

/// The outcome of a check of the books.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LedgerReport {
    /// Whether everything holds.
    pub ok: bool,
    /// Accounts that were checked.
    pub accounts: u64,
    /// Transactions that were checked.
    pub transactions: u64,
    /// Their entries.
    pub entries: u64,
    /// Lots that were checked.
    pub lots: u64,
    /// Holds that were checked.
    pub holds: u64,
    /// Budgets that were checked.
    pub budgets: u64,
    /// Segments that were checked.
    pub segments: u64,
    /// Charges that were checked.
    pub charges: u64,
    /// Top-ups that were checked.
    pub top_ups: u64,
    /// Links of the chains of digests that were computed again.
    pub links: u64,
    /// How many violations there are.
    pub found: u64,
    /// The first 100 of them.
    pub violations: Vec<LedgerViolation>,
}

/// A property of the books that does not hold, and where.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LedgerViolation {
    /// The property.
    pub invariant: Invariant,
    /// The rows concerned, most telling first.
    pub ids: Vec<String>,
    /// What was found and what was expected.
    pub detail: String,
}

impl App {
    /// Checks all books in one snapshot. The gauge `muster_ledger_violations` has the number of the last check.
    pub async fn ledger_verify(&self, op: &Op) -> Result<LedgerReport> {
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::VerifyLedger, Resource::Site, Facts::default()).await?;
        let report = LedgerReport::from(read.ledger_verify().await?);
        metrics::gauge!("muster_ledger_violations").set(report.found as f64);
        if let Some(first) = report.violations.first() {
            tracing::error!(found = report.found, ?first, "the books are not as they must be");
        }
        Ok(report)
    }
}

impl From<Report> for LedgerReport {
    fn from(report: Report) -> Self {
        Self {
            ok: report.is_clean(),
            accounts: report.counts.accounts,
            transactions: report.counts.transactions,
            entries: report.counts.entries,
            lots: report.counts.lots,
            holds: report.counts.holds,
            budgets: report.counts.budgets,
            segments: report.counts.segments,
            charges: report.counts.charges,
            top_ups: report.counts.top_ups,
            links: report.counts.links,
            found: report.found,
            violations: report.violations.into_iter().map(LedgerViolation::from).collect(),
        }
    }
}

impl From<Violation> for LedgerViolation {
    fn from(violation: Violation) -> Self {
        Self { invariant: violation.invariant, ids: violation.ids, detail: violation.detail }
    }
}
