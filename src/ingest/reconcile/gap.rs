//! What Prometheus fired while nobody could be told, and no longer fires.
//!
//! Alertmanager cannot say: `/api/v2/alerts` leaves out what is resolved (its `api/v2/api.go`,
//! `alertFilter`), and a group whose alerts are all resolved before the first notification went
//! through is never notified (`notify`, "all alerts resolved"). The series `ALERTS` holds every
//! evaluation at which an alert fired, at exactly the time that Alertmanager calls `startsAt`.

use crate::clients::prometheus::{AlertState, Error, Labels, Prometheus, Series, TOO_LARGE, Table};
use std::collections::BTreeMap;

const FIRING: &str = "ALERTS{alertstate=\"firing\"}";
/// So much is asked at once; less when the answer does not fit.
const SLICE_MS: i64 = 30 * 60 * 1000;
const SLICE_MS_MIN: i64 = 60 * 1000;

/// One time for which an alert fired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Episode {
    /// As Alertmanager sees them: with the labels that Prometheus adds.
    pub labels: Labels,
    own: Labels,
    pub from_ms: i64,
    /// The last evaluation at which it fired.
    pub until_ms: i64,
}

impl Episode {
    /// Whether an alert with these labels is the one of this episode: Alertmanager may know more
    /// labels of it, e.g. by relabelling.
    pub(super) fn is_about(&self, labels: &Labels) -> bool {
        self.own.iter().all(|(name, value)| labels.get(name) == Some(value))
    }

    /// The name that Alertmanager gives to these labels (`LabelSet.Fingerprint` of
    /// `prometheus/common`): FNV-1a over names and values in order, each ended by 0xff.
    pub(super) fn fingerprint(&self) -> String {
        let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
        for (name, value) in &self.labels {
            for byte in name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]) {
                sum = (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        format!("{sum:016x}")
    }
}

/// The alerts that fired at some time since `since_ms` and do not at `now_ms`.
pub(super) async fn fired_and_over(
    prometheus: &Prometheus,
    since_ms: i64,
    now_ms: i64,
) -> Result<Vec<Episode>, Error> {
    let mut spans: BTreeMap<Labels, (i64, i64)> = BTreeMap::new();
    let (mut at_ms, mut slice_ms) = (since_ms, SLICE_MS);
    while at_ms < now_ms {
        let end_ms = now_ms.min(at_ms + slice_ms);
        let asked = prometheus.samples_within(FIRING, end_ms - at_ms, end_ms).await;
        let is_cut = match &asked {
            Ok(table) => table.left_out > 0,
            Err(error) => is_too_large(error),
        };
        if is_cut && slice_ms > SLICE_MS_MIN {
            slice_ms = (slice_ms / 4).max(SLICE_MS_MIN);
            continue;
        }
        let table = asked?;
        if table.left_out > 0 {
            let left_out = table.left_out;
            tracing::error!(left_out, "{left_out} alerts that fired are too many to look at");
        }
        take(&mut spans, table);
        at_ms = end_ms;
    }
    if spans.is_empty() {
        return Ok(Vec::new());
    }
    remove_firing(prometheus, &mut spans, now_ms).await?;
    let added = prometheus.external_labels().await?;
    let episode = |(own, (from_ms, until_ms)): (Labels, (i64, i64))| {
        let mut labels = own.clone();
        for (name, value) in &added {
            labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Episode { labels, own, from_ms, until_ms }
    };
    Ok(spans.into_iter().map(episode).collect())
}

/// Takes out what fires by now.
async fn remove_firing(
    prometheus: &Prometheus,
    spans: &mut BTreeMap<Labels, (i64, i64)>,
    now_ms: i64,
) -> Result<(), Error> {
    let firing = prometheus.query(FIRING, Some(now_ms)).await?;
    let (rows, left_out) = (firing.rows.len(), firing.left_out);
    for row in firing.rows {
        spans.remove(&own(row.labels));
    }
    if left_out == 0 {
        return Ok(());
    }
    // The list is cut, and what it leaves out must not pass for over. The other one is read whole, but
    // is short for a while after a start.
    let mut alerts = prometheus.alerts().await?;
    alerts.retain(|alert| alert.state == AlertState::Firing);
    if alerts.len() < rows + left_out {
        let message = format!("{} alerts fire, too many to list", rows + left_out);
        return Err(Error::Rejected { kind: TOO_LARGE.to_owned(), message });
    }
    for alert in alerts {
        spans.remove(&alert.labels);
    }
    Ok(())
}

fn is_too_large(error: &Error) -> bool {
    matches!(error, Error::Rejected { kind, .. } if kind == TOO_LARGE)
}

fn take(spans: &mut BTreeMap<Labels, (i64, i64)>, table: Table<Series>) {
    for series in table.rows {
        let times = || series.points.iter().map(|(at_ms, _)| *at_ms);
        let (Some(first_ms), Some(last_ms)) = (times().min(), times().max()) else { continue };
        let span = spans.entry(own(series.labels)).or_insert((first_ms, last_ms));
        *span = (span.0.min(first_ms), span.1.max(last_ms));
    }
}

/// The labels of the alert itself.
fn own(mut labels: Labels) -> Labels {
    labels.remove("__name__");
    labels.remove("alertstate");
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_alertmanagers() {
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let of = |pairs: &[(&str, &str)]| {
            let own = labels(pairs);
            Episode { labels: own.clone(), own, from_ms: 0, until_ms: 0 }.fingerprint()
        };
        // As Alertmanager 0.25 named an alert with these labels.
        let seen = [
            ("alertname", "Flag"),
            ("instance", "127.0.0.1:13906"),
            ("job", "flags"),
            ("kind", "plain"),
            ("region", "north"),
            ("service", "s1"),
            ("severity", "warning"),
        ];
        assert_eq!(of(&seen), "a89852ba71b5546c");
        // FNV-1a of nothing, as `prometheus/common` gives for the empty label set.
        assert_eq!(of(&[]), "cbf29ce484222325");
        assert_ne!(of(&[("a", "bc")]), of(&[("ab", "c")]));
    }
}
