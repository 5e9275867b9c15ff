//! What leaves this machine, and to whom.

use crate::cli::print::one_line;
use crate::clients::http::{Http, Options};
use crate::config::{Settings, is_loopback_url};
use secrecy::ExposeSecret;
use serde::Serialize;

/// One receiver of data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Leaves {
    pub to: String,
    /// Without credentials or secret paths.
    pub at: String,
    pub stays_on_this_machine: bool,
    pub what: &'static str,
}

const TO_MODELS: &str = "prompts: alerts with labels and annotations, log lines, metrics and \
    command output of the incident, what was done; secrets redacted";
const TO_PEOPLE: &str = "title, facts, findings and links of an incident; secrets redacted";

pub fn list(settings: &Settings) -> Vec<Leaves> {
    let mut all = Vec::new();
    for endpoint in &settings.model.endpoints {
        let to = format!("model {} ({})", endpoint.name, endpoint.model);
        all.push(Leaves::new(to, &endpoint.base_url, TO_MODELS));
    }
    let notify = &settings.notify;
    if let Some(url) = &notify.slack.webhook_url {
        let front = reqwest::Url::parse(url.expose_secret());
        let front = front.map_or(String::new(), |url| url.origin().ascii_serialization());
        all.push(Leaves::new("slack".to_owned(), &front, TO_PEOPLE));
    }
    if notify.pagerduty.routing_key.is_some() {
        all.push(Leaves::new("pagerduty".to_owned(), &notify.pagerduty.url, TO_PEOPLE));
    }
    if let Some(host) = &notify.email.host {
        let url = format!("smtp://{host}:{}", notify.email.port);
        let to = format!("e-mail to {}", notify.email.to.join(", "));
        all.push(Leaves { at: url.clone(), ..Leaves::new(to, &url, TO_PEOPLE) });
    }
    all
}

impl Leaves {
    fn new(to: String, url: &str, what: &'static str) -> Self {
        let shown = Http::new(&to, url, &Options::default()).map(|http| http.shown());
        Self {
            to,
            at: shown.unwrap_or_default(),
            stays_on_this_machine: is_loopback_url(url),
            what,
        }
    }

    /// The same for people.
    pub fn line(&self) -> String {
        let how = if self.stays_on_this_machine { "stays here" } else { "LEAVES this machine" };
        format!("data  {} at {}: {how}: {}", one_line(&self.to), one_line(&self.at), self.what)
    }
}
