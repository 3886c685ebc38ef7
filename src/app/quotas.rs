//! What members may see and how much of it they may hold: the team's limits, a member's own, and all of a member's
//! permissions.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    App,
    gate::{Outcome, Scope, seat_of},
    members::{account_of, member_in},
    products::stale,
};
use crate::{
    error::{Findings, Result},
    ids::MemberId,
    model::{
        action::Action,
        quota::{Limits, Usage},
        team::{MemberState, Preset, Role},
    },
    op::Op,
    policy::{Facts, Principal, Resource, Row},
    store::{Conn, identity::MemberRow},
};

/// The limits of a team or of a member.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct QuotaView {
    /// What is said here; what is not said falls back to the team, and then to no limit.
    pub limits: Limits,
    /// What holds.
    pub effective: Limits,
    /// What is held now of each counted limit.
    pub usage: Usage,
    /// The version of the team or of the member; the ETag.
    pub version: i64,
}

/// All that a member may do.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct PermissionsView {
    /// The member.
    pub member: MemberId,
    /// The team's set of role rules.
    pub preset: Preset,
    /// What the member is.
    pub role: Role,
    /// Where the membership stands; only an issued or active member may do anything.
    pub state: MemberState,
    /// For every noun, how far the member may look, enter and change.
    pub matrix: Vec<Row>,
    /// What holds for the member. Owners and admins are not bound by it.
    pub limits: Limits,
    /// What the member holds now of each counted limit.
    pub usage: Usage,
}

/// The most names in one list of a quota, and the longest name in characters.
const MOST_NAMES: usize = 200;
const LONGEST_NAME: usize = 128;
/// The highest number of any counted limit: beyond it lies a slip of the keyboard.
const HIGHEST: u32 = 1_000_000;

fn check(limits: &Limits) -> Result<()> {
    let mut findings = Findings::new();
    let mut names = |names: &Option<BTreeSet<String>>, pointer: &str| {
        let names = names.iter().flatten();
        findings.check(names.clone().count() <= MOST_NAMES, pointer, format!("at most {MOST_NAMES} names"));
        for (index, name) in names.enumerate().take(MOST_NAMES) {
            findings.text(name, &format!("{pointer}/{index}"), 1, LONGEST_NAME);
        }
    };
    names(&limits.regions, "/regions");
    names(&limits.instance_types, "/instance_types");
    names(&limits.accelerators, "/accelerators");
    names(&limits.images, "/images");
    for (number, pointer) in [
        (limits.instances, "/instances"),
        (limits.gpus, "/gpus"),
        (limits.gpus_per_instance, "/gpus_per_instance"),
        (limits.snapshots, "/snapshots"),
        (limits.network_groups, "/network_groups"),
        (limits.storage_gib, "/storage_gib"),
    ] {
        findings.check(number.is_none_or(|n| n <= HIGHEST), pointer, format!("at most {HIGHEST}"));
    }
    findings.done()
}

async fn team_quota(conn: &mut Conn, scope: &Scope) -> Result<QuotaView> {
    let team = &scope.team;
    let usage = conn.usage_fetch(&team.id.to_string()).await?;
    Ok(QuotaView {
        limits: team.limits.clone(),
        effective: team.limits.clone(),
        usage,
        version: team.version,
    })
}

async fn member_quota(conn: &mut Conn, scope: &Scope, row: MemberRow) -> Result<QuotaView> {
    let effective = row.limits.or(&scope.team.limits);
    let usage = conn.usage_fetch(&row.id.to_string()).await?;
    Ok(QuotaView { limits: row.limits, effective, usage, version: row.version })
}

impl App {
    /// All that a member may do, as the policies answer.
    pub async fn member_permissions(&self, op: &Op, team: &str, id: MemberId) -> Result<PermissionsView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let row = member_in(&mut read, &scope, id).await?;
        let resource = account_of(&row);
        self.look(op, &scope.asker, Action::GetMemberPermissions, resource, Facts::default()).await?;
        let limits = row.limits.or(&scope.team.limits);
        let rules = self.rules_of(&mut read, &scope.team).await?;
        let mut principal = seat_of(op, &scope.team, &row, rules);
        (principal.reset_only, principal.key_scopes) = (false, None);
        Ok(PermissionsView {
            member: id,
            preset: scope.team.preset,
            role: row.role,
            state: row.state,
            matrix: self.policies.matrix(&Principal::Member(principal.into())),
            limits,
            usage: read.usage_fetch(&id.to_string()).await?,
        })
    }

    /// The team's limits: what holds for members who have no word of their own.
    pub async fn team_quota_fetch(&self, op: &Op, team: &str) -> Result<QuotaView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::GetTeamQuota, resource, Facts::default()).await?;
        team_quota(&mut read, &scope).await
    }

    /// Puts other limits in the place of the team's, if it is still at the expected version.
    pub async fn team_quota_put(
        &self,
        op: &Op,
        team: &str,
        expected: i64,
        limits: Limits,
    ) -> Result<QuotaView> {
        check(&limits)?;
        let mut tx = self.begin(op).await?;
        let mut scope = self.enter(op, &mut tx, team).await?;
        let team = scope.team.id;
        let (mut tx, granted) = self
            .permit(op, tx, &scope.asker, Action::PutTeamQuota, Resource::team(team), Facts::default())
            .await?;
        if !tx.team_limits_put(team, expected, &limits).await? {
            return Err(stale());
        }
        let before = std::mem::replace(&mut scope.team.limits, limits);
        scope.team.version = expected + 1;
        let view = team_quota(&mut tx, &scope).await?;
        let outcome = Outcome {
            team: team.to_string(),
            target: team.to_string(),
            document: serde_json::json!({ "limits": view.limits, "limits_before": before }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &granted, outcome).await?;
        Ok(view)
    }

    /// A member's own limits.
    pub async fn member_quota_fetch(&self, op: &Op, team: &str, id: MemberId) -> Result<QuotaView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let row = member_in(&mut read, &scope, id).await?;
        let resource = account_of(&row);
        self.look(op, &scope.asker, Action::GetMemberQuota, resource, Facts::default()).await?;
        member_quota(&mut read, &scope, row).await
    }

    /// Puts other limits in the place of a member's, if they are still at the expected version.
    pub async fn member_quota_put(
        &self,
        op: &Op,
        team: &str,
        id: MemberId,
        expected: i64,
        limits: Limits,
    ) -> Result<QuotaView> {
        check(&limits)?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let mut row = member_in(&mut tx, &scope, id).await?;
        let resource = account_of(&row);
        let (mut tx, granted) =
            self.permit(op, tx, &scope.asker, Action::PutMemberQuota, resource, Facts::default()).await?;
        if !tx.member_limits_put(id, expected, &limits).await? {
            return Err(stale());
        }
        let before = std::mem::replace(&mut row.limits, limits);
        row.version = expected + 1;
        let view = member_quota(&mut tx, &scope, row).await?;
        let outcome = Outcome {
            team: scope.team.id.to_string(),
            target: id.to_string(),
            document: serde_json::json!({ "limits": view.limits, "limits_before": before }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &granted, outcome).await?;
        Ok(view)
    }
}
