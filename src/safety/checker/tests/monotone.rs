//! What can only make a verdict stricter, and what never gives a permit.

use super::properties::{autonomy, file, judge, rule, world};
use super::*;
use crate::model::action::{Proposal, Risk};
use crate::model::ids::ActionId;
use crate::safety::permit::{CapturePermit, Consent, Denied, Permit};
use crate::safety::rules::{LevelFile, RuleFile};
use proptest::prelude::*;

/// One fact of a request for the worse.
#[derive(Clone, Copy, Debug)]
enum Worse {
    Halted,
    NotFiring,
    NoSource,
    Counted,
    Uncounted,
    Untrusted,
    Ungranted,
    ProtectedHost,
    ProtectedService,
    UnknownHost,
    UnknownService,
    Person,
}

const WORSE: [Worse; 12] = [
    Worse::Halted,
    Worse::NotFiring,
    Worse::NoSource,
    Worse::Counted,
    Worse::Uncounted,
    Worse::Untrusted,
    Worse::Ungranted,
    Worse::ProtectedHost,
    Worse::ProtectedService,
    Worse::UnknownHost,
    Worse::UnknownService,
    Worse::Person,
];

fn worse(mut world: World, fact: Worse) -> World {
    match fact {
        Worse::Halted => world.halted = Some("ann"),
        Worse::NotFiring => world.firing = Firing::NotFiring,
        Worse::NoSource => world.firing = Firing::NoSource,
        Worse::Counted => world.count += 1,
        Worse::Uncounted => world.count = i64::MAX,
        Worse::Untrusted => world.trusted = Trusted::default(),
        Worse::Ungranted => {
            world.host.as_mut().unwrap().allow.clear();
            world.service.as_mut().unwrap().allow.clear();
        }
        Worse::ProtectedHost => world.host.as_mut().unwrap().protected = true,
        Worse::ProtectedService => world.service.as_mut().unwrap().protected = true,
        Worse::UnknownHost => world.host = None,
        Worse::UnknownService => world.service = None,
        Worse::Person => world.wanted = Wanted::Person,
    }
    world
}

