use super::testing::Bench;
use super::*;
use crate::model::tool::Effect;
use serde_json::json;

#[test]
fn the_tools_have_these_names_effects_and_arguments() {
    let bench = Bench::new("");
    let shown: Vec<(String, Effect, String)> = bench
        .tools
        .specs()
        .iter()
        .map(|spec| {
            let arg = |arg: &crate::model::tool::Arg| match (&arg.default, arg.required) {
                (Some(default), _) => format!("{}={default}", arg.name),
                (None, true) => arg.name.clone(),
                (None, false) => format!("{}?", arg.name),
            };
            let args: Vec<String> = spec.args.iter().map(arg).collect();
            (spec.name.clone(), spec.effect, args.join(", "))
        })
        .collect();
    let tool = |name: &str, effect, args: &str| (name.to_owned(), effect, args.to_owned());
    assert_eq!(
        shown,
        [
            tool("check_dependencies", Effect::Read, "service"),
            tool(
                "check_system_resources",
                Effect::Read,
                r#"host, check_types=["cpu","memory","disk","network","processes"]"#
            ),
            tool("clean_disk_space", Effect::Write, "host, paths, min_age_days=7"),
            tool("get_metrics", Effect::Read, r#"query, duration="30m""#),
            tool("get_service_logs", Effect::Read, r#"service, host?, lines=100, level="error""#),
            tool("read_output", Effect::Talk, "ref, offset?, grep?"),
            tool(
                "request_human_confirmation",
                Effect::Talk,
                "tool, args, action_description, reason, risk_level, rollback_plan?"
            ),
            tool("restart_service", Effect::Write, "service, host?, reason"),
            tool("run_diagnosis_command", Effect::Read, "host, command, timeout=30"),
            tool("send_notification", Effect::Talk, "channel, severity, message, details?"),
        ]
    );
}

#[test]
fn an_unknown_tool_is_answered_with_the_known_ones() {
    let answer = Bench::new("").complete("drop_tables", json!({})).unwrap_err();
    assert!(
        answer.starts_with("there is no tool 'drop_tables'; the tools are [\"check_"),
        "{answer}"
    );
}

#[test]
fn only_a_change_can_have_an_unknown_outcome() {
    let lost = || Error::from(targets::Error::Unknown("the connection broke".into()));
    assert!(matches!(lost(), Error::OutcomeUnknown(why) if why == "the connection broke"));
    assert!(matches!(told(lost()), Error::Tell(why) if why == "the connection broke"));
    for plain in [targets::Error::Missing("x".into()), targets::Error::Failed("x".into())] {
        assert!(matches!(Error::from(plain), Error::Tell(_)));
    }
}
