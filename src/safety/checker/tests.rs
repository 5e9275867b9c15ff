//! Verdicts as tables: one world in which a restart is safe, and everything that changes it.

mod change;
mod clock;
mod conditions;
mod guards;
mod monotone;
mod orders;
mod properties;
mod world;

use super::*;
use crate::model::tool::{Arg, ArgKind};
use crate::model::verdict::{Matched, Source, Tier, Traced};
use crate::safety::rules::RulesFile;
use serde_json::json;
use world::*;

#[test]
fn a_safe_restart_is_allowed_with_every_reason_written_down() {
    let world = World::restart();
    let record = world.record();
    let reason = |source: &str, note: &str| Matched {
        source: source.into(),
        tier: Tier::Safe,
        note: note.into(),
    };
    let traced = |argument: &str, value: &str, source: Source| Traced {
        argument: argument.into(),
        value: value.into(),
        source,
        place: source.words().into(),
    };
    let key = "restart one service|host=web1|service=nginx.service";
    let again = "recurrence: restart_service|host=web1|service=nginx.service";
    assert_eq!(
        record,
        VerdictRecord {
            tier: Tier::Safe,
            decision: Decision::Allow,
            autonomy: Autonomy::Act,
            matched: vec![
                reason(
                    "rule: restart one service",
                    "restarting one stateless service is quick and can be repeated"
                ),
                reason("grant", "host web1 allows restart_service"),
                reason("second source", "Prometheus has the alert firing too"),
                reason(&format!("limit: {key}"), "0 of 3 in 1h"),
                reason(&format!("limit: {key}"), "0 of 6 in 24h"),
                reason("freeze: 0 12 23 12 * UTC", "next from Wed 2026-12-23 12:00 UTC"),
                reason("blast radius: writes at once", "0 of 2 in flight"),
                reason("blast radius: service=nginx.service", "0 of 1 in flight"),
                reason("blast radius: region=-", "0 of 1 in flight"),
                reason("blast radius: fleet", "0 of 10 in 1h"),
                reason(again, "0 of 8 in 7d"),
                reason("breaker: restart_service|class=web", "closed"),
                reason("breaker: everywhere", "closed"),
                reason(
                    "common cause: \"ServiceDown\"",
                    "fires on 0 targets in 10m; 3 have one cause"
                ),
                reason("autonomy", "act: safe writes run by themselves"),
                reason(
                    "level: alertname=~\"DiskSpaceLow|ServiceDown|PoolExhausted|QueueBacklog\"",
                    "act: safe writes run by themselves"
                ),
            ],
            limits: vec![
                Limit { key: key.into(), max: 3, within_ms: 3_600_000 },
                Limit { key: key.into(), max: 6, within_ms: 86_400_000 },
                Limit { key: "blast radius: fleet".into(), max: 10, within_ms: 3_600_000 },
                Limit { key: again.into(), max: 8, within_ms: 604_800_000 },
            ],
            approvals: Approvals::default(),
            rules_version: world.checker.rules().version().to_owned(),
            call_hash: world.call.hash(),
            would: None,
            risk: Some(Risk::Low),
            origins: vec![
                traced("host", "web1", Source::Alert),
                traced("reason", "502", Source::Prose),
                traced("service", "nginx", Source::Alert),
            ],
        }
    );
}

