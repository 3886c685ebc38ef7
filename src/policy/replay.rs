//! Decisions that were recorded, asked again: what would a draft have answered to what was really asked? Both versions,
//! the live one and the draft, answer on the facts of then, so that a difference is the draft's and nothing else's.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Decision, Policies, Question,
    request::{Facts, Principal, Resource},
    rules::Rules,
};
use crate::{
    ids::DecisionId,
    model::{action::Action, team::Role},
    time::Timestamp,
};

/// Examples that are kept of one kind of difference.
const EXAMPLES: usize = 5;

/// A decision as it was recorded.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The decision.
    pub id: DecisionId,
    /// When it was made.
    pub at: Timestamp,
    /// The name of the action.
    pub action: String,
    /// What was allowed then.
    pub allowed: bool,
    /// All that it was made from, as JSON.
    pub document: String,
}

#[derive(Deserialize)]
struct Document {
    principal: Principal,
    resource: Resource,
    facts: Facts,
}

/// A kind of decision that a draft would turn around.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Flip {
    /// The role of those who asked.
    pub role: Role,
    /// The action's operationId.
    pub action: String,
    /// Whether the draft allows what is refused now; else it refuses what is allowed now.
    pub allows: bool,
    /// How many there were.
    pub count: u32,
    /// The policies that decide with the draft.
    pub by: Vec<String>,
    /// Some of them, the newest first.
    #[schema(value_type = Vec<String>)]
    pub examples: Vec<DecisionId>,
}

/// What came of asking again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Replayed {
    /// Decisions that were asked again.
    pub asked: u32,
    /// Those that the draft would refuse and the live policies allow.
    pub refused: u32,
    /// Those that the draft would allow and the live policies refuse.
    pub allowed: u32,
    /// Those that the live policies answer otherwise than it was recorded: policies were changed since then.
    pub drifted: u32,
    /// Those that were not asked again: made by somebody outside of the team, or by an older server in another form.
    pub left_out: u32,
    /// The oldest one that was asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What would be turned around, by role and action.
    pub flips: Vec<Flip>,
}

impl Replayed {
    /// Puts what came of older decisions behind this.
    pub fn add(&mut self, older: Replayed) {
        let Replayed { asked, refused, allowed, drifted, left_out, since, flips } = older;
        self.asked += asked;
        self.refused += refused;
        self.allowed += allowed;
        self.drifted += drifted;
        self.left_out += left_out;
        self.since = match (self.since, since) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        for flip in flips {
            let same = |known: &&mut Flip| {
                (known.role, &known.action, known.allows) == (flip.role, &flip.action, flip.allows)
            };
            let Some(known) = self.flips.iter_mut().find(same) else {
                self.flips.push(flip);
                continue;
            };
            known.count += flip.count;
            known.by.extend(flip.by.into_iter().filter(|id| !known.by.contains(id)).collect::<Vec<_>>());
            let room = EXAMPLES.saturating_sub(known.examples.len());
            known.examples.extend(flip.examples.into_iter().take(room));
        }
    }
}

impl Policies {
    /// Asks recorded decisions again, of the live policies and of a draft.
    pub fn replay(
        &self,
        live: Option<&Arc<Rules>>,
        draft: Option<&Arc<Rules>>,
        recorded: impl IntoIterator<Item = Recorded>,
    ) -> Replayed {
        let mut replayed = Replayed::default();
        let mut flips: BTreeMap<(Role, String, bool), Flip> = BTreeMap::new();
        for record in recorded {
            let Some((principal, document, action)) = read(&record) else {
                replayed.left_out += 1;
                continue;
            };
            let role = principal.role;
            let ask = |rules: Option<&Arc<Rules>>| {
                let mut principal = principal.clone();
                principal.rules = rules.map(Arc::clone);
                let principal = Principal::Member(Arc::new(principal));
                let (name, kind, operation) = (action.name(), action.kind(), action.operation());
                let Document { resource, facts, .. } = &document;
                self.answer(&Question { principal: &principal, name, kind, operation, resource, facts })
            };
            let (is, would) = (ask(live), ask(draft));
            replayed.asked += 1;
            replayed.since = Some(replayed.since.map_or(record.at, |since| since.min(record.at)));
            replayed.drifted += u32::from(is.allowed() != record.allowed);
            if is.allowed() == would.allowed() {
                continue;
            }
            let allows = would.allowed();
            *(if allows { &mut replayed.allowed } else { &mut replayed.refused }) += 1;
            let operation = action.operation().to_owned();
            let flip = flips.entry((role, operation.clone(), allows)).or_insert_with(|| Flip {
                role,
                action: operation,
                allows,
                count: 0,
                by: Vec::new(),
                examples: Vec::new(),
            });
            flip.count += 1;
            for policy in
                would.determining().iter().filter(|policy| !flip.by.contains(&policy.id)).collect::<Vec<_>>()
            {
                flip.by.push(policy.id.clone());
            }
            if flip.examples.len() < EXAMPLES {
                flip.examples.push(record.id);
            }
        }
        replayed.flips = flips.into_values().collect();
        replayed
    }
}

impl Policies {
    /// The answer to a recorded question now, under `rules`; `None` for what cannot be asked again.
    pub fn decide_again(&self, rules: Option<Arc<Rules>>, record: &Recorded) -> Option<Decision> {
        let (mut principal, document, action) = read(record)?;
        principal.rules = rules;
        let principal = Principal::Member(Arc::new(principal));
        Some(self.decide(&principal, action, &document.resource, &document.facts))
    }
}

/// What a member asked; `None` for what cannot be asked again.
fn read(record: &Recorded) -> Option<(super::MemberPrincipal, Document, Action)> {
    let document: Document = serde_json::from_str(&record.document).ok()?;
    let action = Action::ALL.iter().copied().find(|action| action.name() == record.action)?;
    let Principal::Member(member) = &document.principal else { return None };
    Some(((**member).clone(), document, action))
}
