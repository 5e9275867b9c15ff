//! Action rows: what people decide on.

use super::db::{Conn, Store, db, dialect};
use super::inbox;
use super::{Error, json, parsed, text};
use crate::crash::{self, Point};
use crate::model::action::{ActionState, Answer};
use crate::model::ids::{ActionId, IncidentId};
use crate::model::timeline::Entry;
use serde::Serialize;
use sqlx::FromRow;

/// An action as approvers see it: the stored call, never a message about it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    pub id: ActionId,
    pub scope: String,
    pub incident_id: IncidentId,
    pub state: ActionState,
    pub tool: String,
    /// Canonical JSON.
    pub args: String,
    pub call_hash: String,
    pub tier: String,
    pub risk: String,
    pub reason: String,
    pub description: String,
    pub rollback: Option<String>,
    pub preview: Option<String>,
    pub rules_version: String,
    pub roles: Vec<String>,
    /// How many people have to approve.
    pub quorum: i64,
    /// Who has approved so far.
    pub approved_by: Vec<String>,
    pub proposed_at_ms: i64,
    pub expires_at_ms: Option<i64>,
    pub decided_by: Option<String>,
    pub decided_at_ms: Option<i64>,
    pub comment: Option<String>,
}

/// A person's decision on its way into the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    pub action_id: ActionId,
    pub answer: Answer,
    pub by: String,
    pub comment: Option<String>,
    pub at_ms: i64,
}

/// What became of a decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decided {
    Recorded,
    /// Approved by `have` of the `need` people who have to.
    Counted {
        have: i64,
        need: i64,
    },
    /// The same person approved before; it takes somebody else.
    Repeated,
    NotFound,
    /// Nobody answered in time.
    TooLate,
    /// Somebody or something was first.
    Already(ActionState),
}

#[derive(FromRow)]
struct Columns {
    id: String,
    scope: String,
    incident_id: String,
    state: String,
    tool: String,
    args: String,
    call_hash: String,
    tier: String,
    risk: String,
    reason: String,
    description: String,
    rollback: Option<String>,
    preview: Option<String>,
    rules_version: String,
    roles: String,
    quorum: i64,
    approved_by: String,
    proposed_at_ms: i64,
    expires_at_ms: Option<i64>,
    decided_by: Option<String>,
    decided_at_ms: Option<i64>,
    comment: Option<String>,
}

impl Columns {
    fn row(self) -> Result<Row, Error> {
        Ok(Row {
            id: parsed(self.id.parse(), "action id")?,
            scope: self.scope,
            incident_id: parsed(self.incident_id.parse(), "incident id")?,
            state: state(&self.state)?,
            tool: self.tool,
            args: self.args,
            call_hash: self.call_hash,
            tier: self.tier,
            risk: self.risk,
            reason: self.reason,
            description: self.description,
            rollback: self.rollback,
            preview: self.preview,
            rules_version: self.rules_version,
            roles: parsed(serde_json::from_str(&self.roles), "roles")?,
            quorum: self.quorum,
            approved_by: parsed(serde_json::from_str(&self.approved_by), "approvers")?,
            proposed_at_ms: self.proposed_at_ms,
            expires_at_ms: self.expires_at_ms,
            decided_by: self.decided_by,
            decided_at_ms: self.decided_at_ms,
            comment: self.comment,
        })
    }
}

impl Store {
    /// One action.
    pub async fn action(&self, scope: &str, id: ActionId) -> Result<Option<Row>, Error> {
        let scope = scope.to_owned();
        self.read(move |conn| {
            Box::pin(async move {
                let found: Option<Columns> = db!(conn, c => sqlx::query_as(
                    "select id, scope, incident_id, state, tool, args, call_hash, tier, risk,
                            reason, description, rollback, preview, rules_version, roles, quorum,
                            approved_by, proposed_at_ms, expires_at_ms, decided_by,
                            decided_at_ms, comment
                     from action where id = $1 and scope = $2"
                ).bind(id.to_string()).bind(scope).fetch_optional(&mut **c).await)?;
                found.map(Columns::row).transpose()
            })
        })
        .await
    }

