//! From the five keys to guards that can be used, or to everything that is wrong with them.

use super::file::GuardsFile;
use super::{
    BlastRadius, BlastRadiusFile, BreakerFile, BreakerRule, CommonCauseFile, CommonRule, Freeze,
    FreezeFile, Guards, RecurrenceFile, WindowRule,
};
use crate::model::guard::Then;
use crate::model::matcher::Matcher;
use crate::model::tool::{Effect, ToolSpec};
use crate::model::verdict::Autonomy;
use crate::safety::limits::parse_duration;
use crate::safety::rules::Complaints;
use chrono::{TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// A window of more than a year is no window.
const FREEZE_MS_MAX: i64 = 366 * 86_400_000;
/// Any moment will do to see whether a pattern ever comes true.
const SOME_DAY_S: i64 = 1_767_225_600;

impl Guards {
    /// Compiles the keys. `specs` are the tools that exist, `named` those that rules name.
    pub(in crate::safety) fn compile(
        file: GuardsFile<'_>,
        specs: &BTreeMap<&str, &ToolSpec>,
        named: &BTreeSet<&str>,
        complaints: &mut Complaints,
    ) -> Self {
        let freezes = file.freeze.iter().enumerate().filter_map(|(at, freeze)| {
            compile_freeze(&format!("freeze.{at}"), freeze, specs, named, complaints)
        });
        let freezes = freezes.collect();
        Self {
            freezes,
            blast: file
                .blast_radius
                .map(|blast| compile_blast(blast, complaints))
                .unwrap_or_default(),
            common: file.common_cause.and_then(|common| compile_common(common, complaints)),
            breaker: file.breaker.and_then(|breaker| compile_breaker(breaker, complaints)),
            recurrence: file.recurrence.and_then(|again| compile_recurrence(again, complaints)),
        }
    }
}

fn compile_freeze(
    path: &str,
    freeze: &FreezeFile,
    specs: &BTreeMap<&str, &ToolSpec>,
    named: &BTreeSet<&str>,
    complaints: &mut Complaints,
) -> Option<Freeze> {
    let mut matchers = Vec::new();
    for (nth, text) in freeze.matchers.iter().enumerate() {
        match Matcher::parse(text) {
            Ok(matcher) => matchers.push(matcher),
            Err(error) => complaints.add(format!("{path}.match.{nth}"), error),
        }
    }
    for (nth, tool) in freeze.tools.iter().enumerate() {
        let spec = specs.get(tool.as_str());
        let wrong = match spec.map(|spec| spec.effect) {
            Some(Effect::Write) => None,
            Some(Effect::Read | Effect::Talk) => {
                Some(format!("{tool} changes nothing, so it is never frozen"))
            }
            None if named.contains(tool.as_str()) => None,
            None => Some(format!("there is no tool '{tool}', and no rule names it")),
        };
        if let Some(wrong) = wrong {
            complaints.add(format!("{path}.tools.{nth}"), wrong);
        }
    }
    let cron = or_complain(parse_cron(&freeze.cron), format!("{path}.cron"), complaints);
    let zone = freeze
        .zone
        .parse::<Tz>()
        .map_err(|_| format!("'{}' is no time zone; write e.g. Europe/Berlin or UTC", freeze.zone));
    let zone = or_complain(zone, format!("{path}.zone"), complaints);
    let lasts = parse_duration(&freeze.lasts).and_then(|lasts_ms| {
        if lasts_ms <= FREEZE_MS_MAX { Ok(lasts_ms) } else { Err("is longer than a year".into()) }
    });
    let lasts_ms = or_complain(lasts, format!("{path}.for"), complaints);
    Some(Freeze {
        cron: cron?,
        zone: zone?,
        lasts_ms: lasts_ms?,
        lasts: freeze.lasts.clone(),
        writes: freeze.writes,
        matchers,
        tools: freeze.tools.clone(),
        source: format!("freeze: {} {}", freeze.cron.trim(), freeze.zone),
        last: Mutex::new(None),
    })
}

fn parse_cron(text: &str) -> Result<Cron, String> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(text).map_err(|error| {
        format!("'{text}' is not a cron pattern: {error}; write e.g. 0 18 * * FRI")
    })?;
    let some_day = Utc.timestamp_opt(SOME_DAY_S, 0).single();
    match some_day.map(|day| cron.find_next_occurrence(&day, true)) {
        Some(Ok(_)) => Ok(cron),
        Some(Err(_)) | None => Err(format!("'{text}' never comes true")),
    }
}

