//! What a verdict says of a change beside its tier: risk and who has to agree, what would have been
//! decided, the sources that show the need.

use super::*;

fn database() -> World {
    let service = ServiceFacts { class: "database".into(), ..nginx() };
    World { service: Some(service), ..World::restart() }
}

#[test]
fn a_mind_raises_the_risk_and_never_lowers_it() {
    let protected = ServiceFacts { protected: true, ..nginx() };
    for (world, expected) in [
        (World::restart(), Risk::Low),
        (World { risk: Risk::High, ..World::restart() }, Risk::High),
        (World { wanted: Wanted::Person, ..World::restart() }, Risk::Medium),
        (World { service: Some(protected), ..World::restart() }, Risk::High),
        (database(), Risk::High),
        (World { risk: Risk::Medium, ..database() }, Risk::High),
    ] {
        assert_eq!(world.record().risk, Some(expected), "{:?}", world.told());
    }
}

#[test]
fn high_risk_takes_two_people_whatever_the_rule_says() {
    let one = "version: 1\nautonomy: act\nrules:\n  - { name: r, tool: restart_service, tier: \
               confirm, approvals: { quorum: 1, roles: [sre] } }\n";
    let quorum = |world: World| world.record().approvals.quorum;
    let explicit = format!("approvals: {{ high_risk_quorum: 1 }}\n{one}");
    let three = one.replace("quorum: 1", "quorum: 3");
    assert_eq!(quorum(database().with_rules(one)), 2);
    assert_eq!(quorum(database().with_rules(&explicit)), 1);
    assert_eq!(quorum(database().with_rules(&three)), 3);
    let medium = World::restart().with_rules(one);
    assert_eq!((medium.record().risk, quorum(medium)), (Some(Risk::Medium), 1));
    let raised = World { risk: Risk::High, ..World::restart() }.with_rules(one);
    assert_eq!(quorum(raised), 2);
}

#[test]
fn what_would_have_been_decided_stands_in_verdicts_that_only_look() {
    let observing = |world: World| {
        let rules = SHIPPED.replace("\nautonomy: act\n", "\nautonomy: observe\n");
        world.with_rules(&rules).record()
    };
    let paged = || World { alerts: vec![labels("PrimaryFailover")], ..World::restart() };
    let told = |record: VerdictRecord| (record.decision, record.would);
    use Decision::{Allow, Ask, Refuse};
    assert_eq!(told(World::restart().record()), (Allow, None));
    assert_eq!(told(observing(World::restart())), (Refuse, Some(Allow)));
    assert_eq!(told(observing(database())), (Refuse, Some(Ask)));
    let advised = World { alerts: vec![labels("HighLatency")], ..World::restart() };
    assert_eq!(told(observing(advised)), (Refuse, Some(Ask)));
    assert_eq!(told(paged().record()), (Refuse, Some(Allow)));
    assert_eq!(told(observing(paged())), (Refuse, Some(Allow)));
}

#[test]
fn a_rule_may_want_more_sources_than_the_one_that_fires() {
    let rules =
        SHIPPED.replacen("    tier: safe\n", "    tier: safe\n    independent_sources: 2\n", 1);
    let looked = |source: &str, service: Option<&str>| {
        let seen = Seen {
            source: source.into(),
            host: Some("web1".into()),
            service: service.map(str::to_owned),
        };
        World { seen: vec![seen], ..World::restart() }.with_rules(&rules)
    };
    for (world, expected) in [
        (looked("logs", Some("nginx")), Decision::Allow),
        (looked("host", None), Decision::Allow),
        (looked("logs", Some("mail")), Decision::Ask),
        (looked("prometheus", Some("nginx")), Decision::Ask),
        (World { seen: vec![], ..looked("logs", None) }, Decision::Ask),
        (World { firing: Firing::NotFiring, ..looked("logs", Some("nginx")) }, Decision::Ask),
    ] {
        let (decision, reason) = world.told();
        assert_eq!(decision, expected, "{reason}");
    }
    let (_, reason) = looked("prometheus", None).told();
    assert_eq!(reason, "evidence: restart one service: 1 of 2 independent sources: prometheus");
}
