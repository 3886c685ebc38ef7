//! What a change of a team's policies would do: both versions are asked the same questions, for every role and label,
//! everybody whom a policy names, and every action that either speaks about, and where the answers differ somebody
//! gains or loses. The questions are about what is in the catalogue, at every hour if a policy looks at the clock, so
//! that a difference comes with an example.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    Policies, Question,
    cases::{Money, Thing, Who, Whose},
    request::{Principal, Resource},
    rules::Rules,
};
use crate::{
    ids::MemberId,
    model::{
        action::Action,
        team::{Preset, Role},
    },
    money::Credits,
    time::{Timestamp, WallTime},
};

/// About how many questions are asked at the most.
const MOST_ASKED: u32 = 20_000;
/// Products and images that questions are about.
const MOST_PRODUCTS: usize = 24;
const MOST_IMAGES: usize = 3;
/// Labels that questions are asked for.
const MOST_LABELS: usize = 24;
/// People that questions are asked for by name.
const MOST_PEOPLE: usize = 20;
const WEDNESDAY: u8 = 3;

/// What there is to ask about.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Machines of the catalogue, with what one costs per hour.
    pub machines: Vec<(Thing, Credits)>,
    /// Images of the catalogue.
    pub images: Vec<String>,
    /// Labels that members of the team have.
    pub labels: BTreeSet<String>,
    /// Members whom a policy names. Where it names an account that is not there, one for every role.
    pub people: Vec<Person>,
}

/// Somebody whom a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The membership, if there is one.
    pub id: Option<MemberId>,
    /// The name of the account.
    pub account: String,
    /// The role.
    pub role: Role,
    /// The labels.
    pub labels: BTreeSet<String>,
}

/// What a change does to one kind of member in one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Change {
    /// The role.
    pub role: Role,
    /// The label, for members who have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The account, for a member whom a policy names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Whether an API key asks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key: bool,
    /// The action's operationId.
    pub action: String,
    /// Questions that were asked.
    pub asked: u32,
    /// Questions that would be allowed and are refused now.
    pub gains: u32,
    /// Questions that would be refused and are allowed now.
    pub loses: u32,
    /// One of them, in words.
    pub example: String,
    /// The policies that decide the example after the change.
    pub by: Vec<String>,
}

/// All that a change does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Effects {
    /// Who gains and who loses what.
    pub changes: Vec<Change>,
    /// Questions that were asked.
    pub asked: u32,
    /// Whether there would have been more to ask.
    pub cut: bool,
    /// What could not be evaluated; a text with such policies is not published.
    pub errors: Vec<String>,
}

/// Somebody who asks.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seat {
    role: Role,
    label: Option<String>,
    key: bool,
    /// Which of the people who are named.
    person: Option<usize>,
}

