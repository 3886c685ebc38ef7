//! Statements and credit notes in the database, and what they are drawn up from.
//!
//! The sums are made where the rows are: a month may have millions. A window (`ledger::statement`) is bound as five
//! numbers, always in this order: its first number in the books, its last, its end, and end and last number of the
//! statement before.

use super::{
    convert::Blank,
    error::Result,
    query::{Query, Record, Row, record},
    tx::{Conn, Tx},
};
use crate::{
    ids::{CreditNoteId, InstanceId, MemberId, SegmentId, StatementId, TeamId, TransactionId},
    ledger::{
        posting::TransactionKind,
        rating::Charge,
        statement::{Count, Line, NoteLine, Used, Window},
    },
    model::price::Sku,
    money::Credits,
    store::Json,
    time::{HOUR, Span, Timestamp},
};

const STATEMENT_INSERT: &str = "
    INSERT INTO statements (id, team, month, number, start_at, end_at, through_seq, opening, closing, document, digest,
                            issued_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

const STATEMENT_LAST: &str = "SELECT * FROM statements WHERE team = $1 ORDER BY number DESC LIMIT 1";

const STATEMENT_OF_MONTH: &str = "SELECT * FROM statements WHERE team = $1 AND month = $2";

const STATEMENT_BEFORE: &str = "SELECT * FROM statements WHERE team = $1 AND number = $2 - 1";

const STATEMENTS_BETWEEN: &str = "
    SELECT * FROM statements WHERE team = $1 AND month >= $2 AND month <= $3 ORDER BY month DESC";

const BOOKED: &str = "SELECT booked FROM teams WHERE id = $1";

const MOVED: &str = "
    WITH nets AS (
        SELECT t.kind AS kind, CASE WHEN t.occurred_at < $7 THEN 1 ELSE 0 END AS late,
               SUM(CASE WHEN a.kind = 'receivable' THEN 0 WHEN e.direction = 'credit' THEN e.amount
                        ELSE -e.amount END) AS net,
               SUM(CASE WHEN a.kind <> 'receivable' THEN 0 WHEN e.direction = 'debit' THEN e.amount
                        ELSE -e.amount END) AS owed
        FROM transactions t
        JOIN entries e ON e.transaction_id = t.id AND e.phase = 'posted'
        JOIN accounts a ON a.id = e.account AND a.kind IN ('team_pool', 'wallet', 'receivable')
        WHERE t.team = $1 AND t.seq >= $2 AND t.seq <= $3 AND t.occurred_at < $4
          AND (t.occurred_at >= $5 OR t.seq > $6)
        GROUP BY t.id, t.kind, t.occurred_at)
    SELECT kind, CAST(late AS BIGINT) AS late, COUNT(*) AS transactions,
           CAST(SUM(CASE WHEN net > 0 THEN net ELSE 0 END) AS BIGINT) AS incoming,
           CAST(SUM(CASE WHEN net < 0 THEN -net ELSE 0 END) AS BIGINT) AS outgoing,
           CAST(SUM(owed) AS BIGINT) AS owed
    FROM nets GROUP BY kind, late ORDER BY late, kind";

const COUNTED: &str = "
    SELECT CAST(COALESCE(SUM(CASE WHEN t.occurred_at < $4 AND (t.occurred_at >= $5 OR t.seq > $6)
                                  THEN 1 ELSE 0 END), 0) AS BIGINT) AS transactions,
           CAST(MIN(CASE WHEN t.occurred_at >= $4 THEN t.seq END) AS BIGINT) AS beyond_seq
    FROM transactions t WHERE t.team = $1 AND t.seq >= $2 AND t.seq <= $3";

const USED: &str = "
    SELECT c.member, m.account, c.kind, s.sku, c.component_digest, COUNT(*) AS charges,
           CAST(SUM(c.amount) AS BIGINT) AS amount,
           CAST(SUM(CASE WHEN c.amount < 0 THEN -c.uncovered ELSE c.uncovered END) AS BIGINT) AS uncovered
    FROM charges c
    JOIN transactions t ON t.id = c.transaction_id
    JOIN segments s ON s.id = c.segment JOIN members m ON m.id = c.member
    WHERE c.team = $1 AND t.seq >= $2 AND t.seq <= $3 AND t.occurred_at < $4
      AND (t.occurred_at >= $5 OR t.seq > $6) AND c.from_at >= $7 AND c.from_at < $4 AND ($8 = '' OR c.member = $8)
    GROUP BY c.member, m.account, c.kind, s.sku, c.component_digest
    UNION ALL
    SELECT c.member, m.account, c.kind, s.sku, c.component_digest, COUNT(*), CAST(SUM(c.amount) AS BIGINT),
           CAST(SUM(CASE WHEN c.amount < 0 THEN -c.uncovered ELSE c.uncovered END) AS BIGINT)
    FROM charges c
    JOIN transactions t ON t.id = c.transaction_id
    JOIN segments s ON s.id = c.segment JOIN members m ON m.id = c.member
    WHERE c.team = $1 AND t.seq >= $2 AND t.seq <= $3 AND t.occurred_at < $4
      AND (t.occurred_at >= $5 OR t.seq > $6)
      AND c.from_at < $7 AND (c.revision > 0 OR c.created_at - c.from_at >= 3600000000)
      AND ($8 = '' OR c.member = $8)
    GROUP BY c.member, m.account, c.kind, s.sku, c.component_digest";

const PARKED: &str = "
    SELECT COUNT(*) FROM charges c
    WHERE c.parked AND c.team = $1 AND c.from_at < $2
      AND NOT EXISTS (SELECT 1 FROM charges later
                      WHERE later.segment = c.segment AND later.k = c.k AND later.revision > c.revision)";

const UNBILLED: &str = "
    SELECT COUNT(*) FROM segments
    WHERE NOT settled AND team = $1 AND start_at < $2 AND billed_until < $2
      AND COALESCE(end_at, proof_at) > billed_until";

const MOVES_PAGE: &str = "
    SELECT t.id, t.seq, t.kind, t.occurred_at, t.recorded_at, t.actor, t.reason, t.member, t.instance,
           CAST(COALESCE(SUM(CASE WHEN a.kind = 'receivable' THEN 0 WHEN e.direction = 'credit' THEN e.amount
                                  ELSE -e.amount END), 0) AS BIGINT) AS net,
           CAST(COALESCE(SUM(CASE WHEN a.kind <> 'receivable' THEN 0 WHEN e.direction = 'debit' THEN e.amount
                                  ELSE -e.amount END), 0) AS BIGINT) AS owed
    FROM transactions t
    LEFT JOIN (entries e JOIN accounts a ON a.id = e.account AND a.kind IN ('team_pool', 'wallet', 'receivable'))
           ON e.transaction_id = t.id AND e.phase = 'posted'
    WHERE t.team = $1 AND t.seq >= $2 AND t.seq <= $3 AND t.occurred_at < $4
      AND (t.occurred_at >= $5 OR t.seq > $6)
    GROUP BY t.id, t.seq, t.kind, t.occurred_at, t.recorded_at, t.actor, t.reason, t.member, t.instance
    ORDER BY t.seq LIMIT $7";

const CHARGES_PAGE_LATE: &str = "
    SELECT c.*, t.seq, m.account, s.sku FROM charges c
    JOIN transactions t ON t.id = c.transaction_id
    JOIN segments s ON s.id = c.segment JOIN members m ON m.id = c.member
    WHERE c.team = $1 AND t.seq >= $2 AND t.seq <= $3 AND t.occurred_at < $4
      AND (t.occurred_at >= $5 OR t.seq > $6)
      AND c.from_at < $7 AND (c.revision > 0 OR c.created_at - c.from_at >= 3600000000)
      AND ($8 = '' OR c.member = $8) AND (c.from_at, c.segment, c.k, c.revision) > ($9, $10, $11, $12)
    ORDER BY c.from_at, c.segment, c.k, c.revision LIMIT $13";

const CHARGES_PAGE: &str = "
    SELECT c.*, t.seq, m.account, s.sku FROM charges c
    JOIN transactions t ON t.id = c.transaction_id
    JOIN segments s ON s.id = c.segment JOIN members m ON m.id = c.member
    WHERE c.team = $1 AND t.seq >= $2 AND t.seq <= $3 AND t.occurred_at < $4
      AND (t.occurred_at >= $5 OR t.seq > $6)
      AND c.from_at >= $7 AND c.from_at < $4
      AND ($8 = '' OR c.member = $8) AND (c.from_at, c.segment, c.k, c.revision) > ($9, $10, $11, $12)
    ORDER BY c.from_at, c.segment, c.k, c.revision LIMIT $13";

const NOTE_INSERT: &str = "
    INSERT INTO credit_notes (id, team, number, statement, transaction_id, amount, reason, issued_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const NOTE_LAST: &str = "
    SELECT CAST(COALESCE(MAX(number), 0) AS BIGINT) FROM credit_notes WHERE team = $1";

const NOTES_DUE: &str = "
    SELECT s.id AS statement, s.month, t.id AS transaction_id, t.seq, t.reason,
           CAST(SUM(c.amount) AS BIGINT) AS amount, MAX(c.reason) AS because
    FROM charges c
    JOIN statements s ON s.team = c.team AND c.from_at >= s.start_at AND c.from_at < s.end_at
    JOIN transactions t ON t.id = c.transaction_id
    WHERE c.team = $1 AND (c.revision > 0 OR c.created_at - c.from_at >= 3600000000) AND t.seq <= $2
      AND NOT (t.occurred_at < s.end_at AND t.seq <= s.through_seq)
      AND NOT EXISTS (SELECT 1 FROM credit_notes n WHERE n.statement = s.id AND n.transaction_id = t.id)
    GROUP BY s.id, s.month, t.id, t.seq, t.reason
    ORDER BY t.seq, s.month";

const NOTES_OF_WINDOW: &str = "
    SELECT n.number, s.month, n.transaction_id, n.amount, n.reason
    FROM credit_notes n
    JOIN statements s ON s.id = n.statement JOIN transactions t ON t.id = n.transaction_id
    WHERE n.team = $1 AND t.seq >= $2 AND t.seq <= $3 AND t.occurred_at < $4
      AND (t.occurred_at >= $5 OR t.seq > $6)
    ORDER BY n.number";

const NOTES_PAGE: &str = "
    SELECT n.*, s.month, s.start_at, s.end_at, t.member FROM credit_notes n
    JOIN statements s ON s.id = n.statement JOIN transactions t ON t.id = n.transaction_id
    WHERE n.team = $1 AND n.number < $2 AND ($3 = '' OR t.member = $3)
    ORDER BY n.number DESC LIMIT $4";

const NOTE_CHARGES: &str = "
    SELECT c.segment, c.resource, c.member, MIN(c.k) AS first_k, MAX(c.k) AS last_k, COUNT(*) AS charges,
           MIN(c.from_at) AS from_at, MAX(c.to_at) AS to_at, CAST(SUM(c.amount) AS BIGINT) AS amount
    FROM charges c
    WHERE c.team = $1 AND c.from_at >= $2 AND c.from_at < $3
      AND (c.revision > 0 OR c.created_at - c.from_at >= 3600000000) AND c.transaction_id = $4
    GROUP BY c.segment, c.resource, c.member ORDER BY 7, c.segment";

record! {
    /// A closed statement.
    pub struct StatementRow {
        /// Its id.
        pub id: StatementId,
        /// The team.
        pub team: TeamId,
        /// The month, such as `2026-11`.
        pub month: String,
        /// Its place among the team's statements, from 1.
        pub number: u64,
        /// When the month begins.
        pub start_at: Timestamp,
        /// When it ends.
        pub end_at: Timestamp,
        /// The last number in the books that it covers.
        pub through_seq: u64,
        /// What there was when it begins.
        pub opening: Credits,
        /// What there is when it ends.
        pub closing: Credits,
        /// All of it as canonical JSON.
        pub document: String,
        /// Digest of the document.
        pub digest: String,
        /// When it was closed.
        pub issued_at: Timestamp,
    }
}

record! {
    /// A difference to a closed month that has no credit note yet.
    pub struct NoteDue {
        /// The statement of the month.
        pub statement: StatementId,
        /// The month.
        pub month: String,
        /// The transaction that moved the difference.
        pub transaction_id: TransactionId,
        /// Its number in the books.
        pub seq: u64,
        /// Why, in its own words; may be empty.
        pub reason: String,
        /// The difference.
        pub amount: Credits,
        /// Why, in the words of its charges; may be empty.
        pub because: String,
    }
}

/// A credit note.
#[derive(Debug, Clone, PartialEq)]
pub struct NoteRow {
    /// Its id.
    pub id: CreditNoteId,
    /// The team.
    pub team: TeamId,
    /// Its place among the team's credit notes, from 1.
    pub number: u64,
    /// The statement that it corrects.
    pub statement: StatementId,
    /// The transaction behind it.
    pub transaction: TransactionId,
    /// What it adds; negative where it gives back.
    pub amount: Credits,
    /// Why.
    pub reason: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The month of the statement, when it begins and when it ends.
    pub month: (String, Timestamp, Timestamp),
    /// The member that the transaction concerns.
    pub member: Option<MemberId>,
}

record! {
    /// The charges of one segment that a credit note is about.
    pub struct NoteCharges {
        /// The segment.
        pub segment: SegmentId,
        /// What was used.
        pub resource: String,
        /// Who used it.
        pub member: MemberId,
        /// The first interval.
        pub first_k: u64,
        /// The last interval.
        pub last_k: u64,
        /// How many charges.
        pub charges: u64,
        /// When the first interval begins.
        pub from_at: Timestamp,
        /// When the last one ends.
        pub to_at: Timestamp,
        /// What they sum to.
        pub amount: Credits,
    }
}

/// A transaction as a statement counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveRow {
    /// The transaction.
    pub id: TransactionId,
    /// Its number in the books.
    pub seq: u64,
    /// What it records.
    pub kind: TransactionKind,
    /// When that happened.
    pub occurred_at: Timestamp,
    /// When it was written.
    pub recorded_at: Timestamp,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The member it concerns.
    pub member: Option<MemberId>,
    /// The instance it concerns.
    pub instance: Option<InstanceId>,
    /// What it moved into the pool and the wallets together.
    pub net: Credits,
    /// What it added to what is owed.
    pub owed: Credits,
}

/// A charge with what a statement shows beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeLine {
    /// The charge.
    pub charge: Charge,
    /// The number of its transaction.
    pub seq: u64,
    /// The account name of who used it.
    pub account: String,
    /// What was rented.
    pub sku: Sku,
}

