//! Cases: questions that a team writes down with the answers that it expects, so that no change of a policy takes away
//! what they stand for. They are asked about made-up people and things, without a database.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Decision, Policies,
    request::{BudgetRoom, Facts, Launch, MemberPrincipal, Principal, Resource},
    rules::Rules,
};
use crate::{
    ids::{Id, MemberId, TeamId},
    model::{
        action::Action,
        quota::{Limits, NO_ACCELERATOR, Usage},
        team::{Preset, Role},
    },
    money::Credits,
    time::{Timestamp, WallTime},
};

/// A question with the answer that is expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it stands for, 1 to 128 characters.
    pub name: String,
    /// Who asks.
    pub who: Who,
    /// For what: an operationId, such as `createInstance`.
    pub action: String,
    /// About which thing.
    #[serde(default)]
    pub thing: Thing,
    /// The hour in the team's time zone, 0 to 23; 12 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hour: Option<u8>,
    /// The minute, 0 to 59; 0 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minute: Option<u8>,
    /// The day of the week, 1 (Monday) to 7; 3 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekday: Option<u8>,
    /// For a launch: the money. Without it the launch costs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<Money>,
    /// The expected answer.
    pub expect: Expected,
    /// The policy that must be among those that decided: an `@id` of the team, or a whole id such as `plat/funds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

impl Expected {
    /// The answer that a decision is.
    pub const fn of(allowed: bool) -> Self {
        if allowed { Self::Allow } else { Self::Deny }
    }
}

/// A made-up member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// A role of the team's preset.
    pub role: Role,
    /// The member's labels.
    #[serde(default)]
    pub labels: BTreeSet<String>,
    /// The name of the account.
    #[serde(default)]
    pub account: String,
    /// Whether an API key asks in the member's place.
    #[serde(default)]
    pub key: bool,
}

/// A made-up thing. What it is follows from the action; what does not concern it is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Thing {
    /// Whose it is.
    pub owner: Whose,
    /// The product's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub product: String,
    /// The words that the operator gave the product.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub product_labels: BTreeSet<String>,
    /// The product's class, such as `gpu`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance_type: String,
    /// The accelerator's model; `none` unless told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub accelerator: String,
    /// The region.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// The image's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// GPUs in the instance.
    pub gpus: u32,
    /// For accounts: the role of the account; the one with the least rights unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// Whose a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// Whoever asks.
    #[default]
    #[serde(rename = "self")]
    Own,
    /// Another member's.
    Other,
    /// The team's, or everybody's.
    Team,
}

/// The money of a launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// What the instance costs per hour.
    pub price_per_hour: Credits,
    /// What would be held.
    pub hold: Credits,
    /// What can be spent.
    pub funds: Credits,
    /// What the tightest budget leaves; absent when none binds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Credits>,
    /// What all that the member runs already costs for an hour.
    #[serde(default)]
    pub spend_per_hour: Credits,
    /// What all that the team runs already costs for an hour.
    #[serde(default)]
    pub team_spend_per_hour: Credits,
}

/// A case whose answer was another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Failed {
    /// The case.
    pub name: String,
    /// What is wrong, in a sentence.
    pub detail: String,
}

/// The member who asks in made-up questions.
fn me() -> MemberId {
    MemberId::from_uuid(uuid::Uuid::from_u128(1))
}

/// Another member.
fn other() -> MemberId {
    MemberId::from_uuid(uuid::Uuid::from_u128(2))
}

/// Their team.
fn team() -> TeamId {
    TeamId::from_uuid(uuid::Uuid::from_u128(1))
}

impl Who {
    /// The member at noon of some day.
    #[cfg(test)]
    pub(super) fn seat(&self, preset: Preset, rules: Option<&Arc<Rules>>) -> MemberPrincipal {
        self.member(preset, WallTime::default(), rules)
    }

    pub(super) fn principal(&self, preset: Preset, wall: WallTime, rules: Option<&Arc<Rules>>) -> Principal {
        Principal::Member(Arc::new(self.member(preset, wall, rules)))
    }

    pub(super) fn member(
        &self,
        preset: Preset,
        wall: WallTime,
        rules: Option<&Arc<Rules>>,
    ) -> MemberPrincipal {
        MemberPrincipal {
            id: me(),
            team: team(),
            role: self.role,
            preset,
            account: self.account.clone(),
            labels: self.labels.clone(),
            active: true,
            reset_only: false,
            limits: Limits::default(),
            key_scopes: self.key.then(|| Arc::from([])),
            version: 0,
            wall,
            rules: rules.map(Arc::clone),
        }
    }
}

impl Thing {
    /// The thing as the policy sees it, when its sort in the schema is `sort`.
    pub(super) fn resource(&self, sort: &str, preset: Preset) -> Resource {
        let owner = match self.owner {
            Whose::Own => Some(me()),
            Whose::Other => Some(other()),
            Whose::Team => None,
        };
        let accelerator =
            if self.accelerator.is_empty() { NO_ACCELERATOR.to_owned() } else { self.accelerator.clone() };
        match sort {
            "Site" => Resource::Site,
            "Account" => {
                let lowest = preset.roles().last().copied().unwrap_or(Role::Member);
                let role = self.role.unwrap_or(lowest);
                Resource::Member { team: team(), id: owner.unwrap_or_else(other), role }
            }
            "Instance" => Resource::Instance {
                team: team(),
                owner: owner.unwrap_or_else(other),
                region: self.region.clone(),
                instance_type: self.instance_type.clone(),
                accelerator,
                image: self.image.clone(),
                product: self.product.clone(),
                product_labels: self.product_labels.clone(),
                gpus: self.gpus,
            },
            "Offer" => Resource::Offer {
                region: self.region.clone(),
                instance_type: self.instance_type.clone(),
                accelerator,
                product_labels: self.product_labels.clone(),
            },
            "Image" => Resource::Image { name: self.image.clone() },
            _ => Resource::Record { team: team(), owner },
        }
    }

