//! Segments and charges in the database: what was used, how far it is billed, and what each interval cost.
//!
//! How far a segment is billed moves by compare-and-set, so that two meters never charge the same interval.

use serde_json::json;

use super::{
    convert::{Blank, Json},
    db::Dialect,
    error::Result,
    query::{Record, Row},
    tx::{Conn, Tx},
};
use crate::{
    ids::{ApiKeyId, InstanceId, MemberId, SegmentId, TeamId},
    ledger::{
        interval::{Segment, Watermark},
        rating::Charge,
    },
    money::{Credits, NanoCredits},
    time::Timestamp,
};

const SEGMENT_INSERT: &str = "
    INSERT INTO segments (id, team, member, resource, instance, account, kind, number, quantity, price_version, sku,
                          quoted_per_hour, grid, start_at, end_at, proof_at, billed_until, next_k, cumulative_nano,
                          settled, api_key)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
            (SELECT i.api_key FROM instances i WHERE i.id = $5 AND CAST($6 AS TEXT) IS NULL))";

const SEGMENT_KEY: &str = "SELECT api_key FROM segments WHERE id = $1";

const SEGMENT_FETCH: &str = "SELECT * FROM segments WHERE id = $1";

const SEGMENT_OPEN_OF: &str = "SELECT * FROM segments WHERE resource = $1 AND kind = $2 AND end_at IS NULL";

const SEGMENTS_OF_INSTANCE: &str = "SELECT * FROM segments WHERE instance = $1 ORDER BY kind, number";

const SEGMENTS_DUE: &str = "SELECT * FROM segments WHERE NOT settled AND id > $1 ORDER BY id LIMIT $2";

const SEGMENT_PROOF_ADVANCE: &str = "
    UPDATE segments SET proof_at = $2 WHERE id = $1 AND end_at IS NULL AND proof_at < $2";

const SEGMENT_CLOSE: &str = "
    UPDATE segments
    SET end_at = CASE WHEN billed_until > $2 THEN billed_until ELSE $2 END,
        settled = (billed_until >= $2)
    WHERE id = $1 AND end_at IS NULL
    RETURNING end_at";

const SEGMENTS_ADVANCE_SQLITE: &str = "
    UPDATE segments
    SET billed_until = n.value->>'to_until', next_k = n.value->>'to_k', cumulative_nano = n.value->>'cumulative',
        settled = (end_at IS NOT NULL AND end_at = n.value->>'to_until')
    FROM json_each($1) n
    WHERE segments.id = n.value->>'id' AND segments.billed_until = n.value->>'from_until'
      AND segments.next_k = n.value->>'from_k' AND segments.cumulative_nano = n.value->>'from_cumulative'
      AND (segments.end_at IS NULL OR segments.end_at >= n.value->>'to_until')";
const SEGMENTS_ADVANCE_POSTGRES: &str = "
    UPDATE segments
    SET billed_until = n.to_until, next_k = n.to_k, cumulative_nano = n.cumulative,
        settled = (end_at IS NOT NULL AND end_at = n.to_until)
    FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb)
        AS n(id TEXT, from_until BIGINT, from_k BIGINT, from_cumulative BIGINT, to_until BIGINT, to_k BIGINT,
             cumulative BIGINT)
    WHERE segments.id = n.id AND segments.billed_until = n.from_until AND segments.next_k = n.from_k
      AND segments.cumulative_nano = n.from_cumulative
      AND (segments.end_at IS NULL OR segments.end_at >= n.to_until)";

const CHARGES_INSERT_SQLITE: &str = "
    INSERT INTO charges (segment, k, revision, team, member, resource, instance, kind, from_at, to_at, quantity, nano,
                         amount, uncovered, price_version, component_digest, config_digest, input_digest,
                         told_now, lines, parked, parked_because, reason, transaction_id, created_at)
    SELECT value->>'segment', value->>'k', value->>'revision', value->>'team', value->>'member',
           value->>'resource', value->>'instance', value->>'kind', value->>'from_at', value->>'to_at',
           value->>'quantity', value->>'nano', value->>'amount', value->>'uncovered', value->>'price_version',
           value->>'component_digest', value->>'config_digest', value->>'input_digest', value->>'told_now',
           value->>'lines', value->>'parked', value->>'parked_because', value->>'reason',
           value->>'transaction_id', value->>'created_at'
    FROM json_each($1)";
