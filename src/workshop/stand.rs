//! The engine of the server on an author's desk.

use std::{path::PathBuf, sync::Arc};

use super::{Error, Result, Subject};
use crate::{
    model::manifest::Manifest,
    plugins::{Compiler, Inspection, Limits, Plugin, PluginSettings, Plugins},
};

/// How much wider the wall-clock net is than a server's: a desk does other things at the same time. Fuel, which is the
/// same everywhere, is what the server gives.
const PATIENCE: u32 = 20;

/// The engine, and the place of what it compiled.
pub struct Stand {
    pub(super) plugins: Plugins,
    /// The limits of a server.
    pub(super) limits: Limits,
    /// Goes with the stand when nobody named a folder to keep.
    _scratch: Option<tempfile::TempDir>,
}

/// A plugin that was let in.
pub(super) struct Admitted {
    pub(super) plugin: Arc<Plugin>,
    pub(super) inspection: Inspection,
}

impl Stand {
    /// Starts the engine with the server's limits and some patience; compiled code is kept in `cache`, or not at all.
    ///
    /// # Errors
    /// [`Error::Here`] when it does not start.
    pub fn open(cache: Option<PathBuf>) -> Result<Self> {
        let cannot = |error: &dyn std::fmt::Display| Error::here("plugins cannot be run here", error);
        let scratch = match cache {
            Some(_) => None,
            None => Some(tempfile::tempdir().map_err(|error| cannot(&error))?),
        };
        let scratch_folder = scratch.as_ref().map(|folder| folder.path().join("plugins"));
        let limits = Limits::default();
        let settings = PluginSettings {
            cache_folder: cache.or(scratch_folder).unwrap_or_default(),
            compiler: Compiler::ThisProgram,
            limits: Limits {
                quote_deadline: limits.quote_deadline * PATIENCE,
                rate_deadline: limits.rate_deadline * PATIENCE,
                compile_wall: limits.compile_wall * PATIENCE,
                ..limits.clone()
            },
        };
        let plugins = Plugins::new(settings).map_err(|error| cannot(&error))?;
        Ok(Self { plugins, limits, _scratch: scratch })
    }

    /// Lets a component in, as the server does at an upload.
    pub(super) async fn admit(&self, subject: &Subject) -> Result<Admitted> {
        self.admit_bytes(subject.wasm.clone()).await
    }

    pub(super) async fn admit_bytes(&self, wasm: bytes::Bytes) -> Result<Admitted> {
        let inspection = self.plugins.admit(wasm.clone()).await.map_err(|error| match error {
            crate::plugins::Error::Internal(_) => Error::Here(error.to_string()),
            _ => Error::Refused(error.to_string()),
        })?;
        let plugin = self.plugins.load(inspection.digest, async { Ok(wasm) }).await;
        let plugin = plugin.map_err(|error| Error::Here(error.to_string()))?;
        Ok(Admitted { plugin, inspection })
    }
}

impl Admitted {
    /// The configuration to begin with, as JSON text.
    pub(super) fn default_config(&self) -> String {
        self.inspection.manifest.as_ref().map_or_else(|| "{}".to_owned(), Manifest::default_config)
    }
}
