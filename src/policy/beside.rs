//! A candidate for a team's policies, asked beside the live ones: what would it have answered to a question that they
//! have just answered? Nothing hangs on its answer, and it may fail.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Determining, MemberPrincipal, Policies, Question,
    request::{Facts, Principal, Resource},
    rules::Rules,
};
use crate::model::action::Action;

/// The reason that no policy has: nothing forbids and nothing permits.
const NO_PERMIT: &str = "no-permit";

/// A question with the answer of the live policies.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Who asked, under the live policies.
    pub principal: Arc<MemberPrincipal>,
    /// For what.
    pub action: Action,
    /// About which thing.
    pub resource: Resource,
    /// Knowing what.
    pub facts: Facts,
    /// What the answer was.
    pub allowed: bool,
}

/// What a candidate answers, beside the live policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beside {
    /// The same.
    Same,
    /// The other answer.
    Other {
        /// The policies that make the difference, sorted: those that decide with the candidate; where it allows without
        /// a word of its own, the live ones that refuse.
        policies: Vec<String>,
    },
    /// None: it could not be evaluated.
    Failed(String),
}

impl Policies {
    /// What `candidate` answers to a question that the live policies have answered.
    pub fn beside(&self, candidate: &Arc<Rules>, answered: &Answered) -> Beside {
        let Answered { principal, action, resource, facts, allowed } = answered;
        let (name, kind, operation) = (action.name(), action.kind(), action.operation());
        let ask = |principal: &Principal| {
            self.answer(&Question { principal, name, kind, operation, resource, facts })
        };
        let under = MemberPrincipal { rules: Some(Arc::clone(candidate)), ..(**principal).clone() };
        let would = ask(&Principal::Member(Arc::new(under)));
        if let Some(error) = would.errors().first() {
            return Beside::Failed(error.clone());
        }
        if would.allowed() == *allowed {
            return Beside::Same;
        }
        let is_own = |policy: &&Determining| policy.layer == "team";
        let mut policies: BTreeSet<String> = match would.allowed() {
            true => would.determining().iter().filter(is_own).map(|policy| policy.id.clone()).collect(),
            false => would.determining().iter().map(|policy| policy.id.clone()).collect(),
        };
        if policies.is_empty() && would.allowed() {
            let is = ask(&Principal::Member(Arc::clone(principal)));
            policies = is.determining().iter().map(|policy| policy.id.clone()).collect();
        }
        if policies.is_empty() {
            policies.insert(NO_PERMIT.to_owned());
        }
        Beside::Other { policies: policies.into_iter().collect() }
    }
}
