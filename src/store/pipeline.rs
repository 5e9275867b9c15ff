//! What is known of the way that alerts take to us: its pulse, the peers that are polled, and what
//! they say of alerts that fire here.

use super::alerts::{self, Known};
use super::db::{Conn, Store, db};
use super::{Error, inbox, key as indexed, parsed, text};
use crate::model::alert::{AlertKey, Labels};
use crate::model::ids::IncidentId;
use crate::model::timeline::Entry;
use sqlx::FromRow;
use std::collections::BTreeMap;

/// An alert that fires under an open incident, and what its source said of it so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watched {
    pub incident_id: IncidentId,
    pub key: AlertKey,
    pub doubt: Doubt,
}

/// In what its source differs from us.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Doubt {
    /// Polls of every peer in a row that did not show it.
    pub missed: i64,
    pub missed_since_ms: Option<i64>,
    /// Its incident was told that it is missing.
    pub missing_told: bool,
    /// The silence that its incident was told of.
    pub silence: Option<String>,
}

/// What a poll changes about one alert, and what its incident is told.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    pub incident_id: IncidentId,
    pub key: AlertKey,
    pub doubt: Doubt,
    pub tell: Vec<Entry>,
}

/// A peer as the last poll found it.
#[derive(Clone, PartialEq, Eq, Debug, FromRow)]
pub struct Peer {
    pub name: String,
    pub polled_at_ms: i64,
    /// Since when every poll fails.
    pub failing_since_ms: Option<i64>,
    pub problem: Option<String>,
}

/// The alert that always fires, as one source delivers it.
#[derive(Clone, PartialEq, Eq, Debug, FromRow)]
pub struct Pulse {
    pub source: String,
    pub seen_at_ms: i64,
    /// Deliveries in a row, none later than the deadline after the one before.
    pub beats: i64,
    /// When Alertmanager was last seen to hold it.
    pub held_at_ms: Option<i64>,
    /// Since when people know that it is absent.
    pub absent_since_ms: Option<i64>,
}

#[derive(FromRow)]
struct Columns {
    incident_id: String,
    fingerprint: String,
    starts_at_ms: i64,
    missed: i64,
    missed_since_ms: Option<i64>,
    missing_told: i64,
    silence: Option<String>,
}

impl Store {
    /// The alerts of one source that fire under open incidents.
    pub async fn watched_alerts(&self, scope: &str, source: &str) -> Result<Vec<Watched>, Error> {
        let (scope, source) = (scope.to_owned(), source.to_owned());
        self.read(move |conn| {
            Box::pin(async move {
                let rows: Vec<Columns> = db!(conn, c => sqlx::query_as(
                    "select a.incident_id, a.fingerprint, a.starts_at_ms,
                            coalesce(d.missed, 0) as missed, d.missed_since_ms,
                            coalesce(d.missing_told, 0) as missing_told, d.silence
                     from incident i
                     join alert a on a.incident_id = i.id
                     left join alert_doubt d on d.scope = a.scope and d.source = a.source
                         and d.fingerprint = a.fingerprint and d.starts_at_ms = a.starts_at_ms
                     where i.scope = $1 and i.open_key is not null
                       and a.source = $2 and a.status = 'firing'
                     order by a.starts_at_ms, a.fingerprint"
                ).bind(&scope).bind(indexed(&source)).fetch_all(&mut **c).await)?;
                rows.into_iter().map(|row| row.watched(&source)).collect()
            })
        })
        .await
    }

    /// Writes down what a poll changed, and tells the incidents; both or neither.
    pub async fn change_doubts(
        &self,
        scope: &str,
        mut changes: Vec<Change>,
        at_ms: i64,
    ) -> Result<(), Error> {
        let scope = scope.to_owned();
        // Everybody locks incidents in this order.
        changes.sort_by_key(|change| change.incident_id);
        self.write(move |conn| {
            Box::pin(async move {
                for change in changes {
                    keep_doubt(conn, &scope, &change).await?;
                    for entry in &change.tell {
                        inbox::tell(conn, change.incident_id, at_ms, entry).await?;
                    }
                }
                Ok(())
            })
        })
        .await
    }