#[test]
fn each_fact_alone_makes_a_safe_restart_ask_or_refuse() {
    let database = || ServiceFacts { class: "database".into(), ..nginx() };
    let ask = Decision::Ask;
    let refuse = Decision::Refuse;
    let base = World::restart;
    let cases: Vec<(World, Decision, &str)> = vec![
        (
            World { alerts: vec![labels("HighLatency")], ..base() },
            ask,
            "level: alertname=~\"High(Latency|ErrorRate|CPU|Memory)|MemoryGrowth|DBCorruption\": \
             advise: every write needs a person",
        ),
        (
            World { alerts: vec![labels("ServiceDown"), labels("Odd")], ..base() },
            ask,
            "level: none matches alert \"Odd\": advise: every write needs a person",
        ),
        (
            World { alerts: vec![], ..base() },
            ask,
            "level: no alert: advise: every write needs a person",
        ),
        (
            World { alerts: vec![labels("ServiceDown"), labels("PrimaryFailover")], ..base() },
            refuse,
            "page: read only, a person acts",
        ),
        (World { wanted: Wanted::Person, ..base() }, ask, "person: the mind asked for a person"),
        (
            World { firing: Firing::NotFiring, ..base() },
            ask,
            "second source: Prometheus does not have the alert firing: it ended, or somebody \
             made it up",
        ),
        (
            World { firing: Firing::NoSource, ..base() },
            ask,
            "second source: nothing confirms the alert: set prometheus.url to a Prometheus that \
             answers",
        ),
        (
            World { count: 3, ..base() },
            ask,
            "limit: restart one service|host=web1|service=nginx.service: 3 of 3 in 1h",
        ),
        (World { count: i64::MAX, ..base() }, ask, "an unknown number of 6 in 24h"),
        (World { halted: Some("ann"), ..base() }, refuse, "halt: halted by \"ann\""),
        (
            World { trusted: Trusted::default(), ..base() },
            ask,
            "provenance: service: \"nginx\" stands in no label, relation or runbook of this \
             incident",
        ),
        (
            World { service: Some(database()), ..base() },
            ask,
            "default: write: no rule matches; floor: database: nginx is a database: a person \
             agrees first",
        ),
        (
            World { service: Some(ServiceFacts { protected: true, ..nginx() }), ..base() },
            ask,
            "floor: protected: service nginx is protected",
        ),
        (
            World { host: Some(HostFacts { protected: true, ..web1() }), ..base() },
            ask,
            "floor: protected: host web1 is protected",
        ),
        (
            World {
                host: Some(HostFacts { allow: vec![], ..web1() }),
                service: Some(ServiceFacts { allow: vec!["reload".into()], ..nginx() }),
                ..base()
            },
            refuse,
            "grant: service nginx is read-only for restart_service; to grant it, write \
             `allow: [reload, restart_service]` there in the inventory",
        ),
        (
            World { host: None, service: None, ..base() },
            refuse,
            "target: host \"web1\" is not in the inventory; target: service \"nginx\" is not in \
             the inventory; target: a change needs a host or a service of the inventory",
        ),
        (
            World { host: Some(HostFacts { name: "web2".into(), ..web1() }), ..base() },
            refuse,
            "target: host \"web1\" is not in the inventory; target: nginx does not run on web2, \
             says the inventory",
        ),
        (
            World {
                service: Some(ServiceFacts {
                    name: "cache".into(),
                    unit: "cache.service".into(),
                    ..nginx()
                }),
                ..base()
            },
            refuse,
            "target: service \"nginx\" is not in the inventory",
        ),
        (
            World { service: Some(ServiceFacts { unit: "ssh".into(), ..nginx() }), ..base() },
            refuse,
            "floor: remote access: ssh is never changed",
        ),
        (
            World {
                call: Call::new("restart_service", json!({"service": "nginx", "host": "web1"})),
                ..base()
            },
            refuse,
            "call: 'reason' is missing: ",
        ),
        (
            World::clean(json!({"host": "web1", "paths": ["/var/log/nginx"]})),
            refuse,
            "call: a default is not written into the call",
        ),
        (
            World { spec: None, ..base() },
            ask,
            "stands in no label, relation or runbook of this incident",
        ),
    ];
    for (world, decision, reason) in cases {
        let (decided, told) = world.told();
        assert!(decided == decision && told.contains(reason), "{reason}\n{decided:?} {told}");
    }
}

#[test]
fn a_service_may_grant_what_its_host_does_not() {
    let world = World {
        host: Some(HostFacts { allow: vec![], ..web1() }),
        service: Some(ServiceFacts { allow: vec!["restart_service".into()], ..nginx() }),
        ..World::restart()
    };
    assert_eq!(world.record().decision, Decision::Allow);
}