/// What stands in the way of closing a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blockers {
    /// Charges of it that are provisional.
    pub parked: u64,
    /// Segments that were seen to run in it and are not charged for that yet.
    pub unbilled: u64,
}

/// Binds the window's five numbers.
pub(super) fn windowed<'c>(query: Query<'c>, window: &Window) -> Query<'c> {
    let query = query.bind(window.first_seq).bind(window.upto.through_seq).bind(window.upto.end_at);
    query.bind(window.after.end_at).bind(window.after.through_seq)
}

/// Before this, a charge in a window is found as a late one. An hour earlier than the window itself: charges that are
/// written within an hour are not kept as late, and may lie before it where a team has moved to another time zone.
fn late_before(start_at: Timestamp) -> Timestamp {
    start_at - Span::from_micros(HOUR)
}

impl Conn {
    /// The team's last closed statement.
    pub async fn statement_last(&mut self, team: TeamId) -> Result<Option<StatementRow>> {
        self.query(STATEMENT_LAST).bind(team).optional().await
    }

    /// The closed statement of a month.
    pub async fn statement_of_month(&mut self, team: TeamId, month: &str) -> Result<Option<StatementRow>> {
        self.query(STATEMENT_OF_MONTH).bind(team).bind(month).optional().await
    }

    /// The closed statement before the one with this number.
    pub async fn statement_before(&mut self, team: TeamId, number: u64) -> Result<Option<StatementRow>> {
        self.query(STATEMENT_BEFORE).bind(team).bind(number).optional().await
    }

