//! Sessions, API keys and login throttles: the rows of who may come in. Only digests of secrets are stored.

use super::{Conn, Json, Result, Tx, convert::Blank, query::record};
use crate::{
    ids::{ApiKeyId, MemberId, SessionId, TeamId, UserId},
    time::Timestamp,
};

record! {
    /// A login session, of a user or of a member: exactly one of the two.
    pub struct SessionRow {
        /// The session.
        pub id: SessionId,
        /// Digest of its token.
        pub token_hash: Vec<u8>,
        /// The user who signed in.
        pub user_id: Option<UserId>,
        /// The member who signed in by team login.
        pub member: Option<MemberId>,
        /// Whether it may do nothing but set a new password.
        pub reset_only: bool,
        /// When it was opened.
        pub created_at: Timestamp,
        /// When it ends by itself.
        pub expires_at: Timestamp,
        /// When it was ended.
        pub revoked_at: Option<Timestamp>,
    }
}

record! {
    /// A member's API key.
    pub struct ApiKeyRow {
        /// The key.
        pub id: ApiKeyId,
        /// The team.
        pub team: TeamId,
        /// The member on whose behalf it acts.
        pub member: MemberId,
        /// What its owner calls it.
        pub name: String,
        /// Digest of its secret.
        pub secret_hash: Vec<u8>,
        /// The actions it may ask for; empty means all that its member may do.
        pub scopes: Json<Vec<String>>,
        /// When it was made.
        pub created_at: Timestamp,
        /// When it ends by itself.
        pub expires_at: Option<Timestamp>,
        /// When it was last used, to the hour.
        pub last_used_at: Option<Timestamp>,
        /// When it was ended.
        pub revoked_at: Option<Timestamp>,
    }
}

record! {
    /// Failed logins of one subject: a login name or an address.
    pub struct ThrottleRow {
        /// The subject.
        pub subject: String,
        /// Failures in a row.
        pub failures: u32,
        /// No further try before this.
        pub blocked_until: Timestamp,
        /// When it last failed.
        pub updated_at: Timestamp,
    }
}

