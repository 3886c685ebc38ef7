//! What no team can take from its owner: to mend the team. Signed in with a password, the owner is never bound by the
//! team's own policies in what concerns policies, members, roles and money, so that no version locks the team out of
//! changing it. It holds by construction: for these the team's policies are not asked. Guardrails still are.

use super::{Question, request::Principal, rules::Rules};
use crate::model::team::Role;

/// The kinds of nouns that the owner always reaches.
const KINDS: [&str; 14] = [
    "audit_log",
    "auto_top_up",
    "balance",
    "balance_alert",
    "bill",
    "billing_details",
    "budget",
    "member",
    "payment_method",
    "permission",
    "policy",
    "team",
    "top_up",
    "transaction",
];

/// The team's policies that bind whoever asks, if any do.
pub(super) fn binding<'a>(question: &Question<'a>) -> Option<&'a Rules> {
    let Principal::Member(member) = question.principal else { return None };
    let spared = member.role == Role::Owner && member.key_scopes.is_none() && is_floor(question.kind);
    member.rules.as_deref().filter(|_| !spared)
}

/// Whether the kind is one that the owner always reaches.
pub(super) fn is_floor(kind: &str) -> bool {
    KINDS.binary_search(&kind).is_ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kinds_are_sorted() {
        assert!(super::KINDS.is_sorted());
    }
}
