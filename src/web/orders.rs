//! The page of people's orders: halt, what is in flight, holds, rules in quarantine.

use super::Web;
use super::chrome::Chrome;
use super::error::Error;
use super::visible::{visible, visible_json};
use super::visitor::Visitor;
use crate::approval::Role;
use crate::clock::format_ms;
use crate::model::orders::{Hold, InFlight, Quarantined};
use askama::Template;
use axum::extract::State;
use axum::response::Html;

#[derive(Template)]
#[template(path = "orders.html")]
struct Page {
    c: Chrome,
    may_halt: bool,
    may_resume: bool,
    in_flight: Vec<Flying>,
    /// Holds, and rules in quarantine, under their titles.
    lists: Vec<(&'static str, Vec<Shown>)>,
}

struct Flying {
    tool: String,
    args: String,
    incident_id: String,
    incident: String,
    since: String,
}

/// A hold or a rule in quarantine.
struct Shown {
    what: String,
    by: String,
    reason: String,
    since: String,
    until: String,
}

/// Everything that people ordered and that is in force.
pub async fn page(State(web): State<Web>, visitor: Visitor) -> Result<Html<String>, Error> {
    let deps = web.deps()?;
    let orders = deps.store.orders(deps.clock.now_ms()).await?;
    let c = Chrome::of(&web, &visitor).await?;
    let may =
        |least| !c.csrf.is_empty() && visitor.principal().is_some_and(|who| who.role >= least);
    let lists = vec![
        (c.w.holds, orders.holds.iter().map(Shown::of_hold).collect()),
        (c.w.quarantine, orders.quarantined.iter().map(Shown::of_rule).collect()),
    ];
    let page = Page {
        may_halt: may(Role::Responder),
        may_resume: c.halted.is_some() && may(Role::Sre),
        c,
        in_flight: deps.store.in_flight().await?.iter().map(Flying::of).collect(),
        lists,
    };
    Ok(Html(page.render()?))
}

impl Flying {
    fn of(one: &InFlight) -> Self {
        Self {
            tool: visible(&one.tool),
            args: visible_json(&one.args),
            incident_id: one.incident_id.clone(),
            incident: visible(&one.incident),
            since: format_ms(one.since_ms),
        }
    }
}

impl Shown {
    fn of_hold(hold: &Hold) -> Self {
        Self {
            what: visible(&hold.matched()),
            by: visible(&hold.by),
            reason: visible(&hold.reason),
            since: format_ms(hold.at_ms),
            until: format_ms(hold.until_ms),
        }
    }

    fn of_rule(order: &Quarantined) -> Self {
        Self {
            what: visible(&order.rule),
            by: visible(&order.by),
            reason: visible(&order.reason),
            since: format_ms(order.at_ms),
            until: String::new(),
        }
    }
}
