//! Charges one by one and in spans: what explains one, what was charged of an interval so far, and how a segment is
//! revised.
//!
//! A charge is parked while its latest revision is; all others are history.

use super::{
    error::{Error, Result},
    query::{Record, Row},
    tx::{Conn, Tx},
};
use crate::{
    ids::{AccountId, LotId, SegmentId, TeamId, TransactionId},
    ledger::{
        interval::Segment,
        lot::Category,
        posting::Direction,
        rating::{Charge, ChargeId},
        revision::Standing,
    },
    money::{Credits, NanoCredits},
    time::Timestamp,
};

const CHARGE_FETCH: &str = "SELECT * FROM charges WHERE segment = $1 AND k = $2 AND revision = $3";

const CHARGES_OF_INTERVAL: &str = "SELECT * FROM charges WHERE segment = $1 AND k = $2 ORDER BY revision";

const CHARGES_LATEST: &str = "
    SELECT c.* FROM charges c
    WHERE c.segment = $1 AND c.k >= $2 AND c.from_at < $3 AND c.to_at > $4 AND (NOT $5 OR c.parked)
      AND NOT EXISTS (SELECT 1 FROM charges n WHERE n.segment = c.segment AND n.k = c.k AND n.revision > c.revision)
    ORDER BY c.k LIMIT $6";

const CHARGES_STANDING: &str = "
    SELECT k, MAX(revision) AS revision, CAST(SUM(nano) AS BIGINT) AS nano, CAST(SUM(amount) AS BIGINT) AS amount,
           CAST(SUM(CASE WHEN amount < 0 THEN -uncovered ELSE uncovered END) AS BIGINT) AS uncovered
    FROM charges WHERE segment = $1 AND k >= $2 GROUP BY k ORDER BY k";

const REVISION_LAST: &str = "SELECT MAX(revision) FROM charges WHERE segment = $1";

const NANO_OF_INTERVAL: &str = "
    SELECT CAST(COALESCE(SUM(nano), 0) AS BIGINT) FROM charges WHERE segment = $1 AND k = $2 AND revision < $3";

const NANO_AHEAD: &str = "
    SELECT CAST(COALESCE(SUM(nano), 0) AS BIGINT) FROM charges WHERE segment = $1 AND k < $2 AND revision < $3";

const NANO_AHEAD_AT: &str = "
    SELECT CAST(COALESCE(SUM(nano), 0) AS BIGINT) FROM charges
    WHERE segment = $1 AND k < $2 AND (revision = 0 OR created_at < $3)";

const SEGMENTS_PARKED: &str = "
    SELECT * FROM segments s
    WHERE s.id > $1 AND s.id IN (
        SELECT c.segment FROM charges c
        WHERE c.parked AND NOT EXISTS (
            SELECT 1 FROM charges n WHERE n.segment = c.segment AND n.k = c.k AND n.revision > c.revision))
    ORDER BY s.id LIMIT $2";

const CHARGES_PARKED_COUNT: &str = "
    SELECT COUNT(*) FROM charges c
    WHERE c.parked AND NOT EXISTS (
        SELECT 1 FROM charges n WHERE n.segment = c.segment AND n.k = c.k AND n.revision > c.revision)";

const SEGMENT_REVISE: &str = "
    UPDATE segments SET cumulative_nano = $2 WHERE id = $1 AND cumulative_nano = $3 AND next_k = $4";

const LOTS_PAID: &str = "
    SELECT e.account, CASE WHEN l.transaction_id = t.id THEN l.parent ELSE l.id END AS lot,
           CAST(SUM(CASE e.direction WHEN 'debit' THEN m.amount ELSE -m.amount END) AS BIGINT) AS amount,
           MAX(t.seq) AS seq, MAX(m.place) AS place
    FROM (SELECT DISTINCT transaction_id AS id FROM charges
          WHERE segment = $1 AND k >= $2 AND k <= $3 AND transaction_id IS NOT NULL) c
    JOIN transactions t ON t.id = c.id
    JOIN entries e ON e.transaction_id = t.id AND e.phase = 'posted'
    JOIN lot_moves m ON m.transaction_id = t.id AND m.line = e.line
    JOIN lots l ON l.id = m.lot
    GROUP BY e.account, CASE WHEN l.transaction_id = t.id THEN l.parent ELSE l.id END
    ORDER BY seq DESC, place DESC, lot DESC";

