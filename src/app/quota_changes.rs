//! The history of limits: every change of a team's or a member's limits, with who, when and why.

use serde::Serialize;

use super::{App, gate::Scope, members::account_of, members::member_in};
use crate::{
    error::Result,
    ids::{AskId, MemberId, QuotaChangeId},
    model::{
        action::Action,
        page::{Items, Page},
        quota::{LimitChange, Limits, QuotaLevel},
    },
    op::Op,
    policy::{Facts, Resource},
    store::{Tx, identity::MemberRow, quotas::QuotaChangeRow},
    time::Timestamp,
};

/// A change of limits.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct QuotaChangeView {
    /// The change.
    pub id: QuotaChangeId,
    /// Which limits: those that stand, those for a while, or what the operator lets the whole team hold.
    pub kind: QuotaLevel,
    /// When.
    pub at: Timestamp,
    /// Who changed them.
    pub actor: String,
    /// What is different since.
    pub changes: Vec<LimitChange>,
    /// When limits for a while cease to hold.
    pub until: Option<Timestamp>,
    /// Why; may be empty.
    pub reason: String,
    /// The request that was approved by it.
    pub request: Option<AskId>,
}

impl From<QuotaChangeRow> for QuotaChangeView {
    fn from(row: QuotaChangeRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            at: row.at,
            actor: row.actor,
            changes: row.limits_before.changes(&row.limits_after),
            until: row.until_at,
            reason: row.reason,
            request: row.request,
        }
    }
}

/// A change of limits that is about to be written.
pub(super) struct Noted<'a> {
    pub(super) kind: QuotaLevel,
    pub(super) before: &'a Limits,
    pub(super) after: &'a Limits,
    pub(super) until: Option<Timestamp>,
    pub(super) reason: &'a str,
    pub(super) request: Option<AskId>,
}

impl App {
    /// Writes a change of limits into the history of the member, or without one of the team.
    pub(super) async fn quota_note(
        &self,
        op: &Op,
        tx: &mut Tx,
        scope: &Scope,
        member: Option<&MemberRow>,
        noted: Noted<'_>,
    ) -> Result<()> {
        let row = QuotaChangeRow {
            id: op.id(),
            team: scope.team.id,
            member: member.map(|member| member.id),
            kind: noted.kind,
            at: op.now(),
            actor: op.actor.name(),
            limits_before: noted.before.clone(),
            limits_after: noted.after.clone(),
            until_at: noted.until,
            reason: noted.reason.to_owned(),
            request: noted.request,
        };
        Ok(tx.quota_change_insert(&row).await?)
    }

    /// The changes of a member's own limits, the newest first.
    pub async fn member_quota_history(
        &self,
        op: &Op,
        team: &str,
        id: MemberId,
        page: &Page,
    ) -> Result<Items<QuotaChangeView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = account_of(&member_in(&mut read, &scope, id).await?);
        self.look(op, &scope.asker, Action::ListMemberQuotaChanges, resource, Facts::default()).await?;
        let rows = read.quota_changes_of_member(id, page.after(), limit + 1).await?;
        Ok(Items::cut(rows, limit, |row| row.id.to_string()).map(QuotaChangeView::from))
    }

    /// The changes of the team's defaults and of its ceiling, the newest first.
    pub async fn team_quota_history(
        &self,
        op: &Op,
        team: &str,
        page: &Page,
    ) -> Result<Items<QuotaChangeView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::ListTeamQuotaChanges, resource, Facts::default()).await?;
        let rows = read.quota_changes_of_team(scope.team.id, page.after(), limit + 1).await?;
        Ok(Items::cut(rows, limit, |row| row.id.to_string()).map(QuotaChangeView::from))
    }
}
