//! Candidates for a team's policies that are asked beside the live ones, and where the two differ.

use super::{Conn, Json, Result, Tx, query::record};
use crate::{
    ids::{DecisionId, TeamId},
    model::team::Role,
    time::Timestamp,
};

record! {
    /// A candidate that is, or was, asked beside the live policies.
    pub struct ShadowRow {
        /// The team.
        pub team: TeamId,
        /// Its number within the team, from 1.
        pub number: i64,
        /// The version that was live when it began.
        pub base: i64,
        /// The text, as the formatter lays it out.
        pub text: String,
        /// SHA-256 of the text, in hexadecimal.
        pub digest: String,
        /// How many policies it has.
        pub policies: i64,
        /// Why it was started.
        pub reason: String,
        /// Who started it.
        pub author: String,
        /// When it began.
        pub started_at: Timestamp,
        /// When it ends by itself.
        pub ends_at: Timestamp,
        /// When it ended.
        pub ended_at: Option<Timestamp>,
        /// Why it ended: `over`, `published` or `stopped`.
        pub ending: Option<String>,
        /// Decisions that it was asked about.
        pub asked: i64,
        /// Those that it would refuse and that were allowed.
        pub refused: i64,
        /// Those that it would allow and that were refused.
        pub allowed: i64,
        /// Those that it could not answer.
        pub failed: i64,
        /// Those that it was not asked about: there were too many at once.
        pub left_out: i64,
    }
}

record! {
    /// A kind of decision that the candidate answers otherwise.
    pub struct DifferenceRow {
        /// The team.
        pub team: TeamId,
        /// The candidate's number.
        pub shadow: i64,
        /// The role of those who asked.
        pub role: Role,
        /// The action's operationId.
        pub action: String,
        /// Whether the candidate allows what was refused; else it refuses what was allowed.
        pub allows: bool,
        /// The policies that decide.
        pub policies: Json<Vec<String>>,
        /// How many there were.
        pub count: i64,
        /// Some of them, the oldest first.
        pub examples: Json<Vec<DecisionId>>,
        /// When there was the first.
        pub first_at: Timestamp,
        /// When there was the last.
        pub last_at: Timestamp,
    }
}

/// What came of asking a candidate for a while, to be added to what came of it before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShadowCounts {
    /// Decisions that it was asked about.
    pub asked: i64,
    /// Those that it would refuse and that were allowed.
    pub refused: i64,
    /// Those that it would allow and that were refused.
    pub allowed: i64,
    /// Those that it could not answer.
    pub failed: i64,
    /// Those that it was not asked about.
    pub left_out: i64,
}

const SHADOW_FETCH: &str = "SELECT * FROM policy_shadows WHERE team = $1 AND number = $2";

const SHADOW_LATEST: &str = "SELECT * FROM policy_shadows WHERE team = $1 ORDER BY number DESC LIMIT 1";

const SHADOWS_OVER: &str = "
    SELECT * FROM policy_shadows WHERE ended_at IS NULL AND ends_at <= $1 ORDER BY ends_at, team LIMIT 100";

