//! Postings: the only ways in which money moves. Each is made of whole transfers, so none can be unbalanced.
//!
//! A transfer is a debit and a credit of one amount in one phase. `Pending` holds money, `Released` takes a
//! hold back, `Posted` moves it. The double entry is the usual one; the two-phase counters are those of
//! two-phase commit for money.

mod key;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::key::IdemKey;

use super::{
    account::Movement,
    hold::Cover,
    lot::{Part, Terms},
};
use crate::{
    ids::{AccountId, HoldId, InstanceId, LotId, MemberId, TeamId, TransactionId},
    model::team::words,
    money::{self, Credits},
    time::Timestamp,
};

words! {
    /// What a transaction records.
    TransactionKind {
        /// Paid credits reached the pool.
        TopUp = "top_up",
        /// The operator gave credits to the pool.
        Grant = "grant",
        /// The team assigned credits to a member.
        Assign = "assign",
        /// The team took credits back from a member.
        Reclaim = "reclaim",
        /// Money was held for an instance.
        HoldPlace = "hold_place",
        /// A hold was filled up.
        HoldExtend = "hold_extend",
        /// Use was charged against a hold.
        Capture = "capture",
        /// The rest of a hold was given back.
        HoldRelease = "hold_release",
        /// An earlier transaction was taken back.
        Reversal = "reversal",
        /// A voucher was redeemed.
        Voucher = "voucher",
        /// The operator gave credits as an apology.
        Goodwill = "goodwill",
        /// Charges were rated anew: the difference.
        Correction = "correction",
        /// A payment went back to whoever paid.
        Refund = "refund",
        /// Credits were lost unused.
        Expire = "expire",
        /// The operator lent credits, so that what runs goes on.
        Lend = "lend",
        /// What was owed was paid.
        Settle = "settle",
        /// What was owed was given up.
        Writeoff = "writeoff",
    }
}

words! {
    /// The side of an account that a line is on.
    Direction {
        /// Out of the account.
        Debit = "debit",
        /// Into the account.
        Credit = "credit",
    }
}

words! {
    /// Which counter a line moves.
    Phase {
        /// Adds to the pending counter.
        Pending = "pending",
        /// Takes from the pending counter.
        Released = "released",
        /// Adds to the posted counter.
        Posted = "posted",
    }
}

/// Why a posting cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing or less than nothing would move.
    #[error("an amount above 0 is needed to move money")]
    NotPositive,
    /// Both sides are the same account.
    #[error("money cannot move from an account to itself")]
    SameAccount,
    /// The lines to reverse do not sum to zero: they are not those of a transaction.
    #[error("the lines to reverse do not sum to zero")]
    Unbalanced,
    /// The transaction to reverse posted nothing; a hold is given back by releasing it.
    #[error("a transaction that only holds or releases has nothing to reverse")]
    NothingPosted,
    /// A sum leaves the range of money.
    #[error(transparent)]
    Amount(#[from] money::Error),
}

/// One line of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The account it moves.
    pub account: AccountId,
    /// The side of the account.
    pub direction: Direction,
    /// The counter it moves.
    pub phase: Phase,
    /// How much; above zero.
    pub amount: Credits,
}

/// What becomes of the lots of the wallets and pools that a posting moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LotUse {
    /// Money comes in on terms of its own.
    Fresh(Terms),
    /// Money moves on and keeps its terms.
    Onward,
    /// Money is held, or given back by a hold, or charged against it.
    Held(HoldId),
    /// Money goes out, the first in the order of use.
    Spent,
    /// Money goes out of this lot and of no other.
    Of(LotId),
    /// Money of this lot is lost.
    Lost(LotId),
    /// Money comes back into the lots that it went out of. What has expired meanwhile comes back as a gift that is
    /// good until `otherwise`.
    Back {
        /// Where it came from, in the order in which it comes back.
        parts: Vec<Part>,
        /// Until when it is good where its lot has expired.
        otherwise: Timestamp,
    },
}

/// A kind and lines that sum to zero in every phase. Can be made by its constructors only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    kind: TransactionKind,
    lines: Vec<Line>,
    lots: LotUse,
}

