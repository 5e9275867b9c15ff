//! Alerts find their incident: joined by our own key or by labels that they share, opened when there
//! is none.
//!
//! In: alerts inside the intake's transaction. Out: their rows, and entries in the incidents'
//! inboxes where they say something new. Repeats change nothing but a counter. Many alerts take as
//! many statements as one: first everything is looked up, then decided in order, then written.
//! Never: the sender's group key as identity; it changes when somebody edits the route tree.

mod batch;
mod places;

pub use super::announce::Words;
pub use super::correlator::{Correlator, Flapping, Join};

use crate::model::alert::{Alert, AlertKey, Status};
use crate::model::ids::IncidentId;
use crate::store::alerts::Known;
use crate::store::db::Conn;
use crate::store::{Error, alerts, incidents};
use batch::Batch;
use places::{Home, Places};
use std::collections::{BTreeMap, BTreeSet};

/// A firing copy that arrives this soon after its own resolved notice is a late one, e.g. from the
/// other peer of an Alertmanager pair; Alertmanager's default group_interval is five minutes.
const LATE_COPY_MS: i64 = 5 * 60 * 1000;

/// So long an alert may linger after its incident was measured to be over: the ranges in its rule,
/// `keep_firing_for` and Alertmanager's intervals all delay the resolved notice.
const LINGER_MS: i64 = 30 * 60 * 1000;

/// An alert on its way in.
#[derive(Clone, Copy)]
pub struct Arrival<'a> {
    pub alert: &'a Alert,
    pub group_key: Option<&'a str>,
    pub heard: Heard,
}

/// When an alert was heard of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Delivered, or fetched while it fires.
    InTime,
    /// It was over before anybody could tell us; an incident keeps it findable.
    Late,
}

/// Takes in alerts of one scope, in this order, inside a transaction.
pub async fn take_all(
    conn: &mut Conn<'_>,
    correlator: &Correlator,
    scope: &str,
    arrivals: &[Arrival<'_>],
    now_ms: i64,
) -> Result<(), Error> {
    let ignored = |arrival: &Arrival<'_>| {
        correlator.ignore.iter().any(|matcher| matcher.matches(&arrival.alert.labels))
    };
    let arrivals: Vec<(AlertKey, Arrival<'_>)> = arrivals
        .iter()
        .filter(|arrival| !ignored(arrival))
        .map(|arrival| (alerts::stored_key(arrival.alert), *arrival))
        .collect();
    if arrivals.is_empty() {
        return Ok(());
    }
    let keys: BTreeSet<&AlertKey> = arrivals.iter().map(|(key, _)| key).collect();
    let known = alerts::find_all(conn, scope, keys).await?;
    let outlived = outlived(conn, &known, now_ms).await?;
    // An alert that is known to fire has its incident already.
    let homeless: Vec<(usize, Home)> = arrivals
        .iter()
        .enumerate()
        .filter(|(_, (key, _))| {
            known
                .get(key)
                .is_none_or(|known| known.status == Status::Resolved || outlives(&outlived, known))
        })
        .map(|(i, (key, arrival))| (i, Home::of(correlator, key, arrival.alert)))
        .collect();
    let homes: Vec<&Home> = homeless.iter().map(|(_, home)| home).collect();
    let places = Places::look_up(conn, correlator, scope, &homes, now_ms).await?;
    let mut batch = Batch::new(correlator, scope, now_ms, known, outlived, places);
    let mut homeless = homeless.into_iter().peekable();
    for (i, (key, arrival)) in arrivals.iter().enumerate() {
        let home = homeless.next_if(|(of, _)| *of == i).map(|(_, home)| home);
        batch.take(conn, key, *arrival, home).await?;
    }
    batch.write(conn).await
}

/// Incidents that ended long ago, of alerts that are known to fire.
async fn outlived(
    conn: &mut Conn<'_>,
    known: &BTreeMap<AlertKey, Known>,
    now_ms: i64,
) -> Result<BTreeSet<IncidentId>, Error> {
    let of: BTreeSet<IncidentId> = known
        .values()
        .filter(|known| known.status == Status::Firing)
        .filter_map(|known| known.incident_id)
        .collect();
    if of.is_empty() {
        return Ok(BTreeSet::new());
    }
    incidents::ended_before(conn, &of, now_ms - LINGER_MS).await
}

/// Whether an alert still fires long after its incident was measured to be over: then it is not.
fn outlives(outlived: &BTreeSet<IncidentId>, known: &Known) -> bool {
    known.status == Status::Firing && known.incident_id.is_some_and(|id| outlived.contains(&id))
}
