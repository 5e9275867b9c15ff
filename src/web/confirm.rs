//! The page on which a person decides about one exact call, and the decision.
//!
//! In: the stored action, never a message about it. Out: a page; or one decision.
//! Never: anything done by GET or HEAD; a decision about a call that was not on the page.

use super::chrome::Chrome;
use super::error::Error;
use super::forms::{self, Fields, Id};
use super::sign_in::redirect;
use super::visible::visible_json;
use super::visitor::Visitor;
use super::{Web, actions, incidents, visible};
use crate::approval::{self, Role, Via};
use crate::clock::format_ms;
use crate::model::action::Answer;
use crate::model::call::Call;
use crate::model::case::Case;
use crate::model::verdict::{Traced, VerdictRecord};
use crate::store::actions::Row;
use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Map, Value};

#[derive(Template)]
#[template(path = "confirm.html")]
struct Page {
    c: Chrome,
    id: String,
    incident_id: String,
    incident_title: String,
    tool: String,
    args: Vec<(String, String, Vec<Place>)>,
    target: String,
    call_hash: String,
    reason: String,
    description: String,
    risk: String,
    tier: String,
    rules: Vec<(String, String)>,
    rules_version: String,
    preview: Option<String>,
    rollback: Option<String>,
    proposed_at: String,
    expires_at: Option<String>,
    minutes_left: Option<i64>,
    state: &'static str,
    /// What became of it, once it cannot be decided any more.
    closed: Option<String>,
    quorum: i64,
    approved_by: Vec<String>,
    /// How many people may decide here, when those are too few.
    too_few: Option<usize>,
    decided_by: Option<String>,
    decided_at: Option<String>,
    comment: Option<String>,
    /// Why this visitor cannot decide.
    barred: Option<String>,
    nobody: bool,
}

/// Where an argument, or one item of it, was found.
struct Place {
    /// Of a list, which item.
    item: Option<String>,
    words: String,
    /// A person has to look at it.
    untrusted: bool,
}

/// Shows the call. Reading it changes nothing.
pub async fn show(
    State(web): State<Web>,
    visitor: Visitor,
    Id(id): Id,
) -> Result<Html<String>, Error> {
    let row = actions::load(&web, &id).await?;
    let whole = incidents::load(&web, &row.incident_id.to_string()).await?;
    let chrome = Chrome::of(&web, &visitor).await?;
    let now_ms = web.deps()?.clock.now_ms();
    let eligible = web.people().eligible(&row.roles).len();
    let page = Page::of(chrome, row, &whole.case, &visitor, eligible, now_ms)?;
    Ok(Html(page.render()?))
}

/// Decides: `approved=true` or `approved=false` in the query.
pub async fn decide(
    State(web): State<Web>,
    visitor: Visitor,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let answer = match forms::of_uri(&uri)?.get("approved").map(String::as_str) {
        Some("true") => Answer::Approve,
        Some("false") => Answer::Reject,
        Some(_) | None => return Err(Error::invalid("approved", "must be true or false")),
    };
    let fields = Fields::of(&web, &headers, body).await?;
    let principal = visitor.author(&web, &headers, fields.get("csrf"), Role::Viewer)?;
    match principal.via {
        Via::Form => {
            if fields.get("call_hash").is_none() {
                let said = "is missing: the form must name the call that was shown";
                return Err(Error::invalid("call_hash", said));
            }
            actions::decide(&web, principal, &id, answer, &fields).await?;
            Ok(redirect(&format!("/confirm/{id}"), None))
        }
        Via::Token => {
            actions::decide(&web, principal, &id, answer, &fields).await?;
            let row = actions::load(&web, &id).await?;
            Ok(Json(actions::shown(&web, &row)).into_response())
        }
    }
}

impl Page {
    fn of(
        c: Chrome,
        row: Row,
        case: &Case,
        visitor: &Visitor,
        eligible: usize,
        now_ms: i64,
    ) -> Result<Self, Error> {
        let args = arguments(&row)?;
        let verdict = case.action(row.id).and_then(|action| action.verdict.as_ref());
        let closed = match approval::open_at(&row, now_ms) {
            Ok(()) => None,
            Err(error) => Some(error.to_string()),
        };
        let barred = match visitor.principal() {
            Some(who) => approval::may_decide(who, &row.roles).err(),
            None => None,
        };
        Ok(Self {
            c,
            id: row.id.to_string(),
            incident_id: row.incident_id.to_string(),
            incident_title: visible(&case.title),
            tool: visible(&row.tool),
            target: target(&args),
            args: args
                .iter()
                .map(|(k, v)| (visible(k), visible_json(v), places(verdict, k)))
                .collect(),
            call_hash: row.call_hash,
            reason: visible(&row.reason),
            description: visible(&row.description),
            risk: visible(&row.risk),
            tier: visible(&row.tier),
            rules: verdict.map(rules).unwrap_or_default(),
            rules_version: visible(&row.rules_version),
            preview: row.preview.as_deref().map(visible),
            rollback: row.rollback.as_deref().map(visible),
            proposed_at: format_ms(row.proposed_at_ms),
            expires_at: row.expires_at_ms.map(format_ms),
            minutes_left: row.expires_at_ms.map(|expires| (expires - now_ms).max(0) / 60_000),
            state: row.state.as_str(),
            quorum: row.quorum,
            approved_by: row.approved_by.iter().map(|name| visible(name)).collect(),
            too_few: usize::try_from(row.quorum)
                .is_ok_and(|quorum| closed.is_none() && eligible < quorum)
                .then_some(eligible),
            closed,
            decided_by: row.decided_by,
            decided_at: row.decided_at_ms.map(format_ms),
            comment: row.comment.as_deref().map(visible),
            barred,
            nobody: visitor.principal().is_none(),
        })
    }
}

/// The stored arguments. They are shown only if they are the ones that the hash stands for.
fn arguments(row: &Row) -> Result<Map<String, Value>, Error> {
    let args: Map<String, Value> = serde_json::from_str(&row.args)
        .map_err(|error| Error::Internal(format!("arguments of action {}: {error}", row.id)))?;
    let call = Call { tool: row.tool.clone(), args };
    if !approval::equal(&call.hash(), &row.call_hash) {
        return Err(Error::Internal(format!("the call of action {} was changed", row.id)));
    }
    Ok(call.args)
}

fn target(args: &Map<String, Value>) -> String {
    let named = ["service", "host"].iter().filter_map(|key| args.get(*key)?.as_str());
    named.map(visible).collect::<Vec<_>>().join(" @ ")
}

fn places(verdict: Option<&VerdictRecord>, argument: &str) -> Vec<Place> {
    let all = verdict.map(|verdict| verdict.origins.as_slice()).unwrap_or_default();
    let of_this: Vec<&Traced> = all.iter().filter(|traced| traced.argument == argument).collect();
    let several = of_this.len() > 1;
    of_this
        .into_iter()
        .map(|traced| Place {
            item: several.then(|| visible(&traced.value)),
            words: visible(&traced.place),
            untrusted: !traced.source.is_trusted(),
        })
        .collect()
}

fn rules(verdict: &VerdictRecord) -> Vec<(String, String)> {
    let why = verdict.matched.iter().map(|m| (visible(&m.source), visible(&m.note)));
    why.collect()
}
