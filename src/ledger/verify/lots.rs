//! Lots: their counters against their moves, the order in which they were used up, and what holds have pinned.

use std::collections::BTreeMap;

use super::{Invariant, Report, accounts::Accounts, wide};
use crate::{
    ids::{AccountId, HoldId, LotId, TeamId, TransactionId},
    ledger::{
        account::AccountKind,
        hold::Hold,
        lot::{Category, Lot, Part},
        posting::{Direction, Phase, TransactionKind},
    },
    money::Credits,
    time::Timestamp,
};

/// A part of a lot that a line moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The part.
    pub part: Part,
    /// The wallet or pool of the line.
    pub account: AccountId,
    /// The side that the line is on.
    pub direction: Direction,
    /// The counter that the line moves.
    pub phase: Phase,
    /// The transaction of the line.
    pub transaction: TransactionId,
    /// What it records.
    pub kind: TransactionKind,
    /// When it was written.
    pub recorded_at: Timestamp,
}

/// All lots.
#[derive(Debug, Default)]
pub(super) struct Lots {
    lots: BTreeMap<LotId, Replay>,
    pinned: BTreeMap<HoldId, i128>,
    /// The lots of the account that is being read which have something left, in the order of use.
    live: BTreeMap<Place, LotId>,
    reading: Option<AccountId>,
    /// The last transaction that took a hold back: what it then posts is what was held.
    released_in: Option<TransactionId>,
}

/// A lot's place in the order of use.
type Place = (i64, i64, Category, Timestamp, LotId);

/// A lot as its row says and as its moves so far say.
#[derive(Debug)]
struct Replay {
    row: Lot,
    made: i128,
    arrived: i128,
    gone: i128,
    lost: i128,
    held: i128,
    pins: i128,
}

impl Lots {
    pub(super) fn lot(&mut self, row: Lot) {
        let replay = Replay { made: 0, arrived: 0, gone: 0, lost: 0, held: 0, pins: 0, row };
        self.lots.insert(replay.row.id, replay);
    }

    pub(super) fn lot_move(&mut self, moved: &Moved, report: &mut Report) {
        if self.reading.replace(moved.account) != Some(moved.account) {
            self.live.clear();
        }
        if moved.phase == Phase::Released {
            self.released_in = Some(moved.transaction);
        }
        let ids = || vec![moved.part.lot.to_string(), moved.transaction.to_string()];
        if moved.draws(self.released_in)
            && let Some(detail) = self.out_of_order(moved)
        {
            report.note(Invariant::LotsInOrder, ids(), detail);
        }
        let Some(lot) = self.lots.get_mut(&moved.part.lot) else {
            return report.note(Invariant::LotsMatch, ids(), "a move of no lot".to_owned());
        };
        if lot.row.account != moved.account {
            let detail = format!("a lot of {} was moved in {}", lot.row.account, moved.account);
            report.note(Invariant::LotsMatch, ids(), detail);
        }
        lot.add(moved);
        if lot.free() < 0 || lot.held < 0 {
            let detail = format!("{} µ free and {} µ held after the move", lot.free(), lot.held);
            report.note(Invariant::LotsMatch, ids(), detail);
        }
        let place = lot.place();
        if lot.free() > 0 {
            self.live.insert(place, moved.part.lot);
        } else {
            self.live.remove(&place);
        }
    }

    /// What is wrong with a part that was taken in the order of use.
    fn out_of_order(&self, moved: &Moved) -> Option<String> {
        let is_over = |lot: &Replay| lot.row.terms.expires_at.is_some_and(|at| at <= moved.recorded_at);
        let taken = self.lots.get(&moved.part.lot)?;
        if is_over(taken) {
            return Some("taken from after it was over".to_owned());
        }
        let mut live = self.live.values().filter_map(|id| self.lots.get(id));
        let first = live.find(|lot| !is_over(lot))?;
        let told = || format!("taken from while {} had {} µ free", first.row.id, first.free());
        (first.row.id != moved.part.lot).then(told)
    }

    pub(super) fn pin(
        &mut self,
        hold: Option<&Hold>,
        id: HoldId,
        lot: LotId,
        amount: Credits,
        report: &mut Report,
    ) {
        let ids = || vec![id.to_string(), lot.to_string()];
        *self.pinned.entry(id).or_default() += wide(amount);
        let Some(lot) = self.lots.get_mut(&lot) else {
            return report.note(Invariant::PinsMatch, ids(), "a pin of no lot".to_owned());
        };
        lot.pins += wide(amount);
        match hold {
            Some(hold) if hold.account == lot.row.account => {}
            Some(hold) => {
                let detail = format!("a hold of {} has pinned a lot of {}", hold.account, lot.row.account);
                report.note(Invariant::PinsMatch, ids(), detail);
            }
            None => report.note(Invariant::PinsMatch, ids(), "pinned by no open hold".to_owned()),
        }
    }

