//! The books as lines of JSON in a canonical order: the same history gives the same bytes, whatever the database.

use serde_json::{Value, json};

use super::{
    error::{Error, Result},
    every::{Key, Keyed, Used},
    shares::{PeriodOf, Pin},
    tx::Read,
};
use crate::{
    ids::TeamId,
    ledger::{
        account::Account,
        budget::{Budget, Claim},
        hold::Hold,
        interval::Segment,
        lot::Lot,
        rating::Charge,
        verify::Payment,
    },
    money::Credits,
    time::Timestamp,
};

/// Transactions that are read at once.
const BOOKINGS_PAGE: u32 = 500;

/// How far an export has come.
#[derive(Debug)]
pub struct ExportCursor {
    /// The tables that are still to be read, the next one last.
    tables: Vec<Table>,
    after: Option<Key>,
    booked: Option<(TeamId, u64)>,
}

#[derive(Debug, Clone, Copy)]
enum Table {
    Accounts,
    Bookings,
    Lots,
    Holds,
    Pins,
    Budgets,
    Periods,
    Claims,
    Segments,
    Charges,
    TopUps,
}

impl ExportCursor {
    /// Before everything that is in the books.
    pub fn dump() -> Self {
        use Table as T;
        let mut tables = vec![
            T::Accounts,
            T::Bookings,
            T::Lots,
            T::Holds,
            T::Pins,
            T::Budgets,
            T::Periods,
            T::Claims,
            T::Segments,
            T::Charges,
            T::TopUps,
        ];
        tables.reverse();
        Self { tables, after: None, booked: None }
    }

    /// Before the transactions, and nothing else.
    pub fn log() -> Self {
        Self { tables: vec![Table::Bookings], after: None, booked: None }
    }
}

impl Read {
    /// The next lines, each with its end; `None` after the last.
    ///
    /// # Errors
    /// What the database says; the export is incomplete then.
    pub async fn export_page(&mut self, cursor: &mut ExportCursor) -> Result<Option<String>> {
        while let Some(table) = cursor.tables.last().copied() {
            let page = match table {
                Table::Bookings => self.bookings_lines(cursor).await?,
                Table::Accounts => self.lines(cursor, account_line).await?,
                Table::Lots => self.lines(cursor, lot_line).await?,
                Table::Holds => self.lines(cursor, hold_line).await?,
                Table::Pins => self.lines(cursor, pin_line).await?,
                Table::Budgets => self.lines(cursor, budget_line).await?,
                Table::Periods => self.lines(cursor, period_line).await?,
                Table::Claims => self.lines(cursor, claim_line).await?,
                Table::Segments => self.lines(cursor, segment_line).await?,
                Table::Charges => self.lines(cursor, |used: &Used| charge_line(&used.charge)).await?,
                Table::TopUps => self.lines(cursor, top_up_line).await?,
            };
            if page.is_some() {
                return Ok(page);
            }
            cursor.tables.pop();
            cursor.after = None;
        }
        Ok(None)
    }

    async fn lines<T: Keyed>(
        &mut self,
        cursor: &mut ExportCursor,
        line: fn(&T) -> Value,
    ) -> Result<Option<String>> {
        let after = cursor.after.take().unwrap_or_else(T::FIRST);
        let Some((rows, last)) = self.page_after::<T>(after).await? else { return Ok(None) };
        cursor.after = Some(last);
        Ok(Some(rows.iter().map(|row| format!("{}\n", line(row))).collect()))
    }

    async fn bookings_lines(&mut self, cursor: &mut ExportCursor) -> Result<Option<String>> {
        let page = self.bookings_page(cursor.booked, BOOKINGS_PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        cursor.booked = Some((last.header.team, last.seq));
        let mut text = String::new();
        for booking in &page {
            let line = booking.canonical();
            text.push_str(&line.map_err(|error| Error::Encode(error.into()))?);
            text.push('\n');
        }
        Ok(Some(text))
    }
}

fn micros(amount: Credits) -> i64 {
    amount.as_micros()
}

fn at(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_micros)
}

