//! Replays of prices: the intervals that were charged in a past span, and what became of rating them by another price.

use std::collections::BTreeMap;

use super::{
    convert::Blank,
    error::Result,
    query::{Record, Row, record},
    tx::{Conn, Tx},
};
use crate::{
    ids::{MemberId, PriceReplayId, ProductId, SegmentId, TeamId},
    ledger::interval::{Interval, Segment},
    money::NanoCredits,
    time::Timestamp,
};

const PRICE_REPLAY_INSERT: &str = "
    INSERT INTO price_replays (id, team, digest, config_digest, product, from_at, to_at, document, created_by,
                               created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const PRICE_REPLAYS_PAGE: &str = "
    SELECT * FROM price_replays WHERE team = $1 AND id < $2 ORDER BY id DESC LIMIT $3";

const PRICE_REPLAY_LATEST: &str = "
    SELECT * FROM price_replays WHERE team = $1 AND digest = $2 AND config_digest = $3 AND product = $4
    ORDER BY id DESC LIMIT 1";

const SEGMENTS_CHARGED: &str = "
    SELECT * FROM segments
    WHERE team = $1 AND id > $2 AND start_at < $3 AND billed_until > $4 ORDER BY id LIMIT $5";

const INTERVALS_CHARGED: &str = "
    SELECT k, MIN(from_at) AS from_at, MAX(to_at) AS to_at, CAST(SUM(nano) AS BIGINT) AS nano,
           MAX(revision) AS revision, MAX(told_now) AS told_now
    FROM charges WHERE segment = $1 AND k >= $2 AND from_at < $3 AND to_at > $4
    GROUP BY k ORDER BY k LIMIT $5";

const MEMBER_ACCOUNTS: &str = "SELECT id, account FROM members WHERE team = $1";

/// A past span of a team, rated by another price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceReplay {
    /// The replay.
    pub id: PriceReplayId,
    /// The team.
    pub team: TeamId,
    /// Digest of the component.
    pub digest: String,
    /// Digest of its configuration.
    pub config_digest: String,
    /// The only product that the price is for; `None`: all that have none of their own.
    pub product: Option<ProductId>,
    /// The beginning of the span.
    pub from_at: Timestamp,
    /// Its end.
    pub to_at: Timestamp,
    /// The report, JSON text.
    pub document: String,
    /// Who asked for it: a name from [`crate::op::Actor::name`].
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

record! {
    struct IntervalRow {
        k: u64,
        from_at: Timestamp,
        to_at: Timestamp,
        nano: NanoCredits,
        revision: u32,
        told_now: Timestamp,
    }
}

/// An interval as it stands after all its revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargedInterval {
    /// The interval.
    pub interval: Interval,
    /// What it costs.
    pub nano: NanoCredits,
    /// The number of its latest revision.
    pub revision: u32,
    /// What the price was told the time was.
    pub told_now: Timestamp,
}

impl Tx {
    /// Writes a replay.
    pub async fn price_replay_insert(&mut self, replay: &PriceReplay) -> Result<()> {
        let insert = self.query(PRICE_REPLAY_INSERT).bind(replay.id).bind(replay.team);
        let insert = insert.bind(replay.digest.as_str()).bind(replay.config_digest.as_str());
        let insert = insert.bind(Blank(replay.product)).bind(replay.from_at).bind(replay.to_at);
        let insert = insert.bind(replay.document.as_str()).bind(replay.created_by.as_str());
        insert.bind(replay.created_at).execute().await.map(drop)
    }
}

impl Conn {
    /// At most `limit` replays of the team before `before`, the newest first.
    pub async fn price_replays_page(
        &mut self,
        team: TeamId,
        before: Option<PriceReplayId>,
        limit: u32,
    ) -> Result<Vec<PriceReplay>> {
        // No id is as great as a tilde.
        let before = before.map_or_else(|| "~".to_owned(), |id| id.to_string());
        self.query(PRICE_REPLAYS_PAGE).bind(team).bind(before).bind(limit).all().await
    }

    /// The latest replay of the very price that a version would be.
    pub async fn price_replay_latest(
        &mut self,
        team: TeamId,
        digest: &str,
        config_digest: &str,
        product: Option<ProductId>,
    ) -> Result<Option<PriceReplay>> {
        let latest = self.query(PRICE_REPLAY_LATEST).bind(team).bind(digest).bind(config_digest);
        latest.bind(Blank(product)).optional().await
    }

    /// The account names of all members of a team, removed ones too.
    pub async fn member_accounts(&mut self, team: TeamId) -> Result<BTreeMap<MemberId, String>> {
        let rows = self.query(MEMBER_ACCOUNTS).bind(team).all::<(MemberId, String)>().await?;
        Ok(rows.into_iter().collect())
    }

    /// At most `limit` segments of a team after `after` of which something between `from` and `to` was charged.
    pub async fn segments_charged(
        &mut self,
        team: TeamId,
        (from, to): (Timestamp, Timestamp),
        after: Option<SegmentId>,
        limit: u32,
    ) -> Result<Vec<Segment>> {
        let page = self.query(SEGMENTS_CHARGED).bind(team).bind(Blank(after)).bind(to).bind(from);
        page.bind(limit).all().await
    }

    /// At most `limit` intervals of a segment from `from_k` on that lie between `from` and `to`, were it in part.
    pub async fn intervals_charged(
        &mut self,
        segment: SegmentId,
        from_k: u64,
        (from, to): (Timestamp, Timestamp),
        limit: u32,
    ) -> Result<Vec<ChargedInterval>> {
        let page = self.query(INTERVALS_CHARGED).bind(segment).bind(from_k).bind(to).bind(from);
        let rows = page.bind(limit).all::<IntervalRow>().await?;
        let interval = |row: IntervalRow| ChargedInterval {
            interval: Interval { k: row.k, from: row.from_at, to: row.to_at },
            nano: row.nano,
            revision: row.revision,
            told_now: row.told_now,
        };
        Ok(rows.into_iter().map(interval).collect())
    }
}

impl Record for PriceReplay {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            digest: row.get("digest")?,
            config_digest: row.get("config_digest")?,
            product: row.get::<Blank<ProductId>>("product")?.0,
            from_at: row.get("from_at")?,
            to_at: row.get("to_at")?,
            document: row.get("document")?,
            created_by: row.get("created_by")?,
            created_at: row.get("created_at")?,
        })
    }
}
