//! Freeze windows over the year, and every complaint about the keys.

use super::*;
use crate::model::entity::{HostFacts, ServiceFacts};
use crate::model::tool::{Arg, ArgKind, Effect, ToolSpec};
use crate::safety::rules::{Rules, RulesFile};
use chrono::DateTime;

fn spec(name: &str, effect: Effect) -> ToolSpec {
    let args = vec![Arg::required("host", ArgKind::Host, "")];
    ToolSpec { name: name.into(), about: String::new(), effect, args }
}

fn compiled(keys: &str) -> Result<Rules, Vec<String>> {
    let yaml = format!(
        "version: 1\nautonomy: act\n{keys}\n\
         rules: [{{ name: r, tool: scale_service, tier: confirm }}]\n"
    );
    let specs = [spec("restart_service", Effect::Write), spec("get_service_logs", Effect::Read)];
    Rules::compile(&RulesFile::parse(&yaml).unwrap(), &specs)
        .map_err(|all| all.iter().map(ToString::to_string).collect())
}

/// A moment as RFC 3339 writes it.
fn at(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
}

/// What the first window says at each moment; `None` when changes are not frozen.
fn frozen(key: &str, moment: &str) -> Option<String> {
    let rules = compiled(&format!("freeze: [{{ {key}, writes: confirm }}]")).unwrap();
    match rules.guards().freezes[0].at(at(moment)) {
        Frozen::Yes(note) => Some(note),
        Frozen::No(_) => None,
    }
}

const WEEKEND: &str = "cron: \"0 18 * * FRI\", for: 62h, zone: Europe/Berlin";

#[test]
fn a_window_begins_and_ends_at_the_same_time_of_day_in_every_season() {
    for (moment, is_frozen) in [
        // Winter: UTC+1.
        ("2026-03-06T16:59:59.999Z", false),
        ("2026-03-06T17:00:00Z", true),
        ("2026-03-09T06:59:59.999Z", true),
        ("2026-03-09T07:00:00Z", false),
        // The clocks go forward on 29 March: it begins in winter and ends in summer.
        ("2026-03-27T16:59:59Z", false),
        ("2026-03-27T17:00:00Z", true),
        ("2026-03-29T01:00:00Z", true),
        ("2026-03-30T05:59:59.999Z", true),
        ("2026-03-30T06:00:00Z", false),
        // Summer: UTC+2.
        ("2026-07-03T15:59:59Z", false),
        ("2026-07-03T16:00:00Z", true),
        ("2026-07-06T05:59:59Z", true),
        ("2026-07-06T06:00:00Z", false),
        // They go back on 25 October: an hour more.
        ("2026-10-23T16:00:00Z", true),
        ("2026-10-26T06:59:59Z", true),
        ("2026-10-26T07:00:00Z", false),
    ] {
        assert_eq!(frozen(WEEKEND, moment).is_some(), is_frozen, "{moment}");
    }
}

#[test]
fn the_reason_names_the_window_and_its_end() {
    let rules = compiled(&format!("freeze: [{{ {WEEKEND}, writes: confirm }}]")).unwrap();
    let freeze = &rules.guards().freezes[0];
    assert_eq!(freeze.source(), "freeze: 0 18 * * FRI Europe/Berlin");
    for _ in 0..2 {
        assert_eq!(
            freeze.at(at("2026-03-28T12:00:00Z")),
            Frozen::Yes(
                "until Mon 2026-03-30 08:00 CEST: 62h from Fri 2026-03-27 18:00 CET".into()
            )
        );
        assert_eq!(
            freeze.at(at("2026-03-31T12:00:00Z")),
            Frozen::No("next from Fri 2026-04-03 18:00 CEST".into())
        );
    }
}

#[test]
fn an_hour_that_is_left_out_or_comes_twice_ends_a_window_late() {
    let spring = "cron: \"0 1 * * SUN\", for: 90m, zone: Europe/Berlin";
    // 02:30 does not exist on that night; it goes on at 03:00, which is 01:00 UTC.
    assert!(frozen(spring, "2026-03-29T00:59:59Z").is_some());
    assert!(frozen(spring, "2026-03-29T01:00:00Z").is_none());
    // 02:30 comes twice; the second one is 01:30 UTC.
    assert!(frozen(spring, "2026-10-25T00:45:00Z").is_some());
    assert!(frozen(spring, "2026-10-25T01:29:59Z").is_some());
    assert!(frozen(spring, "2026-10-25T01:30:00Z").is_none());
    // A window that would begin in the hour that is left out is not left out with it.
    let gap = "cron: \"30 2 * * SUN\", for: 2h, zone: Europe/Berlin";
    assert!(frozen(gap, "2026-03-29T01:45:00Z").is_some());
    assert!(frozen(gap, "2026-03-29T12:00:00Z").is_none());
    assert!(frozen(gap, "2026-10-25T01:45:00Z").is_some());
}

