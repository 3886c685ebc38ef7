//! Statements: a team's month, cut out of its books so that every transaction is on exactly one of them.
//!
//! A statement has the transactions that happened before its month ended, up to a number in the books, and that no
//! earlier statement has. What comes too late for its month is therefore on the next one. Both bounds only grow, so
//! the statement before decides alone what is left, and its closing figures are the next one's opening figures.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::posting::TransactionKind;
use crate::{
    digest::Digest,
    error::{Error, Result},
    ids::{MemberId, TeamId, TransactionId},
    money::Credits,
    time::{Month, TimeZone, Timestamp},
};

/// Where the books are cut: what happened before `end_at` and is numbered up to `through_seq` is on this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The first instant that is beyond.
    pub end_at: Timestamp,
    /// The last number in the team's books that is on this side.
    pub through_seq: u64,
}

/// What lies between two cuts: the transactions of one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The cut of the statement before.
    pub after: Cut,
    /// The statement's own.
    pub upto: Cut,
    /// No transaction with a lower number is in the window.
    pub first_seq: u64,
}

/// What one statement leaves to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carry {
    /// Where it cut.
    pub cut: Cut,
    /// Every transaction with a lower number is on it, or on one before.
    pub first_seq: u64,
    /// What was in the pool and the wallets.
    pub closing: Credits,
    /// What was owed.
    pub owed: Credits,
    /// How many statements there were.
    pub number: u64,
    /// Its digest.
    pub digest: Option<Digest>,
}

/// What the transactions of one kind moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Line {
    /// What they record.
    pub kind: TransactionKind,
    /// Whether they happened in a month that was closed before they were written.
    pub late: bool,
    /// How many they are.
    pub transactions: u64,
    /// What came into the pool and the wallets.
    #[serde(rename = "in")]
    pub incoming: Credits,
    /// What went out of them.
    #[serde(rename = "out")]
    pub outgoing: Credits,
    /// What they added to what is owed; negative where debt was paid.
    pub owed: Credits,
}

/// What charges sum to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UseLine {
    /// What is summed: a member's id, a kind of use, or a product.
    pub key: String,
    /// Its name for people.
    pub name: String,
    /// What was charged.
    pub amount: Credits,
}

/// What was used: the charges on the statement's transactions, summed in three ways.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    /// How many charges there are.
    pub charges: u64,
    /// What they sum to.
    pub total: Credits,
    /// The part that nobody could pay when it was charged, and is owed, less what corrections took off that.
    pub owed: Credits,
    /// By member.
    pub by_member: Vec<UseLine>,
    /// By what was metered.
    pub by_kind: Vec<UseLine>,
    /// By product.
    pub by_product: Vec<UseLine>,
}

/// Charges that were summed by the database already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Who used it.
    pub member: MemberId,
    /// Their account name.
    pub account: String,
    /// What was metered.
    pub kind: String,
    /// The product's name.
    pub product: String,
    /// Digest of the price's component.
    pub component_digest: String,
    /// How many charges.
    pub charges: u64,
    /// What they sum to.
    pub amount: Credits,
    /// The part that is owed, less what was taken off what was owed.
    pub uncovered: Credits,
}

/// A credit note as the statement lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NoteLine {
    /// Its number.
    pub number: u64,
    /// The month that it corrects.
    pub month: String,
    /// The transaction behind it.
    pub transaction: TransactionId,
    /// What it adds to that month; negative where it gives back.
    pub amount: Credits,
    /// Why.
    pub reason: String,
}

/// How many transactions a window has, and where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The transactions in the window, those that only hold or release money included.
    pub transactions: u64,
    /// The lowest number that is beyond the window and not before it; `None` when there is none.
    pub beyond_seq: Option<u64>,
}

/// A team's month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Statement {
    /// The team.
    pub team: TeamId,
    /// The month, such as `2026-11`.
    pub month: String,
    /// The time zone that the month is of.
    pub time_zone: TimeZone,
    /// When it begins.
    pub start_at: Timestamp,
    /// When it ends.
    pub end_at: Timestamp,
    /// Its place among the team's statements, from 1.
    pub number: u64,
    /// Digest of the statement before; absent on the first, and after one that is not closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub previous_digest: Option<Digest>,
    /// The last number in the books that it covers.
    pub through_seq: u64,
    /// Every transaction with a lower number is on this statement or on one before.
    pub resume_seq: u64,
    /// How many transactions are on it, those that only hold or release money included.
    pub transactions: u64,
    /// What was in the pool and the wallets when it begins.
    pub opening: Credits,
    /// What came in.
    #[serde(rename = "in")]
    pub incoming: Credits,
    /// What went out.
    #[serde(rename = "out")]
    pub outgoing: Credits,
    /// What is in the pool and the wallets when it ends.
    pub closing: Credits,
    /// What was owed when it begins.
    pub owed_opening: Credits,
    /// What is owed when it ends.
    pub owed_closing: Credits,
    /// What came in and went out, by kind.
    pub lines: Vec<Line>,
    /// What was used.
    pub usage: Usage,
    /// The credit notes whose transactions are on it.
    pub credit_notes: Vec<NoteLine>,
    /// Digests of the price components that computed its charges.
    pub price_components: Vec<String>,
}

