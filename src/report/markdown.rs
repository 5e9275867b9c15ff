//! Shows a report as Markdown.
//!
//! Every text that is not a constant of ours passes `inert` or `code` on its way out.

use super::escape::{code, inert};
use super::lines::{shown, utc};
use super::words::{self, pick};
use super::{ActionStory, AlertStory, Cost, EndingStory, Reference, Report, RootCause, Span};
use crate::config::Language;
use crate::model::case::Ending;
use crate::model::time::format_span_ms;
use crate::model::verdict::VerdictRecord;

/// The report for people.
pub fn markdown(report: &Report, language: Language) -> String {
    let mut page = Page { out: String::new(), language };
    page.head(report);
    page.ending(report.ending.as_ref());
    page.finding(report.finding.as_ref());
    page.actions(&report.actions);
    page.alerts(&report.alerts);
    page.times(report);
    page.cost(&report.cost);
    page.timeline(report);
    page.foot(report);
    page.out
}

struct Page {
    out: String,
    language: Language,
}

impl Page {
    fn head(&mut self, report: &Report) {
        let title = if report.title.trim().is_empty() {
            self.say("untitled incident", "无标题事件").to_owned()
        } else {
            inert(&report.title)
        };
        self.out.push_str(&format!("# {title}\n\n"));
        let how = report.ending.as_ref().map(|ending| ending.how);
        self.item("Ended", "结果", words::ending(self.language, how));
        self.item("Severity", "严重程度", words::severity(self.language, report.severity));
        self.item("Incident", "事件编号", &code(&report.incident_id.to_string()));
        self.item("Opened", "创建时间", &utc(report.opened_at_ms));
        if report.rounds > 1 {
            self.item("Rounds", "轮次", &report.rounds.to_string());
        }
        let Some(targets) = &report.targets else { return };
        self.item("Hosts", "主机", &names(&targets.hosts));
        self.item("Services", "服务", &names(&targets.services));
        for missing in &targets.missing {
            let named = format!("{}={}", missing.label, missing.value);
            let advice = self.say("; add to the inventory: ", "；请加入资产清单：");
            let told = format!("{}{advice}{}", inert(&named), code(&missing.line));
            self.item("Not in the inventory", "资产清单中没有", &told);
        }
    }

    fn ending(&mut self, ending: Option<&EndingStory>) {
        self.heading("Outcome", "结果");
        let how = words::ending(self.language, ending.map(|ending| ending.how));
        let Some(ending) = ending else {
            self.out.push_str(&format!("{how}\n"));
            return;
        };
        let why = inert(&ending.why);
        self.out.push_str(&format!("**{how}**, {}: {why}\n\n", utc(ending.at_ms)));
        self.evidence(&ending.evidence);
    }

    fn finding(&mut self, finding: Option<&RootCause>) {
        self.heading("Root cause", "根本原因");
        let Some(found) = finding else {
            let none = self.say("No conclusion was reached.", "没有得出结论。");
            self.out.push_str(&format!("{none}\n"));
            return;
        };
        self.out.push_str(&format!("{}\n\n", or_dash(&inert(&found.text))));
        let confidence = words::confidence(self.language, found.confidence);
        self.item("Confidence", "置信度", confidence);
        self.item("Standing", "依据", words::standing(self.language, found.standing));
        self.out.push('\n');
        self.evidence(&found.evidence);
        self.heading("What was done", "已做的处理");
        self.out.push_str(&format!("{}\n", or_dash(&inert(&found.done))));
        self.heading("What remains", "遗留事项");
        self.out.push_str(&format!("{}\n", or_dash(&inert(&found.remaining))));
    }

    fn evidence(&mut self, evidence: &[Reference]) {
        if evidence.is_empty() {
            let none = self.say("Evidence: none.", "证据：无。");
            self.out.push_str(&format!("{none}\n"));
            return;
        }
        let label = self.say("Evidence:", "证据：");
        self.out.push_str(&format!("{label}\n\n"));
        for reference in evidence {
            let kind = self.kind(&reference.kind);
            let excerpt = inert(&reference.excerpt);
            self.out.push_str(&format!("- #{} {kind}: {excerpt}\n", reference.seq));
        }
    }

    fn actions(&mut self, actions: &[ActionStory]) {
        self.heading("Actions", "操作");
        if actions.is_empty() {
            let none = self.say("Nothing was proposed or changed.", "没有提议或执行任何操作。");
            self.out.push_str(&format!("{none}\n"));
        }
        for (number, action) in (1..).zip(actions) {
            let gap = if number == 1 { "" } else { "\n" };
            self.out.push_str(&format!("{gap}### A{number} {}\n\n", code(&shown(&action.call))));
            self.action(action);
        }
    }

