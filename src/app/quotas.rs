//! What members may see and how much of it they may hold: the team's limits, a member's own, those for a while, what
//! the operator lets the whole team hold, and all of a member's permissions.

use serde::{Deserialize, Serialize};

use super::{
    App, books,
    gate::{Outcome, Scope, seat_of, team_named},
    members::{account_of, member_in},
    products::stale,
    quota_changes::Noted,
};
use crate::{
    error::{Findings, Result},
    ids::MemberId,
    model::{
        action::Action,
        quota::{Limits, QuotaLevel, Temporary, Usage},
        team::{MemberState, Preset, Role},
    },
    money::Credits,
    op::Op,
    policy::{Facts, Principal, Resource, Row},
    store::{Conn, Json, identity::MemberRow},
    time::{Span, Timestamp},
};

/// The limits of a team or of a member.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct QuotaView {
    /// What is said here; what is not said falls back to the team, and then to no limit.
    pub limits: Limits,
    /// Limits of a member that hold until an instant, over those; the last on top.
    pub temporary: Vec<Temporary>,
    /// What holds now.
    pub effective: Limits,
    /// What is held now of each counted limit.
    pub usage: Usage,
    /// For a team: what the operator lets all of it hold together, owner and admins too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Limits>,
    /// The version of the team or of the member; the ETag.
    pub version: i64,
}

/// Limits for a while.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTemporary {
    /// The limits; at least one. They take the place of all that hold for a while now.
    pub limits: Limits,
    /// When they cease to hold, at most a year ahead. What stands holds again from then on.
    pub until: Timestamp,
    /// Why, at most 500 characters; kept in the history.
    #[serde(default)]
    pub reason: String,
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
/// The longest reason in characters.
const LONGEST_REASON: usize = 500;
/// How long limits for a while may hold.
pub(super) const LONGEST: Span = Span::from_seconds(366 * 86_400);

/// What is wrong with limits; `under` is where they are in the body.
pub(super) fn limits_check(limits: &Limits, under: &str, findings: &mut Findings) {
    for (limit, names) in limits.sets() {
        let (names, pointer) = (names.iter().flatten(), format!("{under}/{limit}"));
        findings.check(names.clone().count() <= MOST_NAMES, &pointer, format!("at most {MOST_NAMES} names"));
        for (index, name) in names.enumerate().take(MOST_NAMES) {
            findings.text(name, &format!("{pointer}/{index}"), 1, LONGEST_NAME);
        }
    }
    for (limit, number) in limits.numbers() {
        let fine = number.is_none_or(|number| number <= HIGHEST);
        findings.check(fine, &format!("{under}/{limit}"), format!("at most {HIGHEST}"));
    }
    let fine = limits.spend_per_hour.is_none_or(|most| (Credits::ZERO..=books::MOST).contains(&most));
    findings.check(fine, &format!("{under}/spend_per_hour"), format!("0 to {} credits", books::MOST));
}

/// What is wrong with what a whole team shall hold: it is counted, so neither lists nor single instances matter.
pub(super) fn ceiling_check(limits: &Limits, under: &str, findings: &mut Findings) {
    limits_check(limits, under, findings);
    let told = "only what the whole team holds is counted: instances, gpus, snapshots, network_groups, storage_gib and \
                spend_per_hour";
    for (limit, names) in limits.sets() {
        findings.check(names.is_none(), &format!("{under}/{limit}"), told);
    }
    findings.check(limits.gpus_per_instance.is_none(), &format!("{under}/gpus_per_instance"), told);
}

fn check(limits: &Limits, reason: &str) -> Result<()> {
    let mut findings = Findings::new();
    limits_check(limits, "", &mut findings);
    findings.text(reason, "reason", 0, LONGEST_REASON);
    findings.done()
}

async fn team_quota(conn: &mut Conn, scope: &Scope) -> Result<QuotaView> {
    let team = &scope.team;
    let usage = conn.usage_fetch(&team.id.to_string()).await?;
    Ok(QuotaView {
        limits: team.limits.clone(),
        temporary: Vec::new(),
        effective: team.limits.clone(),
        usage,
        ceiling: Some(team.ceiling.clone()),
        version: team.version,
    })
}

async fn member_quota(op: &Op, conn: &mut Conn, scope: &Scope, row: MemberRow) -> Result<QuotaView> {
    let effective = row.limits_at(op.now(), &scope.team.limits);
    let usage = conn.usage_fetch(&row.id.to_string()).await?;
    let Json(mut temporary) = row.temporary;
    temporary.retain(|word| op.now() < word.until);
    Ok(QuotaView { limits: row.limits, temporary, effective, usage, ceiling: None, version: row.version })
}

