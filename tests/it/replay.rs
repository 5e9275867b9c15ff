//! An incident as a file, and that file once more: the same, or what differs.

use crate::support::binary::{Ran, run};
use crate::support::drill::{Problem, sre_token, token_of};
use crate::support::engines::{Ground, for_each_engine, on_sqlite};
use crate::support::world::{Server, World};
use crate::support::{FakeModel, ModelReply};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use watchkeeper::app::retention::Retention;
use watchkeeper::approval::access::{Access, Token};
use watchkeeper::approval::people::Role;
use watchkeeper::config::RetentionSettings;
use watchkeeper::model::ids::IncidentId;
use watchkeeper::model::timeline::chain_hash;

/// A repaired service, exported.
struct Scene {
    world: World,
    server: Server,
    base: String,
    id: IncidentId,
    file: PathBuf,
}

impl Scene {
    async fn of(world: World, problem: &Problem) -> Self {
        world.break_service("web");
        problem.in_prometheus(&world);
        std::fs::write(world.folder.join("config/replay.yaml"), "{}\n").unwrap();
        let server = world.server().await;
        server.post(&problem.firing()).await;
        server.settle(10).await;
        let viewer = Token { role: Some(Role::Viewer), ..token_of("vera", VIEWER) };
        let access = Access { tokens: vec![sre_token().0, viewer], ..Access::default() };
        let base = server.listen(access).await;
        let id = server.only_case().await.id;
        let file = world.folder.join("incident.json");
        let scene = Self { world, server, base, id, file };
        scene.export().await;
        scene
    }

    async fn new(ground: &Ground) -> Self {
        Self::of(World::new(ground).await, &Problem::down()).await
    }

    async fn export(&self) {
        let (id, out) = (self.id.to_string(), self.file.display().to_string());
        let args = ["incident", "export", &id, "--out", &out, "--server", &self.base];
        run(&self.world.folder, Some(sre_token().1), &args, "").await.ok();
    }

    fn exported(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(&self.file).unwrap()).unwrap()
    }

    async fn replay(&self, args: &[&str]) -> Ran {
        replay(&self.world.folder, &self.file, args).await
    }

    /// Replays the file after a change to it.
    async fn changed(&self, change: impl FnOnce(&mut Value)) -> Ran {
        let mut value = self.exported();
        change(&mut value);
        let file = self.world.folder.join("changed.json");
        std::fs::write(&file, value.to_string()).unwrap();
        replay(&self.world.folder, &file, &[]).await
    }
}

const VIEWER: &str = "wk_0011223344556677889900aabbccddee";

async fn replay(folder: &Path, file: &Path, args: &[&str]) -> Ran {
    let file = file.display().to_string();
    let usual = ["incident", "replay", &file, "--config", "config/replay.yaml"];
    run(folder, None, &[&usual[..], args].concat(), "").await
}

