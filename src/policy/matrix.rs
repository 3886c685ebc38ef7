//! The effective permissions: for every kind of noun, what the policies let somebody do. Nothing is looked up
//! in a table: each cell is the engine's answer for a thing of one's own and for a thing of somebody else.

use serde::{Deserialize, Serialize};

use super::{
    Policies,
    request::{MemberPrincipal, Principal, Resource},
};
use crate::{
    ids::{Id, MemberId, TeamId},
    model::action::Verb,
};

/// How far a permission reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Not at all.
    None,
    /// Only what is one's own.
    #[serde(rename = "self")]
    Own,
    /// Whatever is in the team, or on the site.
    All,
}

impl Reach {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Own => "self",
            Self::All => "all",
        }
    }
}

/// What somebody may do with one kind of noun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Row {
    /// The kind, such as `instance`.
    pub kind: String,
    /// Looking.
    pub view: Reach,
    /// Entering what runs.
    #[serde(rename = "use")]
    pub enter: Reach,
    /// Changing.
    pub write: Reach,
}

impl Policies {
    /// What `principal` may do, kind by kind; kinds that are not for such principals at all are left out. For
    /// a member these are the nouns of the team, for a user those of the site and what the operator may see
    /// of teams.
    pub fn matrix(&self, principal: &Principal) -> Vec<Row> {
        let kinds = self.kinds().iter().filter(|kind| self.concerns(principal, kind));
        kinds
            .map(|kind| Row {
                kind: kind.clone(),
                view: self.reach(principal, kind, Verb::View),
                enter: self.reach(principal, kind, Verb::Use),
                write: self.reach(principal, kind, Verb::Write),
            })
            .collect()
    }

    fn reach(&self, principal: &Principal, kind: &str, verb: Verb) -> Reach {
        let may = |resource| self.allows_group(principal, kind, verb, &resource);
        let somebody = MemberId::from_uuid(uuid::Uuid::nil());
        match principal {
            Principal::Member(member) => {
                let MemberPrincipal { id, team, .. } = **member;
                if may(Resource::own(team, somebody)) && may(Resource::team(team)) {
                    Reach::All
                } else if may(Resource::own(team, id)) {
                    Reach::Own
                } else {
                    Reach::None
                }
            }
            Principal::User { .. } | Principal::Anonymous => {
                let any_team = TeamId::from_uuid(uuid::Uuid::nil());
                if may(Resource::Site) || may(Resource::team(any_team)) { Reach::All } else { Reach::None }
            }
        }
    }
}
