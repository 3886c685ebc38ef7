//! From Cedar text to policies with stable ids, and the rules of writing that the engine itself does not
//! check.

use std::str::FromStr;

use cedar_policy::{ActionConstraint, Policy, PolicyId, PolicySet, PrincipalConstraint, Schema};

use super::{Error, shipped::Text};

/// Reads the schema.
pub(crate) fn schema(text: &Text) -> Result<Schema, Error> {
    let broken = |why: String| Error::Text { path: text.path.to_owned(), why };
    let (schema, warnings) = Schema::from_cedarschema_str(text.text).map_err(|e| broken(e.to_string()))?;
    let warnings: Vec<String> = warnings.map(|w| w.to_string()).collect();
    if warnings.is_empty() { Ok(schema) } else { Err(broken(warnings.join("; "))) }
}

/// Reads a text: every policy gets the id that its `@id` says.
pub(crate) fn policies(text: &Text) -> Result<Vec<Policy>, Error> {
    named(text.path, text.text)
}

/// Reads what `path` stands for: every policy gets the id that its `@id` says.
pub(crate) fn named(path: &str, text: &str) -> Result<Vec<Policy>, Error> {
    let broken = |why: String| Error::Text { path: path.to_owned(), why };
    let set = PolicySet::from_str(text).map_err(|e| broken(e.to_string()))?;
    if set.num_of_templates() > 0 {
        return Err(broken("templates are not used here: grants to one member are attributes".to_owned()));
    }
    let mut policies = Vec::new();
    for policy in set.policies() {
        let id = policy.annotation("id").ok_or_else(|| broken(format!("a policy has no @id: {policy}")))?;
        policies.push(policy.new_id(PolicyId::new(id)));
    }
    policies.sort_by(|a, b| a.id().cmp(b.id()));
    Ok(policies)
}

/// Reads a team's text: every policy gets the id `team/` and what its `@id` says.
pub(crate) fn team(text: &str) -> Result<Vec<Policy>, Error> {
    let broken = |why: String| Error::Text { path: "team".to_owned(), why };
    let set = PolicySet::from_str(text).map_err(|e| broken(e.to_string()))?;
    let mut policies = Vec::new();
    for policy in set.policies() {
        let id = policy.annotation("id").ok_or_else(|| broken("a policy has no @id".to_owned()))?;
        policies.push(policy.new_id(PolicyId::new(format!("team/{id}"))));
    }
    policies.sort_by(|a, b| a.id().cmp(b.id()));
    Ok(policies)
}

/// The policy with its action scope widened to every action: for a set that is asked for one action only,
/// where the scope is known to match. This spares the engine the action hierarchy.
///
/// # Errors
/// When a condition mentions `action`, since the widened policy would then mean something else.
pub(crate) fn without_action_scope(policy: &Policy) -> Result<Policy, Error> {
    let broken = |why: String| Error::Policy { id: policy.id().to_string(), why };
    let mut json = policy.to_json().map_err(|e| broken(e.to_string()))?;
    if json.get("conditions").is_some_and(mentions_action) {
        return Err(broken("say which action in the scope, not in a condition".to_owned()));
    }
    if let Some(scope) = json.get_mut("action") {
        *scope = serde_json::json!({ "op": "All" });
    }
    Policy::from_json(Some(policy.id().clone()), json).map_err(|e| broken(e.to_string()))
}

pub(super) fn mentions_action(json: &serde_json::Value) -> bool {
    match json {
        serde_json::Value::Object(fields) => {
            fields.get("Var").is_some_and(|v| v == "action") || fields.values().any(mentions_action)
        }
        serde_json::Value::Array(items) => items.iter().any(mentions_action),
        _ => false,
    }
}

/// The ids of the actions and groups in the policy's scope; `None` for all.
pub(crate) fn action_scope(policy: &Policy) -> Option<Vec<cedar_policy::EntityUid>> {
    match policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(one) => Some(vec![one]),
        ActionConstraint::In(some) => Some(some),
    }
}

/// Whether the policy's scope leaves room for principals of this type.
pub(crate) fn may_concern(policy: &Policy, principal_type: &cedar_policy::EntityTypeName) -> bool {
    match policy.principal_constraint() {
        PrincipalConstraint::Any | PrincipalConstraint::In(_) => true,
        PrincipalConstraint::Eq(uid) => uid.type_name() == principal_type,
        PrincipalConstraint::Is(name) | PrincipalConstraint::IsIn(name, _) => name == *principal_type,
    }
}
