//! Who is behind a token.

use super::{
    App,
    gate::{session_ended, signed_out},
    secrets::{TokenKind, token_hash},
};
use crate::{error::Result, op::Actor};

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
}
