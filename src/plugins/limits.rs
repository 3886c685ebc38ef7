//! Every limit on plugins, with its name in the settings; errors give that name.

use std::time::Duration;

/// How often the wall-clock net looks: deadlines are late by at most this.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Limits on what is uploaded, compiled, run and answered.
///
/// The defaults let Rust, C, JavaScript and Python guests through with room to spare and stop compile bombs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an uploaded component (`plugins.upload_bytes`).
    pub upload_bytes: usize,
    /// Functions in all its modules (`plugins.functions`): compile time grows with them.
    pub functions: u32,
    /// Bytes of one function (`plugins.function_bytes`).
    pub function_bytes: usize,
    /// Locals of one function (`plugins.function_locals`).
    pub function_locals: u32,
    /// Bytes of data segments (`plugins.data_bytes`).
    pub data_bytes: usize,
    /// Core modules (`plugins.modules`).
    pub modules: u32,
    /// Core modules that are instantiated (`plugins.instances`).
    pub instances: u32,
    /// Imports of the component and of its nested components (`plugins.imports`).
    pub imports: u32,
    /// CPU seconds of a compile (`plugins.compile_cpu_seconds`).
    pub compile_cpu_seconds: u64,
    /// Address space of a compile in bytes (`plugins.compile_memory_bytes`).
    pub compile_memory_bytes: u64,
    /// Wall-clock time of a compile (`plugins.compile_wall`).
    pub compile_wall: Duration,
    /// Linear memory of an instance in bytes (`plugins.memory_bytes`), at most 256 MiB.
    pub memory_bytes: usize,
    /// Table elements of an instance (`plugins.table_elements`).
    pub table_elements: usize,
    /// Fuel of a quote, and of a batch before its records count (`plugins.fuel`): about one per instruction.
    pub fuel: u64,
    /// Fuel for each record of a batch (`plugins.fuel_per_record`).
    pub fuel_per_record: u64,
    /// Wall-clock time of a quote (`plugins.quote_deadline`).
    pub quote_deadline: Duration,
    /// Wall-clock time of a batch before its records count (`plugins.rate_deadline`).
    pub rate_deadline: Duration,
    /// Wall-clock time for each record of a batch (`plugins.rate_deadline_per_record`).
    pub rate_deadline_per_record: Duration,
    /// Bytes that a guest may hand over in one call (`plugins.answer_bytes`).
    pub answer_bytes: usize,
    /// Bytes more for each record (`plugins.answer_bytes_per_record`).
    pub answer_bytes_per_record: usize,
    /// Records of one call (`plugins.records_per_batch`), at most 1 000; longer lists are split.
    pub records_per_batch: usize,
    /// Charges for one record (`plugins.charges_per_record`).
    pub charges_per_record: usize,
    /// Log lines of one call (`plugins.log_lines`); the rest is dropped and counted.
    pub log_lines: usize,
    /// Log bytes of one call (`plugins.log_bytes`).
    pub log_bytes: usize,
    /// Bytes of one log line (`plugins.log_line_bytes`); longer ones are cut.
    pub log_line_bytes: usize,
    /// Calls that run at once (`plugins.workers`).
    pub workers: usize,
    /// Calls that wait for a worker (`plugins.queue`); further ones are turned away.
    pub queue: usize,
    /// Compiled plugins kept in memory (`plugins.loaded`).
    pub loaded: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload_bytes: 32 << 20,
            functions: 30_000,
            function_bytes: 1 << 20,
            function_locals: 5_000,
            data_bytes: 32 << 20,
            modules: 64,
            instances: 40,
            imports: 256,
            compile_cpu_seconds: 90,
            compile_memory_bytes: 4 << 30,
            compile_wall: Duration::from_secs(180),
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            fuel: 200_000_000,
            fuel_per_record: 5_000_000,
            quote_deadline: Duration::from_millis(50),
            rate_deadline: Duration::from_secs(1),
            rate_deadline_per_record: Duration::from_millis(5),
            answer_bytes: 1 << 20,
            answer_bytes_per_record: 2 << 10,
            records_per_batch: 1_000,
            charges_per_record: 16,
            log_lines: 200,
            log_bytes: 64 << 10,
            log_line_bytes: 4 << 10,
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            queue: 256,
            loaded: 64,
        }
    }
}

/// What one call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) fuel: u64,
    pub(crate) deadline: Duration,
    pub(crate) answer_bytes: usize,
    /// The settings that made `fuel` and `deadline`, for messages.
    pub(crate) fuel_setting: &'static str,
    pub(crate) deadline_setting: &'static str,
}

impl Limits {
    /// What a quote for `planned` uses may use.
    pub(crate) fn for_quote(&self, planned: usize) -> Budget {
        Budget {
            fuel: self.fuel,
            deadline: self.quote_deadline,
            answer_bytes: self.answer_bytes + self.answer_bytes_per_record * planned,
            fuel_setting: "plugins.fuel",
            deadline_setting: "plugins.quote_deadline",
        }
    }

    /// What rating a batch of `records` may use.
    pub(crate) fn for_rate(&self, records: usize) -> Budget {
        let count = u32::try_from(records).unwrap_or(u32::MAX);
        Budget {
            fuel: self.fuel.saturating_add(self.fuel_per_record.saturating_mul(u64::from(count))),
            deadline: self.rate_deadline.saturating_add(self.rate_deadline_per_record.saturating_mul(count)),
            answer_bytes: self.answer_bytes + self.answer_bytes_per_record * records,
            fuel_setting: "plugins.fuel and plugins.fuel_per_record",
            deadline_setting: "plugins.rate_deadline and plugins.rate_deadline_per_record",
        }
    }
}
