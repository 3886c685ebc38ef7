//! A small policy set for every kind of principal and every action.
//!
//! The engine walks all policies of the set it is given, and a long list of actions in a scope costs more than the
//! rest of the policy. Both are known before the question comes, so they are worked out here, once: a set holds only
//! what can speak for its action, with the action scope taken off. A test compares the answers with those of the
//! whole set.

use std::collections::HashMap;

use cedar_policy::{Entities, EntityTypeName, EntityUid, Policy, PolicySet, Schema};

use super::{Error, text};

/// What is asked for one action.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The action.
    pub(crate) action: EntityUid,
    /// All groups that the action belongs to, however far up, sorted.
    pub(crate) groups: Vec<String>,
    /// The policies that can speak.
    pub(crate) set: PolicySet,
}

/// The sets of one kind of principal, by the name of action or group.
#[derive(Debug)]
pub(crate) struct Index(HashMap<String, Entry>);

impl Index {
    /// The sets for principals of `principal_type` out of `policies`.
    pub(crate) fn build(
        policies: &[Policy],
        schema: &Schema,
        actions: &Entities,
        principal_type: &EntityTypeName,
    ) -> Result<Self, Error> {
        let mut scoped = Vec::new();
        for policy in policies.iter().filter(|policy| text::may_concern(policy, principal_type)) {
            scoped.push((text::action_scope(policy), text::without_action_scope(policy)?));
        }
        let mut entries = HashMap::new();
        for action in schema.actions() {
            let applies = schema
                .principals_for_action(action)
                .is_some_and(|mut principals| principals.any(|name| name == principal_type));
            if !applies {
                continue;
            }
            let groups: Vec<&EntityUid> = actions.ancestors(action).into_iter().flatten().collect();
            let speaks = |scope: &Option<Vec<EntityUid>>| match scope {
                None => true,
                Some(scope) => scope.iter().any(|uid| uid == action || groups.contains(&uid)),
            };
            let mut set = PolicySet::new();
            for (_, policy) in scoped.iter().filter(|(scope, _)| speaks(scope)) {
                set.add(policy.clone())
                    .map_err(|e| Error::Policy { id: policy.id().to_string(), why: e.to_string() })?;
            }
            let mut groups: Vec<String> = groups.iter().map(|uid| uid.id().unescaped().to_owned()).collect();
            groups.sort();
            entries.insert(action.id().unescaped().to_owned(), Entry { action: action.clone(), groups, set });
        }
        Ok(Self(entries))
    }

    /// The set for the action, unless principals of this kind can never ask for it.
    pub(crate) fn get(&self, action: &str) -> Option<&Entry> {
        self.0.get(action)
    }
}