    pub(super) fn finish(&self, holds: &BTreeMap<HoldId, Hold>, accounts: &Accounts, report: &mut Report) {
        let mut sums: BTreeMap<AccountId, (i128, i128)> = BTreeMap::new();
        let mut expired: BTreeMap<TeamId, i128> = BTreeMap::new();
        for lot in self.lots.values() {
            lot.finish(report);
            self.check_line(lot, report);
            let (left, held) = sums.entry(lot.row.account).or_default();
            *left += lot.left();
            *held += wide(lot.row.pinned);
            *expired.entry(lot.row.team).or_default() += wide(lot.row.expired);
        }
        for account in accounts.rows() {
            let found = sums.remove(&account.id).unwrap_or_default();
            let balance = &account.balance;
            let posted = wide(balance.credits_posted) - wide(balance.debits_posted);
            let expected =
                if account.floor.is_some() { (posted, wide(balance.debits_pending)) } else { (0, 0) };
            if found != expected {
                let detail = format!("lots have {found:?} µ left and held, the account {expected:?}");
                report.note(Invariant::LotsMatch, vec![account.id.to_string()], detail);
            }
            let lost = expired.get(&account.team).copied().unwrap_or_default();
            if account.kind == AccountKind::Breakage && posted != lost {
                let detail = format!("lots have lost {lost} µ, the account has {posted} µ");
                report.note(Invariant::LotsMatch, vec![account.id.to_string()], detail);
            }
        }
        for hold in holds.values() {
            let pinned = self.pinned.get(&hold.id).copied().unwrap_or_default();
            let remaining = hold.remaining().map_or(-1, wide);
            if pinned != remaining {
                let detail = format!("{remaining} µ are left of the hold, {pinned} µ are pinned");
                let ids = vec![hold.id.to_string(), hold.account.to_string()];
                report.note(Invariant::PinsMatch, ids, detail);
            }
        }
    }

    /// A lot that was part of another belongs to the same line.
    fn check_line(&self, lot: &Replay, report: &mut Report) {
        let expected = match lot.row.parent {
            None => Some(lot.row.id),
            Some(parent) => self.lots.get(&parent).map(|parent| parent.row.origin),
        };
        if expected != Some(lot.row.origin) {
            let detail = format!("comes from {}, expected {expected:?}", lot.row.origin);
            report.note(Invariant::LotsMatch, vec![lot.row.id.to_string()], detail);
        }
    }
}

impl Moved {
    /// Whether the line took what is free, in the order of use.
    fn draws(&self, released_in: Option<TransactionId>) -> bool {
        use TransactionKind as Of;
        let charged = matches!(self.kind, Of::Capture | Of::Correction);
        let spent = matches!(self.kind, Of::Assign | Of::Reclaim | Of::Settle)
            || (charged && released_in != Some(self.transaction));
        self.direction == Direction::Debit
            && (self.phase == Phase::Pending || (self.phase == Phase::Posted && spent))
    }
}

impl Replay {
    fn place(&self) -> Place {
        let Lot { id, terms, effective_at, .. } = &self.row;
        let expires_at = terms.expires_at.map_or(i64::MAX, Timestamp::as_micros);
        (terms.priority, expires_at, terms.category, *effective_at, *id)
    }

    fn free(&self) -> i128 {
        self.arrived - self.gone - self.lost - self.held
    }

    fn left(&self) -> i128 {
        wide(self.row.amount) - wide(self.row.spent) - wide(self.row.expired)
    }

    fn add(&mut self, moved: &Moved) {
        let amount = wide(moved.part.amount);
        match (moved.direction, moved.phase) {
            (Direction::Credit, _) => {
                self.arrived += amount;
                if moved.transaction == self.row.transaction {
                    self.made += amount;
                }
            }
            (Direction::Debit, Phase::Pending) => self.held += amount,
            (Direction::Debit, Phase::Released) => self.held -= amount,
            (Direction::Debit, Phase::Posted) if moved.kind == TransactionKind::Expire => self.lost += amount,
            (Direction::Debit, Phase::Posted) => self.gone += amount,
        }
    }

    fn finish(&self, report: &mut Report) {
        let row = &self.row;
        // Books that are older than lots have one lot per account, named as the account, for all that came in.
        let (id, account) = (row.id.to_string(), row.account.to_string());
        let founding = id.split_once('_').map(|(_, id)| id) == account.split_once('_').map(|(_, id)| id);
        let found = (self.left(), wide(row.pinned), wide(row.expired));
        let expected = (self.arrived - self.gone - self.lost, self.held, self.lost);
        if found != expected || (!founding && wide(row.amount) != self.made) {
            let detail = format!(
                "the row of {} µ says {found:?} µ left, held and lost, its moves say {expected:?} of {} µ",
                row.amount.as_micros(),
                self.made
            );
            report.note(Invariant::LotsMatch, vec![row.id.to_string(), row.account.to_string()], detail);
        }
        if wide(row.pinned) != self.pins {
            let detail = format!("{} is pinned, holds have pinned {} µ", row.pinned, self.pins);
            report.note(Invariant::PinsMatch, vec![row.id.to_string(), row.account.to_string()], detail);
        }
    }
}