impl Posting {
    /// A payment: `cash` to `pool`.
    pub fn top_up(cash: AccountId, pool: AccountId, amount: Credits) -> Result<Self, Error> {
        Self::new(TransactionKind::TopUp, LotUse::Fresh(Terms::PAID)).move_on(cash, pool, amount)
    }

    /// A gift of the operator: `promo` to `pool`, lost at `expires_at` unless it is used.
    pub fn grant(
        promo: AccountId,
        pool: AccountId,
        amount: Credits,
        expires_at: Option<Timestamp>,
    ) -> Result<Self, Error> {
        Self::new(TransactionKind::Grant, LotUse::Fresh(Terms::gift(expires_at))).move_on(promo, pool, amount)
    }

    /// A voucher: `promo` to `pool`, lost at `expires_at` unless it is used.
    pub fn voucher(
        promo: AccountId,
        pool: AccountId,
        amount: Credits,
        expires_at: Option<Timestamp>,
    ) -> Result<Self, Error> {
        Self::new(TransactionKind::Voucher, LotUse::Fresh(Terms::gift(expires_at)))
            .move_on(promo, pool, amount)
    }

    /// An apology: `promo` to a wallet or pool.
    pub fn goodwill(promo: AccountId, to: AccountId, amount: Credits) -> Result<Self, Error> {
        Self::new(TransactionKind::Goodwill, LotUse::Fresh(Terms::gift(None))).move_on(promo, to, amount)
    }

    /// Credits for a member: `pool` to `wallet`.
    pub fn assign(pool: AccountId, wallet: AccountId, amount: Credits) -> Result<Self, Error> {
        Self::new(TransactionKind::Assign, LotUse::Onward).move_on(pool, wallet, amount)
    }

    /// Credits back from a member: `wallet` to `pool`. What is held is not available to this.
    pub fn reclaim(wallet: AccountId, pool: AccountId, amount: Credits) -> Result<Self, Error> {
        Self::new(TransactionKind::Reclaim, LotUse::Onward).move_on(wallet, pool, amount)
    }

    /// Holds `amount` of `account` for use that will become `revenue`.
    pub fn hold_place(
        hold: HoldId,
        account: AccountId,
        revenue: AccountId,
        amount: Credits,
    ) -> Result<Self, Error> {
        Self::new(TransactionKind::HoldPlace, LotUse::Held(hold)).with(
            Phase::Pending,
            account,
            revenue,
            amount,
        )
    }

    /// Holds `amount` more.
    pub fn hold_extend(
        hold: HoldId,
        account: AccountId,
        revenue: AccountId,
        amount: Credits,
    ) -> Result<Self, Error> {
        Self::new(TransactionKind::HoldExtend, LotUse::Held(hold)).with(
            Phase::Pending,
            account,
            revenue,
            amount,
        )
    }

    /// Charges use against a hold: the covered part turns from held to posted, the part beyond the hold is owed by
    /// `receivable`.
    ///
    /// It can never be refused for money: what it takes from `account` was held there before.
    pub fn capture(
        hold: HoldId,
        account: AccountId,
        revenue: AccountId,
        receivable: AccountId,
        cover: Cover,
    ) -> Result<Self, Error> {
        let mut posting = Self::new(TransactionKind::Capture, LotUse::Held(hold));
        if cover.covered != Credits::ZERO {
            posting = posting.with(Phase::Released, account, revenue, cover.covered)?;
            posting = posting.move_on(account, revenue, cover.covered)?;
        }
        posting.owe(revenue, receivable, cover.uncovered)
    }

    /// Charges use that nothing was held for: what `account` has pays, the rest is owed by `receivable`.
    pub fn charge(
        kind: TransactionKind,
        account: AccountId,
        revenue: AccountId,
        receivable: AccountId,
        cover: Cover,
    ) -> Result<Self, Error> {
        let mut posting = Self::new(kind, LotUse::Spent);
        if cover.covered != Credits::ZERO {
            posting = posting.move_on(account, revenue, cover.covered)?;
        }
        posting.owe(revenue, receivable, cover.uncovered)
    }

    /// Gives back `amount` of what is held.
    pub fn hold_release(
        hold: HoldId,
        account: AccountId,
        revenue: AccountId,
        amount: Credits,
    ) -> Result<Self, Error> {
        Self::new(TransactionKind::HoldRelease, LotUse::Held(hold)).with(
            Phase::Released,
            account,
            revenue,
            amount,
        )
    }

