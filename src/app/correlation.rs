//! How alerts find their incident, from the settings and by the policy in force.

use super::{locate_by, reconcile, seconds, steps};
use crate::config::Settings;
use crate::incident::desks::Desks;
use crate::incident::intake::{Correlator, Flapping, Join, Words};
use crate::ingest::{Failing, Ingest, Intake};
use crate::model::alert::Labels;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// What takes deliveries in.
pub(super) fn intake(
    settings: &Settings,
    ingest: &Ingest,
    desks: &Arc<Desks>,
    due: &Arc<Notify>,
) -> Result<Intake> {
    let desk = desks.current();
    Ok(Intake {
        store: desk.store.clone(),
        clock: desk.clock.clone(),
        correlator: Arc::new(correlator(settings, desks)?),
        arrived: ingest.arrived(),
        due: Arc::clone(due),
        missed: ingest.missed(),
        watchdog: reconcile::watchdog(settings)?,
        poll: Duration::from_millis(settings.worker.poll_ms),
        failing: Failing::default(),
    })
}

fn correlator(settings: &Settings, desks: &Arc<Desks>) -> Result<Correlator> {
    let (locate, of_level) = (locate_by(desks), Arc::clone(desks));
    let deadlines = &settings.notify.deadlines;
    let steps = steps(settings)?;
    let joins = settings.ingest.join.iter().map(|rule| Join {
        labels: rule.labels.clone(),
        within_ms: seconds(rule.within_s),
        alerts_max: i64::from(rule.alerts_max),
        targets_max: i64::from(rule.targets_max),
    });
    Ok(Correlator {
        by: settings.ingest.correlate_by.clone(),
        joins: joins.collect(),
        flapping: Flapping {
            times: i64::from(settings.ingest.flapping.times),
            within_ms: seconds(settings.ingest.flapping.within_s),
        },
        severity_label: settings.ingest.severity_label.clone(),
        ignore: reconcile::ignored(settings)?,
        reopen_within_ms: seconds(settings.ingest.reopen_within_s),
        critical_page_ms: seconds(deadlines.critical_within_s),
        warning_page_ms: seconds(deadlines.warning_within_s),
        locate: Arc::new(move |labels: &Labels| locate(&[labels])),
        level: Arc::new(move |labels: &Labels| {
            of_level.current().gate.checker.granted(&[labels]).autonomy
        }),
        words: Words { public_url: steps.public_url, dedup: steps.dedup },
    })
}
