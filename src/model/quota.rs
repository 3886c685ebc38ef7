//! Permissions and quotas: what a member may see and how much of it they may hold.
//!
//! A team has defaults, a member may have overrides; the effective value of each field is
//! `member's ?? team's ?? unlimited`. Absent means "not said here", for sets as for numbers. A member's word may be
//! for a while only; it then ends by itself, for what holds is found out each time that somebody asks.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::team::words;
use crate::{money::Credits, time::Timestamp};

words! {
    /// Which of the limits of a team or a member were changed.
    QuotaLevel {
        /// What holds until it is changed: the team's defaults, or the member's own.
        Standing = "standing",
        /// What holds for the member until an instant.
        Temporary = "temporary",
        /// What the operator lets the whole team hold.
        Ceiling = "ceiling",
    }
}

/// What is visible and how much may be held; every field may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Regions that can be seen and picked; `[]` shows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<BTreeSet<String>>,
    /// Instance types that can be seen and picked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_types: Option<BTreeSet<String>>,
    /// Accelerator models that can be seen and picked; `none` stands for machines without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerators: Option<BTreeSet<String>>,
    /// Names of images that can be seen and picked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<BTreeSet<String>>,
    /// Instances held at once, running or stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// GPUs held at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// GPUs in one instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus_per_instance: Option<u32>,
    /// Snapshots kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<u32>,
    /// Network groups kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_groups: Option<u32>,
    /// Bytes of storage, in gibibytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_gib: Option<u32>,
    /// Credits per hour that what runs at once may cost, as quoted at the launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spend_per_hour: Option<Credits>,
}

/// Limits that hold until an instant, over the standing ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Temporary {
    /// The limits.
    pub limits: Limits,
    /// When they cease to hold.
    pub until: Timestamp,
}

/// One limit that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LimitChange {
    /// The limit's name.
    pub limit: String,
    /// What was said before; `null`: nothing.
    pub from: Value,
    /// What is said since; `null`: nothing.
    pub to: Value,
}

/// The counted limits of whole numbers, each with its name.
type Numbers = [(&'static str, Option<u32>); 6];
/// The limits that are lists, each with its name.
type Sets<'a> = [(&'static str, &'a Option<BTreeSet<String>>); 4];

impl Limits {
    /// This, with every unsaid field taken from `fallback`.
    #[must_use]
    pub fn or(&self, fallback: &Limits) -> Limits {
        fn set(
            mine: &Option<BTreeSet<String>>,
            other: &Option<BTreeSet<String>>,
        ) -> Option<BTreeSet<String>> {
            mine.clone().or_else(|| other.clone())
        }
        Limits {
            regions: set(&self.regions, &fallback.regions),
            instance_types: set(&self.instance_types, &fallback.instance_types),
            accelerators: set(&self.accelerators, &fallback.accelerators),
            images: set(&self.images, &fallback.images),
            instances: self.instances.or(fallback.instances),
            gpus: self.gpus.or(fallback.gpus),
            gpus_per_instance: self.gpus_per_instance.or(fallback.gpus_per_instance),
            snapshots: self.snapshots.or(fallback.snapshots),
            network_groups: self.network_groups.or(fallback.network_groups),
            storage_gib: self.storage_gib.or(fallback.storage_gib),
            spend_per_hour: self.spend_per_hour.or(fallback.spend_per_hour),
        }
    }

    /// This with those of `temporary` over it that still hold at `now`, the last of them on top.
    #[must_use]
    pub fn under(&self, temporary: &[Temporary], now: Timestamp) -> Limits {
        let alive = temporary.iter().filter(|word| now < word.until);
        alive.fold(self.clone(), |under, word| word.limits.or(&under))
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The limits that are whole numbers.
    pub const fn numbers(&self) -> Numbers {
        [
            ("instances", self.instances),
            ("gpus", self.gpus),
            ("gpus_per_instance", self.gpus_per_instance),
            ("snapshots", self.snapshots),
            ("network_groups", self.network_groups),
            ("storage_gib", self.storage_gib),
        ]
    }

    /// The limits that are lists of names.
    pub const fn sets(&self) -> Sets<'_> {
        [
            ("regions", &self.regions),
            ("instance_types", &self.instance_types),
            ("accelerators", &self.accelerators),
            ("images", &self.images),
        ]
    }

    /// The limits in which this says more than `asked` does, or something that `asked` does not speak of.
    pub fn beyond(&self, asked: &Limits) -> Vec<&'static str> {
        let numbers = self.numbers().into_iter().zip(asked.numbers());
        let more = numbers.filter(|((_, given), (_, asked))| given.is_some() && given > asked);
        let mut found: Vec<_> = more.map(|((name, _), _)| name).collect();
        if self.spend_per_hour.is_some() && self.spend_per_hour > asked.spend_per_hour {
            found.push("spend_per_hour");
        }
        for ((name, given), (_, asked)) in self.sets().into_iter().zip(asked.sets()) {
            let fits = match (given, asked) {
                (None, _) => true,
                (Some(given), Some(asked)) => given.is_subset(asked),
                (Some(_), None) => false,
            };
            if !fits {
                found.push(name);
            }
        }
        found
    }

    /// What is different in `after`.
    pub fn changes(&self, after: &Limits) -> Vec<LimitChange> {
        let (before, after) = (self.fields(), after.fields());
        let said = |fields: &Map<String, Value>, name: &str| fields.get(name).cloned().unwrap_or_default();
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let changes = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
        changes
            .map(|name| LimitChange {
                limit: name.clone(),
                from: said(&before, name),
                to: said(&after, name),
            })
            .collect()
    }

    fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            // Limits are names, numbers and texts: they always have such a form.
            _ => Map::new(),
        }
    }
}

