//! The words of ours in a report, in each language.
//!
//! In: a fact. Out: constant text. Never: words of an alert, a tool or a mind.
//! To add a language, add its variant to [`Language`] and its arm in [`pick`].

use super::Standing;
use crate::config::Language;
use crate::model::action::{ActionState, Answer, Risk};
use crate::model::alert::Severity;
use crate::model::case::Ending;
use crate::model::conclusion::Confidence;
use crate::model::timeline::Finding;
use crate::model::verdict::{Autonomy, Decision, Tier};

/// The text in this language.
pub(super) fn pick(language: Language, en: &'static str, zh: &'static str) -> &'static str {
    match language {
        Language::En => en,
        Language::Zh => zh,
    }
}

pub(super) fn severity(language: Language, severity: Severity) -> &'static str {
    let (en, zh) = match severity {
        Severity::Critical => ("critical", "严重"),
        Severity::Warning => ("warning", "警告"),
        Severity::Info => ("info", "提示"),
    };
    pick(language, en, zh)
}

pub(super) fn ending(language: Language, how: Option<Ending>) -> &'static str {
    let (en, zh) = match how {
        Some(Ending::Resolved) => ("Resolved", "已解决"),
        Some(Ending::Escalated) => ("Handed to a person", "已转交人工处理"),
        None => ("Still open", "仍在处理"),
    };
    pick(language, en, zh)
}

pub(super) fn confidence(language: Language, confidence: Confidence) -> &'static str {
    let (en, zh) = match confidence {
        Confidence::Low => ("low", "低"),
        Confidence::Medium => ("medium", "中"),
        Confidence::High => ("high", "高"),
    };
    pick(language, en, zh)
}

pub(super) fn standing(language: Language, standing: Standing) -> &'static str {
    let (en, zh) = match standing {
        Standing::Supported => ("supported by evidence", "有证据支持"),
        Standing::Hypothesis => {
            ("hypothesis: nothing on the timeline supports it", "假设：时间线上没有证据支持")
        }
    };
    pick(language, en, zh)
}

pub(super) fn risk(language: Language, risk: Risk) -> &'static str {
    let (en, zh) = match risk {
        Risk::Low => ("low", "低"),
        Risk::Medium => ("medium", "中"),
        Risk::High => ("high", "高"),
    };
    pick(language, en, zh)
}

pub(super) fn decision(language: Language, decision: Decision) -> &'static str {
    let (en, zh) = match decision {
        Decision::Allow => ("allowed", "允许"),
        Decision::Ask => ("a person was asked", "需要人工确认"),
        Decision::Refuse => ("refused", "拒绝"),
    };
    pick(language, en, zh)
}

pub(super) fn tier(language: Language, tier: Tier) -> &'static str {
    let (en, zh) = match tier {
        Tier::Safe => ("safe", "安全"),
        Tier::Confirm => ("confirm", "需确认"),
        Tier::Forbidden => ("forbidden", "禁止"),
    };
    pick(language, en, zh)
}

pub(super) fn autonomy(language: Language, autonomy: Autonomy) -> &'static str {
    let (en, zh) = match autonomy {
        Autonomy::Observe => ("observe", "仅观察"),
        Autonomy::Page => ("page", "仅呼叫"),
        Autonomy::Advise => ("advise", "建议"),
        Autonomy::Act => ("act", "执行"),
    };
    pick(language, en, zh)
}

pub(super) fn answer(language: Language, answer: Answer) -> &'static str {
    let (en, zh) = match answer {
        Answer::Approve => ("approved by", "批准人"),
        Answer::Reject => ("rejected by", "拒绝人"),
    };
    pick(language, en, zh)
}

/// What became of an action. Expired, rejected and superseded are different things.
pub(super) fn state(language: Language, state: ActionState) -> &'static str {
    let (en, zh) = match state {
        ActionState::Proposed => ("proposed, not yet judged or asked", "已提议，尚未裁定"),
        ActionState::Refused => ("not run: refused by the rules", "未执行：被规则拒绝"),
        ActionState::Allowed => ("allowed, not yet started", "已允许，尚未开始"),
        ActionState::Awaiting => ("waits for a person", "等待人工确认"),
        ActionState::Approved => ("approved, not yet started", "已批准，尚未开始"),
        ActionState::Rejected => ("not run: a person rejected it", "未执行：被人工拒绝"),
        ActionState::Expired => ("not run: expired, nobody answered", "未执行：已过期，无人答复"),
        ActionState::Superseded => {
            ("not run: superseded, the reason for it went away", "未执行：已被取代，不再需要")
        }
        ActionState::Intended => ("about to start, or running", "即将开始或正在执行"),
        ActionState::Done => ("done", "已完成"),
        ActionState::Failed => ("failed", "失败"),
        ActionState::Unknown => (
            "UNKNOWN: it may or may not have happened, and was not repeated",
            "结果未知：可能已执行也可能未执行，没有重复执行",
        ),
    };
    pick(language, en, zh)
}

pub(super) fn finding(language: Language, finding: Finding) -> &'static str {
    let (en, zh) = match finding {
        Finding::Fixed => ("fixed", "已恢复"),
        Finding::NotFixed => ("not fixed", "未恢复"),
        Finding::Unverified => ("unverified: nothing could be measured", "未验证：无法测量"),
    };
    pick(language, en, zh)
}

/// The kind of an entry for people; one that a later version wrote keeps its own word.
pub(super) fn kind(language: Language, kind: &str) -> Option<&'static str> {
    let (_, en, zh) = KINDS.iter().find(|(known, _, _)| *known == kind)?;
    Some(pick(language, en, zh))
}

const KINDS: [(&str, &str, &str); 32] = [
    ("opened", "opened", "创建事件"),
    ("alert_fired", "alert fired", "告警触发"),
    ("alert_resolved", "alert resolved", "告警恢复"),
    ("alert_missing", "alert missing at its source", "告警源中已找不到告警"),
    ("alert_seen", "alert seen again", "告警重新出现"),
    ("alert_silenced", "alert silenced", "告警被静默"),
    ("silence_ended", "silence ended", "静默结束"),
    ("alert_heard_late", "alert heard of late", "事后得知的告警"),
    ("joined", "alert joined by shared labels", "告警按相同标签并入"),
    ("flapping", "alert flaps", "告警反复触发"),
    ("acknowledged", "acknowledged", "已接手"),
    ("started", "investigation started", "开始调查"),
    ("turn_taken", "turn", "调查步骤"),
    ("judged", "call judged", "裁定调用"),
    ("answered", "answer", "调用结果"),
    ("proposed", "action proposed", "提议操作"),
    ("action_judged", "action judged", "裁定操作"),
    ("approval_opened", "approval asked", "请求批准"),
    ("decided", "decision", "人工决定"),
    ("counted", "one approval of several", "获得部分批准"),
    ("expired", "approval expired", "批准过期"),
    ("superseded", "action superseded", "操作被取代"),
    ("held_back", "action waits for others", "操作等待其他操作结束"),
    ("intent_written", "action starts", "操作开始"),
    ("outcome_recorded", "action ended", "操作结束"),
    ("verification_started", "measuring", "开始测量"),
    ("measured", "measured", "测量结果"),
    ("concluded", "concluded", "得出结论"),
    ("resolved", "resolved", "已解决"),
    ("escalated", "handed to a person", "转交人工"),
    ("message_queued", "message queued", "消息已排队"),
    ("report_written", "report written", "报告已生成"),
];
