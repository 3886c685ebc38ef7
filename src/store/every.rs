//! Whole tables of the books, page by page, in an order that is the same in both databases.

use super::{
    error::Result,
    query::{Query, Record, Row},
    shares::{PeriodOf, Pin},
    tx::Conn,
};
use crate::{
    ids::ApiKeyId,
    ledger::{
        account::Account,
        budget::{Budget, Claim},
        chain::Link,
        hold::Hold,
        interval::Segment,
        lot::{Lot, Part},
        posting::Line,
        rating::Charge,
        verify::{Entry, Moved, Payment},
    },
};

/// Rows that are read at once.
pub(super) const PAGE: u32 = 1_000;

const ACCOUNTS: &str = "SELECT * FROM accounts WHERE id > $1 ORDER BY id LIMIT $2";

const ENTRIES: &str = "
    SELECT transaction_id, line, account, account_move, direction, phase, amount FROM entries
    WHERE (account, account_move, transaction_id, line) > ($1, $2, $3, $4)
    ORDER BY account, account_move, transaction_id, line LIMIT $5";

const LOTS: &str = "SELECT * FROM lots WHERE id > $1 ORDER BY id LIMIT $2";

const LOT_MOVES: &str = "
    SELECT m.lot, m.amount, m.place, e.account, e.account_move, e.transaction_id, e.line, e.direction, e.phase,
           t.kind, t.recorded_at
    FROM entries e
    JOIN lot_moves m ON m.transaction_id = e.transaction_id AND m.line = e.line
    JOIN transactions t ON t.id = e.transaction_id
    WHERE (e.account, e.account_move) >= ($1, $2)
      AND (e.account, e.account_move, e.transaction_id, e.line, m.place) > ($1, $2, $3, $4, $5)
    ORDER BY e.account, e.account_move, e.transaction_id, e.line, m.place LIMIT $6";

const HOLDS: &str = "SELECT * FROM holds WHERE id > $1 ORDER BY id LIMIT $2";

const PINS: &str = "SELECT * FROM pins WHERE (hold, lot) > ($1, $2) ORDER BY hold, lot LIMIT $3";

const BUDGETS: &str = "SELECT * FROM budgets WHERE id > $1 ORDER BY id LIMIT $2";

const PERIODS: &str = "
    SELECT * FROM budget_periods WHERE (budget, start_at) > ($1, $2) ORDER BY budget, start_at LIMIT $3";

const CLAIMS: &str = "
    SELECT * FROM budget_claims WHERE (hold, budget) > ($1, $2) ORDER BY hold, budget LIMIT $3";

const SEGMENTS: &str = "SELECT * FROM segments WHERE id > $1 ORDER BY id LIMIT $2";

const CHARGES: &str = "
    SELECT c.*, s.api_key
    FROM (SELECT * FROM charges WHERE (segment, k, revision) > ($1, $2, $3)
          ORDER BY segment, k, revision LIMIT $4) c
    LEFT JOIN segments s ON s.id = c.segment
    ORDER BY c.segment, c.k, c.revision";

const TOP_UPS: &str = "
    SELECT id, team, amount, refunded, state FROM top_ups WHERE id > $1 ORDER BY id LIMIT $2";

const LINKS: &str = "
    SELECT * FROM ledger_links WHERE (team, through_seq) > ($1, $2) ORDER BY team, through_seq LIMIT $3";

/// The key of the last row that was read.
#[derive(Debug, Clone)]
pub(super) enum Key {
    Id(String),
    Numbered(String, i64),
    Pair(String, String),
    Interval(String, i64, i64),
    Line(String, i64, String, i64),
    Place(String, i64, String, i64, i64),
}

impl Key {
    /// Before every row.
    pub(super) fn bind(self, query: Query<'_>) -> Query<'_> {
        match self {
            Self::Id(id) => query.bind(id),
            Self::Numbered(id, number) => query.bind(id).bind(number),
            Self::Pair(one, other) => query.bind(one).bind(other),
            Self::Interval(id, k, revision) => query.bind(id).bind(k).bind(revision),
            Self::Line(account, nth, id, line) => query.bind(account).bind(nth).bind(id).bind(line),
            Self::Place(account, nth, id, line, place) => {
                query.bind(account).bind(nth).bind(id).bind(line).bind(place)
            }
        }
    }
}

/// A row of a table that is read page by page.
pub(super) trait Keyed: Record + Send {
    /// The statement that gives a page of them.
    const EVERY: &'static str;
    /// Before every row.
    const FIRST: fn() -> Key;
    /// The row's place.
    fn key(&self) -> Key;
}

impl Conn {
    /// The rows after `after`, and the key of the last of them; `None` when there are no more.
    pub(super) async fn page_after<T: Keyed>(&mut self, after: Key) -> Result<Option<(Vec<T>, Key)>> {
        let rows: Vec<T> = after.bind(self.query(T::EVERY)).bind(PAGE).all().await?;
        Ok(rows.last().map(Keyed::key).map(|last| (rows, last)))
    }