/// How much of each counted limit is held now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    /// Instances held.
    pub instances: u32,
    /// GPUs held.
    pub gpus: u32,
    /// Snapshots kept.
    pub snapshots: u32,
    /// Network groups kept.
    pub network_groups: u32,
    /// Bytes of storage.
    pub storage_bytes: u64,
    /// Credits per hour that what runs now costs, as quoted at its launch.
    #[serde(default)]
    pub spend_per_hour: Credits,
}

/// The accelerator word for machines without one.
pub const NO_ACCELERATOR: &str = "none";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_word_wins_and_an_empty_list_is_a_word() {
        let team = Limits { gpus: Some(4), regions: Some(["tw-03".to_owned()].into()), ..Limits::default() };
        let member = Limits { regions: Some(BTreeSet::new()), instances: Some(2), ..Limits::default() };
        let effective = member.or(&team);
        assert_eq!(effective.gpus, Some(4));
        assert_eq!(effective.instances, Some(2));
        assert_eq!(effective.regions, Some(BTreeSet::new()));
    }

    #[test]
    fn a_word_for_a_while_ends_at_its_instant_and_the_last_one_wins() {
        let at = Timestamp::from_micros;
        let gpus = |gpus, until| Temporary {
            limits: Limits { gpus: Some(gpus), ..Limits::default() },
            until: at(until),
        };
        let standing = Limits { gpus: Some(1), instances: Some(3), ..Limits::default() };
        let words = [gpus(8, 20), gpus(4, 10)];
        let held = |now| standing.under(&words, at(now));
        assert_eq!([held(9).gpus, held(10).gpus, held(20).gpus], [Some(4), Some(8), Some(1)]);
        assert_eq!(held(9).instances, Some(3));
    }

    #[test]
    fn a_part_of_what_was_asked_is_not_beyond_it() {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let asked = Limits { gpus: Some(4), regions: names(&["a", "b"]), ..Limits::default() };
        let part = Limits { gpus: Some(2), regions: names(&["b"]), ..Limits::default() };
        assert!(part.beyond(&asked).is_empty());
        let more = Limits { gpus: Some(5), instances: Some(1), regions: names(&["c"]), ..Limits::default() };
        assert_eq!(more.beyond(&asked), ["instances", "gpus", "regions"]);
        let told = part.changes(&Limits { gpus: Some(3), ..Limits::default() });
        let told: Vec<_> = told.iter().map(|change| change.limit.as_str()).collect();
        assert_eq!(told, ["gpus", "regions"]);
    }
}
