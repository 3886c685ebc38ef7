//! Who is behind a token.

use super::{
    App,
    gate::{session_ended, signed_out},
    secrets::{TokenKind, token_hash},
};
use crate::{
    error::Result,
    ids::ApiKeyId,
    op::{Actor, SystemActor, SystemWarrant},
    time::{HOUR, Span},
};

/// How often at most the use of a key is noted.
const TOUCHED_EVERY: Span = Span::from_micros(HOUR);

impl App {
    /// The actor that a bearer token belongs to; without a token, nobody.
    pub async fn authenticate(&self, token: Option<&str>) -> Result<Actor> {
        let Some(token) = token else { return Ok(Actor::Anonymous) };
        let hash = token_hash(token);
        let now = self.clock().now();
        let mut conn = self.db.glance().await?;
        match TokenKind::of(token) {
            Some(TokenKind::Session) => {
                let row = conn.session_by_hash(&hash).await?.ok_or_else(session_ended)?;
                if row.revoked_at.is_some() || row.expires_at <= now {
                    return Err(session_ended());
                }
                let (session, reset_only, since) = (row.id, row.reset_only, row.created_at);
                match (row.user_id, row.member) {
                    (Some(user), _) => Ok(Actor::User { user, session, reset_only, since }),
                    (None, Some(member)) => {
                        let row = conn.member_fetch(member).await?.ok_or_else(session_ended)?;
                        if since < row.valid_from {
                            return Err(session_ended());
                        }
                        Ok(Actor::Member { team: row.team, member, session, reset_only, since })
                    }
                    (None, None) => Err(session_ended()),
                }
            }
            Some(TokenKind::ApiKey) => {
                let row = conn.api_key_by_hash(&hash).await?.ok_or_else(session_ended)?;
                if row.revoked_at.is_some() || row.expires_at.is_some_and(|at| at <= now) {
                    return Err(session_ended());
                }
                if row.last_used_at.is_none_or(|at| at <= now - TOUCHED_EVERY) {
                    self.api_key_touch(row.id);
                }
                Ok(Actor::Key {
                    key: row.id,
                    team: row.team,
                    member: row.member,
                    scopes: row.scopes.0.into(),
                })
            }
            Some(TokenKind::OperatorClaim) | None => Err(signed_out()),
        }
    }

    /// Notes the use of a key beside the request, which does not wait for it and does not fail with it.
    fn api_key_touch(&self, key: ApiKeyId) {
        let (db, op) = (self.db.clone(), self.op(Actor::System(SystemActor::Doorkeeper)));
        tokio::spawn(async move {
            let Some(warrant) = SystemWarrant::of(&op) else { return };
            let noted = async {
                let mut tx = db.begin().await?;
                tx.api_key_touch(key, op.now(), op.now() - TOUCHED_EVERY).await?;
                tx.commit(&warrant).await
            };
            if let Err(error) = noted.await {
                tracing::debug!(%key, %error, "the use of a key was not noted");
            }
        });
    }
}
