//! Numbers about this process, read from the kernel when somebody asks for the metrics.

use std::fs;

/// Names the numbers for whoever scrapes them.
pub(super) fn describe() {
    metrics::describe_gauge!("process_resident_memory_bytes", "Memory of this process that is in RAM.");
    metrics::describe_gauge!("process_open_fds", "Files and sockets that this process has open.");
    metrics::describe_gauge!("process_threads", "Threads of this process.");
    metrics::describe_counter!(
        "process_cpu_seconds_total",
        "Processor time of this process, in whole seconds."
    );
}

/// Reads the numbers now. Where there is no `/proc` there are no numbers, and that is no error.
pub(super) fn record() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(kibibytes) = status_field(&status, "VmRSS:") {
        metrics::gauge!("process_resident_memory_bytes").set((u64::from(kibibytes) * 1024) as f64);
    }
    if let Some(threads) = status_field(&status, "Threads:") {
        metrics::gauge!("process_threads").set(f64::from(threads));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        metrics::gauge!("process_open_fds").set(f64::from(u32::try_from(open.count()).unwrap_or(u32::MAX)));
    }
    if let Some(ticks) = cpu_ticks(&fs::read_to_string("/proc/self/stat").unwrap_or_default()) {
        // Linux tells processor time to user space in hundredths of a second on every architecture (USER_HZ).
        metrics::counter!("process_cpu_seconds_total").absolute(ticks / 100);
    }
}

fn status_field(status: &str, name: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// User and system time: fields 14 and 15 of proc_pid_stat(5), counted behind the name, which may hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}