const SESSION_INSERT: &str = "
    INSERT INTO sessions (id, token_hash, user_id, member, reset_only, created_at, expires_at, revoked_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const SESSION_FETCH: &str = "SELECT * FROM sessions WHERE id = $1";

const SESSION_BY_HASH: &str = "SELECT * FROM sessions WHERE token_hash = $1";

const SESSIONS_OF_USER: &str = "
    SELECT * FROM sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY id";

const SESSIONS_OF_MEMBER: &str = "
    SELECT * FROM sessions WHERE member = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY id";

const SESSION_REVOKE: &str = "UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";

const SESSIONS_REVOKE_OF_USER: &str = "
    UPDATE sessions SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL";

const SESSIONS_REVOKE_OF_MEMBER: &str = "
    UPDATE sessions SET revoked_at = $2 WHERE member = $1 AND revoked_at IS NULL";

const API_KEY_INSERT: &str = "
    INSERT INTO api_keys (id, team, member, name, secret_hash, scopes, created_at, expires_at, last_used_at,
                          revoked_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const API_KEY_FETCH: &str = "SELECT * FROM api_keys WHERE id = $1";

const API_KEY_BY_HASH: &str = "SELECT * FROM api_keys WHERE secret_hash = $1";

const API_KEYS_PAGE: &str = "
    SELECT * FROM api_keys WHERE team = $1 AND ($2 = '' OR member = $2) AND id > $3 ORDER BY id LIMIT $4";

const API_KEY_REVOKE: &str = "UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";

const API_KEYS_REVOKE_OF_MEMBER: &str = "
    UPDATE api_keys SET revoked_at = $3 WHERE team = $1 AND member = $2 AND revoked_at IS NULL";

const API_KEY_TOUCH: &str = "
    UPDATE api_keys SET last_used_at = $2
     WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $3)";

const THROTTLE_FETCH: &str = "SELECT * FROM login_throttles WHERE subject = $1";

const THROTTLE_FAIL: &str = "
    INSERT INTO login_throttles (subject, failures, blocked_until, updated_at) VALUES ($1, 1, $2, $2)
    ON CONFLICT (subject) DO UPDATE
       SET failures = CASE WHEN login_throttles.updated_at < $3 THEN 1 ELSE login_throttles.failures + 1 END,
           updated_at = excluded.updated_at
    RETURNING failures";

const THROTTLE_BLOCK: &str = "UPDATE login_throttles SET blocked_until = $2 WHERE subject = $1";

const THROTTLE_CLEAR: &str = "DELETE FROM login_throttles WHERE subject = $1";

impl Conn {
    /// One session, ended or not.
    pub async fn session_fetch(&mut self, id: SessionId) -> Result<Option<SessionRow>> {
        self.query(SESSION_FETCH).bind(id).optional().await
    }

    /// The session whose token has this digest, ended or not.
    pub async fn session_by_hash(&mut self, token_hash: &[u8]) -> Result<Option<SessionRow>> {
        self.query(SESSION_BY_HASH).bind(token_hash).optional().await
    }

    /// A user's open sessions.
    pub async fn sessions_of_user(&mut self, user: UserId, now: Timestamp) -> Result<Vec<SessionRow>> {
        self.query(SESSIONS_OF_USER).bind(user).bind(now).all().await
    }

    /// A member's open sessions by team login.
    pub async fn sessions_of_member(&mut self, member: MemberId, now: Timestamp) -> Result<Vec<SessionRow>> {
        self.query(SESSIONS_OF_MEMBER).bind(member).bind(now).all().await
    }

    /// One API key, ended or not.
    pub async fn api_key_fetch(&mut self, id: ApiKeyId) -> Result<Option<ApiKeyRow>> {
        self.query(API_KEY_FETCH).bind(id).optional().await
    }

    /// The API key whose secret has this digest, ended or not.
    pub async fn api_key_by_hash(&mut self, secret_hash: &[u8]) -> Result<Option<ApiKeyRow>> {
        self.query(API_KEY_BY_HASH).bind(secret_hash).optional().await
    }

    /// API keys of a team, or of one member of it, with ids above `after`, ended ones too.
    pub async fn api_keys_page(
        &mut self,
        team: TeamId,
        member: Option<MemberId>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ApiKeyRow>> {
        self.query(API_KEYS_PAGE).bind(team).bind(Blank(member)).bind(after).bind(limit).all().await
    }

    /// The failed logins of a subject.
    pub async fn throttle_fetch(&mut self, subject: &str) -> Result<Option<ThrottleRow>> {
        self.query(THROTTLE_FETCH).bind(subject).optional().await
    }
}

impl Tx {
    /// Writes a new session.
    pub async fn session_insert(&mut self, row: &SessionRow) -> Result<()> {
        self.query(SESSION_INSERT)
            .bind(row.id)
            .bind(&row.token_hash)
            .bind(row.user_id)
            .bind(row.member)
            .bind(row.reset_only)
            .bind(row.created_at)
            .bind(row.expires_at)
            .bind(row.revoked_at)
            .execute()
            .await?;
        Ok(())
    }

    /// Ends a session; `false` when it was ended before.
    pub async fn session_revoke(&mut self, id: SessionId, now: Timestamp) -> Result<bool> {
        Ok(self.query(SESSION_REVOKE).bind(id).bind(now).execute().await? == 1)
    }

    /// Ends every session of a user; how many there were.
    pub async fn sessions_revoke_of_user(&mut self, user: UserId, now: Timestamp) -> Result<u64> {
        self.query(SESSIONS_REVOKE_OF_USER).bind(user).bind(now).execute().await
    }

    /// Ends every session by team login of a member; how many there were.
    pub async fn sessions_revoke_of_member(&mut self, member: MemberId, now: Timestamp) -> Result<u64> {
        self.query(SESSIONS_REVOKE_OF_MEMBER).bind(member).bind(now).execute().await
    }

    /// Writes a new API key.
    pub async fn api_key_insert(&mut self, row: &ApiKeyRow) -> Result<()> {
        self.query(API_KEY_INSERT)
            .bind(row.id)
            .bind(row.team)
            .bind(row.member)
            .bind(&row.name)
            .bind(&row.secret_hash)
            .bind(&row.scopes)
            .bind(row.created_at)
            .bind(row.expires_at)
            .bind(row.last_used_at)
            .bind(row.revoked_at)
            .execute()
            .await?;
        Ok(())
    }

    /// Ends an API key; `false` when it was ended before.
    pub async fn api_key_revoke(&mut self, id: ApiKeyId, now: Timestamp) -> Result<bool> {
        Ok(self.query(API_KEY_REVOKE).bind(id).bind(now).execute().await? == 1)
    }

    /// Ends every API key of a member; how many there were.
    pub async fn api_keys_revoke_of_member(
        &mut self,
        team: TeamId,
        member: MemberId,
        now: Timestamp,
    ) -> Result<u64> {
        self.query(API_KEYS_REVOKE_OF_MEMBER).bind(team).bind(member).bind(now).execute().await
    }

    /// Notes that a key was used, unless that was noted after `since`: a write per request would cost too
    /// much.
    pub async fn api_key_touch(&mut self, id: ApiKeyId, now: Timestamp, since: Timestamp) -> Result<()> {
        self.query(API_KEY_TOUCH).bind(id).bind(now).bind(since).execute().await?;
        Ok(())
    }

    /// Counts a failed login; the failures in a row, where those before `forget_before` no longer count.
    pub async fn throttle_fail(
        &mut self,
        subject: &str,
        now: Timestamp,
        forget_before: Timestamp,
    ) -> Result<u32> {
        let query = self.query(THROTTLE_FAIL).bind(subject).bind(now).bind(forget_before);
        let (failures,) = query.one().await?;
        Ok(failures)
    }

    /// Lets a subject that failed wait.
    pub async fn throttle_block(&mut self, subject: &str, until: Timestamp) -> Result<()> {
        self.query(THROTTLE_BLOCK).bind(subject).bind(until).execute().await?;
        Ok(())
    }

    /// Forgets the failures of a subject.
    pub async fn throttle_clear(&mut self, subject: &str) -> Result<()> {
        self.query(THROTTLE_CLEAR).bind(subject).execute().await?;
        Ok(())
    }
}
