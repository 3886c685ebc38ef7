//! A transaction with everything that it did, in the one form in which it is exported, chained and checked.
//!
//! The form is canonical: fields in a fixed order, money and times as whole numbers, nothing that depends on the
//! database. Two books with the same history have the same bytes.

use serde::Serialize;

use super::{
    lot::{Category, Part, Terms},
    posting::{Direction, Header, Line, Phase, Transaction, TransactionKind},
};
use crate::{
    ids::{AccountId, InstanceId, LotId, MemberId, TeamId, TransactionId},
    money::Credits,
    time::Timestamp,
};

/// A transaction with its place in the team's books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    /// Its number in the team's books, from 1.
    pub seq: u64,
    /// Who, when and why.
    pub header: Header,
    /// What it records.
    pub kind: TransactionKind,
    /// Its lines in order.
    pub lines: Vec<BookedLine>,
}

/// A line with its place among the moves of its account and the lots that it moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookedLine {
    /// The line.
    pub line: Line,
    /// Which move of the account this is, from 1.
    pub account_move: u64,
    /// The lots that it moved, in order.
    pub lots: Vec<LotMove>,
}

/// A part of a lot that a line moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LotMove {
    /// The part.
    pub part: Part,
    /// How the lot came to be, where this transaction made it.
    pub made: Option<Made>,
}

/// What a new lot is and stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// On which terms its money came in.
    pub terms: Terms,
    /// When it came in.
    pub effective_at: Timestamp,
    /// The lot that it was part of.
    pub parent: Option<LotId>,
    /// The first lot of its line.
    pub origin: LotId,
}

impl Booking {
    /// The lines without their lots.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.iter().map(|booked| booked.line).collect()
    }

    /// The transaction without its place and its lots.
    pub fn transaction(&self) -> Transaction {
        Transaction { header: self.header.clone(), kind: self.kind, lines: self.lines() }
    }

    /// The canonical form: one line of JSON, without its end.
    ///
    /// # Errors
    /// Never in practice: everything in it has a JSON form.
    pub fn canonical(&self) -> Result<String, serde_json::Error> {
        let header = &self.header;
        let lines = self.lines.iter().map(BookedLine::canonical).collect();
        serde_json::to_string(&Canonical {
            r#type: "transaction",
            team: header.team,
            seq: self.seq,
            id: header.id,
            kind: self.kind,
            occurred_at: header.occurred_at.as_micros(),
            recorded_at: header.recorded_at.as_micros(),
            actor: &header.actor,
            reason: &header.reason,
            member: header.member,
            instance: header.instance,
            reverses: header.reverses,
            idem_key: header.idem_key.as_str(),
            lines,
        })
    }
}

impl BookedLine {
    fn canonical(&self) -> CanonicalLine {
        let Line { account, direction, phase, amount } = self.line;
        let lots = self.lots.iter().map(LotMove::canonical).collect();
        CanonicalLine {
            account,
            account_move: self.account_move,
            direction,
            phase,
            amount: micros(amount),
            lots,
        }
    }
}

impl LotMove {
    fn canonical(&self) -> CanonicalMove {
        let made = self.made.map(|made| CanonicalMade {
            category: made.terms.category,
            priority: made.terms.priority,
            effective_at: made.effective_at.as_micros(),
            expires_at: made.terms.expires_at.map(Timestamp::as_micros),
            parent: made.parent,
            origin: made.origin,
        });
        CanonicalMove { lot: self.part.lot, amount: micros(self.part.amount), made }
    }
}

const fn micros(amount: Credits) -> i64 {
    amount.as_micros()
}

#[derive(Serialize)]
struct Canonical<'a> {
    r#type: &'static str,
    team: TeamId,
    seq: u64,
    id: TransactionId,
    kind: TransactionKind,
    occurred_at: i64,
    recorded_at: i64,
    actor: &'a str,
    reason: &'a str,
    member: Option<MemberId>,
    instance: Option<InstanceId>,
    reverses: Option<TransactionId>,
    idem_key: &'a str,
    lines: Vec<CanonicalLine>,
}

#[derive(Serialize)]
struct CanonicalLine {
    account: AccountId,
    account_move: u64,
    direction: Direction,
    phase: Phase,
    amount: i64,
    lots: Vec<CanonicalMove>,
}

#[derive(Serialize)]
struct CanonicalMove {
    lot: LotId,
    amount: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<CanonicalMade>,
}

#[derive(Serialize)]
struct CanonicalMade {
    category: Category,
    priority: i64,
    effective_at: i64,
    expires_at: Option<i64>,
    parent: Option<LotId>,
    origin: LotId,
}
