//! The same with the real Alertmanager, in a cluster of two, and the real Prometheus.

use super::site::Site;
use crate::support::binary::eventually;

const OVER: &str = "resolved";
/// Without a runbook a person gets it.
const OPEN: &str = "escalated";

#[tokio::test]
async fn what_happened_while_the_server_was_down_is_known_afterwards_in_full() {
    let mut site = Site::up().await;
    site.start_server().await;
    site.raise("plain", &["before", "through"]);
    site.incidents(&[("before", OPEN), ("through", OPEN)]).await;
    site.kill_server();

    // Seven begin in the gap. Alertmanager tries to tell, across several group intervals.
    let in_gap = ["g1", "g2", "g3", "g4", "g5", "g6", "g7"];
    site.raise("plain", &in_gap);
    site.prometheus_fires(&[&in_gap[..], &["before", "through"]].concat()).await;
    for peer in 0..2 {
        site.peer_holds(peer, &[&in_gap[..], &["before", "through"]].concat()).await;
    }
    eventually("deliveries failed", async || {
        let failed = "alertmanager_notification_requests_failed_total";
        let (a, b) = tokio::join!(site.counted_by_peer(0, failed), site.counted_by_peer(1, failed));
        (a.unwrap_or(0) + b.unwrap_or(0) >= 10).then_some(())
    })
    .await;
    // Of these, five end in the gap, as does one that was known before.
    site.lower(&["before", "g1", "g2", "g3", "g4", "g5"]);
    site.prometheus_fires(&["through", "g6", "g7"]).await;
    for peer in 0..2 {
        site.peer_holds(peer, &["through", "g6", "g7"]).await;
    }

    site.start_server().await;
    let wanted = [
        ("before", OVER),
        ("through", OPEN),
        ("g1", OVER),
        ("g2", OVER),
        ("g3", OVER),
        ("g4", OVER),
        ("g5", OVER),
        ("g6", OPEN),
        ("g7", OPEN),
    ];
    site.incidents(&wanted).await;
    // And it stays so, however often they are asked.
    site.polls(6).await;
    let incidents = site.incidents(&wanted).await;
    assert_eq!(incidents.len(), wanted.len());
    let late = incidents.iter().filter(|one| one["title"].as_str().unwrap().contains(": g1"));
    let late = site.incident(late.last().unwrap()).await;
    let alert = &late["alerts"][0]["alert"];
    assert_eq!(alert["labels"]["region"], "north", "as Alertmanager saw it: {alert:#}");
    // The name that we gave to what Alertmanager no longer shows is the one that it would give.
    site.raise("plain", &["g1"]);
    site.peer_holds(0, &["through", "g6", "g7", "g1"]).await;
    let held = site.json(site.ports.peers[0], "/api/v2/alerts").await.unwrap();
    let held = held.as_array().unwrap().iter().find(|one| one["labels"]["service"] == "g1");
    assert_eq!(held.unwrap()["fingerprint"], alert["fingerprint"]);
}

#[tokio::test]
async fn a_restarted_cluster_and_a_dead_exporter_close_nothing() {
    let mut site = Site::up().await;
    site.start_server().await;
    site.raise("plain", &["s1"]);
    let incident = site.incidents(&[("s1", OPEN)]).await.remove(0);

    // Both peers forget everything, and with the exporter its series are gone, so that Prometheus
    // fires nothing any more.
    site.lose_peer(0);
    site.lose_peer(1);
    site.kill_exporter();
    site.prometheus_fires(&[]).await;
    site.start_peer(0).await;
    site.peer_holds(0, &[]).await;
    // The other one may hold it: while it does not answer, nothing is missing.
    site.polls(12).await;
    assert_eq!(site.incident(&incident).await["unverified"], false);

    site.start_peer(1).await;
    eventually("the incident is unverified", async || {
        let one = site.incident(&incident).await;
        (one["unverified"] == true).then_some(())
    })
    .await;
    site.polls(6).await;
    let one = site.incident(&incident).await;
    assert_eq!(one["incident"]["state"], OPEN, "nothing closes: {one:#}");

    // The exporter is back, and with it the alert.
    site.start_exporter();
    site.prometheus_fires(&["s1"]).await;
    eventually("its alert is seen again", async || {
        let one = site.incident(&incident).await;
        (one["unverified"] == false).then_some(())
    })
    .await;
    site.incidents(&[("s1", OPEN)]).await;
}

#[tokio::test]
async fn silenced_inhibited_and_foreign_alerts_are_left_out() {
    let mut site = Site::up().await;
    site.silence("quiet", "ada").await;
    // Nobody listens yet, so that only a poll can tell.
    site.raise("foreign", &["foreign"]);
    site.raise("plain", &["quiet", "loud"]);
    site.raise("root", &["root"]);
    site.raise("leaf", &["leaf"]);
    let all = ["foreign", "quiet", "loud", "root", "leaf"];
    for peer in 0..2 {
        site.peer_holds(peer, &all).await;
    }
    site.start_server().await;
    let wanted = [("loud", OPEN), ("root", OPEN)];
    site.incidents(&wanted).await;
    site.polls(8).await;
    let incidents = site.incidents(&wanted).await;

    // A person silences one that is known.
    site.silence("loud", "bob").await;
    let loud = incidents.iter().find(|one| one["title"].as_str().unwrap().contains(": loud"));
    let loud = loud.unwrap();
    let silence = eventually("the silence is known", async || {
        let one = site.incident(loud).await;
        let silence = one["alerts"][0]["silence"].clone();
        silence.is_object().then_some(silence)
    })
    .await;
    assert_eq!((&silence["by"], &silence["comment"]), (&"bob".into(), &"known".into()));

    let doctor = site.doctor().await;
    for part in ["alerts for watchkeeper", "without the watchdog"] {
        assert!(doctor.contains(part), "{part} is not in {doctor}");
    }
}