#[test]
fn autonomy_and_rules_meet_in_every_combination() {
    use Decision::{Allow, Ask, Refuse};
    let expected = [
        ("observe", [Refuse, Refuse, Refuse]),
        ("page", [Refuse, Refuse, Refuse]),
        ("advise", [Ask, Ask, Refuse]),
        ("act", [Allow, Ask, Refuse]),
    ];
    for (cap, row) in expected {
        for (level, level_row) in expected {
            let tiers = ["safe", "confirm", "forbidden"];
            for ((tier, by_cap), by_level) in tiers.iter().zip(row).zip(level_row) {
                let yaml = format!(
                    "version: 1\nautonomy: {cap}\n\
                     levels: [{{ match: [alertname=ServiceDown], autonomy: {level} }}]\n\
                     rules: [{{ name: r, tool: restart_service, tier: {tier} }}]\n"
                );
                let strictest = if by_cap == Refuse || by_level == Refuse {
                    Refuse
                } else if by_cap == Ask || by_level == Ask {
                    Ask
                } else {
                    Allow
                };
                let decided = World::restart().with_rules(&yaml).record().decision;
                assert_eq!(decided, strictest, "{cap} {level} {tier}");
            }
        }
    }
}

#[test]
fn observe_writes_down_what_acting_would_have_meant() {
    for (firing, would) in [(Firing::Confirmed, "safe"), (Firing::NoSource, "confirm")] {
        let yaml = SHIPPED.replace("autonomy: act\n\n# Which", "autonomy: observe\n\n# Which");
        let world = World { firing, ..World::restart() }.with_rules(&yaml);
        assert_eq!(
            world.told(),
            (Decision::Refuse, format!("autonomy: observe: would have been {would}"))
        );
    }
}

#[test]
fn looking_and_talking_go_on_under_page_and_halt() {
    let page = |tool: &str, args| World {
        alerts: vec![labels("PrimaryFailover")],
        halted: Some("ann"),
        trusted: Trusted::default(),
        firing: Firing::NoSource,
        ..World::new(tool, args)
    };
    for world in [
        page("check_system_resources", json!({"host": "web1"})),
        page("get_service_logs", json!({"service": "nginx"})),
        page("send_notification", json!({"message": "help"})),
    ] {
        assert_eq!(world.record().decision, Decision::Allow, "{}", world.call);
    }
    let unknown = World { host: None, ..page("check_system_resources", json!({"host": "web9"})) };
    assert_eq!(
        unknown.told(),
        (Decision::Refuse, "target: host \"web9\" is not in the inventory".into())
    );
    let other = page("get_service_logs", json!({"service": "nginx", "host": "web9"}));
    assert_eq!(other.record().decision, Decision::Refuse);
}

#[test]
fn a_tool_that_nobody_provides_gets_the_default_for_unknown_tools() {
    assert_eq!(
        World::new("make_coffee", json!({"host": "web1"})).record().matched[0],
        Matched {
            source: "default: unknown_tool".into(),
            tier: Tier::Forbidden,
            note: "there is no such tool here, and no rule matches".into(),
        }
    );
    let rotate = World::new("rotate_widgets", json!({"host": "web1"}));
    assert_eq!(rotate.told(), (Decision::Ask, "default: write: no rule matches".into()));
}

/// Without a spec nobody knows what an argument is, but for those of the usual names.
#[test]
fn only_host_and_service_of_an_unprovided_tool_are_traced_by_the_inventory() {
    let untraced = |args: Value| -> Vec<String> {
        let call = Call::new("reboot", args);
        let record = World { call, spec: None, ..World::restart() }.record();
        let of = record
            .matched
            .into_iter()
            .filter_map(|reason| reason.source.strip_prefix("provenance: ").map(str::to_owned));
        of.collect()
    };
    assert_eq!(untraced(json!({"host": "web1", "service": "nginx"})), Vec::<String>::new());
    assert_eq!(untraced(json!({"host": "nginx", "service": "web1"})), ["host", "service"]);
    assert_eq!(untraced(json!({"machine": "web1", "unit": "nginx"})), ["machine", "unit"]);
}