const SHADOW_INSERT: &str = "
    INSERT INTO policy_shadows (team, number, base, text, digest, policies, reason, author, started_at, ends_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const SHADOW_END: &str = "
    UPDATE policy_shadows SET ended_at = $3, ending = $4
     WHERE team = $1 AND number = $2 AND ended_at IS NULL";

const SHADOW_COUNT: &str = "
    UPDATE policy_shadows
       SET asked = asked + $3, refused = refused + $4, allowed = allowed + $5, failed = failed + $6,
           left_out = left_out + $7
     WHERE team = $1 AND number = $2";

const POINTER_SET: &str = "UPDATE teams SET policy_shadow = $3 WHERE id = $1 AND policy_shadow = $2";

const DIFFERENCES: &str = "
    SELECT * FROM policy_differences WHERE team = $1 AND shadow = $2
     ORDER BY count DESC, action, role, allows, policies";

const DIFFERENCE_ADD: &str = "
    INSERT INTO policy_differences (team, shadow, role, action, allows, policies, count, examples, first_at, last_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (team, shadow, role, action, allows, policies) DO UPDATE
       SET count = policy_differences.count + excluded.count, examples = excluded.examples,
           first_at = CASE WHEN excluded.first_at < policy_differences.first_at THEN excluded.first_at
                           ELSE policy_differences.first_at END,
           last_at = CASE WHEN excluded.last_at > policy_differences.last_at THEN excluded.last_at
                          ELSE policy_differences.last_at END";

const DIFFERENCES_FORGET: &str = "DELETE FROM policy_differences WHERE team = $1 AND shadow <= $2";

const SHADOWS_FORGET: &str = "DELETE FROM policy_shadows WHERE team = $1 AND number <= $2";

impl Conn {
    /// The team's candidate with this number.
    pub async fn shadow_fetch(&mut self, team: TeamId, number: i64) -> Result<Option<ShadowRow>> {
        self.query(SHADOW_FETCH).bind(team).bind(number).optional().await
    }

    /// The team's latest candidate.
    pub async fn shadow_latest(&mut self, team: TeamId) -> Result<Option<ShadowRow>> {
        self.query(SHADOW_LATEST).bind(team).optional().await
    }

    /// Candidates that are to end by themselves, at most 100.
    pub async fn shadows_over(&mut self, now: Timestamp) -> Result<Vec<ShadowRow>> {
        self.query(SHADOWS_OVER).bind(now).all().await
    }

    /// Where a candidate and the live policies differ, the most frequent first.
    pub async fn differences_of(&mut self, team: TeamId, number: i64) -> Result<Vec<DifferenceRow>> {
        self.query(DIFFERENCES).bind(team).bind(number).all().await
    }
}

impl Tx {
    /// Writes a candidate, and forgets those of the team with numbers up to `forgotten`.
    pub async fn shadow_insert(&mut self, row: &ShadowRow, forgotten: i64) -> Result<()> {
        self.query(DIFFERENCES_FORGET).bind(row.team).bind(forgotten).execute().await?;
        self.query(SHADOWS_FORGET).bind(row.team).bind(forgotten).execute().await?;
        let insert = self.query(SHADOW_INSERT).bind(row.team).bind(row.number).bind(row.base);
        let insert = insert.bind(&row.text).bind(&row.digest).bind(row.policies).bind(&row.reason);
        insert.bind(&row.author).bind(row.started_at).bind(row.ends_at).execute().await.map(drop)
    }

    /// Makes `number` the team's running candidate in the place of `expected`; whether that was it.
    pub async fn shadow_point(&mut self, team: TeamId, expected: i64, number: i64) -> Result<bool> {
        Ok(self.query(POINTER_SET).bind(team).bind(expected).bind(number).execute().await? == 1)
    }

    /// Ends the team's running candidate; whether it was running.
    pub async fn shadow_end(
        &mut self,
        team: TeamId,
        number: i64,
        at: Timestamp,
        ending: &'static str,
    ) -> Result<bool> {
        let ended =
            self.query(SHADOW_END).bind(team).bind(number).bind(at).bind(ending).execute().await? == 1;
        Ok(self.shadow_point(team, number, 0).await? && ended)
    }

    /// Adds to a candidate's counts; whether there is such a candidate.
    pub async fn shadow_count(&mut self, team: TeamId, number: i64, more: ShadowCounts) -> Result<bool> {
        let ShadowCounts { asked, refused, allowed, failed, left_out } = more;
        let add = self.query(SHADOW_COUNT).bind(team).bind(number).bind(asked).bind(refused);
        Ok(add.bind(allowed).bind(failed).bind(left_out).execute().await? == 1)
    }

    /// Adds differences of one kind to those that are known; its examples take the place of theirs.
    pub async fn difference_add(&mut self, row: &DifferenceRow) -> Result<()> {
        let add = self.query(DIFFERENCE_ADD).bind(row.team).bind(row.shadow).bind(row.role).bind(&row.action);
        let add = add.bind(row.allows).bind(&row.policies).bind(row.count).bind(&row.examples);
        add.bind(row.first_at).bind(row.last_at).execute().await.map(drop)
    }
}