    /// Forgets what was said of alerts that no longer fire under an open incident.
    pub async fn forget_doubts(&self, scope: &str) -> Result<(), Error> {
        let scope = scope.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query(
                    "delete from alert_doubt where scope = $1 and not exists (
                         select 1 from alert a join incident i on i.id = a.incident_id
                         where a.scope = alert_doubt.scope and a.source = alert_doubt.source
                           and a.fingerprint = alert_doubt.fingerprint
                           and a.starts_at_ms = alert_doubt.starts_at_ms
                           and a.status = 'firing' and i.open_key is not null)"
                ).bind(&scope).execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }

    /// Writes down how a peer answered, `problem` being why it did not; returns its row.
    pub async fn note_peer(
        &self,
        scope: &str,
        name: &str,
        problem: Option<String>,
        at_ms: i64,
    ) -> Result<Peer, Error> {
        let (scope, name) = (scope.to_owned(), name.to_owned());
        self.write(move |conn| {
            Box::pin(async move {
                let failing_since_ms = problem.as_ref().map(|_| at_ms);
                Ok(db!(conn, c => sqlx::query_as(
                    "insert into alertmanager_peer (scope, name, polled_at_ms, failing_since_ms,
                         problem)
                     values ($1, $2, $3, $4, $5)
                     on conflict (scope, name) do update
                     set polled_at_ms = excluded.polled_at_ms, problem = excluded.problem,
                         failing_since_ms = case when excluded.failing_since_ms is null then null
                             else coalesce(alertmanager_peer.failing_since_ms,
                                           excluded.failing_since_ms) end
                     returning name, polled_at_ms, failing_since_ms, problem"
                )
                    .bind(&scope)
                    .bind(indexed(&name))
                    .bind(at_ms)
                    .bind(failing_since_ms)
                    .bind(problem.as_deref().map(text))
                    .fetch_one(&mut **c).await)?)
            })
        })
        .await
    }

    /// The peers that were ever polled.
    pub async fn alertmanager_peers(&self, scope: &str) -> Result<Vec<Peer>, Error> {
        let scope = scope.to_owned();
        self.read(move |conn| {
            Box::pin(async move {
                Ok(db!(conn, c => sqlx::query_as(
                    "select name, polled_at_ms, failing_since_ms, problem
                     from alertmanager_peer where scope = $1 order by name"
                ).bind(&scope).fetch_all(&mut **c).await)?)
            })
        })
        .await
    }

    /// Forgets the peers that are not among these.
    pub async fn forget_peers(&self, scope: &str, but: Vec<String>) -> Result<(), Error> {
        let scope = scope.to_owned();
        for peer in self.alertmanager_peers(&scope).await? {
            if but.iter().any(|name| indexed(name) == peer.name) {
                continue;
            }
            let scope = scope.clone();
            self.write(move |conn| {
                Box::pin(async move {
                    db!(conn, c => sqlx::query(
                        "delete from alertmanager_peer where scope = $1 and name = $2"
                    ).bind(&scope).bind(&peer.name).execute(&mut **c).await.map(|_| ()))?;
                    Ok(())
                })
            })
            .await?;
        }
        Ok(())
    }

    /// Until when nothing of a source can have been missed; `None` before the first poll.
    pub async fn reconciled_until(&self, scope: &str, source: &str) -> Result<Option<i64>, Error> {
        let (scope, source) = (scope.to_owned(), source.to_owned());
        self.read(move |conn| {
            Box::pin(async move {
                let found: Option<(i64,)> = db!(conn, c => sqlx::query_as(
                    "select at_ms from reconciled where scope = $1 and source = $2"
                ).bind(&scope).bind(indexed(&source)).fetch_optional(&mut **c).await)?;
                Ok(found.map(|(at_ms,)| at_ms))
            })
        })
        .await
    }

    /// Writes down that nothing of a source was missed up to this time; it never goes back.
    pub async fn set_reconciled(&self, scope: &str, source: &str, at_ms: i64) -> Result<(), Error> {
        let (scope, source) = (scope.to_owned(), source.to_owned());
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query(
                    "insert into reconciled (scope, source, at_ms) values ($1, $2, $3)
                     on conflict (scope, source) do update
                     set at_ms = case when reconciled.at_ms > excluded.at_ms
                         then reconciled.at_ms else excluded.at_ms end"
                )
                    .bind(&scope)
                    .bind(indexed(&source))
                    .bind(at_ms)
                    .execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }

    /// The pulses of all sources.
    pub async fn pulses(&self, scope: &str) -> Result<Vec<Pulse>, Error> {
        let scope = scope.to_owned();
        self.read(move |conn| {
            Box::pin(async move {
                Ok(db!(conn, c => sqlx::query_as(
                    "select source, seen_at_ms, beats, held_at_ms, absent_since_ms
                     from pipeline_pulse where scope = $1 order by source"
                ).bind(&scope).fetch_all(&mut **c).await)?)
            })
        })
        .await
    }

    /// Alertmanager holds the alert that always fires.
    pub async fn pulse_held(&self, scope: &str, source: &str, at_ms: i64) -> Result<(), Error> {
        let (scope, source) = (scope.to_owned(), source.to_owned());
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query(
                    "update pipeline_pulse set held_at_ms = $3 where scope = $1 and source = $2"
                )
                    .bind(&scope)
                    .bind(indexed(&source))
                    .bind(at_ms)
                    .execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }

    /// Lets a source's pulse be watched from now on, as if it had been seen.
    pub async fn expect_pulse(&self, scope: &str, source: &str, at_ms: i64) -> Result<(), Error> {
        let (scope, source) = (scope.to_owned(), source.to_owned());
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query(
                    "insert into pipeline_pulse (scope, source, seen_at_ms, beats) values ($1, $2, $3, 0)
                     on conflict (scope, source) do nothing"
                )
                    .bind(&scope)
                    .bind(indexed(&source))
                    .bind(at_ms)
                    .execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }

    /// People know that a pulse is absent, or that it is back.
    pub async fn set_pulse_absent(
        &self,
        scope: &str,
        source: &str,
        since_ms: Option<i64>,
    ) -> Result<(), Error> {
        let (scope, source) = (scope.to_owned(), source.to_owned());
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query(
                    "update pipeline_pulse set absent_since_ms = $3 where scope = $1 and source = $2"
                )
                    .bind(&scope)
                    .bind(indexed(&source))
                    .bind(since_ms)
                    .execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }
}

