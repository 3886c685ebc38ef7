//! Giving back what was charged.

use super::{Error, LotUse, Posting, TransactionKind};
use crate::{ids::AccountId, ledger::hold::Cover, money::Credits};

/// How what is given back of a charge divides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Back {
    /// The part that was paid.
    pub covered: Credits,
    /// The part that is still owed.
    pub uncovered: Credits,
    /// The part that was owed and given up since.
    pub given_up: Credits,
}

impl Back {
    /// Of a charge of which nothing was given up.
    pub const fn of(cover: Cover) -> Self {
        Self { covered: cover.covered, uncovered: cover.uncovered, given_up: Credits::ZERO }
    }
}

impl Posting {
    /// Gives back part of what was charged: what was paid to `account`, into the lots it came from, and the rest off
    /// what is owed and what was given up.
    pub fn give_back(
        account: AccountId,
        revenue: AccountId,
        receivable: AccountId,
        writeoff: AccountId,
        back: Back,
        lots: LotUse,
    ) -> Result<Self, Error> {
        let mut posting = Self::new(TransactionKind::Correction, lots);
        for (to, amount) in [(account, back.covered), (receivable, back.uncovered), (writeoff, back.given_up)]
        {
            if amount != Credits::ZERO {
                posting = posting.move_on(revenue, to, amount)?;
            }
        }
        if posting.lines.is_empty() { Err(Error::NotPositive) } else { Ok(posting) }
    }
}
