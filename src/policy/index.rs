//! A small policy set for every kind of principal and every action.
//!
//! The engine walks all policies of the set it is given, and a long list of actions in a scope costs more
//! than the rest of the policy. Both are known before the question comes, so they are worked out here, once:
//! a set holds only what can speak for its action, with the action scope taken off. A test compares the
//! answers with those of the whole set.

use std::{collections::HashMap, sync::Arc};

use cedar_policy::{
    ActionConstraint, Effect, Entities, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Response,
    Schema,
};

use super::{Error, text};
use crate::model::action::Verb;

/// What is asked for one action.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The action.
    pub(crate) action: EntityUid,
    /// The types of things that the action can be about.
    pub(crate) resources: Vec<EntityTypeName>,
    /// All groups that the action belongs to, however far up, sorted.
    pub(crate) groups: Vec<String>,
    /// The policies that can speak; actions about which the same ones speak share them.
    pub(crate) set: Arc<PolicySet>,
}

impl Entry {
    /// Whether the action is about a noun of a team.
    pub(crate) fn is_teams(&self) -> bool {
        is_teams(self.groups.iter().map(String::as_str))
    }
}

/// What a policy says about itself, read once: the engine parses a key anew at every look at an annotation.
#[derive(Debug)]
pub(crate) struct Note {
    /// The policy's id.
    pub(crate) id: String,
    /// Where it comes from: the id up to the first slash.
    pub(crate) layer: String,
    /// `permit` or `forbid`.
    pub(crate) effect: &'static str,
    /// The advice code.
    pub(crate) advice: Option<String>,
    /// Who can lift it.
    pub(crate) lifted_by: Option<String>,
}

impl Note {
    fn of(policy: &Policy) -> Self {
        Self {
            id: policy.id().to_string(),
            layer: AsRef::<str>::as_ref(policy.id()).split('/').next().unwrap_or_default().to_owned(),
            effect: match policy.effect() {
                Effect::Permit => "permit",
                Effect::Forbid => "forbid",
            },
            advice: policy.annotation("advice").map(str::to_owned),
            lifted_by: policy.annotation("lifted_by").map(str::to_owned),
        }
    }
}

/// The sets of one kind of principal, by the name of action or group.
#[derive(Debug)]
pub(crate) struct Index {
    entries: HashMap<String, Entry>,
    notes: HashMap<PolicyId, Note>,
}

impl Index {
    /// The sets for principals of `principal_type` out of `policies`, one for every action that they can ask for.
    pub(crate) fn build(
        policies: &[Policy],
        schema: &Schema,
        actions: &Entities,
        principal_type: &EntityTypeName,
    ) -> Result<Self, Error> {
        Self::build_for(policies, schema, actions, principal_type, false)
    }

    /// The same for a layer that is asked beside another: only the nouns of a team, and of those only what a policy
    /// speaks about.
    pub(crate) fn build_layer(
        policies: &[Policy],
        schema: &Schema,
        actions: &Entities,
        principal_type: &EntityTypeName,
    ) -> Result<Self, Error> {
        Self::build_for(policies, schema, actions, principal_type, true)
    }

    fn build_for(
        policies: &[Policy],
        schema: &Schema,
        actions: &Entities,
        principal_type: &EntityTypeName,
        only_spoken: bool,
    ) -> Result<Self, Error> {
        let mut scoped = Vec::new();
        for policy in policies.iter().filter(|policy| text::may_concern(policy, principal_type)) {
            let is_exact = matches!(policy.action_constraint(), ActionConstraint::Eq(_));
            scoped.push((text::action_scope(policy), is_exact, text::without_action_scope(policy)?));
        }
        let mut sets: HashMap<Vec<usize>, Arc<PolicySet>> = HashMap::new();
        let mut entries = HashMap::new();
        for action in schema.actions() {
            let applies = schema
                .principals_for_action(action)
                .is_some_and(|mut principals| principals.any(|name| name == principal_type));
            if !applies {
                continue;
            }
            let groups: Vec<&EntityUid> = actions.ancestors(action).into_iter().flatten().collect();
            // `action == Action::"view"` is about the group itself and not about what is in it.
            let speaks = |scope: &Option<Vec<EntityUid>>, is_exact: bool| match scope {
                None => true,
                Some(scope) => scope.iter().any(|uid| uid == action || !is_exact && groups.contains(&uid)),
            };
            let speaking: Vec<usize> = scoped
                .iter()
                .enumerate()
                .filter(|(_, (scope, is_exact, _))| speaks(scope, *is_exact))
                .map(|(at, _)| at)
                .collect();
            if only_spoken
                && (speaking.is_empty() || !is_teams(groups.iter().map(|group| group.id().unescaped())))
            {
                continue;
            }
            let set = match sets.get(&speaking) {
                Some(set) => Arc::clone(set),
                None => {
                    let speakers = scoped.iter().enumerate().filter(|(at, _)| speaking.contains(at));
                    let set = PolicySet::from_policies(speakers.map(|(_, (_, _, policy))| policy.clone()));
                    Arc::clone(sets.entry(speaking).or_insert(Arc::new(set.map_err(Error::value)?)))
                }
            };
            let mut groups: Vec<String> = groups.iter().map(|uid| uid.id().unescaped().to_owned()).collect();
            groups.sort();
            let resources = schema.resources_for_action(action).into_iter().flatten().cloned().collect();
            let entry = Entry { action: action.clone(), resources, groups, set };
            entries.insert(action.id().unescaped().to_owned(), entry);
        }
        let notes = policies.iter().map(|policy| (policy.id().clone(), Note::of(policy))).collect();
        Ok(Self { entries, notes })
    }

    /// The set for the action, unless principals of this kind can never ask for it.
    pub(crate) fn get(&self, action: &str) -> Option<&Entry> {
        self.entries.get(action)
    }

    /// The actions that there are sets for, in no order.
    pub(crate) fn actions(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// What the policies that decided say about themselves, in the order of their ids.
    pub(crate) fn speaking(&self, response: &Response) -> Vec<&Note> {
        let mut notes: Vec<&Note> =
            response.diagnostics().reason().filter_map(|id| self.notes.get(id)).collect();
        notes.sort_by(|a, b| a.id.cmp(&b.id));
        notes
    }
}

/// Whether an action with these groups is about a noun of a team.
fn is_teams<'a>(mut groups: impl Iterator<Item = &'a str>) -> bool {
    groups.any(|group| Verb::from_word(group).is_some())
}
