//! The journal: all that one transaction of the database does to the books of one team.
//!
//! It is read under the team's lock, decided here without any I/O, and written at once, so that a hundred charges cost
//! the database hardly more than one. Everything that must hold together does so here: accounts and their floors, the
//! lots behind them, holds and what they pin, budgets and what they have left. A refused step changes nothing.

mod budgets;
mod holds;

use std::collections::BTreeMap;

pub use self::holds::user_of;

use super::{
    account::{Account, AccountKind},
    budget::{Budget, Claim, Period},
    hold::{Hold, HoldState},
    lot::{Lot, Part, draw},
    posting::{Header, Line, LotUse, Phase, Posting, TransactionKind},
};
use crate::{
    error::{Error, Result},
    ids::{AccountId, ApiKeyId, BudgetId, HoldId, Id, InstanceId, LotId, MemberId, TeamId},
    model::terms::TeamTerms,
    money::Credits,
    time::Timestamp,
};

/// The rows that a journal works on, as far as they were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    /// The team's own accounts and the wallets.
    pub accounts: BTreeMap<AccountId, Account>,
    /// Lots with something left.
    pub lots: BTreeMap<LotId, Lot>,
    /// Holds.
    pub holds: BTreeMap<HoldId, Hold>,
    /// What the holds have pinned.
    pub pins: BTreeMap<(HoldId, LotId), Credits>,
    /// Periods of the budgets, by their beginning.
    pub periods: BTreeMap<(BudgetId, Timestamp), Period>,
    /// What the holds have claimed of budgets.
    pub claims: BTreeMap<(HoldId, BudgetId), Claim>,
}

/// What a journal needs to know of its team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// The team.
    pub id: TeamId,
    /// Its terms of money.
    pub terms: TeamTerms,
    /// How much the operator lends it at the most.
    pub credit_limit: Credits,
    /// The number of the last transaction in its books.
    pub booked: u64,
}

/// All that one transaction of the database does to the books of one team.
pub struct Journal {
    team: Team,
    budgets: BTreeMap<BudgetId, Budget>,
    read: Rows,
    rows: Rows,
    written: Vec<Written>,
    lot_id: Box<dyn Fn() -> LotId + Send + Sync>,
}

/// A transaction with its place in the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Who, when and why.
    pub header: Header,
    /// What it records.
    pub kind: TransactionKind,
    /// Its number in the team's books, from 1.
    pub seq: u64,
    /// Its lines in order.
    pub lines: Vec<WrittenLine>,
}

/// A line with its place among the moves of its account and the lots that it moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenLine {
    /// The line.
    pub line: Line,
    /// Which move of the account this is, from 1.
    pub account_move: u64,
    /// The lots of a wallet or pool, in the order in which they were taken or made.
    pub lots: Vec<Part>,
}

/// What stood in the way of a posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// This account would fall below its floor, or its lots are not good any more.
    Account(AccountId),
    /// This budget has too little left.
    Budget(BudgetId),
}

/// What became of a posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a refused posting moved nothing"]
pub enum Outcome {
    /// It is in the journal.
    Applied,
    /// Something is in the way; nothing changed.
    Refused(Bound),
}

/// Who used something, for the budgets that count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The member.
    pub member: MemberId,
    /// The API key that launched it, if one did.
    pub api_key: Option<ApiKeyId>,
}

/// Who pays for a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payer {
    /// What was set aside for it.
    Hold(HoldId),
    /// An account directly.
    Account(AccountId),
}

/// A hold to be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewHold {
    /// Its id.
    pub id: HoldId,
    /// Who launches.
    pub user: User,
    /// The instance.
    pub instance: InstanceId,
    /// The wallet or pool that pays.
    pub account: AccountId,
    /// How much is set aside; may be nothing.
    pub amount: Credits,
}

impl Journal {
    /// A journal over rows that were read under the team's lock; `lot_id` makes the ids of new lots.
    pub fn new(
        team: Team,
        budgets: BTreeMap<BudgetId, Budget>,
        rows: Rows,
        lot_id: Box<dyn Fn() -> LotId + Send + Sync>,
    ) -> Self {
        Self { team, budgets, read: rows.clone(), rows, written: Vec::new(), lot_id }
    }

