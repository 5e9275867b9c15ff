//! What holds for all rules and all requests.

use super::*;
use crate::safety::rules::{ApprovalsFile, LevelFile, LimitFile, RuleFile};
use proptest::prelude::*;

const CONDITIONS: &[&str] = &[
    "service.class == \"web\"",
    "service.class == \"database\"",
    "host.protected == false && service.protected == false",
    "state.active == \"failed\"",
    "args.host == \"web1\"",
    "args.nothing == 1",
    "size(service.hosts)",
    "service.hosts[3] == \"web1\"",
    "service.hosts.exists(h, h == host.name)",
    "1 / (size(service.name) - 5) > 0",
];

fn tier() -> impl Strategy<Value = Tier> {
    prop_oneof![Just(Tier::Safe), Just(Tier::Confirm), Just(Tier::Forbidden)]
}

pub(super) fn autonomy() -> impl Strategy<Value = Autonomy> {
    prop_oneof![
        1 => Just(Autonomy::Observe),
        1 => Just(Autonomy::Page),
        1 => Just(Autonomy::Advise),
        4 => Just(Autonomy::Act),
    ]
}

pub(super) fn rule() -> impl Strategy<Value = RuleFile> {
    let when = proptest::option::of(proptest::sample::select(CONDITIONS));
    let numbers = (0i64..4, 1u32..3, 1u32..4);
    (tier(), when, numbers).prop_map(|(tier, when, (max, quorum, sources))| RuleFile {
        name: String::new(),
        tool: "scale_widgets".into(),
        when: when.map(str::to_owned),
        tier,
        limit: if tier == Tier::Safe && max > 0 {
            vec![LimitFile { max, per: vec!["host".into()], within: "1h".into() }]
        } else {
            vec![]
        },
        independent_sources: (tier == Tier::Safe && sources > 1).then_some(sources),
        approvals: (tier == Tier::Confirm).then(|| Approvals { quorum, roles: vec![] }),
        examples: vec![],
        reason: None,
    })
}

pub(super) fn file(cap: Autonomy, level: Option<Autonomy>, rules: &[RuleFile]) -> RulesFile {
    let rules = rules.iter().enumerate();
    RulesFile {
        version: 1,
        autonomy: cap,
        levels: level
            .map(|autonomy| LevelFile { matchers: vec!["alertname=ServiceDown".into()], autonomy })
            .into_iter()
            .collect(),
        defaults: Default::default(),
        approvals: ApprovalsFile::default(),
        freeze: Vec::new(),
        blast_radius: None,
        common_cause: None,
        breaker: None,
        recurrence: None,
        rules: rules.map(|(at, r)| RuleFile { name: format!("r{at}"), ..r.clone() }).collect(),
        example_targets: Default::default(),
    }
}

/// A world with chance for every fact, over a tool whose arguments no spec constrains.
pub(super) fn world() -> impl Strategy<Value = World> {
    let facts = (
        proptest::sample::select(&["web", "database", "backup"][..]),
        proptest::sample::select(&["nginx", "sshd", "store"][..]),
        any::<(bool, bool, bool, bool)>(),
        0i64..5,
        prop_oneof![
            3 => Just(Firing::Confirmed),
            1 => Just(Firing::NotFiring),
            1 => Just(Firing::NoSource)
        ],
        prop_oneof![Just(Value::Null), Just(json!({"active": "failed"})), Just(json!([1]))],
    );
    facts.prop_map(|(class, name, (granted, protected, halted, traced), count, firing, state)| {
        let args = json!({"host": "web1", "service": name});
        let trusted = Trusted::default().parameters(args.as_object().unwrap());
        let allow = if granted { vec!["scale_widgets".to_owned()] } else { vec![] };
        World {
            spec: Some(ToolSpec {
                name: "scale_widgets".into(),
                about: String::new(),
                effect: Effect::Write,
                args: vec![
                    Arg::required("host", ArgKind::Host, ""),
                    Arg::required("service", ArgKind::Service, ""),
                ],
            }),
            host: Some(HostFacts { allow, ..web1() }),
            service: Some(ServiceFacts {
                name: name.into(),
                unit: format!("{name}.service"),
                class: class.into(),
                protected,
                ..nginx()
            }),
            trusted: if traced { trusted } else { Trusted::default() },
            halted: halted.then_some("ann"),
            count,
            firing,
            state,
            ..World::new("scale_widgets", args)
        }
    })
}

/// Judges under rules that were compiled before the tool was known, so that conditions over
/// arguments that it lacks stay in.
pub(super) fn judge(world: World, file: &RulesFile) -> VerdictRecord {
    let rules = Rules::compile(file, &[]).unwrap();
    World { checker: Checker::new(Arc::new(rules), Own::default()), ..world }.record()
}

fn decided_by_a_rule(record: &VerdictRecord) -> bool {
    !record.matched.iter().any(|reason| reason.source.starts_with("default:"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_more_rule_never_loosens(
        world in world(),
        rules in proptest::collection::vec(rule(), 0..5),
        more in rule(),
        cap in autonomy(),
        level in proptest::option::weighted(0.9, autonomy()),
    ) {
        let few = file(cap, level, &rules);
        let many = file(cap, level, &[&rules[..], std::slice::from_ref(&more)].concat());
        let before = judge(world.clone(), &few);
        let after = judge(world, &many);
        // The default stands only where no rule matches: the first rule that does replaces it.
        let floor = if decided_by_a_rule(&before) {
            before.tier
        } else {
            let others = before.matched.iter().filter(|m| !m.source.starts_with("default:"));
            others.map(|reason| reason.tier).max().unwrap_or(Tier::Safe)
        };
        prop_assert!(after.tier >= floor, "{before:#?}\n{after:#?}");
        let matched = after.matched.iter().any(|m| m.source == format!("rule: r{}", rules.len()));
        prop_assert!(!matched || after.tier >= more.tier);
    }

    #[test]
    fn a_verdict_is_the_strictest_of_its_reasons_and_repeats(
        world in world(),
        rules in proptest::collection::vec(rule(), 0..5),
        cap in autonomy(),
        level in proptest::option::weighted(0.9, autonomy()),
    ) {
        let file = file(cap, level, &rules);
        let record = judge(world.clone(), &file);
        prop_assert!(!record.matched.is_empty());
        prop_assert_eq!(Some(record.tier), record.matched.iter().map(|m| m.tier).max());
        prop_assert_eq!(record.decision, Decision::from(record.tier));
        prop_assert!(!record.reason().is_empty());
        prop_assert_eq!(&judge(world, &file), &record);
    }

    #[test]
    fn what_is_allowed_had_nothing_against_it(
        world in world(),
        rules in proptest::collection::vec(rule(), 0..5),
        cap in autonomy(),
        level in proptest::option::weighted(0.9, autonomy()),
    ) {
        let record = judge(world.clone(), &file(cap, level, &rules));
        if record.decision == Decision::Allow {
            prop_assert!(rules.iter().any(|rule| rule.tier == Tier::Safe));
            prop_assert!(!record.matched.iter().any(|m| m.note.contains("cannot be told")));
            prop_assert_eq!((cap, level), (Autonomy::Act, Some(Autonomy::Act)));
            prop_assert_eq!((world.halted, world.firing), (None, Firing::Confirmed));
            prop_assert!(record.limits.iter().all(|limit| world.count < limit.max));
            let service = world.service.unwrap();
            prop_assert!(!service.protected && service.class == "web" && service.name != "sshd");
            prop_assert!(!world.host.unwrap().allow.is_empty());
            prop_assert!(world.trusted != Trusted::default());
        }
    }
}
