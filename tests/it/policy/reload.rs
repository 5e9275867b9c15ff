//! Changed policy files are taken over while the server runs, whole or not at all.

use crate::support::binary::{Home, eventually};
use crate::support::drill::{Problem, admin_token, sre_token};
use crate::support::engines::{Ground, for_each_engine, on_postgres};
use crate::support::process::{Process, client};
use crate::support::world::{SCOPE, Server, World};
use serde_json::{Value, json};
use watchkeeper::approval::access::Access;
use watchkeeper::model::action::{Action, ActionState, Answer};
use watchkeeper::model::call::sha256_hex;
use watchkeeper::model::incident::State;
use watchkeeper::model::system::SystemEntry;
use watchkeeper::store::actions::Decided;

/// A rule for the drill's question; what it says is what the tests change.
const ASKED: &str = "  - { name: asked, tool: restart_service, when: 'service.name == \"db\"', \
                     tier: confirm, approvals: { quorum: 2, roles: [responder] } }\n";

impl World {
    fn rules(&self) -> String {
        std::fs::read_to_string(self.folder.join("config/safety_rules.yaml")).unwrap()
    }

    fn edit_rules(&self, from: &str, to: &str) {
        let rules = self.rules();
        assert_eq!(rules.matches(from).count(), 1, "{from}");
        self.set_rules(&rules.replace(from, to));
    }
}

/// A world in which the restart of the database waits for two people.
async fn asked(ground: &Ground) -> (World, Server, Action) {
    let world = World::new(ground).await;
    world.edit_rules("\nrules:\n", &format!("\nrules:\n{ASKED}"));
    Problem::corruption().in_prometheus(&world);
    let server = world.server().await;
    server.post(&Problem::corruption().firing()).await;
    server.settle(0).await;
    let action = waiting(&server).await;
    assert_eq!(row(&server, &action).await.quorum, 2);
    (world, server, action)
}

async fn waiting(server: &Server) -> Action {
    let case = server.only_case().await;
    assert_eq!(case.state(), State::AwaitingApproval, "{case:#?}");
    case.open_action().unwrap().clone()
}