fn result(ran: Ran, code: i32) -> Value {
    assert_eq!(ran.code, Some(code), "{ran:#?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

#[tokio::test]
async fn an_exported_incident_replays_the_same_under_the_same_rules_and_mind() {
    for_each_engine(|ground| async move {
        let scene = Scene::new(&ground).await;
        let entries = scene.exported()["entries"].as_array().unwrap().len();
        let rules = scene.world.folder.join("config/safety_rules.yaml").display().to_string();
        let all = ["--rules", &rules, "--mind", "runbook", "--output", "json"];
        let value = result(scene.replay(&all).await, 0);
        assert_eq!(value["chain"]["entries"], json!(entries));
        assert_eq!(value["chain"]["redacted"], json!(0));
        assert!(value["rules"]["judged"].as_i64().unwrap() >= 3, "{value:#}");
        let turns = value["mind"]["turns"].as_array().unwrap();
        assert!(turns.len() >= 4 && value["mind"]["unknown"] == json!(0), "{value:#}");
        assert_eq!(value["same"], json!(true));
        let states = value["fold"]["states"].as_array().unwrap();
        assert_eq!(states.last().unwrap()[1], json!("resolved"));
        let said = scene.replay(&[]).await.ok();
        assert!(said.contains(&format!("chain: {entries} entries, whole")), "{said}");
        assert!(said.ends_with("the same\n"), "{said}");
        assert_eq!(scene.world.restarts("web"), 1, "nothing was run again");
        scene.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_file_that_was_changed_is_found() {
    on_sqlite(|ground| async move {
        let scene = Scene::new(&ground).await;
        let body = |value: &mut Value, at: usize, from: &str, to: &str| {
            let body = value["entries"][at]["body"].as_str().unwrap().replace(from, to);
            value["entries"][at]["body"] = json!(body);
        };
        let broken = |ran: Ran| {
            assert_eq!(ran.code, Some(1), "{ran:?}");
            ran.stdout
        };
        let said = broken(scene.changed(|v| body(v, 1, "ServiceDown", "ServiceFine")).await);
        assert!(said.contains("BROKEN   entry 2 or one before it was changed"), "{said}");
        let said = broken(
            scene
                .changed(|v| {
                    v["entries"].as_array_mut().unwrap().pop();
                })
                .await,
        );
        assert!(said.contains("BROKEN   the chain ends at "), "{said}");
        let said = broken(
            scene
                .changed(|v| {
                    v["entries"].as_array_mut().unwrap().remove(3);
                })
                .await,
        );
        assert!(said.contains("BROKEN   entry 4 is missing"), "{said}");
        let said = broken(scene.changed(|v| v["incident"]["state"] = json!("escalated")).await);
        assert!(said.contains("DIFFERS  state: recorded escalated, folded resolved"), "{said}");
        let said = broken(
            scene
                .changed(|v| {
                    v["outputs"]["abc"] = json!({"sha256": "abc", "text": "x"});
                })
                .await,
        );
        assert!(said.contains("BROKEN   output abc was changed"), "{said}");
        scene.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_no_export_cannot_be_read() {
    on_sqlite(|ground| async move {
        let scene = Scene::new(&ground).await;
        let unreadable = |ran: Ran| {
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
            ran.stderr
        };
        let gone = replay(&scene.world.folder, Path::new("gone.json"), &[]).await;
        assert!(unreadable(gone).contains("cannot read gone.json"));
        let said = unreadable(scene.changed(|v| *v = json!([1])).await);
        assert!(said.contains("is no exported incident"), "{said}");
        let said = unreadable(scene.changed(|v| v["version"] = json!(2)).await);
        assert!(said.contains("written by a later version"), "{said}");
        let said = unreadable(scene.replay(&["--rules", "gone.yaml"]).await);
        assert!(said.contains("gone.yaml"), "{said}");
        let said = unreadable(scene.replay(&["--mind", "model"]).await);
        assert!(said.contains("no model is configured"), "{said}");
        scene.replay(&["--mind", "oracle"]).await.misused();
        scene.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn other_rules_show_the_verdicts_that_differ() {
    on_sqlite(|ground| async move {
        let scene = Scene::new(&ground).await;
        let rules = std::fs::read_to_string(scene.world.folder.join("config/safety_rules.yaml"));
        let strict = rules.unwrap().replacen("autonomy: act", "autonomy: advise", 1);
        std::fs::write(scene.world.folder.join("strict.yaml"), strict).unwrap();
        let ran = scene.replay(&["--rules", "strict.yaml", "--output", "json"]).await;
        let value = result(ran, 1);
        let decisions = value["rules"]["decisions"].as_array().unwrap();
        assert!(!decisions.is_empty(), "{value:#}");
        for decision in decisions {
            assert_eq!(decision["call"]["tool"], json!("restart_service"), "{value:#}");
            assert_eq!(
                (&decision["recorded"], &decision["decision"]),
                (&json!("allow"), &json!("ask"))
            );
        }
        let said = scene.replay(&["--rules", "strict.yaml"]).await;
        assert!(said.stdout.contains("was allow, would be ask: "), "{said:?}");
        assert!(said.stdout.ends_with("NOT the same\n"), "{said:?}");
        scene.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn another_mind_shows_the_turns_that_differ_and_runs_nothing() {
    on_sqlite(|ground| async move {
        let scene = Scene::new(&ground).await;
        let runbooks = std::fs::read_to_string(scene.world.folder.join("config/runbooks.yaml"));
        let other = runbooks.unwrap().replace(
            "tool: get_service_logs, args: { service: \"${service}\", level: error }",
            "tool: check_system_resources, args: { host: \"${host}\", check_types: [disk] }",
        );
        std::fs::write(scene.world.folder.join("other.yaml"), other).unwrap();
        let value =
            result(scene.replay(&["--runbooks", "other.yaml", "--output", "json"]).await, 1);
        let first = &value["mind"]["turns"][0];
        assert_eq!(first["same"], json!(false), "{value:#}");
        assert!(first["recorded"]["calls"][0].as_str().unwrap().starts_with("get_service_logs("));
        assert!(
            first["again"]["calls"][0].as_str().unwrap().starts_with("check_system_resources(")
        );
        assert_eq!(first["unknown"], json!([first["again"]["calls"][0]]));
        let script = "turns:\n\
             - calls: [{ tool: restart_service, args: { service: web, host: box1, reason: x } }]\n\
             - conclude: { root_cause: guessed, confidence: low }\n";
        std::fs::write(scene.world.folder.join("script.yaml"), script).unwrap();
        let said = scene.replay(&["--mind", "script:script.yaml"]).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stdout.contains("  again  concludes: guessed (low)"), "{said:?}");
        assert!(said.stdout.contains("  again  no turn"), "{said:?}");
        assert_eq!(scene.world.restarts("web"), 1);
        scene.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_incident_that_waits_for_a_person_replays_the_same_as_far_as_it_went() {
    on_sqlite(|ground| async move {
        let world = World::new(&ground).await;
        world.set_autonomy("advise");
        let scene = Scene::of(world, &Problem::down()).await;
        assert_eq!(scene.exported()["incident"]["state"], json!("awaiting_approval"));
        let value = result(scene.replay(&["--mind", "runbook", "-o", "json"]).await, 0);
        assert_eq!((&value["same"], &value["mind"]["unfinished"]), (&json!(true), &json!(true)));
        let said = scene.replay(&["--mind", "runbook"]).await.ok();
        assert!(said.contains("note: the record ends before a conclusion"), "{said}");
        scene.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_model_is_asked_again_over_the_recorded_answers() {
    on_sqlite(|ground| async move {
        let scene = Scene::new(&ground).await;
        let model = FakeModel::script(vec![
            ModelReply::call("get_service_logs", json!({"service": "web", "level": "error"})),
            ModelReply::call(
                "conclude",
                json!({"root_cause": "memory", "confidence": "high", "evidence": []}),
            ),
        ])
        .await;
        let config = format!(
            "model: {{ endpoints: [{{ name: fake, base_url: {:?}, model: m }}] }}\n",
            model.base_url()
        );
        std::fs::write(scene.world.folder.join("config/replay.yaml"), config).unwrap();
        std::fs::write(scene.world.folder.join("prompt"), "Be brief.").unwrap();
        let args = ["--mind", "model", "--prompt", "prompt", "--output", "json"];
        let value = result(scene.replay(&args).await, 1);
        assert_eq!(value["mind"]["turns"][0]["same"], json!(true), "{value:#}");
        assert_eq!(value["mind"]["turns"][1]["again"]["conclusion"], json!("memory (high)"));
        let requests = model.requests();
        assert_eq!(requests[0].messages()[0]["content"], json!("Be brief."));
        let answer = requests[1].messages().iter().find(|m| m["role"] == "tool").unwrap().clone();
        assert!(answer["content"].as_str().unwrap().contains("out of memory"), "{answer}");
        scene.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_export_of_hostile_texts_is_inert_and_replays() {
    on_sqlite(|ground| async move {
        let hostile = "<script>alert(1)</script>\u{202e}\u{1b}]0;x\u{7}\u{200b}é🧯";
        let problem = Problem::down().with("team", hostile);
        let scene = Scene::of(World::new(&ground).await, &problem).await;
        let text = std::fs::read_to_string(&scene.file).unwrap();
        let inert = |c: char| c == '\n' || (' '..='~').contains(&c);
        assert!(text.chars().all(inert) && !text.contains(['<', '>', '&']), "{text}");
        let said = scene.replay(&["--mind", "runbook"]).await.ok();
        assert!(said.chars().all(|c| !c.is_control() || c == '\n'), "{said:?}");
        let path = format!("{}/incidents/{}/export.json", scene.base, scene.id);
        let client = reqwest::Client::new();
        let answer = client.get(&path).bearer_auth(sre_token().1).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        let name = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
        assert_eq!(name, format!("attachment; filename=\"incident-{}.json\"", scene.id));
        let refused = client.get(&path).bearer_auth(VIEWER).send().await.unwrap();
        assert_eq!(refused.status(), 403, "a viewer gets no whole outputs");
        scene.server.stop().await;
    })
    .await;
}

/// The redactor of today finds more than that of the day on which the text was stored.
#[tokio::test]
async fn a_secret_that_was_stored_does_not_leave_with_the_export() {
    on_sqlite(|ground| async move {
        let scene = Scene::new(&ground).await;
        let secret = "AKIAIOSFODNN7EXAMPLE";
        ground
            .sql(format!(
                "update timeline set body = replace(body, 'out of memory', 'key {secret}')
                 where stream_kind = 'incident'"
            ))
            .await;
        let held =
            ground.sql(format!("select seq from timeline where body like '%{secret}%'")).await;
        assert!(!held.is_empty());
        scene.export().await;
        let text = std::fs::read_to_string(&scene.file).unwrap();
        assert!(!text.contains(secret), "{text}");
        let redacted = scene.exported()["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["redacted"] == json!(true))
            .count();
        assert_eq!(redacted, held.len());
        let said = scene.replay(&[]).await.ok();
        assert!(said.contains(&format!("note: {redacted} entries were redacted")), "{said}");
        scene.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn entries_of_a_later_version_are_kept_and_replayed() {
    for_each_engine(|ground| async move {
        let scene = Scene::new(&ground).await;
        let end = ground.sql("select cast(seq as text), head from incident").await[0].clone();
        let seq = end[0].parse::<i64>().unwrap() + 1;
        let body = r#"{"kind":"moon_landed","crew":["a"],"zeta":1,"alpha":2}"#;
        let hash = chain_hash(&end[1], &format!("incident/{}", scene.id), seq, 7, body);
        ground
            .sql(format!(
                "insert into timeline (stream_kind, stream_id, seq, at_ms, kind, version, body, hash)
                 values ('incident', '{}', {seq}, 7, 'moon_landed', 9, '{body}', '{hash}')",
                scene.id
            ))
            .await;
        ground.sql(format!("update incident set seq = {seq}, head = '{hash}'")).await;
        scene.export().await;
        let last = scene.exported()["entries"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&last["body"], &last["version"]), (&json!(body), &json!(9)));
        let value = result(scene.replay(&["--output", "json"]).await, 0);
        assert_eq!(value["chain"]["unknown_kinds"], json!(["moon_landed"]));
        scene.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_aged_out_is_told_to_have_aged_out() {
    on_sqlite(|ground| async move {
        let scene = Scene::new(&ground).await;
        scene.world.clock.advance(500 * 86_400_000);
        let retention = Retention {
            store: scene.server.app.store.clone(),
            clock: scene.world.clock.clone(),
            policy: RetentionSettings::default(),
        };
        assert_eq!(retention.round().await.unwrap().incidents, 1);
        for path in ["api/v1/incidents/ID", "api/v1/incidents/ID/export", "incidents/ID"] {
            let url = format!("{}/{}", scene.base, path.replace("ID", &scene.id.to_string()));
            let client = reqwest::Client::new();
            let answer = client.get(url).bearer_auth(sre_token().1).send().await.unwrap();
            assert_eq!(answer.status(), 410, "{path}");
            assert!(answer.text().await.unwrap().contains("this incident aged out at "), "{path}");
        }
        // The file that was written before still says everything.
        scene.replay(&["--mind", "runbook"]).await.ok();
        scene.server.stop().await;
    })
    .await;
}

/// Files that earlier versions wrote, none of which may become unreadable or mean something else.
#[tokio::test]
async fn recorded_incidents_of_earlier_versions_replay_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/incidents");
    let files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        let file = file.display().to_string();
        let args = ["incident", "replay", &file, "--output", "json"];
        let value = result(run(&std::env::temp_dir(), None, &args, "").await, 0);
        assert_eq!(value["same"], json!(true), "{file}: {value:#}");
    }
}