    /// The team, with the number of the last transaction, this journal's own included.
    pub const fn team(&self) -> &Team {
        &self.team
    }

    /// The rows as they were read.
    pub const fn rows_read(&self) -> &Rows {
        &self.read
    }

    /// The rows as they are to be.
    pub const fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The transactions, in order.
    pub fn written(&self) -> &[Written] {
        &self.written
    }

    /// The team's own account of `kind`.
    pub fn own(&self, kind: AccountKind) -> Result<AccountId> {
        self.find(None, kind)
    }

    /// The wallet of a member that the journal was opened for.
    pub fn wallet(&self, member: MemberId) -> Result<AccountId> {
        self.find(Some(member), AccountKind::Wallet)
    }

    fn find(&self, member: Option<MemberId>, kind: AccountKind) -> Result<AccountId> {
        let mut accounts = self.rows.accounts.values();
        let found = accounts.find(|account| account.member == member && account.kind == kind);
        found.map(|account| account.id).ok_or_else(|| Error::internal(format!("the journal lacks a {kind}")))
    }

    /// An account as it stands.
    pub fn account(&self, id: AccountId) -> Result<&Account> {
        let found = self.rows.accounts.get(&id);
        found.ok_or_else(|| Error::internal(format!("the journal was not opened for {id}")))
    }

    /// A hold as it stands.
    pub fn hold(&self, id: HoldId) -> Result<&Hold> {
        let found = self.rows.holds.get(&id);
        found.ok_or_else(|| Error::internal(format!("the journal was not opened for {id}")))
    }

    /// The open hold of an instance, if the journal was opened for it.
    pub fn hold_of(&self, instance: InstanceId) -> Option<&Hold> {
        self.rows.holds.values().find(|hold| hold.instance == instance && hold.state == HoldState::Open)
    }

    /// What of an account can be spent at `now`: what is neither held nor lost.
    pub fn spendable(&self, account: AccountId, now: Timestamp) -> Result<Credits> {
        let free = self.free_lots(account, now)?;
        let sum = free.iter().try_fold(Credits::ZERO, |sum, (_, free)| sum.plus(*free))?;
        Ok(sum.min(self.account(account)?.balance.available()?))
    }

    /// Writes a posting that concerns no hold.
    pub fn post(&mut self, header: Header, posting: &Posting) -> Result<Outcome> {
        let now = header.recorded_at;
        let mut balances = BTreeMap::new();
        for (id, movement) in posting.movements()? {
            let account = self.account(id)?;
            let balance = account.balance.moved(&movement)?;
            if !balance.keeps(account.floor) {
                return Ok(Outcome::Refused(Bound::Account(id)));
            }
            balances.insert(id, (balance, account.moves + 1));
        }
        let taken = match self.take(posting, now)? {
            Ok(taken) => taken,
            Err(bound) => return Ok(Outcome::Refused(bound)),
        };
        let mut lines = Vec::with_capacity(posting.lines().len());
        for (pair, parts) in posting.lines().chunks_exact(2).zip(taken) {
            let (from, to) = (pair[0], pair[1]);
            self.leave(&from, &parts, posting.lots())?;
            let made = self.arrive(&to, &parts, posting.lots(), &header)?;
            for (line, lots) in [(from, parts), (to, made)] {
                let account_move = balances.get(&line.account).map_or(0, |(_, moves)| *moves);
                lines.push(WrittenLine { line, account_move, lots });
            }
        }
        for (id, (balance, moves)) in balances {
            if let Some(account) = self.rows.accounts.get_mut(&id) {
                (account.balance, account.moves) = (balance, moves);
            }
        }
        self.team.booked += 1;
        self.written.push(Written { header, kind: posting.kind(), seq: self.team.booked, lines });
        Ok(Outcome::Applied)
    }

