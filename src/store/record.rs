//! The record: decisions, audit events, the outbox, and the answers kept for repeated requests.

use super::{Conn, Result, Tx, query::record};
use crate::{
    error::Error as ToldError,
    ids::{AuditId, DecisionId, MemberId, OutboxId},
    time::Timestamp,
};

record! {
    /// What the policy decided and why.
    pub struct DecisionRow {
        /// The decision.
        pub id: DecisionId,
        /// The id of the team, or the empty text for the site.
        pub team: String,
        /// When.
        pub at: Timestamp,
        /// Who asked.
        pub actor: String,
        /// For which action.
        pub action: String,
        /// On what.
        pub resource: String,
        /// The outcome.
        pub allowed: bool,
        /// The facts and the policies that decided, as JSON.
        pub document: String,
    }
}

record! {
    /// A line of the audit log.
    pub struct AuditRow {
        /// The event.
        pub id: AuditId,
        /// The id of the team, or the empty text for the site.
        pub team: String,
        /// When.
        pub at: Timestamp,
        /// Who acted.
        pub actor: String,
        /// What they did.
        pub action: String,
        /// To what.
        pub target: String,
        /// `done` or `refused`.
        pub outcome: String,
        /// The decision behind it; a loop of the server has none.
        pub decision: Option<String>,
        /// The request or the pass of a loop.
        pub request: String,
        /// What changed, as JSON; never a secret.
        pub document: String,
        /// The member who acted, in person or by a key.
        pub member: Option<MemberId>,
        /// The version of the schema that decided; `None` when no policy was asked.
        pub schema_version: Option<String>,
        /// The version of the policies that hold in every team.
        pub platform_version: Option<String>,
        /// The version of the roles of the team's preset.
        pub preset_version: Option<String>,
        /// The version of the team's own policies.
        pub team_version: Option<String>,
    }
}

record! {
    /// A message to the outside.
    pub struct OutboxRow {
        /// The message.
        pub id: OutboxId,
        /// The id of the team, or the empty text for the site.
        pub team: String,
        /// What it tells.
        pub kind: String,
        /// Its content, as JSON.
        pub document: String,
        /// When it was written.
        pub created_at: Timestamp,
        /// When it was delivered.
        pub delivered_at: Option<Timestamp>,
    }
}

record! {
    /// The answer of a request with an idempotency key.
    pub struct IdempotencyRow {
        /// Who asked what: principal, method and path.
        pub scope: String,
        /// The client's key.
        pub key: String,
        /// Digest of the request's body.
        pub digest: String,
        /// The status of the answer.
        pub status: u16,
        /// The body of the answer, without secrets.
        pub body: String,
        /// When it was answered.
        pub created_at: Timestamp,
    }
}

const DECISION_INSERT: &str = "
    INSERT INTO decisions (id, team, at, actor, action, resource, allowed, document)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const AUDIT_INSERT: &str = "
    INSERT INTO audit_events (id, team, at, actor, action, target, outcome, decision, request, document, member,
                              schema_version, platform_version, preset_version, team_version)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";

const OUTBOX_INSERT: &str = "
    INSERT INTO outbox (id, team, kind, document, created_at, delivered_at)
    VALUES ($1, $2, $3, $4, $5, NULL)";

const IDEMPOTENCY_FETCH: &str = "SELECT * FROM idempotency WHERE scope = $1 AND key = $2";

const IDEMPOTENCY_INSERT: &str = "
    INSERT INTO idempotency (scope, key, digest, status, body, created_at) VALUES ($1, $2, $3, $4, $5, $6)";

const IDEMPOTENCY_FORGET: &str = "DELETE FROM idempotency WHERE created_at < $1";

impl Conn {
    /// The answer of an earlier request with this key.
    pub async fn idempotency_fetch(&mut self, scope: &str, key: &str) -> Result<Option<IdempotencyRow>> {
        self.query(IDEMPOTENCY_FETCH).bind(scope).bind(key).optional().await
    }
}

impl Tx {
    /// Writes a decision.
    pub async fn decision_insert(&mut self, row: &DecisionRow) -> Result<()> {
        self.query(DECISION_INSERT)
            .bind(row.id)
            .bind(&row.team)
            .bind(row.at)
            .bind(&row.actor)
            .bind(&row.action)
            .bind(&row.resource)
            .bind(row.allowed)
            .bind(&row.document)
            .execute()
            .await?;
        Ok(())
    }

    /// Writes a line of the audit log.
    pub async fn audit_insert(&mut self, row: &AuditRow) -> Result<()> {
        self.query(AUDIT_INSERT)
            .bind(row.id)
            .bind(&row.team)
            .bind(row.at)
            .bind(&row.actor)
            .bind(&row.action)
            .bind(&row.target)
            .bind(&row.outcome)
            .bind(&row.decision)
            .bind(&row.request)
            .bind(&row.document)
            .bind(row.member)
            .bind(&row.schema_version)
            .bind(&row.platform_version)
            .bind(&row.preset_version)
            .bind(&row.team_version)
            .execute()
            .await?;
        Ok(())
    }

    /// Writes a message that is to be delivered.
    pub async fn outbox_insert(&mut self, row: &OutboxRow) -> Result<()> {
        let query = self.query(OUTBOX_INSERT).bind(row.id).bind(&row.team).bind(&row.kind);
        query.bind(&row.document).bind(row.created_at).execute().await?;
        Ok(())
    }

    /// Keeps the answer of a request. Two requests with one key at the same moment: the second is a conflict.
    pub async fn idempotency_insert(&mut self, row: &IdempotencyRow) -> Result<()> {
        self.query(IDEMPOTENCY_INSERT)
            .bind(&row.scope)
            .bind(&row.key)
            .bind(&row.digest)
            .bind(row.status)
            .bind(&row.body)
            .bind(row.created_at)
            .or_conflict(|| {
                let told =
                    "a request with this idempotency key was answered just now; send it again for its answer";
                ToldError::conflict("idempotency-race", told).retry_after(1)
            })
            .execute()
            .await?;
        Ok(())
    }

    /// Forgets the answers given before `before`; how many there were.
    pub async fn idempotency_forget(&mut self, before: Timestamp) -> Result<u64> {
        self.query(IDEMPOTENCY_FORGET).bind(before).execute().await
    }
}
