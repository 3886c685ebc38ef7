//! The books in the database: accounts, and the one door through which postings reach them.
//!
//! No lock in memory and no single writer is relied upon: each balance is moved by an UPDATE that refuses to
//! cross the floor, and the table's own CHECK stands behind it. Accounts are touched in ascending order, so
//! that two postings never wait for each other in a circle.

use super::{
    convert::Blank,
    error::{Error, Result},
    query::{Record, Row},
    tx::{Conn, Tx},
};
use crate::{
    ids::{AccountId, MemberId, TeamId, TransactionId},
    ledger::{
        account::{Account, AccountKind, Balance, Movement},
        posting::{Header, IdemKey, Line, Posting, Transaction},
    },
    money::Credits,
};

const ACCOUNT_INSERT: &str = "
    INSERT INTO accounts (id, team, member, kind, floor, created_at,
                          debits_posted, credits_posted, debits_pending, credits_pending, moves)
    VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, 0, 0)";

const ACCOUNT_FETCH: &str = "SELECT * FROM accounts WHERE team = $1 AND member = $2 AND kind = $3";

const ACCOUNT_FETCH_BY_ID: &str = "SELECT * FROM accounts WHERE id = $1";

const ACCOUNTS_OF_TEAM: &str = "SELECT * FROM accounts WHERE team = $1 ORDER BY member, kind";

const ACCOUNT_MOVE: &str = "
    UPDATE accounts
    SET debits_posted = debits_posted + $3, credits_posted = credits_posted + $4,
        debits_pending = debits_pending + $5, credits_pending = credits_pending + $6, moves = moves + 1
    WHERE id = $1 AND team = $2
      AND debits_pending + $5 >= 0 AND credits_pending + $6 >= 0
      AND (floor IS NULL OR credits_posted + $4 - debits_posted - $3 - debits_pending - $5 >= floor)
    RETURNING moves";

const ACCOUNT_MOVE_BACK: &str = "
    UPDATE accounts
    SET debits_posted = debits_posted - $2, credits_posted = credits_posted - $3,
        debits_pending = debits_pending - $4, credits_pending = credits_pending - $5, moves = moves - 1
    WHERE id = $1";

const TRANSACTION_INSERT: &str = "
    INSERT INTO transactions (id, team, kind, occurred_at, recorded_at, actor, reason, member, instance,
                              reverses, idem_key)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (idem_key) DO NOTHING";

const TRANSACTION_BY_KEY: &str = "SELECT id FROM transactions WHERE idem_key = $1";

const ENTRY_INSERT: &str = "
    INSERT INTO entries (transaction_id, line, account, account_move, direction, phase, amount)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

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

/// What became of a posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a refused posting moved nothing"]
pub enum Outcome {
    /// It is in the books.
    Applied,
    /// The same fact was recorded before; nothing was written.
    AlreadyApplied,
    /// This account would fall below its floor, or lacks the held money; nothing was written.
    Refused(AccountId),
}

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

    /// Writes `posting` under `header`, once for its key, unless an account may not go so low.
    ///
    /// Whatever the outcome, the transaction stays usable, and unless it is [`Outcome::Applied`] it is as it
    /// was: a refused extension can go together with the capture that came before it. Several postings in one
    /// transaction may meet another writer in a circle; the database then breaks one of them with
    /// [`Error::Retry`].
    ///
    /// # Errors
    /// [`Error::Missing`] when an account does not exist in the team of `header`.
    pub async fn posting_apply(&mut self, header: &Header, posting: &Posting) -> Result<Outcome> {
        let movements = posting.movements().map_err(|error| Error::Encode(error.into()))?;
        let mut moved: Vec<(AccountId, Movement, u64)> = Vec::with_capacity(movements.len());
        for (account, movement) in movements {
            match self.account_move(header.team, account, &movement).await? {
                Some(number) => moved.push((account, movement, number)),
                None => {
                    self.accounts_move_back(&moved).await?;
                    return self.refusal(header, account).await;
                }
            }
        }
        if !self.transaction_insert(header, posting).await? {
            self.accounts_move_back(&moved).await?;
            return Ok(Outcome::AlreadyApplied);
        }
        for (place, line) in posting.lines().iter().enumerate() {
            let number = moved.iter().find(|(account, ..)| *account == line.account).map(|(.., n)| *n);
            let entry = self.query(ENTRY_INSERT).bind(header.id).bind(place).bind(line.account).bind(number);
            entry.bind(line.direction).bind(line.phase).bind(line.amount).execute().await?;
        }
        Ok(Outcome::Applied)
    }

    /// Moves the counters of one account; the number of the move, or `None` when the floor is in the way.
    async fn account_move(&mut self, team: TeamId, account: AccountId, by: &Movement) -> Result<Option<u64>> {
        let update = self.query(ACCOUNT_MOVE).bind(account).bind(team);
        let update = update.bind(by.debits_posted).bind(by.credits_posted);
        let number = update.bind(by.debits_pending).bind(by.credits_pending).optional::<(u64,)>().await?;
        Ok(number.map(|(number,)| number))
    }

    /// Undoes [`Tx::account_move`] in the same transaction, where nobody else could see or move the accounts
    /// since.
    async fn accounts_move_back(&mut self, moved: &[(AccountId, Movement, u64)]) -> Result<()> {
        for (account, by, _) in moved {
            let update = self.query(ACCOUNT_MOVE_BACK).bind(*account);
            let update = update.bind(by.debits_posted).bind(by.credits_posted);
            update.bind(by.debits_pending).bind(by.credits_pending).execute().await?;
        }
        Ok(())
    }

    /// Why `account` was not moved. A fact that is recorded already is no refusal, though its money is spent
    /// by now.
    async fn refusal(&mut self, header: &Header, account: AccountId) -> Result<Outcome> {
        if self.transaction_by_key(&header.idem_key).await?.is_some() {
            return Ok(Outcome::AlreadyApplied);
        }
        match self.query(ACCOUNT_FETCH_BY_ID).bind(account).optional::<Account>().await? {
            Some(found) if found.team == header.team => Ok(Outcome::Refused(account)),
            _ => Err(Error::Missing),
        }
    }

    async fn transaction_insert(&mut self, header: &Header, posting: &Posting) -> Result<bool> {
        let insert = self.query(TRANSACTION_INSERT).bind(header.id).bind(header.team).bind(posting.kind());
        let insert = insert.bind(header.occurred_at).bind(header.recorded_at);
        let insert = insert.bind(header.actor.as_str()).bind(header.reason.as_str());
        let insert = insert.bind(Blank(header.member)).bind(Blank(header.instance)).bind(header.reverses);
        Ok(insert.bind(header.idem_key.as_str()).execute().await? == 1)
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
pub(super) struct Booked(Transaction);

/// Puts consecutive lines of one transaction together.
pub(super) fn gather(lines: Vec<Booked>) -> Vec<Transaction> {
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