/// Arguments that are not what the tool takes.
fn wrong_args() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!({"host": "web1", "service": "nginx", "zz": 1}),
        json!({"host": "web1", "service": "nginx", "approved_by": "ada"}),
        json!({"host": "web1", "service": "nginx", "": null}),
        json!({"host": "web1"}),
        json!({"service": "nginx"}),
        json!({}),
        json!({"host": ["web1"], "service": "nginx"}),
        json!({"host": "web1", "service": {"name": "nginx"}}),
        json!({"host": "web1", "service": null}),
        json!({"host": 1, "service": true}),
        json!({"Host": "web1", "service": "nginx"}),
        json!({"host": "web1", "service": "nginx", "force": true}),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_fact_for_the_worse_never_loosens(
        world in world(),
        rules in proptest::collection::vec(rule(), 0..5),
        cap in autonomy(),
        level in proptest::option::weighted(0.9, autonomy()),
    ) {
        // Conditions may speak for protected targets too, as only a person who writes the file can
        // say; these rules do not.
        let plain: Vec<RuleFile> =
            rules.into_iter().map(|rule| RuleFile { when: None, ..rule }).collect();
        let file = file(cap, level, &plain);
        let before = judge(world.clone(), &file);
        for fact in WORSE {
            let after = judge(worse(world.clone(), fact), &file);
            prop_assert!(after.tier >= before.tier, "{fact:?}\n{before:#?}\n{after:#?}");
        }
    }

    #[test]
    fn one_more_level_that_matches_never_loosens(
        world in world(),
        rules in proptest::collection::vec(rule(), 0..4),
        cap in autonomy(),
        levels in proptest::collection::vec(autonomy(), 1..4),
        more in autonomy(),
        lower in autonomy(),
    ) {
        let level = |autonomy| LevelFile { matchers: vec!["alertname=ServiceDown".into()], autonomy };
        let mut few = file(cap, None, &rules);
        few.levels = levels.into_iter().map(level).collect();
        let mut many = few.clone();
        many.levels.push(level(more));
        let mut capped = few.clone();
        capped.autonomy = cap.min(lower);
        let before = judge(world.clone(), &few);
        for file in [many, capped] {
            let after = judge(world.clone(), &file);
            prop_assert!(after.tier >= before.tier && after.autonomy <= before.autonomy);
        }
        // One more alert of the incident is no more than one more level.
        let mut stormy = world.clone();
        stormy.alerts.push(labels("SomethingElse"));
        let after = judge(stormy, &few);
        prop_assert!(after.tier >= before.tier && after.autonomy <= before.autonomy);
    }

    #[test]
    fn a_wrong_argument_or_an_unknown_tool_never_allows(
        world in world(),
        rules in proptest::collection::vec(rule(), 0..5),
        args in wrong_args(),
    ) {
        let file = file(Autonomy::Act, Some(Autonomy::Act), &rules);
        let call = Call::new("scale_widgets", args);
        let wrong = judge(World { call, ..world.clone() }, &file);
        prop_assert_eq!(wrong.tier, Tier::Forbidden);
        let unknown = judge(World { spec: None, ..world.clone() }, &file);
        prop_assert_ne!(unknown.decision, Decision::Allow);
        // The spec of another tool says nothing about this call.
        let call = Call { tool: "scale_gadgets".into(), ..world.call.clone() };
        prop_assert_ne!(judge(World { call, ..world }, &file).decision, Decision::Allow);
    }

    #[test]
    fn a_condition_that_cannot_be_told_never_allows(
        world in world(),
        rules in proptest::collection::vec(rule(), 0..5),
        broken in rule(),
        when in proptest::sample::select(vec![
            "args.nothing == 1", "1 / (size(service.name) - size(service.name)) > 0",
            "service.hosts[99] == host.name", "size(service.hosts)", "host.name",
        ]),
    ) {
        let broken = RuleFile { when: Some(when.to_owned()), ..broken };
        let all = [&rules[..], std::slice::from_ref(&broken)].concat();
        let record = judge(world, &file(Autonomy::Act, Some(Autonomy::Act), &all));
        prop_assert_ne!(record.decision, Decision::Allow);
        prop_assert!(broken.tier == Tier::Safe || record.tier >= broken.tier);
    }

    #[test]
    fn without_consent_only_what_is_allowed_gives_a_permit(
        world in world(),
        rules in proptest::collection::vec(rule(), 0..5),
        cap in autonomy(),
    ) {
        let rules = Rules::compile(&file(cap, Some(Autonomy::Act), &rules), &[]).unwrap();
        let world = World { checker: Checker::new(Arc::new(rules), Own::default()), ..world };
        world.ask(|checker, request| {
            let verdict = checker.judge(request);
            let minted = |consent| Permit::mint(request.call.clone(), &verdict, consent).err();
            let denied = |allowed: bool| (!allowed).then_some(Denied::NotAllowed);
            let decision = verdict.decision();
            assert_eq!(minted(Consent::None), denied(decision == Decision::Allow));
            assert_eq!(minted(Consent::Approved), denied(decision != Decision::Refuse));
            assert!(CapturePermit::mint(request.call.clone(), &verdict).is_err() == (decision != Decision::Allow));
            // Nobody's consent carries over to a call that differs in one word.
            let mut args = request.call.args.clone();
            args.insert("host".into(), json!("web2"));
            for other in [
                Call { args, ..request.call.clone() },
                Call { tool: "scale_widget".into(), ..request.call.clone() },
            ] {
                let minted = Permit::mint(other, &verdict, Consent::Approved);
                assert_eq!(minted.err(), Some(Denied::OtherCall));
            }
        });
    }

    #[test]
    fn a_mind_can_raise_a_risk_and_not_lower_it(
        world in world(),
        rules in proptest::collection::vec(rule(), 0..5),
        risks in proptest::sample::subsequence(vec![Risk::Low, Risk::Medium, Risk::High], 2),
    ) {
        let call = world.call.clone();
        let record = judge(world, &file(Autonomy::Act, Some(Autonomy::Act), &rules));
        let told = |risk| Proposal {
            action_id: ActionId::new(),
            call_id: "t1_0".into(),
            call: call.clone(),
            reason: "risk low".into(),
            description: "harmless".into(),
            risk,
            rollback: None,
            wants_person: Wanted::Rules,
        }
        .risk_under(&record);
        prop_assert!(told(risks[0]) <= told(risks[1]) && told(risks[1]) >= risks[1]);
        prop_assert!(record.tier == Tier::Safe || told(Risk::Low) >= Risk::Medium);
    }
}
