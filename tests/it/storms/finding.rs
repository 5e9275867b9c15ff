//! Alerts are found by what they are, however many there are, a bounded piece of work at a time.

use super::take_in;
use crate::support::drill::Problem;
use crate::support::engines::for_each_engine;
use crate::support::world::{SCOPE, World, webhook};
use watchkeeper::model::alert::Status;
use watchkeeper::store::alerts::{Page, Search};

fn pods(page: &Page) -> Vec<&str> {
    page.alerts.iter().map(|one| one.alert.labels["pod"].as_str()).collect()
}

#[tokio::test]
async fn a_search_by_label_goes_back_in_bounded_steps_and_leaves_nothing_out() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        // Three moments with three alerts each; one of each has the label that is looked for.
        for (at, zone) in [("a", "x"), ("b", "y"), ("c", "x")] {
            let alerts: Vec<_> = (0..3)
                .map(|n| {
                    let pod: &'static str = Box::leak(format!("{at}{n}").into_boxed_str());
                    let zone = if n == 1 { zone } else { "z" };
                    Problem::down().with("pod", pod).with("zone", zone).alert("firing")
                })
                .collect();
            server.post(&webhook(&alerts)).await;
            take_in(&server).await;
            world.clock.advance(1_000);
        }
        let store = &server.app.store;
        let search = Search {
            labels: vec![("zone".into(), "x".into())],
            at_most: 10,
            among: 4,
            ..Search::default()
        };
        let first = store.find_alerts(SCOPE, search.clone()).await.unwrap();
        // The fourth is of the second moment, which is looked at whole.
        assert_eq!((pods(&first), first.more), (vec!["c1"], false));
        assert!(first.searched_to_ms.is_some());
        let older = Search { before_ms: first.searched_to_ms, ..search.clone() };
        let second = store.find_alerts(SCOPE, older).await.unwrap();
        assert_eq!((pods(&second), second.searched_to_ms), (vec!["a1"], None));
        let whole = Search { among: 1_000, ..search.clone() };
        let whole = store.find_alerts(SCOPE, whole).await.unwrap();
        assert_eq!((pods(&whole), whole.searched_to_ms), (vec!["c1", "a1"], None));
        let firing = Search { labels: Vec::new(), status: Some(Status::Firing), ..search.clone() };
        let firing = store.find_alerts(SCOPE, firing).await.unwrap();
        assert_eq!(firing.alerts.len(), 6, "both moments that were looked at");
        // What an index leads to is searched to the end.
        let incident = first.alerts[0].incident_id;
        let of_it = Search { incident, ..search };
        let of_it = store.find_alerts(SCOPE, of_it).await.unwrap();
        assert_eq!((pods(&of_it), of_it.searched_to_ms), (vec!["c1", "a1"], None));
        server.stop().await;
    })
    .await;
}
