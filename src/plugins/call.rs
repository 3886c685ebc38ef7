//! One call: a fresh store with its budget, what it used, and what a failure means.

use std::time::{Duration, Instant};

use wasmtime::{Engine, ResourceLimiter, Store, Trap, WasmBacktrace};

use super::{
    error::Error,
    limits::{Budget, Limits, TICK},
    v1::log::Level,
};
use crate::digest::Digest;

/// The innermost frames that a trap tells.
const FRAMES: usize = 8;

/// A line that a guest wrote to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// The line, without control characters.
    pub text: String,
}

/// What calls used, and what the guest wrote meanwhile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    /// Units of fuel.
    pub fuel: u64,
    /// The most linear memory of one instance, in bytes.
    pub memory_bytes: usize,
    /// Wall-clock time, starting the instance included.
    pub took: Duration,
    /// The lines of the log that were within its budget.
    pub log: Vec<LogLine>,
    /// The lines that were not.
    pub log_dropped: u64,
}

impl Spent {
    /// Adds a further call.
    pub(crate) fn add(&mut self, other: Self) {
        self.fuel = self.fuel.saturating_add(other.fuel);
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
        self.took = self.took.saturating_add(other.took);
        self.log.extend(other.log);
        self.log_dropped += other.log_dropped;
    }
}

/// What the host keeps for one guest during one call.
pub(crate) struct Guest {
    plugin: Digest,
    memory_bytes: usize,
    table_elements: usize,
    /// The setting that the guest ran into when it asked for more.
    denied: Option<&'static str>,
    /// The most memory that it asked for and got.
    grown_bytes: usize,
    log: LogBudget,
    lines: Vec<LogLine>,
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
        let (plugin, text) = (self.plugin, line.escape_debug().to_string());
        let level = match level {
            Level::Debug => {
                tracing::debug!(%plugin, "{text}");
                "debug"
            }
            Level::Info => {
                tracing::info!(%plugin, "{text}");
                "info"
            }
            Level::Warn => {
                tracing::warn!(%plugin, "{text}");
                "warn"
            }
            Level::Error => {
                tracing::error!(%plugin, "{text}");
                "error"
            }
        };
        self.lines.push(LogLine { level, text });
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, _now: usize, wanted: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        let fits = wanted <= self.memory_bytes;
        if fits {
            self.grown_bytes = self.grown_bytes.max(wanted);
        } else {
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
/// would trap at once. What it used is told of a call that failed, too.
pub(crate) fn run<T>(
    engine: &Engine,
    plugin: Digest,
    limits: &Limits,
    budget: Budget,
    function: &'static str,
    work: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<T>,
) -> (Result<T, Error>, Spent) {
    let log = LogBudget {
        lines: limits.log_lines,
        bytes: limits.log_bytes,
        line_bytes: limits.log_line_bytes,
        dropped: 0,
    };
    let (memory_bytes, table_elements) = (limits.memory_bytes, limits.table_elements);
    let lines = Vec::new();
    let guest = Guest { plugin, memory_bytes, table_elements, denied: None, grown_bytes: 0, log, lines };
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| guest);
    if let Err(error) = store.set_fuel(budget.fuel) {
        return (Err(Error::internal("a store takes no fuel", error)), Spent::default());
    }
    // One tick more than fits: the present one is already under way.
    let ticks = budget.deadline.as_nanos().div_ceil(TICK.as_nanos()).saturating_add(1);
    store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX));
    store.set_hostcall_fuel(budget.answer_bytes);

    let began = Instant::now();
    let result = work(&mut store);
    let outcome = if result.is_ok() { "answered" } else { "failed" };
    metrics::histogram!("muster_plugin_call_seconds", "function" => function, "outcome" => outcome)
        .record(began.elapsed());
    let took = began.elapsed();
    let fuel = budget.fuel - store.get_fuel().unwrap_or_default();
    metrics::counter!("muster_plugin_fuel_total", "function" => function).increment(fuel);
    let guest = store.into_data();
    if guest.log.dropped > 0 {
        tracing::warn!(%plugin, lost = guest.log.dropped, "plugins.log_lines or plugins.log_bytes is spent");
    }
    let spent = Spent {
        fuel,
        memory_bytes: guest.grown_bytes,
        took,
        log: guest.lines,
        log_dropped: guest.log.dropped,
    };
    (result.map_err(|error| explain(&error, guest.denied, budget)), spent)
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
    let cause = format!("{cause}{}", place(error));
    match denied {
        Some(setting) => Error::Trapped(format!("{cause}; before that it was denied more than {setting}")),
        None => Error::Trapped(cause),
    }
}

/// Where a trap happened, innermost first, as far as the component carries names.
fn place(error: &wasmtime::Error) -> String {
    let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
    let named = frames.iter().filter_map(|frame| frame.func_name());
    let names: Vec<String> = named
        .take(FRAMES)
        .map(|name| format!("{:#}", rustc_demangle::demangle(name)).escape_debug().to_string())
        .collect();
    if names.is_empty() { String::new() } else { format!(" (in {})", names.join(", called by ")) }
}
