//! The gate: every service passes here on its way in (who is this, in which team), at the decision (may they), and on
//! its way out (record and commit as one).
//!
//! A state-changing service reads: `begin` → `enter` → facts → `permit` → writes → `conclude`. A refusal leaves the
//! database as it was, apart from its own record.

use std::sync::Arc;

use serde::Serialize;

use super::{
    App,
    shadowing::{Noted, Shadow},
};
use crate::{
    error::{Error, Kind, Replay, Result},
    ids::{AuditId, MemberId, TeamId},
    model::{
        action::Action,
        team::{MemberState, Preset},
    },
    op::{Actor, Op, SystemWarrant, Warrant},
    policy::{Decision, Facts, MemberPrincipal, Permit, Principal, Refusal, Resource, Rules, TextVersions},
    store::{
        Conn, Tx,
        identity::{MemberRow, TeamRow},
        record::{AuditRow, DecisionRow, IdempotencyRow},
    },
};

/// A caller as the policy sees them.
pub(crate) struct Asker {
    /// Who asks.
    pub(crate) principal: Principal,
    /// The team that is asked about; absent for the site.
    pub(crate) team: Option<TeamId>,
    /// The candidate that runs beside the team's policies.
    pub(crate) shadow: Option<Arc<Shadow>>,
}

/// A caller inside a team.
pub(crate) struct Scope {
    /// The caller as the policy sees them.
    pub(crate) asker: Asker,
    /// The team.
    pub(crate) team: TeamRow,
    /// The caller's membership; the operator has none.
    pub(crate) member: Option<MemberRow>,
}

impl Scope {
    /// The caller's membership, for what only a member can do.
    pub(crate) fn member(&self) -> Result<&MemberRow> {
        self.member.as_ref().ok_or_else(|| {
            if !matches!(self.asker.principal, Principal::User { operator: true, .. }) {
                // To all others a team that is none of theirs is not there.
                return Error::not_found("team");
            }
            let told = "only a member of the team can do this; the operator is not one";
            Error::new(Kind::Refused, "not-a-member", told)
        })
    }
}

/// Leave to make a change, with what its decision record will say.
pub(crate) struct Granted {
    action: Action,
    stamp: Stamp,
    permit: Permit,
    document: String,
    noted: Option<Noted>,
}

/// Who was asked about, for the audit log.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    member: Option<MemberId>,
    preset: Option<Preset>,
    /// The number of the team's own policies.
    own: Option<i64>,
}

impl Stamp {
    fn of(asker: &Asker) -> Self {
        match &asker.principal {
            Principal::Member(member) => Self {
                member: Some(member.id),
                preset: Some(member.preset),
                own: member.rules.as_ref().map(|rules| rules.number()),
            },
            Principal::Anonymous | Principal::User { .. } => Self { member: None, preset: None, own: None },
        }
    }

    /// The event with who acted and the texts that decided.
    fn on(self, event: AuditRow) -> AuditRow {
        let texts = TextVersions::shipped();
        AuditRow {
            member: self.member,
            schema_version: Some(texts.schema.clone()),
            platform_version: Some(texts.platform.clone()),
            preset_version: self.preset.and_then(|preset| texts.preset(preset)).map(str::to_owned),
            team_version: self.own.map(|number| number.to_string()),
            ..event
        }
    }
}

/// An event that `op` brings about now in a team, or with the empty text on the site; whoever has more to say of it
/// adds that.
pub(crate) fn event_of(op: &Op, team: String, action: &str, target: String) -> AuditRow {
    let member = match &op.actor {
        Actor::Member { member, .. } | Actor::Key { member, .. } => Some(*member),
        Actor::Anonymous | Actor::User { .. } | Actor::System(_) => None,
    };
    AuditRow {
        id: op.id::<AuditId>(),
        team,
        at: op.now(),
        actor: op.actor.name(),
        action: action.to_owned(),
        target,
        outcome: "done".to_owned(),
        decision: None,
        request: op.request.to_string(),
        document: "{}".to_owned(),
        member,
        schema_version: None,
        platform_version: None,
        preset_version: None,
        team_version: None,
    }
}