    /// Actions, newest first; only those in `state` when one is given.
    pub async fn actions(
        &self,
        scope: &str,
        state: Option<ActionState>,
        at_most: i64,
    ) -> Result<Vec<Row>, Error> {
        let scope = scope.to_owned();
        self.read(move |conn| {
            Box::pin(async move {
                let rows: Vec<Columns> = db!(conn, c => sqlx::query_as(
                    "select id, scope, incident_id, state, tool, args, call_hash, tier, risk,
                            reason, description, rollback, preview, rules_version, roles, quorum,
                            approved_by, proposed_at_ms, expires_at_ms, decided_by,
                            decided_at_ms, comment
                     from action
                     where scope = $1 and (cast($2 as text) is null or state = $2)
                     order by proposed_at_ms desc, id limit $3"
                )
                    .bind(scope)
                    .bind(state.map(ActionState::as_str))
                    .bind(at_most)
                    .fetch_all(&mut **c).await)?;
                rows.into_iter().map(Columns::row).collect()
            })
        })
        .await
    }

    /// How many approvals wait, and since when the oldest does.
    pub async fn awaiting(&self) -> Result<(i64, Option<i64>), Error> {
        self.read(|conn| {
            Box::pin(async move {
                Ok(db!(conn, c => sqlx::query_as(
                    "select count(*), min(proposed_at_ms) from action where state = 'awaiting'"
                ).fetch_one(&mut **c).await)?)
            })
        })
        .await
    }

    /// Records a decision once and tells the incident; the first one wins.
    pub async fn decide(&self, decision: Decision) -> Result<Decided, Error> {
        let decided = self
            .write(move |conn| {
                Box::pin(async move {
                    let decided = decide(conn, &decision).await?;
                    crash::at(Point::BeforeDecision);
                    Ok(decided)
                })
            })
            .await?;
        crash::at(Point::AfterDecision);
        Ok(decided)
    }
}

async fn decide(conn: &mut Conn<'_>, decision: &Decision) -> Result<Decided, Error> {
    // The incident is locked before the action, in the order in which steps lock them.
    let lock = dialect!(conn,
        lite: "select incident_id from action where id = $1",
        pg: "select i.id from incident i join action a on a.incident_id = i.id
             where a.id = $1 for update of i",
    );
    let found: Option<(String,)> = db!(conn, c => sqlx::query_as(lock)
        .bind(decision.action_id.to_string()).fetch_optional(&mut **c).await)?;
    let Some((incident_id,)) = found else {
        return Ok(Decided::NotFound);
    };
    let incident_id: IncidentId = parsed(incident_id.parse(), "incident id")?;
    let (current, expires_at_ms, quorum, approved_by): (String, Option<i64>, i64, String) = db!(conn, c => sqlx::query_as(
            "select state, expires_at_ms, quorum, approved_by from action where id = $1"
        ).bind(decision.action_id.to_string()).fetch_one(&mut **c).await)?;
    let current = state(&current)?;
    if current != ActionState::Awaiting {
        let late = current == ActionState::Expired;
        return Ok(if late { Decided::TooLate } else { Decided::Already(current) });
    }
    if expires_at_ms.is_some_and(|expires| expires <= decision.at_ms) {
        return Ok(Decided::TooLate);
    }
    let mut approved_by: Vec<String> = parsed(serde_json::from_str(&approved_by), "approvers")?;
    let (next, by) = match decision.answer {
        Answer::Reject => (ActionState::Rejected, decision.by.clone()),
        Answer::Approve => {
            if approved_by.contains(&decision.by) {
                return Ok(Decided::Repeated);
            }
            approved_by.push(decision.by.clone());
            let have = i64::try_from(approved_by.len()).unwrap_or(i64::MAX);
            if have < quorum {
                return count(conn, decision, incident_id, &approved_by, quorum).await;
            }
            (ActionState::Approved, approved_by.join(", "))
        }
    };
    let approved_by = json(&approved_by)?;
    db!(conn, c => sqlx::query(
        "update action set state = $2, decided_by = $3, decided_at_ms = $4, comment = $5,
             approved_by = $6
         where id = $1 and state = 'awaiting'"
    )
        .bind(decision.action_id.to_string())
        .bind(next.as_str())
        .bind(text(&by))
        .bind(decision.at_ms)
        .bind(decision.comment.as_deref().map(text))
        .bind(text(&approved_by))
        .execute(&mut **c).await.map(|_| ()))?;
    let entry = Entry::Decided {
        action_id: decision.action_id,
        answer: decision.answer,
        by,
        comment: decision.comment.clone(),
        decided_at_ms: decision.at_ms,
    };
    inbox::tell(conn, incident_id, decision.at_ms, &entry).await?;
    Ok(Decided::Recorded)
}

