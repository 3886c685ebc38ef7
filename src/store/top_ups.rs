//! Top-ups in the database. The posting that credits one goes into the transaction that moves it on.

use super::{
    Json,
    error::{Error, Result},
    query::{Record, Row},
    tx::{Conn, Tx},
};
use crate::{
    ids::{TeamId, TopUpId},
    ledger::top_up::TopUp,
    money::Credits,
    time::Timestamp,
};

const TOP_UP_INSERT: &str = "
    INSERT INTO top_ups (id, team, amount, provider, provider_ref, state, automatic, note, requested_by,
                         confirmed_by, decided_by, lot, refunded, failure, next_at, tries, created_at, decided_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";

const TOP_UP_FETCH: &str = "SELECT * FROM top_ups WHERE id = $1";

const TOP_UP_SAVE: &str = "
    UPDATE top_ups
    SET state = $5, provider_ref = $6, confirmed_by = $7, decided_by = $8, lot = $9, refunded = $10, failure = $11,
        next_at = $12, tries = $13, decided_at = $14
    WHERE id = $1 AND state = $2 AND refunded = $3 AND tries = $4";

const TOP_UPS_OF_TEAM: &str = "
    SELECT * FROM top_ups WHERE team = $1 AND id < $2 ORDER BY id DESC LIMIT $3";

const TOP_UPS_DUE: &str = "
    SELECT * FROM top_ups WHERE next_at IS NOT NULL AND next_at <= $1 ORDER BY next_at, id LIMIT $2";

const TOP_UPS_IN_FLIGHT: &str = "
    SELECT COALESCE(CAST(SUM(amount) AS BIGINT), 0) FROM top_ups
    WHERE team = $1 AND state IN ('created', 'pending')";

const TOP_UPS_AUTOMATIC: &str = "
    SELECT COALESCE(CAST(SUM(amount) AS BIGINT), 0) FROM top_ups
    WHERE team = $1 AND automatic AND state <> 'failed' AND created_at >= $2";

const TOP_UP_AUTOMATIC_LAST: &str = "
    SELECT created_at FROM top_ups WHERE team = $1 AND automatic ORDER BY id DESC LIMIT 1";

const EVENT_COUNT: &str = "
    INSERT INTO provider_events (provider, event, received_at) VALUES ($1, $2, $3)
    ON CONFLICT (provider, event) DO NOTHING";

/// Sorts after every id of a top-up.
const AFTER_ALL: &str = "topuq";

impl Tx {
    /// Writes a new top-up.
    ///
    /// # Errors
    /// [`Error::Unique`] when it is automatic and another one of the team is in flight.
    pub async fn top_up_insert(&mut self, top_up: &TopUp) -> Result<()> {
        let insert = self.query(TOP_UP_INSERT).bind(top_up.id).bind(top_up.team).bind(top_up.amount);
        let insert = insert.bind(top_up.provider.as_str()).bind(top_up.provider_ref.clone());
        let insert = insert.bind(top_up.state).bind(top_up.automatic).bind(top_up.note.as_str());
        let insert = insert.bind(top_up.requested_by.as_str()).bind(Json(top_up.confirmed_by.clone()));
        let insert = insert.bind(top_up.decided_by.clone()).bind(top_up.lot).bind(top_up.refunded);
        let insert = insert.bind(top_up.failure.as_str()).bind(top_up.next_at).bind(top_up.tries);
        insert.bind(top_up.created_at).bind(top_up.decided_at).execute().await.map(drop)
    }

    /// Writes where a top-up has come to, if it is still as it was `seen`.
    ///
    /// # Errors
    /// [`Error::Moved`] when it is not; [`Error::Told`] when the provider's reference belongs to another top-up.
    pub async fn top_up_save(&mut self, seen: &TopUp, now: &TopUp) -> Result<()> {
        let save =
            self.query(TOP_UP_SAVE).bind(seen.id).bind(seen.state).bind(seen.refunded).bind(seen.tries);
        let save = save.bind(now.state).bind(now.provider_ref.clone()).bind(Json(now.confirmed_by.clone()));
        let save = save.bind(now.decided_by.clone()).bind(now.lot).bind(now.refunded);
        let save = save.bind(now.failure.as_str()).bind(now.next_at).bind(now.tries).bind(now.decided_at);
        match save.or_conflict(reference_taken).execute().await? {
            1 => Ok(()),
            _ => Err(Error::Moved),
        }
    }

    /// Notes a message of a provider; false when it was noted before.
    pub async fn provider_event_count(
        &mut self,
        provider: &str,
        event: &str,
        now: Timestamp,
    ) -> Result<bool> {
        Ok(self.query(EVENT_COUNT).bind(provider).bind(event).bind(now).execute().await? == 1)
    }
}

impl Conn {
    /// A top-up.
    pub async fn top_up_fetch(&mut self, id: TopUpId) -> Result<Option<TopUp>> {
        self.query(TOP_UP_FETCH).bind(id).optional().await
    }

    /// At most `limit` top-ups of the team before `before`, the newest first.
    pub async fn top_ups_page(
        &mut self,
        team: TeamId,
        before: Option<TopUpId>,
        limit: u32,
    ) -> Result<Vec<TopUp>> {
        let before = before.map_or_else(|| AFTER_ALL.to_owned(), |id| id.to_string());
        self.query(TOP_UPS_OF_TEAM).bind(team).bind(before).bind(limit).all().await
    }

    /// At most `limit` top-ups that the server has to see to by now, the longest overdue first.
    pub async fn top_ups_due(&mut self, now: Timestamp, limit: u32) -> Result<Vec<TopUp>> {
        self.query(TOP_UPS_DUE).bind(now).bind(limit).all().await
    }

    /// What the team has asked for and not yet got.
    pub async fn top_ups_in_flight(&mut self, team: TeamId) -> Result<Credits> {
        let (sum,) = self.query(TOP_UPS_IN_FLIGHT).bind(team).one().await?;
        Ok(sum)
    }

    /// What the server asked for by itself since `since`, failures left out.
    pub async fn top_ups_automatic(&mut self, team: TeamId, since: Timestamp) -> Result<Credits> {
        let (sum,) = self.query(TOP_UPS_AUTOMATIC).bind(team).bind(since).one().await?;
        Ok(sum)
    }

    /// When the server last asked for one by itself.
    pub async fn top_up_automatic_last(&mut self, team: TeamId) -> Result<Option<Timestamp>> {
        let last = self.query(TOP_UP_AUTOMATIC_LAST).bind(team).optional::<(Timestamp,)>().await?;
        Ok(last.map(|(at,)| at))
    }
}

/// One payment is one top-up: what a provider calls by one name is credited once.
fn reference_taken() -> crate::error::Error {
    let told = "the provider's reference of this payment belongs to another top-up; nothing was credited";
    crate::error::Error::conflict("already-exists", told)
}

impl Record for TopUp {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            amount: row.get("amount")?,
            provider: row.get("provider")?,
            provider_ref: row.get("provider_ref")?,
            state: row.get("state")?,
            automatic: row.get("automatic")?,
            note: row.get("note")?,
            requested_by: row.get("requested_by")?,
            confirmed_by: row.get::<Json<Vec<String>>>("confirmed_by")?.0,
            decided_by: row.get("decided_by")?,
            lot: row.get("lot")?,
            refunded: row.get("refunded")?,
            failure: row.get("failure")?,
            next_at: row.get("next_at")?,
            tries: row.get("tries")?,
            created_at: row.get("created_at")?,
            decided_at: row.get("decided_at")?,
        })
    }
}
