//! Lots: where the money in a spendable account came from, until when it is good, and in which order it is used up.
//!
//! Every credit to a wallet or a pool is a lot; every debit names the lots it takes. The order of use is the one that
//! prepaid credit systems agree on: lower priority first, then what expires first, then gifts before paid money, then
//! age.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AccountId, LotId, TeamId, TransactionId},
    model::team::words,
    money::{Credits, Error},
    time::Timestamp,
};

/// The priority of money that nobody gave a priority.
pub const PRIORITY: i64 = 100;

/// The priority of lent money: used after everything else.
pub const PRIORITY_LENT: i64 = 1_000_000;

words! {
    /// What kind of money a lot is.
    Category {
        /// A gift: a grant, a voucher, goodwill.
        Promo = "promo",
        /// Paid for; the unused rest can be refunded.
        Paid = "paid",
        /// Lent by the operator, to be paid back.
        Lent = "lent",
    }
}

/// On which terms money comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What kind of money it is.
    pub category: Category,
    /// Lower is used first.
    pub priority: i64,
    /// When the unused rest is lost; `None`: never.
    pub expires_at: Option<Timestamp>,
}

impl Terms {
    /// Paid money, good for ever.
    pub const PAID: Self = Self { category: Category::Paid, priority: PRIORITY, expires_at: None };

    /// Lent money, used last.
    pub const LENT: Self = Self { category: Category::Lent, priority: PRIORITY_LENT, expires_at: None };

    /// A gift, lost at `expires_at` unless it is used.
    pub const fn gift(expires_at: Option<Timestamp>) -> Self {
        Self { category: Category::Promo, priority: PRIORITY, expires_at }
    }
}

/// A piece of the money in a spendable account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lot {
    /// The lot.
    pub id: LotId,
    /// The team.
    pub team: TeamId,
    /// The wallet or pool that it is in.
    pub account: AccountId,
    /// On which terms it came in.
    pub terms: Terms,
    /// When it came in; a lot that moved keeps the time of the first.
    pub effective_at: Timestamp,
    /// The lot of another account that it was part of.
    pub parent: Option<LotId>,
    /// The first lot of its line: where the money came in from outside.
    pub origin: LotId,
    /// The transaction that brought it.
    pub transaction: TransactionId,
    /// How much came in.
    pub amount: Credits,
    /// The part that is held for instances.
    pub pinned: Credits,
    /// The part that was charged, moved on or paid back.
    pub spent: Credits,
    /// The part that was lost unused.
    pub expired: Credits,
}

impl Lot {
    /// What is still in it, held or not.
    pub fn left(&self) -> Result<Credits, Error> {
        self.amount.minus(self.spent)?.minus(self.expired)
    }

    /// What is in it and not held.
    pub fn free(&self) -> Result<Credits, Error> {
        self.left()?.minus(self.pinned)
    }

    /// Whether what is free of it is lost by `now`.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.terms.expires_at.is_some_and(|at| at <= now)
    }

    /// Its place in the order of use.
    pub fn place(&self) -> impl Ord + use<> {
        let expires_at = self.terms.expires_at.unwrap_or(Timestamp::from_micros(i64::MAX));
        (self.terms.priority, expires_at, self.terms.category, self.effective_at, self.id)
    }
}

/// A part of a lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The lot.
    pub lot: LotId,
    /// How much of it; above zero.
    pub amount: Credits,
}

/// Takes `amount` from `offers` (a lot and what can be taken of it), in their order; `None` when they are too little.
pub fn draw(
    offers: impl IntoIterator<Item = (LotId, Credits)>,
    amount: Credits,
) -> Result<Option<Vec<Part>>, Error> {
    let (mut missing, mut parts) = (amount, Vec::new());
    for (lot, most) in offers {
        if !missing.is_positive() {
            break;
        }
        let taken = most.min(missing);
        if taken.is_positive() {
            missing = missing.minus(taken)?;
            parts.push(Part { lot, amount: taken });
        }
    }
    Ok((!missing.is_positive()).then_some(parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chance::Seeded, ids::Id};
    use proptest::prelude::*;

    fn lot(chance: &Seeded, terms: Terms, since: i64) -> Lot {
        let start = Timestamp::from_micros(0);
        let id = LotId::fresh(start, chance);
        Lot {
            id,
            origin: id,
            team: TeamId::fresh(start, chance),
            account: AccountId::fresh(start, chance),
            terms,
            effective_at: Timestamp::from_micros(since),
            parent: None,
            transaction: TransactionId::fresh(start, chance),
            amount: Credits::from_micros(10),
            pinned: Credits::ZERO,
            spent: Credits::ZERO,
            expired: Credits::ZERO,
        }
    }

    #[test]
    fn what_is_left_of_a_lot_was_neither_used_nor_lost_and_what_is_free_is_not_held_either() {
        let micros = Credits::from_micros;
        let whole = lot(&Seeded::new(1), Terms::gift(Some(Timestamp::from_micros(50))), 0);
        let lot = Lot { pinned: micros(3), spent: micros(2), expired: micros(1), ..whole };
        assert_eq!((lot.left(), lot.free()), (Ok(micros(7)), Ok(micros(4))));
        assert!(!lot.is_over(Timestamp::from_micros(49)) && lot.is_over(Timestamp::from_micros(50)));
    }

    #[test]
    fn gifts_go_before_paid_money_what_expires_before_what_stays_and_lent_money_last() {
        let chance = Seeded::new(1);
        let at = |micros| Some(Timestamp::from_micros(micros));
        let first = lot(&chance, Terms { priority: 1, ..Terms::PAID }, 9);
        let soon = lot(&chance, Terms { expires_at: at(50), ..Terms::PAID }, 9);
        let late_gift = lot(&chance, Terms::gift(at(60)), 1);
        let gift = lot(&chance, Terms::gift(None), 5);
        let old = lot(&chance, Terms::PAID, 2);
        let new = lot(&chance, Terms::PAID, 3);
        let lent = lot(&chance, Terms::LENT, 0);
        let order = [first, soon, late_gift, gift, old, new, lent];
        assert!(order.is_sorted_by(|a, b| a.place() < b.place()));
    }

    #[test]
    fn a_lot_is_over_at_its_end_and_not_an_instant_before() {
        let end = Timestamp::from_micros(50);
        let lot = lot(&Seeded::new(1), Terms::gift(Some(end)), 0);
        assert!(lot.is_over(end));
        assert!(!lot.is_over(Timestamp::from_micros(49)));
    }

    proptest! {
        #[test]
        fn a_draw_takes_exactly_what_is_wanted_from_the_first_that_have_it(
            offers in prop::collection::vec(0i64..50, 0..8), amount in 0i64..200,
        ) {
            let chance = Seeded::new(2);
            let id = |_| LotId::fresh(Timestamp::from_micros(0), &chance);
            let lots: Vec<_> = offers.iter().map(|&most| (id(most), Credits::from_micros(most))).collect();
            let parts = draw(lots.clone(), Credits::from_micros(amount)).unwrap();
            let there: i64 = offers.iter().sum();
            prop_assert_eq!(parts.is_some(), amount <= there);
            let mut missing = amount;
            for (lot, most) in lots {
                let taken = parts.iter().flatten().find(|part| part.lot == lot).map_or(0, |p| p.amount.as_micros());
                if parts.is_some() {
                    prop_assert_eq!(taken, most.as_micros().min(missing));
                    missing -= taken;
                }
            }
        }
    }
}