#[test]
fn the_spec_of_another_tool_counts_as_none() {
    let read = specs().into_iter().find(|spec| spec.effect == Effect::Read);
    let world = World { spec: read, ..World::new("make_coffee", json!({"host": "web1"})) };
    assert_eq!(world.record().decision, Decision::Refuse);
}

#[test]
fn each_argument_of_a_change_needs_a_trusted_origin() {
    let logs = json!({"host": "web1", "paths": ["/var/log/nginx"], "min_age_days": 7});
    assert_eq!(World::clean(logs).record().decision, Decision::Allow);

    let paths = json!({"host": "web1", "paths": ["/var/log/nginx", "/srv/x"], "min_age_days": 7});
    let (decision, told) = World::clean(paths.clone()).told();
    assert_eq!(
        (decision, told.as_str()),
        (
            Decision::Ask,
            "provenance: paths: \"/srv/x\" stands in no label, relation or runbook of this incident"
        )
    );
    let mut from_runbook = World::clean(paths);
    from_runbook.trusted = from_runbook.trusted.parameter("paths", &json!(["/srv/x"]));
    assert_eq!(from_runbook.record().decision, Decision::Allow);

    let days = json!({"host": "web1", "paths": ["/var/log/nginx"], "min_age_days": 30});
    assert_eq!(
        World::clean(days.clone()).told().1,
        "provenance: min_age_days: \"30\" stands in no label, relation or runbook of this incident"
    );
    let mut from_runbook = World::clean(days);
    from_runbook.trusted = from_runbook.trusted.parameter("min_age_days", &json!(30));
    assert_eq!(from_runbook.record().decision, Decision::Allow);
}

#[test]
fn a_condition_that_cannot_be_told_never_allows() {
    let rule = |when: &str, tier: &str| {
        format!(
            "version: 1\nautonomy: act\n\
             levels: [{{ match: [alertname=ServiceDown], autonomy: act }}]\nrules:\n\
             - {{ name: sure, tool: restart_service, tier: safe }}\n\
             - {{ name: odd, tool: restart_service, tier: {tier}, when: '{when}' }}\n"
        )
    };
    for when in ["state.active == \"failed\"", "size(service.hosts)", "service.hosts[9] == \"x\""] {
        for (tier, decision) in
            [("safe", Decision::Ask), ("confirm", Decision::Ask), ("forbidden", Decision::Refuse)]
        {
            let record = World::restart().with_rules(&rule(when, tier)).record();
            assert_eq!(record.decision, decision, "{tier} {when}");
            assert!(record.reason().contains("rule: odd: the condition cannot be told"), "{when}");
        }
    }
    let known = World { state: json!({"active": "failed"}), ..World::restart() };
    let yaml = rule("state.active == \"failed\"", "safe");
    assert_eq!(known.with_rules(&yaml).record().decision, Decision::Allow);
}

#[test]
fn a_failing_safe_rule_leaves_the_default_in_force() {
    let yaml = "version: 1\nautonomy: act\ndefaults: { write: forbidden }\n\
                levels: [{ match: [alertname=ServiceDown], autonomy: act }]\n\
                rules: [{ name: r, tool: restart_service, tier: safe, when: state.up }]\n";
    assert_eq!(World::restart().with_rules(yaml).record().decision, Decision::Refuse);
}

