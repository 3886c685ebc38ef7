//! What proofs stand on: the situations that policies speak of, and for each of them one set of everything that decides
//! there, with what is true of every question.

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, RequestEnv};
use cedar_policy_symcc::{CompiledSchema, SymEnv};
use serde_json::{Value, json};

use super::super::{Error, Policies, floor, index::Index, shipped, text};
use crate::model::{
    action::Action,
    team::{Preset, Role},
};

/// An action with the type of thing that it is about.
#[derive(Debug, Clone)]
pub(super) struct Situation {
    pub(super) action: Action,
    pub(super) about: String,
    pub(super) env: RequestEnv,
}

impl Situation {
    fn key(&self) -> (Action, &str) {
        (self.action, &self.about)
    }
}

/// The policies of one version.
pub(super) struct Version {
    /// As they are written.
    pub(super) written: Vec<Policy>,
    /// As they are asked.
    pub(super) index: Index,
}

impl Version {
    pub(super) fn of(policies: &Policies, text: &str) -> Result<Self, Error> {
        let written = text::team(text)?;
        let index = policies.layer(&written)?;
        Ok(Self { written, index })
    }

    /// Those of its policies that the other version does not have, as they are.
    pub(super) fn changed<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Policy> {
        let meaning = |policy: &Policy| {
            let mut json = policy.to_json().unwrap_or_default();
            if let Some(fields) = json.as_object_mut() {
                fields.remove("annotations");
            }
            json
        };
        self.written.iter().filter(move |policy| {
            let twin = other.written.iter().find(|twin| twin.id() == policy.id());
            twin.is_none_or(|twin| meaning(twin) != meaning(policy))
        })
    }
}

/// All that is the same for both versions.
pub(super) struct Grounds<'a> {
    pub(super) policies: &'a Policies,
    pub(super) preset: Preset,
    pub(super) schema: CompiledSchema,
    facts: Index,
    /// The condition that spares the owner, signed in.
    spares: Vec<Value>,
}

impl<'a> Grounds<'a> {
    pub(super) fn of(policies: &'a Policies, preset: Preset) -> Result<Self, Error> {
        let mut facts = text::policies(&shipped::FACTS)?;
        facts.extend(text::named("proofs/roles", &one_role(preset))?);
        let owner = Policy::parse(None, SPARED).map_err(Error::value)?.to_json().map_err(Error::value)?;
        Ok(Self {
            policies,
            preset,
            schema: CompiledSchema::new(policies.members_schema()).map_err(Error::value)?,
            facts: Index::build(&facts, &policies.schema, &policies.actions, &policies.types.member)?,
            spares: owner.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default(),
        })
    }

