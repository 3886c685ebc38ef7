//! A team's own policies in the database: versions that never change, which of them is live, and the decisions that a
//! draft can be asked about.

use std::collections::BTreeSet;

use super::{Conn, Json, Result, Tx, query::record, record::DecisionRow};
use crate::{
    ids::{DecisionId, TeamId},
    time::Timestamp,
};

record! {
    /// A version of a team's policies.
    pub struct PolicyVersionRow {
        /// The team.
        pub team: TeamId,
        /// Its number, from 1 without a gap.
        pub number: i64,
        /// The version that was live before; 0 when there was none.
        pub parent: i64,
        /// The text, as the formatter lays it out.
        pub text: String,
        /// SHA-256 of the text, in hexadecimal.
        pub digest: String,
        /// How many policies it has.
        pub policies: i64,
        /// The team's cases, as JSON.
        pub cases: String,
        /// Why it was published.
        pub reason: String,
        /// Who published it.
        pub author: String,
        /// Digest of the schema and the shipped policies that it was checked with.
        pub engine: String,
        /// When it was published.
        pub created_at: Timestamp,
    }
}

const VERSION_INSERT: &str = "
    INSERT INTO policy_versions (team, number, parent, text, digest, policies, cases, reason, author, engine,
                                 created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

const VERSION_FETCH: &str = "SELECT * FROM policy_versions WHERE team = $1 AND number = $2";

const VERSIONS_PAGE: &str = "
    SELECT * FROM policy_versions WHERE team = $1 AND number < $2 ORDER BY number DESC LIMIT $3";

const LIVE_SET: &str = "UPDATE teams SET policy_version = $3 WHERE id = $1 AND policy_version = $2";

const LABELS_OF_TEAM: &str = "
    SELECT DISTINCT labels FROM members WHERE team = $1 AND labels <> '[]' AND state <> 'removed'";

const DECISION_FETCH: &str = "SELECT * FROM decisions WHERE id = $1";

const DECISIONS_BACK: &str = "
    SELECT * FROM decisions WHERE team = $1 AND ($2 = '' OR id < $2) AND at >= $3 AND at < $4
     ORDER BY id DESC LIMIT $5";

const DECISIONS_CROWDED: &str = "
    SELECT team FROM decisions WHERE team <> '' GROUP BY team HAVING COUNT(*) > $1";

const DECISIONS_NTH: &str = "
    SELECT id FROM decisions WHERE team = $1 ORDER BY id DESC LIMIT 1 OFFSET $2";

const DECISIONS_FORGET: &str = "DELETE FROM decisions WHERE team = $1 AND id <= $2";

impl Conn {
    /// A version of a team's policies.
    pub async fn policy_version_fetch(
        &mut self,
        team: TeamId,
        number: i64,
    ) -> Result<Option<PolicyVersionRow>> {
        self.query(VERSION_FETCH).bind(team).bind(number).optional().await
    }

    /// The team's versions with numbers below `before`, the newest first.
    pub async fn policy_versions_page(
        &mut self,
        team: TeamId,
        before: i64,
        limit: u32,
    ) -> Result<Vec<PolicyVersionRow>> {
        self.query(VERSIONS_PAGE).bind(team).bind(before).bind(limit).all().await
    }

    /// All labels that members of the team have.
    pub async fn labels_of_team(&mut self, team: TeamId) -> Result<BTreeSet<String>> {
        let rows: Vec<(Json<BTreeSet<String>>,)> = self.query(LABELS_OF_TEAM).bind(team).all().await?;
        Ok(rows.into_iter().flat_map(|(labels,)| labels.0).collect())
    }

    /// A recorded decision.
    pub async fn decision_fetch(&mut self, id: DecisionId) -> Result<Option<DecisionRow>> {
        self.query(DECISION_FETCH).bind(id).optional().await
    }

    /// The team's recorded decisions from `since` to before `until`, the newest first, with ids below `before` (the
    /// empty text begins at the newest).
    pub async fn decisions_back(
        &mut self,
        team: TeamId,
        before: &str,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<DecisionRow>> {
        let query = self.query(DECISIONS_BACK).bind(team).bind(before).bind(since).bind(until);
        query.bind(limit).all().await
    }

    /// The teams with more than `most` recorded decisions.
    pub async fn decisions_crowded(&mut self, most: u32) -> Result<Vec<TeamId>> {
        let rows: Vec<(TeamId,)> = self.query(DECISIONS_CROWDED).bind(most).all().await?;
        Ok(rows.into_iter().map(|(team,)| team).collect())
    }

    /// The decision of the team that has `newer` newer ones.
    pub async fn decision_nth(&mut self, team: TeamId, newer: u32) -> Result<Option<DecisionId>> {
        let row: Option<(DecisionId,)> = self.query(DECISIONS_NTH).bind(team).bind(newer).optional().await?;
        Ok(row.map(|(id,)| id))
    }
}

impl Tx {
    /// Writes a version.
    pub async fn policy_version_insert(&mut self, row: &PolicyVersionRow) -> Result<()> {
        let insert = self.query(VERSION_INSERT).bind(row.team).bind(row.number).bind(row.parent);
        let insert = insert.bind(&row.text).bind(&row.digest).bind(row.policies).bind(&row.cases);
        let insert = insert.bind(&row.reason).bind(&row.author).bind(&row.engine).bind(row.created_at);
        insert.execute().await.map(drop)
    }

    /// Makes `number` the live version in the place of `expected`; whether that was the live one.
    pub async fn policy_live_set(&mut self, team: TeamId, expected: i64, number: i64) -> Result<bool> {
        Ok(self.query(LIVE_SET).bind(team).bind(expected).bind(number).execute().await? == 1)
    }

    /// Forgets the team's decisions up to `last`; how many there were.
    pub async fn decisions_forget(&mut self, team: TeamId, last: DecisionId) -> Result<u64> {
        self.query(DECISIONS_FORGET).bind(team).bind(last).execute().await
    }
}