/// What a statement is drawn up from.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// What the window's transactions moved.
    pub lines: Vec<Line>,
    /// How many there are.
    pub count: Count,
    /// The charges on them.
    pub used: Vec<Used>,
    /// The credit notes on them.
    pub credit_notes: Vec<NoteLine>,
}

impl Cut {
    /// Before everything.
    pub const NONE: Self = Self { end_at: Timestamp::from_micros(i64::MIN), through_seq: 0 };

    /// Whether a transaction is on this side.
    pub fn covers(&self, occurred_at: Timestamp, seq: u64) -> bool {
        occurred_at < self.end_at && seq <= self.through_seq
    }
}

impl Window {
    /// Whether a transaction is in the window.
    pub fn has(&self, occurred_at: Timestamp, seq: u64) -> bool {
        self.upto.covers(occurred_at, seq) && !self.after.covers(occurred_at, seq)
    }
}

impl Carry {
    /// What the first statement goes on from.
    pub const NOTHING: Self = Self {
        cut: Cut::NONE,
        first_seq: 1,
        closing: Credits::ZERO,
        owed: Credits::ZERO,
        number: 0,
        digest: None,
    };

    /// The window up to the end of `month` and the number `through_seq`.
    pub fn window(&self, month: &Month, through_seq: u64) -> Window {
        let upto = Cut { end_at: month.end_at, through_seq: through_seq.max(self.cut.through_seq) };
        Window { after: self.cut, upto, first_seq: self.first_seq }
    }

    /// When a month begins that goes on from here: where the last one ended, should the team have moved to another
    /// time zone since.
    pub fn start_of(&self, month: &Month) -> Timestamp {
        if self.number == 0 { month.start_at } else { self.cut.end_at }
    }
}

impl Line {
    /// A line without any transaction.
    pub const fn empty(kind: TransactionKind, late: bool) -> Self {
        Self {
            kind,
            late,
            transactions: 0,
            incoming: Credits::ZERO,
            outgoing: Credits::ZERO,
            owed: Credits::ZERO,
        }
    }

    /// Adds a transaction that moved `net` into the pool and the wallets together, and `owed` to what is owed.
    pub fn add(&mut self, net: Credits, owed: Credits) -> Result<()> {
        self.transactions += 1;
        if net.is_positive() {
            self.incoming = self.incoming.plus(net)?;
        } else {
            self.outgoing = self.outgoing.minus(net)?;
        }
        self.owed = self.owed.plus(owed)?;
        Ok(())
    }
}

impl Usage {
    /// Sums charges by member, by kind and by product.
    pub fn of(used: &[Used]) -> Result<Self> {
        let mut usage = Self::default();
        let (mut members, mut kinds, mut products) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for row in used {
            usage.charges += row.charges;
            usage.total = usage.total.plus(row.amount)?;
            usage.owed = usage.owed.plus(row.uncovered)?;
            let member = row.member.to_string();
            for (sums, key, name) in [
                (&mut members, &member, &row.account),
                (&mut kinds, &row.kind, &row.kind),
                (&mut products, &row.product, &row.product),
            ] {
                let (_, sum): &mut (String, Credits) =
                    sums.entry(key.clone()).or_insert_with(|| (name.clone(), Credits::ZERO));
                *sum = sum.plus(row.amount)?;
            }
        }
        usage.by_member = use_lines(members);
        usage.by_kind = use_lines(kinds);
        usage.by_product = use_lines(products);
        Ok(usage)
    }
}

fn use_lines(sums: BTreeMap<String, (String, Credits)>) -> Vec<UseLine> {
    sums.into_iter().map(|(key, (name, amount))| UseLine { key, name, amount }).collect()
}