const CHARGES_INSERT_POSTGRES: &str = "
    INSERT INTO charges (segment, k, revision, team, member, resource, instance, kind, from_at, to_at, quantity, nano,
                         amount, uncovered, price_version, component_digest, config_digest, input_digest,
                         told_now, lines, parked, parked_because, reason, transaction_id, created_at)
    SELECT * FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb)
        AS n(segment TEXT, k BIGINT, revision BIGINT, team TEXT, member TEXT, resource TEXT, instance TEXT,
             kind TEXT, from_at BIGINT, to_at BIGINT, quantity BIGINT, nano BIGINT, amount BIGINT,
             uncovered BIGINT, price_version TEXT, component_digest TEXT, config_digest TEXT, input_digest TEXT,
             told_now BIGINT, lines TEXT, parked BOOLEAN, parked_because TEXT, reason TEXT, transaction_id TEXT,
             created_at BIGINT)";

const CHARGES_OF_TEAM: &str = "
    SELECT * FROM charges
    WHERE team = $1 AND ($2 = '' OR member = $2) AND ($3 = '' OR kind = $3)
      AND (from_at, segment, k, revision) < ($4, $5, $6, $7)
    ORDER BY from_at DESC, segment DESC, k DESC, revision DESC LIMIT $8";

const CHARGES_OF_INSTANCE: &str = "
    SELECT * FROM charges
    WHERE instance = $1 AND (from_at, segment, k, revision) < ($2, $3, $4, $5)
    ORDER BY from_at DESC, segment DESC, k DESC, revision DESC LIMIT $6";

const CHARGES_SUM: &str = "
    SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM charges
    WHERE team = $1 AND ($2 = '' OR member = $2) AND from_at >= $3 AND from_at < $4";

const CHARGES_TOTAL: &str = "
    SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM charges
    WHERE team = $1 AND ($2 = '' OR member = $2) AND ($3 = '' OR kind = $3)";

const CHARGES_SUM_OF_INSTANCE: &str = "
    SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM charges WHERE instance = $1";

/// How far a segment is billed, before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// The segment.
    pub segment: SegmentId,
    /// How far it was billed when it was read.
    pub from: Watermark,
    /// What all its charges summed to when it was read, before rounding: a revision moves it too.
    pub cumulative_before: NanoCredits,
    /// How far it is billed now.
    pub to: Watermark,
    /// What all its charges sum to now, before rounding.
    pub cumulative: NanoCredits,
}

/// Which charges of a team to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChargeFilter {
    /// Only those of this member.
    pub member: Option<MemberId>,
    /// Only what was metered as this; empty for everything.
    pub kind: String,
}

/// The charge after which a page goes on: lists run from the newest to the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargeCursor {
    /// When its interval begins.
    pub from_at: Timestamp,
    /// Its segment; `None` before the first page.
    pub segment: Option<SegmentId>,
    /// Its interval.
    pub k: u64,
    /// Its revision.
    pub revision: u32,
}

impl ChargeCursor {
    /// Before the newest charge.
    pub const START: Self =
        Self { from_at: Timestamp::from_micros(i64::MAX), segment: None, k: 0, revision: 0 };

    /// After `charge`.
    pub fn after(charge: &Charge) -> Self {
        Self {
            from_at: charge.from_at,
            segment: Some(charge.segment),
            k: charge.k,
            revision: charge.revision,
        }
    }
}

impl Tx {
    /// Writes a new segment.
    ///
    /// # Errors
    /// [`super::Error::Unique`] when its instance has an open one of this kind, or one with this number.
    pub async fn segment_open(&mut self, segment: &Segment) -> Result<()> {
        let insert = self.query(SEGMENT_INSERT).bind(segment.id).bind(segment.team).bind(segment.member);
        let insert = insert.bind(segment.resource.as_str()).bind(segment.instance).bind(segment.account);
        let insert = insert.bind(segment.kind.as_str()).bind(segment.number).bind(segment.quantity);
        let insert =
            insert.bind(segment.price_version).bind(Json(&segment.sku)).bind(segment.quoted_per_hour);
        let insert = insert.bind(segment.grid).bind(segment.start_at).bind(segment.end_at);
        let insert = insert.bind(segment.proof_at).bind(segment.billed_until).bind(segment.next_k);
        insert.bind(segment.cumulative).bind(segment.settled).execute().await.map(drop)
    }

