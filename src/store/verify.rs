//! Reads the whole books in one snapshot, page by page, through the checks of `ledger::verify`.

use super::{
    error::Result,
    ledger::{Booked, gather},
    query::{Record, Row},
    tx::Read,
};
use crate::ledger::{
    account::Account,
    hold::Hold,
    interval::Segment,
    posting::{Line, Transaction},
    rating::Charge,
    verify::{Entry, Report, Verifier},
};

/// Rows that are read at once.
const PAGE: u32 = 2_000;

const EVERY_ACCOUNT: &str = "SELECT * FROM accounts WHERE id > $1 ORDER BY id LIMIT $2";

const EVERY_ENTRY: &str = "
    SELECT transaction_id, line, account, account_move, direction, phase, amount FROM entries
    WHERE (account, account_move, transaction_id, line) > ($1, $2, $3, $4)
    ORDER BY account, account_move, transaction_id, line LIMIT $5";

const EVERY_HOLD: &str = "SELECT * FROM holds WHERE id > $1 ORDER BY id LIMIT $2";

const EVERY_SEGMENT: &str = "SELECT * FROM segments WHERE id > $1 ORDER BY id LIMIT $2";

const EVERY_CHARGE: &str = "
    SELECT * FROM charges WHERE (segment, k, revision) > ($1, $2, $3) ORDER BY segment, k, revision LIMIT $4";

const EVERY_TRANSACTION: &str = "
    SELECT t.*, e.account, e.direction, e.phase, e.amount
    FROM (SELECT * FROM transactions WHERE id > $1 ORDER BY id LIMIT $2) t
    JOIN entries e ON e.transaction_id = t.id
    ORDER BY t.id, e.line";

const TRANSACTIONS_WITHOUT_ENTRIES: &str = "
    SELECT t.* FROM transactions t
    WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE e.transaction_id = t.id) ORDER BY t.id";

impl Read {
    /// Checks everything that must be true of the books, as they stand at the moment of this reading.
    pub async fn ledger_verify(&mut self) -> Result<Report> {
        let mut verifier = Verifier::new();
        self.read_by_id(EVERY_ACCOUNT, |row: &Account| row.id.to_string(), |row| verifier.account(row))
            .await?;
        self.read_entries(&mut verifier).await?;
        self.read_by_id(EVERY_HOLD, |row: &Hold| row.id.to_string(), |row| verifier.hold(&row)).await?;
        self.read_by_id(EVERY_SEGMENT, |row: &Segment| row.id.to_string(), |row| verifier.segment(row))
            .await?;
        self.read_charges(&mut verifier).await?;
        self.read_transactions(&mut verifier).await?;
        Ok(verifier.finish())
    }

    /// Shows every row of a table with an id to `visit`.
    async fn read_by_id<T: Record + Send>(
        &mut self,
        sql: &'static str,
        id: fn(&T) -> String,
        mut visit: impl FnMut(T),
    ) -> Result<()> {
        let mut after = String::new();
        loop {
            let page: Vec<T> = self.query(sql).bind(after.as_str()).bind(PAGE).all().await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = id(last);
            page.into_iter().for_each(&mut visit);
        }
    }

    async fn read_entries(&mut self, verifier: &mut Verifier) -> Result<()> {
        let mut after = (String::new(), 0, String::new(), 0);
        loop {
            let page = self.query(EVERY_ENTRY).bind(after.0).bind(after.1).bind(after.2).bind(after.3);
            let page: Vec<Numbered> = page.bind(PAGE).all().await?;
            let Some(Numbered { entry, line }) = page.last() else { return Ok(()) };
            let account = entry.line.account.to_string();
            after = (account, entry.account_move, entry.transaction.to_string(), *line);
            page.iter().for_each(|numbered| verifier.entry(&numbered.entry));
        }
    }

    async fn read_charges(&mut self, verifier: &mut Verifier) -> Result<()> {
        let mut after = (String::new(), 0, 0);
        loop {
            let page = self.query(EVERY_CHARGE).bind(after.0).bind(after.1).bind(after.2);
            let page: Vec<Charge> = page.bind(PAGE).all().await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = (last.segment.to_string(), last.k, last.revision);
            page.iter().for_each(|charge| verifier.charge(charge));
        }
    }

    async fn read_transactions(&mut self, verifier: &mut Verifier) -> Result<()> {
        let mut after = String::new();
        loop {
            let page = self.query(EVERY_TRANSACTION).bind(after.as_str()).bind(PAGE);
            let page = gather(page.all::<Booked>().await?);
            let Some(last) = page.last() else { break };
            after = last.header.id.to_string();
            page.iter().for_each(|transaction| verifier.transaction(transaction));
        }
        let bare = self.query(TRANSACTIONS_WITHOUT_ENTRIES).all::<Bare>().await?;
        bare.iter().for_each(|Bare(transaction)| verifier.transaction(transaction));
        Ok(())
    }
}

/// An entry with its place in its transaction.
struct Numbered {
    entry: Entry,
    line: u64,
}

/// A transaction without any line, which there should never be.
struct Bare(Transaction);

impl Record for Numbered {
    fn from_row(row: &Row) -> Result<Self> {
        let line = Line::from_row(row)?;
        let entry =
            Entry { transaction: row.get("transaction_id")?, account_move: row.get("account_move")?, line };
        Ok(Self { entry, line: row.get("line")? })
    }
}

impl Record for Bare {
    fn from_row(row: &Row) -> Result<Self> {
        let header = Record::from_row(row)?;
        Ok(Self(Transaction { header, kind: row.get("kind")?, lines: Vec::new() }))
    }
}