impl Policies {
    /// What changes for a team with this preset when `after` takes the place of `before`.
    pub fn effects(
        &self,
        preset: Preset,
        before: Option<&Arc<Rules>>,
        after: Option<&Arc<Rules>>,
        sample: &Sample,
    ) -> Effects {
        let both: Vec<&Arc<Rules>> = before.into_iter().chain(after).collect();
        let names: BTreeSet<&str> = both
            .iter()
            .filter_map(|rules| rules.index().ok())
            .flat_map(|index| index.actions())
            .map(|(name, _)| name)
            .collect();
        let mut effects = Effects::default();
        let mut changes: BTreeMap<(Seat, &'static str), Change> = BTreeMap::new();
        let (seats, times) = (seats(preset, &both, sample), times(&both));
        let spends = spends(&both);
        effects.cut = both.iter().any(|rules| rules.named().labels.len() > MOST_LABELS)
            || sample.people.len() > MOST_PEOPLE;
        // Every action and everybody is asked for; where there is too much, about fewer things.
        let share = usize::try_from(MOST_ASKED).unwrap_or(usize::MAX) / names.len().max(1);
        let most_things = (share / (seats.len() * times.len() * spends.len()).max(1)).max(1);
        for action in Action::ALL.iter().filter(|action| names.contains(action.name())) {
            let things = self.things(*action, preset, sample);
            let step = things.len().div_ceil(most_things).max(1);
            effects.cut |= step > 1;
            for seat in &seats {
                for (thing, resource, price) in things.iter().step_by(step) {
                    for (wall, spend) in
                        times.iter().flat_map(|wall| spends.iter().map(move |spend| (wall, spend)))
                    {
                        effects.asked += 1;
                        let person = seat.person.and_then(|at| sample.people.get(at));
                        let asked = Asked {
                            seat,
                            person,
                            action: *action,
                            thing,
                            resource,
                            price: *price,
                            wall: *wall,
                            spend: *spend,
                        };
                        self.compare(preset, before, after, &asked, &mut changes, &mut effects.errors);
                    }
                }
            }
        }
        effects.errors.sort();
        effects.errors.dedup();
        effects.changes = changes.into_values().filter(|change| change.gains + change.loses > 0).collect();
        effects
    }

    fn compare(
        &self,
        preset: Preset,
        before: Option<&Arc<Rules>>,
        after: Option<&Arc<Rules>>,
        asked: &Asked<'_>,
        changes: &mut BTreeMap<(Seat, &'static str), Change>,
        errors: &mut Vec<String>,
    ) {
        let Asked { seat, person, action, thing, resource, price, wall, spend } = asked;
        let who = Who {
            role: seat.role,
            labels: person
                .map_or_else(|| seat.label.iter().cloned().collect(), |person| person.labels.clone()),
            account: person.map(|person| person.account.clone()).unwrap_or_default(),
            key: seat.key,
        };
        let money = Money {
            price_per_hour: *price,
            hold: *price,
            funds: PLENTY,
            budget: None,
            spend_per_hour: *spend,
            team_spend_per_hour: *spend,
        };
        let facts = thing.facts(*action, Some(&money));
        let id = person.and_then(|person| person.id);
        let given = id.filter(|_| thing.owner == Whose::Own).map(|id| resource.given_to(id));
        let resource = given.as_ref().unwrap_or(resource);
        let ask = |rules: Option<&Arc<Rules>>| {
            let mut member = who.member(preset, *wall, rules);
            member.id = id.unwrap_or(member.id);
            let principal = Principal::Member(Arc::new(member));
            self.answer(&Question {
                principal: &principal,
                name: action.name(),
                kind: action.kind(),
                operation: action.operation(),
                resource,
                facts: &facts,
            })
        };
        let (was, is) = (ask(before), ask(after));
        if errors.len() < 20 {
            errors.extend(is.errors().iter().cloned());
        }
        let key = (Seat::clone(seat), action.operation());
        let change = changes.entry(key).or_insert_with(|| Change {
            role: seat.role,
            label: seat.label.clone(),
            account: person.map(|person| person.account.clone()),
            key: seat.key,
            action: action.operation().to_owned(),
            asked: 0,
            gains: 0,
            loses: 0,
            example: String::new(),
            by: Vec::new(),
        });
        change.asked += 1;
        let first = change.gains + change.loses == 0;
        match (was.allowed(), is.allowed()) {
            (false, true) => change.gains += 1,
            (true, false) => change.loses += 1,
            _ => return,
        }
        if first {
            change.example = asked.words();
            change.by = is.determining().iter().map(|policy| policy.id.clone()).collect();
        }
    }

    /// What the action can be about, for the questions.
    fn things(&self, action: Action, preset: Preset, sample: &Sample) -> Vec<(Thing, Resource, Credits)> {
        let entry = self.members.get(&preset).and_then(|index| index.get(action.name()));
        let mut things = Vec::new();
        for sort in entry.into_iter().flat_map(|entry| &entry.resources).map(ToString::to_string) {
            let mut put = |thing: Thing, price: Credits| {
                let resource = thing.resource(&sort, preset);
                things.push((thing, resource, price));
            };
            let machines = sample.machines.iter().take(MOST_PRODUCTS);
            match sort.as_str() {
                "Instance" => {
                    let images: Vec<String> = sample.images.iter().take(MOST_IMAGES).cloned().collect();
                    let images = if images.is_empty() { vec![String::new()] } else { images };
                    for ((machine, price), image) in
                        machines.flat_map(|machine| images.iter().map(move |image| (machine, image)))
                    {
                        for owner in [Whose::Own, Whose::Other] {
                            put(Thing { owner, image: image.clone(), ..machine.clone() }, *price);
                        }
                    }
                }
                "Offer" => machines.for_each(|(machine, price)| put(machine.clone(), *price)),
                "Image" => {
                    for image in &sample.images {
                        put(Thing { image: image.clone(), ..Thing::default() }, Credits::ZERO);
                    }
                }
                "Account" => {
                    for role in preset.roles() {
                        for owner in [Whose::Own, Whose::Other] {
                            put(Thing { owner, role: Some(*role), ..Thing::default() }, Credits::ZERO);
                        }
                    }
                }
                "Site" => {}
                _ => {
                    for owner in [Whose::Own, Whose::Other, Whose::Team] {
                        put(Thing { owner, ..Thing::default() }, Credits::ZERO);
                    }
                }
            }
        }
        things
    }
}

/// More than anything costs.
const PLENTY: Credits = Credits::from_micros(1_000_000_000_000);

struct Asked<'a> {
    seat: &'a Seat,
    person: Option<&'a Person>,
    action: Action,
    thing: &'a Thing,
    resource: &'a Resource,
    price: Credits,
    wall: WallTime,
    /// What runs already, of the member and of the team, for an hour.
    spend: Credits,
}

impl Asked<'_> {
    fn words(&self) -> String {
        let Self { seat, person, action, thing, resource, wall, spend, .. } = self;
        let whose = match thing.owner {
            Whose::Own => "of their own",
            Whose::Other => "of another member",
            Whose::Team => "of the team",
        };
        let what = match resource {
            Resource::Instance { image, gpus, .. } => {
                format!("an instance {whose}: {} with {gpus} GPU(s), image {image}", name_of(thing))
            }
            Resource::Offer { .. } => format!("the offer {}", name_of(thing)),
            Resource::Image { name } => format!("the image {name}"),
            Resource::Member { role, .. } => format!("an account {whose} with the role {role}"),
            Resource::Record { .. } | Resource::Site => format!("what is {whose}"),
        };
        let day = DAYS[usize::from(wall.weekday.clamp(1, 7)) - 1];
        let label = seat.label.as_ref().map(|label| format!(" labelled {label}")).unwrap_or_default();
        let key = if seat.key { " by API key" } else { "" };
        let who = match person {
            Some(person) => format!("the account {} with the role {}", person.account, seat.role),
            None => format!("the role {}{label}", seat.role),
        };
        let running = match *spend {
            Credits::ZERO => String::new(),
            spend => format!(", while {spend} credits an hour run"),
        };
        format!(
            "{} for {who}{key}, about {what}; {day} {:02}:{:02}{running}",
            action.operation(),
            wall.hour,
            wall.minute
        )
    }
}

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

