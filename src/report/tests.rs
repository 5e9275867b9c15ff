use super::*;
use crate::config::Language;
use crate::model::action::{Proposal, Wanted};
use crate::model::alert::{Alert, Status};
use crate::model::case::Case;
use crate::model::conclusion::Conclusion;
use crate::model::entity::Missing;
use crate::model::ids::MessageId;
use crate::model::message::Urgency;
use crate::model::timeline::{Entry, Outcome, Stored, Success, TurnCall, chain_hash};
use crate::model::tool::Effect;
use crate::model::verdict::{Approvals, Autonomy, Decision, Limit, Matched, Tier};
use serde_json::{Value, json};
use uuid::Uuid;

/// 2026-11-20 03:00:00 UTC.
const OPENED_MS: i64 = 1_795_143_600_000;

/// A timeline in the making: entries at seconds after the opening.
#[derive(Default)]
struct Tale(Vec<Stored>);

impl Tale {
    fn at(&mut self, second: i64, entry: Entry) -> &mut Self {
        let seq = i64::try_from(self.0.len()).unwrap() + 1;
        let at_ms = OPENED_MS + second * 1_000;
        let previous = self.0.last().map(|last| last.hash.clone()).unwrap_or_default();
        let body = serde_json::to_string(&entry).unwrap();
        let hash = chain_hash(&previous, "incident/x", seq, at_ms, &body);
        self.0.push(Stored { seq, at_ms, entry, hash });
        self
    }

    fn opened(title: &str, severity: Severity) -> Self {
        let mut tale = Self::default();
        tale.at(
            0,
            Entry::Opened {
                title: title.into(),
                severity,
                correlation_key: "alertmanager|alertname=ServiceDown".into(),
                group_key: None,
                continues: None,
            },
        );
        tale
    }

    fn report(&self, located: Option<&Located>) -> Report {
        let case = Case::fold(IncidentId(Uuid::from_u128(1)), "default", &self.0);
        build(&case, &self.0, located, OPENED_MS + 3_600_000)
    }
}

fn alert(name: &str, summary: &str) -> Alert {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    Alert {
        source: "alertmanager".into(),
        fingerprint: format!("fp-{name}"),
        status: Status::Firing,
        labels: [pair("alertname", name), pair("instance", "web1:9100")].into(),
        annotations: [pair("summary", summary)].into(),
        starts_at_ms: OPENED_MS - 60_000,
        ends_at_ms: None,
        generator_url: String::new(),
    }
}

fn turn(turn: i64, mind: &str, said: &str, calls: Vec<TurnCall>, usage: Usage) -> Entry {
    let (mind, said) = (mind.into(), said.into());
    Entry::TurnTaken { turn, mind, said, raw: None, calls, usage, duration_ms: 900 }
}

fn called(id: &str, tool: &str, args: Value, effect: Effect) -> TurnCall {
    TurnCall { id: id.into(), call: Call::new(tool, args), effect }
}

fn answered(call_id: &str, outcome: Success, text: &str) -> Entry {
    Entry::Answered {
        call_id: call_id.into(),
        outcome,
        text: text.into(),
        data: Value::Null,
        output: None,
        duration_ms: 40,
    }
}

fn verdict(tier: Tier, matched: &[(&str, Tier, &str)], call: &Call) -> VerdictRecord {
    VerdictRecord {
        tier,
        decision: Decision::from(tier),
        autonomy: Autonomy::Act,
        matched: matched
            .iter()
            .map(|(source, tier, note)| Matched {
                source: (*source).into(),
                tier: *tier,
                note: (*note).into(),
            })
            .collect(),
        limits: Vec::new(),
        approvals: Approvals::default(),
        rules_version: "r1".into(),
        call_hash: call.hash(),
        would: None,
        risk: None,
        origins: Vec::new(),
    }
}

fn proposal(number: u128, call_id: &str, call: &Call, reason: &str) -> Proposal {
    Proposal {
        action_id: ActionId(Uuid::from_u128(number)),
        call_id: call_id.into(),
        call: call.clone(),
        reason: reason.into(),
        description: "Restart one service".into(),
        risk: Risk::Medium,
        rollback: Some("start the old version".into()),
        wants_person: Wanted::Rules,
    }
}

fn outcome(number: u128, outcome: Outcome, text: &str) -> Entry {
    Entry::OutcomeRecorded {
        action_id: ActionId(Uuid::from_u128(number)),
        outcome,
        text: text.into(),
        output: None,
        duration_ms: 1_200,
    }
}

fn located() -> Located {
    Located {
        hosts: vec!["web1".into()],
        services: vec!["nginx".into(), "checkout".into()],
        missing: vec![Missing {
            label: "instance".into(),
            value: "web9:9100".into(),
            line: "- { name: web9 }".into(),
        }],
    }
}

