//! Holds in the journal: placed, filled up, charged against, and given back, each with its budgets.

use super::{Bound, Journal, NewHold, Outcome, Payer, User};
use crate::{
    error::{Error, Result},
    ids::HoldId,
    ledger::{
        account::AccountKind,
        hold::{Cover, Hold, HoldState},
        posting::{Header, Posting, TransactionKind},
    },
    money::Credits,
    time::Timestamp,
};

impl Journal {
    /// Sets money aside for an instance, if the account and every budget that binds launches have it.
    pub fn hold_place(&mut self, header: Header, new: NewHold) -> Result<Outcome> {
        let now = header.recorded_at;
        for (budget, period) in self.budgets_of(new.user, now)? {
            if budget.binds_launches() && budget.left(&period)? < new.amount {
                return Ok(Outcome::Refused(Bound::Budget(budget.id)));
            }
        }
        let hold = Hold {
            id: new.id,
            team: self.team.id,
            member: new.user.member,
            instance: new.instance,
            account: new.account,
            reserved: new.amount,
            captured: Credits::ZERO,
            released: Credits::ZERO,
            api_key: new.user.api_key,
            extensions: 0,
            state: HoldState::Open,
            created_at: now,
            closed_at: None,
        };
        if new.amount.is_positive() {
            let revenue = self.own(AccountKind::Revenue)?;
            let posting = Posting::hold_place(new.id, new.account, revenue, new.amount)?;
            let outcome = self.post(header, &posting)?;
            if outcome != Outcome::Applied {
                return Ok(outcome);
            }
        }
        self.rows.holds.insert(new.id, hold);
        self.claims_settle(new.id, now)?;
        Ok(Outcome::Applied)
    }

    /// How much a hold could be filled up by now: at most `needed`, what the account has, and what every budget that
    /// binds running instances has left.
    pub fn hold_extendable(&self, id: HoldId, needed: Credits, now: Timestamp) -> Result<Credits> {
        let budgeted = self.hold_budgeted(id, needed, now)?;
        Ok(budgeted.min(self.spendable(self.hold(id)?.account, now)?).max(Credits::ZERO))
    }

    /// Sets `amount` more aside. Ask [`Journal::hold_extendable`] first.
    pub fn hold_extend(&mut self, header: Header, id: HoldId, amount: Credits) -> Result<Outcome> {
        let now = header.recorded_at;
        let (account, revenue) = (self.hold(id)?.account, self.own(AccountKind::Revenue)?);
        let outcome = self.post(header, &Posting::hold_extend(id, account, revenue, amount)?)?;
        if outcome == Outcome::Applied {
            let hold = self.hold_mut(id)?;
            hold.reserved = hold.reserved.plus(amount)?;
            hold.extensions += 1;
            self.claims_settle(id, now)?;
        }
        Ok(outcome)
    }

    /// Charges a use: `parts` are what it costs and when each begins. What the payer has pays; the rest is owed. No
    /// charge is ever refused. When nothing is to be moved, nothing is written.
    pub fn capture(
        &mut self,
        header: Header,
        payer: Payer,
        user: User,
        parts: &[(Timestamp, Credits)],
    ) -> Result<Cover> {
        let now = header.recorded_at;
        let total = parts.iter().try_fold(Credits::ZERO, |sum, (_, amount)| sum.plus(*amount))?;
        let (revenue, receivable) = (self.own(AccountKind::Revenue)?, self.own(AccountKind::Receivable)?);
        let (cover, posting) = match payer {
            Payer::Hold(id) => {
                let hold = self.hold(id)?;
                let cover = hold.cover(total)?;
                (cover, Posting::capture(id, hold.account, revenue, receivable, cover))
            }
            Payer::Account(account) => {
                let covered = total.min(self.spendable(account, now)?);
                let cover = Cover { covered, uncovered: total.minus(covered)? };
                (cover, Posting::charge(TransactionKind::Capture, account, revenue, receivable, cover))
            }
        };
        if total.is_positive() && self.post(header, &posting?)? != Outcome::Applied {
            return Err(Error::internal("a charge was refused, though its money was there"));
        }
        if let Payer::Hold(id) = payer {
            let hold = self.hold_mut(id)?;
            hold.captured = hold.captured.plus(cover.covered)?;
        }
        self.budgets_spend(user, parts)?;
        if let Payer::Hold(id) = payer {
            self.claims_settle(id, now)?;
        }
        Ok(cover)
    }

    /// Gives back what a hold has left, and closes it.
    pub fn hold_release(&mut self, header: Header, id: HoldId) -> Result<()> {
        let now = header.recorded_at;
        let hold = self.hold(id)?;
        let (rest, account) = (hold.remaining()?, hold.account);
        if rest.is_positive() {
            let posting = Posting::hold_release(id, account, self.own(AccountKind::Revenue)?, rest)?;
            if self.post(header, &posting)? != Outcome::Applied {
                return Err(Error::internal(format!("the hold {id} could not be released")));
            }
        }
        let hold = self.hold_mut(id)?;
        hold.released = hold.released.plus(rest)?;
        (hold.state, hold.closed_at) = (HoldState::Closed, Some(now));
        self.claims_settle(id, now)
    }

    fn hold_mut(&mut self, id: HoldId) -> Result<&mut Hold> {
        let found = self.rows.holds.get_mut(&id);
        found.ok_or_else(|| Error::internal(format!("the journal was not opened for {id}")))
    }
}

/// Whose use a hold pays.
pub fn user_of(hold: &Hold) -> User {
    User { member: hold.member, api_key: hold.api_key }
}
