//! Lines are made of every head, once, and reach each target in order, also late.

use super::checkpoints::{KEY, compared, text};
use crate::support::engines::{for_each_engine, on_sqlite};
use crate::support::world::World;
use crate::support::{Server as Double, Shared, answer};
use axum::Router;
use axum::extract::{Request, State};
use watchkeeper::audit::writer::Writer;
use watchkeeper::config::CheckpointMethod;
use watchkeeper::model::system::SystemEntry;
use watchkeeper::store::checkpoints::{HEADS_AT_ONCE, Material};

#[tokio::test]
async fn a_target_that_does_not_take_lines_is_reported_once_and_gets_them_later() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        let folder = world.folder.join("away");
        world.settings.audit.checkpoint.key = Some(KEY.into());
        world.settings.audit.checkpoint.file = Some(folder.join("lines"));
        let server = world.server().await;
        let store = &server.app.store;
        let writer = server.app.checkpoints.clone().unwrap();
        for n in 1..=3 {
            let entry = SystemEntry::Resumed { by: format!("person {n}") };
            store.record_system(n, entry).await.unwrap();
            assert_eq!(writer.once().await.unwrap(), 0);
        }
        let told = "select count(*) from message where transition like 'checkpoint:file:%'";
        assert_eq!(ground.sql(told).await, [["1"]]);
        server.settle(1).await;
        assert!(world.slack_said().contains("do not reach their file"), "{}", world.slack_said());
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(writer.once().await.unwrap(), 3);
        let report = compared(store, &[text(&folder.join("lines"))]).await;
        assert_eq!((report.lines, report.findings), (3, Vec::new()));
        assert_eq!(ground.sql("select count(*) from checkpoint_line").await, [["0"]]);
        assert!(!text(&folder.join("lines")).contains(KEY));
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_are_recorded_in_portions_and_every_waiting_line_is_counted() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        let folder = world.folder.join("away");
        world.settings.audit.checkpoint.key = Some(KEY.into());
        world.settings.audit.checkpoint.file = Some(folder.join("lines"));
        let server = world.server().await;
        let (store, writer) = (&server.app.store, server.app.checkpoints.clone().unwrap());
        let entry = SystemEntry::Resumed { by: "ann".into() };
        store.record_system(1, entry).await.unwrap();
        let more = 3 * HEADS_AT_ONCE;
        ground
            .sql(format!(
                "insert into stream_head (stream_kind, stream_id, seq, head)
                 with recursive n (i) as (select 1 union all select i + 1 from n where i < {more})
                 select 'incident', cast(i as text), 1, 'h' from n"
            ))
            .await;
        let none = |material: &Material| {
            assert_eq!(material.changed.len(), HEADS_AT_ONCE);
            Vec::new()
        };
        let recorded = store.make_checkpoint("without a lease", 1, none).await.unwrap();
        assert_eq!(recorded, 0, "whoever has no lease records nothing");
        assert_eq!(writer.once().await.unwrap(), 0);
        let heads = format!("{}", more + 1);
        assert_eq!(ground.sql("select count(*) from checkpoint_head").await, [[heads.clone()]]);
        let lines = i64::try_from(more / 50 + 1).unwrap();
        assert_eq!(store.count_unsent_checkpoints("file").await.unwrap(), lines);
        assert_eq!(store.taken_checkpoints().await.unwrap(), 0);
        std::fs::create_dir(&folder).unwrap();
        writer.once().await.unwrap();
        assert_eq!(store.count_unsent_checkpoints("file").await.unwrap(), 0);
        assert_eq!(store.taken_checkpoints().await.unwrap(), lines);
        let lines = text(&folder.join("lines"));
        assert_eq!(lines.lines().count(), more / 50 + 1);
        assert_eq!(lines.matches("\"incident/").count(), more, "each head stands in one line");
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_make_one_sequence_of_lines() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        let file = world.folder.join("lines");
        world.settings.audit.checkpoint.key = Some(KEY.into());
        world.settings.audit.checkpoint.file = Some(file.clone());
        let server = world.server().await;
        let store = server.app.store.clone();
        let one = server.app.checkpoints.clone().unwrap();
        let two = Writer { owner: "another".into(), ..one.clone() };
        for n in 1..=20 {
            let entry = SystemEntry::Resumed { by: format!("person {n}") };
            store.record_system(n, entry).await.unwrap();
            let (a, b) = futures::join!(one.once(), two.once());
            assert_eq!(a.unwrap() + b.unwrap(), 1);
            // Whoever made this one dies before the next.
            ground.sql("update checkpoint set lease_until_ms = 0").await;
        }
        let report = compared(&store, &[text(&file)]).await;
        assert_eq!((report.lines, report.findings), (20, Vec::new()));
        server.stop().await;
    })
    .await;
}