/// What is written beside a change: the audit line, and the answer for a repetition of the request.
pub(crate) struct Outcome<'a, T> {
    /// The id of the team, or the empty text for the site.
    pub(crate) team: String,
    /// The id of what was changed.
    pub(crate) target: String,
    /// What changed, for the audit log; never a secret.
    pub(crate) document: serde_json::Value,
    /// The status of the answer.
    pub(crate) status: u16,
    /// The answer for a repetition: what was answered, without secrets.
    pub(crate) answer: &'a T,
}

impl App {
    /// Gives a request that was answered before its answer, for services that do something outside before they write.
    pub(crate) async fn unless_answered(&self, op: &Op) -> Result<()> {
        if let Some(idempotency) = &op.idempotency {
            let mut read = self.db.glance().await?;
            let known = read.idempotency_fetch(&idempotency.scope, &idempotency.key).await?;
            if let Some(row) = known {
                return Err(repetition(row, &idempotency.digest));
            }
        }
        Ok(())
    }

    /// Opens the transaction of a change; a request that was answered before gets its answer as [`Error::replay`].
    pub(crate) async fn begin(&self, op: &Op) -> Result<Tx> {
        let mut tx = self.db.begin().await?;
        if let Some(idempotency) = &op.idempotency {
            let known = tx.idempotency_fetch(&idempotency.scope, &idempotency.key).await?;
            if let Some(row) = known {
                // The answer may be that of a twin whose commit is under way: wait until it is on disk.
                tx.rollback().await?;
                return Err(repetition(row, &idempotency.digest));
            }
        }
        Ok(tx)
    }

    /// Finds the team by id or slug, and the caller in it. A team that is not there and one that is none of the
    /// caller's business look alike.
    pub(crate) async fn enter(&self, op: &Op, conn: &mut Conn, team: &str) -> Result<Scope> {
        if matches!(op.actor, Actor::Anonymous) {
            // Before the team is looked for: a stranger does not learn which teams there are.
            return Err(signed_out());
        }
        let team = team_named(conn, team).await?;
        let member = match &op.actor {
            Actor::Anonymous | Actor::System(_) => None,
            Actor::User { user, .. } => conn.member_of_user(team.id, *user).await?,
            Actor::Member { team: own, member, .. } | Actor::Key { team: own, member, .. } => {
                if *own != team.id {
                    return Err(Error::not_found("team"));
                }
                conn.member_fetch(*member).await?
            }
        };
        let mut shadow = None;
        let principal = match &member {
            None => self.visitor(op, conn).await?.principal,
            Some(member) => {
                if let Actor::User { since, .. } | Actor::Member { since, .. } = &op.actor
                    && *since < member.valid_from
                {
                    return Err(session_ended());
                }
                let rules = self.rules_of(conn, &team).await?;
                shadow = self.shadow_of(op, conn, &team).await?;
                Principal::Member(Arc::new(seat_of(op, &team, member, rules)))
            }
        };
        let asker = Asker { principal, team: Some(team.id), shadow };
        Ok(Scope { asker, team, member })
    }

    /// The caller outside any team.
    pub(crate) async fn visitor(&self, op: &Op, conn: &mut Conn) -> Result<Asker> {
        let principal = match &op.actor {
            Actor::User { user, reset_only, .. } => {
                let row = conn.user_fetch(*user).await?.ok_or_else(session_ended)?;
                if let Actor::User { since, .. } = &op.actor
                    && *since < row.valid_from
                {
                    return Err(session_ended());
                }
                Principal::User { id: row.id, operator: row.operator, reset_only: *reset_only }
            }
            Actor::Member { team, member, .. } | Actor::Key { team, member, .. } => {
                let team = conn.team_fetch(*team).await?.ok_or_else(session_ended)?;
                let member = conn.member_fetch(*member).await?.ok_or_else(session_ended)?;
                // Outside of teams only the shipped policies speak.
                Principal::Member(Arc::new(seat_of(op, &team, &member, None)))
            }
            Actor::Anonymous | Actor::System(_) => Principal::Anonymous,
        };
        Ok(Asker { principal, team: None, shadow: None })
    }

