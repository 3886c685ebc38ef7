//! What can go wrong on a host, read from an engine's answers into reasons that the dispatcher can act on.
//!
//! Engines answer nearly everything with a status of 500 and a sentence, so the sentences are matched, in one
//! table.

use bollard::errors::Error as Answer;
use serde::{Deserialize, Serialize};

use crate::{
    error::Kind,
    model::{instance::Reason, team::words},
};

words! {
    /// What went wrong on a host, as far as it changes what to do next.
    Trouble {
        /// The host did not answer in time, or not at all. What it did is unknown.
        Unreachable = "unreachable",
        /// The two sides do not accept each other's certificates.
        Certificate = "certificate",
        /// The endpoint or its documents cannot be used.
        Endpoint = "endpoint",
        /// A published port is taken on the host.
        CapacityPort = "capacity_port",
        /// The host has no free range of addresses for another network.
        CapacityNetwork = "capacity_network",
        /// The host cannot attach these accelerators.
        GpuDriver = "gpu_driver",
        /// The host's file system cannot limit sizes.
        QuotaUnsupported = "quota_unsupported",
        /// The host's disk is full.
        DiskFull = "disk_full",
        /// The image is not on the host, or nowhere.
        ImageMissing = "image_missing",
        /// The registry refused or did not answer.
        Registry = "registry",
        /// The volume, network or container that is needed is not there.
        Missing = "missing",
        /// The name is taken by something that is not ours.
        NameConflict = "name_conflict",
        /// The host, or a thing on it, belongs to another installation or another registration.
        Foreign = "foreign",
        /// The engine refused for a reason that this table does not know.
        Refused = "refused",
        /// The engine's answer cannot be understood.
        Unreadable = "unreadable",
    }
}

/// A failed call to a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{trouble}: {said}")]
pub struct Error {
    /// What it means.
    pub trouble: Trouble,
    /// What the engine said, for the operator; may name paths and images of the host.
    pub said: String,
}

/// A sentence of an engine, the statuses it comes with (0 for any), and what it means. First match wins.
const SENTENCES: &[(u16, &str, Trouble)] = &[
    (0, "port is already allocated", Trouble::CapacityPort),
    (0, "address already in use", Trouble::CapacityPort),
    (0, "non-overlapping IPv4 address pool", Trouble::CapacityNetwork),
    (0, "could not select device driver", Trouble::GpuDriver),
    (0, "unresolvable CDI devices", Trouble::GpuDriver),
    (0, "Unknown runtime specified", Trouble::GpuDriver),
    (0, "unknown or invalid runtime name", Trouble::GpuDriver),
    (0, "nvidia-container-cli", Trouble::GpuDriver),
    (0, "with 'pquota' mount option", Trouble::QuotaUnsupported),
    (0, "no quota support", Trouble::QuotaUnsupported),
    (0, "no space left on device", Trouble::DiskFull),
    (0, "No such image", Trouble::ImageMissing),
    (0, "manifest unknown", Trouble::ImageMissing),
    (0, "repository does not exist", Trouble::ImageMissing),
    (404, "pull access denied", Trouble::ImageMissing),
    (0, "not found: manifest", Trouble::ImageMissing),
    (0, "toomanyrequests", Trouble::Registry),
    (0, "dial tcp", Trouble::Registry),
    (0, "unauthorized", Trouble::Registry),
    (0, "TLS handshake timeout", Trouble::Registry),
    (0, "Client.Timeout", Trouble::Registry),
    (404, "No such container", Trouble::Missing),
    (404, "no such volume", Trouble::Missing),
    (404, "network", Trouble::Missing),
    (409, "is already in use by container", Trouble::NameConflict),
    (409, "already exists", Trouble::NameConflict),
];

impl Error {
    /// A failure with its meaning and its sentence for the operator.
    pub fn new(trouble: Trouble, said: impl Into<String>) -> Self {
        Self { trouble, said: said.into() }
    }

    /// What a status and a sentence of an engine mean.
    pub fn from_answer(status: u16, sentence: &str) -> Self {
        let lower = sentence.to_lowercase();
        let known = SENTENCES
            .iter()
            .find(|(with, part, _)| [0, status].contains(with) && lower.contains(&part.to_lowercase()));
        let trouble = match (known, status) {
            (Some((_, _, trouble)), _) => *trouble,
            (None, 404) => Trouble::Missing,
            (None, _) => Trouble::Refused,
        };
        Self::new(trouble, sentence)
    }

    /// The same failure of a fetch: what the table does not know came from the registry, which the engine
    /// only quotes.
    #[must_use]
    pub(super) fn of_registry(mut self) -> Self {
        match self.trouble {
            Trouble::Refused => self.trouble = Trouble::Registry,
            Trouble::Missing => self.trouble = Trouble::ImageMissing,
            _ => {}
        }
        self
    }

    /// Whether the host may be well and only this call got lost: what it did is unknown.
    pub fn is_unreachable(&self) -> bool {
        self.trouble == Trouble::Unreachable
    }

    /// The reason to write on an instance that this failure keeps from running; `None` while trying again is
    /// right.
    pub fn instance_reason(&self) -> Option<Reason> {
        match self.trouble {
            Trouble::Unreachable | Trouble::Certificate | Trouble::Endpoint | Trouble::Unreadable => None,
            Trouble::ImageMissing | Trouble::Registry => Some(Reason::ImageMissing),
            _ => Some(Reason::HostRefused),
        }
    }
}