    /// The closed statements of the months from `first` to `last`, the latest first.
    pub async fn statements_between(
        &mut self,
        team: TeamId,
        first: &str,
        last: &str,
    ) -> Result<Vec<StatementRow>> {
        self.query(STATEMENTS_BETWEEN).bind(team).bind(first).bind(last).all().await
    }

    /// The number of the last transaction in the team's books.
    pub async fn team_booked(&mut self, team: TeamId) -> Result<u64> {
        let (booked,) = self.query(BOOKED).bind(team).one::<(u64,)>().await?;
        Ok(booked)
    }

    /// What the transactions in a window moved, by kind; those before `start_at` are late.
    pub async fn window_moved(
        &mut self,
        team: TeamId,
        window: &Window,
        start_at: Timestamp,
    ) -> Result<Vec<Line>> {
        windowed(self.query(MOVED).bind(team), window).bind(start_at).all().await
    }

    /// How many transactions a window has, and where the next one begins.
    pub async fn window_counted(&mut self, team: TeamId, window: &Window) -> Result<Count> {
        windowed(self.query(COUNTED).bind(team), window).one().await
    }

    /// The charges on the transactions in a window, of everybody or of one member, summed.
    pub async fn window_used(
        &mut self,
        team: TeamId,
        window: &Window,
        start_at: Timestamp,
        member: Option<MemberId>,
    ) -> Result<Vec<Used>> {
        let used = windowed(self.query(USED).bind(team), window).bind(late_before(start_at));
        used.bind(Blank(member)).all().await
    }

