//! What to paste into the systems around, and what to type next.

use std::path::Path;

/// What the texts are made of.
pub struct Pastes<'a> {
    /// Where the configuration lies.
    pub folder: &'a Path,
    /// How Alertmanager reaches this server.
    pub url: &'a str,
    pub host: &'a str,
}

impl Pastes<'_> {
    /// All of them, one after the other.
    pub fn for_people(&self, kept_inventory: bool) -> String {
        let inventory = if kept_inventory {
            "Your inventory was kept. This host would stand in it, read-only, as"
        } else {
            "The inventory names this host, read-only; nothing is changed until `allow` says so"
        };
        let slack: Vec<String> =
            self.slack().iter().enumerate().map(|(n, step)| format!("{}. {step}", n + 1)).collect();
        let sections = [
            ("Alertmanager: add to alertmanager.yml", self.alertmanager()),
            (inventory, self.inventory()),
            ("Prometheus: add to prometheus.yml, to watch Watchkeeper itself", self.prometheus()),
            ("Slack, if you use it", slack.join("\n")),
            ("Next", self.next().join("\n")),
        ];
        sections.map(|(title, text)| format!("{title}:\n\n{}\n", indented(&text))).join("\n")
    }

    /// The receiver and its route.
    pub fn alertmanager(&self) -> String {
        format!(
            "receivers:
  - name: watchkeeper
    webhook_configs:
      - url: {}/webhook/alert
        send_resolved: true
        max_alerts: 0           # every alert of a group in one delivery
        http_config:
          authorization:
            credentials_file: /etc/alertmanager/watchkeeper.token
route:
  routes:                       # above your other routes
    - matchers: ['service=\"watchkeeper\"']
      receiver: on-call         # a way to people that does not pass through Watchkeeper
    - matchers: ['alertname=\"Watchdog\"']  # an alert that always fires, expr: vector(1)
      receiver: watchkeeper     # the pulse of this way; opens no incident
      group_interval: 1m
      repeat_interval: 5m
    - receiver: watchkeeper
      continue: true",
            self.url
        )
    }

    /// This host as the inventory has it.
    pub fn inventory(&self) -> String {
        format!(
            "hosts:
  - name: {}
    addresses: [localhost, 127.0.0.1, \"::1\"]
    class: server
    reach: local
    allow: []",
            self.host
        )
    }

    /// The alert rules and the scrape job that they expect.
    pub fn prometheus(&self) -> String {
        let rules = self.folder.join("watchkeeper.rules.yaml");
        let rules = std::path::absolute(&rules).unwrap_or(rules);
        let (scheme, address) = self.url.split_once("://").unwrap_or(("http", self.url));
        format!(
            "rule_files:
  - {}
scrape_configs:
  - job_name: watchkeeper
    scheme: {scheme}
    static_configs:
      - targets: [{:?}]",
            rules.display(),
            address.split('/').next().unwrap_or(address),
        )
    }

    /// How to get an incoming webhook, and where to put it.
    pub fn slack(&self) -> Vec<String> {
        let secret = self.folder.join("slack.secret");
        vec![
            "Open https://api.slack.com/apps, choose Create New App, From scratch.".to_owned(),
            "Under Incoming Webhooks switch them on and choose Add New Webhook to Workspace, with \
             the channel of your team."
                .to_owned(),
            format!(
                "Put the address into a file: umask 077; cat > {} (paste, then Ctrl-D)",
                secret.display()
            ),
            "In watchkeeper.yaml set notify.slack.webhook_url_file: slack.secret".to_owned(),
        ]
    }

    /// The next commands.
    pub fn next(&self) -> Vec<String> {
        let usual = self.folder == Path::new("config");
        let config = match usual {
            true => String::new(),
            false => format!(" --config {}", self.folder.join("watchkeeper.yaml").display()),
        };
        vec![
            format!("watchkeeper user add <your-name> --role sre{config}"),
            format!(
                "watchkeeper token create alertmanager --kind webhook{config} \
                 > watchkeeper.token   # for Alertmanager's credentials_file"
            ),
            format!("watchkeeper serve{config}   # then, beside it: watchkeeper doctor{config}"),
        ]
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
