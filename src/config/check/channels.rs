//! Checks the section `notify`.

use super::{Checks, DAY_S};
use crate::config::settings::{EmailSecurity, EmailSettings, Settings};

impl Checks<'_> {
    pub(super) fn channels(&mut self, settings: &Settings) {
        let notify = &settings.notify;
        let slack = &notify.slack;
        self.secret_url("notify.slack.webhook_url", slack.webhook_url.as_ref(), &["https", "http"]);
        self.client("notify.slack.client", &slack.client);
        self.url("notify.pagerduty.url", &notify.pagerduty.url);
        self.client("notify.pagerduty.client", &notify.pagerduty.client);
        self.email(&notify.email);
        self.range("notify.retry_max_s", notify.retry_max_s, 60..=30 * DAY_S);
        let deadlines = &notify.deadlines;
        self.range("notify.deadlines.critical_within_s", deadlines.critical_within_s, 30..=DAY_S);
        self.range("notify.deadlines.warning_within_s", deadlines.warning_within_s, 30..=DAY_S);
    }

    fn email(&mut self, email: &EmailSettings) {
        self.range("notify.email.port", email.port, 1..=u16::MAX);
        self.range("notify.email.timeout_s", email.timeout_s, 1..=600);
        self.file("notify.email.ca_file", email.ca_file.as_ref());
        for (path, address) in email.from.iter().map(|from| ("notify.email.from".to_owned(), from))
        {
            self.mailbox(&path, address);
        }
        for (index, address) in email.to.iter().enumerate() {
            self.mailbox(&format!("notify.email.to.{index}"), address);
        }
        let Some(host) = &email.host else {
            if email.from.is_some() || !email.to.is_empty() {
                self.add_with_hint(
                    "notify.email.host",
                    "is missing, though a sender or a recipient is set",
                    "name the SMTP server, or remove the others",
                );
            }
            return;
        };
        if host.is_empty() || host.contains(['/', ' ', '@']) {
            self.add("notify.email.host", "must be a host name or an address, without a port");
        }
        if email.from.is_none() {
            self.add("notify.email.from", "is missing; e-mail needs a sender");
        }
        if email.to.is_empty() {
            self.add("notify.email.to", "is missing; e-mail needs at least one recipient");
        }
        let password = email.password.is_some() || email.password_file.is_some();
        if password && email.user.is_none() {
            self.add("notify.email.user", "is missing, though a password is set");
        }
        if email.user.is_some() && !password {
            self.add("notify.email.user", "needs `password` or `password_file`");
        }
        if password && email.security == EmailSecurity::None {
            self.add_with_hint(
                "notify.email.security",
                "must be tls or starttls, because a password is set",
                "it would go over the network in clear text",
            );
        }
    }

    fn mailbox(&mut self, path: &str, address: &str) {
        if address.parse::<lettre::message::Mailbox>().is_err() {
            self.add_with_hint(
                path,
                "is not an e-mail address",
                "such as oncall@example.org or Watchkeeper <oncall@example.org>",
            );
        }
    }
}