/// Read, a safe restart that did not help, an approved one that did, resolved by measurement.
fn rich() -> Tale {
    let mut tale = Tale::opened("ServiceDown: nginx on web1", Severity::Critical);
    let safe = Call::new(
        "restart_service",
        json!({"service": "nginx", "host": "web1", "reason": "exit code 1"}),
    );
    let asked = Call::new(
        "restart_service",
        json!({"service": "checkout", "host": "web1", "reason": "nginx waits for it"}),
    );
    let first = alert("ServiceDown", "nginx is down on web1");
    let key = first.key();
    let usage = Usage { input_tokens: 1_000, output_tokens: 50, cost_micros: 1_500 };
    let mut limited = verdict(
        Tier::Safe,
        &[
            ("level: act", Tier::Safe, "the alert is level 1"),
            ("rule: restart one service", Tier::Safe, "quick and repeatable"),
        ],
        &safe,
    );
    limited.limits =
        vec![Limit { key: "restart_service|web1|nginx".into(), max: 3, within_ms: 3_600_000 }];
    let ask = verdict(
        Tier::Confirm,
        &[
            ("rule: restart one service", Tier::Safe, "quick and repeatable"),
            ("protected", Tier::Confirm, "checkout is protected"),
        ],
        &asked,
    );
    let (one, two) = (ActionId(Uuid::from_u128(0xa1)), ActionId(Uuid::from_u128(0xa2)));
    tale.at(0, Entry::AlertFired { alert: first, severity: Severity::Critical })
        .at(1, Entry::Started { mind: "model".into(), why: String::new() });
    let logs = called("c1", "get_service_logs", json!({"service": "nginx"}), Effect::Read);
    let read = verdict(Tier::Safe, &[("default: read", Tier::Safe, "it only looks")], &logs.call);
    tale.at(3, turn(1, "local/qwen3", "Look at the logs.", vec![logs], usage))
        .at(3, Entry::Judged { call_id: "c1".into(), verdict: read })
        .at(4, answered("c1", Success::Ok, "nginx on web1:\nupstream checkout refused"));
    let restart = TurnCall { id: "c2".into(), call: safe.clone(), effect: Effect::Write };
    tale.at(6, turn(2, "local/qwen3", "", vec![restart], usage))
        .at(6, Entry::Proposed { proposal: proposal(0xa1, "c2", &safe, "exit code 1") })
        .at(6, Entry::ActionJudged { action_id: one, verdict: limited, basis: None })
        .at(7, Entry::IntentWritten { action_id: one, start_before_ms: OPENED_MS + 37_000 })
        .at(8, outcome(0xa1, Outcome::Unknown, "the connection broke"))
        .at(
            8,
            Entry::VerificationStarted {
                action_id: Some(one),
                by: "up{job=\"nginx\"}".into(),
                until_ms: OPENED_MS + 308_000,
            },
        )
        .at(128, Entry::Measured { finding: Finding::NotFixed, text: "up is 0".into() })
        .at(129, answered("c2", Success::Failed, "not fixed"));
    let restart = TurnCall { id: "c3".into(), call: asked.clone(), effect: Effect::Write };
    tale.at(131, turn(3, "runbook", "", vec![restart], Usage::default()))
        .at(131, Entry::Proposed { proposal: proposal(0xa2, "c3", &asked, "nginx waits for it") })
        .at(131, Entry::ActionJudged { action_id: two, verdict: ask, basis: Some(json!({"x": 1})) })
        .at(131, Entry::ApprovalOpened { action_id: two, expires_at_ms: OPENED_MS + 3_731_000 })
        .at(
            131,
            Entry::MessageQueued {
                message_id: MessageId(Uuid::from_u128(9)),
                transition: "needs_you:a2".into(),
                title: "May I restart checkout?".into(),
                urgency: Urgency::Page,
            },
        )
        .at(
            191,
            Entry::Decided {
                action_id: two,
                answer: Answer::Approve,
                by: "ana".into(),
                comment: Some("go ahead".into()),
                decided_at_ms: OPENED_MS + 190_000,
            },
        )
        .at(192, Entry::IntentWritten { action_id: two, start_before_ms: OPENED_MS + 222_000 })
        .at(194, outcome(0xa2, Outcome::Done, "restarted checkout, active"))
        .at(
            195,
            Entry::Concluded {
                conclusion: Conclusion {
                    root_cause: "checkout had hung; nginx gave up".into(),
                    confidence: Confidence::High,
                    evidence: vec![6, 999],
                    done: "Restarted checkout.".into(),
                    remaining: "Find out why it hangs.".into(),
                },
            },
        )
        .at(260, Entry::AlertResolved { key, ends_at_ms: OPENED_MS + 255_000 })
        .at(315, Entry::Measured { finding: Finding::Fixed, text: "up is 1".into() })
        .at(315, Entry::Resolved { by: "the query returned 1".into() });
    tale
}

