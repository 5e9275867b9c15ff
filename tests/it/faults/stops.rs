//! A server that is told to stop waits for nothing that can be asked again.

use super::settled;
use crate::support::drill::{NO_RUNBOOKS, Problem, conclude};
use crate::support::engines::for_each_engine;
use crate::support::process::Process;
use crate::support::world::World;
use crate::support::{FakeModel, ModelReply};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The model takes for ever: the turn is given up, nothing of it is recorded, and the next process
/// asks the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_model() {
    for_each_engine(|ground| async move {
        let answers = Arc::new(AtomicBool::new(false));
        let may = Arc::clone(&answers);
        let model = FakeModel::respond(move |request| {
            if may.load(Ordering::SeqCst) { conclude(request, "known") } else { ModelReply::Hang }
        })
        .await;
        let world = World::new(&ground).await;
        world.set_runbooks(NO_RUNBOOKS);
        let url = model.base_url();
        let variables = [("OPENAI_BASE_URL", url.as_str()), ("OPENAI_MODEL", "scripted")];
        let mut first = Process::start(&world, &ground, &variables);
        assert_eq!(first.post(&Problem::down().firing()).await, Some(200));
        super::eventually("the model is asked", async || model.count() == 1).await;
        first.signal("TERM");
        assert!(first.ended().await.success());
        let log = first.log().join("\n");
        assert!(!log.contains("did not end in time"), "{log}");
        let turns = "select count(*) from timeline where kind = 'turn_taken'";
        assert_eq!(ground.sql(turns).await, [["0"]]);
        let leases = "select count(*) from incident where lease_owner is not null";
        assert_eq!(ground.sql(leases).await, [["0"]], "nobody has to wait for the lease");

        answers.store(true, Ordering::SeqCst);
        let mut second = Process::start(&world, &ground, &variables);
        settled(&mut second, &ground).await;
        second.kill().await;
        assert_eq!(ground.sql(turns).await, [["1"]]);
        let questions = model.requests();
        assert_eq!(questions[0].messages(), questions[1].messages(), "another question");
    })
    .await;
}

/// A change that is on its way is waited for: its outcome is known, and nobody runs it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_a_change_on_its_way() {
    for_each_engine(|ground| async move {
        let world = super::broken_web(&ground).await;
        let began = world.folder.join("began");
        let script = world.folder.join("restart.sh");
        let usual = std::fs::read_to_string(&script).unwrap();
        let slow = format!(
            "#!/bin/sh\n: > {}\nsleep 2\n{}",
            began.display(),
            usual.trim_start_matches("#!/bin/sh\n")
        );
        std::fs::write(&script, slow).unwrap();
        let mut first = Process::start(&world, &ground, &[]);
        assert_eq!(first.post(&Problem::down().firing()).await, Some(200));
        super::eventually("the change has begun", async || began.exists()).await;
        first.signal("TERM");
        assert!(first.ended().await.success());
        let log = first.log().join("\n");
        assert!(!log.contains("did not end in time"), "{log}");
        assert_eq!(ground.sql("select state from action").await, [["done"]]);

        let mut second = Process::start(&world, &ground, &[]);
        settled(&mut second, &ground).await;
        second.kill().await;
        assert_eq!(world.restarts("web"), 1);
        assert_eq!(ground.sql("select state from incident").await, [["resolved"]]);
    })
    .await;
}