impl App {
    /// All that a member may do, as the policies answer.
    pub async fn member_permissions(&self, op: &Op, team: &str, id: MemberId) -> Result<PermissionsView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let row = member_in(&mut read, &scope, id).await?;
        let resource = account_of(&row);
        self.look(op, &scope.asker, Action::GetMemberPermissions, resource, Facts::default()).await?;
        let limits = row.limits_at(op.now(), &scope.team.limits);
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
        reason: &str,
    ) -> Result<QuotaView> {
        check(&limits, reason)?;
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
        let noted = Noted {
            kind: QuotaLevel::Standing,
            before: &before,
            after: &scope.team.limits,
            until: None,
            reason,
            request: None,
        };
        self.quota_note(op, &mut tx, &scope, None, noted).await?;
        let view = team_quota(&mut tx, &scope).await?;
        let outcome = Outcome {
            team: team.to_string(),
            target: team.to_string(),
            document: serde_json::json!({
                "limits": view.limits, "limits_before": before, "reason": reason,
            }),
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
        member_quota(op, &mut read, &scope, row).await
    }

    /// Puts other limits in the place of a member's own, if they are still at the expected version. Those for a while
    /// stay.
    pub async fn member_quota_put(
        &self,
        op: &Op,
        team: &str,
        id: MemberId,
        expected: i64,
        limits: Limits,
        reason: &str,
    ) -> Result<QuotaView> {
        check(&limits, reason)?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        tx.team_lock(scope.team.id).await?;
        let mut row = member_in(&mut tx, &scope, id).await?;
        let resource = account_of(&row);
        let (mut tx, granted) =
            self.permit(op, tx, &scope.asker, Action::PutMemberQuota, resource, Facts::default()).await?;
        let before = std::mem::replace(&mut row.limits, limits);
        row.version = expected;
        if !tx.member_limits_put(&row).await? {
            return Err(stale());
        }
        row.version += 1;
        let noted = Noted {
            kind: QuotaLevel::Standing,
            before: &before,
            after: &row.limits,
            until: None,
            reason,
            request: None,
        };
        self.quota_note(op, &mut tx, &scope, Some(&row), noted).await?;
        let view = member_quota(op, &mut tx, &scope, row).await?;
        let outcome = Outcome {
            team: scope.team.id.to_string(),
            target: id.to_string(),
            document: serde_json::json!({
                "limits": view.limits, "limits_before": before, "reason": reason,
            }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &granted, outcome).await?;
        Ok(view)
    }

    /// Gives a member limits for a while, over the standing ones, if they are still at the expected version.
    pub async fn temporary_quota_put(
        &self,
        op: &Op,
        team: &str,
        id: MemberId,
        expected: i64,
        new: NewTemporary,
    ) -> Result<QuotaView> {
        let mut findings = Findings::new();
        limits_check(&new.limits, "/limits", &mut findings);
        findings.check(!new.limits.is_empty(), "/limits", "at least one limit");
        findings.text(&new.reason, "/reason", 0, LONGEST_REASON);
        let fine = op.now() < new.until && new.until <= op.now() + LONGEST;
        findings.check(fine, "/until", "a time to come, at most a year ahead");
        findings.done()?;
        let NewTemporary { limits, until, reason } = new;
        let temporary = vec![Temporary { limits, until }];
        self.temporary_write(op, team, id, expected, Action::PutTemporaryQuota, temporary, &reason).await
    }

    /// Ends a member's limits for a while before their time.
    pub async fn temporary_quota_end(
        &self,
        op: &Op,
        team: &str,
        id: MemberId,
        expected: i64,
    ) -> Result<QuotaView> {
        self.temporary_write(op, team, id, expected, Action::EndTemporaryQuota, Vec::new(), "").await
    }

    #[expect(clippy::too_many_arguments, reason = "the two calls above differ in nothing else")]
    async fn temporary_write(
        &self,
        op: &Op,
        team: &str,
        id: MemberId,
        expected: i64,
        action: Action,
        temporary: Vec<Temporary>,
        reason: &str,
    ) -> Result<QuotaView> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        tx.team_lock(scope.team.id).await?;
        let mut row = member_in(&mut tx, &scope, id).await?;
        let resource = account_of(&row);
        let (mut tx, granted) = self.permit(op, tx, &scope.asker, action, resource, Facts::default()).await?;
        let said = |words: &[Temporary]| Limits::default().under(words, op.now());
        let (before, after) = (said(&row.temporary.0), said(&temporary));
        let until = temporary.last().map(|word| word.until);
        row.temporary = Json(temporary);
        row.version = expected;
        if !tx.member_limits_put(&row).await? {
            return Err(stale());
        }
        row.version += 1;
        let kind = QuotaLevel::Temporary;
        let noted = Noted { kind, before: &before, after: &after, until, reason, request: None };
        self.quota_note(op, &mut tx, &scope, Some(&row), noted).await?;
        let view = member_quota(op, &mut tx, &scope, row).await?;
        let outcome = Outcome {
            team: scope.team.id.to_string(),
            target: id.to_string(),
            document: serde_json::json!({
                "limits": after, "limits_before": before, "until": until, "reason": reason,
            }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &granted, outcome).await?;
        Ok(view)
    }

    /// Says what a whole team may hold, if it is still at the expected version; for the operator.
    pub async fn team_ceiling_put(
        &self,
        op: &Op,
        team: &str,
        expected: i64,
        ceiling: Limits,
        reason: &str,
    ) -> Result<QuotaView> {
        let mut findings = Findings::new();
        ceiling_check(&ceiling, "", &mut findings);
        findings.text(reason, "reason", 0, LONGEST_REASON);
        findings.done()?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, granted) =
            self.permit(op, tx, &asker, Action::PutTeamCeiling, Resource::Site, Facts::default()).await?;
        let mut scope = Scope { asker, team: team_named(&mut tx, team).await?, member: None };
        let team = scope.team.id;
        if !tx.team_ceiling_put(team, expected, &ceiling).await? {
            return Err(stale());
        }
        let before = std::mem::replace(&mut scope.team.ceiling, ceiling);
        scope.team.version = expected + 1;
        let noted = Noted {
            kind: QuotaLevel::Ceiling,
            before: &before,
            after: &scope.team.ceiling,
            until: None,
            reason,
            request: None,
        };
        self.quota_note(op, &mut tx, &scope, None, noted).await?;
        let view = team_quota(&mut tx, &scope).await?;
        let outcome = Outcome {
            team: team.to_string(),
            target: team.to_string(),
            document: serde_json::json!({
                "ceiling": view.ceiling, "ceiling_before": before, "reason": reason,
            }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &granted, outcome).await?;
        Ok(view)
    }
}