#[test]
fn a_rich_case_is_told_whole() {
    let report = rich().report(Some(&located()));
    let json: Value =
        serde_json::from_str(include_str!("../../tests/data/report/rich.json")).unwrap();
    assert_eq!(serde_json::to_value(&report).unwrap(), json);
    let english = include_str!("../../tests/data/report/rich.en.md");
    assert_eq!(markdown(&report, Language::En), english);
    let chinese = include_str!("../../tests/data/report/rich.zh.md");
    assert_eq!(markdown(&report, Language::Zh), chinese);
}

#[test]
fn a_report_of_nothing_says_that_there_is_nothing() {
    let report = Tale::default().report(None);
    assert_eq!(
        markdown(&report, Language::En),
        include_str!("../../tests/data/report/empty.en.md")
    );
}

#[test]
fn without_evidence_the_cause_is_a_hypothesis() {
    let mut tale = Tale::opened("HighLatency", Severity::Warning);
    tale.at(
        5,
        Entry::Concluded {
            conclusion: Conclusion {
                root_cause: "the moon".into(),
                confidence: Confidence::Low,
                // No such entry: a mind may name what is not there.
                evidence: vec![77],
                done: String::new(),
                remaining: String::new(),
            },
        },
    );
    let found = tale.report(None).finding.unwrap();
    assert_eq!((found.standing, found.evidence), (Standing::Hypothesis, Vec::new()));
    let text = markdown(&tale.report(None), Language::En);
    assert!(text.contains("- Standing: hypothesis: nothing on the timeline supports it\n"));
    assert!(markdown(&tale.report(None), Language::Zh).contains("- 依据：假设："));
}

#[test]
fn an_escalated_incident_says_what_was_not_done() {
    let mut tale = Tale::opened("DBCorruption: pg on db1", Severity::Critical);
    let call = Call::new("restart_service", json!({"service": "pg", "host": "db1"}));
    let asked = verdict(Tier::Confirm, &[("floor: database", Tier::Confirm, "ask")], &call);
    for (number, id) in [(1_u128, "c1"), (2, "c2"), (3, "c3")] {
        let action_id = ActionId(Uuid::from_u128(number));
        tale.at(1, Entry::Proposed { proposal: proposal(number, id, &call, "checksum errors") })
            .at(1, Entry::ActionJudged { action_id, verdict: asked.clone(), basis: None })
            .at(1, Entry::ApprovalOpened { action_id, expires_at_ms: OPENED_MS + 600_000 });
    }
    let id = |number| ActionId(Uuid::from_u128(number));
    tale.at(2, Entry::Superseded { action_id: id(1), why: "the rules changed".into() })
        .at(
            9,
            Entry::Decided {
                action_id: id(2),
                answer: Answer::Reject,
                by: "bo".into(),
                comment: None,
                decided_at_ms: OPENED_MS + 9_000,
            },
        )
        .at(600, Entry::Expired { action_id: id(3) })
        .at(601, Entry::Escalated { why: "nobody answered in time".into() });
    let text = markdown(&tale.report(None), Language::En);
    let outcomes: Vec<&str> =
        text.lines().filter(|line| line.starts_with("- Outcome") || line.contains("**")).collect();
    assert_eq!(
        outcomes,
        [
            "**Handed to a person**, 2026-11-20 03:10:01Z: nobody answered in time",
            "- Outcome: not run: superseded, the reason for it went away: the rules changed",
            "- Outcome: not run: a person rejected it",
            "- Outcome: not run: expired, nobody answered",
        ]
    );
    assert!(text.contains("| to acknowledge | 9s (bo) | 9000 |\n"), "{text}");
    assert!(text.contains("No conclusion was reached."));
}