#[test]
fn the_next_moment_without_a_freeze_lies_after_all_windows() {
    let two = format!(
        "freeze: [{{ {WEEKEND}, writes: confirm }}, \
         {{ cron: \"0 6 * * MON\", for: 3h, zone: Europe/Berlin, writes: forbidden }}]"
    );
    let rules = compiled(&two).unwrap();
    assert_eq!(rules.thaw(at("2026-07-04T12:00:00Z")), at("2026-07-06T07:00:00Z"));
    assert_eq!(rules.thaw(at("2026-07-07T12:00:00Z")), at("2026-07-07T12:00:00Z"));
    assert_eq!(compiled("").unwrap().thaw(5), 5);
    let always = compiled("freeze: [{ cron: \"0 * * * *\", for: 1h, writes: confirm }]").unwrap();
    assert!(always.thaw(0) > 0);
}

#[test]
fn the_zone_is_utc_unless_it_is_named() {
    assert!(frozen("cron: \"0 18 * * *\", for: 1h", "2026-07-03T18:30:00Z").is_some());
    assert!(frozen("cron: \"0 18 * * *\", for: 1h", "2026-07-03T17:30:00Z").is_none());
}

/// The remembered answer is the one that a search would give, in whatever order it is asked.
#[test]
fn what_is_remembered_is_what_would_be_found() {
    let rules = compiled(&format!("freeze: [{{ {WEEKEND}, writes: confirm }}]")).unwrap();
    let freeze = &rules.guards().freezes[0];
    let start = at("2026-03-20T00:00:00Z");
    let mut moments: Vec<i64> = (0..400).map(|n| start + n * 37 * 60_000).collect();
    let (early, late) = moments.split_at_mut(200);
    for moment in early.iter().rev().chain(late.iter()).chain(early.iter()) {
        let fresh = compiled(&format!("freeze: [{{ {WEEKEND}, writes: confirm }}]")).unwrap();
        assert_eq!(freeze.at(*moment), fresh.guards().freezes[0].at(*moment), "{moment}");
    }
}

#[test]
fn every_mistake_is_a_complaint_at_its_place() {
    let freeze = |keys: &str| format!("freeze: [{{ {keys} }}]");
    for (keys, complaint) in [
        (
            freeze("cron: often, for: 1h, writes: confirm"),
            "freeze.0.cron: 'often' is not a cron pattern",
        ),
        (
            freeze("cron: \"0 0 18 * * FRI\", for: 1h, writes: confirm"),
            "freeze.0.cron: '0 0 18 * * FRI' is not a cron pattern",
        ),
        (
            freeze("cron: \"0 0 30 2 *\", for: 1h, writes: confirm"),
            "freeze.0.cron: '0 0 30 2 *' never comes true",
        ),
        (
            freeze("cron: \"0 0 * * *\", for: 1h, zone: Berlin, writes: confirm"),
            "freeze.0.zone: 'Berlin' is no time zone; write e.g. Europe/Berlin or UTC",
        ),
        (
            freeze("cron: \"0 0 * * *\", for: long, writes: confirm"),
            "freeze.0.for: 'long' is not a duration",
        ),
        (
            freeze("cron: \"0 0 * * *\", for: 400d, writes: confirm"),
            "freeze.0.for: is longer than a year",
        ),
        (
            freeze("cron: \"0 0 * * *\", for: 1h, writes: confirm, match: [x]"),
            "freeze.0.match.0: 'x' has no operator",
        ),
        (
            freeze("cron: \"0 0 * * *\", for: 1h, writes: confirm, tools: [make_tea]"),
            "freeze.0.tools.0: there is no tool 'make_tea', and no rule names it",
        ),
        (
            freeze("cron: \"0 0 * * *\", for: 1h, writes: confirm, tools: [get_service_logs]"),
            "freeze.0.tools.0: get_service_logs changes nothing",
        ),
        ("blast_radius: {}".into(), "blast_radius: limits nothing"),
        (
            "blast_radius: { per_service: 0 }".into(),
            "blast_radius.per_service: 0 is less than 1",
        ),
        (
            "blast_radius: { per_fleet: { max: 0, within: 1h } }".into(),
            "blast_radius.per_fleet.max: 0 is less than 1",
        ),
        (
            "blast_radius: { per_fleet: { max: 1, within: 1 h } }".into(),
            "blast_radius.per_fleet.within: '1 h' is not a duration",
        ),
        (
            "common_cause: { same_alert_on: 1, within: 1h, then: page }".into(),
            "common_cause.same_alert_on: 1 is less than 2",
        ),
        (
            "common_cause: { same_alert_on: 3, within: soon, then: page }".into(),
            "common_cause.within: 'soon' is not a duration",
        ),
        (
            "common_cause: { same_alert_on: 3, within: 1h, then: act }".into(),
            "common_cause.then: act changes nothing",
        ),
        (
            "breaker: { failed_or_unverified: 0, within: 1h, then: confirm, for: 1h }".into(),
            "breaker.failed_or_unverified: 0 is less than 1",
        ),
        (
            "breaker: { failed_or_unverified: 1, everywhere: 0, within: 1h, then: confirm, for: 1h }"
                .into(),
            "breaker.everywhere: 0 is less than 1",
        ),
        (
            "breaker: { failed_or_unverified: 1, within: 1h, then: confirm, for: 0h }".into(),
            "breaker.for: '0h' is no time at all",
        ),
        (
            "recurrence: { same_action_same_target: 0, within: 1h, then: confirm }".into(),
            "recurrence.same_action_same_target: 0 is less than 1",
        ),
        (
            "recurrence: { same_action_same_target: 1, within: x, then: confirm }".into(),
            "recurrence.within: 'x' is not a duration",
        ),
    ] {
        let complaints = compiled(&keys).unwrap_err();
        assert_eq!(complaints.len(), 1, "{keys}: {complaints:?}");
        assert!(complaints[0].starts_with(complaint), "{keys}: {complaints:?}");
    }
    let named = freeze("cron: \"0 0 * * *\", for: 1h, writes: forbidden, tools: [scale_service]");
    assert!(compiled(&named).is_ok());
    for wrong in [
        "freeze: [{ cron: \"0 0 * * *\", for: 1h, writes: safe }]",
        "breaker: { failed_or_unverified: 1, within: 1h, then: safe, for: 1h }",
        "recurrence: { same_action_same_target: 1, within: 1h, then: act }",
        "blast_radius: { per_host: 1 }",
    ] {
        let yaml = format!("version: 1\nautonomy: act\n{wrong}\nrules: []\n");
        assert!(RulesFile::parse(&yaml).is_err(), "{wrong}");
    }
}

