//! Accounts: their counters against their entries, their floors after every move, and what holds hold in them.

use std::collections::BTreeMap;

use super::{Invariant, Report, wide};
use crate::{
    ids::{AccountId, TeamId, TransactionId},
    ledger::{
        account::{Account, AccountKind, Balance, Movement},
        booking::Booking,
        hold::{Hold, HoldState},
        posting::{Direction, Line, Phase},
    },
};

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

/// All accounts.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    accounts: BTreeMap<AccountId, Replay>,
    held: BTreeMap<AccountId, i128>,
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

impl Accounts {
    pub(super) fn account(&mut self, row: Account) {
        self.held.insert(row.id, 0);
        let (balance, pending) = (Balance::default(), Movement::default());
        self.accounts.insert(row.id, Replay { row, balance, reached: 0, last: None, pending });
    }

    pub(super) fn row(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id).map(|replay| &replay.row)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values().map(|replay| &replay.row)
    }

    pub(super) fn entry(&mut self, entry: &Entry, report: &mut Report) {
        let Some(replay) = self.accounts.get_mut(&entry.line.account) else {
            let ids = vec![entry.line.account.to_string(), entry.transaction.to_string()];
            return report.note(Invariant::CountersMatch, ids, "an entry of no account".to_owned());
        };
        if entry.account_move != replay.reached {
            replay.settle(report);
            if entry.account_move != replay.reached + 1 {
                let ids = vec![replay.row.id.to_string(), entry.transaction.to_string()];
                let detail = format!("move {} follows move {}", entry.account_move, replay.reached);
                report.note(Invariant::CountersMatch, ids, detail);
            }
            replay.reached = entry.account_move;
        }
        replay.last = Some(entry.transaction);
        if let Err(error) = replay.pending.add(&entry.line) {
            let ids = vec![replay.row.id.to_string(), entry.transaction.to_string()];
            report.note(Invariant::CountersMatch, ids, error.to_string());
        }
    }

    pub(super) fn hold(&mut self, hold: &Hold, report: &mut Report) {
        let remaining = hold.remaining().map_or(-1, wide);
        if remaining < 0 || (hold.state == HoldState::Closed && remaining != 0) {
            let detail = format!(
                "{} hold: reserved {}, captured {}, released {}",
                hold.state, hold.reserved, hold.captured, hold.released
            );
            let ids = vec![hold.id.to_string(), hold.instance.to_string()];
            report.note(Invariant::HoldsMatch, ids, detail);
        }
        if hold.state == HoldState::Open {
            *self.held.entry(hold.account).or_default() += remaining;
        }
    }

    /// What `booking` posted into accounts of `kind`, in micro-credits; negative when it took from them.
    pub(super) fn posted(&self, booking: &Booking, kind: AccountKind) -> i128 {
        let of_kind = |line: &&Line| {
            line.phase == Phase::Posted && self.row(line.account).is_some_and(|account| account.kind == kind)
        };
        let signed = booking.lines.iter().map(|booked| &booked.line).filter(of_kind).map(|line| {
            match line.direction {
                Direction::Credit => wide(line.amount),
                Direction::Debit => -wide(line.amount),
            }
        });
        signed.sum()
    }

    pub(super) fn finish(&mut self, report: &mut Report) {
        let mut teams: BTreeMap<TeamId, (i128, i128)> = BTreeMap::new();
        for replay in self.accounts.values_mut() {
            replay.finish(report);
            let row = &replay.row.balance;
            let (posted, pending) = teams.entry(replay.row.team).or_default();
            *posted += wide(row.credits_posted) - wide(row.debits_posted);
            *pending += wide(row.credits_pending) - wide(row.debits_pending);
        }
        for (team, (posted, pending)) in teams {
            if (posted, pending) != (0, 0) {
                let detail = format!("posted sums to {posted} µ, pending to {pending} µ");
                report.note(Invariant::BooksBalanced, vec![team.to_string()], detail);
            }
        }
        for (account, held) in &self.held {
            let pending = self.row(*account).map(|row| wide(row.balance.debits_pending));
            if pending != Some(*held) {
                let detail = format!("open holds sum to {held} µ, the account holds {pending:?} µ");
                report.note(Invariant::HoldsMatch, vec![account.to_string()], detail);
            }
        }
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