#[test]
fn hostile_text_stays_text_wherever_it_comes_from() {
    const EVIL: &str =
        "</td><img src=x onerror=a()>\n# H1\n|x|[l](https://e.example)`c`\u{202e}@all";
    let mut tale = Tale::opened(EVIL, Severity::Warning);
    let call = Call::new(EVIL, json!({ EVIL: EVIL }));
    let id = ActionId(Uuid::from_u128(1));
    let mut hostile = alert(EVIL, EVIL);
    hostile.labels.insert(EVIL.into(), EVIL.into());
    let verdict = verdict(Tier::Forbidden, &[(EVIL, Tier::Forbidden, EVIL)], &call);
    let said = Conclusion {
        root_cause: EVIL.into(),
        confidence: Confidence::Low,
        evidence: vec![1],
        done: EVIL.into(),
        remaining: EVIL.into(),
    };
    tale.at(1, Entry::AlertFired { alert: hostile, severity: Severity::Warning })
        .at(1, Entry::Acknowledged { by: EVIL.into() })
        .at(1, turn(1, EVIL, EVIL, vec![], Usage::default()))
        .at(1, Entry::Proposed { proposal: proposal(1, "c", &call, EVIL) })
        .at(1, Entry::ActionJudged { action_id: id, verdict, basis: None })
        .at(2, outcome(1, Outcome::Failed, EVIL))
        .at(2, Entry::Measured { finding: Finding::Unverified, text: EVIL.into() })
        .at(2, Entry::Concluded { conclusion: said })
        .at(2, Entry::Unknown(json!({ "kind": EVIL, "x": EVIL })))
        .at(3, Entry::Escalated { why: EVIL.into() });
    let missing = Missing { label: EVIL.into(), value: EVIL.into(), line: EVIL.into() };
    let located = Located { hosts: vec![EVIL.into()], services: vec![], missing: vec![missing] };
    for language in [Language::En, Language::Zh] {
        let text = markdown(&tale.report(Some(&located)), language);
        let prose = without_code(&text).replace(r"\](", "");
        for active in ["<", "](", "://", "\u{202e}", "\n# H1", "`", "\\\n"] {
            assert!(!prose.contains(active), "{active:?} in {prose}");
        }
        let rows = text.lines().filter(|line| line.starts_with('|'));
        for row in rows {
            let cells = row.matches('|').count() - 1;
            assert!([3, 4, 5].contains(&cells), "{row}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("# ")).count(), 1, "{text}");
    }
}

/// The text without its code spans, in which nothing is read; an escaped backtick begins none.
fn without_code(text: &str) -> String {
    let text = text.replace(r"\`", "");
    text.lines().map(|line| line.split('`').step_by(2).collect::<String>() + "\n").collect()
}

#[test]
fn every_kind_of_entry_has_its_words_in_both_languages() {
    for stored in &rich().0 {
        assert!(words::kind(Language::En, stored.entry.kind()).is_some(), "{:?}", stored.entry);
    }
    let plain = |c: char| c.is_ascii_lowercase() || c == ' ';
    let kinds = include_str!("../model/timeline.rs").lines().filter_map(|line| {
        let (_, word) = line.trim().strip_prefix("Self::")?.split_once("=> \"")?;
        word.strip_suffix("\",")
    });
    let kinds: Vec<&str> = kinds.collect();
    assert_eq!(kinds.len(), 32);
    for kind in kinds {
        assert!(words::kind(Language::En, kind).unwrap().chars().all(plain), "{kind}");
        assert!(!words::kind(Language::Zh, kind).unwrap().is_ascii(), "{kind}");
    }
}

#[test]
fn an_incident_that_came_back_counts_from_its_first_opening() {
    let mut tale = Tale::opened("ServiceDown", Severity::Warning);
    let mut again = alert("ServiceDown", "down again");
    again.starts_at_ms = OPENED_MS + 50_000;
    tale.at(1, Entry::AlertFired { alert: alert("ServiceDown", "down"), severity: Severity::Info })
        .at(2, Entry::Measured { finding: Finding::Fixed, text: "up".into() })
        .at(2, Entry::Resolved { by: "a query".into() })
        .at(60, Entry::AlertFired { alert: again, severity: Severity::Info })
        .at(90, Entry::Measured { finding: Finding::Fixed, text: "up again".into() })
        .at(90, Entry::Resolved { by: "a query".into() });
    let report = tale.report(None);
    let evidence: Vec<i64> =
        report.ending.unwrap().evidence.iter().map(|reference| reference.seq).collect();
    assert_eq!(evidence, [6]);
    assert_eq!((report.rounds, report.times.resolve.unwrap().ms), (2, 90_000));
    assert_eq!(report.times.acknowledge, None);
}

#[test]
fn the_report_of_a_storm_can_be_opened_and_says_what_it_leaves_out() {
    let mut tale = rich();
    for n in 0..3_000 {
        let mut alert = alert("Storm", "many");
        alert.fingerprint = format!("storm-{n}");
        let entry = Entry::AlertFired { alert, severity: Severity::Warning };
        tale.at(400, entry);
    }
    let report = tale.report(None);
    assert_eq!((report.alerts.len(), report.timeline.len()), (200, 2_000));
    assert_eq!(report.alerts.len() + report.alerts_left_out, 3_001);
    assert_eq!(report.timeline.len() + report.timeline_left_out, report.chain.entries);
    let last = report.timeline.last().map(|line| line.seq);
    assert_eq!(last, i64::try_from(report.chain.entries).ok(), "the end is told");
    let text = markdown(&report, Language::En);
    assert!(text.contains("2801 more are left out here."), "alerts");
}
