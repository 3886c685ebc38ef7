//! Members who asked lately, as entities. Making a member's entity costs more than asking all policies about
//! it, and whoever asks once mostly asks again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Error,
    entities::{Subject, Types},
    request::{MemberPrincipal, Principal},
};
use crate::ids::MemberId;

/// Members kept before all are forgotten: a few megabytes.
const MOST: usize = 2_048;

/// The last entity of each member, with what it was made from.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<HashMap<MemberId, (Arc<MemberPrincipal>, Subject)>>);

impl Recent {
    /// Who asks. An entity is taken again only if everything that it was made from is the same, so that no
    /// change of a role or a limit can be missed.
    pub(crate) fn principal(&self, types: &Types, principal: &Principal) -> Result<Subject, Error> {
        let Principal::Member(member) = principal else {
            return types.principal(principal);
        };
        if let Some(subject) = self.find(member) {
            return Ok(subject);
        }
        let subject = types.principal(principal)?;
        let mut members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if members.len() >= MOST {
            members.clear();
        }
        members.insert(member.id, (Arc::clone(member), subject.clone()));
        Ok(subject)
    }

    fn find(&self, member: &Arc<MemberPrincipal>) -> Option<Subject> {
        let members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (made_from, subject) = members.get(&member.id)?;
        same_entity(made_from, member).then(|| subject.clone())
    }
}

/// Whether both make the same entity: all that goes into one is the same. When they ask and the version of their rows
/// are not in it, and the team's policies are asked, not described.
fn same_entity(one: &MemberPrincipal, other: &MemberPrincipal) -> bool {
    let MemberPrincipal {
        id,
        team,
        role,
        preset: _,
        account,
        labels,
        active,
        reset_only,
        limits,
        key_scopes,
        version: _,
        wall: _,
        rules: _,
    } = one;
    (id, team, role) == (&other.id, &other.team, &other.role)
        && (account, labels, limits) == (&other.account, &other.labels, &other.limits)
        && (active, reset_only) == (&other.active, &other.reset_only)
        && key_scopes.is_some() == other.key_scopes.is_some()
}
