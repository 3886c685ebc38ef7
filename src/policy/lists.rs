//! Lists: what of them somebody may see. Rows that are alike to the policies have one answer, so it is asked for
//! once: an answer follows from who asks, the action, the facts and the attributes of the thing, and from nothing
//! else.

use std::collections::HashMap;

use super::{
    Policies,
    request::{Facts, Principal, Resource},
};
use crate::model::action::Action;

impl Policies {
    /// Whether `principal` may do `action` to each of these things, in their order.
    pub fn may_each<'a>(
        &self,
        principal: &Principal,
        action: Action,
        things: impl IntoIterator<Item = &'a Resource>,
    ) -> Vec<bool> {
        let mut known: HashMap<&Resource, bool> = HashMap::new();
        let ask = |thing: &Resource| self.may(principal, action, thing, &Facts::default());
        things.into_iter().map(|thing| *known.entry(thing).or_insert_with(|| ask(thing))).collect()
    }
}
