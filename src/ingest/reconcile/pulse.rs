//! The pulse of the alert pipeline, and peers that do not answer: reported once, and their return.
//!
//! The alert that always fires has to come through Prometheus, Alertmanager, its route and the
//! webhook. When it does not come, no other alert does.

use super::{Expected, Reconciler};
use crate::clock::format_ms;
use crate::model::alert::Severity;
use crate::model::ids::MessageId;
use crate::model::message::{Event, Message, Urgency};
use crate::model::time::format_span_ms;
use crate::store::Error;
use crate::store::pipeline::{Peer, Pulse};
use crate::store::step::Announcement;

/// A pulse that came so often in time is one to rely on; a route with a `repeat_interval` of hours
/// never gets there.
const BEATS_MIN: i64 = 3;
/// A peer may be restarted within this.
const PEER_FAILS_MS: i64 = 5 * 60 * 1000;

impl Reconciler {
    /// Reports pulses that are absent, and those that are back.
    ///
    /// # Errors
    /// The store cannot be asked; the next look does it again.
    pub async fn watch_pulses(&self) -> Result<(), Error> {
        let (rules, now_ms) = (&self.rules, self.clock.now_ms());
        if rules.watchdog.expected == Expected::Always {
            self.store.expect_pulse(&rules.scope, &rules.source, self.started_ms).await?;
        }
        for pulse in self.store.pulses(&rules.scope).await? {
            // While this process was down it heard nothing.
            let since_ms = pulse.seen_at_ms.max(self.started_ms);
            let late = now_ms - since_ms > rules.watchdog.absent_after_ms;
            let expected = rules.watchdog.expected == Expected::Always || pulse.beats >= BEATS_MIN;
            match pulse.absent_since_ms {
                None if late && expected => self.report_absent(&pulse, now_ms).await?,
                Some(absent_since_ms) if pulse.seen_at_ms > absent_since_ms => {
                    self.report_back(&pulse, absent_since_ms, now_ms).await?;
                }
                None | Some(_) => {}
            }
        }
        Ok(())
    }

    async fn report_absent(&self, pulse: &Pulse, now_ms: i64) -> Result<(), Error> {
        let source = &pulse.source;
        let matcher = &self.rules.watchdog.matcher;
        let seen = format_ms(pulse.seen_at_ms);
        tracing::error!(source, "no pulse of the alert pipeline since {seen}");
        let mut message = self.message(Event::Health, format!("pulse-{source}"), now_ms);
        message.urgency = Urgency::Page;
        message.severity = Severity::Critical;
        message.title = format!("The alert pipeline is silent: alerts of {source} may not arrive");
        message.facts = vec![
            ("Alert".to_owned(), matcher.to_string()),
            ("Last seen".to_owned(), if pulse.beats == 0 { "never".to_owned() } else { seen }),
        ];
        message.paragraphs = vec![self.where_it_ends(pulse, now_ms).to_owned()];
        let transition = format!("pulse:{source}:{}", pulse.seen_at_ms);
        self.store.announce(Announcement { transition, message }).await?;
        self.store.set_pulse_absent(&self.rules.scope, source, Some(now_ms)).await
    }

    fn where_it_ends(&self, pulse: &Pulse, now_ms: i64) -> &'static str {
        let held = pulse.held_at_ms.is_some_and(|at_ms| now_ms - at_ms <= 3 * self.rules.poll_ms);
        if held {
            return "Alertmanager holds the alert that always fires, and it is not delivered: look at \
                    its receiver (address, token) and at the network between it and Watchkeeper.";
        }
        if self.peers.is_empty() {
            return "The alert that always fires was not delivered. Look whether Prometheus fires it, \
                    and whether Alertmanager holds it and reaches Watchkeeper.";
        }
        "Alertmanager does not show the alert that always fires either: look whether it runs, and \
         whether Prometheus evaluates its rules and reaches it."
    }

    async fn report_back(
        &self,
        pulse: &Pulse,
        absent_since_ms: i64,
        now_ms: i64,
    ) -> Result<(), Error> {
        let source = &pulse.source;
        tracing::info!(source, "the alert pipeline has its pulse again");
        let mut message = self.message(Event::Resolved, format!("pulse-{source}"), now_ms);
        message.title = format!("The alert pipeline of {source} works again");
        let span = format_span_ms(pulse.seen_at_ms - absent_since_ms);
        message.paragraphs = vec![format!(
            "The alert that always fires is delivered again, {span} after it was reported as absent. \
             What was not delivered meanwhile is fetched back where alertmanager.urls is set."
        )];
        let transition = format!("pulse_back:{source}:{absent_since_ms}");
        self.store.announce(Announcement { transition, message }).await?;
        self.store.set_pulse_absent(&self.rules.scope, source, None).await
    }

    /// Tells people of a peer that has not answered for long, once.
    pub(super) async fn report_peer(&self, peer: &Peer, now_ms: i64) -> Result<(), Error> {
        let (Some(since_ms), Some(problem)) = (peer.failing_since_ms, &peer.problem) else {
            return Ok(());
        };
        if now_ms - since_ms < PEER_FAILS_MS {
            return Ok(());
        }
        let name = &peer.name;
        let mut message = self.message(Event::Health, format!("peer-{name}"), now_ms);
        message.title = "Alertmanager cannot be asked what was not delivered".to_owned();
        message.facts =
            vec![("Peer".to_owned(), name.clone()), ("Since".to_owned(), format_ms(since_ms))];
        message.paragraphs = vec![
            problem.clone(),
            "Until every peer answers, no alert counts as missing, and what this one alone holds is \
             not fetched back."
                .to_owned(),
        ];
        let transition = format!("alertmanager:{name}:{since_ms}");
        self.store.announce(Announcement { transition, message }).await
    }

    fn message(&self, event: Event, about: String, now_ms: i64) -> Message {
        Message {
            id: MessageId::new(),
            scope: self.rules.scope.clone(),
            incident_id: None,
            event,
            urgency: Urgency::Tell,
            severity: Severity::Warning,
            title: String::new(),
            facts: Vec::new(),
            paragraphs: Vec::new(),
            links: Vec::new(),
            dedup_key: format!("watchkeeper-{about}"),
            created_at_ms: now_ms,
            channels: Vec::new(),
        }
    }
}