fn account_line(row: &Account) -> Value {
    let balance = &row.balance;
    json!({
        "type": "account", "id": row.id, "team": row.team, "member": row.member, "kind": row.kind,
        "floor": row.floor.map(micros), "moves": row.moves, "created_at": row.created_at.as_micros(),
        "debits_posted": micros(balance.debits_posted), "credits_posted": micros(balance.credits_posted),
        "debits_pending": micros(balance.debits_pending), "credits_pending": micros(balance.credits_pending),
    })
}

fn lot_line(row: &Lot) -> Value {
    json!({
        "type": "lot", "id": row.id, "team": row.team, "account": row.account, "category": row.terms.category,
        "priority": row.terms.priority, "effective_at": row.effective_at.as_micros(),
        "expires_at": at(row.terms.expires_at), "parent": row.parent, "origin": row.origin,
        "transaction": row.transaction, "amount": micros(row.amount), "pinned": micros(row.pinned),
        "spent": micros(row.spent), "expired": micros(row.expired),
    })
}

fn hold_line(row: &Hold) -> Value {
    json!({
        "type": "hold", "id": row.id, "team": row.team, "member": row.member, "instance": row.instance,
        "account": row.account, "api_key": row.api_key, "reserved": micros(row.reserved),
        "captured": micros(row.captured), "released": micros(row.released), "extensions": row.extensions,
        "state": row.state, "created_at": row.created_at.as_micros(), "closed_at": at(row.closed_at),
    })
}

fn pin_line(Pin(hold, lot, amount): &Pin) -> Value {
    json!({ "type": "pin", "hold": hold, "lot": lot, "amount": micros(*amount) })
}

fn budget_line(row: &Budget) -> Value {
    json!({
        "type": "budget", "id": row.id, "team": row.team, "name": row.name, "scope": row.scope,
        "subject": row.subject, "period": row.period, "ceiling": micros(row.ceiling),
        "thresholds": row.thresholds, "reaction": row.reaction, "active": row.active,
        "created_by": row.created_by, "created_at": row.created_at.as_micros(),
    })
}

fn period_line(PeriodOf(budget, row): &PeriodOf) -> Value {
    json!({
        "type": "budget_period", "budget": budget, "start_at": row.start_at.as_micros(), "end_at": at(row.end_at),
        "reserved": micros(row.reserved), "spent": micros(row.spent), "told_percent": row.told_percent,
    })
}

fn claim_line(row: &Claim) -> Value {
    json!({
        "type": "budget_claim", "hold": row.hold, "budget": row.budget, "start_at": row.start_at.as_micros(),
        "reserved": micros(row.reserved),
    })
}

fn segment_line(row: &Segment) -> Value {
    json!({
        "type": "segment", "id": row.id, "team": row.team, "member": row.member, "resource": row.resource,
        "instance": row.instance, "account": row.account, "kind": row.kind, "number": row.number,
        "quantity": row.quantity, "price_version": row.price_version, "sku": row.sku,
        "quoted_per_hour": micros(row.quoted_per_hour), "grid": row.grid.as_micros(),
        "start_at": row.start_at.as_micros(), "end_at": at(row.end_at), "proof_at": row.proof_at.as_micros(),
        "billed_until": row.billed_until.as_micros(), "next_k": row.next_k,
        "cumulative_nano": row.cumulative.as_nanos(), "settled": row.settled,
    })
}

fn charge_line(row: &Charge) -> Value {
    json!({
        "type": "charge", "segment": row.segment, "k": row.k, "revision": row.revision, "team": row.team,
        "member": row.member, "resource": row.resource, "instance": row.instance, "kind": row.kind,
        "from_at": row.from_at.as_micros(), "to_at": row.to_at.as_micros(), "quantity": row.quantity,
        "nano": row.nano.as_nanos(), "amount": micros(row.amount), "uncovered": micros(row.uncovered),
        "price_version": row.price_version, "component_digest": row.component_digest,
        "config_digest": row.config_digest, "input_digest": row.input_digest,
        "told_now": row.told_now.as_micros(), "lines": row.lines, "parked": row.parked,
        "parked_because": row.parked_because, "reason": row.reason, "transaction": row.transaction,
        "created_at": row.created_at.as_micros(),
    })
}

fn top_up_line(row: &Payment) -> Value {
    json!({
        "type": "top_up", "id": row.id, "team": row.team, "amount": micros(row.amount),
        "refunded": micros(row.refunded), "paid": row.paid,
    })
}
