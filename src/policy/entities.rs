//! From our words to Cedar entities and a context. Built in Rust with names parsed once, for parsing them
//! anew is what would take the time; no schema is read, since the types below are what the schema says.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    str::FromStr,
};

use cedar_policy::{Context, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression as Value};

use super::{
    Error,
    request::{Confirmation, Facts, MemberPrincipal, PriceChange, Principal, Resource},
};
use crate::{
    model::quota::{Limits, Usage},
    money::Credits,
    time::{SECOND, Timestamp, WallTime},
};

/// The names of the entity types, parsed once.
#[derive(Debug)]
pub(crate) struct Types {
    pub(crate) anonymous: EntityTypeName,
    pub(crate) user: EntityTypeName,
    pub(crate) member: EntityTypeName,
    role: EntityTypeName,
    team: EntityTypeName,
    site: EntityTypeName,
    record: EntityTypeName,
    account: EntityTypeName,
    instance: EntityTypeName,
    offer: EntityTypeName,
    image: EntityTypeName,
}

/// An entity with the name that a request calls it by.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) uid: EntityUid,
    pub(crate) entity: Entity,
}

fn subject(
    uid: EntityUid,
    attributes: impl IntoIterator<Item = (&'static str, Value)>,
    parents: impl IntoIterator<Item = EntityUid>,
) -> Result<Subject, Error> {
    let attributes: HashMap<String, Value> =
        attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let parents: HashSet<EntityUid> = parents.into_iter().collect();
    let entity = Entity::new(uid.clone(), attributes, parents).map_err(Error::value)?;
    Ok(Subject { uid, entity })
}

fn uid(kind: &EntityTypeName, id: impl std::fmt::Display) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id.to_string()))
}

