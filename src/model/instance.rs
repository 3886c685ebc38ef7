//! An instance's life: what is wanted, what was seen, which steps lead from one to the other; and the specification
//! that a backend turns into a container.

use serde::{Deserialize, Serialize};

use super::team::words;
use crate::{
    ids::{InstanceId, TeamId},
    time::Timestamp,
};

words! {
    /// What the database wants of an instance.
    Desired {
        /// It should run.
        Running = "running",
        /// It should be kept, stopped.
        Stopped = "stopped",
        /// It should be gone, its money and accelerators given back.
        Released = "released",
    }
}

words! {
    /// Where an instance was last seen to be.
    State {
        /// Committed: held, placed and waiting for its host.
        Scheduled = "scheduled",
        /// Its image is being fetched.
        Pulling = "pulling",
        /// Its container is being made and started.
        Starting = "starting",
        /// Its container runs; the only state that instance time is billed for.
        Running = "running",
        /// A snapshot of it is being taken: its container is paused for it, and nothing is billed.
        Snapshotting = "snapshotting",
        /// Its container is paused because its money ran out: it keeps memory and accelerators, and pays its disk only.
        Paused = "paused",
        /// Its host does not answer; nothing is billed beyond the last proof of life.
        Unreachable = "unreachable",
        /// Its container is being stopped.
        Stopping = "stopping",
        /// Its container is kept but does not run; its accelerators are free.
        Stopped = "stopped",
        /// Its container is being removed.
        Releasing = "releasing",
        /// Gone, and settled. Final.
        Released = "released",
        /// It could not be started; everything held for it was given back. Final.
        Failed = "failed",
    }
}

words! {
    /// Why an instance left the state `running`, or never reached it.
    Reason {
        /// Its owner asked.
        User = "user",
        /// An owner or admin of the team asked.
        Admin = "admin",
        /// The money for it ran out.
        Credit = "credit",
        /// Its main process ended by itself.
        Exited = "exited",
        /// It used more memory than it has.
        OutOfMemory = "out_of_memory",
        /// No host has what it needs.
        NoCapacity = "no_capacity",
        /// The image is not on the host and could not be fetched.
        ImageMissing = "image_missing",
        /// The host refused to start it.
        HostRefused = "host_refused",
        /// The host was given up.
        HostLost = "host_lost",
    }
}

impl State {
    /// Whether the state machine has an edge from here to `next`. Staying is no edge.
    pub const fn may_become(self, next: State) -> bool {
        use State::{
            Failed, Paused, Pulling, Released, Releasing, Running, Scheduled, Snapshotting, Starting,
            Stopped, Stopping, Unreachable,
        };
        matches!(
            (self, next),
            (Scheduled, Pulling | Starting | Running | Stopping | Stopped | Releasing | Failed)
                | (Pulling, Starting | Running | Stopping | Stopped | Releasing | Failed)
                | (Starting, Running | Stopping | Stopped | Releasing | Failed | Unreachable)
                | (Running, Snapshotting | Paused | Unreachable | Stopping | Stopped | Releasing)
                | (Snapshotting | Paused, Running | Stopping | Stopped | Releasing)
                | (Unreachable, Running | Stopping | Stopped | Releasing | Failed)
                | (Stopping, Stopped | Releasing)
                | (Stopped, Scheduled | Releasing)
                | (Releasing, Released)
        )
    }

    /// Whether nothing follows.
    pub const fn is_final(self) -> bool {
        matches!(self, State::Released | State::Failed)
    }
}

/// How a container of an instance is to be made; stored beside the instance, digested into a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The image reference that the engine knows.
    pub image: String,
    /// Processor time in thousandths of a core.
    pub cpu_millis: u32,
    /// Memory in bytes; swap is not added.
    pub memory_bytes: u64,
    /// Shared memory in bytes.
    pub shm_bytes: u64,
    /// Most processes at once.
    pub pids: u32,
    /// Ports of the container to publish on ephemeral ports of the host.
    pub ports: Vec<u16>,
    /// Environment, without secrets.
    pub env: Vec<(String, String)>,
    /// Drives to mount.
    pub mounts: Vec<Mount>,
    /// Public SSH keys for root, one line each.
    pub ssh_public_keys: Vec<String>,
    /// A command in place of the image's own.
    #[serde(default)]
    pub command: Option<Vec<String>>,
}

impl Spec {
    /// Digest of the specification, in hexadecimal.
    pub fn digest(&self) -> String {
        // A plain struct of texts and numbers always has a JSON form.
        let text = serde_json::to_vec(self).unwrap_or_default();
        crate::digest::Digest::of(&text).to_string()
    }
}

/// A named volume of the host in an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The volume's name on the host.
    pub volume: String,
    /// Where it appears, such as `/team_data`.
    pub target: String,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// One generation of an instance as a backend shall make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The instance.
    pub instance: InstanceId,
    /// Its generation: raised whenever a new container takes the place of an old one.
    pub generation: u32,
    /// The team, for a label and for the network.
    pub team: TeamId,
    /// How the container is made.
    pub spec: Spec,
    /// Digest of the specification, in hexadecimal.
    pub spec_digest: String,
    /// UUIDs of the accelerators it gets.
    pub accelerators: Vec<String>,
    /// The token for its notebook server; put as a file, never into the environment.
    pub jupyter_token: String,
}

impl Launch {
    /// The container's name: the instance and its generation, and nothing else can have it.
    pub fn container_name(&self) -> String {
        container_name(self.instance, self.generation)
    }
}

/// The name of the container of `instance` in `generation`.
pub fn container_name(instance: InstanceId, generation: u32) -> String {
    format!("muster-{instance}-g{generation}")
}

/// A container with our label, as a backend lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The backend's own id: what a removal names.
    pub id: String,
    /// The instance on its label.
    pub instance: InstanceId,
    /// The generation on its label.
    pub generation: u32,
    /// Whether and how it runs.
    pub phase: Phase,
}

/// Whether and how a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Frozen: it has all that it had when it ran, and does nothing.
    Paused,
    /// Ended.
    Exited,
    /// Being removed, or in a state that says nothing.
    Other,
}

/// What a backend knows of one container when asked in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// The backend's own id.
    pub id: String,
    /// Whether and how it runs.
    pub phase: Phase,
    /// When the engine started it.
    pub started_at: Option<Timestamp>,
    /// When the engine saw it end.
    pub finished_at: Option<Timestamp>,
    /// The exit code, once it ended. 255 may be a lie: the engine was away when it ended.
    pub exit_code: Option<i64>,
    /// Whether the kernel killed it for memory.
    pub out_of_memory: bool,
    /// Published ports: container port, host address, host port.
    pub ports: Vec<PublishedPort>,
}

/// A port of a container and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PublishedPort {
    /// The port inside.
    pub container: u16,
    /// The port on the host.
    pub host: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_have_no_way_out_and_every_other_state_can_be_released() {
        for &state in State::ALL {
            let ways = State::ALL.iter().filter(|&&next| state.may_become(next)).count();
            assert_eq!(state.is_final(), ways == 0, "{state}");
            let releasable = state.may_become(State::Releasing) || state == State::Releasing;
            assert!(state.is_final() || releasable, "{state} cannot be released");
        }
    }
}