    /// The API key that the run which a segment meters was launched or started by; none for storage.
    pub async fn segment_key(&mut self, id: SegmentId) -> Result<Option<ApiKeyId>> {
        Ok(self.query(SEGMENT_KEY).bind(id).one::<(Option<ApiKeyId>,)>().await?.0)
    }

    /// Ends a running segment at `end_at`, or where it is billed to if that is later: what is charged stays
    /// charged. The end as it was stored; `None` when it ended before.
    pub async fn segment_close(&mut self, id: SegmentId, end_at: Timestamp) -> Result<Option<Timestamp>> {
        let closed = self.query(SEGMENT_CLOSE).bind(id).bind(end_at).optional::<(Timestamp,)>().await?;
        Ok(closed.map(|(end,)| end))
    }

    /// Notes that the segment was seen to run at `proof_at`; false when that is no news.
    pub async fn segment_proof_advance(&mut self, id: SegmentId, proof_at: Timestamp) -> Result<bool> {
        Ok(self.query(SEGMENT_PROOF_ADVANCE).bind(id).bind(proof_at).execute().await? == 1)
    }

    /// Moves watermarks and exact sums; settles a segment that is billed to its end.
    ///
    /// # Errors
    /// [`super::Error::Moved`] when somebody else moved or revised one of them, or it ended before: drop the
    /// transaction and read again.
    pub async fn segments_advance(&mut self, advances: &[Advance]) -> Result<()> {
        let items = advances.iter().map(|advance| {
            json!({
                "id": advance.segment, "from_until": advance.from.billed_until.as_micros(),
                "from_k": advance.from.next_k, "from_cumulative": advance.cumulative_before.as_nanos(),
                "to_until": advance.to.billed_until.as_micros(),
                "to_k": advance.to.next_k, "cumulative": advance.cumulative.as_nanos(),
            })
        });
        self.all_or_none(SEGMENTS_ADVANCE_SQLITE, SEGMENTS_ADVANCE_POSTGRES, items).await
    }

    /// Writes charges.
    ///
    /// # Errors
    /// [`super::Error::Unique`] when a revision of an interval was charged before.
    pub async fn charges_insert(&mut self, charges: &[Charge]) -> Result<()> {
        let sqlite = self.dialect() == Dialect::Sqlite;
        // A flag is 0 or 1 in SQLite, whose JSON has no way to say so.
        let flag = |flag: bool| if sqlite { json!(i64::from(flag)) } else { json!(flag) };
        let items = charges.iter().map(|charge| {
            json!({
                "segment": charge.segment, "k": charge.k, "revision": charge.revision, "team": charge.team,
                "member": charge.member, "resource": charge.resource,
                "instance": charge.instance.map(|id| id.to_string()).unwrap_or_default(), "kind": charge.kind,
                "from_at": charge.from_at.as_micros(), "to_at": charge.to_at.as_micros(),
                "quantity": charge.quantity, "nano": charge.nano.as_nanos(), "amount": charge.amount.as_micros(),
                "uncovered": charge.uncovered.as_micros(), "price_version": charge.price_version,
                "component_digest": charge.component_digest, "config_digest": charge.config_digest,
                "input_digest": charge.input_digest, "told_now": charge.told_now.as_micros(),
                "lines": json!(charge.lines).to_string(), "parked": flag(charge.parked),
                "parked_because": charge.parked_because, "reason": charge.reason,
                "transaction_id": charge.transaction, "created_at": charge.created_at.as_micros(),
            })
        });
        let items: Vec<_> = items.collect();
        self.all_or_none(CHARGES_INSERT_SQLITE, CHARGES_INSERT_POSTGRES, items).await
    }
}

impl Conn {
    /// A segment.
    pub async fn segment_fetch(&mut self, id: SegmentId) -> Result<Option<Segment>> {
        self.query(SEGMENT_FETCH).bind(id).optional().await
    }

    /// The running segment of this kind of a resource.
    pub async fn segment_open_of(&mut self, resource: &str, kind: &str) -> Result<Option<Segment>> {
        self.query(SEGMENT_OPEN_OF).bind(resource).bind(kind).optional().await
    }

    /// All segments of an instance.
    pub async fn segments_of_instance(&mut self, instance: InstanceId) -> Result<Vec<Segment>> {
        self.query(SEGMENTS_OF_INSTANCE).bind(instance).all().await
    }

