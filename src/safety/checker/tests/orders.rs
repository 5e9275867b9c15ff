//! What people's orders do to a verdict.

use super::*;
use crate::model::ids::HoldId;
use crate::model::orders::{Hold, Orders, Quarantined};

const UNTIL_MS: i64 = 1_773_136_800_000;
/// A minute before, when the shipped rules freeze nothing.
const NOW_MS: i64 = UNTIL_MS - 60_000;

fn held(matchers: &[&str]) -> World {
    let hold = Hold {
        id: HoldId::new(),
        matchers: matchers.iter().map(|text| (*text).to_owned()).collect(),
        reason: "restore runs".into(),
        by: "kim".into(),
        at_ms: 0,
        until_ms: UNTIL_MS,
    };
    let orders = Orders { version: 1, holds: vec![hold], quarantined: Vec::new() };
    World {
        circumstances: Circumstances { orders, ..Circumstances::calm(NOW_MS) },
        ..World::restart()
    }
}

#[test]
fn a_hold_refuses_with_who_until_when_and_why() {
    let (decision, reason) = held(&[r#"host="web1""#]).told();
    assert_eq!(decision, Decision::Refuse);
    assert_eq!(
        reason,
        "hold: kim holds host=\"web1\" until 2026-03-10T10:00:00Z: \"restore runs\""
    );
}

#[test]
fn every_matcher_of_a_hold_has_to_match_the_target_or_a_label() {
    for (matchers, expected) in [
        (&[r#"host=~"web.*""#][..], Decision::Refuse),
        (&[r#"service="nginx""#], Decision::Refuse),
        (&[r#"class="web""#, "service=nginx"], Decision::Refuse),
        (&[r#"class="web""#, "service=other"], Decision::Allow),
        (&[r#"class="database""#], Decision::Allow),
        (&["alertname=ServiceDown"], Decision::Refuse),
        (&["region=eu"], Decision::Allow),
        (&[r#"region="""#], Decision::Refuse),
        (&["owner!=shop"], Decision::Refuse),
        (&["host!=web1"], Decision::Allow),
        // A hold that cannot be read holds everything.
        (&["("], Decision::Refuse),
    ] {
        assert_eq!(held(matchers).told().0, expected, "{matchers:?}");
    }
}

#[test]
fn a_hold_means_host_and_service_in_any_spelling() {
    for (matcher, expected) in [
        ("host=WEB1", Decision::Refuse),
        (r#"host="Web1""#, Decision::Refuse),
        (r#"service="nginx.service""#, Decision::Refuse),
        ("service=NGINX", Decision::Refuse),
        (r#"service=~"nginx\.service""#, Decision::Refuse),
        (r#"service=~"\S+""#, Decision::Refuse),
        ("service=nginx.timer", Decision::Allow),
        // Everything but this one, however it is spelled.
        ("host!=WEB1", Decision::Allow),
        ("service!=nginx.service", Decision::Allow),
        ("service!=nginx", Decision::Allow),
        (r#"service!~"nginx""#, Decision::Allow),
        ("service!=other", Decision::Refuse),
        // Only names have spellings.
        ("class=WEB", Decision::Allow),
    ] {
        assert_eq!(held(&[matcher]).told().0, expected, "{matcher}");
    }
    let mut world = held(&["host=web1", "service=nginx"]);
    world.host = Some(HostFacts { name: "Web1".into(), ..web1() });
    let of = |unit: &str| ServiceFacts { name: "Proxy".into(), unit: unit.into(), ..nginx() };
    world.service = Some(of("nginx.service"));
    assert_eq!(world.told().0, Decision::Refuse, "the unit names the service, too");
    world.service = Some(of("proxy.service"));
    assert!(!world.told().1.starts_with("hold"));
    let mut world = held(&["host=DB1"]);
    world.alerts[0].insert("host".to_owned(), "db1".to_owned());
    assert_eq!(world.told().0, Decision::Refuse);
}

#[test]
fn region_and_owner_are_those_of_host_and_service() {
    for (matcher, expected) in [
        ("region=eu", Decision::Refuse),
        ("region=us", Decision::Refuse),
        ("region=asia", Decision::Allow),
        ("owner=infra", Decision::Refuse),
        ("owner=shop", Decision::Refuse),
        ("owner=nobody", Decision::Allow),
    ] {
        let mut world = held(&[matcher]);
        world.host = Some(HostFacts { region: "eu".into(), owner: "infra".into(), ..web1() });
        world.service = Some(ServiceFacts { region: "us".into(), owner: "shop".into(), ..nginx() });
        assert_eq!(world.told().0, expected, "{matcher}");
    }
}

#[test]
fn a_label_from_outside_adds_a_hold_and_takes_none_away() {
    let forged = |matchers: &[&str], label: &str, value: &str| {
        let mut world = held(matchers);
        world.alerts[0].insert(label.to_owned(), value.to_owned());
        world.told().0
    };
    assert_eq!(forged(&[r#"host="web1""#], "host", "elsewhere"), Decision::Refuse);
    assert_eq!(forged(&[r#"class="web""#], "class", "job"), Decision::Refuse);
    assert_eq!(forged(&[r#"host="db1""#], "host", "db1"), Decision::Refuse);
    assert_eq!(forged(&["host!=web1"], "host", "db1"), Decision::Refuse);
    // What the inventory does not know counts as missing, whatever an alert says.
    assert_eq!(forged(&["env!=prod"], "env", "prod"), Decision::Refuse);
    assert_eq!(forged(&["env=prod"], "env", "prod"), Decision::Refuse);
    assert_eq!(forged(&["env=prod"], "env", "dev"), Decision::Allow);
}

#[test]
fn a_hold_ends_by_itself_and_no_look_is_held() {
    let mut world = held(&["service=nginx"]);
    assert!(matches!(world.look().decision, Decision::Allow));
    world.circumstances.now_ms = UNTIL_MS - 1;
    assert_eq!(world.told().0, Decision::Refuse);
    world.circumstances.now_ms = UNTIL_MS;
    assert_eq!(world.told().0, Decision::Allow);
}

#[test]
fn a_rule_in_quarantine_asks() {
    let order = |rule: &str| Quarantined {
        rule: rule.into(),
        reason: "twice wrong".into(),
        by: "kim".into(),
        at_ms: 0,
    };
    let mut world = World::restart();
    world.circumstances.orders.quarantined = vec![order("some other rule")];
    assert_eq!(world.told().0, Decision::Allow);
    world.circumstances.orders.quarantined.push(order("restart one service"));
    let (decision, reason) = world.told();
    assert_eq!(decision, Decision::Ask);
    assert_eq!(reason, "quarantine: restart one service: kim wants to be asked: \"twice wrong\"");
    // What was stricter stays stricter.
    world.halted = Some("ann");
    assert_eq!(world.told().0, Decision::Refuse);
}