    /// The lots that each transfer of the posting takes, or what stands in the way.
    fn take(&self, posting: &Posting, now: Timestamp) -> Result<std::result::Result<Vec<Vec<Part>>, Bound>> {
        let mut taken = Vec::new();
        for pair in posting.lines().chunks_exact(2) {
            let from = &pair[0];
            if self.account(from.account)?.floor.is_none() {
                taken.push(Vec::new());
                continue;
            }
            let offers = match (posting.lots(), from.phase) {
                (LotUse::Held(_), Phase::Pending) | (LotUse::Onward | LotUse::Spent, _) => {
                    self.free_lots(from.account, now)?
                }
                // A charge spends the very lots that it has just released.
                (LotUse::Held(hold), Phase::Released | Phase::Posted) => {
                    let mut pinned = self.pinned_lots(*hold);
                    if posting.kind() == TransactionKind::HoldRelease {
                        pinned.reverse();
                    }
                    pinned
                }
                (LotUse::Of(lot) | LotUse::Lost(lot), _) => {
                    let lot = self.rows.lots.get(lot).filter(|lot| lot.account == from.account);
                    lot.map(|lot| lot.free().map(|free| (lot.id, free))).transpose()?.into_iter().collect()
                }
                (LotUse::Fresh(_) | LotUse::Back { .. }, _) => {
                    return Err(Error::internal("money that comes in cannot come out of a wallet or pool"));
                }
            };
            match draw(offers, from.amount)? {
                Some(parts) => taken.push(parts),
                None => return Ok(Err(Bound::Account(from.account))),
            }
        }
        Ok(Ok(taken))
    }

    /// What is free of the lots of an account, in the order of use.
    fn free_lots(&self, account: AccountId, now: Timestamp) -> Result<Vec<(LotId, Credits)>> {
        let mut lots: Vec<&Lot> =
            self.rows.lots.values().filter(|lot| lot.account == account && !lot.is_over(now)).collect();
        lots.sort_by_key(|lot| lot.place());
        lots.into_iter().map(|lot| Ok((lot.id, lot.free()?))).collect()
    }

    /// What a hold has pinned, in the order of use.
    fn pinned_lots(&self, hold: HoldId) -> Vec<(LotId, Credits)> {
        let first = LotId::from_uuid(uuid::Uuid::nil());
        let pins = self.rows.pins.range((hold, first)..).take_while(|((of, _), _)| *of == hold);
        let mut pinned: Vec<(LotId, Credits)> = pins.map(|((_, lot), amount)| (*lot, *amount)).collect();
        pinned.sort_by_key(|(lot, _)| self.rows.lots.get(lot).map(Lot::place));
        pinned
    }

    fn lot_mut(&mut self, id: LotId) -> Result<&mut Lot> {
        self.rows.lots.get_mut(&id).ok_or_else(|| Error::internal(format!("the journal lacks the lot {id}")))
    }

    /// Takes the parts out of their lots.
    fn leave(&mut self, line: &Line, parts: &[Part], lots: &LotUse) -> Result<()> {
        for part in parts {
            let lot = self.lot_mut(part.lot)?;
            match (line.phase, lots) {
                (Phase::Pending, _) => lot.pinned = lot.pinned.plus(part.amount)?,
                (Phase::Released, _) => lot.pinned = lot.pinned.minus(part.amount)?,
                (Phase::Posted, LotUse::Lost(_)) => lot.expired = lot.expired.plus(part.amount)?,
                (Phase::Posted, _) => lot.spent = lot.spent.plus(part.amount)?,
            }
            // A posted line moves no pin: the line before has released it.
            if let (LotUse::Held(hold), Phase::Pending | Phase::Released) = (lots, line.phase) {
                let pin = self.rows.pins.entry((*hold, part.lot)).or_default();
                *pin = if line.phase == Phase::Pending {
                    pin.plus(part.amount)?
                } else {
                    pin.minus(part.amount)?
                };
            }
        }
        Ok(())
    }

    /// Puts money into the lots of a wallet or pool; what was made or filled up.
    fn arrive(&mut self, line: &Line, from: &[Part], lots: &LotUse, header: &Header) -> Result<Vec<Part>> {
        if line.phase != Phase::Posted || self.account(line.account)?.floor.is_none() {
            return Ok(Vec::new());
        }
        match lots {
            LotUse::Fresh(terms) => {
                let id = (self.lot_id)();
                let lot = self.lot_new(line, header, id);
                let lot = Lot { terms: *terms, ..lot };
                Ok(vec![self.lot_insert(lot)])
            }
            LotUse::Onward => from.iter().map(|part| self.lot_onward(line, header, *part)).collect(),
            LotUse::Back { parts, otherwise } => self.lots_back(line, header, parts, *otherwise),
            LotUse::Held(_) | LotUse::Spent | LotUse::Of(_) | LotUse::Lost(_) => {
                Err(Error::internal("money that goes out cannot come into a wallet or pool"))
            }
        }
    }

