//! Transactions by themselves and one after the other: their balance, their lots, their numbers, and their chain.

use std::collections::{BTreeMap, VecDeque};

use super::{Invariant, Report, accounts::Accounts, wide};
use crate::{
    ids::TeamId,
    ledger::{
        booking::Booking,
        chain::{Link, Linking},
        posting::is_balanced,
    },
};

/// The books of all teams, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct Teams {
    teams: BTreeMap<TeamId, Books>,
}

/// The books of one team, as far as they were read.
#[derive(Debug, Default)]
struct Books {
    booked: u64,
    reached: u64,
    links: VecDeque<Link>,
    linking: Option<Linking>,
}

impl Teams {
    pub(super) fn team(&mut self, team: TeamId, booked: u64) {
        self.teams.entry(team).or_default().booked = booked;
    }

    pub(super) fn link(&mut self, link: Link) {
        self.teams.entry(link.team).or_default().links.push_back(link);
    }

    pub(super) fn booking(&mut self, booking: &Booking, accounts: &Accounts, report: &mut Report) {
        let (id, team) = (booking.header.id, booking.header.team);
        let lines = booking.lines();
        if lines.is_empty() || !is_balanced(&lines) {
            let detail = format!("{} lines do not sum to zero", lines.len());
            report.note(Invariant::Balanced, vec![id.to_string()], detail);
        }
        for (place, booked) in booking.lines.iter().enumerate() {
            let account = booked.line.account;
            let spendable = accounts.row(account).is_some_and(|row| row.floor.is_some());
            let expected = if spendable { wide(booked.line.amount) } else { 0 };
            let named: i128 = booked.lots.iter().map(|moved| wide(moved.part.amount)).sum();
            if named != expected {
                let ids = vec![id.to_string(), account.to_string(), format!("line={place}")];
                let detail = format!("its lots sum to {named} µ, expected {expected} µ");
                report.note(Invariant::LinesNameLots, ids, detail);
            }
        }
        self.teams.entry(team).or_default().booking(booking, report);
    }

    pub(super) fn finish(&mut self, report: &mut Report) {
        for (team, books) in &self.teams {
            if books.reached != books.booked {
                let detail = format!(
                    "the team has {} transactions, the last is number {}",
                    books.booked, books.reached
                );
                report.note(Invariant::NumbersComplete, vec![team.to_string()], detail);
            }
            if let Some(link) = books.links.front() {
                let ids = vec![team.to_string(), format!("through_seq={}", link.through_seq)];
                let detail = "the link covers transactions that do not exist".to_owned();
                report.note(Invariant::ChainIntact, ids, detail);
            }
        }
    }
}

impl Books {
    fn booking(&mut self, booking: &Booking, report: &mut Report) {
        let (team, seq) = (booking.header.team, booking.seq);
        if seq != self.reached + 1 {
            let ids = vec![team.to_string(), booking.header.id.to_string()];
            let detail = format!("number {seq} follows number {}", self.reached);
            report.note(Invariant::NumbersComplete, ids, detail);
        }
        self.reached = seq;
        let Some(next) = self.links.front() else { return };
        let linking = self.linking.get_or_insert_with(|| Linking::after(team, ""));
        let added = linking.add(booking);
        if added.is_ok() && seq < next.through_seq {
            return;
        }
        let digest = linking.clone().digest();
        if added.is_ok() && seq == next.through_seq && digest == next.digest {
            self.linking = Some(Linking::after(team, &digest));
            self.links.pop_front();
            return;
        }
        let ids = vec![team.to_string(), format!("through_seq={}", next.through_seq)];
        let detail = format!("the link says {}, the transactions say {digest}", next.digest);
        report.note(Invariant::ChainIntact, ids, detail);
        // What follows a broken link proves nothing.
        self.links.clear();
    }
}
