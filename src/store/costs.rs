//! What the rows of a cost file are made of: charges by segment and day, given credits that paid for use, and what was
//! given up or lost.

use super::{
    convert::Blank,
    error::Result,
    query::{Record, Row, record},
    statements::windowed,
    tx::Conn,
};
use crate::{
    ids::{MemberId, PriceVersionId, SegmentId, TeamId, TransactionId},
    ledger::{posting::TransactionKind, statement::Window},
    model::price::Sku,
    money::Credits,
    store::Json,
    time::Timestamp,
};

const COSTS_OF_SPAN: &str = "
    SELECT c.segment, c.member, m.account, c.resource, i.name AS resource_name, s.sku, c.price_version,
           c.component_digest, CAST(SUM(c.amount) AS BIGINT) AS amount,
           CAST(SUM(CASE WHEN c.revision = 0 THEN c.quantity * (c.to_at - c.from_at) ELSE 0 END) AS BIGINT)
               AS unit_micros
    FROM charges c
    JOIN transactions t ON t.id = c.transaction_id
    JOIN segments s ON s.id = c.segment
    JOIN members m ON m.id = c.member
    LEFT JOIN instances i ON i.id = c.resource
    WHERE c.team = $1 AND t.seq >= $2 AND t.seq <= $3 AND t.occurred_at < $4
      AND (t.occurred_at >= $5 OR t.seq > $6)
      AND c.from_at >= $7 AND c.from_at < $8 AND ($9 = '' OR c.member = $9)
    GROUP BY c.segment, c.member, m.account, c.resource, i.name, s.sku, c.price_version, c.component_digest
    ORDER BY c.segment";

const COSTS_BEGIN: &str = "
    SELECT CAST(MIN(c.from_at) AS BIGINT) FROM charges c
    JOIN transactions t ON t.id = c.transaction_id
    WHERE c.team = $1 AND t.seq >= $2 AND t.seq <= $3 AND t.occurred_at < $4
      AND (t.occurred_at >= $5 OR t.seq > $6)
      AND c.from_at < $7 AND (c.revision > 0 OR c.created_at - c.from_at >= 3600000000)";

const GIFTS_USED: &str = "
    SELECT t.member, COALESCE(m.account, '') AS account,
           CAST(SUM(CASE WHEN e.direction = 'debit' THEN -v.amount ELSE v.amount END) AS BIGINT) AS amount
    FROM transactions t
    JOIN entries e ON e.transaction_id = t.id AND e.phase = 'posted'
    JOIN lot_moves v ON v.transaction_id = e.transaction_id AND v.line = e.line
    JOIN lots l ON l.id = v.lot AND l.category = 'promo'
    LEFT JOIN members m ON m.id = t.member
    WHERE t.team = $1 AND t.seq >= $2 AND t.seq <= $3 AND t.occurred_at < $4
      AND (t.occurred_at >= $5 OR t.seq > $6)
      AND t.kind IN ('capture', 'correction') AND ($7 = '' OR t.member = $7)
    GROUP BY t.member, COALESCE(m.account, '')
    ORDER BY t.member";

const ADJUSTED: &str = "
    SELECT t.id, t.kind, t.occurred_at, t.seq, CAST(-SUM(e.amount) AS BIGINT) AS amount
    FROM transactions t
    JOIN entries e ON e.transaction_id = t.id AND e.phase = 'posted' AND e.direction = 'credit'
    WHERE t.team = $1 AND t.seq >= $2 AND t.seq <= $3 AND t.occurred_at < $4
      AND (t.occurred_at >= $5 OR t.seq > $6) AND t.kind = 'writeoff'
    GROUP BY t.id, t.kind, t.occurred_at, t.seq
    UNION ALL
    SELECT t.id, t.kind, t.occurred_at, t.seq, CAST(SUM(v.amount) AS BIGINT)
    FROM transactions t
    JOIN entries e ON e.transaction_id = t.id AND e.phase = 'posted' AND e.direction = 'debit'
    JOIN lot_moves v ON v.transaction_id = e.transaction_id AND v.line = e.line
    JOIN lots l ON l.id = v.lot AND l.category = 'paid'
    WHERE t.team = $1 AND t.seq >= $2 AND t.seq <= $3 AND t.occurred_at < $4
      AND (t.occurred_at >= $5 OR t.seq > $6) AND t.kind = 'expire'
    GROUP BY t.id, t.kind, t.occurred_at, t.seq
    ORDER BY 4";

record! {
    /// The charges of a segment in a span, at one price.
    pub struct CostRow {
        /// The segment.
        pub segment: SegmentId,
        /// Who used it.
        pub member: MemberId,
        /// Their account name.
        pub account: String,
        /// What was used.
        pub resource: String,
        /// What its owner calls it, for an instance.
        pub resource_name: Option<String>,
        /// What was rented.
        pub sku: Json<Sku>,
        /// The price version.
        pub price_version: PriceVersionId,
        /// Digest of the price's component.
        pub component_digest: String,
        /// What was charged.
        pub amount: Credits,
        /// Units times microseconds of use.
        pub unit_micros: i64,
    }
}

/// How much of what was charged to a member given credits have paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GiftRow {
    /// The member; `None` for the team's own.
    pub member: Option<MemberId>,
    /// Their account name.
    pub account: String,
    /// How much, as a negative cost.
    pub amount: Credits,
}

record! {
    /// What was given up or lost.
    pub struct AdjustmentRow {
        /// The transaction.
        pub id: TransactionId,
        /// What it records.
        pub kind: TransactionKind,
        /// When.
        pub occurred_at: Timestamp,
        /// How much: below zero where the operator gave it up.
        pub amount: Credits,
    }
}

impl Conn {
    /// What was charged on the transactions in a window for intervals that begin from `from` up to `to`, by segment.
    pub async fn window_costs(
        &mut self,
        team: TeamId,
        window: &Window,
        (from, to): (Timestamp, Timestamp),
        member: Option<MemberId>,
    ) -> Result<Vec<CostRow>> {
        let costs = windowed(self.query(COSTS_OF_SPAN).bind(team), window);
        costs.bind(from).bind(to).bind(Blank(member)).all().await
    }

    /// When the first late charge on the transactions in a window begins, if there is one before `start_at`.
    pub async fn window_costs_begin(
        &mut self,
        team: TeamId,
        window: &Window,
        start_at: Timestamp,
    ) -> Result<Option<Timestamp>> {
        let begin = windowed(self.query(COSTS_BEGIN).bind(team), window).bind(start_at);
        Ok(begin.one::<(Option<Timestamp>,)>().await?.0)
    }

    /// How much of what was charged in a window given credits have paid, by member.
    pub async fn window_gifts(
        &mut self,
        team: TeamId,
        window: &Window,
        member: Option<MemberId>,
    ) -> Result<Vec<GiftRow>> {
        windowed(self.query(GIFTS_USED).bind(team), window).bind(Blank(member)).all().await
    }

    /// Debts that were given up and paid credits that were lost, in a window.
    pub async fn window_adjusted(&mut self, team: TeamId, window: &Window) -> Result<Vec<AdjustmentRow>> {
        windowed(self.query(ADJUSTED).bind(team), window).all().await
    }
}

impl Record for GiftRow {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            member: row.get::<Blank<MemberId>>("member")?.0,
            account: row.get("account")?,
            amount: row.get("amount")?,
        })
    }
}
