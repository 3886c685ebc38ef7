//! What makes a transaction happen once: a key derived from the fact that it records.

use std::fmt;

use super::TransactionKind;
use crate::{
    ids::{AskId, HoldId, LotId, RequestId, SegmentId, TeamId, TopUpId, TransactionId, VoucherId},
    money::Credits,
};

/// The key that is unique for ever among transactions, derived from the fact that the transaction records:
/// whoever records the same fact again derives the same key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdemKey(String);

impl IdemKey {
    /// A top-up is credited once.
    pub fn top_up(top_up: TopUpId) -> Self {
        Self(format!("top_up/{top_up}"))
    }
    /// A run of intervals, named by its first `k`, is charged once per revision.
    pub fn capture(segment: SegmentId, k: u64, revision: u32) -> Self {
        Self(format!("capture/{segment}/{k}/{revision}"))
    }
    /// A voucher is redeemed once by a team.
    pub fn voucher(voucher: VoucherId, team: TeamId) -> Self {
        Self(format!("voucher/{voucher}/{team}"))
    }
    /// What is free of a lot is lost once; told apart by what was lost before, as pinned money may come free later.
    pub fn expire(lot: LotId, expired_before: Credits) -> Self {
        Self(format!("expire/{lot}/{}", expired_before.as_micros()))
    }
    /// A refund of a top-up happens once; told apart by what was refunded before.
    pub fn refund(top_up: TopUpId, refunded_before: Credits) -> Self {
        Self(format!("refund/{top_up}/{}", refunded_before.as_micros()))
    }
    /// The operator lends once for the `n`th extension of a hold.
    pub fn lend(hold: HoldId, n: u32) -> Self {
        Self(format!("lend/{hold}/{n}"))
    }
    /// Debt is settled once out of what a transaction brought.
    pub fn settle(brought_by: TransactionId) -> Self {
        Self(format!("settle/{brought_by}"))
    }
    /// A hold is placed once.
    pub fn hold_place(hold: HoldId) -> Self {
        Self(format!("hold_place/{hold}"))
    }
    /// The `n`th extension of a hold happens once.
    pub fn hold_extend(hold: HoldId, n: u32) -> Self {
        Self(format!("hold_extend/{hold}/{n}"))
    }
    /// A hold is closed once.
    pub fn hold_release(hold: HoldId) -> Self {
        Self(format!("hold_release/{hold}"))
    }
    /// A transaction is reversed once.
    pub fn reversal(of: TransactionId) -> Self {
        Self(format!("reversal/{of}"))
    }
    /// A member's request for credits is granted once.
    pub fn asked(ask: AskId) -> Self {
        Self(format!("asked/{ask}"))
    }
    /// A request moves money of one kind once: grants, assignments, reclaims and adjustments.
    pub fn request(kind: TransactionKind, request: RequestId) -> Self {
        Self(format!("{kind}/{request}"))
    }
    /// The key as a row holds it.
    pub fn from_row(text: String) -> Self {
        Self(text)
    }
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
