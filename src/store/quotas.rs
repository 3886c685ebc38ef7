//! The history of limits: who changed which, from what to what.

use super::{Conn, Result, Tx, query::record};
use crate::{
    ids::{AskId, MemberId, QuotaChangeId, TeamId},
    model::quota::{Limits, QuotaLevel},
    time::Timestamp,
};

record! {
    /// A change of limits; never changed itself.
    pub struct QuotaChangeRow {
        /// The change.
        pub id: QuotaChangeId,
        /// The team.
        pub team: TeamId,
        /// Whose limits they are; `None`: the team's.
        pub member: Option<MemberId>,
        /// Which of them.
        pub kind: QuotaLevel,
        /// When.
        pub at: Timestamp,
        /// Who changed them.
        pub actor: String,
        /// What was said before.
        pub limits_before: Limits,
        /// What is said since.
        pub limits_after: Limits,
        /// When what is said since ceases to hold.
        pub until_at: Option<Timestamp>,
        /// Why.
        pub reason: String,
        /// The request that was approved by it.
        pub request: Option<AskId>,
    }
}

const QUOTA_CHANGE_INSERT: &str = "
    INSERT INTO quota_changes (id, team, member, kind, at, actor, limits_before, limits_after, until_at, reason,
                               request)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

const QUOTA_CHANGES_OF_MEMBER: &str = "
    SELECT * FROM quota_changes WHERE member = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3";

const QUOTA_CHANGES_OF_TEAM: &str = "
    SELECT * FROM quota_changes
     WHERE team = $1 AND member IS NULL AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3";

impl Conn {
    /// The changes of a member's limits, newest first, with ids below `before`; the empty text begins at the newest.
    pub async fn quota_changes_of_member(
        &mut self,
        member: MemberId,
        before: &str,
        limit: u32,
    ) -> Result<Vec<QuotaChangeRow>> {
        self.query(QUOTA_CHANGES_OF_MEMBER).bind(member).bind(before).bind(limit).all().await
    }

    /// The changes of a team's defaults and of its ceiling, likewise.
    pub async fn quota_changes_of_team(
        &mut self,
        team: TeamId,
        before: &str,
        limit: u32,
    ) -> Result<Vec<QuotaChangeRow>> {
        self.query(QUOTA_CHANGES_OF_TEAM).bind(team).bind(before).bind(limit).all().await
    }
}

impl Tx {
    /// Writes a change of limits.
    pub async fn quota_change_insert(&mut self, row: &QuotaChangeRow) -> Result<()> {
        let insert = self.query(QUOTA_CHANGE_INSERT).bind(row.id).bind(row.team).bind(row.member);
        let insert = insert.bind(row.kind).bind(row.at).bind(&row.actor).bind(&row.limits_before);
        let insert = insert.bind(&row.limits_after).bind(row.until_at).bind(&row.reason);
        insert.bind(row.request).execute().await.map(drop)
    }
}
