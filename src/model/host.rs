//! Hosts and accelerators: how a host is reached, what a probe found, what may be placed there.

use serde::{Deserialize, Serialize};

use super::team::words;
use crate::{error::Findings, time::Timestamp};

words! {
    /// Which backend drives a host.
    HostKind {
        /// A Docker engine.
        Docker = "docker",
        /// No engine at all: instances are pretended, and every view says so.
        Simulated = "simulated",
    }
}

words! {
    /// What the operator wants of a host.
    AdminState {
        /// Takes new instances.
        Active = "active",
        /// Keeps what it has, takes nothing new.
        Cordoned = "cordoned",
        /// No longer ours; the row stays for the books.
        Retired = "retired",
    }
}

words! {
    /// Whether a host answers.
    Reach {
        /// Registered, not yet probed.
        Unknown = "unknown",
        /// Answered last time.
        Up = "up",
        /// Missed one or two calls.
        Suspect = "suspect",
        /// Missed three calls over a minute or more. Not dead: its instances stay.
        Down = "down",
    }
}

words! {
    /// How accelerators get into a container on a host.
    Attach {
        /// By the Container Device Interface.
        Cdi = "cdi",
        /// By the `nvidia` container runtime.
        Runtime = "runtime",
        /// By a device request to the `nvidia` driver.
        DeviceRequest = "device_request",
        /// Not at all: the host runs processor instances only.
        None = "none",
    }
}

/// Where a host's engine answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `unix:///run/docker.sock`
    Unix(std::path::PathBuf),
    /// `tcp://10.0.0.5:2376`, always with mutual TLS.
    Tcp {
        /// Host name or address and port.
        authority: String,
    },
    /// `simulated:`
    Simulated,
}

impl Endpoint {
    /// Reads an endpoint, or says at `pointer` what a good one looks like.
    pub fn parse(text: &str, pointer: &str, findings: &mut Findings) -> Option<Endpoint> {
        let endpoint = if text == "simulated:" {
            Some(Endpoint::Simulated)
        } else if let Some(path) = text.strip_prefix("unix://") {
            path.starts_with('/').then(|| Endpoint::Unix(path.into()))
        } else if let Some(authority) = text.strip_prefix("tcp://") {
            let port = authority.rsplit_once(':').and_then(|(host, port)| {
                (!host.is_empty() && !host.contains(['/', '@'])).then(|| port.parse::<u16>().ok())?
            });
            port.map(|_| Endpoint::Tcp { authority: authority.to_owned() })
        } else {
            None
        };
        let wanted =
            "unix:///path/of/docker.sock, tcp://host:port (with the three TLS documents) or simulated:";
        findings.check(endpoint.is_some(), pointer, format!("expected {wanted}"));
        endpoint
    }

    /// The backend that drives such an endpoint.
    pub const fn kind(&self) -> HostKind {
        match self {
            Endpoint::Unix(_) | Endpoint::Tcp { .. } => HostKind::Docker,
            Endpoint::Simulated => HostKind::Simulated,
        }
    }
}

/// The three PEM documents of a `tcp://` host: only this authority is trusted, and this certificate is shown to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsDocuments {
    /// Certificate of the authority that signed the engine's certificate.
    pub ca_pem: String,
    /// Our client certificate.
    pub cert_pem: String,
    /// The key of our client certificate. Sealed at rest, never shown again.
    pub key_pem: String,
}

impl std::fmt::Debug for TlsDocuments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsDocuments(..)")
    }
}

/// What a probe found on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HostFacts {
    /// The engine's version.
    pub engine_version: String,
    /// The engine's API version that is spoken.
    pub api_version: String,
    /// Cores of the host, in thousandths.
    pub cpu_millis: u32,
    /// Memory of the host in bytes.
    pub memory_bytes: u64,
    /// How accelerators get into containers.
    pub attach: Attach,
    /// Why there are no accelerators, when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_accelerators_because: Option<String>,
    /// Whether containers outlive a restart of the engine.
    pub live_restore: bool,
    /// What the operator should know: settings that weaken isolation or lose containers.
    pub warnings: Vec<String>,
    /// The engine's clock less ours, in microseconds.
    pub clock_offset_micros: i64,
    /// When the probe ran.
    pub probed_at: Timestamp,
}

/// One accelerator that a probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AcceleratorFacts {
    /// The vendor's UUID: the only name that survives a restart.
    pub uuid: String,
    /// Model, such as `NVIDIA H100 80GB HBM3`.
    pub model: String,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Driver version.
    pub driver: String,
}

/// Everything that a probe brings back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What was found of the host.
    pub facts: HostFacts,
    /// The accelerators found.
    pub accelerators: Vec<AcceleratorFacts>,
}

/// One reading of what an instance uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Stats {
    /// When it was read.
    pub read_at: Timestamp,
    /// Processor time used since the start, in nanoseconds.
    pub cpu_nanos: u64,
    /// Processor use in thousandths of a core between the engine's last two readings, when it gave two.
    pub cpu_millis: Option<u64>,
    /// Memory in use, in bytes.
    pub memory_bytes: u64,
    /// The memory limit, in bytes.
    pub memory_limit_bytes: u64,
    /// Bytes received and sent over the network.
    pub network_received_bytes: u64,
    /// Bytes sent over the network.
    pub network_sent_bytes: u64,
    /// Processes.
    pub pids: u64,
}
