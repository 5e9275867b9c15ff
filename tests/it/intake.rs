//! Alerts that come in together have the effect of alerts that come one by one.

use crate::support::drill::Problem;
use crate::support::engines::for_each_engine;
use crate::support::world::{World, alert, webhook};
use watchkeeper::model::alert::Status;
use watchkeeper::store::alerts::Search;
use watchkeeper::store::timeline::Stream;

#[tokio::test(flavor = "multi_thread")]
async fn repeats_and_ends_within_one_delivery_are_told_once_and_in_order() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        let down = |status| alert(status, "ServiceDown", &[("service", "web")]);
        let other = alert("firing", "QueueBacklog", &[("service", "worker")]);
        let unheard = alert("resolved", "DiskSpaceLow", &[("service", "db")]);
        let body = webhook(&[
            down("firing"),
            other,
            down("firing"),
            down("resolved"),
            down("firing"),
            unheard,
        ]);
        server.post(&body).await;
        server.post(&webhook(&[down("resolved")])).await;
        assert_eq!(server.app.intake.take_batch().await.unwrap(), 2);
        assert_eq!(server.app.intake.take_batch().await.unwrap(), 0);

        let mut told = Vec::new();
        for incident in server.incidents().await {
            let store = &server.app.store;
            let inbox = store.inbox(Stream::incident(incident.id)).await.unwrap();
            let kinds: Vec<_> = inbox.iter().map(|item| item.entry.kind().to_owned()).collect();
            let alerts = store.alerts_of(incident.id).await.unwrap();
            let alerts: Vec<_> = alerts.iter().map(|a| (a.alert.status, a.deliveries)).collect();
            told.push((incident.title, kinds.join(" "), alerts));
        }
        told.sort_by(|a, b| a.0.cmp(&b.0));
        let wanted = [
            ("QueueBacklog: worker on box1", "opened alert_fired", vec![(Status::Firing, 1)]),
            // The firing copy behind the end is a late one.
            (
                "ServiceDown: web on box1",
                "opened alert_fired alert_resolved",
                vec![(Status::Resolved, 4)],
            ),
        ];
        let wanted = wanted.map(|(title, kinds, a)| (title.to_owned(), kinds.to_owned(), a));
        assert_eq!(told, wanted);
        assert_eq!(server.app.store.alert_count().await.unwrap(), 3);
        server.stop().await;
    })
    .await;
}

/// The same labels fire once at a time: the list says of an alert what its incident says.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_began_anew_is_listed_as_over_where_it_began_before() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(0).await;
        server.post(&Problem::down().since("2026-03-10T10:05:00Z").firing()).await;
        server.settle(0).await;
        let case = server.only_case().await;
        assert_eq!(case.firing().count(), 1);
        let listed = async |status| {
            let search = Search { status, at_most: 9, ..Search::default() };
            let scope = &world.settings.scope;
            let page = server.app.store.find_alerts(scope, search).await.unwrap();
            let listed = page.alerts.iter().map(|one| (one.alert.status, one.alert.starts_at_ms));
            listed.collect::<Vec<_>>()
        };
        let (first, second) = (1_773_136_800_000, 1_773_137_100_000);
        assert_eq!(listed(Some(Status::Firing)).await, [(Status::Firing, second)]);
        assert_eq!(listed(Some(Status::Resolved)).await, [(Status::Resolved, first)]);
        assert_eq!(listed(None).await.len(), 2);
        server.stop().await;
    })
    .await;
}
