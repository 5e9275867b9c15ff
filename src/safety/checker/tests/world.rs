//! What the tables of verdicts vary: one request with everything that it depends on.

use super::*;
use crate::model::entity::Located;
use crate::safety::rules::RulesFile;

pub const SHIPPED: &str = include_str!("../../../../config/safety_rules.yaml");

/// 2026-03-10 10:00 UTC, in no freeze of the shipped rules.
pub const TUESDAY_MS: i64 = 1_773_136_800_000;

pub fn specs() -> Vec<ToolSpec> {
    let spec = |name: &str, effect, args| ToolSpec {
        name: name.into(),
        about: String::new(),
        effect,
        args,
    };
    let days = ArgKind::Integer { min: 1, max: 3650 };
    vec![
        spec(
            "restart_service",
            Effect::Write,
            vec![
                Arg::required("service", ArgKind::Service, ""),
                Arg::required("host", ArgKind::Host, ""),
                Arg::required("reason", ArgKind::Prose { chars_max: 500 }, ""),
            ],
        ),
        spec(
            "clean_disk_space",
            Effect::Write,
            vec![
                Arg::required("host", ArgKind::Host, ""),
                Arg::required("paths", ArgKind::Paths { items_max: 20 }, ""),
                Arg::with_default("min_age_days", days, json!(7), ""),
            ],
        ),
        spec(
            "check_system_resources",
            Effect::Read,
            vec![Arg::required("host", ArgKind::Host, "")],
        ),
        spec(
            "get_service_logs",
            Effect::Read,
            vec![
                Arg::required("service", ArgKind::Service, ""),
                Arg::optional("host", ArgKind::Host, ""),
            ],
        ),
        spec(
            "send_notification",
            Effect::Talk,
            vec![Arg::required("message", ArgKind::Prose { chars_max: 500 }, "")],
        ),
        spec("rotate_widgets", Effect::Write, vec![Arg::required("host", ArgKind::Host, "")]),
        spec("drop_table", Effect::Write, vec![Arg::required("service", ArgKind::Service, "")]),
    ]
}

pub fn checker_of(yaml: &str) -> Checker {
    let file = RulesFile::parse(yaml).unwrap();
    let rules = Rules::compile(&file, &specs()).unwrap();
    Checker::new(Arc::new(rules), Own::default())
}

/// One incident about nginx on web1 in which nothing stands against a safe change.
#[derive(Clone, Debug)]
pub struct World {
    pub checker: Checker,
    pub call: Call,
    pub spec: Option<ToolSpec>,
    pub host: Option<HostFacts>,
    pub service: Option<ServiceFacts>,
    pub state: Value,
    pub alerts: Vec<Labels>,
    pub trusted: Trusted,
    pub count: i64,
    pub halted: Option<&'static str>,
    pub wanted: Wanted,
    pub risk: Risk,
    pub seen: Vec<Seen>,
    pub firing: Firing,
    pub circumstances: Circumstances,
}

pub fn labels(name: &str) -> Labels {
    [("alertname".to_owned(), name.to_owned())].into()
}

pub fn web1() -> HostFacts {
    let allow = ["restart_service", "clean_disk_space", "rotate_widgets", "scale_service"];
    HostFacts {
        name: "web1".into(),
        class: "web".into(),
        allow: allow.iter().map(|tool| (*tool).to_owned()).collect(),
        clean_roots: vec!["/var/log/nginx".into()],
        ..HostFacts::default()
    }
}

pub fn nginx() -> ServiceFacts {
    ServiceFacts {
        name: "nginx".into(),
        unit: "nginx.service".into(),
        hosts: vec!["web1".into()],
        class: "web".into(),
        ..ServiceFacts::default()
    }
}

impl World {
    pub fn new(tool: &str, args: Value) -> Self {
        let located = Located {
            hosts: vec!["web1".into()],
            services: vec!["nginx".into()],
            missing: Vec::new(),
        };
        Self {
            checker: checker_of(SHIPPED),
            call: Call::new(tool, args),
            spec: specs().into_iter().find(|spec| spec.name == tool),
            host: Some(web1()),
            service: Some(nginx()),
            state: Value::Null,
            alerts: vec![labels("ServiceDown")],
            trusted: Trusted::of_incident(&located),
            count: 0,
            halted: None,
            wanted: Wanted::Rules,
            risk: Risk::Low,
            seen: Vec::new(),
            firing: Firing::Confirmed,
            circumstances: Circumstances::calm(TUESDAY_MS),
        }
    }

    pub fn restart() -> Self {
        Self::new("restart_service", json!({"service": "nginx", "host": "web1", "reason": "502"}))
    }

    pub fn clean(args: Value) -> Self {
        Self { service: None, ..Self::new("clean_disk_space", args) }
    }

    pub fn with_rules(self, yaml: &str) -> Self {
        Self { checker: checker_of(yaml), ..self }
    }

    pub fn ask<T>(&self, question: impl Fn(&Checker, &Request<'_>) -> T) -> T {
        let labels: Vec<&Labels> = self.alerts.iter().collect();
        question(
            &self.checker,
            &Request {
                call: &self.call,
                spec: self.spec.as_ref(),
                host: self.host.as_ref(),
                service: self.service.as_ref(),
                state: &self.state,
                labels: &labels,
                trusted: &self.trusted,
                counts: &|_| self.count,
                halt: self.halted.map_or(Halt::Running, |by| Halt::Halted { by, reason: "" }),
                wanted: self.wanted,
                risk: self.risk,
                seen: &self.seen,
                firing: self.firing,
                circumstances: &self.circumstances,
            },
        )
    }

    pub fn record(&self) -> VerdictRecord {
        self.ask(|checker, request| checker.judge(request).record().clone())
    }

    pub fn look(&self) -> VerdictRecord {
        self.ask(|checker, request| checker.judge_look(request).record().clone())
    }

    /// Tier and strictest reasons, as people read them.
    pub fn told(&self) -> (Decision, String) {
        let record = self.record();
        (record.decision, record.reason())
    }
}
