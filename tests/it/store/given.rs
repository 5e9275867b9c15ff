//! What the store's tests start from.

use watchkeeper::clock::Clock;
use watchkeeper::model::action::{ActionState, Answer};
use watchkeeper::model::alert::Severity;
use watchkeeper::model::guard::Watch;
use watchkeeper::model::ids::{ActionId, DeliveryId, IncidentId, MessageId};
use watchkeeper::model::incident::State;
use watchkeeper::model::message::{Event, Message, Urgency};
use watchkeeper::model::timeline::{Entry, Usage};
use watchkeeper::store::actions::{self, Decision};
use watchkeeper::store::db::Conn;
use watchkeeper::store::deliveries::{self, Fate};
use watchkeeper::store::incidents::{self, Lease, Opening, Place};
use watchkeeper::store::intents::Intent;
use watchkeeper::store::step::{Announcement, Projection, Step};
use watchkeeper::store::timeline::Head;
use watchkeeper::store::{Error, Store};

pub const SCOPE: &str = "default";

pub fn now() -> i64 {
    Clock::system().now_ms()
}

pub fn delivery(body: &str) -> deliveries::Row {
    deliveries::Row {
        id: DeliveryId::new(),
        scope: SCOPE.into(),
        source: "alertmanager".into(),
        received_at_ms: 1_000,
        body: body.into(),
        fate: Fate::Waiting,
    }
}

pub async fn waiting(store: &Store, at_most: i64) -> Vec<deliveries::Row> {
    store
        .write(move |conn| Box::pin(async move { deliveries::waiting(conn, at_most).await }))
        .await
        .unwrap()
}

pub fn opening(key: &str, severity: Severity, at_ms: i64) -> Opening {
    Opening {
        id: IncidentId::new(),
        scope: SCOPE.into(),
        title: format!("about {key}"),
        severity,
        correlation_key: key.into(),
        at_ms,
        page_due_at_ms: None,
        breadth: 1,
    }
}

pub async fn open(store: &Store, opening: &Opening) -> Result<u64, Error> {
    let openings = [opening.clone()];
    let opened = store
        .write(move |conn| Box::pin(async move { incidents::open_all(conn, &openings).await }))
        .await?;
    Ok(opened.len() as u64)
}

/// Opens an incident that is due and claims it.
pub async fn claimed(store: &Store, key: &str) -> Lease {
    let opening = opening(key, Severity::Critical, 1_000);
    assert_eq!(open(store, &opening).await.unwrap(), 1);
    let mut leases = store.claim("worker", 1_000, now(), 60_000).await.unwrap();
    let at = leases.iter().position(|lease| lease.incident_id == opening.id).unwrap();
    leases.swap_remove(at)
}

pub async fn place(store: &Store, key: &str, ended_after_ms: i64) -> Option<Place> {
    let of = key.to_owned();
    let places = store.write(move |conn| {
        Box::pin(async move {
            incidents::places(conn, SCOPE, &[of.as_str(), "nobody's"].into(), ended_after_ms).await
        })
    });
    let mut places = places.await.unwrap();
    let place = places.remove(key);
    assert_eq!(places, [].into());
    place
}

pub fn said(by: &str) -> Entry {
    Entry::Acknowledged { by: by.into() }
}

/// A step that only moves the row.
pub fn step(lease: &Lease, after: &Head) -> Step {
    Step {
        lease: lease.clone(),
        after: after.clone(),
        entries: Vec::new(),
        folded: Vec::new(),
        row: Some(Projection {
            title: "as the timeline says".into(),
            severity: Severity::Critical,
            state: State::Investigating,
            due_at_ms: None,
            page_due_at_ms: None,
            ended_at_ms: None,
        }),
        actions: Vec::new(),
        intent: None,
        failures: Vec::new(),
        messages: Vec::new(),
        blobs: Vec::new(),
        usage: Usage::default(),
        at_ms: 2_000,
    }
}

