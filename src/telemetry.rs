//! Logs and metrics of the process itself.
//!
//! In: the `log` settings. Out: lines on standard error, numbers on `/metrics`. Never: a secret; the
//! redactor and the fields' own types see to that before anything reaches a line.

use crate::config::{LogFormat, LogSettings};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// Sets up logging. A level is a word (`info`) or a filter (`watchkeeper=debug,sqlx=warn`).
///
/// # Errors
/// The filter cannot be read, or logging is set up already.
pub fn start_logs(settings: &LogSettings) -> Result<(), String> {
    let filter = EnvFilter::try_new(&settings.level)
        .map_err(|error| format!("log.level '{}': {error}", settings.level))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match settings.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| error.to_string())
}

/// Sets up the process's counters; those about the store are read when somebody asks.
///
/// # Errors
/// Metrics are set up already.
pub fn start_metrics() -> Result<PrometheusHandle, String> {
    PrometheusBuilder::new().install_recorder().map_err(|error| error.to_string())
}
