//! `muster serve`: builds the graph of rooms, services and doors. Nobody else does.

use super::{output::Answer, problem::Failure};
use crate::{config::Config, telemetry::Telemetry};

/// Runs the server until it is told to stop.
pub(crate) fn run(config: &Config) -> Result<Answer, Failure> {
    let _telemetry = Telemetry::start(config).map_err(|error| Failure::Invalid(error.to_string()))?;
    Err(Failure::Here("this build has no server".into()))
}