/// One of several approvals that are needed.
async fn count(
    conn: &mut Conn<'_>,
    decision: &Decision,
    incident_id: IncidentId,
    approved_by: &[String],
    need: i64,
) -> Result<Decided, Error> {
    let names = json(&approved_by)?;
    db!(conn, c => sqlx::query("update action set approved_by = $2 where id = $1")
        .bind(decision.action_id.to_string())
        .bind(text(&names))
        .execute(&mut **c).await.map(|_| ()))?;
    let have = i64::try_from(approved_by.len()).unwrap_or(i64::MAX);
    let entry = Entry::Counted {
        action_id: decision.action_id,
        by: decision.by.clone(),
        have,
        need,
        comment: decision.comment.clone(),
    };
    inbox::tell(conn, incident_id, decision.at_ms, &entry).await?;
    Ok(Decided::Counted { have, need })
}

/// Adds the row of a judged action.
pub async fn insert(conn: &mut Conn<'_>, row: &Row) -> Result<(), Error> {
    let roles = json(&row.roles)?;
    db!(conn, c => sqlx::query(
        "insert into action (id, scope, incident_id, state, tool, args, call_hash, tier, risk,
             reason, description, rollback, preview, rules_version, roles, quorum, approved_by,
             proposed_at_ms, expires_at_ms)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, '[]', $17,
             $18)"
    )
        .bind(row.id.to_string())
        .bind(&row.scope)
        .bind(row.incident_id.to_string())
        .bind(row.state.as_str())
        .bind(text(&row.tool))
        .bind(text(&row.args))
        .bind(&row.call_hash)
        .bind(&row.tier)
        .bind(&row.risk)
        .bind(text(&row.reason))
        .bind(text(&row.description))
        .bind(row.rollback.as_deref().map(text))
        .bind(row.preview.as_deref().map(text))
        .bind(&row.rules_version)
        .bind(&roles)
        .bind(row.quorum)
        .bind(row.proposed_at_ms)
        .bind(row.expires_at_ms)
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

/// Moves an action on.
///
/// # Errors
/// `NoLonger` when it is not in `from` any more: a person was quicker.
pub async fn move_on(
    conn: &mut Conn<'_>,
    id: ActionId,
    from: ActionState,
    to: ActionState,
) -> Result<(), Error> {
    let moved = db!(conn, c => sqlx::query(
        "update action set state = $3 where id = $1 and state = $2"
    )
        .bind(id.to_string())
        .bind(from.as_str())
        .bind(to.as_str())
        .execute(&mut **c).await.map(|done| done.rows_affected()))?;
    if moved == 1 {
        Ok(())
    } else {
        Err(Error::NoLonger(format!("the action is no longer {}", from.as_str())))
    }
}

/// Puts a question under other rules.
///
/// # Errors
/// `NoLonger` when somebody has answered it, wholly or in part.
pub async fn rejudge(conn: &mut Conn<'_>, id: ActionId, rules_version: &str) -> Result<(), Error> {
    let changed = db!(conn, c => sqlx::query(
        "update action set rules_version = $2
         where id = $1 and state = 'awaiting' and approved_by = '[]'"
    )
        .bind(id.to_string())
        .bind(rules_version)
        .execute(&mut **c).await.map(|done| done.rows_affected()))?;
    if changed == 1 {
        Ok(())
    } else {
        Err(Error::NoLonger("somebody has answered the question by now".into()))
    }
}

fn state(word: &str) -> Result<ActionState, Error> {
    ActionState::parse(word).ok_or_else(|| Error::Corrupt(format!("action state {word}")))
}