type Taken = Shared<Vec<(String, String, String)>>;

async fn take(State(taken): State<Taken>, request: Request) -> axum::response::Response {
    let auth = request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
    let at = format!("{} {}", request.method(), request.uri());
    let body = axum::body::to_bytes(request.into_body(), 100_000).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    taken.lock().push((at, auth.unwrap_or_default(), body));
    answer(200, "text/plain", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_go_to_an_object_store_and_to_syslog() {
    on_sqlite(|ground| async move {
        let taken: Taken = Shared::new(Vec::new());
        let store = Double::http(Router::new().fallback(take).with_state(taken.clone())).await;
        let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut world = World::new(&ground).await;
        let checkpoint = &mut world.settings.audit.checkpoint;
        checkpoint.key = Some(KEY.into());
        checkpoint.syslog = Some(format!("udp://{}", udp.local_addr().unwrap()));
        let url = format!("http://{}/bucket/{{number}}.json?signature=s", store.addr);
        checkpoint.http.url = Some(url.into());
        checkpoint.http.client.bearer_token = Some("t0ken".into());
        let server = world.server().await;
        let entry = SystemEntry::Resumed { by: "ann".into() };
        server.app.store.record_system(1, entry).await.unwrap();
        let writer = server.app.checkpoints.clone().unwrap();
        assert_eq!(writer.once().await.unwrap(), 2);
        let (at, auth, body) = taken.lock().remove(0);
        assert_eq!(at, "PUT /bucket/000000000001.json?signature=s");
        assert_eq!(auth, "Bearer t0ken");
        let mut bytes = vec![0; 65_536];
        let length = udp.recv(&mut bytes).await.unwrap();
        let datagram = String::from_utf8(bytes[..length].to_vec()).unwrap();
        assert!(
            datagram.starts_with("<109>1 2026-03-10T10:00:00.000Z - watchkeeper "),
            "{datagram}"
        );
        for text in [body, datagram] {
            let report = compared(&server.app.store, &[text]).await;
            assert_eq!((report.lines, report.findings), (1, Vec::new()));
        }
        // It holds the store, which one process owns.
        drop(writer);
        server.stop().await;

        let socket = world.folder.join("log.sock");
        let unix = tokio::net::UnixDatagram::bind(&socket).unwrap();
        let checkpoint = &mut world.settings.audit.checkpoint;
        checkpoint.syslog = Some(format!("unix://{}", socket.display()));
        checkpoint.http.method = CheckpointMethod::Post;
        let server = world.server().await;
        let entry = SystemEntry::Resumed { by: "bob".into() };
        server.app.store.record_system(2, entry).await.unwrap();
        let writer = server.app.checkpoints.clone().unwrap();
        ground.sql("update checkpoint set lease_until_ms = 0").await;
        assert_eq!(writer.once().await.unwrap(), 2);
        assert!(taken.lock()[0].0.starts_with("POST /bucket/000000000002.json"));
        let mut bytes = vec![0; 65_536];
        assert!(unix.recv(&mut bytes).await.unwrap() > 100);
        server.stop().await;
    })
    .await;
}
