//! `watchkeeper alert send-test`: one delivery as Alertmanager would send it; `alert list`: what came.
//!
//! Out: what the server answered and where to look. Never: a name that the shipped configuration
//! ignores, which would test nothing; a real alert's labels by default.

use super::remote::{At, Remote};
use super::{Global, pair, print};
use crate::clock::{Clock, format_ms};
use crate::model::call::sha256_hex;
use crate::model::ids::IncidentId;
use anyhow::{Context, Result, bail};
use chrono::DateTime;
use clap::{Args, Subcommand};
use print::{field, time};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Verb {
    /// Send one alert to the running server, as Alertmanager would.
    SendTest(SendTest),
    /// Find alerts and the incidents that they belong to, newest first.
    List(List),
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    at: At,
    #[arg(long)]
    fingerprint: Option<String>,
    /// A label, e.g. --label alertname=ServiceDown; may be repeated, and all must be there.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// Only those of one incident.
    #[arg(long)]
    incident: Option<IncidentId>,
    #[arg(long, value_parser = ["firing", "resolved"])]
    status: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Leave out so many at the beginning.
    #[arg(long, default_value_t = 0)]
    offset: u32,
    /// Only those that were first seen before, in milliseconds since 1970.
    #[arg(long, value_name = "MS")]
    before: Option<u64>,
}

#[derive(Args)]
pub struct SendTest {
    #[command(flatten)]
    at: At,
    /// The webhook's whole address [default: SERVER/webhook/alert].
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    url: Option<String>,
    /// A webhook token. It stands in the list of processes; --token-file does not.
    #[arg(long, conflicts_with = "token_file")]
    token: Option<String>,
    /// The alert's name.
    #[arg(long, default_value = "WebhookTest")]
    name: String,
    /// The alert's severity; `info` pages nobody by deadline.
    #[arg(long, default_value = "info")]
    severity: String,
    /// A further label, e.g. --label instance=web1:9100; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// Say that the alert is over. It must carry the same labels and --starts-at as when it fired.
    #[arg(long, requires = "starts_at")]
    resolved: bool,
    /// When the alert began, in RFC 3339 [default: now].
    #[arg(long, value_name = "TIME", value_parser = rfc3339)]
    starts_at: Option<i64>,
}

pub fn run(global: &Global, verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::SendTest(test) => super::block_on(send(global, test)),
        Verb::List(list) => super::block_on(list_all(global, &list)),
    }
}

async fn list_all(global: &Global, list: &List) -> Result<ExitCode> {
    let mut query = vec![("limit", list.limit.to_string()), ("offset", list.offset.to_string())];
    query.extend(list.fingerprint.iter().map(|print| ("fingerprint", print.clone())));
    query.extend(list.label.iter().map(|(name, value)| ("label", format!("{name}={value}"))));
    query.extend(list.incident.map(|id| ("incident", id.to_string())));
    query.extend(list.before.map(|ms| ("before", ms.to_string())));
    query.extend(list.status.iter().map(|status| ("status", status.clone())));
    let answer = list.at.remote(global)?.get("api/v1/alerts", &query).await?;
    print::show(global.output, &answer, |answer| {
        let none = Vec::new();
        let alerts = answer.get("alerts").and_then(Value::as_array).unwrap_or(&none);
        // Only where nothing newer is left to show.
        let further = match (answer.get("next_offset"), answer.get("next_before")) {
            (Some(next), _) if next.is_i64() => format!("\nthere are more: --offset {next}"),
            (_, Some(next)) if next.is_i64() => {
                format!("\nolder ones were not looked at: --before {next}")
            }
            _ => String::new(),
        };
        if alerts.is_empty() {
            return format!("no alerts{further}");
        }
        let rows: Vec<Vec<String>> = alerts.iter().map(row).collect();
        let titles = ["ALERT", "STATUS", "FIRED", "TIMES SENT", "FINGERPRINT", "INCIDENT"];
        print::columns(&titles, &rows) + &further
    })?;
    Ok(ExitCode::SUCCESS)
}

fn row(alert: &Value) -> Vec<String> {
    vec![
        field(alert, "/labels/alertname"),
        field(alert, "/status"),
        time(alert, "/starts_at_ms"),
        field(alert, "/deliveries"),
        field(alert, "/fingerprint"),
        field(alert, "/incident_id"),
    ]
}