const LOTS_SETTLED: &str = "
    SELECT e.account, m.lot, CAST(SUM(m.amount) AS BIGINT) AS amount, MAX(t.seq) AS seq
    FROM transactions t
    JOIN entries e ON e.transaction_id = t.id AND e.phase = 'posted' AND e.direction = 'debit'
    JOIN lot_moves m ON m.transaction_id = t.id AND m.line = e.line
    WHERE t.team = $1 AND t.kind = 'settle' AND e.account = $2
    GROUP BY e.account, m.lot ORDER BY seq DESC, lot DESC";

const LOTS_MOVED: &str = "
    SELECT e.account, e.direction, m.lot, l.category, m.amount
    FROM entries e
    JOIN lot_moves m ON m.transaction_id = e.transaction_id AND m.line = e.line
    JOIN lots l ON l.id = m.lot
    WHERE e.transaction_id = $1 AND e.phase = 'posted' ORDER BY e.line, m.place";

/// Which intervals of a segment to read.
#[derive(Debug, Clone, Copy)]
pub struct ChargeSpan {
    /// The first.
    pub from_k: u64,
    /// Only those that end after this.
    pub from: Timestamp,
    /// Only those that begin before this.
    pub to: Timestamp,
    /// Only those that are parked.
    pub parked: bool,
}

impl ChargeSpan {
    /// All intervals from `from_k` on.
    pub const fn from_k(from_k: u64) -> Self {
        let (from, to) = (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
        Self { from_k, from, to, parked: false }
    }
}

/// What a lot gave for charges of a segment, less what came back into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LotPaid {
    /// The wallet or pool.
    pub account: AccountId,
    /// The lot.
    pub lot: LotId,
    /// How much.
    pub amount: Credits,
}

/// A part of a lot that a transaction moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LotMoved {
    /// The wallet or pool.
    pub account: AccountId,
    /// Out of it or back into it.
    pub direction: Direction,
    /// The lot.
    pub lot: LotId,
    /// What kind of money it is.
    pub category: Category,
    /// How much.
    pub amount: Credits,
}

/// The exact sums that a charge was computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExactSums {
    /// What earlier revisions of the interval cost.
    pub nano_before: NanoCredits,
    /// What all intervals ahead of it cost before the revision.
    pub ahead: NanoCredits,
    /// What they cost with it.
    pub ahead_revised: NanoCredits,
}

impl Tx {
    /// Moves the exact sum of a segment that is charged as far as it was read.
    ///
    /// # Errors
    /// [`Error::Moved`] when it was charged or revised meanwhile: drop the transaction and read again.
    pub async fn segment_revise(&mut self, was: &Segment, cumulative: NanoCredits) -> Result<()> {
        let revise = self.query(SEGMENT_REVISE).bind(was.id).bind(cumulative);
        match revise.bind(was.cumulative).bind(was.next_k).execute().await? {
            1 => Ok(()),
            _ => Err(Error::Moved),
        }
    }
}

impl Conn {
    /// A charge.
    pub async fn charge_fetch(&mut self, id: ChargeId) -> Result<Option<Charge>> {
        self.query(CHARGE_FETCH).bind(id.segment).bind(id.k).bind(id.revision).optional().await
    }

    /// All revisions of an interval, the first one first.
    pub async fn charges_of_interval(&mut self, segment: SegmentId, k: u64) -> Result<Vec<Charge>> {
        self.query(CHARGES_OF_INTERVAL).bind(segment).bind(k).all().await
    }

    /// The latest revisions of at most `limit` intervals of a segment, in order.
    pub async fn charges_latest(
        &mut self,
        segment: SegmentId,
        span: ChargeSpan,
        limit: u32,
    ) -> Result<Vec<Charge>> {
        let latest = self.query(CHARGES_LATEST).bind(segment).bind(span.from_k).bind(span.to);
        latest.bind(span.from).bind(span.parked).bind(limit).all().await
    }

