//! A candidate for a team's policies that runs beside the live ones for a while. What the live policies decide is noted
//! in passing; a loop of the server asks the candidate afterwards, and writes where the two differ. No request waits
//! for it, and nothing that goes wrong with it changes an answer.
//!
//! Which candidate runs stands in the team's row, as the live version does: every server knows it at the next request.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{
    App,
    gate::{Asker, Outcome, Scope, document_of, event_of, name_of},
    policies::draft_check,
};
use crate::{
    error::{Error, Findings, Result},
    ids::{DecisionId, TeamId},
    model::{action::Action, team::Role},
    op::Op,
    policy::{Answered, Beside, Decision, Facts, Policies, Principal, Resource, Rules},
    store::{
        Conn, Json, Tx,
        identity::TeamRow,
        record::{AuditRow, DecisionRow},
        shadows::{DifferenceRow, ShadowCounts, ShadowRow},
    },
    time::{HOUR, Span, Timestamp},
};

/// A candidate to ask beside the live policies.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewShadow {
    /// The text of all policies that the team would have.
    pub text: String,
    /// For how many hours, 1 to 720; a week unless told.
    #[serde(default)]
    pub hours: Option<u32>,
    /// Why, for whoever looks at what came of it: 1 to 500 characters.
    pub reason: String,
}

