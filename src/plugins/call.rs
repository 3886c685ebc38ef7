//! One call: a fresh store with its budget, and what a failure means.

use std::time::Instant;

use wasmtime::{Engine, ResourceLimiter, Store, Trap};

use super::{
    error::Error,
    limits::{Budget, Limits, TICK},
    v1::log::Level,
};
use crate::digest::Digest;

/// What the host keeps for one guest during one call.
pub(crate) struct Guest {
    plugin: Digest,
    memory_bytes: usize,
    table_elements: usize,
    /// The setting that the guest ran into when it asked for more.
    denied: Option<&'static str>,
    log: LogBudget,
}

/// What is left of the log budget.
struct LogBudget {
    lines: usize,
    bytes: usize,
    line_bytes: usize,
    dropped: u64,
}

impl Guest {
    /// Writes one line of the guest to the server's log, within its budget and without control characters.
    pub(crate) fn log(&mut self, level: Level, message: &str) {
        let end = message.floor_char_boundary(self.log.line_bytes.min(message.len()));
        let line = message.get(..end).unwrap_or_default();
        if self.log.lines == 0 || self.log.bytes < line.len() {
            self.log.dropped += 1;
            return;
        }
        self.log.lines -= 1;
        self.log.bytes -= line.len();
        let (plugin, line) = (self.plugin, line.escape_debug());
        match level {
            Level::Debug => tracing::debug!(%plugin, "{line}"),
            Level::Info => tracing::info!(%plugin, "{line}"),
            Level::Warn => tracing::warn!(%plugin, "{line}"),
            Level::Error => tracing::error!(%plugin, "{line}"),
        }
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, _now: usize, wanted: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        let fits = wanted <= self.memory_bytes;
        if !fits {
            self.denied = Some("plugins.memory_bytes");
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _now: usize, wanted: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        let fits = wanted <= self.table_elements;
        if !fits {
            self.denied = Some("plugins.table_elements");
        }
        Ok(fits)
    }
}

/// Runs `work` on a fresh store with `budget`. The only place that makes stores: without a deadline a store
/// would trap at once.
pub(crate) fn run<T>(
    engine: &Engine,
    plugin: Digest,
    limits: &Limits,
    budget: Budget,
    function: &'static str,
    work: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<T>,
) -> Result<T, Error> {
    let log = LogBudget {
        lines: limits.log_lines,
        bytes: limits.log_bytes,
        line_bytes: limits.log_line_bytes,
        dropped: 0,
    };
    let (memory_bytes, table_elements) = (limits.memory_bytes, limits.table_elements);
    let guest = Guest { plugin, memory_bytes, table_elements, denied: None, log };
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| guest);
    let fueled = store.set_fuel(budget.fuel);
    fueled.map_err(|error| Error::internal("a store takes no fuel", error))?;
    // One tick more than fits: the present one is already under way.
    let ticks = budget.deadline.as_nanos().div_ceil(TICK.as_nanos()).saturating_add(1);
    store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX));
    store.set_hostcall_fuel(budget.answer_bytes);

    let began = Instant::now();
    let result = work(&mut store);
    let outcome = if result.is_ok() { "answered" } else { "failed" };
    metrics::histogram!("muster_plugin_call_seconds", "function" => function, "outcome" => outcome)
        .record(began.elapsed());
    let left = store.get_fuel().unwrap_or_default();
    metrics::counter!("muster_plugin_fuel_total", "function" => function).increment(budget.fuel - left);
    let guest = store.data();
    if guest.log.dropped > 0 {
        tracing::warn!(%plugin, lost = guest.log.dropped, "plugins.log_lines or plugins.log_bytes is spent");
    }
    result.map_err(|error| explain(&error, guest.denied, budget))
}

/// What a failed call means to whoever wrote or configured the plugin.
fn explain(error: &wasmtime::Error, denied: Option<&str>, budget: Budget) -> Error {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            return Error::TimedOut { limit: budget.deadline, setting: budget.deadline_setting };
        }
        Some(Trap::OutOfFuel) => {
            return Error::OutOfFuel { budget: budget.fuel, setting: budget.fuel_setting };
        }
        _ => {}
    }
    let cause = error.root_cause().to_string();
    // wasmtime keeps this type to itself.
    if cause.contains("fuel allocated for hostcalls") {
        return Error::BadOutput(format!(
            "it hands over more than {} bytes (plugins.answer_bytes and plugins.answer_bytes_per_record)",
            budget.answer_bytes
        ));
    }
    match denied {
        Some(setting) => Error::Trapped(format!("{cause}; before that it was denied more than {setting}")),
        None => Error::Trapped(cause),
    }
}