fn record(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Result<Value, Error> {
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
    Value::new_record(fields).map_err(Error::value)
}

fn text(text: &str) -> Value {
    Value::new_string(text.to_owned())
}

fn words(words: &BTreeSet<String>) -> Value {
    Value::new_set(words.iter().map(|word| text(word)))
}

/// `None` shows everything.
fn shown(names: Option<&BTreeSet<String>>) -> Result<Value, Error> {
    let set = Value::new_set(names.into_iter().flatten().map(|name| text(name)));
    record([("all", Value::new_bool(names.is_none())), ("names", set)])
}

/// No limit is the largest number.
fn quota(limit: Option<u32>) -> i64 {
    limit.map_or(i64::MAX, i64::from)
}

/// What is left of a limit, never below zero.
fn left(limit: Option<u32>, used: u32) -> i64 {
    quota(limit).saturating_sub(i64::from(used)).max(0)
}

fn count(instances: i64, gpus: i64, spend: i64) -> Result<Value, Error> {
    record([
        ("instances", Value::new_long(instances)),
        ("gpus", Value::new_long(gpus)),
        ("spend", Value::new_long(spend)),
    ])
}

/// What is left of the counted limits of a launch.
fn headroom(limits: &Limits, used: &Usage) -> Result<Value, Error> {
    let spend = limits.spend_per_hour.map_or(i64::MAX, Credits::as_micros);
    let spend = spend.saturating_sub(used.spend_per_hour.as_micros()).max(0);
    count(left(limits.instances, used.instances), left(limits.gpus, used.gpus), spend)
}

impl Types {
    /// Parses the names.
    pub(crate) fn new() -> Result<Self, Error> {
        let name = |name: &str| EntityTypeName::from_str(name).map_err(Error::value);
        Ok(Self {
            anonymous: name("Anonymous")?,
            user: name("User")?,
            member: name("Member")?,
            role: name("Role")?,
            team: name("Team")?,
            site: name("Site")?,
            record: name("Record")?,
            account: name("Account")?,
            instance: name("Instance")?,
            offer: name("Offer")?,
            image: name("Image")?,
        })
    }

    /// Who asks.
    pub(crate) fn principal(&self, principal: &Principal) -> Result<Subject, Error> {
        match principal {
            Principal::Anonymous => subject(uid(&self.anonymous, "anonymous"), [], []),
            Principal::User { id, operator, reset_only } => subject(
                uid(&self.user, id),
                [("operator", Value::new_bool(*operator)), ("reset", Value::new_bool(*reset_only))],
                [],
            ),
            Principal::Member(member) => self.member(member),
        }
    }

    fn member(&self, member: &MemberPrincipal) -> Result<Subject, Error> {
        let limits = &member.limits;
        let visible = record([
            ("regions", shown(limits.regions.as_ref())?),
            ("instance_types", shown(limits.instance_types.as_ref())?),
            ("accelerators", shown(limits.accelerators.as_ref())?),
            ("images", shown(limits.images.as_ref())?),
        ])?;
        let quota = record([
            ("instances", Value::new_long(quota(limits.instances))),
            ("gpus", Value::new_long(quota(limits.gpus))),
            ("gpus_per_instance", Value::new_long(quota(limits.gpus_per_instance))),
        ])?;
        subject(
            uid(&self.member, member.id),
            [
                ("team", Value::new_entity_uid(uid(&self.team, member.team))),
                ("active", Value::new_bool(member.active)),
                ("reset", Value::new_bool(member.reset_only)),
                ("key", Value::new_bool(member.key_scopes.is_some())),
                ("account", text(&member.account)),
                ("labels", words(&member.labels)),
                ("visible", visible),
                ("quota", quota),
            ],
            [uid(&self.role, member.role)],
        )
    }

    /// What is asked about. Things without a name of their own are called `it`: only their attributes matter.
    pub(crate) fn resource(&self, resource: &Resource) -> Result<Subject, Error> {
        let team = |id| ("team", Value::new_entity_uid(uid(&self.team, id)));
        let owner = |id| ("owner", Value::new_entity_uid(uid(&self.member, id)));
        match resource {
            Resource::Site => subject(uid(&self.site, "site"), [], []),
            Resource::Record { team: of, owner: whose } => {
                let attributes = std::iter::once(team(of)).chain(whose.as_ref().map(owner));
                subject(uid(&self.record, "it"), attributes, [])
            }
            Resource::Member { team: of, id, role } => {
                subject(uid(&self.account, id), [team(of), owner(id)], [uid(&self.role, role)])
            }
            Resource::Instance {
                team: of,
                owner: whose,
                region,
                instance_type,
                accelerator,
                image,
                product,
                product_labels,
                gpus,
            } => {
                let attributes = [
                    team(of),
                    owner(whose),
                    ("region", text(region)),
                    ("instance_type", text(instance_type)),
                    ("accelerator", text(accelerator)),
                    ("image", text(image)),
                    ("product", text(product)),
                    ("product_labels", words(product_labels)),
                    ("gpus", Value::new_long(i64::from(*gpus))),
                ];
                subject(uid(&self.instance, "it"), attributes, [])
            }
            Resource::Offer { region, instance_type, accelerator, product_labels } => {
                let attributes = [
                    ("region", text(region)),
                    ("instance_type", text(instance_type)),
                    ("accelerator", text(accelerator)),
                    ("product_labels", words(product_labels)),
                ];
                subject(uid(&self.offer, "it"), attributes, [])
            }
            Resource::Image { name } => subject(uid(&self.image, "it"), [("image", text(name))], []),
        }
    }
}

/// What else is known. A fact that was not handed in is left out, so that a policy that needs it fails and
/// the answer is no. What the clock shows is handed in where the team has policies of its own: no other asks for it.
pub(crate) fn context(principal: &Principal, in_scope: bool, facts: &Facts) -> Result<Context, Error> {
    let mut pairs = vec![("in_scope".to_owned(), Value::new_bool(in_scope))];
    let wall = match principal {
        Principal::Member(member) => member.rules.is_some().then_some(member.wall),
        Principal::Anonymous | Principal::User { .. } => {
            Some(WallTime { at: Timestamp::from_micros(0), hour: 0, minute: 0, weekday: 0 })
        }
    };
    if let Some(WallTime { at, hour, minute, weekday }) = wall {
        pairs.push(("now".to_owned(), Value::new_long(at.as_micros() / SECOND)));
        for (name, shown) in [("hour", hour), ("minute", minute), ("weekday", weekday)] {
            pairs.push((name.to_owned(), Value::new_long(i64::from(shown))));
        }
    }
    if let Some(role) = facts.target_role {
        pairs.push(("target_role".to_owned(), text(role.word())));
    }
    if let Some(Confirmation { amount, alone_up_to, again }) = &facts.confirmation {
        let alone_up_to = alone_up_to.map_or(i64::MAX, Credits::as_micros);
        pairs.push(("amount".to_owned(), Value::new_long(amount.as_micros())));
        pairs.push(("alone_up_to".to_owned(), Value::new_long(alone_up_to)));
        pairs.push(("again".to_owned(), Value::new_bool(*again)));
    }
    if let Some(PriceChange { notice_hours, replay }) = &facts.price {
        pairs.push(("notice_hours".to_owned(), Value::new_long(*notice_hours)));
        if let Some(seen) = replay {
            let replay = record([
                ("increase_percent", Value::new_long(seen.increase_percent)),
                ("intervals", Value::new_long(seen.intervals)),
                ("failed", Value::new_long(seen.failed)),
                ("span_hours", Value::new_long(seen.span_hours)),
                ("age_hours", Value::new_long(seen.age_hours)),
            ])?;
            pairs.push(("replay".to_owned(), replay));
        }
    }
    if let (Some(used), Principal::Member(member)) = (facts.snapshots_used, principal) {
        let left = left(member.limits.snapshots, used);
        pairs.push(("snapshots_left".to_owned(), Value::new_long(left)));
    }
    if let (Some(launch), Principal::Member(member)) = (&facts.launch, principal) {
        let want = count(i64::from(launch.instances), i64::from(launch.gpus), launch.per_hour.as_micros())?;
        pairs.push(("want".to_owned(), want));
        pairs.push(("left".to_owned(), headroom(&member.limits, &launch.used)?));
        pairs.push(("team_left".to_owned(), headroom(&launch.team_ceiling, &launch.team_used)?));
        pairs.push(("hold".to_owned(), Value::new_long(launch.hold.as_micros())));
        pairs.push(("funds".to_owned(), Value::new_long(launch.funds.as_micros())));
        pairs.push(("price_per_hour".to_owned(), Value::new_long(launch.per_hour.as_micros())));
        for (name, used) in [("spend_per_hour", &launch.used), ("team_spend_per_hour", &launch.team_used)] {
            pairs.push((name.to_owned(), Value::new_long(used.spend_per_hour.as_micros())));
        }
        pairs.push(("runway_minutes".to_owned(), Value::new_long(launch.runway_minutes())));
        let budget = launch.budget.as_ref().map_or(i64::MAX, |room| room.left.as_micros());
        pairs.push(("budget".to_owned(), Value::new_long(budget)));
    }
    Context::from_pairs(pairs).map_err(Error::value)
}