/// A candidate and what came of asking it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ShadowView {
    /// Its number within the team.
    pub number: i64,
    /// Whether it is asked now.
    pub running: bool,
    /// The version that was live when it began.
    pub base: i64,
    /// Its text.
    pub text: String,
    /// SHA-256 of the text.
    pub digest: String,
    /// How many policies it has.
    pub policies: i64,
    /// Why it was started.
    pub reason: String,
    /// Who started it.
    pub author: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ends by itself.
    pub ends_at: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Why it ended: its time was `over`, it was `published`, or it was `stopped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    /// Decisions that it was asked about: changes that were made, refusals, and all looks.
    pub asked: i64,
    /// Those that it would refuse and that were allowed.
    pub refused: i64,
    /// Those that it would allow and that were refused.
    pub allowed: i64,
    /// Those that it could not answer. Published, it would refuse them.
    pub failed: i64,
    /// Those that it was not asked about, because there were too many at once.
    pub left_out: i64,
    /// Where it differs, the most frequent first.
    pub differences: Vec<DifferenceView>,
}

/// A kind of decision that the candidate answers otherwise.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct DifferenceView {
    /// The role of those who asked.
    pub role: Role,
    /// The action's operationId.
    pub action: String,
    /// Whether the candidate allows what was refused; else it refuses what was allowed.
    pub allows: bool,
    /// The policies that make the difference: those that decide with the candidate, or where it allows without a word
    /// of its own the live ones that refuse.
    pub policies: Vec<String>,
    /// How many there were.
    pub count: i64,
    /// The first few, as `decisions/{decision}` explains them.
    #[schema(value_type = Vec<String>)]
    pub examples: Vec<DecisionId>,
    /// When there was the first.
    pub first_at: Timestamp,
    /// When there was the last.
    pub last_at: Timestamp,
}

/// The longest time that a candidate runs, and the usual one.
const MOST_HOURS: u32 = 30 * 24;
const USUAL_HOURS: u32 = 7 * 24;
/// Candidates that are kept of a team.
const KEPT: i64 = 20;
/// Decisions that wait to be asked again; what comes on top is only counted.
const MOST_WAITING: usize = 8_192;
/// Kinds of differences that are kept of one candidate; of others only the number is.
const MOST_KINDS: usize = 500;
/// Examples of one kind.
const EXAMPLES: usize = 5;
/// Teams whose candidates are kept ready before all are forgotten.
const MOST_TEAMS: usize = 256;

/// A candidate, ready to be asked.
#[derive(Debug)]
pub(crate) struct Shadow {
    team: TeamId,
    number: i64,
    ends_at: Timestamp,
    rules: Arc<Rules>,
}

/// A decision that a candidate is to be asked about.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    shadow: Arc<Shadow>,
    answered: Answered,
    /// The decision, if it is recorded.
    id: Option<DecisionId>,
    at: Timestamp,
    actor: String,
}

/// The candidates of teams, and what they are still to be asked.
#[derive(Debug, Default)]
pub(crate) struct Shadows {
    ready: Mutex<HashMap<TeamId, Arc<Shadow>>>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    noted: Vec<Noted>,
    left_out: BTreeMap<(TeamId, i64), i64>,
}

impl Shadows {
    fn find(&self, team: TeamId, number: i64) -> Option<Arc<Shadow>> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.get(&team).filter(|shadow| shadow.number == number).cloned()
    }

    fn keep(&self, shadow: Arc<Shadow>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.len() >= MOST_TEAMS {
            ready.clear();
        }
        ready.insert(shadow.team, shadow);
    }

    fn put(&self, noted: Noted) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.noted.len() < MOST_WAITING {
            waiting.noted.push(noted);
        } else {
            *waiting.left_out.entry((noted.shadow.team, noted.shadow.number)).or_default() += 1;
        }
    }

    fn take(&self) -> Waiting {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Noted {
    /// Notes a decision about a member of a team where a candidate runs; `None` everywhere else.
    pub(super) fn of(
        op: &Op,
        asker: &Asker,
        action: Action,
        resource: &Resource,
        facts: &Facts,
        allowed: bool,
    ) -> Option<Self> {
        let (Some(shadow), Principal::Member(member)) = (&asker.shadow, &asker.principal) else {
            return None;
        };
        let answered = Answered {
            principal: Arc::clone(member),
            action,
            resource: resource.clone(),
            facts: facts.clone(),
            allowed,
        };
        let (shadow, actor) = (Arc::clone(shadow), op.actor.name());
        Some(Self { shadow, answered, id: None, at: op.now(), actor })
    }

    /// The same, recorded under this id.
    pub(super) fn recorded(self, id: Option<DecisionId>) -> Self {
        Self { id, ..self }
    }
}

/// What came of asking one candidate.
#[derive(Default)]
struct Tally {
    counts: ShadowCounts,
    kinds: BTreeMap<(Role, &'static str, bool, Vec<String>), Kind>,
}

struct Kind {
    count: i64,
    first_at: Timestamp,
    last_at: Timestamp,
    examples: Vec<Noted>,
}

/// Asks the candidates.
fn tallied(policies: &Policies, waiting: Waiting) -> BTreeMap<(TeamId, i64), Tally> {
    let mut tallies: BTreeMap<(TeamId, i64), Tally> = BTreeMap::new();
    for (place, count) in waiting.left_out {
        tallies.entry(place).or_default().counts.left_out += count;
    }
    for noted in waiting.noted {
        let tally = tallies.entry((noted.shadow.team, noted.shadow.number)).or_default();
        tally.counts.asked += 1;
        let allows = !noted.answered.allowed;
        let policies = match policies.beside(&noted.shadow.rules, &noted.answered) {
            Beside::Same => continue,
            Beside::Failed(why) => {
                tracing::warn!(team = %noted.shadow.team, why, "a candidate's policy could not be evaluated");
                tally.counts.failed += 1;
                continue;
            }
            Beside::Other { policies } => policies,
        };
        *(if allows { &mut tally.counts.allowed } else { &mut tally.counts.refused }) += 1;
        let key = (noted.answered.principal.role, noted.answered.action.operation(), allows, policies);
        let (first_at, last_at) = (noted.at, noted.at);
        let kind =
            tally.kinds.entry(key).or_insert(Kind { count: 0, first_at, last_at, examples: Vec::new() });
        kind.count += 1;
        (kind.first_at, kind.last_at) = (kind.first_at.min(noted.at), kind.last_at.max(noted.at));
        if kind.examples.len() < EXAMPLES {
            kind.examples.push(noted);
        }
    }
    tallies
}

impl ShadowView {
    async fn of(conn: &mut Conn, row: ShadowRow) -> Result<Self> {
        let differences = conn.differences_of(row.team, row.number).await?;
        Ok(Self {
            number: row.number,
            running: row.ended_at.is_none(),
            base: row.base,
            text: row.text,
            digest: row.digest,
            policies: row.policies,
            reason: row.reason,
            author: row.author,
            started_at: row.started_at,
            ends_at: row.ends_at,
            ended_at: row.ended_at,
            ending: row.ending,
            asked: row.asked,
            refused: row.refused,
            allowed: row.allowed,
            failed: row.failed,
            left_out: row.left_out,
            differences: differences.into_iter().map(DifferenceView::from).collect(),
        })
    }
}

impl From<DifferenceRow> for DifferenceView {
    fn from(row: DifferenceRow) -> Self {
        let DifferenceRow { role, action, allows, policies, count, examples, first_at, last_at, .. } = row;
        Self { role, action, allows, policies: policies.0, count, examples: examples.0, first_at, last_at }
    }
}

fn none() -> Error {
    Error::not_found("candidate that runs beside the policies")
}

impl App {
    /// The candidate that runs in the team now, as its row says.
    pub(super) async fn shadow_of(
        &self,
        op: &Op,
        conn: &mut Conn,
        team: &TeamRow,
    ) -> Result<Option<Arc<Shadow>>> {
        if team.policy_shadow == 0 {
            return Ok(None);
        }
        let ready = match self.shadows.find(team.id, team.policy_shadow) {
            Some(ready) => ready,
            None => {
                let Some(row) = conn.shadow_fetch(team.id, team.policy_shadow).await? else {
                    return Ok(None);
                };
                let rules = self.policies.rules(0, &row.text);
                let ready =
                    Arc::new(Shadow { team: team.id, number: row.number, ends_at: row.ends_at, rules });
                self.shadows.keep(Arc::clone(&ready));
                ready
            }
        };
        Ok((ready.ends_at > op.now()).then_some(ready))
    }

    /// Has a candidate asked about this decision, some time soon.
    pub(super) fn shadow_note(&self, noted: Option<Noted>) {
        if let Some(noted) = noted {
            self.shadows.put(noted);
        }
    }

    /// Starts a candidate beside the live policies.
    pub async fn shadow_start(&self, op: &Op, team: &str, new: NewShadow) -> Result<ShadowView> {
        let hours = new.hours.unwrap_or(USUAL_HOURS);
        let mut findings = Findings::new();
        findings.text(&new.reason, "/reason", 1, 500);
        let told = format!("1 to {MOST_HOURS} hours, got {hours}");
        findings.check((1..=MOST_HOURS).contains(&hours), "/hours", told);
        findings.done()?;
        self.unless_answered(op).await?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        // Asked before anything is worked out: whoever may not start one shall not keep the server busy.
        self.look(op, &scope.asker, Action::StartPolicyShadow, resource.clone(), Facts::default()).await?;
        drop(read);
        let _turn = self.planning.acquire().await.map_err(Error::internal)?;
        let draft = draft_check(&self.policies, scope.team.preset, new.text).await?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let (mut tx, granted) =
            self.permit(op, tx, &scope.asker, Action::StartPolicyShadow, resource, Facts::default()).await?;
        let team = scope.team.id;
        self.shadow_over(op, &mut tx, &scope).await?;
        let number = tx.shadow_latest(team).await?.map_or(0, |latest| latest.number) + 1;
        if !tx.shadow_point(team, 0, number).await? {
            let told = "a candidate runs beside the policies already; stop it first (`DELETE …/policies:shadow`), or \
                        let it go on to its end";
            return Err(Error::conflict("shadow-running", told));
        }
        let row = ShadowRow {
            team,
            number,
            base: scope.team.policy_version,
            digest: draft.rules.digest().to_owned(),
            text: draft.text,
            policies: i64::try_from(draft.ids.len()).unwrap_or(i64::MAX),
            reason: new.reason,
            author: op.actor.name(),
            started_at: op.now(),
            ends_at: op.now() + Span::from_micros(i64::from(hours) * HOUR),
            ended_at: None,
            ending: None,
            asked: 0,
            refused: 0,
            allowed: 0,
            failed: 0,
            left_out: 0,
        };
        tx.shadow_insert(&row, number - KEPT).await?;
        let (digest, ends_at, reason) = (row.digest.clone(), row.ends_at, row.reason.clone());
        let document = serde_json::json!({ "digest": digest, "ends_at": ends_at, "reason": reason });
        self.shadow_conclude(op, tx, &granted, row, 201, document).await
    }

    /// The candidate that runs, or the last one that did, and what came of it.
    pub async fn shadow_fetch(&self, op: &Op, team: &str) -> Result<ShadowView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::GetPolicyShadow, resource, Facts::default()).await?;
        let row = read.shadow_latest(scope.team.id).await?.ok_or_else(none)?;
        ShadowView::of(&mut read, row).await
    }

    /// Ends the candidate that runs; what came of it stays.
    pub async fn shadow_stop(&self, op: &Op, team: &str) -> Result<ShadowView> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let resource = Resource::team(scope.team.id);
        let (mut tx, granted) =
            self.permit(op, tx, &scope.asker, Action::StopPolicyShadow, resource, Facts::default()).await?;
        let (team, number) = (scope.team.id, scope.team.policy_shadow);
        if number == 0 || !tx.shadow_end(team, number, op.now(), "stopped").await? {
            return Err(none());
        }
        let row = tx.shadow_fetch(team, number).await?.ok_or_else(none)?;
        self.shadow_conclude(op, tx, &granted, row, 200, serde_json::json!({})).await
    }

    async fn shadow_conclude(
        &self,
        op: &Op,
        mut tx: Tx,
        granted: &super::gate::Granted,
        row: ShadowRow,
        status: u16,
        document: serde_json::Value,
    ) -> Result<ShadowView> {
        let (team, target) = (row.team.to_string(), format!("policies@shadow-{}", row.number));
        let view = ShadowView::of(&mut tx, row).await?;
        self.conclude(op, tx, granted, Outcome { team, target, document, status, answer: &view }).await?;
        Ok(view)
    }

    /// Ends the team's candidate if the text that was published now is its own.
    pub(super) async fn shadow_published(
        &self,
        op: &Op,
        tx: &mut Tx,
        team: &TeamRow,
        digest: &str,
    ) -> Result<()> {
        if team.policy_shadow == 0 {
            return Ok(());
        }
        let running = tx.shadow_fetch(team.id, team.policy_shadow).await?;
        if running.is_some_and(|running| running.digest == digest) {
            tx.shadow_end(team.id, team.policy_shadow, op.now(), "published").await?;
        }
        Ok(())
    }

    /// Ends the team's candidate if its time is over and no loop has done so yet.
    async fn shadow_over(&self, op: &Op, tx: &mut Tx, scope: &Scope) -> Result<()> {
        let (team, number) = (scope.team.id, scope.team.policy_shadow);
        let Some(row) = tx.shadow_fetch(team, number).await? else { return Ok(()) };
        if row.ends_at <= op.now() {
            tx.shadow_end(team, number, row.ends_at, "over").await?;
        }
        Ok(())
    }

    /// Asks candidates about what was decided since the last pass, writes where they differ, and ends those whose time
    /// is over; how many decisions there were.
    pub async fn shadows_pass(&self, op: &Op) -> Result<i64> {
        let waiting = self.shadows.take();
        let mut asked = 0;
        if !waiting.noted.is_empty() || !waiting.left_out.is_empty() {
            let policies = Arc::clone(&self.policies);
            let work = tokio::task::spawn_blocking(move || tallied(&policies, waiting));
            for ((team, number), tally) in work.await.map_err(Error::internal)? {
                asked += tally.counts.asked;
                self.tally_write(op, team, number, tally).await?;
            }
        }
        let over = self.db.glance().await?.shadows_over(op.now()).await?;
        for row in over {
            let mut tx = self.begin(op).await?;
            if tx.shadow_end(row.team, row.number, row.ends_at, "over").await? {
                let target = format!("policies@shadow-{}", row.number);
                let event = event_of(op, row.team.to_string(), "policy.shadow_over", target);
                let document = serde_json::json!({ "digest": row.digest, "asked": row.asked }).to_string();
                tx.audit_insert(&AuditRow { document, ..event }).await?;
            }
            self.system_commit(op, tx).await?;
        }
        Ok(asked)
    }

    /// Adds what came of a pass to what is known. A decision that is an example and was not recorded is recorded now.
    async fn tally_write(&self, op: &Op, team: TeamId, number: i64, tally: Tally) -> Result<()> {
        let mut tx = self.begin(op).await?;
        if !tx.shadow_count(team, number, tally.counts).await? {
            return Ok(());
        }
        let mut known = tx.differences_of(team, number).await?;
        for ((role, action, allows, policies), kind) in tally.kinds {
            let same = |row: &&DifferenceRow| {
                (row.role, row.action.as_str(), row.allows) == (role, action, allows)
                    && row.policies.0 == policies
            };
            let earlier = known.iter().find(same).map(|row| row.examples.0.clone());
            if earlier.is_none() && known.len() >= MOST_KINDS {
                continue;
            }
            let mut examples = earlier.unwrap_or_default();
            let room = EXAMPLES.saturating_sub(examples.len());
            for noted in kind.examples.into_iter().take(room) {
                examples.push(self.example_record(op, &mut tx, noted).await?);
            }
            let row = DifferenceRow {
                team,
                shadow: number,
                role,
                action: action.to_owned(),
                allows,
                policies: Json(policies),
                count: kind.count,
                examples: Json(examples),
                first_at: kind.first_at,
                last_at: kind.last_at,
            };
            tx.difference_add(&row).await?;
            known.push(row);
        }
        self.system_commit(op, tx).await
    }

    async fn example_record(&self, op: &Op, tx: &mut Tx, noted: Noted) -> Result<DecisionId> {
        if let Some(id) = noted.id {
            return Ok(id);
        }
        let Answered { principal, action, resource, facts, .. } = noted.answered;
        let principal = Principal::Member(principal);
        // Decided once more for its reasons: the same question under the same policies has the same answer.
        let decision: Decision = self.policies.decide(&principal, action, &resource, &facts);
        let row = DecisionRow {
            id: op.id(),
            team: noted.shadow.team.to_string(),
            at: noted.at,
            actor: noted.actor,
            action: action.name().to_owned(),
            resource: name_of(&resource),
            allowed: decision.allowed(),
            document: document_of(&principal, &resource, &facts, &decision)?,
        };
        tx.decision_insert(&row).await?;
        Ok(row.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chance::Seeded,
        model::{quota::Limits, team::Preset},
        op::{Actor, SystemActor},
        policy::MemberPrincipal,
        time::ManualClock,
    };

    #[test]
    fn what_is_too_much_at_once_is_counted_and_not_kept() {
        let policies = Policies::shipped().expect("the shipped policies are read");
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
        let op = Op::new(Actor::System(SystemActor::Bookkeeper), clock, Arc::new(Seeded::new(1)));
        let (team, me) = (op.id(), op.id());
        let member = MemberPrincipal {
            id: me,
            team,
            role: Role::Member,
            preset: Preset::Glows,
            account: "ada".to_owned(),
            labels: Default::default(),
            active: true,
            reset_only: false,
            limits: Limits::default(),
            key_scopes: None,
            version: 1,
            wall: Default::default(),
            rules: None,
        };
        let shadow = Shadow { team, number: 3, ends_at: op.now(), rules: policies.rules(0, "") };
        let principal = Principal::Member(Arc::new(member));
        let asker = Asker { principal, team: Some(team), shadow: Some(Arc::new(shadow)) };
        let shadows = Shadows::default();
        for _ in 0..MOST_WAITING + 3 {
            let resource = Resource::team(team);
            let noted = Noted::of(&op, &asker, Action::GetTeam, &resource, &Facts::default(), true);
            shadows.put(noted.expect("a candidate runs"));
        }
        let waiting = shadows.take();
        assert_eq!(waiting.noted.len(), MOST_WAITING);
        let tally = &tallied(&policies, waiting)[&(team, 3)];
        let asked = i64::try_from(MOST_WAITING).expect("a few thousand");
        assert_eq!(tally.counts, ShadowCounts { asked, left_out: 3, ..ShadowCounts::default() });
        assert!(shadows.take().noted.is_empty());
    }
}
