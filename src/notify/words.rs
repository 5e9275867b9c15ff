//! The words that Watchkeeper itself puts around a message, in the languages it speaks.
//!
//! In: an event, a severity or an English label. Out: constant text, trusted and already inert.
//! Never: words of an alert. To add a language, add a variant to
//! [`Language`] and a word to every pair here.

pub use crate::config::Language;
use crate::model::alert::Severity;
use crate::model::message::Event;

impl Language {
    /// What happened, in two words.
    pub fn event(self, event: Event) -> &'static str {
        let (en, zh) = match event {
            Event::Started => ("Investigating", "正在调查"),
            Event::NeedsYou => ("Needs you", "需要您处理"),
            Event::Note => ("Note", "通知"),
            Event::Resolved => ("Resolved", "已解决"),
            Event::Escalated => ("Escalated", "已升级"),
            Event::Acknowledged => ("Acknowledged", "已接手"),
            Event::Health => ("Watchkeeper health", "Watchkeeper 自身状态"),
        };
        self.pick(en, zh)
    }

    pub fn severity(self, severity: Severity) -> &'static str {
        let (en, zh) = match severity {
            Severity::Critical => ("critical", "严重"),
            Severity::Warning => ("warning", "警告"),
            Severity::Info => ("info", "提示"),
        };
        self.pick(en, zh)
    }

    /// Marks a message that people may have seen before.
    pub fn repeat(self) -> &'static str {
        self.pick(
            "May be a repeat: an earlier delivery was interrupted",
            "可能是重复消息：之前的发送被中断",
        )
    }

    /// Stands where a channel's size limit ended the message.
    pub fn shortened(self) -> &'static str {
        self.pick("Shortened; the whole text is in the incident", "内容已截断；完整内容见事件页面")
    }

    pub fn incident(self) -> &'static str {
        self.pick("Incident", "事件")
    }

    /// Translates the labels that our own messages use; any other label is shown as it is.
    pub fn label(self, label: &str) -> &str {
        let known = LABELS.iter().find(|(en, _)| en.eq_ignore_ascii_case(label.trim()));
        match (self, known) {
            (Self::Zh, Some((_, zh))) => zh,
            (Self::Zh | Self::En, _) => label,
        }
    }

    fn pick(self, en: &'static str, zh: &'static str) -> &'static str {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }
}

/// The sign in front of a title; red only where a person has to act.
pub fn sign(event: Event, severity: Severity) -> &'static str {
    match (event, severity) {
        (Event::Resolved, _) => "✅",
        (Event::Acknowledged, _) => "👤",
        (Event::NeedsYou, _) => "✋",
        (Event::Escalated, _) => "🚨",
        (Event::Health, _) => "🩺",
        (Event::Started | Event::Note, Severity::Critical) => "🔴",
        (Event::Started | Event::Note, Severity::Warning) => "🟠",
        (Event::Started | Event::Note, Severity::Info) => "🔵",
    }
}

/// Labels of facts and links in English and Chinese.
const LABELS: [(&str, &str); 33] = [
    ("Action", "操作"),
    ("Alert", "告警"),
    ("Alerts", "告警数"),
    ("Approve or reject", "批准或拒绝"),
    ("Approver", "审批人"),
    ("Autonomy", "自主级别"),
    ("Channel", "渠道"),
    ("Cluster", "集群"),
    ("Confidence", "置信度"),
    ("Duration", "持续时间"),
    ("Error", "错误"),
    ("Evidence", "证据"),
    ("Expires", "过期时间"),
    ("Fingerprint", "指纹"),
    ("Host", "主机"),
    ("Instance", "实例"),
    ("Namespace", "命名空间"),
    ("Open incident", "查看事件"),
    ("Outcome", "结果"),
    ("Person", "人员"),
    ("Reason", "原因"),
    ("Report", "报告"),
    ("Risk", "风险"),
    ("Root cause", "根本原因"),
    ("Rule", "规则"),
    ("Runbook", "运行手册"),
    ("Service", "服务"),
    ("Severity", "级别"),
    ("Target", "目标"),
    ("Text", "正文"),
    ("Undo", "回退方案"),
    ("Verified by", "验证依据"),
    ("What to do", "处理建议"),
];

#[cfg(test)]
mod tests {
    use super::{Event, LABELS, Language, Severity};

    #[test]
    fn chrome_is_inert_in_both_languages() {
        let events = [
            Event::Started,
            Event::NeedsYou,
            Event::Note,
            Event::Resolved,
            Event::Escalated,
            Event::Acknowledged,
            Event::Health,
        ];
        let severities = [Severity::Critical, Severity::Warning, Severity::Info];
        for language in [Language::En, Language::Zh] {
            let chrome = [language.repeat(), language.shortened(), language.incident()]
                .into_iter()
                .chain(events.map(|event| language.event(event)))
                .chain(severities.map(|severity| language.severity(severity)))
                .chain(LABELS.map(|(label, _)| language.label(label)));
            for text in chrome {
                assert_eq!(crate::notify::escape::inert(text), text);
                assert!(!text.contains(['<', '>', '&']), "{text}");
            }
        }
    }

    #[test]
    fn unknown_labels_stay_as_they_are() {
        let labels = ["Host", "host", "mountpoint"];
        assert_eq!(labels.map(|label| Language::Zh.label(label)), ["主机", "主机", "mountpoint"]);
        assert_eq!(labels.map(|label| Language::En.label(label)), labels);
    }
}