    /// Asks the policy within the transaction of a change. A refusal rolls the transaction back and is recorded.
    pub(crate) async fn permit(
        &self,
        op: &Op,
        tx: Tx,
        asker: &Asker,
        action: Action,
        resource: Resource,
        facts: Facts,
    ) -> Result<(Tx, Granted)> {
        let decision = self.decide(asker, action, &resource, &facts);
        let document = document_of(&asker.principal, &resource, &facts, &decision)?;
        let noted = Noted::of(op, asker, action, &resource, &facts, decision.allowed());
        match decision.permit(op.id()) {
            Ok(permit) => Ok((tx, Granted { action, stamp: Stamp::of(asker), permit, document, noted })),
            Err(refusal) => {
                drop(tx);
                self.record_refusal(op, asker, &resource, &facts, &refusal).await?;
                self.shadow_note(noted.map(|noted| noted.recorded(Some(refusal.id()))));
                Err(refusal.into())
            }
        }
    }

    /// Asks the policy for a look. A refusal is recorded, and of what is allowed one look in so many.
    pub(crate) async fn look(
        &self,
        op: &Op,
        asker: &Asker,
        action: Action,
        resource: Resource,
        facts: Facts,
    ) -> Result<()> {
        let decision = self.decide(asker, action, &resource, &facts);
        let noted = Noted::of(op, asker, action, &resource, &facts, decision.allowed());
        let recorded = match decision.allowed() {
            true => self.look_note(op, asker, &resource, &facts, &decision)?,
            false => None,
        };
        match decision.permit(op.id()) {
            Ok(_) => {
                self.shadow_note(noted.map(|noted| noted.recorded(recorded)));
                Ok(())
            }
            Err(refusal) => {
                self.record_refusal(op, asker, &resource, &facts, &refusal).await?;
                self.shadow_note(noted.map(|noted| noted.recorded(Some(refusal.id()))));
                Err(refusal.into())
            }
        }
    }

    /// The bare decision, for lists that ask once per row.
    pub(crate) fn decide(
        &self,
        asker: &Asker,
        action: Action,
        resource: &Resource,
        facts: &Facts,
    ) -> Decision {
        self.policies.decide(&asker.principal, action, resource, facts)
    }

    /// Writes decision, audit line and idempotency record beside the change, and commits all of it as one.
    pub(crate) async fn conclude<T: Serialize>(
        &self,
        op: &Op,
        mut tx: Tx,
        granted: &Granted,
        outcome: Outcome<'_, T>,
    ) -> Result<()> {
        let Granted { action, stamp, permit, document, noted } = granted;
        let decision = permit.decision();
        tx.decision_insert(&DecisionRow {
            id: permit.id(),
            team: outcome.team.clone(),
            at: op.now(),
            actor: op.actor.name(),
            action: action.name().to_owned(),
            resource: outcome.target.clone(),
            allowed: true,
            document: document.clone(),
        })
        .await?;
        let event = stamp.on(event_of(op, outcome.team, action.name(), outcome.target));
        tx.audit_insert(&AuditRow { decision, document: outcome.document.to_string(), ..event }).await?;
        if let Some(idempotency) = &op.idempotency {
            let body = serde_json::to_string(outcome.answer).map_err(Error::internal)?;
            tx.idempotency_insert(&IdempotencyRow {
                scope: idempotency.scope.clone(),
                key: idempotency.key.clone(),
                digest: idempotency.digest.clone(),
                status: outcome.status,
                body,
                created_at: op.now(),
            })
            .await?;
        }
        tx.commit(permit).await?;
        // Only what was done is asked of a candidate: what failed for another reason changed nothing.
        self.shadow_note(noted.clone().map(|noted| noted.recorded(Some(permit.id()))));
        Ok(())
    }

    /// Commits a change that a loop of the server made.
    pub(crate) async fn system_commit(&self, op: &Op, tx: Tx) -> Result<()> {
        let warrant = SystemWarrant::of(op).ok_or_else(|| Error::internal("only the system may do this"))?;
        Ok(tx.commit(&warrant).await?)
    }

