//! The plugin author's workshop: a plugin begun from a template, built, checked, tested, run and measured on a desk
//! without a server. It uses the server's own room for plugins, with the server's limits, so that what passes here
//! passes there.
//!
//! A `project` is a folder with `muster-plugin.toml`; a `subject` is what the commands are about, a project's component
//! or any other; the `stand` is the engine that runs it. `cases` reads what an author expects, `testing` compares,
//! `properties` tries what nobody thought of.

mod cases;
mod checkup;
mod golden;
mod measuring;
mod outcome;
mod project;
mod properties;
mod replaying;
mod shrinking;
mod stand;
mod template;
mod testing;
mod trial;

pub use checkup::{Checkup, Finding, Share, checkup};
pub use measuring::{Measure, measure};
pub use project::{Built, Inspected, MANIFEST_FILE, Project, Subject, inspect};
pub use replaying::{Replay, Replayed, replay};
pub use stand::Stand;
pub use template::{Language, project_new};
pub use testing::{FileReport, Report, TestOptions, Verdict, test};
pub use trial::{Trial, TrialLine, TrialOptions, try_out};

/// Why a command of the workshop came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or an argument that cannot be meant.
    #[error("{0}")]
    Input(String),
    /// The plugin is refused, as the server would refuse it.
    #[error("{0}")]
    Refused(String),
    /// Anything else on this machine.
    #[error("{0}")]
    Here(String),
}

impl Error {
    /// A failure of this machine over `what`.
    pub(crate) fn here(what: impl std::fmt::Display, cause: impl std::fmt::Display) -> Self {
        Self::Here(format!("{what}: {cause}"))
    }
}

/// A result of the workshop.
pub type Result<T> = std::result::Result<T, Error>;