#[test]
fn approvals_come_from_the_rules_that_ask() {
    let yaml = "version: 1\nautonomy: act\nlevels: [{ match: [alertname=~.+], autonomy: act }]\n\
        rules:\n\
        - { name: a, tool: restart_service, tier: safe }\n\
        - { name: b, tool: restart_service, tier: confirm, approvals: { quorum: 2, roles: [sre] } }\n\
        - { name: c, tool: restart_service, tier: confirm, when: service.class == \"db\", \
            approvals: { quorum: 3, roles: [dba] } }\n";
    let record = World::restart().with_rules(yaml).record();
    assert_eq!(record.approvals, Approvals { quorum: 2, roles: vec!["sre".into()] });
    let both =
        World { service: Some(ServiceFacts { class: "db".into(), ..nginx() }), ..World::restart() };
    let (decision, told) = both.with_rules(yaml).told();
    assert_eq!(decision, Decision::Refuse);
    assert!(told.starts_with("approvals: rule 'c' takes approvers of dba"), "{told}");
}

#[test]
fn two_spellings_of_a_target_share_their_limits() {
    let limits = |service: &str, host: &str, unit: &str| {
        let args = json!({"service": service, "host": host, "reason": "x"});
        World {
            call: Call::new("restart_service", args),
            service: Some(ServiceFacts { unit: unit.into(), ..nginx() }),
            ..World::restart()
        }
        .record()
    };
    let one = limits("nginx", "web1", "nginx.service");
    let two = limits("nginx.service", "WEB1", "nginx");
    assert_eq!(two.limits, one.limits);
    assert_eq!((one.decision, two.decision), (Decision::Allow, Decision::Allow));
}

#[test]
fn a_look_at_a_target_is_a_read_of_the_same_call() {
    let world = World {
        halted: Some("ann"),
        firing: Firing::NoSource,
        trusted: Trusted::default(),
        host: Some(HostFacts { allow: vec![], ..web1() }),
        ..World::restart()
    };
    let look = world.look();
    assert_eq!((look.decision, look.call_hash), (Decision::Allow, world.call.hash()));

    let nowhere = World { host: None, ..World::restart() };
    assert_eq!(nowhere.look().decision, Decision::Refuse);
    let dropping = World::new("drop_table", json!({"service": "nginx"}));
    assert_eq!(dropping.look().decision, Decision::Refuse);
    let unknown = World { spec: None, ..World::restart() };
    assert_eq!(unknown.look().decision, Decision::Refuse);
}

#[test]
fn no_file_relaxes_the_floor() {
    let yaml = "version: 1\nautonomy: act\nlevels: [{ match: [alertname=~.+], autonomy: act }]\n\
                rules:\n- { name: a, tool: restart_service, tier: safe }\n\
                - { name: b, tool: clean_disk_space, tier: safe }\n";
    let of = |name: &str, unit: &str, class: &str| ServiceFacts {
        name: name.into(),
        unit: unit.into(),
        class: class.into(),
        ..nginx()
    };
    for (service, decision) in [
        (of("watchkeeper", "watchkeeper.service", ""), Decision::Refuse),
        (of("sshd", "sshd.service", ""), Decision::Refuse),
        (of("clock", "chronyd.service", ""), Decision::Refuse),
        (of("trail", "auditd.service", ""), Decision::Refuse),
        (of("nightly", "borgmatic.timer", ""), Decision::Refuse),
        (of("copies", "copies.service", "backup"), Decision::Refuse),
        (of("orders", "postgresql.service", "database"), Decision::Ask),
    ] {
        let args = json!({"service": service.name, "host": "web1", "reason": "x"});
        let trusted = Trusted::default().parameters(args.as_object().unwrap());
        let call = Call::new("restart_service", args);
        let world =
            World { call, trusted, service: Some(service), ..World::restart() }.with_rules(yaml);
        assert_eq!(world.record().decision, decision, "{}", world.call);
    }
    let yaml = yaml.replace("restart_service", "drop_table");
    let file = RulesFile::parse(&yaml).unwrap();
    assert!(Rules::compile(&file, &specs()).is_err());
}

#[test]
fn notes_quote_and_shorten_what_comes_from_outside() {
    assert_eq!(shown("a\n<b>\u{202e}"), "\"a\\n<b>\\u{202e}\"");
    assert_eq!(shown(&"x".repeat(90)), format!("\"{}\"…", "x".repeat(80)));
}
