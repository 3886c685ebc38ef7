//! What a decision is asked about, in our own words: who asks, about which thing, knowing which facts.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::rules::Rules;

use crate::{
    ids::{MemberId, TeamId, UserId},
    model::{
        quota::{Limits, Usage},
        team::{Preset, Role},
    },
    money::Credits,
    time::WallTime,
};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Principal {
    /// Nobody signed in.
    Anonymous,
    /// A platform user, outside of any team. Whoever has a membership in the team asks as
    /// [`Principal::Member`].
    User {
        /// The user.
        id: UserId,
        /// Whether the user runs the site.
        operator: bool,
        /// Whether the session may do nothing but set a new password.
        reset_only: bool,
    },
    /// A member of a team, by session or by API key.
    Member(Arc<MemberPrincipal>),
}

/// A member who asks, with everything that their permissions hang on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberPrincipal {
    /// The membership.
    pub id: MemberId,
    /// The team.
    pub team: TeamId,
    /// What the member is there.
    pub role: Role,
    /// The role rules that the team chose.
    pub preset: Preset,
    /// The name of the account within the team.
    #[serde(default)]
    pub account: String,
    /// The words that the team gave the member.
    #[serde(default)]
    pub labels: BTreeSet<String>,
    /// Whether the membership is in use: neither suspended nor removed.
    pub active: bool,
    /// Whether the session may do nothing but set a new password.
    pub reset_only: bool,
    /// The effective limits: the member's, else the team's.
    pub limits: Limits,
    /// The scopes of the API key that asks in the member's place, `None` for a session. No scopes at all
    /// means everything that the member may do. A scope is an operationId, `<kind>:<verb>`, or `view`, `use`,
    /// `write`.
    pub key_scopes: Option<Arc<[String]>>,
    /// The version of the rows that this was read from, for the decision record.
    pub version: i64,
    /// When they ask, as the team's clocks show it.
    #[serde(default)]
    pub wall: WallTime,
    /// The team's own policies, all of one version; `None` when the team has none.
    #[serde(skip)]
    pub rules: Option<Arc<Rules>>,
}

/// What the question is about. The schema says which of these an action can be about; any other is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Resource {
    /// The installation itself.
    Site,
    /// Something of a team. A list has an owner when the caller asks for their own part of it only.
    Record {
        /// The team.
        team: TeamId,
        /// Whose it is; `None` for what is the team's, or everybody's.
        owner: Option<MemberId>,
    },
    /// A member's account in a team; for a new member, the account as it would be.
    Member {
        /// The team.
        team: TeamId,
        /// The member.
        id: MemberId,
        /// The role before the change.
        role: Role,
    },
    /// An instance; for a launch or an estimate, the instance as it would be, owned by whoever asks.
    Instance {
        /// The team.
        team: TeamId,
        /// Who launched it.
        owner: MemberId,
        /// The region's name.
        region: String,
        /// The instance type's name.
        instance_type: String,
        /// The accelerator model, or [`crate::model::quota::NO_ACCELERATOR`].
        accelerator: String,
        /// The image's name.
        image: String,
        /// The product's name.
        #[serde(default)]
        product: String,
        /// The words that the operator gave the product.
        #[serde(default)]
        product_labels: BTreeSet<String>,
        /// GPUs in the instance.
        gpus: u32,
    },
    /// A product in the catalog.
    Offer {
        /// The region's name.
        region: String,
        /// The instance type's name.
        instance_type: String,
        /// The accelerator model, or [`crate::model::quota::NO_ACCELERATOR`].
        accelerator: String,
        /// The words that the operator gave the product.
        #[serde(default)]
        product_labels: BTreeSet<String>,
    },
    /// An image in the catalog.
    Image {
        /// The image's name.
        name: String,
    },
}

impl Resource {
    /// What belongs to the team and to no member of it.
    pub const fn team(team: TeamId) -> Self {
        Self::Record { team, owner: None }
    }