    fn action(&mut self, action: &ActionStory) {
        let language = self.language;
        self.item_unless_empty("Why", "原因", &inert(&action.reason));
        self.item_unless_empty("What", "内容", &inert(&action.description));
        self.item("Risk", "风险", words::risk(language, action.risk));
        if let Some(rollback) = &action.rollback {
            self.item_unless_empty("Way back", "回滚方案", &inert(rollback));
        }
        match &action.verdict {
            Some(verdict) => self.verdict(verdict),
            None => self.item("Verdict", "裁定", self.say("none", "无")),
        }
        if let Some(expires_at_ms) = action.expires_at_ms {
            self.item("Answer until", "答复期限", &utc(expires_at_ms));
        }
        for decided in &action.decisions {
            let comment = decided.comment.as_deref().map(inert).unwrap_or_default();
            let told = format!(
                "{} {}, {}",
                words::answer(language, decided.answer),
                inert(&decided.by),
                utc(decided.at_ms)
            );
            self.item("Decision", "人工决定", &joined(&told, &comment));
        }
        let outcome = action.outcome.as_deref().map(inert).unwrap_or_default();
        self.item("Outcome", "结果", &joined(words::state(language, action.state), &outcome));
        if let (Some(started_ms), Some(ended_ms)) = (action.started_at_ms, action.ended_at_ms) {
            self.item("Ran", "执行时间", &format!("{} – {}", utc(started_ms), utc(ended_ms)));
        }
        if let Some(verified) = &action.verification {
            let finding = words::finding(language, verified.finding);
            let told = joined(finding, &inert(&verified.text));
            self.item("Verification", "验证", &format!("{told} (#{})", verified.seq));
        } else if action.ended_at_ms.is_some() {
            self.item("Verification", "验证", self.say("not measured", "未测量"));
        }
        self.item("Hash of the call", "调用哈希", &code(&action.call_hash));
    }

    fn verdict(&mut self, verdict: &VerdictRecord) {
        let language = self.language;
        let told = format!(
            "{} ({}), {} {}, {} {}",
            words::decision(language, verdict.decision),
            words::tier(language, verdict.tier),
            self.say("autonomy", "自主级别"),
            words::autonomy(language, verdict.autonomy),
            self.say("rules", "规则版本"),
            code(&verdict.rules_version),
        );
        self.item("Verdict", "裁定", &told);
        for matched in &verdict.matched {
            let tier = words::tier(language, matched.tier);
            let source = inert(&matched.source);
            let told = joined(&format!("{source} ({tier})"), &inert(&matched.note));
            self.out.push_str(&format!("  - {told}\n"));
        }
        for limit in &verdict.limits {
            let within = format_span_ms(limit.within_ms);
            let label = self.say("limit", "限额");
            let key = inert(&limit.key);
            self.out.push_str(&format!("  - {label}: {key}: {} / {within}\n", limit.max));
        }
    }

    fn alerts(&mut self, alerts: &[AlertStory]) {
        self.heading("Alerts", "告警");
        self.columns(&[
            ("Alert", "告警"),
            ("Summary", "摘要"),
            ("Labels", "标签"),
            ("Fired (UTC)", "触发时间 (UTC)"),
            ("Resolved (UTC)", "恢复时间 (UTC)"),
        ]);
        for alert in alerts {
            let labels: Vec<String> = alert
                .labels
                .iter()
                .filter(|(name, _)| *name != "alertname")
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let unverified = self.say("unverified", "未验证");
            let resolved = match (alert.resolved_at_ms, alert.missing_since_ms) {
                (Some(at_ms), _) => utc(at_ms),
                (None, Some(since_ms)) => format!("{unverified} ≥ {}", utc(since_ms)),
                (None, None) => "–".to_owned(),
            };
            self.row(&[
                inert(&alert.name),
                inert(&alert.summary),
                inert(&labels.join(", ")),
                utc(alert.starts_at_ms),
                resolved,
            ]);
        }
    }