    /// What every interval of a segment from `from_k` on was charged so far.
    pub async fn charges_standing(&mut self, segment: SegmentId, from_k: u64) -> Result<Vec<Standing>> {
        self.query(CHARGES_STANDING).bind(segment).bind(from_k).all().await
    }

    /// The number of a segment's last revision.
    pub async fn revision_last(&mut self, segment: SegmentId) -> Result<u32> {
        let (last,) = self.query(REVISION_LAST).bind(segment).one::<(Option<u32>,)>().await?;
        Ok(last.unwrap_or(0))
    }

    /// The exact sums that a charge was computed from. Revisions that were made before the first charge of an interval
    /// are told by the time.
    pub async fn charge_sums(&mut self, charge: &Charge) -> Result<ExactSums> {
        let (segment, k, revision) = (charge.segment, charge.k, charge.revision);
        let nano_before = self.query(NANO_OF_INTERVAL).bind(segment).bind(k).bind(revision);
        let (nano_before,) = nano_before.one::<(NanoCredits,)>().await?;
        if revision == 0 {
            let ahead = self.query(NANO_AHEAD_AT).bind(segment).bind(k).bind(charge.created_at);
            let (ahead,) = ahead.one::<(NanoCredits,)>().await?;
            return Ok(ExactSums { nano_before, ahead, ahead_revised: ahead });
        }
        let ahead = self.query(NANO_AHEAD).bind(segment).bind(k).bind(revision);
        let (ahead,) = ahead.one::<(NanoCredits,)>().await?;
        let ahead_revised = self.query(NANO_AHEAD).bind(segment).bind(k).bind(u64::from(revision) + 1);
        let (ahead_revised,) = ahead_revised.one::<(NanoCredits,)>().await?;
        Ok(ExactSums { nano_before, ahead, ahead_revised })
    }

    /// At most `limit` segments after `after` that have parked charges.
    pub async fn segments_parked_page(
        &mut self,
        after: Option<SegmentId>,
        limit: u32,
    ) -> Result<Vec<Segment>> {
        self.query(SEGMENTS_PARKED).bind(super::convert::Blank(after)).bind(limit).all().await
    }

    /// How many intervals are parked, on the whole site.
    pub async fn charges_parked_count(&mut self) -> Result<u64> {
        Ok(self.query(CHARGES_PARKED_COUNT).one::<(u64,)>().await?.0)
    }

    /// The lots that paid for the intervals from `first_k` to `last_k` of a segment and their neighbours in the same
    /// transactions, the last first. What came back as a gift counts for the lot that it is of.
    pub async fn lots_paid(&mut self, segment: SegmentId, first_k: u64, last_k: u64) -> Result<Vec<LotPaid>> {
        self.query(LOTS_PAID).bind(segment).bind(first_k).bind(last_k).all().await
    }

    /// The lots of an account that paid what its team owed, the last first.
    pub async fn lots_settled(&mut self, team: TeamId, account: AccountId) -> Result<Vec<LotPaid>> {
        self.query(LOTS_SETTLED).bind(team).bind(account).all().await
    }

    /// The lots that a transaction moved, in order.
    pub async fn lots_moved(&mut self, transaction: TransactionId) -> Result<Vec<LotMoved>> {
        self.query(LOTS_MOVED).bind(transaction).all().await
    }
}

impl Record for Standing {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            k: row.get("k")?,
            revision: row.get("revision")?,
            nano: row.get("nano")?,
            amount: row.get("amount")?,
            uncovered: row.get("uncovered")?,
        })
    }
}

impl Record for LotPaid {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { account: row.get("account")?, lot: row.get("lot")?, amount: row.get("amount")? })
    }
}

impl Record for LotMoved {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            account: row.get("account")?,
            direction: row.get("direction")?,
            lot: row.get("lot")?,
            category: row.get("category")?,
            amount: row.get("amount")?,
        })
    }
}
