//! Snapshots: what an instance had on its disk, kept as an image on its host.

use serde::{Deserialize, Serialize};

use super::team::words;
use crate::ids::{SnapshotId, TeamId};

words! {
    /// Where a snapshot stands.
    SnapshotState {
        /// Committed: its host takes it when the instance can be copied.
        Wanted = "wanted",
        /// Its host copies the disk.
        Taking = "taking",
        /// It is stored on its host.
        Ready = "ready",
        /// It could not be taken, or was lost; nothing is stored.
        Failed = "failed",
        /// It is being removed from its host.
        Deleting = "deleting",
        /// Gone. Final.
        Deleted = "deleted",
    }
}

words! {
    /// Why a snapshot was taken.
    SnapshotCause {
        /// A member asked for it.
        User = "user",
        /// The money of the instance ran out, and the team's terms say so.
        Credit = "credit",
    }
}

impl SnapshotState {
    /// Whether it still has to be taken.
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Wanted | Self::Taking)
    }
}

/// The repository that snapshots have on every host. No registry has it, so it is never fetched.
pub const REPOSITORY: &str = "muster-snapshot";

/// The name that a host knows a snapshot by.
pub fn reference(snapshot: SnapshotId) -> String {
    format!("{REPOSITORY}:{snapshot}")
}

/// What a host is asked to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotOrder {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its team, for a label.
    pub team: TeamId,
    /// The backend's id of the container whose disk it is.
    pub container: String,
}

/// A snapshot as a host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// The snapshot on its label.
    pub snapshot: SnapshotId,
    /// The backend's own id.
    pub stored_as: String,
    /// Whether it has the snapshot's name, which one at a time can have. A server that died while it asked may have
    /// left two of one: the one with the name counts.
    pub named: bool,
    /// Bytes that were written since the image of the catalogue.
    pub size_bytes: u64,
}

/// How much a snapshot would take, and how much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that the instance wrote to its disk.
    pub disk_bytes: u64,
    /// Bytes that are free where the host stores images; `None` if it cannot tell.
    pub free_bytes: Option<u64>,
}

/// What has to stay free on a host beside a snapshot: a full disk takes everything down that runs there.
const SPARE_BYTES: u64 = 128 << 20;

impl Room {
    /// How many bytes have to be free: an engine writes a copy and unpacks it.
    pub const fn needed_bytes(&self) -> u64 {
        self.disk_bytes.saturating_mul(2).saturating_add(SPARE_BYTES)
    }

    /// Whether it fits. A host that cannot tell is asked to try: it fails without leaving anything.
    pub fn suffices(&self) -> bool {
        self.free_bytes.is_none_or(|free| free >= self.needed_bytes())
    }

    /// How much is missing, in words for whoever asked.
    pub fn lack(&self) -> String {
        let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
        format!(
            "its disk has {} MiB of its own, so that {} MiB have to be free on its host, which has {}",
            mebibytes(self.disk_bytes),
            mebibytes(self.needed_bytes()),
            self.free_bytes
                .map_or_else(|| "an unknown number".to_owned(), |free| mebibytes(free).to_string()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_needs_twice_the_disk_and_something_to_spare() {
        let room = |disk_bytes: u64, free_bytes| Room { disk_bytes, free_bytes };
        assert!(room(1 << 30, Some((2 << 30) + SPARE_BYTES)).suffices());
        assert!(!room(1 << 30, Some((2 << 30) + SPARE_BYTES - 1)).suffices());
        assert!(room(1 << 40, None).suffices());
        assert!(!room(u64::MAX, Some(u64::MAX - 1)).suffices());
        let told = room(300 << 20, Some(100 << 20)).lack();
        assert!(
            told.contains("300 MiB") && told.contains("728 MiB") && told.ends_with("which has 100"),
            "{told}"
        );
    }
}