    /// Gives back part of what was charged: `cover.covered` to `account`, into the lots it came from, and
    /// `cover.uncovered` of what is owed.
    pub fn give_back(
        account: AccountId,
        revenue: AccountId,
        receivable: AccountId,
        cover: Cover,
        lots: LotUse,
    ) -> Result<Self, Error> {
        let mut posting = Self::new(TransactionKind::Correction, lots);
        if cover.covered != Credits::ZERO {
            posting = posting.move_on(revenue, account, cover.covered)?;
        }
        if cover.uncovered != Credits::ZERO {
            posting = posting.move_on(revenue, receivable, cover.uncovered)?;
        }
        if posting.lines.is_empty() { Err(Error::NotPositive) } else { Ok(posting) }
    }

    /// Money of `lot` goes back to whoever paid it: `pool` to `cash`.
    pub fn refund(lot: LotId, pool: AccountId, cash: AccountId, amount: Credits) -> Result<Self, Error> {
        Self::new(TransactionKind::Refund, LotUse::Of(lot)).move_on(pool, cash, amount)
    }

    /// Money that was used went back to whoever paid it, and so is owed: `receivable` to `cash`.
    pub fn refund_owed(receivable: AccountId, cash: AccountId, amount: Credits) -> Result<Self, Error> {
        Self::new(TransactionKind::Refund, LotUse::Spent).move_on(receivable, cash, amount)
    }

    /// Money of `lot` is lost: to `breakage`.
    pub fn expire(
        lot: LotId,
        account: AccountId,
        breakage: AccountId,
        amount: Credits,
    ) -> Result<Self, Error> {
        Self::new(TransactionKind::Expire, LotUse::Lost(lot)).move_on(account, breakage, amount)
    }

    /// The operator lends: `receivable` to `account`.
    pub fn lend(receivable: AccountId, account: AccountId, amount: Credits) -> Result<Self, Error> {
        Self::new(TransactionKind::Lend, LotUse::Fresh(Terms::LENT)).move_on(receivable, account, amount)
    }

    /// What is owed is paid: `account` to `receivable`.
    pub fn settle(account: AccountId, receivable: AccountId, amount: Credits) -> Result<Self, Error> {
        Self::new(TransactionKind::Settle, LotUse::Spent).move_on(account, receivable, amount)
    }

    /// What is owed is given up: `writeoff` to `receivable`.
    pub fn writeoff(writeoff: AccountId, receivable: AccountId, amount: Credits) -> Result<Self, Error> {
        Self::new(TransactionKind::Writeoff, LotUse::Spent).move_on(writeoff, receivable, amount)
    }

    /// Takes back what the transaction with the lines `of` posted, exactly; `lots` says what becomes of the lots.
    ///
    /// Only posted lines are reversed: the reversal of a capture refunds, and does not hold the money again.
    pub fn reversal(of: &[Line], lots: LotUse) -> Result<Self, Error> {
        if !is_balanced(of) {
            return Err(Error::Unbalanced);
        }
        let posted = of.iter().filter(|line| line.phase == Phase::Posted);
        let mut lines: Vec<Line> =
            posted.map(|line| Line { direction: line.direction.opposite(), ..*line }).collect();
        if lines.is_empty() {
            return Err(Error::NothingPosted);
        }
        // Debit before credit, as everywhere.
        for pair in lines.chunks_exact_mut(2) {
            pair.sort_by_key(|line| line.direction != Direction::Debit);
        }
        Ok(Self { kind: TransactionKind::Reversal, lines, lots })
    }

    /// What it records.
    pub const fn kind(&self) -> TransactionKind {
        self.kind
    }

    /// Its lines, debit before credit.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// What it does to each account, in ascending order of accounts: the order in which writers lock them.
    pub fn movements(&self) -> Result<BTreeMap<AccountId, Movement>, money::Error> {
        let mut movements: BTreeMap<AccountId, Movement> = BTreeMap::new();
        for line in &self.lines {
            movements.entry(line.account).or_default().add(line)?;
        }
        Ok(movements)
    }

    /// What becomes of the lots that it moves.
    pub const fn lots(&self) -> &LotUse {
        &self.lots
    }

