//! Computes a charge again on this machine: runs the component of its price alone, with the engine and the limits of
//! the server, and compares every number.

use bytes::Bytes;
use serde_json::{Value, json};

use super::problem::Failure;
use crate::{
    digest::Digest,
    ledger::{proof::Proof, rating::RatedLine},
    plugins::{Compiler, Limits, PluginSettings, Plugins},
};

/// Every comparison of what `proof` says with what is found here, and whether all agree. `component` is the price's
/// component, where it has to be asked.
pub(crate) async fn recompute(proof: &Proof, component: Option<Bytes>) -> Result<Value, Failure> {
    let digest = component.as_ref().map_or_else(String::new, |bytes| Digest::of(bytes).to_string());
    let answer = match component {
        Some(component) => ask(proof, component).await?,
        None => Err("no component was given".to_owned()),
    };
    let checks = proof.check(&digest, answer);
    let checks = checks.map_err(|error| Failure::Invalid(format!("the proof's numbers: {error}")))?;
    let equal = checks.iter().all(|check| check.ok);
    Ok(json!({ "charge": proof.id, "equal": equal, "amount": proof.amount, "checks": checks }))
}

/// What the component says of the interval, or why it says nothing.
async fn ask(proof: &Proof, component: Bytes) -> Result<Result<Vec<RatedLine>, String>, Failure> {
    let cannot = |error: &dyn std::fmt::Display| Failure::here("the price cannot be run here", error);
    let folder = tempfile::tempdir().map_err(|error| cannot(&error))?;
    let plugins = Plugins::new(PluginSettings {
        cache_folder: folder.path().join("plugins"),
        compiler: Compiler::ThisProgram,
        limits: Limits::default(),
    });
    let plugins = plugins.map_err(|error| cannot(&error))?;
    let digest = Digest::of(&component);
    let plugin = match plugins.load(digest, async { Ok(component) }).await {
        Ok(plugin) => plugin,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let (context, record) = proof.told.question(proof.config.clone());
    let lines = plugins.rate(&plugin, &context, &[record]).await.map_err(|error| error.to_string());
    Ok(lines.map(|lines| {
        lines.into_iter().map(|line| RatedLine { line: line.line, nano: line.amount }).collect()
    }))
}