    async fn record_refusal(
        &self,
        op: &Op,
        asker: &Asker,
        resource: &Resource,
        facts: &Facts,
        refusal: &Refusal,
    ) -> Result<()> {
        let decision = refusal.decision();
        if matches!(op.actor, Actor::Anonymous) {
            // Whoever is not signed in could fill the disk with refusals; the log of requests has them.
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        let id = refusal.id();
        let team = asker.team.map(|team| team.to_string()).unwrap_or_default();
        let target = name_of(resource);
        tx.decision_insert(&DecisionRow {
            id,
            team: team.clone(),
            at: op.now(),
            actor: op.actor.name(),
            action: decision.action().to_owned(),
            resource: target.clone(),
            allowed: false,
            document: document_of(&asker.principal, resource, facts, decision)?,
        })
        .await?;
        let event = Stamp::of(asker).on(event_of(op, team, decision.action(), target));
        let denials: Vec<&str> = decision.denials().iter().map(|denial| denial.policy.as_str()).collect();
        tx.audit_insert(&AuditRow {
            outcome: "refused".to_owned(),
            decision: Some(id.to_string()),
            document: serde_json::json!({ "policies": denials }).to_string(),
            ..event
        })
        .await?;
        Ok(tx.commit(refusal).await?)
    }
}

/// The team with this id or slug.
pub(crate) async fn team_named(conn: &mut Conn, team: &str) -> Result<TeamRow> {
    let found = match team.parse() {
        Ok(id) => conn.team_fetch(id).await?,
        Err(_) => conn.team_by_slug(team).await?,
    };
    found.ok_or_else(|| Error::not_found("team"))
}

/// What a decision record keeps: all that is needed to decide again, and what was decided.
pub(super) fn document_of(
    principal: &Principal,
    resource: &Resource,
    facts: &Facts,
    decision: &Decision,
) -> Result<String> {
    let document = serde_json::json!({
        "principal": principal,
        "resource": resource,
        "facts": facts,
        "decision": decision,
    });
    serde_json::to_string(&document).map_err(Error::internal)
}

/// The name of a resource in the audit log.
pub(super) fn name_of(resource: &Resource) -> String {
    match resource {
        Resource::Site => "site".to_owned(),
        Resource::Record { team, owner: None } => team.to_string(),
        Resource::Record { owner: Some(owner), .. } | Resource::Instance { owner, .. } => owner.to_string(),
        Resource::Member { id, .. } => id.to_string(),
        Resource::Offer { region, instance_type, accelerator, .. } => {
            format!("{region}/{instance_type}/{accelerator}")
        }
        Resource::Image { name } => name.clone(),
    }
}

/// A member as the policy sees them, asking now under the team's policies `rules`.
pub(crate) fn seat_of(
    op: &Op,
    team: &TeamRow,
    member: &MemberRow,
    rules: Option<Arc<Rules>>,
) -> MemberPrincipal {
    let reset_only = match &op.actor {
        Actor::User { reset_only, .. } | Actor::Member { reset_only, .. } => *reset_only,
        _ => false,
    };
    let key_scopes = match &op.actor {
        Actor::Key { scopes, .. } => Some(scopes.clone()),
        _ => None,
    };
    MemberPrincipal {
        id: member.id,
        team: team.id,
        role: member.role,
        preset: team.preset,
        account: member.account.clone(),
        labels: member.labels.0.clone(),
        active: matches!(member.state, MemberState::Active | MemberState::Issued),
        reset_only,
        limits: member.limits_at(op.now(), &team.limits),
        key_scopes,
        version: member.version,
        wall: team.terms.time_zone.wall_at(op.now()),
        rules,
    }
}

fn repetition(row: IdempotencyRow, digest: &str) -> Error {
    if row.digest == digest {
        return Error::replayed(Replay { status: row.status, body: row.body });
    }
    let told = "this idempotency key was used for another body; take a new key for a new request";
    Error::new(Kind::Invalid, "idempotency-mismatch", told)
}

/// The error for a request that needs somebody and names nobody.
pub(crate) fn signed_out() -> Error {
    let told = "sign in first: send `Authorization: Bearer` with a session token or an API key";
    Error::new(Kind::Unauthenticated, "unauthenticated", told)
}

/// The error for a token that was good once.
pub(crate) fn session_ended() -> Error {
    let told = "this session has ended: it expired, was signed out, or the membership changed. Sign in again";
    Error::new(Kind::Unauthenticated, "session-ended", told)
}
