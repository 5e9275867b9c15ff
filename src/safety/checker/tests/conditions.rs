//! What a condition can read, and what a look at a target makes of it.

use super::world::*;
use super::*;

/// The decision about a restart when this condition makes it safe.
fn when(world: World, condition: &str) -> Decision {
    let rule = format!("{{ name: a, tool: restart_service, tier: safe, when: '{condition}' }}");
    world.with_rules(&file(&rule)).record().decision
}

fn file(rule: &str) -> String {
    let levels = "levels: [{ match: [alertname=~.+], autonomy: act }]";
    format!("version: 1\nautonomy: act\n{levels}\nrules:\n- {rule}\n")
}

#[test]
fn every_field_holds_what_the_inventory_says() {
    let world = World {
        host: Some(HostFacts {
            class: "edge".into(),
            region: "eu".into(),
            owner: "infra".into(),
            ..web1()
        }),
        service: Some(ServiceFacts {
            region: "us".into(),
            owner: "shop".into(),
            depends_on: vec!["cache".into()],
            ..nginx()
        }),
        ..World::restart()
    };
    for holds in [
        r#"host.name == "web1""#,
        r#"host.class == "edge""#,
        r#"host.region == "eu""#,
        r#"host.owner == "infra""#,
        "host.protected == false",
        r#"service.name == "nginx""#,
        r#"service.unit == "nginx.service""#,
        r#"service.hosts == ["web1"]"#,
        r#"service.class == "web""#,
        r#"service.region == "us""#,
        r#"service.owner == "shop""#,
        "service.protected == false",
        r#"service.depends_on == ["cache"]"#,
        r#"args.service == "nginx""#,
    ] {
        assert_eq!(when(world.clone(), holds), Decision::Allow, "{holds}");
        let fails = holds.replace(" == ", " != ");
        assert_eq!(when(world.clone(), &fails), Decision::Ask, "{fails}");
    }
}

#[test]
fn a_state_can_be_read_field_by_field() {
    let world = World { state: json!({"active": "failed"}), ..World::restart() };
    let holds = r#"state.active == "failed""#;
    assert_eq!(when(world.clone(), holds), Decision::Allow);
    assert_eq!(when(world, r#"state.active == "active""#), Decision::Ask);
    assert_eq!(when(World::restart(), holds), Decision::Ask, "nobody looked");
}

/// What is refused whatever is seen is not looked at; what hangs on the state has to be.
#[test]
fn a_look_is_refused_where_no_state_could_allow_the_change() {
    for (condition, expected) in [
        ("", Decision::Refuse),
        (r#", when: 'service.class == "web"'"#, Decision::Refuse),
        (r#", when: 'service.class == "database"'"#, Decision::Allow),
        (r#", when: 'state.active == "active"'"#, Decision::Allow),
        (r#", when: 'state.active == "active" || service.class == "web"'"#, Decision::Allow),
    ] {
        let rule = format!("{{ name: a, tool: restart_service, tier: forbidden{condition} }}");
        let look = World::restart().with_rules(&file(&rule)).look();
        assert_eq!(look.decision, expected, "{condition}");
    }
}

#[test]
fn a_verdict_says_what_its_record_says() {
    World::restart().ask(|checker, request| {
        let verdict = checker.judge(request);
        let record = verdict.record();
        assert_eq!(verdict.limits(), record.limits);
        assert_eq!(verdict.limits().len(), 2);
        assert_eq!(verdict.call_hash(), request.call.hash());
        assert_eq!((verdict.tier(), verdict.decision()), (record.tier, record.decision));
    });
}

/// Rules may be compiled before a tool is known, by the likely effect of its name. What it is found
/// to do counts.
#[test]
fn a_refused_name_is_refused_by_what_its_tool_does() {
    let yaml = file("{ name: a, tool: check_and_drop_table, tier: safe }");
    let rules = Arc::new(Rules::compile(&RulesFile::parse(&yaml).unwrap(), &[]).unwrap());
    for (effect, expected) in [(Effect::Write, Decision::Refuse), (Effect::Read, Decision::Allow)] {
        let args = vec![Arg::required("service", ArgKind::Service, "")];
        let name = "check_and_drop_table".to_owned();
        let spec = ToolSpec { name: name.clone(), about: String::new(), effect, args };
        let mut allows = nginx();
        allows.allow.push(name.clone());
        let world = World {
            checker: Checker::new(Arc::clone(&rules), Own::default()),
            spec: Some(spec),
            service: Some(allows),
            ..World::new(&name, json!({"service": "nginx"}))
        };
        assert_eq!(world.record().decision, expected, "{effect:?}");
    }
}
