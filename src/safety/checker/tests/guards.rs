//! The guards as a table: a safe restart, and what recent history makes of it.

use super::world::*;
use super::*;
use crate::model::guard::Recent;

const GUARDED: &str = "version: 1
autonomy: act
levels: [{ match: [alertname=ServiceDown], autonomy: act }]
freeze:
  - { cron: '0 12 * * *', for: 1h, writes: confirm }
  - { cron: '30 12 * * *', for: 1h, writes: forbidden, tools: [restart_service] }
  - { cron: '0 15 * * *', for: 1h, writes: forbidden, tools: [rotate_widgets] }
  - { cron: '0 16 * * *', for: 1h, writes: confirm, match: [alertname=ServiceDown] }
  - { cron: '0 17 * * *', for: 1h, writes: confirm, match: [alertname=Other] }
blast_radius: { writes_at_once: 2, per_service: 1, per_fleet: { max: 4, within: 1h } }
common_cause: { same_alert_on: 3, within: 10m, then: advise }
breaker: { failed_or_unverified: 3, everywhere: 9, within: 1h, then: confirm, for: 2h }
recurrence: { same_action_same_target: 4, within: 24h, then: confirm }
rules: [{ name: r, tool: restart_service, tier: safe }]
";
/// Before the first window of the day, which is a Tuesday.
const MINUTE_MS: i64 = 60_000;

fn world() -> World {
    World::restart().with_rules(GUARDED)
}

/// So many minutes after 10:00.
fn after(minutes: i64) -> World {
    let circumstances = Circumstances::calm(TUESDAY_MS + minutes * MINUTE_MS);
    World { circumstances, ..world() }
}

fn given(recent: Recent) -> World {
    World { circumstances: Circumstances { recent, ..Circumstances::calm(TUESDAY_MS) }, ..world() }
}

fn open(name: &str, for_ms: i64) -> World {
    let open_until_ms = [(name.to_owned(), TUESDAY_MS + for_ms)].into();
    given(Recent { open_until_ms, ..Recent::default() })
}

fn spread(count: i64) -> World {
    let targets = [("ServiceDown".to_owned(), count)].into();
    given(Recent { targets, ..Recent::default() })
}

fn crowded(name: &str, count: i64) -> World {
    let in_flight = [(name.to_owned(), count)].into();
    given(Recent { in_flight, ..Recent::default() })
}

fn sources(record: &VerdictRecord, of: &str) -> Vec<(String, Tier, String)> {
    let matched = record.matched.iter().filter(|m| m.source.starts_with(of));
    matched.map(|m| (m.source.clone(), m.tier, m.note.clone())).collect()
}

#[test]
fn a_calm_world_allows_and_says_how_near_each_guard_is() {
    let record = world().record();
    assert_eq!(record.decision, Decision::Allow);
    let told: Vec<String> = ["freeze", "blast", "common", "breaker", "recurrence"]
        .iter()
        .flat_map(|of| sources(&record, of))
        .map(|(source, tier, note)| {
            assert_eq!(tier, Tier::Safe);
            format!("{source}: {note}")
        })
        .collect();
    assert_eq!(
        told,
        [
            "freeze: 0 12 * * * UTC: next from Tue 2026-03-10 12:00 UTC",
            "freeze: 30 12 * * * UTC: next from Tue 2026-03-10 12:30 UTC",
            "freeze: 0 16 * * * UTC: next from Tue 2026-03-10 16:00 UTC",
            "blast radius: writes at once: 0 of 2 in flight",
            "blast radius: service=nginx.service: 0 of 1 in flight",
            "blast radius: fleet: 0 of 4 in 1h",
            "common cause: \"ServiceDown\": fires on 0 targets in 10m; 3 have one cause",
            "breaker: restart_service|class=web: closed",
            "breaker: everywhere: closed",
            "recurrence: restart_service|host=web1|service=nginx.service: 0 of 4 in 24h",
        ]
    );
    let key = "recurrence: restart_service|host=web1|service=nginx.service";
    assert_eq!(
        record.limits,
        [
            Limit { key: "blast radius: fleet".into(), max: 4, within_ms: 3_600_000 },
            Limit { key: key.into(), max: 4, within_ms: 86_400_000 },
        ]
    );
}

