//! Incidents as people list them.

use super::super::db::{Store, db};
use super::super::{Error, parsed};
use crate::model::alert::Severity;
use crate::model::ids::IncidentId;
use crate::model::incident::{IncidentRow, State};
use sqlx::FromRow;

/// Which incidents to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    pub state: Option<State>,
    pub at_most: i64,
}

#[derive(FromRow)]
struct Columns {
    id: String,
    scope: String,
    title: String,
    severity: String,
    state: String,
    correlation_key: String,
    opened_at_ms: i64,
    updated_at_ms: i64,
    ended_at_ms: Option<i64>,
    alerts: i64,
    seq: i64,
}

impl Columns {
    fn row(self) -> Result<IncidentRow, Error> {
        Ok(IncidentRow {
            id: parsed(self.id.parse(), "incident id")?,
            scope: self.scope,
            title: self.title,
            severity: Severity::from_label(Some(&self.severity)),
            state: State::parse(&self.state)
                .ok_or_else(|| Error::Corrupt(format!("incident state {}", self.state)))?,
            correlation_key: self.correlation_key,
            opened_at_ms: self.opened_at_ms,
            updated_at_ms: self.updated_at_ms,
            ended_at_ms: self.ended_at_ms,
            alerts: self.alerts,
            seq: self.seq,
        })
    }
}

impl Store {
    /// One incident.
    pub async fn incident(
        &self,
        scope: &str,
        id: IncidentId,
    ) -> Result<Option<IncidentRow>, Error> {
        let scope = scope.to_owned();
        self.read(move |conn| {
            Box::pin(async move {
                let found: Option<Columns> = db!(conn, c => sqlx::query_as(
                    "select i.id, i.scope, i.title, i.severity, i.state, i.correlation_key,
                            i.opened_at_ms, i.updated_at_ms, i.ended_at_ms, i.seq,
                            (select count(*) from alert a where a.incident_id = i.id) as alerts
                     from incident i where i.id = $1 and i.scope = $2"
                ).bind(id.to_string()).bind(scope).fetch_optional(&mut **c).await)?;
                found.map(Columns::row).transpose()
            })
        })
        .await
    }

    /// Incidents, newest first.
    pub async fn incidents(&self, scope: &str, filter: Filter) -> Result<Vec<IncidentRow>, Error> {
        self.incidents_before(scope, filter, None).await
    }

    /// The same, of those that were opened before one of them.
    pub async fn incidents_before(
        &self,
        scope: &str,
        filter: Filter,
        before: Option<IncidentId>,
    ) -> Result<Vec<IncidentRow>, Error> {
        let (scope, before) = (scope.to_owned(), before.map(|id| id.to_string()));
        self.read(move |conn| {
            Box::pin(async move {
                let state = filter.state.map(State::as_str);
                let rows: Vec<Columns> = db!(conn, c => sqlx::query_as(
                    "select i.id, i.scope, i.title, i.severity, i.state, i.correlation_key,
                            i.opened_at_ms, i.updated_at_ms, i.ended_at_ms, i.seq,
                            (select count(*) from alert a where a.incident_id = i.id) as alerts
                     from incident i
                     where i.scope = $1 and (cast($2 as text) is null or i.state = $2)
                       and (cast($4 as text) is null or i.id < $4)
                     order by i.id desc limit cast($3 as bigint)"
                ).bind(scope).bind(state).bind(filter.at_most).bind(before)
                    .fetch_all(&mut **c).await)?;
                rows.into_iter().map(Columns::row).collect()
            })
        })
        .await
    }

    /// How many incidents are in each state.
    pub async fn incident_counts(&self) -> Result<Vec<(State, i64)>, Error> {
        self.read(|conn| {
            Box::pin(async move {
                let rows: Vec<(String, i64)> = db!(conn, c => sqlx::query_as(
                    "select state, count(*) from incident group by state"
                ).fetch_all(&mut **c).await)?;
                rows.into_iter()
                    .map(|(state, count)| {
                        let known = State::parse(&state);
                        Ok((known.ok_or(Error::Corrupt(format!("incident state {state}")))?, count))
                    })
                    .collect()
            })
        })
        .await
    }
}
