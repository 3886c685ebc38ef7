//! Why a plugin was refused or a call came to nothing.

use std::time::Duration;

use crate::error::{self, Kind};

/// A plugin that was refused, or a call without a usable answer. Nothing of a failed call has any effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An upload that cannot be a plugin: what is wrong and the way out.
    #[error("the plugin was refused: {0}")]
    Refused(String),
    /// An upload above its size limit.
    #[error("the plugin has {size} bytes; plugins.upload_bytes allows {limit}")]
    TooLarge {
        /// Bytes that were uploaded.
        size: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The guest trapped: it panicked, recursed too deep, or touched memory that it has not.
    #[error("the plugin trapped: {0}")]
    Trapped(String),
    /// The call took longer than its deadline.
    #[error("the plugin took longer than {limit:?} ({setting})")]
    TimedOut {
        /// The deadline.
        limit: Duration,
        /// The settings that give it.
        setting: &'static str,
    },
    /// The call used up its fuel.
    #[error("the plugin used more than {budget} units of fuel ({setting})")]
    OutOfFuel {
        /// The fuel it had.
        budget: u64,
        /// The settings that give it.
        setting: &'static str,
    },
    /// An answer that cannot be meant.
    #[error("the plugin's answer is not usable: {0}")]
    BadOutput(String),
    /// The plugin says itself that it cannot answer.
    #[error("the plugin reported {code}: {message}")]
    Plugin {
        /// The plugin's code, such as `bad-config`.
        code: String,
        /// The plugin's own words.
        message: String,
    },
    /// All workers are taken and the queue (`plugins.queue`) is full.
    #[error("too many plugin calls are waiting (plugins.queue)")]
    Busy,
    /// A fault of ours: the cache folder, the compiler process, the engine, or an input that breaks its
    /// contract.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// A fault of ours while doing `what`.
    pub(crate) fn internal(what: &str, cause: impl std::fmt::Display) -> Self {
        Self::Internal(format!("{what}: {cause}"))
    }
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        let told = error.to_string();
        match error {
            Error::Refused(_) => Self::new(Kind::Invalid, "plugin-refused", told),
            Error::TooLarge { .. } => Self::new(Kind::TooLarge, "plugin-too-large", told),
            Error::Plugin { .. } => Self::new(Kind::Invalid, "plugin-error", told),
            Error::Trapped(_) | Error::TimedOut { .. } | Error::OutOfFuel { .. } | Error::BadOutput(_) => {
                Self::new(Kind::Unavailable, "plugin-failed", told)
            }
            Error::Busy => Self::new(Kind::Unavailable, "plugins-busy", told).retry_after(1),
            Error::Internal(_) => Self::internal(error),
        }
    }
}
