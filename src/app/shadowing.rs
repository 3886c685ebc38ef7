//! Asking candidates beside the live policies: what these decide is noted in passing; a loop of the server asks the
//! candidate afterwards, and writes where the two differ. No request waits for it, and nothing that goes wrong with it
//! changes an answer.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    App,
    gate::{Asker, document_of, event_of, name_of},
};
use crate::{
    error::{Error, Result},
    ids::{DecisionId, TeamId},
    model::{action::Action, team::Role},
    op::Op,
    policy::{Answered, Beside, Decision, Facts, Policies, Principal, Resource, Rules},
    store::{
        Conn, Json, Tx,
        identity::TeamRow,
        record::{AuditRow, DecisionRow},
        shadows::{DifferenceRow, ShadowCounts},
    },
    time::Timestamp,
};

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
