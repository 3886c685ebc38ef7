//! The journal of a team: read under the team's lock, written at once.
//!
//! Nothing relies on the lock alone: every row is written only if it is still as it was read (an account by the number
//! of its moves, a lot by its counters, a hold by its amounts), and the tables' own CHECKs stand behind that. However
//! many transactions a journal has, the database is asked once to read and once to write, over lists in JSON.

mod text;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use self::text::{JOURNAL_READ_POSTGRES, JOURNAL_READ_SQLITE, JOURNAL_WRITE_POSTGRES, JOURNAL_WRITE_SQLITE};
use super::{
    error::{Error, Result},
    query::Record,
    shares::{PeriodOf, Pin},
    tx::{Conn, Tx},
};
use crate::{
    ids::{ApiKeyId, BudgetId, HoldId, InstanceId, LotId, MemberId, TeamId, TransactionId},
    ledger::{
        account::Account,
        budget::{Budget, Claim},
        hold::Hold,
        journal::{Journal, Rows, Team, Written},
        lot::{Lot, Part},
    },
    money::Credits,
    op::Op,
    time::Timestamp,
};

/// The place of the transactions among what a journal writes.
const TRANSACTIONS: usize = 1;

const LOT_MOVES_OF: &str = "
    SELECT lot, amount FROM lot_moves WHERE transaction_id = $1 AND line = $2 ORDER BY place";

/// What a journal concerns, besides the team's own accounts: only these are read.
#[derive(Debug, Clone, Default)]
pub struct Concern {
    /// Members whose wallets, and budgets, are concerned.
    pub members: Vec<MemberId>,
    /// Instances whose open holds are concerned; their members are to be named too.
    pub instances: Vec<InstanceId>,
    /// API keys whose budgets are concerned.
    pub keys: Vec<ApiKeyId>,
    /// Lots that may be used up already, for money that comes back.
    pub lots: Vec<LotId>,
}

impl Concern {
    /// The team's own accounts and one member's.
    pub fn of(member: MemberId) -> Self {
        Self { members: vec![member], ..Self::default() }
    }

    /// The team's own accounts, one member's, and the open hold of one of their instances.
    pub fn hold_of(member: MemberId, instance: InstanceId) -> Self {
        Self { instances: vec![instance], ..Self::of(member) }
    }
}

impl Conn {
    /// The journal of a team as it stands, to look at: only a [`Tx`] writes one.
    ///
    /// # Errors
    /// [`Error::Missing`] without such a team.
    pub async fn journal_look(&mut self, op: &Op, team: TeamId, concern: &Concern) -> Result<Journal> {
        let (mut found, mut budgets, mut rows) = (None, BTreeMap::new(), Rows::default());
        let read = self.query_by(JOURNAL_READ_SQLITE, JOURNAL_READ_POSTGRES).bind(team);
        let read = read.bind(list(&concern.members)).bind(list(&concern.lots));
        let read = read.bind(list(&concern.instances)).bind(list(&concern.keys));
        read.parts(&mut |part, row| {
            match part {
                0 => {
                    let (terms, credit_limit) = (row.get("terms")?, row.get("credit_limit")?);
                    found = Some(Team { id: team, terms, credit_limit, booked: row.get("booked")? });
                }
                1 => keep(&mut rows.accounts, Account::from_row(row)?, |account| account.id),
                2 | 3 => keep(&mut rows.lots, Lot::from_row(row)?, |lot| lot.id),
                4 => keep(&mut rows.holds, Hold::from_row(row)?, |hold| hold.id),
                5 => {
                    let Pin(hold, lot, amount) = Pin::from_row(row)?;
                    rows.pins.insert((hold, lot), amount);
                }
                6 => keep(&mut rows.claims, Claim::from_row(row)?, |claim| (claim.hold, claim.budget)),
                7 => keep(&mut budgets, Budget::from_row(row)?, |budget| budget.id),
                _ => {
                    let PeriodOf(budget, period) = PeriodOf::from_row(row)?;
                    rows.periods.insert((budget, period.start_at), period);
                }
            }
            Ok(())
        })
        .await?;
        rows.periods.retain(|(budget, _), _| budgets.contains_key(budget));
        let op = op.clone();
        let lot_id = Box::new(move || op.id::<LotId>());
        Ok(Journal::new(found.ok_or(Error::Missing)?, budgets, rows, lot_id))
    }

    /// The lots that a line of a transaction moved, in the order in which they were taken.
    pub async fn lot_moves_of(&mut self, transaction: TransactionId, line: usize) -> Result<Vec<Part>> {
        let moves = self.query(LOT_MOVES_OF).bind(transaction).bind(line).all::<(LotId, Credits)>().await?;
        Ok(moves.into_iter().map(|(lot, amount)| Part { lot, amount }).collect())
    }
}

impl Tx {
    /// Opens the journal of a team: locks the team, and reads what `concern` names.
    ///
    /// # Errors
    /// [`Error::Missing`] without such a team.
    pub async fn journal(&mut self, op: &Op, team: TeamId, concern: &Concern) -> Result<Journal> {
        self.team_lock(team).await?;
        self.journal_look(op, team, concern).await
    }

