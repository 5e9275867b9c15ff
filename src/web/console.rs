//! The console: the list of incidents, and one with its whole history.

use super::chrome::Chrome;
use super::describe::{Line, describe};
use super::error::Error;
use super::forms::{self, Id};
use super::incidents::{self, Part, Whole};
use super::visible::visible_json;
use super::visitor::Visitor;
use super::{Web, visible};
use crate::approval::Role;
use crate::clock::format_ms;
use crate::model::action::{Action, ActionState};
use crate::model::case::{AttachedAlert, Case, Ending};
use crate::model::incident::{IncidentRow, State as IncidentState};
use crate::store::actions::Row;
use crate::store::priority::Queued;
use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Html;

/// How often the list loads itself again.
const RELOAD_S: u32 = 30;
/// A storm has more of both than a page can hold; the API tells all.
const ALERTS_MAX: usize = 200;
const LINES_MAX: usize = 1_000;

#[derive(Template)]
#[template(path = "incidents.html")]
struct List {
    c: Chrome,
    states: Vec<(&'static str, bool)>,
    waiting: Vec<Waiting>,
    rows: Vec<Listed>,
    /// Where the next part of the list is.
    older: Option<String>,
}

struct Waiting {
    id: String,
    tool: String,
    reason: String,
    risk: String,
    expires_at: String,
}

struct Listed {
    id: String,
    title: String,
    severity: &'static str,
    state: &'static str,
    alerts: i64,
    opened_at: String,
    updated_at: String,
}

/// All incidents, newest first, with what waits for a decision above them.
pub async fn list(
    State(web): State<Web>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Html<String>, Error> {
    let query = forms::of_uri(&uri)?;
    let chosen = incidents::filter(&query)?.state;
    let Part { rows, next_before } = incidents::part(&web, &query).await?;
    let store = &web.deps()?.store;
    let waiting = store.actions(web.scope(), Some(ActionState::Awaiting), 100).await?;
    let mut c = Chrome::of(&web, &visitor).await?;
    c.reload_s = RELOAD_S;
    let page = List {
        c,
        states: IncidentState::ALL.iter().map(|s| (s.as_str(), Some(*s) == chosen)).collect(),
        waiting: waiting.into_iter().map(Waiting::of).collect(),
        rows: rows.into_iter().map(Listed::of).collect(),
        older: next_before.map(|id| match chosen {
            Some(state) => format!("/?state={}&before={id}", state.as_str()),
            None => format!("/?before={id}"),
        }),
    };
    Ok(Html(page.render()?))
}

impl Waiting {
    fn of(row: Row) -> Self {
        Self {
            id: row.id.to_string(),
            tool: visible(&row.tool),
            reason: visible(&row.reason),
            risk: visible(&row.risk),
            expires_at: row.expires_at_ms.map(format_ms).unwrap_or_default(),
        }
    }
}

impl Listed {
    fn of(row: IncidentRow) -> Self {
        Self {
            id: row.id.to_string(),
            title: visible(&row.title),
            severity: row.severity.as_str(),
            state: row.state.as_str(),
            alerts: row.alerts,
            opened_at: format_ms(row.opened_at_ms),
            updated_at: format_ms(row.updated_at_ms),
        }
    }
}

#[derive(Template)]
#[template(path = "incident.html")]
struct One {
    c: Chrome,
    row: Listed,
    may_take: bool,
    may_export: bool,
    taken: Option<(String, String)>,
    end: Option<(String, String)>,
    /// Its place among those that wait to be worked on.
    queued: Option<Queued>,
    /// Until when it flaps.
    flapping: Option<String>,
    alerts: Vec<ShownAlert>,
    alerts_left_out: usize,
    actions: Vec<ShownAction>,
    conclusion: Option<ShownConclusion>,
    /// The latest.
    lines: Vec<Line>,
    lines_left_out: usize,
}

struct ShownAlert {
    name: String,
    summary: String,
    labels: Vec<(String, String)>,
    since: String,
    resolved_at: Option<String>,
    /// What its source says of it that is not in the alert.
    mark: String,
}

struct ShownAction {
    id: String,
    tool: String,
    args: String,
    state: &'static str,
    tier: &'static str,
    why: String,
    decided_by: Option<String>,
    outcome: Option<String>,
}

struct ShownConclusion {
    root_cause: String,
    hypothesis: bool,
    confidence: String,
    evidence: Vec<i64>,
    done: String,
    remaining: String,
}

/// One incident.
pub async fn incident(
    State(web): State<Web>,
    visitor: Visitor,
    Id(id): Id,
) -> Result<Html<String>, Error> {
    let Whole { row, entries, case } = incidents::load(&web, &id).await?;
    let resolved = case.end.as_ref().is_some_and(|end| end.how == Ending::Resolved);
    let may_take = !resolved
        && !visitor.csrf().is_empty()
        && visitor.principal().is_some_and(|who| who.role >= Role::Responder);
    let may_export = visitor.principal().is_none_or(|who| who.role >= Role::Responder);
    let deps = web.deps()?;
    let all_alerts = usize::try_from(row.alerts).unwrap_or(0);
    let page = One {
        c: Chrome::of(&web, &visitor).await?,
        row: Listed::of(row),
        may_take,
        may_export,
        taken: case.acknowledged.as_ref().map(|(by, at_ms)| (visible(by), format_ms(*at_ms))),
        end: case.end.as_ref().map(|end| (visible(&end.why), format_ms(end.at_ms))),
        queued: deps.store.queued(case.id, deps.clock.now_ms()).await?,
        flapping: case.flapping_at(deps.clock.now_ms()).map(|f| format_ms(f.until_ms)),
        alerts: case.alerts.iter().take(ALERTS_MAX).map(ShownAlert::of).collect(),
        // Some may wait for their first step.
        alerts_left_out: all_alerts.max(case.alerts.len()) - case.alerts.len().min(ALERTS_MAX),
        actions: current(&web, &case).await?,
        conclusion: case.conclusion.as_ref().map(|conclusion| ShownConclusion {
            root_cause: visible(&conclusion.root_cause),
            hypothesis: conclusion.is_hypothesis(),
            confidence: format!("{:?}", conclusion.confidence).to_lowercase(),
            evidence: conclusion.evidence.clone(),
            done: visible(&conclusion.done),
            remaining: visible(&conclusion.remaining),
        }),
        lines: entries[entries.len().saturating_sub(LINES_MAX)..].iter().map(describe).collect(),
        lines_left_out: entries.len().saturating_sub(LINES_MAX),
    };
    Ok(Html(page.render()?))
}

/// The actions of a case. One that waits was perhaps decided since the last step.
async fn current(web: &Web, case: &Case) -> Result<Vec<ShownAction>, Error> {
    let mut shown = Vec::with_capacity(case.actions.len());
    for action in &case.actions {
        let mut one = ShownAction::of(action);
        if action.state == ActionState::Awaiting
            && let Some(row) = web.deps()?.store.action(web.scope(), action.id()).await?
        {
            one.state = row.state.as_str();
            one.decided_by = row.decided_by;
        }
        shown.push(one);
    }
    Ok(shown)
}

impl ShownAlert {
    fn of(attached: &AttachedAlert) -> Self {
        let alert = &attached.alert;
        Self {
            name: visible(alert.name()),
            summary: visible(alert.summary()),
            labels: alert.labels.iter().map(|(k, v)| (visible(k), visible(v))).collect(),
            since: format_ms(alert.starts_at_ms),
            resolved_at: attached.resolved_at_ms.map(format_ms),
            mark: visible(&mark(attached)),
        }
    }
}

fn mark(attached: &AttachedAlert) -> String {
    if attached.heard_late {
        return "heard of afterwards".to_owned();
    }
    let missing = attached
        .missing_since_ms
        .map(|since_ms| format!("unverified: missing at its source since {}", format_ms(since_ms)));
    let silenced = attached
        .silence
        .as_ref()
        .map(|silence| format!("silenced by {} until {}", silence.by, format_ms(silence.until_ms)));
    [missing, silenced].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

impl ShownAction {
    fn of(action: &Action) -> Self {
        let call = &action.proposal.call;
        let verdict = action.verdict.as_ref();
        Self {
            id: action.id().to_string(),
            tool: visible(&call.tool),
            args: visible_json(&serde_json::Value::Object(call.args.clone())),
            state: action.state.as_str(),
            tier: verdict.map_or("", |verdict| verdict.tier.as_str()),
            why: verdict.map(|verdict| visible(&verdict.reason())).unwrap_or_default(),
            decided_by: action.decided_by.clone(),
            outcome: action.outcome.as_deref().map(visible),
        }
    }
}
