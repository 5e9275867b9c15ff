//! Webhook bodies as Alertmanager sends them.
//!
//! A body is made once and its group number patched in place, so that the driver's own work stays
//! small beside the server's. Every alert of every group has a fingerprint and an instance of its
//! own; whoever stored the body can be asked for them.

use std::fmt::Write as _;

const KINDS: [(&str, &str); 8] = [
    ("HighErrorRate", "critical"),
    ("DiskSpaceLow", "warning"),
    ("ServiceDown", "critical"),
    ("HighLatencyP99", "warning"),
    ("DBConnectionPoolExhausted", "critical"),
    ("QueueBacklog", "warning"),
    ("MemoryGrowth", "warning"),
    ("CertExpiringSoon", "info"),
];
const SERVICES: [&str; 8] =
    ["api-gateway", "checkout", "payments", "search", "orders-db", "auth", "billing", "frontend"];
/// Stands for the group number until it is patched in; nothing else in a body looks like it.
const GROUP: &str = "@@@@@@@@";

/// What the alerts of a body are about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Problems of a shop; each instance is an incident of its own.
    Problems,
    /// Alerts that the shipped configuration stores and never acts on.
    Ignored,
    /// Each group is about a service of its own.
    Storm,
}

/// Requests of one shape, ready to be sent.
#[derive(Clone)]
pub struct Bodies {
    templates: Vec<Template>,
    path: String,
}

#[derive(Clone)]
struct Template {
    body: Vec<u8>,
    /// Where the group number stands.
    places: Vec<usize>,
}

impl Bodies {
    pub fn new(path: &str, alerts: usize, theme: Theme) -> Self {
        Self::with(path, alerts, theme, "firing")
    }

    /// The notices that problems are over.
    pub fn resolved(path: &str, alerts: usize) -> Self {
        Self::with(path, alerts, Theme::Problems, "resolved")
    }

    fn with(path: &str, alerts: usize, theme: Theme, status: &str) -> Self {
        let template = |kind| Template::new(kind, alerts, theme, status);
        Self { templates: (0..KINDS.len()).map(template).collect(), path: path.to_owned() }
    }

    /// Writes the whole request for a group into `into`.
    pub fn write(&self, group: u64, into: &mut Vec<u8>) {
        let template = &self.templates[usize::try_from(group).unwrap() % self.templates.len()];
        into.clear();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             User-Agent: Alertmanager/0.27.0\r\nContent-Length: {}\r\n\r\n",
            self.path,
            template.body.len()
        );
        into.extend_from_slice(head.as_bytes());
        let start = into.len();
        into.extend_from_slice(&template.body);
        let digits = format!("{group:08}");
        for place in &template.places {
            into[start + place..start + place + GROUP.len()].copy_from_slice(digits.as_bytes());
        }
    }
}

impl Template {
    fn new(kind: usize, alerts: usize, theme: Theme, status: &str) -> Self {
        let (name, severity) = KINDS[kind];
        let name = match theme {
            Theme::Problems | Theme::Storm => name.to_owned(),
            Theme::Ignored => format!("Watchkeeper{name}"),
        };
        let service = match theme {
            Theme::Problems | Theme::Ignored => SERVICES[kind].to_owned(),
            Theme::Storm => format!("{}-{GROUP}", SERVICES[kind]),
        };
        let ends_at = match status {
            "resolved" => "2026-03-10T11:57:00.000Z",
            _ => "0001-01-01T00:00:00Z",
        };
        let mut list = String::new();
        for alert in 0..alerts {
            let comma = if alert == 0 { "" } else { "," };
            write!(
                list,
                r#"{comma}{{"status":"{status}","labels":{{"alertname":"{name}","severity":"{severity}","cluster":"prod-1","namespace":"shop","service":"{service}","job":"node","pod":"{service}-{GROUP}-{alert:03}","instance":"g{GROUP}-a{alert:03}:9100"}},"annotations":{{"summary":"{name} on g{GROUP}-a{alert:03}:9100","description":"{service} in shop/prod-1 breached its threshold for 5 minutes (current value 0.{alert:02}). Check recent deploys, saturation and dependency health.","runbook_url":"https://runbooks.example.com/{name}"}},"startsAt":"2026-03-10T09:57:00.000Z","endsAt":"{ends_at}","generatorURL":"http://prometheus.example.com/graph?g0.expr=rate%28http_errors_total%5B5m%5D%29&g0.tab=1","fingerprint":"{GROUP}{alert:08x}"}}"#
            )
            .unwrap();
        }
        let body = format!(
            r#"{{"version":"4","groupKey":"{{}}/{{severity=~\"critical|warning|info\"}}:{{alertname=\"{name}\", group=\"{GROUP}\"}}","truncatedAlerts":0,"status":"{status}","receiver":"sre-agent","groupLabels":{{"alertname":"{name}","cluster":"prod-1","service":"{service}"}},"commonLabels":{{"alertname":"{name}","severity":"{severity}","cluster":"prod-1","namespace":"shop","service":"{service}","job":"node"}},"commonAnnotations":{{"runbook_url":"https://runbooks.example.com/{name}"}},"externalURL":"http://alertmanager.example.com","alerts":[{list}]}}"#
        );
        let places = body.match_indices(GROUP).map(|(at, _)| at).collect();
        Self { body: body.into_bytes(), places }
    }
}
