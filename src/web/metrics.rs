//! Metrics for Prometheus: those of the process, and those read from the store at each scrape.
//!
//! The names are what `deploy/prometheus/watchkeeper.rules.yaml` alerts on. When the store cannot
//! be read its metrics are left out rather than old, which has an alert of its own.

use super::{Deps, Web};
use crate::model::incident::State as IncidentState;
use crate::store::Error;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

const READ_WITHIN: Duration = Duration::from_secs(5);

/// One scrape.
pub async fn scrape(State(web): State<Web>) -> Response {
    let mut text = String::new();
    if let Ok(deps) = web.deps() {
        if let Some(process) = &deps.metrics {
            text = process.render();
        }
        of_policy(&mut text, deps);
        let file = f64::from(u8::from((deps.halt_file)().is_some()));
        gauge(&mut text, "watchkeeper_halt_file", "", file);
        match tokio::time::timeout(READ_WITHIN, of_store(&web, deps)).await {
            Ok(Ok(of_store)) => text.push_str(&of_store),
            Ok(Err(error)) => tracing::warn!(%error, "cannot read metrics from the store"),
            Err(_) => tracing::warn!("the store is too slow to read metrics from"),
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    gauge(&mut text, "watchkeeper_build_info", &format!("{{version=\"{version}\"}}"), 1.0);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn of_store(web: &Web, deps: &Deps) -> Result<String, Error> {
    let (store, now_ms) = (&deps.store, deps.clock.now_ms());
    let mut text = String::new();
    let out = &mut text;
    let deliveries = store.delivery_backlog().await?;
    let age = |since_ms: Option<i64>| since_ms.map_or(0.0, |since| seconds(now_ms - since));
    let oldest = age(deliveries.oldest_at_ms);
    gauge(out, "watchkeeper_oldest_unprocessed_delivery_seconds", "", oldest);
    gauge(out, "watchkeeper_unprocessed_deliveries", "", number(deliveries.waiting));

    let counts = store.incident_counts().await?;
    header(out, "watchkeeper_incidents");
    for state in IncidentState::ALL {
        let count = counts.iter().find(|(of, _)| *of == state).map_or(0, |(_, count)| *count);
        let _ = writeln!(out, "watchkeeper_incidents{{state=\"{}\"}} {count}", state.as_str());
    }

    let (queued, oldest_at_ms) = store.queue(now_ms).await?;
    gauge(out, "watchkeeper_incidents_waiting", "", number(queued));
    gauge(out, "watchkeeper_incidents_waiting_oldest_seconds", "", age(oldest_at_ms));

    let outbox = store.outbox_backlog().await?;
    gauge(out, "watchkeeper_outbox_oldest_seconds", "", age(outbox.oldest_at_ms));
    gauge(out, "watchkeeper_outbox_waiting", "", number(outbox.waiting));
    gauge(out, "watchkeeper_outbox_failing", "", number(outbox.failing));
    gauge(out, "watchkeeper_outbox_failed", "", number(outbox.failed));

    let (waiting, oldest_at_ms) = store.awaiting().await?;
    gauge(out, "watchkeeper_pending_approvals", "", number(waiting));
    gauge(out, "watchkeeper_pending_approval_oldest_seconds", "", age(oldest_at_ms));

    let today = store.usage_of_day(web.scope(), now_ms).await?;
    let settings = web.settings();
    let budget = if settings.model.endpoints.is_empty() {
        0.0
    } else {
        settings.model.budgets.tokens_per_day as f64
    };
    gauge(out, "watchkeeper_model_tokens_today", "", number(today.tokens));
    gauge(out, "watchkeeper_model_tokens_daily_budget", "", budget);

    header(out, "watchkeeper_rules_replicas");
    let replicas = store.replicas(now_ms).await?;
    let versions = replicas.iter().map(|replica| replica.rules_version.as_str());
    for version in versions.collect::<BTreeSet<_>>() {
        let count = replicas.iter().filter(|replica| replica.rules_version == version).count();
        let _ = writeln!(out, "watchkeeper_rules_replicas{{version=\"{version}\"}} {count}");
    }

    header(out, "watchkeeper_breaker_open");
    for (name, until_ms) in store.breakers().await? {
        // As verdicts name it, without the word that the metric's own name says.
        let name = name.strip_prefix("breaker: ").unwrap_or(&name);
        let name = escaped(name);
        let open = u8::from(until_ms > now_ms);
        let _ = writeln!(out, "watchkeeper_breaker_open{{breaker=\"{name}\"}} {open}");
    }

    of_pipeline(out, web, deps, now_ms).await?;
    of_jobs(out, deps).await?;

    let halted = store.halt().await?.is_some();
    gauge(out, "watchkeeper_halted", "", f64::from(u8::from(halted)));
    let orders = store.orders(now_ms).await?;
    gauge(out, "watchkeeper_holds", "", orders.holds.len() as f64);
    gauge(out, "watchkeeper_quarantined_rules", "", orders.quarantined.len() as f64);
    Ok(text)
}

/// The way that alerts take to us.
async fn of_pipeline(out: &mut String, web: &Web, deps: &Deps, now_ms: i64) -> Result<(), Error> {
    let pulses = deps.store.pulses(web.scope()).await?;
    if !pulses.is_empty() {
        header(out, "watchkeeper_pulse_age_seconds");
    }
    for pulse in &pulses {
        let (source, age) = (escaped(&pulse.source), seconds(now_ms - pulse.seen_at_ms));
        let _ = writeln!(out, "watchkeeper_pulse_age_seconds{{source=\"{source}\"}} {age}");
    }
    if !pulses.is_empty() {
        header(out, "watchkeeper_pulse_absent");
    }
    for pulse in &pulses {
        let (source, absent) = (escaped(&pulse.source), u8::from(pulse.absent_since_ms.is_some()));
        let _ = writeln!(out, "watchkeeper_pulse_absent{{source=\"{source}\"}} {absent}");
    }
    let peers = deps.store.alertmanager_peers(web.scope()).await?;
    if !peers.is_empty() {
        header(out, "watchkeeper_alertmanager_peer_failing_seconds");
    }
    for peer in &peers {
        let name = escaped(&peer.name);
        let failing = peer.failing_since_ms.map_or(0.0, |since_ms| seconds(now_ms - since_ms));
        let _ = writeln!(
            out,
            "watchkeeper_alertmanager_peer_failing_seconds{{peer=\"{name}\"}} {failing}"
        );
    }
    Ok(())
}

/// What one of all replicas does again and again. Prometheus has a `job` of its own.
async fn of_jobs(out: &mut String, deps: &Deps) -> Result<(), Error> {
    let jobs = deps.store.scheduled().await?;
    if !jobs.is_empty() {
        header(out, "watchkeeper_schedule_failing");
    }
    for job in &jobs {
        let (name, failing) = (&job.job, u8::from(job.error.is_some()));
        let _ = writeln!(out, "watchkeeper_schedule_failing{{task=\"{name}\"}} {failing}");
    }
    header(out, "watchkeeper_schedule_last_success_timestamp_seconds");
    for job in &jobs {
        let Some(at_ms) = job.succeeded_at_ms else { continue };
        let (name, at) = (&job.job, seconds(at_ms));
        let _ = writeln!(
            out,
            "watchkeeper_schedule_last_success_timestamp_seconds{{job=\"{name}\"}} {at}"
        );
    }
    Ok(())
}

/// What is in force in this process, whether or not the store answers.
fn of_policy(out: &mut String, deps: &Deps) {
    let in_force = deps.policy.in_force();
    let version = format!("{{version=\"{}\"}}", in_force.rules_version);
    gauge(out, "watchkeeper_rules_info", &version, 1.0);
    let hash = format!("{{hash=\"{}\"}}", in_force.config_hash);
    gauge(out, "watchkeeper_config_info", &hash, 1.0);
    let successful = f64::from(u8::from(in_force.broken.is_none()));
    gauge(out, "watchkeeper_config_last_reload_successful", "", successful);
    let needs_restart = in_force.needs_restart.len() as f64;
    gauge(out, "watchkeeper_config_needs_restart", "", needs_restart);
    let loaded = seconds(in_force.loaded_at_ms);
    gauge(out, "watchkeeper_config_last_reload_success_timestamp_seconds", "", loaded);
}

/// A text as the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn header(out: &mut String, name: &str) {
    let _ = writeln!(out, "# TYPE {name} gauge");
}

fn gauge(out: &mut String, name: &str, labels: &str, value: f64) {
    header(out, name);
    let _ = writeln!(out, "{name}{labels} {value}");
}

fn seconds(duration_ms: i64) -> f64 {
    number(duration_ms.max(0)) / 1000.0
}

/// Exact up to 2^53, far beyond anything counted here.
fn number(count: i64) -> f64 {
    count as f64
}
