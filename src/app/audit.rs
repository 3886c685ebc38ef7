//! The audit log of a team, to be read.

use serde::Serialize;

use super::App;
use crate::{
    error::{Error, Result},
    ids::AuditId,
    model::{
        action::Action,
        page::{Items, Page},
    },
    op::Op,
    policy::{Facts, Resource},
    store::record::AuditRow,
    time::Timestamp,
};

/// A line of the audit log.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct AuditView {
    /// The event.
    pub id: AuditId,
    /// When.
    pub at: Timestamp,
    /// Who acted: the id of a user, a member or an API key, or a part of the server.
    pub actor: String,
    /// What they did.
    pub action: String,
    /// To what.
    pub target: String,
    /// `done` or `refused`.
    pub outcome: String,
    /// The recorded decision behind it.
    pub decision: Option<String>,
    /// The request.
    pub request: String,
    /// What changed.
    #[schema(value_type = Object)]
    pub document: serde_json::Value,
}

impl TryFrom<AuditRow> for AuditView {
    type Error = Error;
    fn try_from(row: AuditRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            at: row.at,
            actor: row.actor,
            action: row.action,
            target: row.target,
            outcome: row.outcome,
            decision: row.decision,
            request: row.request,
            document: serde_json::from_str(&row.document).map_err(Error::internal)?,
        })
    }
}

impl App {
    /// The team's audit log, the newest first.
    pub async fn audit_page(&self, op: &Op, team: &str, page: &Page) -> Result<Items<AuditView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let team = scope.team.id;
        let resource = Resource::team(team);
        self.look(op, &scope.asker, Action::ListAuditEvents, resource, Facts::default()).await?;
        let rows = read.audit_page(&team.to_string(), page.after(), limit + 1).await?;
        let rows: Result<Vec<AuditView>> = rows.into_iter().map(AuditView::try_from).collect();
        Ok(Items::cut(rows?, limit, |row| row.id.to_string()))
    }
}