impl Statement {
    /// Draws up the statement of `month` that goes on from `carry`.
    ///
    /// # Errors
    /// When a sum leaves the range of money.
    pub fn draw(
        team: TeamId,
        time_zone: &TimeZone,
        month: &Month,
        carry: &Carry,
        window: &Window,
        drawn: Drawn,
    ) -> Result<Self> {
        let sum = |part: fn(&Line) -> Credits| {
            drawn.lines.iter().try_fold(Credits::ZERO, |sum, line| sum.plus(part(line)))
        };
        let (incoming, outgoing) = (sum(|line| line.incoming)?, sum(|line| line.outgoing)?);
        let components: BTreeSet<&str> = drawn.used.iter().map(|row| row.component_digest.as_str()).collect();
        Ok(Self {
            team,
            month: month.name(),
            time_zone: time_zone.clone(),
            start_at: carry.start_of(month),
            end_at: month.end_at,
            number: carry.number + 1,
            previous_digest: carry.digest,
            through_seq: window.upto.through_seq,
            resume_seq: drawn.count.beyond_seq.unwrap_or(window.upto.through_seq + 1),
            transactions: drawn.count.transactions,
            opening: carry.closing,
            incoming,
            outgoing,
            closing: carry.closing.plus(incoming)?.minus(outgoing)?,
            owed_opening: carry.owed,
            owed_closing: carry.owed.plus(sum(|line| line.owed)?)?,
            price_components: components.into_iter().map(str::to_owned).collect(),
            usage: Usage::of(&drawn.used)?,
            lines: drawn.lines,
            credit_notes: drawn.credit_notes,
        })
    }

    /// What it leaves to the next one; `digest` is its own once it is closed.
    pub fn carry(&self, digest: Option<Digest>) -> Carry {
        Carry {
            cut: self.cut(),
            first_seq: self.resume_seq,
            closing: self.closing,
            owed: self.owed_closing,
            number: self.number,
            digest,
        }
    }

    /// Where it cuts the books.
    pub const fn cut(&self) -> Cut {
        Cut { end_at: self.end_at, through_seq: self.through_seq }
    }

    /// Its canonical JSON, which its digest is of: keys in order, no spaces.
    ///
    /// # Errors
    /// Never for a statement; it says so rather than to pretend.
    pub fn document(&self) -> Result<String> {
        let value = serde_json::to_value(self).map_err(Error::internal)?;
        Ok(canonical(&value))
    }
}