    /// The credit notes on the transactions in a window.
    pub async fn window_notes(&mut self, team: TeamId, window: &Window) -> Result<Vec<NoteLine>> {
        windowed(self.query(NOTES_OF_WINDOW).bind(team), window).all().await
    }

    /// What stands in the way of closing what ends at `end_at`.
    pub async fn window_blockers(&mut self, team: TeamId, end_at: Timestamp) -> Result<Blockers> {
        let (parked,) = self.query(PARKED).bind(team).bind(end_at).one::<(u64,)>().await?;
        let (unbilled,) = self.query(UNBILLED).bind(team).bind(end_at).one::<(u64,)>().await?;
        Ok(Blockers { parked, unbilled })
    }

    /// At most `limit` transactions in a window, in order.
    pub async fn window_moves_page(
        &mut self,
        team: TeamId,
        window: &Window,
        limit: u32,
    ) -> Result<Vec<MoveRow>> {
        windowed(self.query(MOVES_PAGE).bind(team), window).bind(limit).all().await
    }

    /// At most `limit` charges on the transactions in a window after `after`, the oldest first.
    pub async fn window_charges_page(
        &mut self,
        team: TeamId,
        window: &Window,
        start_at: Timestamp,
        member: Option<MemberId>,
        after: Option<&Charge>,
        limit: u32,
    ) -> Result<Vec<ChargeLine>> {
        let bound = late_before(start_at);
        if after.is_none_or(|charge| charge.from_at < bound) {
            let late = self.query(CHARGES_PAGE_LATE).bind(team);
            let late = windowed(late, window).bind(bound).bind(Blank(member));
            let late = charges_after(late, after).bind(limit).all::<ChargeLine>().await?;
            if !late.is_empty() {
                return Ok(late);
            }
        }
        let page = windowed(self.query(CHARGES_PAGE).bind(team), window).bind(bound).bind(Blank(member));
        charges_after(page, after).bind(limit).all().await
    }