    fn new(kind: TransactionKind, lots: LotUse) -> Self {
        Self { kind, lines: Vec::with_capacity(6), lots }
    }

    /// Moves money for good.
    fn move_on(self, from: AccountId, to: AccountId, amount: Credits) -> Result<Self, Error> {
        self.with(Phase::Posted, from, to, amount)
    }

    /// The last step of a charge: the part that nobody pays now.
    fn owe(mut self, revenue: AccountId, receivable: AccountId, amount: Credits) -> Result<Self, Error> {
        if amount != Credits::ZERO {
            self = self.move_on(receivable, revenue, amount)?;
        }
        if self.lines.is_empty() { Err(Error::NotPositive) } else { Ok(self) }
    }

    /// Adds one transfer: the step that every posting is made of.
    fn with(mut self, phase: Phase, from: AccountId, to: AccountId, amount: Credits) -> Result<Self, Error> {
        if !amount.is_positive() {
            return Err(Error::NotPositive);
        }
        if from == to {
            return Err(Error::SameAccount);
        }
        self.lines.push(Line { account: from, direction: Direction::Debit, phase, amount });
        self.lines.push(Line { account: to, direction: Direction::Credit, phase, amount });
        Ok(self)
    }
}

impl Direction {
    /// The other side.
    pub const fn opposite(self) -> Self {
        match self {
            Self::Debit => Self::Credit,
            Self::Credit => Self::Debit,
        }
    }
}

impl Movement {
    /// Adds what `line` does to its account.
    pub fn add(&mut self, line: &Line) -> Result<(), money::Error> {
        let (pending, posted) = match line.direction {
            Direction::Debit => (&mut self.debits_pending, &mut self.debits_posted),
            Direction::Credit => (&mut self.credits_pending, &mut self.credits_posted),
        };
        match line.phase {
            Phase::Pending => *pending = pending.plus(line.amount)?,
            Phase::Released => *pending = pending.minus(line.amount)?,
            Phase::Posted => *posted = posted.plus(line.amount)?,
        }
        Ok(())
    }
}

/// Whether debits equal credits in every phase.
pub fn is_balanced(lines: &[Line]) -> bool {
    Phase::ALL.iter().all(|&phase| {
        let of_phase = lines.iter().filter(|line| line.phase == phase);
        let signed = of_phase.map(|line| match line.direction {
            Direction::Debit => -i128::from(line.amount.as_micros()),
            Direction::Credit => i128::from(line.amount.as_micros()),
        });
        signed.sum::<i128>() == 0
    })
}

/// Everything about a transaction but its kind and lines, which are its [`Posting`]'s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The transaction.
    pub id: TransactionId,
    /// The team whose books it is in.
    pub team: TeamId,
    /// When the recorded fact happened.
    pub occurred_at: Timestamp,
    /// When it was written.
    pub recorded_at: Timestamp,
    /// Who did it: a name from [`crate::op::Actor::name`].
    pub actor: String,
    /// Why, in the words of the one who did it; may be empty.
    pub reason: String,
    /// The member it concerns.
    pub member: Option<MemberId>,
    /// The instance it concerns.
    pub instance: Option<InstanceId>,
    /// The transaction that it takes back or corrects. One can be taken back once.
    pub reverses: Option<TransactionId>,
    /// What makes it happen once.
    pub idem_key: IdemKey,
}