async fn row(server: &Server, action: &Action) -> watchkeeper::store::actions::Row {
    server.app.store.action(SCOPE, action.id()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_question_that_the_new_rules_refuse_is_taken_back_unanswered() {
    for_each_engine(|ground| async move {
        let (world, server, action) = asked(&ground).await;
        world.edit_rules(
            ASKED,
            "  - { name: no more, tool: restart_service, tier: forbidden, reason: moved away }\n",
        );
        // Examples of another rule would expect otherwise.
        let rules = world.rules();
        let (head, rest) = rules.split_once("    examples:\n").unwrap();
        let (_, tail) = rest.split_once("  # Only folders").unwrap();
        world.set_rules(&format!("{head}\n  # Only folders{tail}"));
        let before = server.app.reload.in_force();
        let after = server.app.reload.reload("the test").await.unwrap();
        assert_ne!(before.rules_version, after.rules_version);
        server.settle(0).await;
        let ended = server.only_case().await.action(action.id()).unwrap().clone();
        assert_eq!(ended.state, ActionState::Superseded);
        let why = ended.outcome.unwrap();
        assert!(
            why.contains("the safety rules changed: now refused") && why.contains("moved away")
        );
        assert_eq!(row(&server, &action).await.state, ActionState::Superseded);
        let late = server.decide(action.id(), Answer::Approve).await;
        assert_eq!(late, Decided::Already(ActionState::Superseded));
        assert_eq!(world.all_restarts(), 0);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_question_that_the_change_does_not_touch_stays_and_can_be_approved() {
    for_each_engine(|ground| async move {
        let (world, server, action) = asked(&ground).await;
        world.edit_rules("reason: clients reconnect by themselves", "reason: clients reconnect");
        let in_force = server.app.reload.reload("the test").await.unwrap();
        server.settle(0).await;
        let same = waiting(&server).await;
        assert_eq!((same.id(), same.expires_at_ms), (action.id(), action.expires_at_ms));
        assert_eq!(row(&server, &action).await.rules_version, in_force.rules_version);
        assert_eq!(same.verdict.unwrap().rules_version, in_force.rules_version);
        server.approve_by(action.id(), &["ada", "bob"]).await;
        server.settle(10).await;
        assert_eq!(world.restarts("db"), 1);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_change_that_asks_other_people_asks_anew() {
    for_each_engine(|ground| async move {
        let (world, server, action) = asked(&ground).await;
        assert!(matches!(
            server.decide_as("ada", action.id(), Answer::Approve).await,
            Decided::Counted { have: 1, need: 2 }
        ));
        server.settle(0).await;
        world.edit_rules("quorum: 2, roles: [responder]", "quorum: 3, roles: [sre]");
        server.app.reload.reload("the test").await.unwrap();
        server.settle(0).await;
        let anew = waiting(&server).await;
        assert_ne!(anew.id(), action.id());
        let row_anew = row(&server, &anew).await;
        assert_eq!((row_anew.quorum, row_anew.roles), (3, vec!["sre".to_owned()]));
        assert_eq!(row_anew.approved_by, Vec::<String>::new(), "no answer is carried over");
        assert_eq!(row(&server, &action).await.state, ActionState::Superseded);
        assert!(world.slack_said().contains(&format!("/confirm/{}", anew.id())));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn broken_files_change_nothing_and_everything_wrong_is_said() {
    for_each_engine(|ground| async move {
        let (world, server, action) = asked(&ground).await;
        let good = world.rules();
        let (admin, admin_text) = admin_token();
        let (sre, sre_text) = sre_token();
        let base = server.listen(Access { users: vec![], tokens: vec![admin, sre] }).await;
        let client = client();
        let reload = |token: &'static str| {
            let request = client.post(format!("{base}/-/reload")).bearer_auth(token);
            async move { request.send().await.unwrap() }
        };
        let get = |path: &'static str| {
            let request = client.get(format!("{base}{path}")).bearer_auth(sre_text);
            async move { request.send().await.unwrap().text().await.unwrap() }
        };
        assert_eq!(reload(sre_text).await.status(), 403);
        assert_eq!(client.post(format!("{base}/-/reload")).send().await.unwrap().status(), 401);
        assert_eq!(client.get(format!("{base}/-/reload")).send().await.unwrap().status(), 405);

        let before = server.app.reload.in_force();
        world.set_rules(
            &good.replace("tier: safe", "tier: save").replace("version: 1", "version: x"),
        );
        world.set_runbooks("version: 1\nrunbooks: [{ name: x }]\n");
        let refused = reload(admin_text).await;
        assert_eq!(refused.status(), 422);
        let body: Value = refused.json().await.unwrap();
        let problems = body["error"]["problems"].as_array().unwrap().clone();
        let said = |part: &str| problems.iter().any(|one| one.as_str().unwrap().contains(part));
        assert!(said("safety_rules.yaml:") && said("runbooks.yaml:"), "{problems:#?}");
        let since_ms = server.app.reload.in_force().broken.unwrap().since_ms;
        world.clock.advance(60_000);
        assert_eq!(reload(admin_text).await.status(), 422);
        let in_force = server.app.reload.in_force();
        assert_eq!(in_force.rules_version, before.rules_version);
        assert_eq!(in_force.broken.unwrap().since_ms, since_ms, "the first time counts");
        let ready: Value = serde_json::from_str(&get("/readyz").await).unwrap();
        assert_eq!(ready["ready"], true);
        let degraded = ready["degraded"]["files"].as_str().unwrap();
        assert!(
            degraded.starts_with("running on older files, those there cannot be taken over since ")
        );
        let metrics = get("/metrics").await;
        let version = &before.rules_version;
        assert!(metrics.contains("watchkeeper_config_last_reload_successful 0\n"), "{metrics}");
        assert!(metrics.contains(&format!("watchkeeper_rules_info{{version=\"{version}\"}} 1\n")));
        server.settle(0).await;
        assert_eq!(waiting(&server).await.id(), action.id(), "the question stays");

        world.set_rules(&good);
        assert_eq!(reload(admin_text).await.status(), 422, "the runbooks are still broken");
        world.set_runbooks("version: 1\nrunbooks: []\n");
        let taken = reload(admin_text).await;
        assert_eq!(taken.status(), 200);
        let body: Value = taken.json().await.unwrap();
        assert_eq!(body["in_force"]["rules_version"], version.as_str());
        assert_eq!(body["in_force"].get("broken"), None);
        let metrics = get("/metrics").await;
        assert!(metrics.contains("watchkeeper_config_last_reload_successful 1\n"), "{metrics}");
        let seconds = server.app.reload.in_force().loaded_at_ms / 1000;
        let success =
            format!("watchkeeper_config_last_reload_success_timestamp_seconds {seconds}\n");
        assert!(metrics.contains(&success), "{metrics}");
        assert_eq!(
            serde_json::from_str::<Value>(&get("/readyz").await).unwrap().get("degraded"),
            None
        );
        assert_eq!(server.app.desk().runbooks.names().count(), 0, "the runbooks too");
        server.stop().await;
    })
    .await;
}

/// What history says of files that were taken over.
async fn reloads(server: &Server) -> Vec<SystemEntry> {
    let timeline = server.app.store.system_timeline(0, 100).await.unwrap();
    let entries = timeline.into_iter().map(|stored| stored.entry);
    entries.filter(|entry| matches!(entry, SystemEntry::PolicyReloaded { .. })).collect()
}

#[tokio::test]
async fn a_changed_inventory_is_taken_over_with_the_rules() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        let file = world.folder.join("config/inventory.yaml");
        let inventory = std::fs::read_to_string(&file).unwrap();
        let labels = [("instance".to_owned(), "10.9.9.9:9100".to_owned())].into();
        let located = server.app.locate();
        assert_eq!(located(&[&labels]).hosts, Vec::<String>::new());
        std::fs::write(&file, inventory.replace("10.2.3.4", "10.9.9.9")).unwrap();
        server.app.reload.reload("the test").await.unwrap();
        assert_eq!(located(&[&labels]).hosts, ["box1"]);
        let told = reloads(&server).await;
        let [SystemEntry::PolicyReloaded { by, rules, inventory, runbooks, .. }] = &told[..] else {
            panic!("{told:?}")
        };
        let read = |name: &str| sha256_hex(&std::fs::read(world.folder.join(name)).unwrap());
        assert_eq!((by, rules), (&"the test".into(), &server.app.reload.in_force().rules_version));
        assert_eq!(inventory, &read("config/inventory.yaml"));
        assert_eq!(runbooks, &read("config/runbooks.yaml"));
        std::fs::write(&file, "hosts: [{}]\n").unwrap();
        server.app.reload.reload("the test").await.unwrap_err();
        assert_eq!(reloads(&server).await, told, "what is refused is not in force");
        server.stop().await;
    })
    .await;
}

/// The rules are the same, but of what is protected two people decide.
#[tokio::test]
async fn an_approval_of_one_does_not_do_for_what_is_protected_meanwhile() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.set_rules(
            "version: 1\nautonomy: act\napprovals: { high_risk_quorum: 2 }\n\
             rules: [{ name: asked, tool: restart_service, tier: confirm }]\n",
        );
        world.break_service("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(0).await;
        let action = waiting(&server).await;
        let recorded = server.decide_as("ada", action.id(), Answer::Approve).await;
        assert_eq!(recorded, Decided::Recorded);
        let file = world.folder.join("config/inventory.yaml");
        let inventory = std::fs::read_to_string(&file).unwrap();
        let web = "  - name: web\n";
        assert_eq!(inventory.matches(web).count(), 1);
        let protected = inventory.replace(web, &format!("{web}    protected: true\n"));
        std::fs::write(&file, protected).unwrap();
        server.app.reload.reload("the test").await.unwrap();
        server.settle(5).await;
        let anew = waiting(&server).await;
        assert_eq!((row(&server, &anew).await.quorum, world.restarts("web")), (2, 0));
        let before = server.only_case().await.action(action.id()).unwrap().clone();
        assert_eq!(before.state, ActionState::Superseded);
        server.approve_by(anew.id(), &["ada", "bob"]).await;
        server.settle(10).await;
        assert_eq!(world.restarts("web"), 1);
        server.stop().await;
    })
    .await;
}

/// What a server's metrics say of its rules: the version, and whether the last reload went well.
async fn told(url: &str) -> (String, bool) {
    let answer = client().get(format!("{url}/metrics")).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    };
    let version = value("watchkeeper_rules_info{").split('"').nth(1).unwrap().to_owned();
    (version, value("watchkeeper_config_last_reload_successful ").ends_with(" 1"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_takes_the_files_over_and_never_ends_the_server() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let mut server = Process::start(&world, &ground, &[]);
        let url = server.url().await.unwrap();
        let good = world.rules();
        let (first, successful) = told(&url).await;
        assert!(successful);
        world.set_rules(&good.replace("\nautonomy: act\n", "\nautonomy: advise\n"));
        server.signal("HUP");
        let second = eventually("the other rules are in force", async || {
            Some(told(&url).await).filter(|(version, _)| *version != first)
        })
        .await;
        assert!(second.1);
        world.set_rules("version: 1\nautonomy: all\nrules: [{ name: n }]\n");
        server.signal("HUP");
        let third = eventually("the broken file is told", async || {
            Some(told(&url).await).filter(|(_, successful)| !successful)
        })
        .await;
        assert_eq!(third.0, second.0, "the last good ones stay in force");
        let log = server.log().join("\n");
        assert!(log.contains("the files cannot be taken over: "), "{log}");
        assert!(log.contains("safety_rules.yaml:2:"), "{log}");
        world.set_rules(&good);
        server.signal("HUP");
        let fourth = eventually("the mended file is in force", async || {
            Some(told(&url).await).filter(|(_, successful)| *successful)
        })
        .await;
        assert_eq!(fourth.0, first);
        assert!(!server.has_ended());
        server.kill().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_different_files_are_seen() {
    on_postgres(|ground| async move {
        let (one, other) = (World::new(&ground).await, World::new(&ground).await);
        other.set_rules(&other.rules().replace("\nautonomy: act\n", "\nautonomy: page\n"));
        let (mut first, mut second) =
            (Process::start(&one, &ground, &[]), Process::start(&other, &ground, &[]));
        let (url, _) = (first.url().await.unwrap(), second.url().await.unwrap());
        let state = async || {
            let answer = client().get(format!("{url}/api/v1/policy")).send().await.unwrap();
            answer.json::<Value>().await.unwrap()
        };
        let apart = eventually("both are seen", async || {
            let state = state().await;
            (state["replicas"].as_array().unwrap().len() == 2).then_some(state)
        })
        .await;
        assert_eq!(apart["replicas_agree"], false, "{apart}");
        let metrics = client().get(format!("{url}/metrics")).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let lines = metrics.lines().filter(|line| line.starts_with("watchkeeper_rules_replicas{"));
        assert_eq!(lines.filter(|line| line.ends_with(" 1")).count(), 2, "{metrics}");
        other.set_rules(&one.rules());
        second.signal("HUP");
        eventually("they agree", async || (state().await["replicas_agree"] == true).then_some(()))
            .await;
        second.signal("TERM");
        assert!(second.ended().await.success());
        assert_eq!(state().await["replicas"].as_array().unwrap().len(), 1, "an ended one is gone");
        first.kill().await;
    })
    .await;
}

#[tokio::test]
async fn the_verb_says_what_is_in_force_or_everything_that_is_wrong() {
    let home = Home::new();
    home.run(&["init", "--yes"]).await.ok();
    let create = async |name: &str, role: &str| {
        let args = ["token", "create", name, "--kind", "api", "--role", role];
        home.run(&args).await.ok().trim_end().to_owned()
    };
    let (admin, sre) = (create("ann", "admin").await, create("kim", "sre").await);
    let server = home.serve("config/watchkeeper.yaml").await;
    let reload = ["reload", "--server", &server.url()];
    let said = home.with_token(&sre).run(&reload).await.failed();
    assert!(said.contains("this needs the role admin; yours is sre"), "{said}");
    let ann = home.with_token(&admin);
    let said = ann.run(&reload).await.ok();
    assert!(said.starts_with("in force since 20") && said.contains(": rules "), "{said}");
    let rules = home.read("config/safety_rules.yaml");
    let broken = rules.replace("autonomy: ", "autonomie: ");
    home.write("config/safety_rules.yaml", &broken);
    let said = ann.run(&reload).await.failed();
    assert!(said.contains("the last good ones stay in force\n"), "{said}");
    assert!(said.contains("config/safety_rules.yaml:") && said.contains("autonomie"), "{said}");
    home.write("config/safety_rules.yaml", &rules);
    let state = ann.run(&[&reload[..], &["-o", "json"]].concat()).await.json();
    assert_eq!(state["replicas_agree"], json!(true));
}
