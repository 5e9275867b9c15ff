//! Holds: no change of a target that a matcher matches, for a time.

use super::Web;
use super::error::Error;
use super::forms::{self, Fields, Id};
use super::halt::reason;
use super::visitor::Visitor;
use crate::approval::Role;
use crate::model::ids::HoldId;
use crate::model::matcher::Matcher;
use crate::model::orders::Hold;
use crate::model::time::parse_duration_ms;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use serde_json::{Value, json};

/// In force at once. Each costs every judgement of a change some microseconds.
const IN_FORCE_MAX: usize = 500;
/// Of one hold.
const MATCHERS_MAX: usize = 20;
const MATCH_BYTES_MAX: usize = 2_000;
/// Longer than this is a rule, and belongs into the rules.
const LASTS_MAX_MS: i64 = 366 * 86_400_000;
/// Ended ones that are listed.
const LISTED_MAX: i64 = 500;

/// Those in force; with `all=true` also those that ended, the newest first.
pub async fn list(State(web): State<Web>, _: Visitor, uri: Uri) -> Result<Json<Value>, Error> {
    let deps = web.deps()?;
    let now_ms = deps.clock.now_ms();
    match forms::of_uri(&uri)?.get("all").map(String::as_str) {
        Some("true") => {
            let all = deps.store.past_holds(LISTED_MAX).await?;
            let shown = all.iter().map(|past| {
                let stands = past.removed_at_ms.is_none() && past.hold.until_ms > now_ms;
                let mut shown = json!(past);
                shown["in_force"] = json!(stands);
                shown
            });
            Ok(Json(json!({"holds": shown.collect::<Vec<_>>()})))
        }
        None | Some("" | "false") => {
            Ok(Json(json!({"holds": deps.store.orders(now_ms).await?.holds})))
        }
        Some(_) => Err(Error::invalid("all", "must be true or false")),
    }
}

/// Any responder may: it is the safe direction. `matches` says which targets of the inventory it
/// holds, so that a misspelled name is seen.
pub async fn add(
    State(web): State<Web>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    let by = visitor.author(&web, &headers, None, Role::Responder)?.name.clone();
    let fields = Fields::of(&web, &headers, body).await?;
    let deps = web.deps()?;
    let at_ms = deps.clock.now_ms();
    let hold = Hold {
        id: HoldId::new(),
        matchers: matchers(fields.get("match").unwrap_or_default())?,
        reason: reason(&web, &fields)?,
        by,
        at_ms,
        until_ms: at_ms + lasts_ms(fields.get("for").unwrap_or_default())?,
    };
    if deps.store.orders(at_ms).await?.holds.len() >= IN_FORCE_MAX {
        let said = format!("{IN_FORCE_MAX} holds are in force already; halt, or remove some");
        return Err(Error::invalid("match", said));
    }
    deps.store.add_hold(hold.clone()).await?;
    tracing::warn!(by = hold.by, hold.id = %hold.id, "{} holds {}", hold.by, hold.matched());
    let matches = deps.policy.held(&hold);
    Ok(Json(json!({"hold": hold, "matches": matches})))
}

/// Ends a hold before its time.
pub async fn remove(
    State(web): State<Web>,
    visitor: Visitor,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Json<Value>, Error> {
    let by = &visitor.author(&web, &headers, None, Role::Sre)?.name;
    let id: HoldId = forms::id(&id, "hold in force")?;
    let deps = web.deps()?;
    let removed = deps.store.remove_hold(id, by, deps.clock.now_ms()).await?;
    let hold = removed.ok_or(Error::NotFound("hold in force"))?;
    tracing::warn!(by, hold.id = %id, "{by} removed the hold on {}", hold.matched());
    Ok(Json(json!({"removed": hold})))
}

fn matchers(text: &str) -> Result<Vec<String>, Error> {
    if text.len() > MATCH_BYTES_MAX {
        return Err(Error::invalid("match", format!("is longer than {MATCH_BYTES_MAX} bytes")));
    }
    let read = Matcher::parse_all(text).map_err(|why| Error::Invalid {
        path: "match".into(),
        message: why,
        hint: r#"such as host=~"db.*", several separated by commas"#.into(),
    })?;
    if read.len() > MATCHERS_MAX {
        return Err(Error::invalid("match", format!("takes at most {MATCHERS_MAX} matchers")));
    }
    Ok(read.iter().map(ToString::to_string).collect())
}

fn lasts_ms(text: &str) -> Result<i64, Error> {
    match parse_duration_ms(text) {
        Ok(lasts_ms) if (1_000..=LASTS_MAX_MS).contains(&lasts_ms) => Ok(lasts_ms),
        Ok(_) => Err(Error::invalid("for", "must be between 1s and 366d")),
        Err(why) => Err(Error::invalid("for", why)),
    }
}
