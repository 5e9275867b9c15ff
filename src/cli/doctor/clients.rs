//! Prometheus and Alertmanager.

use super::{ANSWER_WITHIN_MS, Finding};
use crate::app::outside::options;
use crate::clients::alertmanager::{Alertmanager, Filter, Routes, Status};
use crate::clients::http::Options;
use crate::clients::prometheus::Prometheus;
use crate::clock::Clock;
use crate::config::{AlertmanagerSettings, ClientSettings, Settings};
use crate::model::matcher::Matcher;

/// A difference that makes measured times doubtful, and one that makes them wrong.
const CLOCK_MS_WARN: i64 = 5_000;
const CLOCK_MS_FAIL: i64 = 60_000;

fn short(client: &ClientSettings) -> Options {
    let options = options(client);
    Options { timeout_ms: options.timeout_ms.min(ANSWER_WITHIN_MS), ..options }
}

pub async fn prometheus(settings: &Settings) -> Vec<Finding> {
    const ABOUT: &str = "prometheus";
    let Some(url) = &settings.prometheus.url else {
        let said = "not configured: nothing can be measured, so no change is ever verified";
        return vec![Finding::warn(ABOUT, said, "set prometheus.url (or PROMETHEUS_URL)")];
    };
    let client = match Prometheus::new(url, &short(&settings.prometheus.client)) {
        Ok(client) => client,
        Err(error) => return vec![Finding::fail(ABOUT, error.to_string(), "")],
    };
    if let Err(error) = client.health().await {
        return vec![Finding::fail(ABOUT, error.to_string(), "")];
    }
    let mut found = vec![Finding::ok(ABOUT, "reached and ready")];
    let asked_ms = Clock::system().now_ms();
    match client.query("time()", None).await {
        Ok(table) => {
            let answered_ms = Clock::system().now_ms();
            let theirs = table.rows.first().map(|row| row.value);
            found.push(clocks(theirs, asked_ms, answered_ms));
        }
        Err(error) => {
            let mend = "check that the credentials may query, and that no proxy answers instead";
            found.push(Finding::fail(ABOUT, error.to_string(), mend));
        }
    }
    match client.query("count(up)", None).await {
        Ok(table) => match table.rows.first() {
            Some(row) => found.push(Finding::ok(ABOUT, format!("scrapes {} targets", row.value))),
            None => {
                let said = "answers, and has no series `up`: it scrapes nothing";
                found.push(Finding::warn(ABOUT, said, "check its scrape_configs"));
            }
        },
        Err(error) => found.push(Finding::fail(ABOUT, error.to_string(), "")),
    }
    found
}

/// Compares the clocks, knowing only that theirs was read between two times of ours.
fn clocks(theirs_s: Option<f64>, asked_ms: i64, answered_ms: i64) -> Finding {
    const ABOUT: &str = "clock";
    let Some(theirs_s) = theirs_s else {
        let mend = "look at Prometheus' own log";
        return Finding::fail(ABOUT, "Prometheus gave no time", mend);
    };
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit")]
    let theirs_ms = (theirs_s * 1000.0) as i64;
    let difference_ms =
        if theirs_ms < asked_ms { asked_ms - theirs_ms } else { (theirs_ms - answered_ms).max(0) };
    let said = format!("differs from Prometheus' by {difference_ms} ms");
    let mend = "run time synchronisation (chrony, systemd-timesyncd) on both machines";
    match difference_ms {
        0..CLOCK_MS_WARN => Finding::ok(ABOUT, said),
        CLOCK_MS_WARN..CLOCK_MS_FAIL => Finding::warn(ABOUT, said, mend),
        _ => Finding::fail(ABOUT, said, mend),
    }
}

pub async fn alertmanagers(settings: &Settings) -> Vec<Finding> {
    const ABOUT: &str = "alertmanager";
    let alertmanager = &settings.alertmanager;
    if alertmanager.urls.is_empty() {
        let said = "not configured: deliveries that were lost on the way cannot be fetched back";
        return vec![Finding::warn(ABOUT, said, "set alertmanager.urls (or ALERTMANAGER_URL)")];
    }
    let peers =
        alertmanager.urls.iter().map(|url| one(url, short(&alertmanager.client), alertmanager));
    futures::future::join_all(peers).await
}

async fn one(url: &str, options: Options, settings: &AlertmanagerSettings) -> Finding {
    let client = Alertmanager::new(url, &options);
    let shown = crate::clients::http::Http::new("Alertmanager", url, &options);
    let about = format!("alertmanager {}", shown.map_or(String::new(), |http| http.shown()));
    let about = about.trim_end();
    let client = match client {
        Ok(client) => client,
        Err(error) => return Finding::fail(about, error.to_string(), ""),
    };
    let status = match client.status().await {
        Ok(status) => status,
        Err(error) => return Finding::fail(about, error.to_string(), ""),
    };
    let said = format!("version {}, cluster {}", status.version, status.cluster);
    // Alertmanager hides the addresses of webhooks in its status, so only their kind shows.
    if !status.config_yaml.contains("webhook_configs") {
        let said = format!("{said}; none of its receivers is a webhook");
        let mend = "`watchkeeper init` prints the receiver to paste";
        return Finding::warn(about, said, mend);
    }
    if status.cluster == "settling" {
        let mend = "wait until its peers have found each other";
        return Finding::warn(about, said, mend);
    }
    match fetches_back(&client, &status, settings).await {
        Ok(held) => Finding::ok(about, format!("{said}; {held}")),
        Err((why, mend)) => Finding::warn(about, format!("{said}; {why}"), mend),
    }
}

/// Whether what deliveries left out can be fetched back from this peer.
async fn fetches_back(
    client: &Alertmanager,
    status: &Status,
    settings: &AlertmanagerSettings,
) -> Result<String, (String, &'static str)> {
    let receiver = &settings.receiver;
    let pattern = regex::Regex::new(&format!("^(?:{receiver})$"));
    let pattern = pattern.map_err(|error| (error.to_string(), "mend alertmanager.receiver"))?;
    let routes = Routes::read(&status.config_yaml)
        .map_err(|why| (why, "is it really the configuration of an Alertmanager?"))?;
    if !routes.receivers().iter().any(|name| pattern.is_match(name)) {
        let why = format!("none of its routes leads to a receiver that matches {receiver}");
        return Err((why, "set alertmanager.receiver to the name of the receiver in its routes"));
    }
    let filter = Filter { receiver: Some(receiver.clone()), ..Filter::default() };
    let alerts = client.alerts(&filter).await;
    let alerts =
        alerts.map_err(|error| (error.to_string(), "let these credentials read alerts"))?;
    let watchdog = Matcher::parse(&settings.watchdog.matcher);
    let beats = watchdog.is_ok_and(|m| alerts.iter().any(|alert| m.matches(&alert.labels)));
    let pulse = if beats { "with" } else { "without" };
    Ok(format!("holds {} alerts for {receiver}, {pulse} the watchdog", alerts.len()))
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn clocks_agree_within_the_time_that_the_answer_took() {
        let health = |theirs_s: f64| clocks(Some(theirs_s), 10_000, 12_000).health;
        assert_eq!(health(11.0), Health::Ok);
        assert_eq!(health(12.5), Health::Ok);
        assert_eq!(health(18.0), Health::Warn);
        assert_eq!(health(4.0), Health::Warn);
        assert_eq!(health(100.0), Health::Fail);
        assert_eq!(clocks(None, 0, 0).health, Health::Fail);
    }
}
