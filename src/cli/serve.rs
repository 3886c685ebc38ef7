//! `muster serve`: builds the graph of rooms, services and doors. Nobody else does.

use std::{os::unix::fs::DirBuilderExt, path::Path};

use super::{output::Answer, problem::Failure};
use crate::{
    config::Config,
    telemetry::{Handle, Telemetry},
};

/// Runs the server until it is told to stop.
pub(crate) fn run(config: &Config) -> Result<Answer, Failure> {
    let telemetry = Telemetry::start(config).map_err(|error| Failure::Invalid(error.to_string()))?;
    data_dir_make(&config.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::here("the server cannot start", error))?;
    runtime.block_on(serve(config, telemetry))
}

async fn serve(_config: &Config, _telemetry: Handle) -> Result<Answer, Failure> {
    Err(Failure::Here("this build has no server".into()))
}

/// Makes the data folder for its owner only: the sealing key and the database are inside.
fn data_dir_make(path: &Path) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::here(path.display(), error))
}