    fn lot_new(&self, line: &Line, header: &Header, id: LotId) -> Lot {
        Lot {
            id,
            team: self.team.id,
            account: line.account,
            terms: super::lot::Terms::PAID,
            effective_at: header.occurred_at,
            parent: None,
            origin: id,
            transaction: header.id,
            amount: line.amount,
            pinned: Credits::ZERO,
            spent: Credits::ZERO,
            expired: Credits::ZERO,
        }
    }

    fn lot_insert(&mut self, lot: Lot) -> Part {
        let part = Part { lot: lot.id, amount: lot.amount };
        self.rows.lots.insert(lot.id, lot);
        part
    }

    fn lot_onward(&mut self, line: &Line, header: &Header, part: Part) -> Result<Part> {
        let parent = self.lot_mut(part.lot)?.clone();
        let id = (self.lot_id)();
        let (terms, effective_at, origin) = (parent.terms, parent.effective_at, parent.origin);
        let child = Lot {
            terms,
            effective_at,
            origin,
            parent: Some(parent.id),
            amount: part.amount,
            ..self.lot_new(line, header, id)
        };
        Ok(self.lot_insert(child))
    }

    fn lots_back(
        &mut self,
        line: &Line,
        header: &Header,
        parts: &[Part],
        otherwise: Timestamp,
    ) -> Result<Vec<Part>> {
        let mut missing = line.amount;
        let mut back = Vec::new();
        for part in parts {
            let amount = part.amount.min(missing);
            if !amount.is_positive() {
                break;
            }
            missing = missing.minus(amount)?;
            let lot = self.lot_mut(part.lot)?;
            if lot.account != line.account {
                let told = format!("money of {} does not come back into the lot {}", line.account, lot.id);
                return Err(Error::internal(told));
            }
            if lot.is_over(header.recorded_at) {
                let (origin, parent) = (lot.origin, lot.id);
                let id = (self.lot_id)();
                let gift = super::lot::Terms::gift(Some(otherwise));
                let lot = self.lot_new(line, header, id);
                let lot = Lot { terms: gift, origin, parent: Some(parent), amount, ..lot };
                back.push(self.lot_insert(lot));
            } else {
                lot.spent = lot.spent.minus(amount)?;
                back.push(Part { lot: lot.id, amount });
            }
        }
        if missing.is_positive() {
            let id = (self.lot_id)();
            let gift = super::lot::Terms::gift(None);
            let lot = Lot { terms: gift, amount: missing, ..self.lot_new(line, header, id) };
            back.push(self.lot_insert(lot));
        }
        Ok(back)
    }

    /// What the team owed and the operator has given up, less what of it turned out not to have been owed.
    pub fn given_up(&self) -> Result<Credits> {
        let writeoff = self.account(self.own(AccountKind::Writeoff)?)?;
        Ok(Credits::ZERO.minus(writeoff.balance.posted()?)?.max(Credits::ZERO))
    }

    /// What is free of the lots that were over by `now`: what [`Posting::expire`] is to take.
    pub fn lots_over(&self, now: Timestamp) -> Result<Vec<(Lot, Credits)>> {
        let over = self.rows.lots.values().filter(|lot| lot.is_over(now));
        let free = over.map(|lot| Ok((lot.clone(), lot.free()?))).collect::<Result<Vec<_>>>()?;
        Ok(free.into_iter().filter(|(_, free)| free.is_positive()).collect())
    }

    /// What is owed: the debt of the team to the operator.
    pub fn owed(&self) -> Result<Credits> {
        let receivable = self.account(self.own(AccountKind::Receivable)?)?;
        Ok(Credits::ZERO.minus(receivable.balance.posted()?)?.max(Credits::ZERO))
    }
}