    /// At most `limit` segments after `after` that run or are not charged to their end.
    pub async fn segments_due_page(&mut self, after: Option<SegmentId>, limit: u32) -> Result<Vec<Segment>> {
        self.query(SEGMENTS_DUE).bind(Blank(after)).bind(limit).all().await
    }

    /// At most `limit` charges of the team after `after`, the newest first.
    pub async fn charges_page(
        &mut self,
        team: TeamId,
        filter: &ChargeFilter,
        after: ChargeCursor,
        limit: u32,
    ) -> Result<Vec<Charge>> {
        let page =
            self.query(CHARGES_OF_TEAM).bind(team).bind(Blank(filter.member)).bind(filter.kind.as_str());
        let page = page.bind(after.from_at).bind(Blank(after.segment)).bind(after.k).bind(after.revision);
        page.bind(limit).all().await
    }

    /// At most `limit` charges of an instance after `after`, the newest first.
    pub async fn charges_page_of_instance(
        &mut self,
        instance: InstanceId,
        after: ChargeCursor,
        limit: u32,
    ) -> Result<Vec<Charge>> {
        let page = self.query(CHARGES_OF_INSTANCE).bind(instance);
        let page = page.bind(after.from_at).bind(Blank(after.segment)).bind(after.k).bind(after.revision);
        page.bind(limit).all().await
    }

    /// What the team, or one member of it, was charged for intervals that begin from `since` up to `until`.
    pub async fn charges_sum(
        &mut self,
        team: TeamId,
        member: Option<MemberId>,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Credits> {
        let sum = self.query(CHARGES_SUM).bind(team).bind(Blank(member)).bind(since).bind(until);
        let (sum,) = sum.one::<(Credits,)>().await?;
        Ok(sum)
    }

    /// What all charges of the team that `filter` lets through sum to.
    pub async fn charges_total(&mut self, team: TeamId, filter: &ChargeFilter) -> Result<Credits> {
        let sum = self.query(CHARGES_TOTAL).bind(team).bind(Blank(filter.member));
        let (sum,) = sum.bind(filter.kind.as_str()).one::<(Credits,)>().await?;
        Ok(sum)
    }

    /// What was charged for an instance.
    pub async fn charges_sum_of_instance(&mut self, instance: InstanceId) -> Result<Credits> {
        let (sum,) = self.query(CHARGES_SUM_OF_INSTANCE).bind(instance).one::<(Credits,)>().await?;
        Ok(sum)
    }
}

impl Record for Segment {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            member: row.get("member")?,
            resource: row.get("resource")?,
            instance: row.get("instance")?,
            account: row.get("account")?,
            kind: row.get("kind")?,
            number: row.get("number")?,
            quantity: row.get("quantity")?,
            price_version: row.get("price_version")?,
            sku: row.get::<Json<_>>("sku")?.0,
            quoted_per_hour: row.get("quoted_per_hour")?,
            grid: row.get("grid")?,
            start_at: row.get("start_at")?,
            end_at: row.get("end_at")?,
            proof_at: row.get("proof_at")?,
            billed_until: row.get("billed_until")?,
            next_k: row.get("next_k")?,
            cumulative: row.get("cumulative_nano")?,
            settled: row.get("settled")?,
        })
    }
}

impl Record for Charge {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            segment: row.get("segment")?,
            k: row.get("k")?,
            revision: row.get("revision")?,
            team: row.get("team")?,
            member: row.get("member")?,
            resource: row.get("resource")?,
            instance: row.get::<Blank<InstanceId>>("instance")?.0,
            kind: row.get("kind")?,
            from_at: row.get("from_at")?,
            to_at: row.get("to_at")?,
            quantity: row.get("quantity")?,
            nano: row.get("nano")?,
            amount: row.get("amount")?,
            uncovered: row.get("uncovered")?,
            price_version: row.get("price_version")?,
            component_digest: row.get("component_digest")?,
            config_digest: row.get("config_digest")?,
            input_digest: row.get("input_digest")?,
            told_now: row.get("told_now")?,
            lines: row.get::<Json<_>>("lines")?.0,
            parked: row.get("parked")?,
            parked_because: row.get("parked_because")?,
            reason: row.get("reason")?,
            transaction: row.get("transaction_id")?,
            created_at: row.get("created_at")?,
        })
    }
}
