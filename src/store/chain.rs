//! The links of the chains over the books.

use super::{
    error::Result,
    query::{Record, Row},
    tx::{Conn, Tx},
};
use crate::{ids::TeamId, ledger::chain::Link};

const TEAMS_TO_LINK: &str = "
    SELECT t.id, t.booked, COALESCE((SELECT MAX(through_seq) FROM ledger_links l WHERE l.team = t.id), 0)
    FROM teams t
    WHERE t.id > $1 AND t.booked > COALESCE((SELECT MAX(through_seq) FROM ledger_links l WHERE l.team = t.id), 0)
    ORDER BY t.id LIMIT $2";

const LINK_LAST: &str = "
    SELECT * FROM ledger_links WHERE team = $1 ORDER BY through_seq DESC LIMIT 1";

const LINK_INSERT: &str = "
    INSERT INTO ledger_links (team, through_seq, digest, linked_at) VALUES ($1, $2, $3, $4)";

impl Conn {
    /// At most `limit` teams after `after` with transactions that no link covers: each with the number of its last
    /// transaction, and of the last that is covered.
    pub async fn teams_to_link(
        &mut self,
        after: Option<TeamId>,
        limit: u32,
    ) -> Result<Vec<(TeamId, u64, u64)>> {
        let after = after.map(|team| team.to_string()).unwrap_or_default();
        self.query(TEAMS_TO_LINK).bind(after).bind(limit).all().await
    }

    /// The last link of a team's chain.
    pub async fn link_last(&mut self, team: TeamId) -> Result<Option<Link>> {
        self.query(LINK_LAST).bind(team).optional().await
    }
}

impl Tx {
    /// Adds a link to a team's chain.
    ///
    /// # Errors
    /// [`super::Error::Unique`] when there is one with the same end.
    pub async fn link_insert(&mut self, link: &Link) -> Result<()> {
        let insert = self.query(LINK_INSERT).bind(link.team).bind(link.through_seq);
        insert.bind(link.digest.as_str()).bind(link.linked_at).execute().await.map(drop)
    }
}

impl Record for Link {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            team: row.get("team")?,
            through_seq: row.get("through_seq")?,
            digest: row.get("digest")?,
            linked_at: row.get("linked_at")?,
        })
    }
}
