//! Questions to the policies that change nothing: may this be done, and why was that refused?

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    App,
    gate::{Asker, Scope, seat_of},
    instances::owned,
    members::{account_of, member_in},
    placing::Source,
    purse::{Purse, concern, launch_facts},
    resuming::wanted,
};
use crate::{
    error::{Denial, Error, Findings, Result},
    ids::{DecisionId, InstanceId, MemberId},
    model::{
        action::{Action, Verb},
        quota::{Limits, Usage},
    },
    money::Credits,
    op::Op,
    policy::{Decision, Determining, Expected, Facts, Principal, Recorded, Resource, Versions},
    store::Conn,
    time::Timestamp,
};

/// Questions, at most 200.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Questions {
    /// What to ask, in the order of the answers.
    pub questions: Vec<Question>,
}

/// May this be done?
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// For what: an operationId, such as `createInstance`, or all that a group stands for, such as `instance:write`.
    pub action: String,
    /// For whom; the caller when absent.
    #[serde(default)]
    pub member: Option<MemberId>,
    /// About this instance.
    #[serde(default)]
    pub instance: Option<InstanceId>,
    /// About a launch of this product, by name or id.
    #[serde(default)]
    pub product: Option<String>,
    /// With this image, by name or id.
    #[serde(default)]
    pub image: Option<String>,
    /// Units of the product.
    #[serde(default)]
    pub unit_qty: Option<u32>,
    /// About this member's account.
    #[serde(default)]
    pub account: Option<MemberId>,
    /// About what belongs to this member; without it and all of the above about what is the team's.
    #[serde(default)]
    pub owner: Option<MemberId>,
    /// At another instant than now: only what clocks show is of then.
    #[serde(default)]
    pub at: Option<Timestamp>,
}

/// Answers, in the order of the questions.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Answers {
    /// The answers.
    pub answers: Vec<Answer>,
}

/// An answer. It promises nothing: whoever does it is asked again, on what holds then.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Answer {
    /// The answer.
    pub decision: Expected,
    /// For what.
    pub action: String,
    /// For whom.
    pub member: MemberId,
    /// The policies that decide.
    pub determining: Vec<Determining>,
    /// All reasons of a no, each with who can lift it and the limit that binds.
    pub denials: Vec<Denial>,
    /// The texts and rows behind it.
    pub versions: Versions,
    /// What holds for the member. Owners and admins are not bound by it.
    pub limits: Limits,
    /// What the member holds now of each counted limit.
    pub usage: Usage,
}

/// A decision that was recorded, and what would be decided on the same facts now.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Explained {
    /// The decision.
    pub id: DecisionId,
    /// When it was made.
    pub at: Timestamp,
    /// Who asked: the id of a user, a member or an API key.
    pub actor: String,
    /// The action's name.
    pub action: String,
    /// On what.
    pub resource: String,
    /// The answer.
    pub decision: Expected,
    /// What it was made from and which policies decided.
    #[schema(value_type = Object)]
    pub document: serde_json::Value,
    /// What the live policies answer to the same question, on the facts of then; absent when it cannot be asked again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Expected>,
    /// Why, if that is a no.
    pub now_denials: Vec<Denial>,
}

/// The most questions of one request.
const MOST: usize = 200;

/// What a question is for.
#[derive(Clone, Copy)]
enum Deed<'a> {
    /// One operation.
    Action(Action),
    /// A kind of noun and a verb: also for nouns that have no operation yet.
    Group(&'a str, Verb),
}

impl App {
    /// Answers questions about the caller, and about others to whom it may see the permissions of.
    pub async fn authorize(&self, op: &Op, team: &str, asked: Questions) -> Result<Answers> {
        let mut findings = Findings::new();
        let count = asked.questions.len();
        findings.check(
            (1..=MOST).contains(&count),
            "/questions",
            format!("1 to {MOST} questions, got {count}"),
        );
        findings.done()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let caller = scope.member.as_ref().map(|member| member.id);
        let resource = Resource::Record { team: scope.team.id, owner: caller };
        self.look(op, &scope.asker, Action::Authorize, resource, Facts::default()).await?;
        let mut answers = Vec::with_capacity(count);
        for (index, question) in asked.questions.iter().enumerate() {
            let pointer = format!("/questions/{index}");
            answers.push(self.question_answer(op, &mut read, &scope, question, &pointer).await?);
        }
        Ok(Answers { answers })
    }