    /// The situations that these policies speak of, in the order of the actions.
    pub(super) fn situations<'p>(&self, policies: impl Iterator<Item = &'p Policy>) -> Vec<Situation> {
        let mut found: Vec<Situation> = Vec::new();
        for policy in policies {
            found.extend(self.spoken(policy));
            found.sort_by(|a, b| a.key().cmp(&b.key()));
            found.dedup_by(|a, b| a.key() == b.key());
        }
        found
    }

    /// How many situations there are in all.
    pub(super) fn all(&self) -> usize {
        let envs = self.schema.schema().request_envs();
        envs.filter(|env| self.situation(env.clone()).is_some()).count()
    }

    /// The situations that a policy speaks of. What cannot match by its types is left out.
    pub(super) fn spoken(&self, policy: &Policy) -> Vec<Situation> {
        let envs = policy.get_valid_request_envs(self.schema.schema());
        envs.filter_map(|env| self.situation(env)).collect()
    }

    /// Only routes are asked about; groups of them are not.
    fn situation(&self, env: RequestEnv) -> Option<Situation> {
        let action = Action::ALL.iter().find(|action| action.name() == env.action().id().unescaped())?;
        let entry = self.shipped_index()?.get(action.name())?;
        let is_teams = entry.groups.iter().any(|group| matches!(group.as_str(), "view" | "use" | "write"));
        is_teams.then(|| Situation { action: *action, about: env.resource().to_string(), env })
    }

    pub(super) fn shipped_index(&self) -> Option<&'a Index> {
        self.policies.members.get(&self.preset)
    }

    pub(super) fn sym_env(&self, situation: &Situation) -> Result<SymEnv, String> {
        self.schema.sym_env(&situation.env).map_err(|error| format!("this cannot be analysed: {error}"))
    }

    /// Everything that decides there: what is shipped, what is true, and the team's own.
    pub(super) fn whole(&self, situation: &Situation, own: &Index) -> Result<PolicySet, Error> {
        let mut policies = self.shipped(situation);
        for policy in speaking(own, situation) {
            policies.push(if floor::is_floor(situation.action.kind()) { self.sparing(&policy)? } else { policy });
        }
        set(policies)
    }

    /// What decides there for the owner, signed in, of a team without policies; nobody else may do anything.
    pub(super) fn owners(&self, situation: &Situation) -> Result<PolicySet, Error> {
        let mut policies = self.shipped(situation);
        let others = json!({
            "effect": "forbid", "principal": { "op": "All" }, "action": { "op": "All" },
            "resource": { "op": "All" }, "conditions": self.spares,
        });
        let id = PolicyId::new("fact/owner");
        policies.push(Policy::from_json(Some(id), others).map_err(Error::value)?);
        set(policies)
    }

    /// What guardrails forbid there, as permits.
    pub(super) fn forbidden(&self, situation: &Situation) -> Result<PolicySet, Error> {
        let shipped = self.shipped_index().map(|index| speaking(index, situation)).unwrap_or_default();
        let guardrails = shipped.into_iter().filter(|policy| {
            policy.effect() == Effect::Forbid && AsRef::<str>::as_ref(policy.id()).starts_with("plat/")
        });
        let permits = guardrails.map(|policy| {
            let mut json = policy.to_json().map_err(Error::value)?;
            if let Some(effect) = json.get_mut("effect") {
                *effect = json!("permit");
            }
            Policy::from_json(Some(policy.id().clone()), json).map_err(Error::value)
        });
        set(permits.collect::<Result<Vec<Policy>, Error>>()?)
    }

    /// The team's policies that speak there, each as it binds.
    pub(super) fn each(&self, situation: &Situation, own: &Index) -> Result<Vec<Policy>, Error> {
        let is_floor = floor::is_floor(situation.action.kind());
        let bind = |policy: Policy| if is_floor { self.sparing(&policy) } else { Ok(policy) };
        speaking(own, situation).into_iter().map(bind).collect()
    }

    /// What is true of every question there: allows exactly what can be asked.
    pub(super) fn facts(&self, situation: &Situation) -> Result<PolicySet, Error> {
        let mut policies = speaking(&self.facts, situation);
        policies.push(Policy::parse(None, "permit (principal, action, resource);").map_err(Error::value)?);
        set(policies)
    }

    fn shipped(&self, situation: &Situation) -> Vec<Policy> {
        let mut policies = self.shipped_index().map(|index| speaking(index, situation)).unwrap_or_default();
        policies.extend(speaking(&self.facts, situation));
        policies
    }

    /// The policy as it binds where the owner is spared.
    fn sparing(&self, policy: &Policy) -> Result<Policy, Error> {
        let mut json = policy.to_json().map_err(Error::value)?;
        if let Some(conditions) = json.get_mut("conditions").and_then(Value::as_array_mut) {
            // Asked first: where it does not bind, the rest is not looked at.
            conditions.splice(0..0, self.spares.iter().cloned());
        }
        Policy::from_json(Some(policy.id().clone()), json).map_err(Error::value)
    }
}

/// Whoever is not the owner, signed in. `floor::binding` says the same in Rust, and a test compares the two.
const SPARED: &str = "forbid (principal, action, resource) unless { principal in Role::\"owner\" && !principal.key };";

/// The policies of an index that speak there.
fn speaking(index: &Index, situation: &Situation) -> Vec<Policy> {
    let entry = index.get(situation.action.name());
    entry.map(|entry| entry.set.policies().cloned().collect()).unwrap_or_default()
}

fn set(policies: Vec<Policy>) -> Result<PolicySet, Error> {
    PolicySet::from_policies(policies).map_err(Error::value)
}

/// Whoever asks has one role of the preset and no other, and so has an account.
fn one_role(preset: Preset) -> String {
    let roles: Vec<&str> = preset.roles().iter().copied().map(Role::word).collect();
    let listed: Vec<String> = roles.iter().map(|role| format!("Role::\"{role}\"")).collect();
    let listed = listed.join(", ");
    let mut text = String::new();
    for (name, who, thing) in [("member", "principal", "resource"), ("account", "resource", "resource is Account")] {
        text += &format!(
            "@id(\"fact/{name}-role\") forbid (principal is Member, action, {thing}) unless {{ {who} in [{listed}] }};\n"
        );
        for (at, one) in roles.iter().enumerate() {
            for other in roles.iter().skip(at + 1) {
                text += &format!(
                    "@id(\"fact/{name}-{one}-{other}\") forbid (principal is Member, action, {thing}) when {{ {who} in \
                     Role::\"{one}\" && {who} in Role::\"{other}\" }};\n"
                );
            }
        }
    }
    text
}