    /// Writes what the journal did.
    ///
    /// # Errors
    /// [`Error::Recorded`] when one of its facts was recorded before, [`Error::Moved`] when a row is no longer as it
    /// was read: drop the transaction then.
    pub async fn journal_write(&mut self, journal: &Journal) -> Result<()> {
        let (read, rows) = (journal.rows_read(), journal.rows());
        let (written, team) = (journal.written(), journal.team());
        let accounts = changed(&read.accounts, &rows.accounts).moved;
        let (lots, holds) = (changed(&read.lots, &rows.lots), changed(&read.holds, &rows.holds));
        let (entries, lot_moves) = lines_json(written);
        let (pins, pins_ended) = pins_json(read, rows);
        let (claims, claims_ended) = claims_json(read, rows);
        let lists = [
            written.iter().map(transaction_json).collect(),
            lots.fresh.iter().map(|lot| lot_json(lot)).collect(),
            entries,
            lot_moves,
            accounts.iter().map(|(was, is)| account_json(was, is)).collect(),
            lots.moved.iter().map(|(was, is)| lot_moved_json(was, is)).collect(),
            holds.fresh.iter().map(|hold| hold_json(hold)).collect(),
            holds.moved.iter().map(|(was, is)| hold_moved_json(was, is)).collect(),
            pins,
            pins_ended,
            periods_json(read, rows),
            claims,
            claims_ended,
        ];
        let mut expected = vec![u64::from(!written.is_empty())];
        expected.extend(lists.iter().map(|list: &Vec<Value>| list.len() as u64));
        if expected.iter().all(|count| *count == 0) {
            return Ok(());
        }
        let write = self.query_by(JOURNAL_WRITE_SQLITE, JOURNAL_WRITE_POSTGRES).bind(team.id);
        let write = write.bind(team.booked - written.len() as u64).bind(team.booked);
        let write = lists.into_iter().fold(write, |write, list| write.bind(Value::Array(list).to_string()));
        match write.touch_each(&expected).await? {
            None => Ok(()),
            Some(TRANSACTIONS) => Err(Error::Recorded),
            Some(_) => Err(Error::Moved),
        }
    }

    /// Runs a statement over a list; each of its items must touch one row.
    pub(super) async fn all_or_none(
        &mut self,
        sqlite: &'static str,
        postgres: &'static str,
        items: impl IntoIterator<Item = Value>,
    ) -> Result<()> {
        let items: Vec<Value> = items.into_iter().collect();
        if items.is_empty() {
            return Ok(());
        }
        let count = items.len() as u64;
        let touched = self.query_by(sqlite, postgres).bind(Value::Array(items).to_string()).execute().await?;
        if touched == count { Ok(()) } else { Err(Error::Moved) }
    }
}

/// Puts a row where its key belongs.
fn keep<K: Ord, T>(rows: &mut BTreeMap<K, T>, row: T, key: impl Fn(&T) -> K) {
    rows.insert(key(&row), row);
}

/// Ids as a JSON array of texts.
pub(super) fn list<T: Serialize>(ids: &[T]) -> String {
    // Ids and texts always have a JSON form.
    serde_json::to_string(ids).unwrap_or_default()
}

/// Rows that a journal made, and those that it moved, as they were and as they are.
struct Changed<'a, T> {
    fresh: Vec<&'a T>,
    moved: Vec<(&'a T, &'a T)>,
}

fn changed<'a, K: Ord, T: PartialEq>(read: &'a BTreeMap<K, T>, rows: &'a BTreeMap<K, T>) -> Changed<'a, T> {
    let (mut fresh, mut moved) = (Vec::new(), Vec::new());
    for (key, is) in rows {
        match read.get(key) {
            None => fresh.push(is),
            Some(was) if was != is => moved.push((was, is)),
            Some(_) => {}
        }
    }
    Changed { fresh, moved }
}

fn transaction_json(written: &Written) -> Value {
    let header = &written.header;
    json!({
        "id": header.id, "team": header.team, "kind": written.kind,
        "occurred_at": header.occurred_at.as_micros(), "recorded_at": header.recorded_at.as_micros(),
        "actor": header.actor, "reason": header.reason,
        "member": header.member.map(|id| id.to_string()).unwrap_or_default(),
        "instance": header.instance.map(|id| id.to_string()).unwrap_or_default(),
        "reverses": header.reverses, "idem_key": header.idem_key.as_str(), "seq": written.seq,
    })
}

