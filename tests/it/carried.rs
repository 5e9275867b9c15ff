//! What a worker carries from one step to the next is never what decides.

use crate::support::drill::Problem;
use crate::support::engines::{Ground, for_each_engine};
use crate::support::world::{Server, World};
use futures::future::BoxFuture;
use std::sync::{Arc, Mutex};
use watchkeeper::app::Instead;
use watchkeeper::incident::advance::{Known, Next, advance};
use watchkeeper::model::action::ActionState;
use watchkeeper::model::alert::Silence;
use watchkeeper::model::ids::IncidentId;
use watchkeeper::model::incident::State;
use watchkeeper::model::timeline::Entry;
use watchkeeper::store::incidents::Lease;
use watchkeeper::store::step::Inbox;
use watchkeeper::store::tap::{Access, Tap};
use watchkeeper::store::{Error, Store};

/// A stopped service, its alert taken in, and the lease on the incident.
async fn down(ground: &Ground) -> (World, Server, Lease) {
    let world = World::new(ground).await;
    let server = world.server().await;
    let lease = claimed(&world, &server).await;
    (world, server, lease)
}

async fn claimed(world: &World, server: &Server) -> Lease {
    world.break_service("web");
    Problem::down().in_prometheus(world);
    server.post(&Problem::down().firing()).await;
    while server.app.intake.take_batch().await.unwrap() > 0 {}
    let now_ms = world.clock.now_ms();
    let mut leases = server.app.store.claim("test", 8, now_ms, 60_000).await.unwrap();
    leases.pop().unwrap()
}

/// Takes steps until the incident is in this state.
async fn until(server: &Server, lease: &Lease, state: State) -> Known {
    let mut known = None;
    for _ in 0..50 {
        let (next, left) = Box::pin(advance(&server.app.desk(), lease, known)).await.unwrap();
        if left.case.state() == state {
            return left;
        }
        assert_eq!(next, Next::Again);
        known = Some(left);
    }
    panic!("it never came to {state:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_between_two_steps_stops_the_change_that_would_follow() {
    for_each_engine(|ground| async move {
        let (world, server, lease) = down(&ground).await;
        let mut known = until(&server, &lease, State::Proposed).await;
        assert_eq!(known.inbox, Inbox::Empty);
        server.post(&Problem::down().resolved()).await;
        while server.app.intake.take_batch().await.unwrap() > 0 {}
        while known.case.state() != State::Resolved {
            let step = Box::pin(advance(&server.app.desk(), &lease, Some(known))).await;
            known = step.unwrap().1;
        }
        assert_eq!(world.restarts("web"), 0);
        server.stop().await;
    })
    .await;
}

/// Tells an incident something just before its next step is committed.
#[derive(Default)]
struct JustBefore(Mutex<Option<(Store, IncidentId, Entry)>>);

impl Tap for JustBefore {
    fn before(&self, access: Access) -> BoxFuture<'_, Result<(), Error>> {
        let commit = matches!(access, Access::Write(name) if name.contains("::step::"));
        let news = commit.then(|| self.0.lock().unwrap().take()).flatten();
        Box::pin(async move {
            let Some((store, id, entry)) = news else { return Ok(()) };
            store.tell_incident(id, 1, entry).await
        })
    }

    fn after(&self, _: Access) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
}

/// The call was judged and the target looked at; the intent is about to be committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_silence_in_the_inbox_stops_the_intent_that_is_about_to_be_committed() {
    for_each_engine(|ground| async move {
        let (opened, tap) = (ground.open().await, Arc::new(JustBefore::default()));
        let world = World::new(&ground).await;
        let instead =
            Instead { store: Some(opened.store.tapped(tap.clone())), ..Instead::default() };
        let server = world.server_with(instead).await;
        let lease = claimed(&world, &server).await;
        let mut known = until(&server, &lease, State::Executing).await;
        let silence = Silence {
            id: "s1".into(),
            by: "ada".into(),
            comment: "mine".into(),
            until_ms: world.clock.now_ms() + 3_600_000,
        };
        let entry = Entry::AlertSilenced { key: known.case.alerts[0].alert.key(), silence };
        *tap.0.lock().unwrap() = Some((opened.store.clone(), lease.incident_id, entry));
        for _ in 0..10 {
            known = Box::pin(advance(&server.app.desk(), &lease, Some(known))).await.unwrap().1;
        }
        assert!(tap.0.lock().unwrap().is_none(), "it was told");
        assert_eq!(world.restarts("web"), 0, "{:#?}", known.case.actions);
        let action = &known.case.actions[0];
        assert_eq!(action.state, ActionState::Superseded);
        assert_eq!(
            action.outcome.as_deref(),
            Some("ada silenced ServiceDown in Alertmanager: mine")
        );
        let counts = "select (select count(*) from intent), (select count(*) from inbox)";
        assert_eq!(ground.sql(counts).await, [["0", "0"]]);
        server.stop().await;
        opened.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_is_not_the_stored_one_is_refused() {
    for_each_engine(|ground| async move {
        let (_world, server, lease) = down(&ground).await;
        let known = until(&server, &lease, State::Investigating).await;
        let before = server.case(lease.incident_id).await;
        // As if another step had been taken: the next one of this worker is decided on the wrong
        // entry, and then on the wrong hash.
        for (seq, head) in [(before.seq - 1, before.head.clone()), (before.seq, "other".into())] {
            let mut stale = known.clone();
            (stale.case.seq, stale.case.head) = (seq, head);
            let step = Box::pin(advance(&server.app.desk(), &lease, Some(stale))).await;
            assert!(matches!(step, Err(Error::Fenced)), "{step:?}");
        }
        assert_eq!(server.case(lease.incident_id).await, before);
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_while_a_mind_thinks_is_folded_by_the_next_step() {
    for_each_engine(|ground| async move {
        let (_world, server, lease) = down(&ground).await;
        let known = until(&server, &lease, State::Investigating).await;
        assert_eq!(known.inbox, Inbox::Empty);
        let by = "ada".to_owned();
        let entry = Entry::Acknowledged { by: by.clone() };
        let now_ms = server.app.clock.now_ms();
        server.app.store.tell_incident(lease.incident_id, now_ms, entry).await.unwrap();
        // The step that is under way does not ask, and its commit finds what waits.
        let step = Box::pin(advance(&server.app.desk(), &lease, Some(known))).await;
        let known = step.unwrap().1;
        assert_eq!((known.inbox, known.case.acknowledged.clone()), (Inbox::Waiting, None));
        let step = Box::pin(advance(&server.app.desk(), &lease, Some(known))).await;
        let taken = step.unwrap().1.case.acknowledged.map(|(who, _)| who);
        assert_eq!(taken, Some(by));
        server.stop().await;
    })
    .await;
}
