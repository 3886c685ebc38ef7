//! Top-ups: what was paid is what was credited, once, less what went back.

use std::collections::BTreeMap;

use super::{Invariant, Report, accounts::Accounts, wide};
use crate::{
    ids::{TeamId, TopUpId},
    ledger::{
        account::AccountKind,
        booking::Booking,
        posting::{IdemKey, TransactionKind},
    },
    money::Credits,
};

/// A top-up, as far as the books are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// The top-up.
    pub id: TopUpId,
    /// The team.
    pub team: TeamId,
    /// How much.
    pub amount: Credits,
    /// How much of it went back.
    pub refunded: Credits,
    /// Whether it was paid, whatever became of it later.
    pub paid: bool,
}

/// All top-ups, by the key of the transaction that credits each.
#[derive(Debug, Default)]
pub(super) struct Payments {
    payments: BTreeMap<IdemKey, (Payment, u32)>,
}

impl Payments {
    pub(super) fn top_up(&mut self, payment: Payment) {
        self.payments.insert(IdemKey::top_up(payment.id), (payment, 0));
    }

    pub(super) fn booking(&mut self, booking: &Booking, accounts: &Accounts, report: &mut Report) {
        if booking.kind != TransactionKind::TopUp {
            return;
        }
        let id = booking.header.id.to_string();
        let Some((payment, credited)) = self.payments.get_mut(&booking.header.idem_key) else {
            let detail = "credits a top-up that does not exist".to_owned();
            return report.note(Invariant::TopUpsCredited, vec![id], detail);
        };
        *credited += 1;
        let into_pool = accounts.posted(booking, AccountKind::TeamPool);
        if (booking.header.team, into_pool) != (payment.team, wide(payment.amount)) {
            let detail = format!("{into_pool} µ were credited for {}", payment.amount);
            report.note(Invariant::TopUpsCredited, vec![payment.id.to_string(), id], detail);
        }
    }

    pub(super) fn finish(&self, accounts: &Accounts, report: &mut Report) {
        let mut teams: BTreeMap<TeamId, i128> = BTreeMap::new();
        for (payment, credited) in self.payments.values() {
            if *credited != u32::from(payment.paid) {
                let said = if payment.paid { "paid" } else { "not paid" };
                let detail = format!("{said}, and credited {credited} times");
                report.note(Invariant::TopUpsCredited, vec![payment.id.to_string()], detail);
            }
            if payment.paid {
                *teams.entry(payment.team).or_default() += wide(payment.amount) - wide(payment.refunded);
            }
        }
        for account in accounts.rows().filter(|account| account.kind == AccountKind::Cash) {
            let came_in = wide(account.balance.debits_posted) - wide(account.balance.credits_posted);
            let paid = teams.get(&account.team).copied().unwrap_or_default();
            if came_in != paid {
                let detail = format!("top-ups less refunds sum to {paid} µ, {came_in} µ came in");
                let ids = vec![account.id.to_string(), account.team.to_string()];
                report.note(Invariant::TopUpsCredited, ids, detail);
            }
        }
    }
}