    /// The facts of an action about it.
    pub(super) fn facts(&self, action: Action, money: Option<&Money>) -> Facts {
        let launches = matches!(action, Action::CreateInstance | Action::StartInstance);
        let credits = |amount: fn(&Money) -> Credits| money.map_or(Credits::ZERO, amount);
        let launch = launches.then(|| Launch {
            instances: 1,
            gpus: self.gpus,
            per_hour: credits(|money| money.price_per_hour),
            hold: credits(|money| money.hold),
            funds: credits(|money| money.funds),
            budget: money.and_then(|money| money.budget).map(|left| BudgetRoom {
                name: "budget".to_owned(),
                left,
                ceiling: left,
            }),
            used: Usage { spend_per_hour: credits(|money| money.spend_per_hour), ..Usage::default() },
            team_used: Usage {
                spend_per_hour: credits(|money| money.team_spend_per_hour),
                ..Usage::default()
            },
            ..Launch::default()
        });
        let snapshots_used = (action == Action::CreateSnapshot).then_some(0);
        Facts { launch, snapshots_used, ..Facts::default() }
    }
}

impl Policies {
    /// Asks every case of a team with this preset; those whose answer was another one.
    pub fn cases_failed(&self, preset: Preset, rules: Option<&Arc<Rules>>, cases: &[Case]) -> Vec<Failed> {
        let ask = |case: &Case| match self.case_decide(preset, rules, case) {
            Ok(decision) => case.complaint(&decision),
            Err(why) => Some(why),
        };
        let failed =
            cases.iter().filter_map(|case| Some(Failed { name: case.name.clone(), detail: ask(case)? }));
        failed.collect()
    }

    fn case_decide(
        &self,
        preset: Preset,
        rules: Option<&Arc<Rules>>,
        case: &Case,
    ) -> Result<Decision, String> {
        let Case { who, thing, .. } = case;
        if !preset.roles().contains(&who.role) {
            return Err(format!("a team with the preset {preset} has no role {}", who.role));
        }
        let action = Action::ALL.iter().copied().find(|action| action.operation() == case.action);
        let action = action.ok_or_else(|| format!("there is no action {:?}", case.action))?;
        let sort = self.sort_of(action, thing);
        let sort = sort.ok_or_else(|| format!("{} is not for members of a team", case.action))?;
        let principal = who.principal(preset, case.wall()?, rules);
        let facts = thing.facts(action, case.money.as_ref());
        Ok(self.decide(&principal, action, &thing.resource(sort, preset), &facts))
    }

    /// What the action is about, of the sorts that the schema leaves open.
    pub(super) fn sort_of(&self, action: Action, thing: &Thing) -> Option<&'static str> {
        let entry = self.members.values().next()?.get(action.name())?;
        let about = |sort: &str| entry.resources.iter().any(|name| name.to_string() == sort);
        let is_machine = thing.gpus > 0
            || !thing.product_labels.is_empty()
            || [&thing.product, &thing.instance_type, &thing.accelerator].iter().any(|word| !word.is_empty());
        let mut order = vec!["Record", "Account", "Instance", "Offer", "Image", "Site"];
        if action.kind() == "instance" && !matches!(action, Action::ListInstances) || is_machine {
            order.splice(0..0, ["Instance", "Offer"]);
        } else if !thing.image.is_empty() {
            order.insert(0, "Image");
        } else if thing.role.is_some() || matches!(action, Action::GetMember) {
            order.insert(0, "Account");
        }
        order.into_iter().find(|sort| about(sort))
    }
}

impl Case {
    fn wall(&self) -> Result<WallTime, String> {
        let (hour, minute, weekday) =
            (self.hour.unwrap_or(12), self.minute.unwrap_or(0), self.weekday.unwrap_or(3));
        let fine = hour <= 23 && minute <= 59 && (1..=7).contains(&weekday);
        let wall = WallTime { at: Timestamp::from_micros(0), hour, minute, weekday };
        if fine { Ok(wall) } else { Err("hour is 0 to 23, minute 0 to 59, weekday 1 to 7".to_owned()) }
    }

    fn complaint(&self, decision: &Decision) -> Option<String> {
        let ids: Vec<&str> = decision.determining().iter().map(|policy| policy.id.as_str()).collect();
        let by = if ids.is_empty() { "no policy".to_owned() } else { ids.join(", ") };
        if Expected::of(decision.allowed()) != self.expect {
            let (wanted, got) =
                if decision.allowed() { ("refused", "allowed") } else { ("allowed", "refused") };
            return Some(format!("should be {wanted} and is {got} by {by}"));
        }
        let wanted = self.by.as_ref()?;
        let own = format!("team/{wanted}");
        let named = ids.iter().any(|id| id == wanted || *id == own);
        (!named).then(|| format!("should be decided by {wanted} and is by {by}"))
    }
}