    /// Differences to closed months, moved by transactions up to `through_seq`, that have no credit note yet.
    pub async fn notes_due(&mut self, team: TeamId, through_seq: u64) -> Result<Vec<NoteDue>> {
        self.query(NOTES_DUE).bind(team).bind(through_seq).all().await
    }

    /// The number of the team's last credit note; 0 before the first.
    pub async fn note_last(&mut self, team: TeamId) -> Result<u64> {
        let (last,) = self.query(NOTE_LAST).bind(team).one::<(u64,)>().await?;
        Ok(last)
    }

    /// At most `limit` credit notes with numbers below `before`, of everybody or of one member, the latest first.
    pub async fn notes_page(
        &mut self,
        team: TeamId,
        member: Option<MemberId>,
        before: u64,
        limit: u32,
    ) -> Result<Vec<NoteRow>> {
        self.query(NOTES_PAGE).bind(team).bind(before).bind(Blank(member)).bind(limit).all().await
    }

    /// The charges that a credit note is about, by segment.
    pub async fn note_charges(&mut self, note: &NoteRow) -> Result<Vec<NoteCharges>> {
        let (_, start_at, end_at) = &note.month;
        let charges = self.query(NOTE_CHARGES).bind(note.team).bind(*start_at).bind(*end_at);
        charges.bind(note.transaction).all().await
    }
}

