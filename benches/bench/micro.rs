//! Work that is done in memory: a verdict with the shipped rules, redaction.

use super::Plan;
use super::alerts::{Bodies, Theme};
use super::table::{Line, Table, median};
use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;
use watchkeeper::app;
use watchkeeper::clock::Clock;
use watchkeeper::config::Settings;
use watchkeeper::model::action::{Risk, Wanted};
use watchkeeper::model::alert::Labels;
use watchkeeper::model::call::Call;
use watchkeeper::model::entity::{HostFacts, Located, ServiceFacts};
use watchkeeper::model::tool::ToolSpec;
use watchkeeper::redact::Redactor;
use watchkeeper::safety::checker::{Checker, Firing, Halt, Request};
use watchkeeper::safety::circumstances::Circumstances;
use watchkeeper::safety::floor::Own;
use watchkeeper::safety::provenance::Trusted;
use watchkeeper::safety::rules::{Rules, RulesFile};
use watchkeeper::targets::Targets;
use watchkeeper::targets::inventory::Catalogue;
use watchkeeper::tools::{self, Deps};

/// 2026-03-10 10:00 UTC, in no freeze of the shipped rules.
const TUESDAY_MS: i64 = 1_773_136_800_000;
const VERDICTS: usize = 20_000;
const REDACTED_BYTES: usize = 64 << 20;

pub fn all(plan: Plan, table: &mut Table) -> Result<()> {
    verdicts(plan, table)?;
    rules(plan, table)?;
    redaction(plan, table);
    Ok(())
}

fn verdicts(plan: Plan, table: &mut Table) -> Result<()> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let settings = Settings {
        inventory_file: config.join("inventory.yaml"),
        safety_rules_file: config.join("safety_rules.yaml"),
        runbooks_file: config.join("runbooks.yaml"),
        ..Settings::default()
    };
    let policy = app::load_policy(&settings, &Clock::system())?;
    let empty = std::sync::Arc::new(Catalogue::default());
    let register = tools::all(&Deps {
        targets: std::sync::Arc::new(Targets::new(&*empty)),
        inventory: empty,
        prometheus: None,
        clock: Clock::system(),
    });
    let checker = Checker::new(policy.rules, Own::default());
    let restart = json!({ "service": "nginx", "host": "web1", "reason": "502s" });
    let logs = json!({ "service": "nginx", "host": "web1", "lines": 100, "level": "error" });
    for (tool, args) in [("restart_service", restart), ("get_service_logs", logs)] {
        let spec = register.get(tool).map(|tool| tool.spec());
        let rounds =
            (0..plan.rounds).map(|_| verdict_ns(&checker, &Call::new(tool, args.clone()), spec));
        let ns = median(&rounds.collect::<Vec<f64>>());
        table.line(&Line {
            what: &format!("a verdict on {tool} with the shipped rules, ns"),
            ours: format!("{ns:.0}"),
            aim: "< 20000",
            ..Line::default()
        });
    }
    Ok(())
}

/// What a start and a reload pay for the rules: reading the YAML, compiling the conditions, judging
/// every example.
fn rules(plan: Plan, table: &mut Table) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/safety_rules.yaml");
    let text = std::fs::read_to_string(&file)?;
    let specs = app::specs(&Clock::system());
    let once = || -> Result<f64> {
        let began = Instant::now();
        let parsed = RulesFile::parse(black_box(&text)).map_err(|why| anyhow!(why))?;
        let compiled = Rules::compile(&parsed, &specs);
        let compiled = compiled.map_err(|complaints| anyhow!("{complaints:?}"))?;
        black_box(compiled.version());
        Ok(began.elapsed().as_secs_f64() * 1e3)
    };
    let rounds = (0..plan.rounds * 5).map(|_| once()).collect::<Result<Vec<f64>>>()?;
    table.line(&Line {
        what: "the shipped rules: parsed, compiled, examples judged, ms",
        ours: format!("{:.1}", median(&rounds)),
        aim: "< 50",
        ..Line::default()
    });
    Ok(())
}

fn verdict_ns(checker: &Checker, call: &Call, spec: Option<&ToolSpec>) -> f64 {
    let allow = vec!["restart_service".to_owned()];
    let host = HostFacts {
        name: "web1".into(),
        class: "web".into(),
        allow: allow.to_vec(),
        ..HostFacts::default()
    };
    let service = ServiceFacts {
        name: "nginx".into(),
        unit: "nginx.service".into(),
        hosts: vec!["web1".into()],
        class: "web".into(),
        allow: allow.into_iter().collect(),
        ..ServiceFacts::default()
    };
    let located =
        Located { hosts: vec!["web1".into()], services: vec!["nginx".into()], missing: Vec::new() };
    let labels: Labels = [
        ("alertname".to_owned(), "ServiceDown".to_owned()),
        ("service".to_owned(), "nginx".to_owned()),
    ]
    .into();
    let trusted = Trusted::of_incident(&located).relate([&service]);
    let request = Request {
        call,
        spec,
        host: Some(&host),
        service: Some(&service),
        state: &Value::Null,
        labels: &[&labels],
        trusted: &trusted,
        counts: &|_| 0,
        halt: Halt::Running,
        wanted: Wanted::Rules,
        risk: Risk::Low,
        seen: &[],
        firing: Firing::Confirmed,
        circumstances: &Circumstances::calm(TUESDAY_MS),
    };
    let began = Instant::now();
    for _ in 0..VERDICTS {
        black_box(checker.judge(black_box(&request)));
    }
    began.elapsed().as_nanos() as f64 / VERDICTS as f64
}

fn redaction(plan: Plan, table: &mut Table) {
    let redactor = Redactor::new(["a-secret-of-our-own".into(), "another-one-of-ours".into()]);
    let mut request = Vec::new();
    Bodies::new("/", 100, Theme::Problems).write(7, &mut request);
    let body = String::from_utf8(request).unwrap();
    let body = &body[body.find('{').unwrap()..];
    let lines = "2026-03-10T09:59:00Z INFO api: GET /orders/4711 200 12ms from 10.2.3.4 user=42\n\
                 2026-03-10T09:59:01Z ERROR api: upstream timed out, retrying in 250 ms (attempt 2)\n";
    let log = lines.repeat(400);
    let json = |text: &str| redactor.json_text(text).len();
    let text = |text: &str| redactor.text(text).len();
    let speeds = [
        ("redaction of a webhook of 100 alerts, MB/s", speed(plan, body, json)),
        ("redaction of a log, MB/s", speed(plan, &log, text)),
    ];
    for (what, speed) in speeds {
        table.line(&Line { what, ours: format!("{speed:.0}"), ..Line::default() });
    }
}

fn speed(plan: Plan, text: &str, redact: impl Fn(&str) -> usize) -> f64 {
    let times = REDACTED_BYTES / plan.rounds / text.len();
    let rounds = (0..plan.rounds).map(|_| {
        let began = Instant::now();
        for _ in 0..times {
            black_box(redact(black_box(text)));
        }
        (times * text.len()) as f64 / 1e6 / began.elapsed().as_secs_f64()
    });
    median(&rounds.collect::<Vec<f64>>())
}
