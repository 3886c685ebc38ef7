//! Permissions and quotas: what a member may see and how much of it they may hold.
//!
//! A team has defaults, a member may have overrides; the effective value of each field is
//! `member's ?? team's ?? unlimited`. Absent means "not said here", for sets as for numbers.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

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
}

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
}