/// The row that a step writes.
pub fn row_of(step: &mut Step) -> &mut Projection {
    step.row.as_mut().unwrap()
}

pub fn action(incident_id: IncidentId, state: ActionState) -> actions::Row {
    actions::Row {
        id: ActionId::new(),
        scope: SCOPE.into(),
        incident_id,
        state,
        tool: "restart_service".into(),
        args: r#"{"host":"web1","service":"nginx"}"#.into(),
        call_hash: "c0ffee".into(),
        tier: "confirm".into(),
        risk: "low".into(),
        reason: "502s".into(),
        description: "restart nginx on web1".into(),
        rollback: None,
        preview: Some("active (running)".into()),
        rules_version: "r1".into(),
        roles: vec!["sre".into()],
        quorum: 1,
        approved_by: Vec::new(),
        proposed_at_ms: 2_000,
        expires_at_ms: Some(9_000),
        decided_by: None,
        decided_at_ms: None,
        comment: None,
    }
}

pub async fn add_action(store: &Store, row: &actions::Row) {
    let row = row.clone();
    store
        .write(move |conn| Box::pin(async move { actions::insert(conn, &row).await }))
        .await
        .unwrap();
}

pub fn decision(action_id: ActionId, answer: Answer) -> Decision {
    Decision { action_id, answer, by: "ann".into(), comment: Some("go".into()), at_ms: 3_000 }
}

pub fn intent(row: &actions::Row, from: ActionState) -> Intent {
    Intent {
        action_id: row.id,
        incident_id: row.incident_id,
        from,
        limits: Vec::new(),
        orders_version: 0,
        watch: Watch::default(),
        at_ms: 4_000,
        held_until_ms: 200_000,
    }
}

/// So many incidents, each with an allowed action and the step that would start it.
pub async fn many_steps(store: &Store, count: usize) -> Vec<Step> {
    let openings: Vec<Opening> =
        (0..count).map(|n| opening(&format!("many {n}"), Severity::Critical, 1_000)).collect();
    let actions: Vec<actions::Row> =
        openings.iter().map(|opening| action(opening.id, ActionState::Allowed)).collect();
    let rows = actions.clone();
    store
        .write(move |conn| {
            Box::pin(async move {
                incidents::open_all(conn, &openings).await?;
                for row in &rows {
                    actions::insert(conn, row).await?;
                }
                Ok(())
            })
        })
        .await
        .unwrap();
    let leases = store.claim("worker", 10_000, now(), 60_000).await.unwrap();
    actions
        .iter()
        .map(|row| {
            let lease = leases.iter().find(|lease| lease.incident_id == row.incident_id).unwrap();
            let intent = Some(intent(row, ActionState::Allowed));
            Step { intent, ..step(lease, &Head::default()) }
        })
        .collect()
}

pub fn announcement(incident_id: Option<IncidentId>, transition: &str) -> Announcement {
    Announcement {
        transition: transition.into(),
        message: Message {
            id: MessageId::new(),
            scope: SCOPE.into(),
            incident_id,
            event: Event::Note,
            urgency: Urgency::Tell,
            severity: Severity::Warning,
            title: format!("says {transition}"),
            facts: vec![("host".into(), "web1".into())],
            paragraphs: vec!["…".into()],
            links: Vec::new(),
            dedup_key: "d".into(),
            created_at_ms: 1_000,
            channels: Vec::new(),
        },
    }
}

/// Writes one row that nothing else reads; the second of the same name conflicts.
pub async fn put_row(conn: &mut Conn<'_>, name: &str) -> Result<(), Error> {
    let sql = "insert into switch (name, value, by_whom, at_ms) values ($1, 'off', '', 0)";
    match conn {
        Conn::Lite(c) => sqlx::query(sql).bind(name).execute(&mut **c).await.map(|_| ())?,
        Conn::Pg(c) => sqlx::query(sql).bind(name).execute(&mut **c).await.map(|_| ())?,
    }
    Ok(())
}