fn name_of(thing: &Thing) -> &str {
    if thing.product.is_empty() { &thing.accelerator } else { &thing.product }
}

fn seats(preset: Preset, both: &[&Arc<Rules>], sample: &Sample) -> Vec<Seat> {
    let mut labels: BTreeSet<String> =
        both.iter().flat_map(|rules| rules.named().labels.iter().cloned()).collect();
    if !labels.is_empty() {
        labels.extend(sample.labels.iter().take(4).cloned());
    }
    let labels = labels.into_iter().take(MOST_LABELS).map(Some);
    let labels: Vec<Option<String>> = std::iter::once(None).chain(labels).collect();
    let keys = if both.iter().any(|rules| rules.named().keyed) { vec![false, true] } else { vec![false] };
    let mut seats = Vec::new();
    for role in preset.roles() {
        for label in &labels {
            let seat = |key: &bool| Seat { role: *role, label: label.clone(), key: *key, person: None };
            seats.extend(keys.iter().map(seat));
        }
    }
    for (at, person) in sample.people.iter().enumerate().take(MOST_PEOPLE) {
        let seat = |key: &bool| Seat { role: person.role, label: None, key: *key, person: Some(at) };
        seats.extend(keys.iter().map(seat));
    }
    seats
}

/// What runs already: nothing, and much where a policy looks at it.
fn spends(both: &[&Arc<Rules>]) -> Vec<Credits> {
    let looks = both.iter().any(|rules| rules.named().spending);
    if looks { vec![Credits::ZERO, PLENTY] } else { vec![Credits::ZERO] }
}

/// Every hour of a Wednesday, and noon on every day, when a policy looks at the clock.
fn times(both: &[&Arc<Rules>]) -> Vec<WallTime> {
    let at = |hour, weekday| WallTime { at: Timestamp::from_micros(0), hour, minute: 0, weekday };
    if !both.iter().any(|rules| rules.named().timed) {
        return vec![at(12, WEDNESDAY)];
    }
    let days = (1..=7).filter(|day| *day != WEDNESDAY).map(|day| at(12, day));
    (0..24).map(|hour| at(hour, WEDNESDAY)).chain(days).collect()
}