async fn send(global: &Global, test: SendTest) -> Result<ExitCode> {
    let now_ms = Clock::system().now_ms();
    // Whole seconds, so that the time in the advice below is exactly the one that was sent.
    let starts_at_ms = test.starts_at.unwrap_or(now_ms / 1000 * 1000);
    let token = match &test.token {
        Some(token) => Some(SecretString::from(token.as_str())),
        None => test.at.token()?,
    };
    let (base, path) = match &test.url {
        Some(url) => (url.clone(), ""),
        None => (test.at.base(global)?, "webhook/alert"),
    };
    let remote = Remote::new(&base, token, test.at.ca_file.clone())?;
    let answer = remote.post(path, &test.delivery(starts_at_ms, now_ms)).await?;
    let accepted = answer.get("count").and_then(Value::as_u64);
    if accepted != Some(1) {
        bail!("the server answered {answer}, not that it accepted one alert; is it Watchkeeper?");
    }
    let server = base.trim_end_matches('/').trim_end_matches("/webhook/alert").to_owned();
    let server = Remote::new(&server, None, test.at.ca_file.clone())?.shown();
    let starts_at = format_ms(starts_at_ms);
    let result = json!({
        "sent": {"alertname": test.name, "status": test.status(), "starts_at": starts_at},
        "answer": answer,
        "look_at": server,
    });
    print::show(global.output, &result, |_| {
        let mut text = format!(
            "accepted: {} ({}), stored by {server}\nlook at:  {server}/ or `watchkeeper incident list`",
            test.name,
            test.status()
        );
        if !test.resolved {
            let again = test.resolving(&starts_at);
            text.push_str(&format!("\nend it:   {again}"));
        }
        text
    })?;
    if test.name.starts_with("Watchkeeper") {
        eprintln!("warning: alerts of this name are ignored unless ingest.ignore was changed");
    }
    Ok(ExitCode::SUCCESS)
}

impl SendTest {
    fn status(&self) -> &'static str {
        if self.resolved { "resolved" } else { "firing" }
    }

    fn labels(&self) -> Map<String, Value> {
        let fixed = [("alertname", &self.name), ("severity", &self.severity)];
        let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), json!(value)));
        let further = self.label.iter().map(|(name, value)| (name.clone(), json!(value)));
        fixed.chain(further).collect()
    }

    /// The body of Alertmanager's webhook, payload version 4.
    fn delivery(&self, starts_at_ms: i64, now_ms: i64) -> Value {
        let labels = self.labels();
        let joined: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let fingerprint = &sha256_hex(joined.join("\n").as_bytes())[..16];
        let annotations = json!({"summary": "A test of the way from Alertmanager to Watchkeeper"});
        let ends_at =
            if self.resolved { format_ms(now_ms) } else { "0001-01-01T00:00:00Z".to_owned() };
        json!({
            "version": "4",
            "groupKey": format!("{{}}:{{alertname={:?}}}", self.name),
            "truncatedAlerts": 0,
            "status": self.status(),
            "receiver": "watchkeeper",
            "groupLabels": {"alertname": self.name},
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "",
            "alerts": [{
                "status": self.status(),
                "labels": labels,
                "annotations": annotations,
                "startsAt": format_ms(starts_at_ms),
                "endsAt": ends_at,
                "generatorURL": "",
                "fingerprint": fingerprint,
            }],
        })
    }

    /// The command that ends this very alert.
    fn resolving(&self, starts_at: &str) -> String {
        let mut words = vec![
            "watchkeeper alert send-test --resolved --starts-at".to_owned(),
            starts_at.to_owned(),
            format!("--name {} --severity {}", quoted(&self.name), quoted(&self.severity)),
        ];
        let labels = self.label.iter();
        words.extend(labels.map(|(k, v)| format!("--label {}", quoted(&format!("{k}={v}")))));
        words.join(" ")
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=:./@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn rfc3339(text: &str) -> Result<i64, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.timestamp_millis())
        .context("not RFC 3339")
        .map_err(|_| "write it as 2026-03-10T09:57:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell_where_they_must() {
        assert_eq!(quoted("instance=web1:9100"), "instance=web1:9100");
        assert_eq!(quoted("it's $(id)"), r"'it'\''s $(id)'");
        assert_eq!(quoted(""), "''");
    }
}