#[test]
fn keys_that_are_left_out_leave_the_version_as_it_was() {
    let with = compiled("recurrence: { same_action_same_target: 1, within: 1h, then: confirm }");
    assert_ne!(with.unwrap().version(), compiled("").unwrap().version());
    let yaml = "version: 1\nautonomy: act\nrules: []\n";
    let value = serde_json::to_value(RulesFile::parse(yaml).unwrap()).unwrap();
    let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["autonomy", "defaults", "example_targets", "levels", "rules", "version"]);
}

#[test]
fn every_spelling_of_a_target_is_watched_under_one_name() {
    let rules = compiled(
        "blast_radius: { writes_at_once: 5, per_service: 2, per_region: 3, \
                         per_fleet: { max: 9, within: 1d } }\n\
         breaker: { failed_or_unverified: 3, everywhere: 7, within: 1h, then: forbidden, for: 2h }\n\
         recurrence: { same_action_same_target: 4, within: 1d, then: forbidden }\n\
         common_cause: { same_alert_on: 3, within: 10m, then: page }",
    )
    .unwrap();
    let labels = Labels::from([("alertname".to_owned(), "Down".to_owned())]);
    let watch = |host: &str, unit: &str, region: &str| {
        let host = HostFacts { name: host.into(), region: region.into(), ..HostFacts::default() };
        let service = ServiceFacts {
            name: "nginx".into(),
            unit: unit.into(),
            class: "Web".into(),
            ..ServiceFacts::default()
        };
        let target = Target { host: Some(&host), service: Some(&service) };
        rules.guards().watch("s", "restart_service", target, &[&labels, &labels])
    };
    let slot = |name: &str, max| Slot { name: name.into(), max };
    let breaker = |name: &str, max| Breaker {
        name: name.into(),
        max,
        within_ms: 3_600_000,
        for_ms: 7_200_000,
        then: Then::Forbidden,
    };
    let key = "recurrence: restart_service|host=web1|service=nginx.service";
    assert_eq!(
        watch("web1", "nginx.service", "eu"),
        Watch {
            slots: vec![
                slot("blast radius: writes at once", 5),
                slot("blast radius: service=nginx.service", 2),
                slot("blast radius: region=eu", 3),
            ],
            breakers: vec![
                breaker("breaker: restart_service|class=web", 3),
                breaker("breaker: everywhere", 7),
            ],
            common: Some(CommonCause {
                scope: "s".into(),
                alertnames: vec!["Down".into()],
                at_least: 3,
                within_ms: 600_000,
                then: Autonomy::Page,
            }),
            strict: vec![Limit { key: key.into(), max: 4, within_ms: 86_400_000 }],
        }
    );
    assert_eq!(watch("WEB1 ", "Nginx", " EU"), watch("web1", "nginx.service", "eu"));
    assert_eq!(watch("web1", "nginx", "").slots[2].name, "blast radius: region=-");
    let nothing = Guards::default().watch("s", "t", Target { host: None, service: None }, &[]);
    assert_eq!(nothing, Watch::default());
}