impl Store {
    /// What is known of these alerts.
    pub async fn known_alerts(
        &self,
        scope: &str,
        keys: Vec<AlertKey>,
    ) -> Result<BTreeMap<AlertKey, Known>, Error> {
        let scope = scope.to_owned();
        let stored = |key: AlertKey| AlertKey {
            source: indexed(&key.source).into_owned(),
            fingerprint: indexed(&key.fingerprint).into_owned(),
            ..key
        };
        let keys: Vec<AlertKey> = keys.into_iter().map(stored).collect();
        self.read(move |conn| Box::pin(async move { alerts::find_all(conn, &scope, &keys).await }))
            .await
    }

    /// The labels of the alerts of this name that fired at some time between these. One without a
    /// notice of its end fired no longer than its incident was open.
    pub async fn alerts_between(
        &self,
        scope: &str,
        source: &str,
        name: &str,
        from_ms: i64,
        until_ms: i64,
    ) -> Result<Vec<Labels>, Error> {
        let (scope, source, name) = (scope.to_owned(), source.to_owned(), name.to_owned());
        self.read(move |conn| {
            Box::pin(async move {
                let rows: Vec<(String,)> = db!(conn, c => sqlx::query_as(
                    "select a.labels from alert a
                     where a.scope = $1 and a.source = $2 and a.name = $3 and a.starts_at_ms <= $5
                       and (a.ends_at_ms >= $4 or (a.status = 'firing' and not exists (
                           select 1 from incident i
                           where i.id = a.incident_id and i.ended_at_ms < $4)))"
                )
                    .bind(&scope)
                    .bind(indexed(&source))
                    .bind(indexed(&name))
                    .bind(from_ms)
                    .bind(until_ms)
                    .fetch_all(&mut **c).await)?;
                rows.iter().map(|(text,)| parsed(serde_json::from_str(text), "labels")).collect()
            })
        })
        .await
    }
}

/// The alert that always fires was delivered. Part of the intake's transaction.
pub async fn beat(
    conn: &mut Conn<'_>,
    scope: &str,
    source: &str,
    at_ms: i64,
    deadline_ms: i64,
) -> Result<(), Error> {
    db!(conn, c => sqlx::query(
        "insert into pipeline_pulse (scope, source, seen_at_ms, beats) values ($1, $2, $3, 1)
         on conflict (scope, source) do update
         set beats = case when excluded.seen_at_ms - pipeline_pulse.seen_at_ms <= $4
                 then pipeline_pulse.beats + 1 else 1 end,
             seen_at_ms = case when pipeline_pulse.seen_at_ms > excluded.seen_at_ms
                 then pipeline_pulse.seen_at_ms else excluded.seen_at_ms end"
    )
        .bind(scope)
        .bind(indexed(source))
        .bind(at_ms)
        .bind(deadline_ms)
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

async fn keep_doubt(conn: &mut Conn<'_>, scope: &str, change: &Change) -> Result<(), Error> {
    let Change { key, doubt, .. } = change;
    if *doubt == Doubt::default() {
        db!(conn, c => sqlx::query(
            "delete from alert_doubt
             where scope = $1 and source = $2 and fingerprint = $3 and starts_at_ms = $4"
        )
            .bind(scope)
            .bind(indexed(&key.source))
            .bind(indexed(&key.fingerprint))
            .bind(key.starts_at_ms)
            .execute(&mut **c).await.map(|_| ()))?;
        return Ok(());
    }
    db!(conn, c => sqlx::query(
        "insert into alert_doubt (scope, source, fingerprint, starts_at_ms, missed,
             missed_since_ms, missing_told, silence)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (scope, source, fingerprint, starts_at_ms) do update
         set missed = excluded.missed, missed_since_ms = excluded.missed_since_ms,
             missing_told = excluded.missing_told, silence = excluded.silence"
    )
        .bind(scope)
        .bind(indexed(&key.source))
        .bind(indexed(&key.fingerprint))
        .bind(key.starts_at_ms)
        .bind(doubt.missed)
        .bind(doubt.missed_since_ms)
        .bind(i64::from(doubt.missing_told))
        .bind(doubt.silence.as_deref().map(text))
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

impl Columns {
    fn watched(self, source: &str) -> Result<Watched, Error> {
        Ok(Watched {
            incident_id: parsed(self.incident_id.parse(), "incident id")?,
            key: AlertKey {
                source: source.to_owned(),
                fingerprint: self.fingerprint,
                starts_at_ms: self.starts_at_ms,
            },
            doubt: Doubt {
                missed: self.missed,
                missed_since_ms: self.missed_since_ms,
                missing_told: self.missing_told != 0,
                silence: self.silence,
            },
        })
    }
}