/// A transaction as it stands in the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Who, when and why.
    pub header: Header,
    /// What it records.
    pub kind: TransactionKind,
    /// Its lines in order.
    pub lines: Vec<Line>,
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NotPositive => Self::field("amount", error.to_string()),
            Error::NothingPosted => Self::conflict("nothing-to-reverse", error.to_string()),
            Error::Amount(inner) => inner.into(),
            Error::SameAccount | Error::Unbalanced => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod effects;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chance::Seeded,
        ids::{Id, SegmentId},
    };
    use proptest::prelude::*;

    fn accounts() -> [AccountId; 3] {
        let chance = Seeded::new(3);
        std::array::from_fn(|_| AccountId::fresh(Timestamp::from_micros(0), &chance))
    }

    fn hold() -> HoldId {
        HoldId::fresh(Timestamp::from_micros(0), &Seeded::new(4))
    }

    fn micros(micros: i64) -> Credits {
        Credits::from_micros(micros)
    }

    fn every_kind(a: i64, b: i64) -> Vec<Result<Posting, Error>> {
        let [x, y, z] = accounts();
        let amount = micros(a);
        let cover = Cover { covered: amount, uncovered: micros(b) };
        let (hold, lot) = (hold(), LotId::fresh(Timestamp::from_micros(0), &Seeded::new(5)));
        let capture = Posting::capture(hold, x, y, z, cover);
        let mut all = vec![
            Posting::top_up(x, y, amount),
            Posting::grant(x, y, amount, None),
            Posting::voucher(x, y, amount, None),
            Posting::goodwill(x, y, amount),
            Posting::assign(x, y, amount),
            Posting::reclaim(x, y, amount),
            Posting::hold_place(hold, x, y, amount),
            Posting::hold_extend(hold, x, y, amount),
            Posting::hold_release(hold, x, y, amount),
            Posting::charge(TransactionKind::Capture, x, y, z, cover),
            Posting::give_back(x, y, z, cover, LotUse::Spent),
            Posting::refund(lot, x, y, amount),
            Posting::refund_owed(x, y, amount),
            Posting::expire(lot, x, y, amount),
            Posting::lend(x, y, amount),
            Posting::settle(x, y, amount),
            Posting::writeoff(x, y, amount),
        ];
        if let Ok(capture) = &capture {
            all.push(Posting::reversal(capture.lines(), LotUse::Spent));
        }
        all.push(capture);
        all
    }

    proptest! {
        #[test]
        fn whatever_can_be_built_is_balanced_and_positive(a: i64, b: i64) {
            for posting in every_kind(a, b).into_iter().flatten() {
                prop_assert!(is_balanced(posting.lines()), "{posting:?}");
                prop_assert!(posting.lines().iter().all(|line| line.amount.is_positive()));
            }
        }

        #[test]
        fn a_reversal_leaves_every_posted_balance_as_it_was(a in 1..i64::MAX / 4, b in 0..i64::MAX / 4) {
            let [x, y, z] = accounts();
            let cover = Cover { covered: micros(a), uncovered: micros(b) };
            let capture = Posting::capture(hold(), x, y, z, cover).unwrap();
            let back = Posting::reversal(capture.lines(), LotUse::Spent).unwrap();
            let (there, back) = (capture.movements().unwrap(), back.movements().unwrap());
            for (account, movement) in there {
                let undo = back[&account];
                let posted = |m: &Movement| m.credits_posted.minus(m.debits_posted).unwrap();
                prop_assert_eq!(posted(&movement).plus(posted(&undo)), Ok(Credits::ZERO));
                prop_assert_eq!(undo.debits_pending, Credits::ZERO);
            }
        }
    }

    #[test]
    fn nothing_moves_for_nothing_nor_to_itself() {
        let [x, y, z] = accounts();
        assert_eq!(Posting::top_up(x, y, Credits::ZERO), Err(Error::NotPositive));
        assert_eq!(Posting::top_up(x, y, micros(-1)), Err(Error::NotPositive));
        assert_eq!(Posting::assign(x, x, micros(1)), Err(Error::SameAccount));
        let nothing = Cover { covered: Credits::ZERO, uncovered: Credits::ZERO };
        assert_eq!(Posting::capture(hold(), x, y, z, nothing), Err(Error::NotPositive));
    }

    #[test]
    fn a_hold_is_released_and_not_reversed() {
        let [x, y, _] = accounts();
        let hold = Posting::hold_place(hold(), x, y, micros(5)).unwrap();
        assert_eq!(Posting::reversal(hold.lines(), LotUse::Spent), Err(Error::NothingPosted));
        assert_eq!(Posting::reversal(&hold.lines()[..1], LotUse::Spent), Err(Error::Unbalanced));
    }

    #[test]
    fn the_same_fact_has_the_same_key_and_another_fact_another() {
        let segment = SegmentId::fresh(Timestamp::from_micros(0), &Seeded::new(1));
        assert_eq!(IdemKey::capture(segment, 3, 0), IdemKey::capture(segment, 3, 0));
        assert_ne!(IdemKey::capture(segment, 3, 0), IdemKey::capture(segment, 3, 1));
        assert_ne!(IdemKey::capture(segment, 31, 0), IdemKey::capture(segment, 3, 10));
    }
}
