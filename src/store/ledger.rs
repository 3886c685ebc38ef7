//! The books in the database: accounts and transactions, to be opened and read. What moves money goes through the
//! journal.

use super::{
    convert::Blank,
    error::{Error, Result},
    query::{Record, Row},
    tx::{Conn, Tx},
};
use crate::{
    ids::{MemberId, TeamId, TransactionId},
    ledger::{
        account::{Account, AccountKind, Balance},
        posting::{Header, IdemKey, Line, Transaction},
    },
    money::Credits,
};

const ACCOUNT_INSERT: &str = "
    INSERT INTO accounts (id, team, member, kind, floor, created_at,
                          debits_posted, credits_posted, debits_pending, credits_pending, moves)
    VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, 0, 0)";

const ACCOUNT_FETCH: &str = "SELECT * FROM accounts WHERE team = $1 AND member = $2 AND kind = $3";

const ACCOUNTS_OF_TEAM: &str = "SELECT * FROM accounts WHERE team = $1 ORDER BY member, kind";

const TRANSACTION_BY_KEY: &str = "SELECT id FROM transactions WHERE idem_key = $1";

const TRANSACTION_FETCH: &str = "
    SELECT t.*, e.account, e.direction, e.phase, e.amount
    FROM transactions t JOIN entries e ON e.transaction_id = t.id
    WHERE t.id = $1 ORDER BY e.line";

const TRANSACTIONS_OF_TEAM: &str = "
    SELECT t.*, e.account, e.direction, e.phase, e.amount
    FROM (SELECT * FROM transactions WHERE team = $1 AND id < $2 ORDER BY id DESC LIMIT $3) t
    JOIN entries e ON e.transaction_id = t.id
    ORDER BY t.id DESC, e.line";

const TRANSACTIONS_OF_MEMBER: &str = "
    SELECT t.*, e.account, e.direction, e.phase, e.amount
    FROM (SELECT * FROM transactions
          WHERE member = $1 AND member <> '' AND id < $2 ORDER BY id DESC LIMIT $3) t
    JOIN entries e ON e.transaction_id = t.id
    ORDER BY t.id DESC, e.line";

/// Sorts after every transaction id.
const AFTER_ALL: &str = "txo";

impl Tx {
    /// Opens an account.
    ///
    /// # Errors
    /// [`Error::Unique`] when the team or member has one of this kind.
    pub async fn account_insert(&mut self, account: &Account) -> Result<()> {
        let insert = self.query(ACCOUNT_INSERT);
        let insert =
            insert.bind(account.id).bind(account.team).bind(Blank(account.member)).bind(account.kind);
        insert.bind(account.floor).bind(account.created_at).execute().await.map(drop)
    }
}

impl Conn {
    /// The account of `kind` of a member, or with no member of the team itself.
    pub async fn account_fetch(
        &mut self,
        team: TeamId,
        member: Option<MemberId>,
        kind: AccountKind,
    ) -> Result<Option<Account>> {
        self.query(ACCOUNT_FETCH).bind(team).bind(Blank(member)).bind(kind).optional().await
    }

    /// The team's own account of `kind`.
    ///
    /// # Errors
    /// [`Error::Missing`] when it was never opened.
    pub async fn account_of_team(&mut self, team: TeamId, kind: AccountKind) -> Result<Account> {
        self.account_fetch(team, None, kind).await?.ok_or(Error::Missing)
    }

    /// The wallet of a member.
    ///
    /// # Errors
    /// [`Error::Missing`] when it was never opened, or the member is of another team.
    pub async fn account_of_member(&mut self, team: TeamId, member: MemberId) -> Result<Account> {
        self.account_fetch(team, Some(member), AccountKind::Wallet).await?.ok_or(Error::Missing)
    }

    /// All accounts of the team, its own first.
    pub async fn accounts_of_team(&mut self, team: TeamId) -> Result<Vec<Account>> {
        self.query(ACCOUNTS_OF_TEAM).bind(team).all().await
    }

    /// The transaction that recorded the fact behind `key`.
    pub async fn transaction_by_key(&mut self, key: &IdemKey) -> Result<Option<TransactionId>> {
        let found = self.query(TRANSACTION_BY_KEY).bind(key.as_str()).optional::<(TransactionId,)>().await?;
        Ok(found.map(|(id,)| id))
    }

    /// A transaction with its lines.
    pub async fn transaction_fetch(&mut self, id: TransactionId) -> Result<Option<Transaction>> {
        let lines = self.query(TRANSACTION_FETCH).bind(id).all::<Booked>().await?;
        Ok(gather(lines).pop())
    }

    /// At most `limit` transactions of the team before `before`, the newest first.
    pub async fn transactions_page(
        &mut self,
        team: TeamId,
        before: Option<TransactionId>,
        limit: u32,
    ) -> Result<Vec<Transaction>> {
        let page = self.query(TRANSACTIONS_OF_TEAM).bind(team).bind(before_text(before)).bind(limit);
        Ok(gather(page.all().await?))
    }

    /// At most `limit` transactions that concern the member before `before`, the newest first.
    pub async fn transactions_page_of_member(
        &mut self,
        member: MemberId,
        before: Option<TransactionId>,
        limit: u32,
    ) -> Result<Vec<Transaction>> {
        let page = self.query(TRANSACTIONS_OF_MEMBER).bind(member).bind(before_text(before)).bind(limit);
        Ok(gather(page.all().await?))
    }
}

fn before_text(before: Option<TransactionId>) -> String {
    before.map_or_else(|| AFTER_ALL.to_owned(), |id| id.to_string())
}

/// One line of a transaction together with the transaction.
struct Booked(Transaction);

/// Puts consecutive lines of one transaction together.
fn gather(lines: Vec<Booked>) -> Vec<Transaction> {
    let mut transactions: Vec<Transaction> = Vec::new();
    for Booked(next) in lines {
        match transactions.last_mut() {
            Some(last) if last.header.id == next.header.id => last.lines.extend(next.lines),
            _ => transactions.push(next),
        }
    }
    transactions
}

impl Record for Account {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            member: row.get::<Blank<MemberId>>("member")?.0,
            kind: row.get("kind")?,
            balance: Balance {
                debits_posted: row.get("debits_posted")?,
                credits_posted: row.get("credits_posted")?,
                debits_pending: row.get("debits_pending")?,
                credits_pending: row.get("credits_pending")?,
            },
            moves: row.get("moves")?,
            floor: row.get::<Option<Credits>>("floor")?,
            created_at: row.get("created_at")?,
        })
    }
}

impl Record for Line {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            account: row.get("account")?,
            direction: row.get("direction")?,
            phase: row.get("phase")?,
            amount: row.get("amount")?,
        })
    }
}

impl Record for Header {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            occurred_at: row.get("occurred_at")?,
            recorded_at: row.get("recorded_at")?,
            actor: row.get("actor")?,
            reason: row.get("reason")?,
            member: row.get::<Blank<MemberId>>("member")?.0,
            instance: row.get::<Blank<_>>("instance")?.0,
            reverses: row.get("reverses")?,
            idem_key: IdemKey::from_row(row.get("idem_key")?),
        })
    }
}

impl Record for Booked {
    fn from_row(row: &Row) -> Result<Self> {
        let (header, line) = (Header::from_row(row)?, Line::from_row(row)?);
        Ok(Self(Transaction { header, kind: row.get("kind")?, lines: vec![line] }))
    }
}
