//! Telemetry: the log on standard error and the numbers for Prometheus. Started once, before anything else runs.
//!
//! A door opens a span with the request's id and everything below logs into it, so no function passes the id on for
//! the log's sake. Labels of metrics come from fixed sets (route templates, kinds), never from ids.

mod process;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, filter::ParseError, util::TryInitError};

use crate::config::{Config, LogFormat};

/// Telemetry that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not one.
    #[error("log.filter: expected directives such as info,muster::worker=debug: {0}")]
    Filter(#[from] ParseError),
    /// There is a subscriber already.
    #[error("the log was started twice: {0}")]
    Log(#[from] TryInitError),
    /// There is a recorder already, or its buckets are wrong.
    #[error("the metrics cannot be recorded: {0}")]
    Metrics(#[from] BuildError),
}

/// Upper bounds of the buckets for everything whose name ends in `_seconds`, in seconds.
const SECONDS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// The way to telemetry: [`Telemetry::start`].
#[derive(Debug, Clone, Copy)]
pub struct Telemetry;

/// What the server keeps of telemetry while it runs.
#[derive(Debug, Clone)]
pub struct Handle(PrometheusHandle);

impl Telemetry {
    /// Starts the log and the metrics of this process.
    ///
    /// # Errors
    /// When the filter is not one, or when it is the second start in this process.
    pub fn start(config: &Config) -> Result<Handle, Error> {
        log_start(config.log.format, &config.log.filter)?;
        let handle = recorder()?.install_recorder()?;
        process::describe();
        Ok(Handle(handle))
    }
}

impl Handle {
    /// All metrics in Prometheus' text format.
    pub fn render_metrics(&self) -> String {
        process::record();
        self.0.run_upkeep();
        self.0.render()
    }
}

fn recorder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
}

fn log_start(format: LogFormat, filter: &str) -> Result<(), Error> {
    use tracing_subscriber::util::SubscriberInitExt;
    let log =
        tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(filter)?).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_target(false).finish().try_init()?,
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).finish().try_init()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_in_buckets_and_rendered() {
        let recorder = recorder().unwrap().build_recorder();
        let handle = Handle(recorder.handle());
        let text = metrics::with_local_recorder(&recorder, || {
            process::describe();
            metrics::histogram!("muster_request_seconds", "route" => "/livez").record(0.002);
            handle.render_metrics()
        });
        assert!(text.contains("muster_request_seconds_bucket{route=\"/livez\",le=\"0.0025\"} 1"), "{text}");
        let resident = text.lines().find(|line| line.starts_with("process_resident_memory_bytes")).unwrap();
        let bytes: u64 = resident.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(bytes > 1_000_000, "{resident}");
    }

    #[test]
    fn a_filter_that_is_none_is_told_by_its_key() {
        let told = log_start(LogFormat::Text, "muster=loudly").unwrap_err().to_string();
        assert!(told.starts_with("log.filter: "), "{told}");
    }
}