impl Tx {
    /// Writes a closed statement.
    ///
    /// # Errors
    /// [`super::Error::Unique`] when the month has one, or the number is taken: somebody else closed it.
    pub async fn statement_insert(&mut self, row: &StatementRow) -> Result<()> {
        let insert = self.query(STATEMENT_INSERT).bind(row.id).bind(row.team).bind(row.month.as_str());
        let insert = insert.bind(row.number).bind(row.start_at).bind(row.end_at).bind(row.through_seq);
        let insert = insert.bind(row.opening).bind(row.closing).bind(row.document.as_str());
        insert.bind(row.digest.as_str()).bind(row.issued_at).execute().await.map(drop)
    }

    /// Writes a credit note.
    ///
    /// # Errors
    /// [`super::Error::Unique`] when the difference has one, or the number is taken.
    pub async fn note_insert(
        &mut self,
        team: TeamId,
        id: CreditNoteId,
        number: u64,
        due: &NoteDue,
        reason: &str,
        issued_at: Timestamp,
    ) -> Result<()> {
        let insert = self.query(NOTE_INSERT).bind(id).bind(team).bind(number).bind(due.statement);
        let insert = insert.bind(due.transaction_id).bind(due.amount).bind(reason);
        insert.bind(issued_at).execute().await.map(drop)
    }
}

fn charges_after<'c>(query: Query<'c>, after: Option<&Charge>) -> Query<'c> {
    match after {
        None => {
            let start = Timestamp::from_micros(i64::MIN);
            query.bind(start).bind(Blank(None::<SegmentId>)).bind(0u64).bind(0u64)
        }
        Some(charge) => query.bind(charge.from_at).bind(charge.segment).bind(charge.k).bind(charge.revision),
    }
}

impl Record for Line {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            kind: row.get("kind")?,
            late: row.get::<i64>("late")? != 0,
            transactions: row.get("transactions")?,
            incoming: row.get("incoming")?,
            outgoing: row.get("outgoing")?,
            owed: row.get("owed")?,
        })
    }
}

impl Record for Count {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { transactions: row.get("transactions")?, beyond_seq: row.get("beyond_seq")? })
    }
}

impl Record for Used {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            member: row.get("member")?,
            account: row.get("account")?,
            kind: row.get("kind")?,
            product: row.get::<Json<Sku>>("sku")?.0.name,
            component_digest: row.get("component_digest")?,
            charges: row.get("charges")?,
            amount: row.get("amount")?,
            uncovered: row.get("uncovered")?,
        })
    }
}

impl Record for NoteLine {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            number: row.get("number")?,
            month: row.get("month")?,
            transaction: row.get("transaction_id")?,
            amount: row.get("amount")?,
            reason: row.get("reason")?,
        })
    }
}

impl Record for NoteRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            number: row.get("number")?,
            statement: row.get("statement")?,
            transaction: row.get("transaction_id")?,
            amount: row.get("amount")?,
            reason: row.get("reason")?,
            issued_at: row.get("issued_at")?,
            month: (row.get("month")?, row.get("start_at")?, row.get("end_at")?),
            member: row.get::<Blank<MemberId>>("member")?.0,
        })
    }
}

impl Record for MoveRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            seq: row.get("seq")?,
            kind: row.get("kind")?,
            occurred_at: row.get("occurred_at")?,
            recorded_at: row.get("recorded_at")?,
            actor: row.get("actor")?,
            reason: row.get("reason")?,
            member: row.get::<Blank<MemberId>>("member")?.0,
            instance: row.get::<Blank<InstanceId>>("instance")?.0,
            net: row.get("net")?,
            owed: row.get("owed")?,
        })
    }
}

impl Record for ChargeLine {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            charge: Charge::from_row(row)?,
            seq: row.get("seq")?,
            account: row.get("account")?,
            sku: row.get::<Json<Sku>>("sku")?.0,
        })
    }
}