    async fn question_answer(
        &self,
        op: &Op,
        conn: &mut Conn,
        scope: &Scope,
        question: &Question,
        pointer: &str,
    ) -> Result<Answer> {
        let deed = self.deed(question, pointer)?;
        let scope = self.seen_as(op, conn, scope, question).await?;
        let member = scope.member()?.clone();
        if let Some(owner) = question.owner {
            // Whose thing it would be has to be somebody of this team: nobody else's is asked about here.
            member_in(conn, &scope, owner).await?;
        }
        let decision = match deed {
            Deed::Action(action) => {
                let (resource, facts) = self.put_together(op, conn, &scope, action, question).await?;
                self.decide(&scope.asker, action, &resource, &facts)
            }
            Deed::Group(kind, verb) => {
                let resource = Resource::Record { team: scope.team.id, owner: question.owner };
                let principal = &scope.asker.principal;
                self.policies.decide_group(principal, kind, verb, &resource, &Facts::default())
            }
        };
        Ok(Answer {
            decision: Expected::of(decision.allowed()),
            action: question.action.clone(),
            member: member.id,
            determining: decision.determining().to_vec(),
            denials: decision.denials().to_vec(),
            versions: decision.versions().clone(),
            limits: member.limits_at(op.now(), &scope.team.limits),
            usage: conn.usage_fetch(&member.id.to_string()).await?,
        })
    }