/// Entries, and the moves of lots behind them.
fn lines_json(written: &[Written]) -> (Vec<Value>, Vec<Value>) {
    let (mut entries, mut lot_moves) = (Vec::new(), Vec::new());
    for written in written {
        let id = written.header.id;
        for (place, line) in written.lines.iter().enumerate() {
            let (of, amount) = (&line.line, line.line.amount.as_micros());
            entries.push(json!({
                "t": id, "line": place, "account": of.account, "move": line.account_move,
                "direction": of.direction, "phase": of.phase, "amount": amount,
            }));
            for (nth, part) in line.lots.iter().enumerate() {
                let amount = part.amount.as_micros();
                lot_moves
                    .push(json!({ "t": id, "line": place, "place": nth, "lot": part.lot, "amount": amount }));
            }
        }
    }
    (entries, lot_moves)
}

/// Pins that are new or moved, and those of which nothing is left.
fn pins_json(read: &Rows, rows: &Rows) -> (Vec<Value>, Vec<Value>) {
    let moved = rows.pins.iter().filter(|(key, amount)| read.pins.get(key) != Some(amount));
    let (left, ended): (Vec<_>, Vec<_>) = moved.partition(|(_, amount)| amount.is_positive());
    let json = |(key, amount): (&(HoldId, LotId), &Credits)| {
        let (hold, lot) = key;
        json!({ "hold": hold, "lot": lot, "amount": amount.as_micros() })
    };
    let ended = ended.into_iter().filter(|(key, _)| read.pins.contains_key(key));
    (left.into_iter().map(json).collect(), ended.map(json).collect())
}

fn periods_json(read: &Rows, rows: &Rows) -> Vec<Value> {
    let moved = rows.periods.iter().filter(|(key, period)| read.periods.get(key) != Some(period));
    let json = moved.map(|((budget, start_at), period)| {
        json!({
            "budget": budget, "start_at": start_at.as_micros(),
            "end_at": period.end_at.map(Timestamp::as_micros), "reserved": period.reserved.as_micros(),
            "spent": period.spent.as_micros(), "told_percent": period.told_percent,
        })
    });
    json.collect()
}

/// Claims that are new or moved, and those of which nothing is left.
fn claims_json(read: &Rows, rows: &Rows) -> (Vec<Value>, Vec<Value>) {
    let moved = rows.claims.iter().filter(|(key, claim)| read.claims.get(key) != Some(claim));
    let (left, ended): (Vec<_>, Vec<_>) = moved.partition(|(_, claim)| claim.reserved.is_positive());
    let json = |(_, claim): (&(HoldId, BudgetId), &Claim)| {
        json!({
            "hold": claim.hold, "budget": claim.budget, "start_at": claim.start_at.as_micros(),
            "reserved": claim.reserved.as_micros(),
        })
    };
    let ended = ended.into_iter().filter(|(key, _)| read.claims.contains_key(key));
    (left.into_iter().map(json).collect(), ended.map(json).collect())
}

fn lot_json(lot: &Lot) -> Value {
    json!({
        "id": lot.id, "team": lot.team, "account": lot.account, "category": lot.terms.category,
        "priority": lot.terms.priority, "effective_at": lot.effective_at.as_micros(),
        "expires_at": lot.terms.expires_at.map(Timestamp::as_micros), "parent": lot.parent, "origin": lot.origin,
        "transaction_id": lot.transaction, "amount": lot.amount.as_micros(), "pinned": lot.pinned.as_micros(),
        "spent": lot.spent.as_micros(), "expired": lot.expired.as_micros(),
    })
}

fn lot_moved_json(was: &Lot, is: &Lot) -> Value {
    json!({
        "id": is.id, "pinned": is.pinned.as_micros(), "spent": is.spent.as_micros(),
        "expired": is.expired.as_micros(), "seen_pinned": was.pinned.as_micros(),
        "seen_spent": was.spent.as_micros(), "seen_expired": was.expired.as_micros(),
    })
}

fn account_json(was: &Account, is: &Account) -> Value {
    let balance = &is.balance;
    json!({
        "id": is.id, "seen": was.moves, "moves": is.moves, "debits_posted": balance.debits_posted.as_micros(),
        "credits_posted": balance.credits_posted.as_micros(),
        "debits_pending": balance.debits_pending.as_micros(),
        "credits_pending": balance.credits_pending.as_micros(),
    })
}

fn hold_json(hold: &Hold) -> Value {
    json!({
        "id": hold.id, "team": hold.team, "member": hold.member, "instance": hold.instance,
        "account": hold.account, "reserved": hold.reserved.as_micros(), "captured": hold.captured.as_micros(),
        "released": hold.released.as_micros(), "extensions": hold.extensions, "state": hold.state,
        "created_at": hold.created_at.as_micros(), "closed_at": hold.closed_at.map(Timestamp::as_micros),
        "api_key": hold.api_key,
    })
}

fn hold_moved_json(was: &Hold, is: &Hold) -> Value {
    json!({
        "id": is.id, "reserved": is.reserved.as_micros(), "captured": is.captured.as_micros(),
        "released": is.released.as_micros(), "extensions": is.extensions, "state": is.state,
        "closed_at": is.closed_at.map(Timestamp::as_micros), "seen_reserved": was.reserved.as_micros(),
        "seen_captured": was.captured.as_micros(), "seen_extensions": was.extensions,
    })
}