/// JSON with the keys of every object in order and without spaces: one text for one value.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<&String, &Value> = object.iter().collect();
            let fields = sorted.into_iter().map(|(key, value)| {
                let key = Value::String(key.clone());
                format!("{key}:{}", canonical(value))
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chance::Seeded, ids::Id};
    use proptest::prelude::*;

    /// A transaction of a history: its kind, when it happened in hours, how much later it was written, what it moved.
    type Fact = (usize, i64, i64, i64, i64);

    const HOUR: i64 = crate::time::HOUR;

    /// Cuts a history as a server does that closes each month some time after its end, and shows each statement with
    /// the transactions that it is made of.
    fn cut_up(facts: &[Fact], grace_hours: i64) -> Vec<(Statement, Vec<u64>)> {
        let zone: TimeZone = "Europe/Berlin".parse().unwrap();
        let start = "2026-01-03T00:00:00Z".parse::<Timestamp>().unwrap().as_micros();
        let team = TeamId::fresh(Timestamp::from_micros(0), &Seeded::new(1));
        let at = |hours: i64| Timestamp::from_micros(start + hours * HOUR);
        // Numbers follow the order of writing.
        let mut written: Vec<&Fact> = facts.iter().collect();
        written.sort_by_key(|fact| fact.1 + fact.2);
        let (mut carry, mut month) = (Carry::NOTHING, zone.month_at(at(0)));
        let mut statements = Vec::new();
        for nth in 0..8 {
            // The last one takes all that is left.
            let closes = if nth == 7 { i64::MAX } else { month.end_at.as_micros() + grace_hours * HOUR };
            let booked = written.iter().take_while(|fact| at(fact.1 + fact.2).as_micros() <= closes).count();
            let window = carry.window(&month, booked as u64);
            let (mut lines, mut seqs, mut beyond) = (BTreeMap::new(), Vec::new(), None);
            for (place, fact) in written.iter().enumerate() {
                let (seq, occurred) = (place as u64 + 1, at(fact.1));
                let kind = TransactionKind::ALL[fact.0 % TransactionKind::ALL.len()];
                let late = occurred < carry.start_of(&month);
                if window.has(occurred, seq) {
                    assert!(seq >= window.first_seq, "{seq} was said to be on an earlier statement");
                    seqs.push(seq);
                    let line = lines.entry((kind, late)).or_insert_with(|| Line::empty(kind, late));
                    line.add(Credits::from_micros(fact.3), Credits::from_micros(fact.4)).unwrap();
                } else if seq <= window.upto.through_seq && !window.upto.covers(occurred, seq) {
                    beyond = beyond.or(Some(seq));
                }
            }
            let drawn = Drawn {
                lines: lines.into_values().collect(),
                count: Count { transactions: seqs.len() as u64, beyond_seq: beyond },
                used: Vec::new(),
                credit_notes: Vec::new(),
            };
            let statement = Statement::draw(team, &zone, &month, &carry, &window, drawn).unwrap();
            let digest = Digest::of(statement.document().unwrap().as_bytes());
            carry = statement.carry(Some(digest));
            statements.push((statement, seqs));
            month = zone.month_at(month.end_at);
        }
        statements
    }

    proptest! {
        #[test]
        fn a_history_cut_into_months_has_every_transaction_once_and_every_opening_is_the_closing_before(
            facts in proptest::collection::vec(
                (0..18usize, 0..4_000i64, 0..1_500i64, -5_000_000..5_000_000i64, -9..9i64), 0..80),
            grace_hours in 1..200i64,
        ) {
            let statements = cut_up(&facts, grace_hours);
            let mut seen: Vec<u64> = statements.iter().flat_map(|(_, seqs)| seqs.clone()).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (1..=facts.len() as u64).collect::<Vec<_>>());
            let (mut opening, mut owed) = (Credits::ZERO, Credits::ZERO);
            for (nth, (statement, seqs)) in statements.iter().enumerate() {
                prop_assert_eq!(statement.opening, opening);
                prop_assert_eq!(statement.owed_opening, owed);
                prop_assert_eq!(statement.number, nth as u64 + 1);
                let lines = statement.lines.iter().try_fold(Credits::ZERO, |sum, line| {
                    sum.plus(line.incoming)?.minus(line.outgoing)
                });
                prop_assert_eq!(lines, statement.closing.minus(statement.opening));
                prop_assert_eq!(statement.lines.iter().map(|line| line.transactions).sum::<u64>(), seqs.len() as u64);
                (opening, owed) = (statement.closing, statement.owed_closing);
            }
            let net: i64 = facts.iter().map(|fact| fact.3).sum();
            let debt: i64 = facts.iter().map(|fact| fact.4).sum();
            prop_assert_eq!((opening.as_micros(), owed.as_micros()), (net, debt));
        }

        #[test]
        fn a_statement_reads_back_from_its_document(
            facts in proptest::collection::vec((0..18usize, 0..900i64, 0..99i64, -9..9i64, 0..9i64), 0..9),
        ) {
            for (statement, _) in cut_up(&facts, 48) {
                let document = statement.document().unwrap();
                prop_assert_eq!(serde_json::from_str::<Statement>(&document).unwrap(), statement);
                let value: Value = serde_json::from_str(&document).unwrap();
                prop_assert_eq!(canonical(&value), document);
            }
        }
    }

    #[test]
    fn a_cut_covers_what_happened_before_its_end_up_to_its_number_and_nothing_else() {
        let at = Timestamp::from_micros;
        let cut = Cut { end_at: at(100), through_seq: 7 };
        let sides = [(99, 7), (100, 7), (99, 8), (100, 8)].map(|(when, seq)| cut.covers(at(when), seq));
        assert_eq!(sides, [true, false, false, false]);
        assert!(!Cut::NONE.covers(at(i64::MIN), 0));
    }

    #[test]
    fn use_is_summed_in_three_ways() {
        let chance = Seeded::new(2);
        let [one, two]: [MemberId; 2] =
            std::array::from_fn(|_| MemberId::fresh(Timestamp::from_micros(0), &chance));
        let row = |member: MemberId, kind: &str, product: &str, micros: i64| Used {
            member,
            account: "someone".to_owned(),
            kind: kind.to_owned(),
            product: product.to_owned(),
            component_digest: String::new(),
            charges: 2,
            amount: Credits::from_micros(micros),
            uncovered: Credits::from_micros(1),
        };
        let used = [row(one, "instance", "a", 5), row(one, "drive", "b", 7), row(two, "instance", "a", -2)];
        let usage = Usage::of(&used).unwrap();
        let amounts =
            |lines: &[UseLine]| lines.iter().map(|line| line.amount.as_micros()).collect::<Vec<_>>();
        assert_eq!((usage.charges, usage.total.as_micros(), usage.owed.as_micros()), (6, 10, 3));
        let mut by_member = amounts(&usage.by_member);
        by_member.sort_unstable();
        assert_eq!(by_member, [-2, 12]);
        assert_eq!(amounts(&usage.by_kind), [7, 3]);
        assert_eq!(amounts(&usage.by_product), [3, 7]);
    }
}
