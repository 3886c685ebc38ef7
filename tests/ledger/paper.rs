//! The pure ledger on paper: postings, floors and the verifier without any database, over thousands of lives.

use std::collections::BTreeMap;

use muster::{
    chance::Seeded,
    ids::{AccountId, Id, TeamId, TransactionId},
    ledger::{
        account::{Account, AccountKind},
        hold::Cover,
        posting::{Posting, is_balanced},
        rating::Tally,
        verify::{Entry, Invariant, Verifier},
    },
    money::NanoCredits,
};
use proptest::prelude::*;

use crate::{
    desk::micros,
    model::{Command, Model, SLOTS, lives},
    world::NOW,
};

/// Accounts and entries in memory, and the rule that a posting is applied wholly or not at all.
struct Paper {
    chance: Seeded,
    accounts: BTreeMap<AccountId, Account>,
    entries: Vec<Entry>,
    cash: AccountId,
    pool: AccountId,
    revenue: AccountId,
    receivable: AccountId,
    wallets: [AccountId; SLOTS],
    running: [Option<Tally>; SLOTS],
}

impl Paper {
    fn new() -> Self {
        let chance = Seeded::new(1);
        let team = TeamId::fresh(NOW, &chance);
        let mut accounts = BTreeMap::new();
        let mut open = |kind| {
            let account = Account::open(AccountId::fresh(NOW, &chance), team, None, kind, NOW);
            let id = account.id;
            accounts.insert(id, account);
            id
        };
        let [cash, pool] = [AccountKind::Cash, AccountKind::TeamPool].map(&mut open);
        let [revenue, receivable] = [AccountKind::Revenue, AccountKind::Receivable].map(&mut open);
        let wallets = std::array::from_fn(|_| open(AccountKind::Wallet));
        let running = [None; SLOTS];
        Self { chance, accounts, entries: Vec::new(), cash, pool, revenue, receivable, wallets, running }
    }

    fn held(&self, slot: usize) -> muster::money::Credits {
        self.accounts[&self.wallets[slot]].balance.pending()
    }

    fn run(&mut self, command: &Command) -> bool {
        match *command {
            Command::TopUp(amount) => self.apply(Posting::top_up(self.cash, self.pool, micros(amount))),
            Command::Assign(slot, amount) => {
                self.apply(Posting::assign(self.pool, self.wallets[slot], micros(amount)))
            }
            Command::Reclaim(slot, amount) => {
                self.apply(Posting::reclaim(self.wallets[slot], self.pool, micros(amount)))
            }
            Command::Place(slot, amount) => {
                let hold = Posting::hold_place(self.wallets[slot], self.revenue, micros(amount));
                let placed = self.running[slot].is_none() && self.apply(hold);
                if placed {
                    self.running[slot] = Some(Tally::default());
                }
                placed
            }
            Command::Extend(slot, amount) => {
                let more = Posting::hold_extend(self.wallets[slot], self.revenue, micros(amount));
                self.running[slot].is_some() && self.apply(more)
            }
            Command::Capture(slot, nano) => self.capture(slot, nano),
            Command::Release(slot) => {
                let rest = Posting::hold_release(self.wallets[slot], self.revenue, self.held(slot));
                self.running[slot].take().is_some() && (rest.is_err() || self.apply(rest))
            }
        }
    }

    fn capture(&mut self, slot: usize, nano: i64) -> bool {
        let Some(mut tally) = self.running[slot] else { return false };
        let due = tally.charge(NanoCredits::from_nanos(nano)).unwrap();
        self.running[slot] = Some(tally);
        let covered = due.min(self.held(slot));
        let cover = Cover { covered, uncovered: due.minus(covered).unwrap() };
        let posting = Posting::capture(self.wallets[slot], self.revenue, self.receivable, cover);
        !due.is_positive() || self.apply(posting)
    }

    fn apply(&mut self, posting: Result<Posting, muster::ledger::posting::Error>) -> bool {
        let posting = posting.unwrap();
        assert!(is_balanced(posting.lines()));
        let mut after = self.accounts.clone();
        for (id, movement) in posting.movements().unwrap() {
            let account = after.get_mut(&id).unwrap();
            account.balance = account.balance.moved(&movement).unwrap();
            account.moves += 1;
            if !account.balance.keeps(account.floor) {
                return false;
            }
        }
        self.accounts = after;
        let transaction = TransactionId::fresh(NOW, &self.chance);
        for line in posting.lines() {
            let account_move = self.accounts[&line.account].moves;
            self.entries.push(Entry { transaction, account_move, line: *line });
        }
        true
    }

    fn matches(&self, model: &Model) -> bool {
        let posted = |id: &AccountId| self.accounts[id].balance.posted().unwrap().as_micros();
        let purses = self.wallets.iter().zip(model.wallets).enumerate().all(|(slot, (wallet, purse))| {
            (posted(wallet), self.held(slot).as_micros()) == (purse.posted, purse.held)
        });
        let others =
            [posted(&self.pool), posted(&self.revenue), -posted(&self.receivable), -posted(&self.cash)];
        purses && others == [model.pool, model.earned, model.owed, model.paid_in]
    }
}

proptest! {
    #[test]
    fn any_life_agrees_with_the_model_and_keeps_every_floor_at_every_step(life in lives(80)) {
        let (mut paper, mut model) = (Paper::new(), Model::default());
        for command in &life {
            prop_assert_eq!(paper.run(command), model.run(command), "{:?}", command);
            prop_assert!(paper.matches(&model), "{:?}: {:?}", command, model);
        }
        let mut verifier = Verifier::new();
        paper.accounts.values().for_each(|account| verifier.account(account.clone()));
        paper.entries.iter().for_each(|entry| verifier.entry(entry));
        let report = verifier.finish();
        // On paper there are no rows for holds, so only that one check has something to say.
        let others = report.violations.iter().filter(|found| found.invariant != Invariant::HoldsMatch);
        prop_assert_eq!(others.count(), 0, "{:?}", report);
    }
}