    /// Shows every row to `visit`.
    pub(super) async fn each_row<T: Keyed>(&mut self, mut visit: impl FnMut(T)) -> Result<()> {
        let mut after = T::FIRST();
        while let Some((rows, last)) = self.page_after::<T>(after).await? {
            let is_last = !is_full(&rows);
            after = last;
            rows.into_iter().for_each(&mut visit);
            if is_last {
                break;
            }
        }
        Ok(())
    }
}

/// Whether there may be rows after those of a page.
pub(super) fn is_full<T>(page: &[T]) -> bool {
    page.len() >= PAGE as usize
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn first_id() -> Key {
    Key::Id(String::new())
}

fn first_numbered() -> Key {
    Key::Numbered(String::new(), i64::MIN)
}

fn first_pair() -> Key {
    Key::Pair(String::new(), String::new())
}

macro_rules! by_id {
    ($($name:ty = $every:ident,)*) => {$(
        impl Keyed for $name {
            const EVERY: &'static str = $every;
            const FIRST: fn() -> Key = first_id;
            fn key(&self) -> Key {
                Key::Id(self.id.to_string())
            }
        }
    )*};
}

by_id! {
    Account = ACCOUNTS, Lot = LOTS, Hold = HOLDS, Budget = BUDGETS, Segment = SEGMENTS, Payment = TOP_UPS,
}

impl Keyed for Pin {
    const EVERY: &'static str = PINS;
    const FIRST: fn() -> Key = first_pair;
    fn key(&self) -> Key {
        Key::Pair(self.0.to_string(), self.1.to_string())
    }
}

impl Keyed for Claim {
    const EVERY: &'static str = CLAIMS;
    const FIRST: fn() -> Key = first_pair;
    fn key(&self) -> Key {
        Key::Pair(self.hold.to_string(), self.budget.to_string())
    }
}

impl Keyed for PeriodOf {
    const EVERY: &'static str = PERIODS;
    const FIRST: fn() -> Key = first_numbered;
    fn key(&self) -> Key {
        Key::Numbered(self.0.to_string(), self.1.start_at.as_micros())
    }
}

impl Keyed for Link {
    const EVERY: &'static str = LINKS;
    const FIRST: fn() -> Key = first_numbered;
    fn key(&self) -> Key {
        Key::Numbered(self.team.to_string(), number(self.through_seq))
    }
}

/// A charge with the API key that launched what was used.
pub(super) struct Used {
    pub(super) charge: Charge,
    pub(super) api_key: Option<ApiKeyId>,
}

impl Keyed for Used {
    const EVERY: &'static str = CHARGES;
    const FIRST: fn() -> Key = || Key::Interval(String::new(), i64::MIN, i64::MIN);
    fn key(&self) -> Key {
        let Charge { segment, k, revision, .. } = &self.charge;
        Key::Interval(segment.to_string(), number(*k), i64::from(*revision))
    }
}

/// An entry with its place in its transaction.
pub(super) struct Numbered {
    pub(super) entry: Entry,
    line: u64,
}

impl Keyed for Numbered {
    const EVERY: &'static str = ENTRIES;
    const FIRST: fn() -> Key = || Key::Line(String::new(), i64::MIN, String::new(), i64::MIN);
    fn key(&self) -> Key {
        let Entry { transaction, account_move, line } = &self.entry;
        let (account, id) = (line.account.to_string(), transaction.to_string());
        Key::Line(account, number(*account_move), id, number(self.line))
    }
}

/// A part of a lot that a line moved, with its place.
pub(super) struct Placed {
    pub(super) moved: Moved,
    account_move: u64,
    line: u64,
    place: u64,
}

impl Keyed for Placed {
    const EVERY: &'static str = LOT_MOVES;
    const FIRST: fn() -> Key = || Key::Place(String::new(), i64::MIN, String::new(), i64::MIN, i64::MIN);
    fn key(&self) -> Key {
        let (account, id) = (self.moved.account.to_string(), self.moved.transaction.to_string());
        Key::Place(account, number(self.account_move), id, number(self.line), number(self.place))
    }
}

impl Record for Used {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { charge: Charge::from_row(row)?, api_key: row.get("api_key")? })
    }
}

impl Record for Numbered {
    fn from_row(row: &Row) -> Result<Self> {
        let line = Line::from_row(row)?;
        let entry =
            Entry { transaction: row.get("transaction_id")?, account_move: row.get("account_move")?, line };
        Ok(Self { entry, line: row.get("line")? })
    }
}

impl Record for Placed {
    fn from_row(row: &Row) -> Result<Self> {
        let moved = Moved {
            part: Part { lot: row.get("lot")?, amount: row.get("amount")? },
            account: row.get("account")?,
            direction: row.get("direction")?,
            phase: row.get("phase")?,
            transaction: row.get("transaction_id")?,
            kind: row.get("kind")?,
            recorded_at: row.get("recorded_at")?,
        };
        let (account_move, line, place) = (row.get("account_move")?, row.get("line")?, row.get("place")?);
        Ok(Self { moved, account_move, line, place })
    }
}

impl Record for Payment {
    fn from_row(row: &Row) -> Result<Self> {
        let state: String = row.get("state")?;
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            amount: row.get("amount")?,
            refunded: row.get("refunded")?,
            // A payment that was refunded or is disputed was one.
            paid: matches!(state.as_str(), "succeeded" | "refunded" | "disputed"),
        })
    }
}