    fn times(&mut self, report: &Report) {
        self.heading("Times", "耗时");
        self.columns(&[("From the opening", "自创建起"), ("Time", "时间"), ("ms", "毫秒")]);
        let (nobody, end) = match report.ending.as_ref().map(|ending| ending.how) {
            Some(Ending::Resolved) => (("nobody had to", "无需人工"), ("to resolve", "解决")),
            Some(Ending::Escalated) => (("nobody yet", "尚无人接手"), ("to hand over", "转交")),
            None => (("nobody yet", "尚无人接手"), ("to resolve", "解决")),
        };
        let nobody = self.say(nobody.0, nobody.1);
        let times = &report.times;
        let acknowledged = times.acknowledge.as_ref().map_or_else(
            || (nobody.to_owned(), String::new()),
            |word| {
                let told = format!("{} ({})", word.span.human, inert(&word.by));
                (told, word.span.ms.to_string())
            },
        );
        let told = |span: Option<&Span>| {
            span.map_or_else(
                || ("–".to_owned(), String::new()),
                |span| (span.human.clone(), span.ms.to_string()),
            )
        };
        for (en, zh, (human, ms)) in [
            ("to acknowledge", "接手", acknowledged),
            ("to diagnose", "诊断", told(times.diagnose.as_ref())),
            (end.0, end.1, told(times.resolve.as_ref())),
        ] {
            let label = self.say(en, zh).to_owned();
            self.row(&[label, human, ms]);
        }
    }

    fn cost(&mut self, cost: &Cost) {
        self.heading("Cost", "成本");
        self.item("Turns", "调查步数", &cost.turns.to_string());
        let tokens = format!(
            "{} {}, {} {}",
            self.say("in", "输入"),
            cost.input_tokens,
            self.say("out", "输出"),
            cost.output_tokens
        );
        self.item("Tokens", "Token", &tokens);
        let money = match cost.cost_micros {
            Some(micros) => {
                let sign = if micros < 0 { "-" } else { "" };
                let micros = micros.unsigned_abs();
                format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
            }
            None => self.say("not counted", "未计算").to_owned(),
        };
        self.item("Money", "费用", &money);
        let turns = self.say("turns", "步数");
        let minds: Vec<String> = cost
            .minds
            .iter()
            .map(|mind| format!("{} ({turns}: {})", inert(&mind.name), mind.turns))
            .collect();
        let minds = if minds.is_empty() { "–".to_owned() } else { minds.join(", ") };
        self.item("Investigated by", "调查者", &minds);
    }

    fn timeline(&mut self, report: &Report) {
        self.heading("Timeline", "时间线");
        self.columns(&[
            ("#", "#"),
            ("Time (UTC)", "时间 (UTC)"),
            ("What", "事项"),
            ("Facts", "内容"),
        ]);
        for line in &report.timeline {
            let kind = self.kind(&line.kind);
            self.row(&[line.seq.to_string(), utc(line.at_ms), kind, inert(&line.detail)]);
        }
    }

    fn foot(&mut self, report: &Report) {
        let chain = &report.chain;
        let head = if chain.head.is_empty() { "–".to_owned() } else { code(&chain.head) };
        let told = match self.language {
            Language::En => format!("{} timeline entries, head {head}", chain.entries),
            Language::Zh => format!("时间线共 {} 条，链首 {head}", chain.entries),
        };
        let written = self.say("written", "生成于");
        self.out.push_str(&format!("\n---\n\n{told}; {written} {}\n", utc(report.written_at_ms)));
    }

    fn kind(&self, kind: &str) -> String {
        words::kind(self.language, kind).map_or_else(|| inert(kind), str::to_owned)
    }

    fn say(&self, en: &'static str, zh: &'static str) -> &'static str {
        pick(self.language, en, zh)
    }

    fn heading(&mut self, en: &'static str, zh: &'static str) {
        let text = self.say(en, zh);
        self.out.push_str(&format!("\n## {text}\n\n"));
    }

    /// A list item whose text is already inert.
    fn item(&mut self, en: &'static str, zh: &'static str, inert: &str) {
        let label = match self.language {
            Language::En => format!("{en}: "),
            Language::Zh => format!("{zh}："),
        };
        self.out.push_str(&format!("- {label}{inert}\n"));
    }

    fn item_unless_empty(&mut self, en: &'static str, zh: &'static str, inert: &str) {
        if !inert.is_empty() {
            self.item(en, zh, inert);
        }
    }

    fn columns(&mut self, names: &[(&'static str, &'static str)]) {
        let names: Vec<String> = names.iter().map(|(en, zh)| self.say(en, zh).to_owned()).collect();
        self.row(&names);
        self.out.push_str(&format!("|{}\n", "---|".repeat(names.len())));
    }

    fn row(&mut self, cells: &[String]) {
        self.out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
}

fn names(names: &[String]) -> String {
    or_dash(&inert(&names.join(", ")))
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "–".to_owned() } else { text.to_owned() }
}

fn joined(head: &str, text: &str) -> String {
    if text.is_empty() { head.to_owned() } else { format!("{head}: {text}") }
}
