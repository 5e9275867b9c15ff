//! Freeze windows: they begin when a cron pattern says so, in a time zone, and last for a while.
//!
//! A window lasts by the clock on the wall there: 62 hours from Friday 18:00 end on Monday at 08:00,
//! also when the clocks are changed in between. Where that leaves a choice the later end counts.

use crate::model::alert::Labels;
use crate::model::guard::Then;
use crate::model::matcher::Matcher;
use chrono::{DateTime, LocalResult, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use std::sync::{Mutex, PoisonError};

/// Clocks are put forward by no more than this.
const GAP_MINUTES_MAX: i64 = 180;

/// One compiled window.
#[derive(Debug)]
pub(in crate::safety) struct Freeze {
    pub(super) cron: Cron,
    pub(super) zone: Tz,
    pub(super) lasts_ms: i64,
    /// The duration as the file spells it.
    pub(super) lasts: String,
    pub(super) writes: Then,
    pub(super) matchers: Vec<Matcher>,
    pub(super) tools: Vec<String>,
    /// `freeze: <cron> <zone>`, as verdicts write it.
    pub(super) source: String,
    /// The answer that was found last: it is the same for days, and a search costs more than all
    /// else in a verdict.
    pub(super) last: Mutex<Option<Span>>,
}

/// A stretch of time over which the answer does not change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    from_ms: i64,
    until_ms: i64,
    began_ms: Option<i64>,
}

/// What a freeze says at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::safety) enum Frozen {
    Yes(String),
    No(String),
}

impl Freeze {
    pub(in crate::safety) fn source(&self) -> &str {
        &self.source
    }

    pub(in crate::safety) fn writes(&self) -> Then {
        self.writes
    }

    /// Whether it is about this tool and these alerts. An incident without any alert is not known to
    /// be about something else.
    pub(in crate::safety) fn concerns(&self, tool: &str, labels: &[&Labels]) -> bool {
        let matched = |labels: &&Labels| self.matchers.iter().all(|m| m.matches(labels));
        (self.tools.is_empty() || self.tools.iter().any(|name| name == tool))
            && (labels.is_empty() || labels.iter().any(matched))
    }

    /// Whether changes are frozen at this moment, and until when or from when.
    pub(in crate::safety) fn at(&self, now_ms: i64) -> Frozen {
        let Some(span) = self.span(now_ms) else {
            return Frozen::Yes("the window cannot be told, so it counts".to_owned());
        };
        match span.began_ms {
            Some(began_ms) => Frozen::Yes(format!(
                "until {}: {} from {}",
                self.told(span.until_ms),
                self.lasts,
                self.told(began_ms)
            )),
            None => Frozen::No(format!("next from {}", self.told(span.until_ms))),
        }
    }

    /// When the window that is open at this moment ends.
    pub(super) fn open_until(&self, now_ms: i64) -> Option<i64> {
        self.span(now_ms).filter(|span| span.began_ms.is_some()).map(|span| span.until_ms)
    }

    fn span(&self, now_ms: i64) -> Option<Span> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(span) = *last
            && (span.from_ms..span.until_ms).contains(&now_ms)
        {
            return Some(span);
        }
        *last = self.search(now_ms);
        *last
    }

    fn search(&self, now_ms: i64) -> Option<Span> {
        // The pattern knows whole seconds.
        let now = Utc.timestamp_opt(now_ms.div_euclid(1000), 0).single()?;
        let now = now.with_timezone(&self.zone);
        if let Ok(began) = self.cron.find_previous_occurrence(&now, true) {
            let (from_ms, until_ms) = (began.timestamp_millis(), self.end(&began)?);
            if now_ms < until_ms {
                return Some(Span { from_ms, until_ms, began_ms: Some(from_ms) });
            }
        }
        let next = self.cron.find_next_occurrence(&now, false).ok()?;
        Some(Span { from_ms: now_ms, until_ms: next.timestamp_millis(), began_ms: None })
    }

    fn end(&self, began: &DateTime<Tz>) -> Option<i64> {
        let lasts = TimeDelta::milliseconds(self.lasts_ms);
        let wall = began.naive_local().checked_add_signed(lasts)?;
        let end = (0..=GAP_MINUTES_MAX).find_map(|minutes| {
            // A time that the clock leaves out is over when it goes on.
            let wall = wall.checked_add_signed(TimeDelta::minutes(minutes))?;
            match self.zone.from_local_datetime(&wall) {
                LocalResult::Single(end) | LocalResult::Ambiguous(_, end) => Some(end),
                LocalResult::None => None,
            }
        })?;
        Some(end.timestamp_millis())
    }

    fn told(&self, at_ms: i64) -> String {
        let at = self.zone.timestamp_millis_opt(at_ms).single();
        at.map_or_else(|| at_ms.to_string(), |at| at.format("%a %Y-%m-%d %H:%M %Z").to_string())
    }
}