    /// What a question is for.
    fn deed<'a>(&self, question: &'a Question, pointer: &str) -> Result<Deed<'a>> {
        let asked = question.action.as_str();
        if let Some(action) = Action::ALL.iter().copied().find(|action| action.operation() == asked) {
            return Ok(Deed::Action(action));
        }
        // Not every noun has all three verbs; what nobody can do is answered with a no.
        let is_teams = |kind: &str| self.policies.is_scope(&format!("{kind}:view"));
        let group = asked.split_once(':').filter(|(kind, _)| is_teams(kind));
        let group = group.and_then(|(kind, word)| Some((kind, Verb::from_word(word)?)));
        let (kind, verb) = group.ok_or_else(|| {
            let told = "an operationId, such as createInstance, or a group of a team's nouns, such as instance:write; \
                        the API and `docs/policy.md` list them";
            Error::field(&format!("{pointer}/action"), told)
        })?;
        let Question { instance, product, image, unit_qty, account, .. } = question;
        let is_precise = instance.is_some() || product.is_some() || image.is_some();
        if is_precise || unit_qty.is_some() || account.is_some() {
            let told = "a group is asked about what belongs to somebody (`owner`) or to the team, and about nothing \
                        more precise; ask for an operation";
            return Err(Error::field(&format!("{pointer}/action"), told));
        }
        Ok(Deed::Group(kind, verb))
    }

    /// The team as the one whom the question is about sees it. What others may do is for those who see permissions.
    async fn seen_as(&self, op: &Op, conn: &mut Conn, scope: &Scope, question: &Question) -> Result<Scope> {
        let caller = scope.member.as_ref().map(|member| member.id);
        let wanted = question.member.or(caller);
        let member = match wanted {
            Some(id) => member_in(conn, scope, id).await?,
            None => scope.member()?.clone(),
        };
        let mut principal = match &scope.asker.principal {
            Principal::Member(own) if caller == Some(member.id) => (**own).clone(),
            _ => {
                let about = account_of(&member);
                self.look(op, &scope.asker, Action::GetMemberPermissions, about, Facts::default()).await?;
                let rules = self.rules_of(conn, &scope.team).await?;
                let mut seat = seat_of(op, &scope.team, &member, rules);
                (seat.reset_only, seat.key_scopes) = (false, None);
                seat
            }
        };
        if let Some(at) = question.at {
            principal.wall = scope.team.terms.time_zone.wall_at(at);
        }
        let principal = Principal::Member(Arc::new(principal));
        let asker = Asker { principal, team: Some(scope.team.id), shadow: None };
        Ok(Scope { asker, team: scope.team.clone(), member: Some(member) })
    }

    /// The thing and the facts. A launch is priced by the list, since a price plugin is not asked for a mere question.
    async fn put_together(
        &self,
        op: &Op,
        conn: &mut Conn,
        scope: &Scope,
        action: Action,
        question: &Question,
    ) -> Result<(Resource, Facts)> {
        let team = scope.team.id;
        let launches = matches!(action, Action::CreateInstance | Action::CreateEstimate);
        if launches || question.product.is_some() {
            let (product, image) = (question.product.as_deref(), question.image.as_deref());
            let units = question.unit_qty.unwrap_or(1);
            let image = Source::Image(image.unwrap_or_default());
            let plan = self.plan(conn, scope, product.unwrap_or_default(), image, units).await?;
            let per_unit = plan.product.price_per_hour.as_micros();
            let per_hour = Credits::from_micros(per_unit.saturating_mul(i64::from(plan.unit_qty)));
            let journal = conn.journal_look(op, team, &concern(op, scope)).await?;
            let purse = Purse::of(op, scope, &journal)?;
            let hold = self.hold_for(scope, per_hour)?;
            let facts = launch_facts(conn, scope, &purse, plan.wanted(per_hour, hold)).await?;
            let facts = if launches { facts } else { Facts::default() };
            return Ok((plan.resource(scope)?, facts));
        }
        if let Some(id) = question.instance {
            let row = owned(conn, scope, id).await?;
            let resource = row.resource(conn).await?;
            if action != Action::StartInstance {
                return Ok((resource, Facts::default()));
            }
            let journal = conn.journal_look(op, team, &concern(op, scope)).await?;
            let purse = Purse::of(op, scope, &journal)?;
            let hold = self.hold_for(scope, row.quoted_per_hour)?;
            let facts = launch_facts(conn, scope, &purse, wanted(&row, row.quoted_per_hour, hold)).await?;
            return Ok((resource, facts));
        }
        if action == Action::CreateSnapshot {
            let member = scope.member()?.id;
            let used = conn.usage_fetch(&member.to_string()).await?;
            let facts = Facts { snapshots_used: Some(used.snapshots), ..Facts::default() };
            return Ok((Resource::Record { team, owner: question.owner }, facts));
        }
        if let Some(id) = question.account {
            return Ok((account_of(&member_in(conn, scope, id).await?), Facts::default()));
        }
        Ok((Resource::Record { team, owner: question.owner }, Facts::default()))
    }

    /// A recorded decision: one's own, or any of the team for those who may read the audit log.
    pub async fn decision_explain(&self, op: &Op, team: &str, id: DecisionId) -> Result<Explained> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let (team, caller) = (scope.team.id, scope.member.as_ref().map(|member| member.id));
        let resource = Resource::Record { team, owner: caller };
        self.look(op, &scope.asker, Action::ExplainDecision, resource, Facts::default()).await?;
        let row = read.decision_fetch(id).await?.filter(|row| row.team == team.to_string());
        let row = row.ok_or_else(|| Error::not_found("decision"))?;
        let document: serde_json::Value = serde_json::from_str(&row.document).map_err(Error::internal)?;
        let asked_by = document.pointer("/principal/id").and_then(serde_json::Value::as_str);
        if caller.is_none_or(|caller| asked_by != Some(caller.to_string().as_str())) {
            let log = Resource::team(team);
            self.look(op, &scope.asker, Action::ListAuditEvents, log, Facts::default()).await?;
        }
        let rules = self.rules_of(&mut read, &scope.team).await?;
        let again: Option<Decision> = self.policies.decide_again(rules, &Recorded::from(row.clone()));
        Ok(Explained {
            id,
            at: row.at,
            actor: row.actor,
            action: row.action,
            resource: row.resource,
            decision: Expected::of(row.allowed),
            document,
            now: again.as_ref().map(|decision| Expected::of(decision.allowed())),
            now_denials: again.map(|decision| decision.denials().to_vec()).unwrap_or_default(),
        })
    }
}
