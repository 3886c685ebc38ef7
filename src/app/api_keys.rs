//! API keys: what a program acts with in a member's name.

use serde::{Deserialize, Serialize};

use super::{
    App,
    gate::Outcome,
    secrets::{Token, TokenKind},
};
use crate::{
    error::{Error, Findings, Result},
    ids::{ApiKeyId, MemberId},
    model::{
        action::Action,
        page::{Items, Page, View},
    },
    op::Op,
    policy::{Facts, Resource},
    store::{Json, sessions::ApiKeyRow},
    time::{HOUR, Span, Timestamp},
};

/// A key to make.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// What its owner calls it, 1 to 64 characters.
    pub name: String,
    /// What it may ask for: an operationId of a team's noun, `<kind>:<verb>`, `view`, `use` or `write`; at most 64.
    /// Empty means all that its member may do.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// When it ends by itself, as a time; at most one of the two may be given.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// When it ends by itself, in days from now, 1 to 3650.
    #[serde(default)]
    pub expires_in_days: Option<u32>,
}

/// A key, without its secret.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ApiKeyView {
    /// Its id.
    pub id: ApiKeyId,
    /// The member in whose name it acts.
    pub member: MemberId,
    /// What its owner calls it.
    pub name: String,
    /// What it may ask for; empty means all that its member may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the hour.
    pub last_used_at: Option<Timestamp>,
    /// When it was ended.
    pub revoked_at: Option<Timestamp>,
}

/// A key with its secret.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct IssuedApiKey {
    /// The key.
    #[serde(flatten)]
    pub key: ApiKeyView,
    /// The bearer token, shown this once; a repetition of the request does not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl From<ApiKeyRow> for ApiKeyView {
    fn from(row: ApiKeyRow) -> Self {
        Self {
            id: row.id,
            member: row.member,
            name: row.name,
            scopes: row.scopes.0,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
        }
    }
}

const DAY: i64 = 24 * HOUR;

impl App {
    /// Checks a new key and says when it ends.
    fn api_key_check(&self, op: &Op, new: &NewApiKey) -> Result<Option<Timestamp>> {
        let mut findings = Findings::new();
        findings.text(&new.name, "/name", 1, 64);
        findings.check(new.scopes.len() <= 64, "/scopes", "at most 64 scopes");
        for (index, scope) in new.scopes.iter().enumerate().take(64) {
            let told = "an operationId of a team's noun, `<kind>:<verb>`, `view`, `use` or `write`";
            findings.check(self.policies.is_scope(scope), &format!("/scopes/{index}"), told);
        }
        let days = new.expires_in_days;
        findings.check(days.is_none_or(|days| (1..=3650).contains(&days)), "/expires_in_days", "1 to 3650");
        let one = days.is_none() || new.expires_at.is_none();
        findings.check(one, "/expires_at", "either this or `expires_in_days`, not both");
        findings.check(new.expires_at.is_none_or(|at| at > op.now()), "/expires_at", "a time to come");
        findings.done()?;
        Ok(new.expires_at.or(days.map(|days| op.now() + Span::from_micros(i64::from(days) * DAY))))
    }

    /// Makes a key that acts in the caller's name.
    pub async fn api_key_create(&self, op: &Op, team: &str, new: NewApiKey) -> Result<IssuedApiKey> {
        // Checked against the clock below: a repetition may come when its time has passed.
        self.unless_answered(op).await?;
        let expires_at = self.api_key_check(op, &new)?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let owner = scope.member.as_ref().map(|member| member.id);
        let resource = Resource::Record { team: scope.team.id, owner };
        let (mut tx, granted) =
            self.permit(op, tx, &scope.asker, Action::CreateApiKey, resource, Facts::default()).await?;
        let token = Token::fresh(TokenKind::ApiKey, op.chance());
        let row = ApiKeyRow {
            id: op.id(),
            team: scope.team.id,
            member: scope.member()?.id,
            name: new.name,
            secret_hash: token.hash(),
            scopes: Json(new.scopes),
            created_at: op.now(),
            expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        tx.api_key_insert(&row).await?;
        let mut issued = IssuedApiKey { key: row.into(), token: None };
        let key = &issued.key;
        let outcome = Outcome {
            team: scope.team.id.to_string(),
            target: key.id.to_string(),
            document: serde_json::json!({
                "name": key.name, "scopes": key.scopes, "expires_at": key.expires_at,
            }),
            status: 201,
            answer: &issued,
        };
        self.conclude(op, tx, &granted, outcome).await?;
        issued.token = Some(token.reveal().to_owned());
        Ok(issued)
    }

    /// Keys of the caller, or of the whole team, the oldest first; ended ones too.
    pub async fn api_keys_page(
        &self,
        op: &Op,
        team: &str,
        view: View,
        page: &Page,
    ) -> Result<Items<ApiKeyView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let owner = match view {
            View::Own => Some(scope.member()?.id),
            View::Admin => None,
        };
        let team = scope.team.id;
        let resource = Resource::Record { team, owner };
        self.look(op, &scope.asker, Action::ListApiKeys, resource, Facts::default()).await?;
        let rows = read.api_keys_page(team, owner, page.after(), limit + 1).await?;
        Ok(Items::cut(rows, limit, |row| row.id.to_string()).map(ApiKeyView::from))
    }

    /// Ends a key at once.
    pub async fn api_key_revoke(&self, op: &Op, team: &str, id: ApiKeyId) -> Result<()> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let key = tx.api_key_fetch(id).await?.filter(|key| key.team == scope.team.id);
        let key = key.ok_or_else(|| Error::not_found("API key"))?;
        let resource = Resource::own(key.team, key.member);
        let (mut tx, granted) =
            self.permit(op, tx, &scope.asker, Action::RevokeApiKey, resource, Facts::default()).await?;
        tx.api_key_revoke(id, op.now()).await?;
        let outcome = Outcome {
            team: key.team.to_string(),
            target: id.to_string(),
            document: serde_json::json!({ "name": key.name }),
            status: 204,
            answer: &(),
        };
        self.conclude(op, tx, &granted, outcome).await
    }
}
