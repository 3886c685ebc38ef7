//! What proofs stand on: the situations that policies speak of, and for each of them one set of everything that decides
//! there, with what is true of every question.

use std::collections::HashMap;

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
pub(crate) struct Situation {
    pub(crate) action: Action,
    pub(crate) about: String,
    pub(crate) env: RequestEnv,
}

impl Situation {
    fn key(&self) -> (Action, &str) {
        (self.action, &self.about)
    }
}

/// The policies of one version.
pub(crate) struct Version {
    /// As they are written.
    pub(crate) written: Vec<Policy>,
    /// As they are asked.
    pub(crate) index: Index,
    /// The situations that each of them speaks of.
    pub(crate) spoken: HashMap<PolicyId, Vec<Situation>>,
}

impl Version {
    /// Reads a text; `None` when the time is over before it is known what the policies speak of.
    pub(crate) fn of(
        grounds: &Grounds<'_>,
        text: &str,
        is_over: impl Fn() -> bool,
    ) -> Result<Option<Self>, Error> {
        let written = text::team(text)?;
        let index = grounds.policies.layer(&written)?;
        let mut spoken = HashMap::new();
        for policy in &written {
            if is_over() {
                return Ok(None);
            }
            spoken.insert(policy.id().clone(), grounds.spoken(policy));
        }
        Ok(Some(Self { written, index, spoken }))
    }

    /// The situations that these of its policies speak of, in the order of the actions.
    pub(crate) fn situations<'p>(&self, policies: impl Iterator<Item = &'p Policy>) -> Vec<Situation> {
        let spoken = policies.filter_map(|policy| self.spoken.get(policy.id()));
        sorted(spoken.flatten().cloned().collect())
    }

    /// Its policies that speak there.
    pub(crate) fn speakers(&self, situation: &Situation) -> impl Iterator<Item = &Policy> {
        self.written.iter().filter(|policy| {
            let spoken = self.spoken.get(policy.id()).map(Vec::as_slice).unwrap_or_default();
            spoken.iter().any(|one| one.key() == situation.key())
        })
    }

    /// Those of its policies that the other version does not have, as they are.
    pub(crate) fn changed<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Policy> {
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
pub(crate) struct Grounds<'a> {
    pub(crate) policies: &'a Policies,
    pub(crate) preset: Preset,
    pub(crate) schema: CompiledSchema,
    facts: Index,
    /// The condition that spares the owner, signed in.
    spares: Vec<Value>,
}

impl<'a> Grounds<'a> {
    pub(crate) fn of(policies: &'a Policies, preset: Preset) -> Result<Self, Error> {
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

    /// How many situations there are in all.
    pub(crate) fn all(&self) -> usize {
        let envs = self.schema.schema().request_envs();
        envs.filter(|env| self.situation(env.clone()).is_some()).count()
    }

    /// The situations that a policy speaks of. What cannot match by its types is left out.
    pub(crate) fn spoken(&self, policy: &Policy) -> Vec<Situation> {
        let envs = policy.get_valid_request_envs(self.schema.schema());
        envs.filter_map(|env| self.situation(env)).collect()
    }

    /// Only routes are asked about; groups of them are not.
    fn situation(&self, env: RequestEnv) -> Option<Situation> {
        let action = Action::ALL.iter().find(|action| action.name() == env.action().id().unescaped())?;
        let entry = self.shipped_index()?.get(action.name())?;
        entry.is_teams().then(|| Situation { action: *action, about: env.resource().to_string(), env })
    }

    pub(crate) fn shipped_index(&self) -> Option<&'a Index> {
        self.policies.members.get(&self.preset)
    }

    pub(crate) fn sym_env(&self, situation: &Situation) -> Result<SymEnv, String> {
        self.schema.sym_env(&situation.env).map_err(|error| format!("this cannot be analysed: {error}"))
    }

    /// Everything that decides there: what is shipped, what is true, and the team's own.
    pub(crate) fn whole(&self, situation: &Situation, own: &Index) -> Result<PolicySet, Error> {
        let mut policies = self.shipped(situation);
        for policy in speaking(own, situation) {
            policies.push(self.binding(situation, &policy)?);
        }
        set(policies)
    }

    /// What decides there for the owner, signed in, of a team without policies; nobody else may do anything.
    pub(crate) fn owners(&self, situation: &Situation) -> Result<PolicySet, Error> {
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
    pub(crate) fn forbidden(&self, situation: &Situation) -> Result<PolicySet, Error> {
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

    /// A policy of the team as it binds there.
    pub(crate) fn binding(&self, situation: &Situation, policy: &Policy) -> Result<Policy, Error> {
        match floor::is_floor(situation.action.kind()) {
            true => self.sparing(policy),
            false => Ok(policy.clone()),
        }
    }

    /// What is true of every question there: allows exactly what can be asked.
    pub(crate) fn facts(&self, situation: &Situation) -> Result<PolicySet, Error> {
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
const SPARED: &str =
    "forbid (principal, action, resource) unless { principal in Role::\"owner\" && !principal.key };";

/// Each once, in the order of the actions.
pub(crate) fn sorted(mut situations: Vec<Situation>) -> Vec<Situation> {
    situations.sort_by(|a, b| a.key().cmp(&b.key()));
    situations.dedup_by(|a, b| a.key() == b.key());
    situations
}

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
    for (name, who, thing) in
        [("member", "principal", "resource"), ("account", "resource", "resource is Account")]
    {
        text += &format!(
            "@id(\"fact/{name}-role\") forbid (principal is Member, action, {thing}) unless {{ {who} in [{listed}] \
             }};\n"
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
