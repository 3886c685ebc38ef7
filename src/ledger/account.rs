//! Accounts: what kinds there are, which of them may not go below zero, and what their four counters say.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AccountId, MemberId, TeamId},
    model::team::words,
    money::{Credits, Error},
    time::Timestamp,
};

words! {
    /// What an account is for.
    AccountKind {
        /// Money that came in from outside; its balance is minus what was paid in.
        Cash = "cash",
        /// Credits of the team that nobody was assigned yet.
        TeamPool = "team_pool",
        /// Credits of one member.
        Wallet = "wallet",
        /// What was charged for use.
        Revenue = "revenue",
        /// Credits given away.
        Promo = "promo",
        /// Credits that expired unused.
        Breakage = "breakage",
        /// Use beyond what was held for it: owed, not paid.
        Receivable = "receivable",
        /// What was owed and is given up.
        Writeoff = "writeoff",
        /// The other side of corrections.
        Adjustment = "adjustment",
    }
}

impl AccountKind {
    /// What the available balance may not fall below; `None` for accounts without a floor.
    pub const fn floor(self) -> Option<Credits> {
        match self {
            Self::TeamPool | Self::Wallet => Some(Credits::ZERO),
            _ => None,
        }
    }

    /// Whether each member has one of their own; the other kinds exist once per team.
    pub const fn is_personal(self) -> bool {
        matches!(self, Self::Wallet)
    }
}

/// An account with its counters as they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account.
    pub id: AccountId,
    /// The team whose books it is in.
    pub team: TeamId,
    /// Whose it is; `None` for the accounts of the team itself.
    pub member: Option<MemberId>,
    /// What it is for.
    pub kind: AccountKind,
    /// Its counters.
    pub balance: Balance,
    /// How many transactions have moved it; numbers the moves, so that every earlier balance can be told.
    pub moves: u64,
    /// What its available balance may not fall below.
    pub floor: Option<Credits>,
    /// When it was opened.
    pub created_at: Timestamp,
}

impl Account {
    /// A fresh account of `kind` with nothing in it and the kind's own floor.
    pub fn open(
        id: AccountId,
        team: TeamId,
        member: Option<MemberId>,
        kind: AccountKind,
        now: Timestamp,
    ) -> Self {
        let floor = kind.floor();
        Self { id, team, member, kind, balance: Balance::default(), moves: 0, floor, created_at: now }
    }
}

/// The four counters of an account: everything that was ever debited and credited, and what is pending now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Sum of all posted debits.
    pub debits_posted: Credits,
    /// Sum of all posted credits.
    pub credits_posted: Credits,
    /// Debits that are held and not yet posted or released.
    pub debits_pending: Credits,
    /// Credits that are expected and not yet posted or released.
    pub credits_pending: Credits,
}

/// What one posting does to the four counters of one account. Pending counters may go down, posted ones never
/// do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Movement {
    /// Added to the posted debits.
    pub debits_posted: Credits,
    /// Added to the posted credits.
    pub credits_posted: Credits,
    /// Added to the pending debits; negative when held money is captured or released.
    pub debits_pending: Credits,
    /// Added to the pending credits.
    pub credits_pending: Credits,
}

impl Balance {
    /// What is in the account by what was posted: credits less debits.
    pub fn posted(&self) -> Result<Credits, Error> {
        self.credits_posted.minus(self.debits_posted)
    }

    /// What is held in the account and so cannot be spent on anything else.
    pub const fn pending(&self) -> Credits {
        self.debits_pending
    }

    /// What can be spent: posted less held. Pending credits do not count until they are posted.
    pub fn available(&self) -> Result<Credits, Error> {
        self.posted()?.minus(self.debits_pending)
    }

    /// The counters after `movement`.
    pub fn moved(&self, movement: &Movement) -> Result<Balance, Error> {
        Ok(Balance {
            debits_posted: self.debits_posted.plus(movement.debits_posted)?,
            credits_posted: self.credits_posted.plus(movement.credits_posted)?,
            debits_pending: self.debits_pending.plus(movement.debits_pending)?,
            credits_pending: self.credits_pending.plus(movement.credits_pending)?,
        })
    }

    /// Whether no counter is negative and the available balance is not below `floor`.
    pub fn keeps(&self, floor: Option<Credits>) -> bool {
        let counters = [self.debits_posted, self.credits_posted, self.debits_pending, self.credits_pending];
        let above = |floor| self.available().is_ok_and(|available| available >= floor);
        counters.iter().all(|&counter| counter >= Credits::ZERO) && floor.is_none_or(above)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_spent_has_a_floor() {
        for &kind in AccountKind::ALL {
            let spendable = matches!(kind, AccountKind::TeamPool | AccountKind::Wallet);
            assert_eq!(kind.floor().is_some(), spendable, "{kind}");
        }
    }

    #[test]
    fn held_money_is_in_the_account_and_not_available() {
        let ten = Movement { credits_posted: Credits::from_micros(10), ..Movement::default() };
        let hold = Movement { debits_pending: Credits::from_micros(7), ..Movement::default() };
        let balance = Balance::default().moved(&ten).unwrap().moved(&hold).unwrap();
        assert_eq!(balance.posted(), Ok(Credits::from_micros(10)));
        assert_eq!(balance.available(), Ok(Credits::from_micros(3)));
        assert!(balance.keeps(Some(Credits::ZERO)));
        assert!(!balance.moved(&hold).unwrap().keeps(Some(Credits::ZERO)));
        assert!(balance.moved(&hold).unwrap().keeps(None));
    }
}
