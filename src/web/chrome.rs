//! What all pages share: the frame, the words, the style sheet.
//!
//! Every text goes through askama's escaping; texts of others go through [`super::visible()`] first.

use super::Web;
use super::error::Error;
use super::visible;
use super::visitor::Visitor;
use crate::approval::Role;
use crate::clock::format_ms;
use crate::config::Language;
use askama::Template;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};

/// The frame of a page.
pub struct Chrome {
    pub w: &'static Words,
    /// Name and role of who is signed in.
    pub who: Option<(String, Role)>,
    /// Empty for whoever has no session.
    pub csrf: String,
    /// Who halted everything, since when, and why.
    pub halted: Option<Halted>,
    /// The halt file of this process, and its reason.
    pub halt_file: Option<(String, String)>,
    /// Seconds after which the page loads itself again; 0 for never.
    pub reload_s: u32,
}

/// A halt in words.
pub struct Halted {
    pub by: String,
    pub since: String,
    pub reason: String,
}

impl Chrome {
    /// The frame for somebody who is not known, or when the store may be away.
    pub fn for_stranger(web: &Web) -> Self {
        Self {
            w: words(web),
            who: None,
            csrf: String::new(),
            halted: None,
            halt_file: None,
            reload_s: 0,
        }
    }

    /// The frame for a visitor.
    pub async fn of(web: &Web, visitor: &Visitor) -> Result<Self, Error> {
        let deps = web.deps()?;
        let halt = deps.store.halt().await?;
        let file = (deps.halt_file)();
        Ok(Self {
            who: visitor.principal().map(|who| (who.name.clone(), who.role)),
            csrf: visitor.csrf().to_owned(),
            halted: halt.map(|halt| Halted {
                by: visible(&halt.by),
                since: format_ms(halt.at_ms),
                reason: visible(&halt.reason),
            }),
            halt_file: file.map(|file| (visible(&file.path), visible(&file.reason))),
            ..Self::for_stranger(web)
        })
    }
}

/// An error as a page.
#[derive(Template)]
#[template(path = "problem.html")]
pub struct ProblemPage<'p> {
    pub c: Chrome,
    pub message: String,
    pub hint: &'p str,
    pub id: &'p str,
}

impl ProblemPage<'_> {
    pub fn answer(&self) -> Result<Html<String>, askama::Error> {
        self.render().map(Html)
    }
}

/// The style sheet.
pub async fn style() -> Response {
    let style = include_str!("../../templates/style.css");
    let headers =
        [(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "public, max-age=3600")];
    (headers, style).into_response()
}

/// The fixed words of the pages.
pub struct Words {
    pub lang: &'static str,
    pub incidents: &'static str,
    pub none: &'static str,
    pub waiting: &'static str,
    pub sign_in: &'static str,
    pub sign_out: &'static str,
    pub name: &'static str,
    pub password: &'static str,
    pub wrong: &'static str,
    pub nobody: &'static str,
    pub halted_by: &'static str,
    pub orders: &'static str,
    pub halt: &'static str,
    pub resume: &'static str,
    pub in_flight: &'static str,
    pub holds: &'static str,
    pub quarantine: &'static str,
    pub problem: &'static str,
    pub report: &'static str,
    pub export: &'static str,
    pub timeline: &'static str,
    pub alerts: &'static str,
    pub actions: &'static str,
    pub conclusion: &'static str,
    pub acknowledge: &'static str,
    pub acknowledged: &'static str,
    pub question: &'static str,
    pub tool: &'static str,
    pub arguments: &'static str,
    pub target: &'static str,
    pub reason: &'static str,
    pub risk: &'static str,
    pub rules: &'static str,
    pub preview: &'static str,
    pub rollback: &'static str,
    pub expires: &'static str,
    pub decided: &'static str,
    pub approvals: &'static str,
    pub comment: &'static str,
    pub untrusted: &'static str,
    pub too_few: &'static str,
    pub approve: &'static str,
    pub reject: &'static str,
    pub state: &'static str,
    pub severity: &'static str,
    pub opened: &'static str,
    pub updated: &'static str,
    pub all: &'static str,
    pub older: &'static str,
    pub queued: &'static str,
    pub flapping: &'static str,
}

fn words(web: &Web) -> &'static Words {
    match web.settings().language {
        Language::En => &ENGLISH,
        Language::Zh => &CHINESE,
    }
}

static ENGLISH: Words = Words {
    lang: "en",
    incidents: "Incidents",
    none: "Nothing here.",
    waiting: "Waiting for a decision",
    sign_in: "Sign in",
    sign_out: "Sign out",
    name: "Name",
    password: "Password",
    wrong: "This name and password do not fit.",
    nobody: "Nobody can decide here yet, because no users exist. Run this on the server:",
    halted_by: "All changes are halted by",
    orders: "Orders",
    halt: "Halt every change",
    resume: "Let changes go on",
    in_flight: "Changes in flight",
    holds: "Holds",
    quarantine: "Rules in quarantine",
    problem: "That did not work",
    report: "Report",
    export: "Export",
    timeline: "Timeline",
    alerts: "Alerts",
    actions: "Actions",
    conclusion: "Conclusion",
    acknowledge: "I take this incident",
    acknowledged: "Taken by",
    question: "May this be done?",
    tool: "Tool",
    arguments: "Arguments",
    target: "Target",
    reason: "Reason",
    risk: "Risk",
    rules: "Why a person is asked",
    preview: "What will happen",
    rollback: "Way back",
    expires: "Expires",
    decided: "Decided by",
    approvals: "Approvals",
    comment: "Comment",
    untrusted: "not trusted",
    too_few: "More people have to agree than may decide here. People who may:",
    approve: "Approve",
    reject: "Reject",
    state: "State",
    severity: "Severity",
    opened: "Opened",
    updated: "Updated",
    all: "all",
    older: "older",
    queued: "Waiting for a free investigator, place",
    flapping: "Flapping: it is not investigated again before it is calm, not earlier than",
};

static CHINESE: Words = Words {
    lang: "zh",
    incidents: "事件",
    none: "暂无内容。",
    waiting: "等待决定",
    sign_in: "登录",
    sign_out: "退出",
    name: "用户名",
    password: "密码",
    wrong: "用户名或密码不正确。",
    nobody: "尚无用户,因此无人可以决定。请在服务器上运行:",
    halted_by: "所有变更已被暂停,操作人:",
    orders: "管控",
    halt: "暂停所有变更",
    resume: "恢复变更",
    in_flight: "进行中的变更",
    holds: "保留",
    quarantine: "隔离的规则",
    problem: "操作未成功",
    report: "报告",
    export: "导出",
    timeline: "时间线",
    alerts: "告警",
    actions: "操作",
    conclusion: "结论",
    acknowledge: "我来处理此事件",
    acknowledged: "处理人",
    question: "是否允许执行?",
    tool: "工具",
    arguments: "参数",
    target: "目标",
    reason: "原因",
    risk: "风险",
    rules: "为何需要人工确认",
    preview: "将发生什么",
    rollback: "回退方式",
    expires: "过期时间",
    decided: "决定人",
    approvals: "批准人数",
    comment: "备注",
    untrusted: "不可信",
    too_few: "需要的批准人数多于可以决定的人数。可以决定的人数:",
    approve: "批准",
    reject: "拒绝",
    state: "状态",
    severity: "级别",
    opened: "开始",
    updated: "更新",
    all: "全部",
    older: "更早",
    queued: "等待空闲的调查者，位置",
    flapping: "告警抖动：平静之前不再调查，最早于",
};