#[test]
fn each_guard_alone_makes_a_safe_restart_ask_refuse_or_wait() {
    use Decision::{Allow, Ask, Refuse};
    let hour = 60;
    let cases: Vec<(World, Decision, &str)> = vec![
        (after(2 * hour - 1), Allow, ""),
        (
            after(2 * hour),
            Ask,
            "freeze: 0 12 * * * UTC: until Tue 2026-03-10 13:00 UTC: 1h from Tue 2026-03-10 12:00",
        ),
        // Two windows at once: the stricter counts.
        (after(2 * hour + 30), Refuse, "freeze: 30 12 * * * UTC: until Tue 2026-03-10 13:30 UTC"),
        (after(3 * hour + 29), Refuse, "freeze: 30 12 * * * UTC"),
        (after(3 * hour + 30), Allow, ""),
        (after(5 * hour), Allow, ""),
        (after(6 * hour), Ask, "freeze: 0 16 * * * UTC"),
        (after(7 * hour), Allow, ""),
        // Without an alert nobody knows that it is about something else.
        (World { alerts: vec![], ..after(7 * hour) }, Ask, "freeze: 0 17 * * * UTC"),
        (World { count: 3, ..world() }, Allow, ""),
        (
            World { count: 4, ..world() },
            Ask,
            "blast radius: fleet: 4 of 4 in 1h; recurrence: \
             restart_service|host=web1|service=nginx.service: 4 of 4 in 24h",
        ),
        (World { count: i64::MAX, ..world() }, Ask, "an unknown number of 4 in 24h"),
        (spread(2), Allow, ""),
        (
            spread(3),
            Ask,
            "common cause: \"ServiceDown\": fires on 3 targets in 10m; advise: every write needs a \
             person",
        ),
        (
            open("breaker: restart_service|class=web", 1),
            Ask,
            "breaker: restart_service|class=web: open until 2026-03-10T10:00:00Z: 3 changes failed \
             or were not measured to help in 1h",
        ),
        (
            open("breaker: everywhere", 7_200_000),
            Ask,
            "breaker: everywhere: open until 2026-03-10T12:00:00Z: 9 changes failed",
        ),
        (open("breaker: everywhere", 0), Allow, ""),
        (open("breaker: restart_service|class=db", 9_000), Allow, ""),
        // Nobody is asked about what only has to wait.
        (crowded("blast radius: writes at once", 2), Allow, ""),
        (crowded("blast radius: service=nginx.service", 1), Allow, ""),
    ];
    for (world, decision, reason) in cases {
        let (decided, told) = world.told();
        let says = decided == Decision::Allow || told.contains(reason);
        assert!(decided == decision && says, "{reason}\n{decided:?} {told}");
    }
}

#[test]
fn what_a_guard_makes_of_a_change_is_what_the_file_says() {
    for (from, to, world) in [
        ("then: confirm, for: 2h", "then: forbidden, for: 2h", open("breaker: everywhere", 9)),
        ("24h, then: confirm", "24h, then: forbidden", World { count: 4, ..world() }),
        ("then: advise", "then: page", spread(3)),
        ("then: advise", "then: observe", spread(3)),
    ] {
        assert_eq!(world.record().decision, Decision::Ask);
        let stricter = world.with_rules(&GUARDED.replace(from, to));
        assert_eq!(stricter.record().decision, Decision::Refuse, "{to}");
    }
}

#[test]
fn a_common_cause_caps_the_autonomy_of_the_incident() {
    assert_eq!(spread(2).record().autonomy, Autonomy::Act);
    assert_eq!(spread(40).record().autonomy, Autonomy::Advise);
    let page = spread(40).with_rules(&GUARDED.replace("then: advise", "then: page"));
    assert_eq!(page.record().autonomy, Autonomy::Page);
    // It never gives more than the level does.
    let observed =
        spread(40).with_rules(&GUARDED.replace("autonomy: act\nl", "autonomy: observe\nl"));
    assert_eq!(observed.record().autonomy, Autonomy::Observe);
}

#[test]
fn guards_are_about_changes_alone() {
    let recent = Recent {
        in_flight: [("blast radius: writes at once".to_owned(), 9)].into(),
        open_until_ms: [("breaker: everywhere".to_owned(), i64::MAX)].into(),
        targets: [("ServiceDown".to_owned(), 40)].into(),
    };
    let circumstances =
        Circumstances { recent, ..Circumstances::calm(TUESDAY_MS + 150 * MINUTE_MS) };
    let look = World {
        circumstances: circumstances.clone(),
        ..World::new("check_system_resources", json!({"host": "web1"})).with_rules(GUARDED)
    };
    assert_eq!(look.record().decision, Decision::Allow);
    let restart = World { circumstances, ..world() };
    assert_eq!(restart.look().decision, Decision::Allow);
    assert_eq!(restart.record().decision, Decision::Refuse);
    let watch = restart.ask(|checker, request| checker.watch("s", request));
    assert_eq!((watch.slots.len(), watch.breakers.len(), watch.common.is_some()), (2, 2, true));
    let watch = look.ask(|checker, request| checker.watch("s", request));
    assert_eq!(watch, crate::model::guard::Watch::default());
}

#[test]
fn limits_of_guards_count_what_a_person_approves_as_well() {
    let asks = GUARDED.replace("tier: safe", "tier: confirm");
    let record = world().with_rules(&asks).record();
    assert_eq!((record.decision, record.limits.len()), (Decision::Ask, 2));
}
