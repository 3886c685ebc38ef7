//! Top-ups in the database. The posting that credits one goes into the transaction that decides it.

use super::{
    error::Result,
    query::{Record, Row},
    tx::{Conn, Tx},
};
use crate::{
    ids::{TeamId, TopUpId},
    ledger::top_up::{TopUp, TopUpState},
    time::Timestamp,
};

const TOP_UP_INSERT: &str = "
    INSERT INTO top_ups (id, team, amount, provider, state, note, requested_by, decided_by,
                         created_at, decided_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const TOP_UP_FETCH: &str = "SELECT * FROM top_ups WHERE id = $1";

const TOP_UP_DECIDE: &str = "
    UPDATE top_ups SET state = $2, decided_by = $3, decided_at = $4 WHERE id = $1 AND state = 'pending'";

const TOP_UPS_OF_TEAM: &str = "
    SELECT * FROM top_ups WHERE team = $1 AND id < $2 ORDER BY id DESC LIMIT $3";

const TOP_UPS_PENDING: &str = "
    SELECT * FROM top_ups WHERE state = 'pending' AND id < $1 ORDER BY id DESC LIMIT $2";

/// Sorts after every id of a top-up.
const AFTER_ALL: &str = "topuq";

impl Tx {
    /// Writes a new top-up.
    pub async fn top_up_insert(&mut self, top_up: &TopUp) -> Result<()> {
        let insert = self.query(TOP_UP_INSERT).bind(top_up.id).bind(top_up.team).bind(top_up.amount);
        let insert = insert.bind(top_up.provider.as_str()).bind(top_up.state).bind(top_up.note.as_str());
        let insert = insert.bind(top_up.requested_by.as_str()).bind(top_up.decided_by.clone());
        insert.bind(top_up.created_at).bind(top_up.decided_at).execute().await.map(drop)
    }

    /// Decides a pending top-up; false when it was decided before.
    pub async fn top_up_decide(
        &mut self,
        id: TopUpId,
        state: TopUpState,
        decided_by: &str,
        now: Timestamp,
    ) -> Result<bool> {
        Ok(self.query(TOP_UP_DECIDE).bind(id).bind(state).bind(decided_by).bind(now).execute().await? == 1)
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
        self.query(TOP_UPS_OF_TEAM).bind(team).bind(before_text(before)).bind(limit).all().await
    }

    /// At most `limit` undecided top-ups of all teams before `before`, the newest first.
    pub async fn top_ups_pending_page(&mut self, before: Option<TopUpId>, limit: u32) -> Result<Vec<TopUp>> {
        self.query(TOP_UPS_PENDING).bind(before_text(before)).bind(limit).all().await
    }
}

fn before_text(before: Option<TopUpId>) -> String {
    before.map_or_else(|| AFTER_ALL.to_owned(), |id| id.to_string())
}

impl Record for TopUp {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get("team")?,
            amount: row.get("amount")?,
            provider: row.get("provider")?,
            state: row.get("state")?,
            note: row.get("note")?,
            requested_by: row.get("requested_by")?,
            decided_by: row.get("decided_by")?,
            created_at: row.get("created_at")?,
            decided_at: row.get("decided_at")?,
        })
    }
}