fn compile_blast(blast: &BlastRadiusFile, complaints: &mut Complaints) -> BlastRadius {
    if *blast == BlastRadiusFile::default() {
        complaints.add("blast_radius", "limits nothing; write e.g. writes_at_once: 2");
    }
    for (key, max) in [
        ("writes_at_once", blast.writes_at_once),
        ("per_service", blast.per_service),
        ("per_region", blast.per_region),
    ] {
        if let Some(max) = max {
            at_least(1, max, &format!("blast_radius.{key}"), complaints);
        }
    }
    let fleet = blast.per_fleet.as_ref();
    BlastRadius {
        writes_at_once: blast.writes_at_once,
        per_service: blast.per_service,
        per_region: blast.per_region,
        per_fleet: fleet.and_then(|fleet| {
            let path = "blast_radius.per_fleet";
            window((fleet.max, "max"), &fleet.within, Then::Confirm, path, complaints)
        }),
    }
}

fn compile_common(common: &CommonCauseFile, complaints: &mut Complaints) -> Option<CommonRule> {
    at_least(2, common.same_alert_on, "common_cause.same_alert_on", complaints);
    if common.then == Autonomy::Act {
        let message = "act changes nothing; write advise, page or observe";
        complaints.add("common_cause.then", message);
    }
    Some(CommonRule {
        at_least: common.same_alert_on,
        within_ms: duration(&common.within, "common_cause.within", complaints)?,
        within: common.within.clone(),
        then: common.then,
    })
}

fn compile_breaker(breaker: &BreakerFile, complaints: &mut Complaints) -> Option<BreakerRule> {
    at_least(1, breaker.failed_or_unverified, "breaker.failed_or_unverified", complaints);
    if let Some(max) = breaker.everywhere {
        at_least(1, max, "breaker.everywhere", complaints);
    }
    let within_ms = duration(&breaker.within, "breaker.within", complaints);
    let for_ms = duration(&breaker.lasts, "breaker.for", complaints);
    Some(BreakerRule {
        max: breaker.failed_or_unverified,
        everywhere: breaker.everywhere,
        within_ms: within_ms?,
        within: breaker.within.clone(),
        for_ms: for_ms?,
        then: breaker.then,
    })
}

fn compile_recurrence(again: &RecurrenceFile, complaints: &mut Complaints) -> Option<WindowRule> {
    let max = (again.same_action_same_target, "same_action_same_target");
    window(max, &again.within, again.then, "recurrence", complaints)
}

fn window(
    (max, key): (i64, &str),
    within: &str,
    then: Then,
    path: &str,
    complaints: &mut Complaints,
) -> Option<WindowRule> {
    at_least(1, max, &format!("{path}.{key}"), complaints);
    let within_ms = duration(within, &format!("{path}.within"), complaints)?;
    Some(WindowRule { max, within_ms, within: within.to_owned(), then })
}

fn at_least(least: i64, value: i64, path: &str, complaints: &mut Complaints) {
    if value < least {
        complaints.add(path, format!("{value} is less than {least}"));
    }
}

fn duration(text: &str, path: &str, complaints: &mut Complaints) -> Option<i64> {
    or_complain(parse_duration(text), path.to_owned(), complaints)
}

fn or_complain<T>(
    result: Result<T, String>,
    path: String,
    complaints: &mut Complaints,
) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(message) => {
            complaints.add(path, message);
            None
        }
    }
}