    /// What belongs to one member of the team.
    pub const fn own(team: TeamId, owner: MemberId) -> Self {
        Self::Record { team, owner: Some(owner) }
    }

    /// The same thing as if it were `member`'s.
    pub(crate) fn given_to(&self, member: MemberId) -> Self {
        let mut given = self.clone();
        match &mut given {
            Self::Record { owner, .. } => *owner = Some(member),
            Self::Instance { owner, .. } => *owner = member,
            Self::Member { id, .. } => *id = member,
            Self::Site | Self::Offer { .. } | Self::Image { .. } => {}
        }
        given
    }

    /// The member that it belongs to.
    pub(crate) const fn owner(&self) -> Option<MemberId> {
        match self {
            Self::Record { owner, .. } => *owner,
            Self::Instance { owner, .. } => Some(*owner),
            Self::Member { id, .. } => Some(*id),
            Self::Site | Self::Offer { .. } | Self::Image { .. } => None,
        }
    }
}

/// What else a decision needs to know; read inside the transaction that acts on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// For `CreateInstance` and `StartInstance`, which are refused without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch: Option<Launch>,
    /// For `CreateMember` and `UpdateMember`: the role that the change would give.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_role: Option<Role>,
    /// For `ConfirmTopUp`, which is refused without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
    /// For `CreateSnapshot`, which is refused without it: how many snapshots the member keeps already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots_used: Option<u32>,
    /// For `ActivatePrice` and `RollBackPrice`: the notice that it gives and what is known of its effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceChange>,
    /// The name of the resource's owner, for the sentence of a refusal; decides nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_name: Option<String>,
}

/// The numbers of a launch, or of the start of what was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Launch {
    /// Instances wanted.
    pub instances: u32,
    /// GPUs wanted, over all of them.
    pub gpus: u32,
    /// What it will cost for an hour, as quoted.
    pub per_hour: Credits,
    /// What the member holds already.
    pub used: Usage,
    /// What the whole team holds already.
    pub team_used: Usage,
    /// What the operator lets the whole team hold.
    pub team_ceiling: Limits,
    /// Money that the launch would hold.
    pub hold: Credits,
    /// Money that can be spent: the wallet's or the pool's balance without what is held already.
    pub funds: Credits,
    /// Whether that is the member's own wallet, into which credits can be asked for.
    pub own_wallet: bool,
    /// The budget that leaves the least, of those that stand in the way of launches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetRoom>,
}

impl Launch {
    /// Whole minutes that the money and the budgets pay for; the largest number without a price.
    pub(crate) fn runway_minutes(&self) -> i64 {
        let left = self.budget.as_ref().map_or(self.funds, |room| room.left.min(self.funds));
        if !self.per_hour.is_positive() {
            return i64::MAX;
        }
        let minutes = i128::from(left.as_micros().max(0)) * 60 / i128::from(self.per_hour.as_micros());
        i64::try_from(minutes).unwrap_or(i64::MAX)
    }
}

/// A top-up that an operator confirms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// How much it is.
    pub amount: Credits,
    /// Up to how much one operator is enough; `None`: always.
    pub alone_up_to: Option<Credits>,
    /// Whether whoever confirms has done so before.
    pub again: bool,
}

/// A price that is to become the team's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceChange {
    /// Whole hours until launches are priced by it.
    pub notice_hours: i64,
    /// The latest replay of this very price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<PriceEvidence>,
}

/// What a replay of a price has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceEvidence {
    /// By how many percent the past would have been dearer, rounded up; the largest number when it was free.
    pub increase_percent: i64,
    /// Intervals that were rated again.
    pub intervals: i64,
    /// Intervals that the price had no usable answer for.
    pub failed: i64,
    /// Hours of the span that was rated again.
    pub span_hours: i64,
    /// Hours since the replay.
    pub age_hours: i64,
}

/// What a budget leaves in its present period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BudgetRoom {
    /// The budget's name.
    pub name: String,
    /// What can still be reserved; never below zero.
    pub left: Credits,
    /// How much it is in all.
    pub ceiling: Credits,
}