impl From<Answer> for Error {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::DockerResponseServerError { status_code, message } => {
                Self::from_answer(status_code, &message)
            }
            Answer::DockerStreamError { error } => Self::from_answer(0, &error),
            Answer::DockerContainerWaitError { error, code } => {
                Self::new(Trouble::Refused, format!("ended with {code}: {error}"))
            }
            Answer::JsonDataError { .. } | Answer::JsonSerdeError { .. } | Answer::StrParseError { .. } => {
                Self::new(Trouble::Unreadable, answer.to_string())
            }
            lost => {
                let chain = chain_text(&lost);
                let lower = chain.to_lowercase();
                let distrust = ["certificate", "received fatal alert"];
                let trouble = match distrust.iter().any(|words| lower.contains(words)) {
                    true => Trouble::Certificate,
                    false => Trouble::Unreachable,
                };
                Self::new(trouble, chain)
            }
        }
    }
}

/// The error and everything below it, because the transport's own sentence says only that sending failed.
fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(next) = below {
        let sentence = next.to_string();
        if !text.contains(&sentence) {
            text = format!("{text}: {sentence}");
        }
        below = next.source();
    }
    text
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        let (kind, code, told) = match error.trouble {
            Trouble::Unreachable => {
                (Kind::Unavailable, "host-unreachable", "the host does not answer; try again")
            }
            Trouble::Certificate => (
                Kind::Conflict,
                "host-certificate",
                "the host and this server do not accept each other's certificates; register it with others",
            ),
            Trouble::Endpoint => (
                Kind::Invalid,
                "host-endpoint",
                "the host's address or its TLS documents cannot be used; correct them",
            ),
            Trouble::ImageMissing | Trouble::Registry => (
                Kind::Conflict,
                "image-unavailable",
                "the host does not have the image and could not fetch it; check its name and the registry",
            ),
            Trouble::Missing => {
                (Kind::Conflict, "host-thing-missing", "it is not on the host any more; reload and try again")
            }
            Trouble::Foreign | Trouble::NameConflict => (
                Kind::Conflict,
                "host-foreign",
                "the host, or something on it, belongs to another registration; remove one of the two",
            ),
            Trouble::CapacityPort
            | Trouble::CapacityNetwork
            | Trouble::GpuDriver
            | Trouble::QuotaUnsupported
            | Trouble::DiskFull
            | Trouble::Refused
            | Trouble::Unreadable => (
                Kind::Conflict,
                "host-refused",
                "the host could not do it; its operator finds the reason in the log",
            ),
        };
        let answer = Self::new(kind, code, format!("{told} ({})", error.trouble)).with_inside(error);
        if kind == Kind::Unavailable { answer.retry_after(10) } else { answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What engines 20.10 and 26.1 answered, word for word but for ids.
    const RECORDED: &[(u16, &str, Trouble)] = &[
        (
            500,
            "driver failed programming external connectivity on endpoint li-p (5b0c): Bind for 0.0.0.0:32768 \
             failed: port is already allocated",
            Trouble::CapacityPort,
        ),
        (
            404,
            "could not find an available, non-overlapping IPv4 address pool among the defaults to \
             assign to the network",
            Trouble::CapacityNetwork,
        ),
        (
            500,
            "could not select device driver \"nvidia\" with capabilities: [[gpu utility compute]]",
            Trouble::GpuDriver,
        ),
        (500, "could not select device driver \"cdi\" with capabilities: []", Trouble::GpuDriver),
        (
            500,
            "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-00000004-cccc",
            Trouble::GpuDriver,
        ),
        (400, "Unknown runtime specified nosuch", Trouble::GpuDriver),
        (
            500,
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
            Trouble::QuotaUnsupported,
        ),
        (500, "quota size requested but no quota support", Trouble::QuotaUnsupported),
        (500, "write /var/lib/docker/tmp/x: no space left on device", Trouble::DiskFull),
        (404, "No such image: no/such:1", Trouble::ImageMissing),
        (
            500,
            "Get \"http://127.0.0.1:9/v2/\": dial tcp 127.0.0.1:9: connect: connection refused",
            Trouble::Registry,
        ),
        (
            409,
            "Conflict. The container name \"/muster-x-g1\" is already in use by container \"3fa8\". \
             You have to remove (or rename) that container to be able to reuse that name.",
            Trouble::NameConflict,
        ),
        (404, "No such container: muster-x-g1", Trouble::Missing),
        (404, "get muster-x: no such volume", Trouble::Missing),
        (404, "network muster-team_x not found", Trouble::Missing),
        (500, "something that nobody has seen yet", Trouble::Refused),
    ];

    #[test]
    fn what_engines_said_is_understood() {
        for (status, sentence, trouble) in RECORDED {
            assert_eq!(Error::from_answer(*status, sentence).trouble, *trouble, "{status} {sentence}");
        }
    }

    #[test]
    fn the_client_learns_the_reason_and_not_the_hosts_paths() {
        for &trouble in Trouble::ALL {
            let told = crate::error::Error::from(Error::new(trouble, "/var/lib/docker/secret-path"));
            assert!(!told.detail.contains("secret-path") && told.detail.contains(trouble.word()), "{told}");
            assert_eq!(told.retry_after_seconds.is_some(), trouble == Trouble::Unreachable);
        }
    }

    #[test]
    fn a_host_that_does_not_answer_is_no_reason_to_give_an_instance_up() {
        assert_eq!(Error::new(Trouble::Unreachable, "late").instance_reason(), None);
        assert_eq!(Error::new(Trouble::Registry, "").instance_reason(), Some(Reason::ImageMissing));
        assert_eq!(Error::new(Trouble::GpuDriver, "").instance_reason(), Some(Reason::HostRefused));
    }
}
