//! The verbs that talk to a running server.

use crate::support::binary::{Home, eventually};
use crate::support::engines::on_sqlite;
use crate::support::world::World;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::path::Path;

/// A folder with a configuration, a token of each kind, and nothing running.
struct Set {
    home: Home,
    hook: String,
    sre: String,
    responder: String,
}

impl Set {
    async fn up() -> Self {
        let home = Home::new();
        home.run(&["init", "--yes"]).await.ok();
        let create = async |args: &[&str]| {
            let all = [&["token", "create"], args].concat();
            home.run(&all).await.ok().trim_end().to_owned()
        };
        let hook = create(&["am", "--kind", "webhook"]).await;
        let sre = create(&["kim", "--kind", "api", "--role", "sre"]).await;
        let responder = create(&["lee", "--kind", "api", "--role", "responder"]).await;
        Self { home, hook, sre, responder }
    }
}

#[tokio::test]
async fn a_test_alert_becomes_an_incident_that_is_listed_shown_and_reported() {
    let set = Set::up().await;
    let server = set.home.serve("config/watchkeeper.yaml").await;
    let listen = ["--set", &server.listen()];
    let sender = set.home.with_token(&set.hook);
    let reader = set.home.with_token(&set.responder);

    let test = [&["alert", "send-test", "--label", "team=a b"], &listen[..]].concat();
    let sent = sender.run(&test).await.ok();
    assert!(sent.contains("accepted: WebhookTest (firing)"), "{sent}");
    assert!(sent.contains(&format!("look at:  {}/", server.url())), "{sent}");
    let resolving = sent.lines().find_map(|line| line.strip_prefix("end it:   ")).unwrap();
    assert!(resolving.ends_with("--label 'team=a b'"), "{resolving}");

    let list = [&["incident", "list", "-o", "json"], &listen[..]].concat();
    let incident = eventually("the incident is open", async || {
        reader.run(&list).await.json()["incidents"].get(0).cloned()
    })
    .await;
    let id = incident["id"].as_str().unwrap();
    assert_eq!(incident["severity"], "info");
    let table = reader.run(&[&["incident", "list"], &listen[..]].concat()).await.ok();
    assert!(table.starts_with("ID ") && table.contains(id), "{table}");
    let none = ["incident", "list", "--state", "executing", "--limit", "3"];
    assert_eq!(reader.run(&[&none[..], &listen].concat()).await.ok(), "no incidents\n");

    let show = [&["incident", "show", id], &listen[..]].concat();
    let shown = reader.run(&show).await.ok();
    assert!(shown.contains(id) && shown.contains("ALERT") && shown.contains("WebhookTest"));
    let yaml = reader.run(&[&show[..], &["-o", "yaml"]].concat()).await.ok();
    assert!(yaml.contains(&format!("id: {id}")), "{yaml}");
    let report = reader.run(&[&show[..], &["--report"]].concat()).await.ok();
    assert!(report.starts_with("# "), "{report}");
    assert!(
        reader.run(&[&show[..], &["--report", "-o", "json"]].concat()).await.json().is_object()
    );

    let starts_at =
        resolving.split_whitespace().skip_while(|w| *w != "--starts-at").nth(1).unwrap();
    let end = [&test[..], &["--resolved", "--starts-at", starts_at]].concat();
    assert!(sender.run(&end).await.ok().contains("WebhookTest (resolved)"));
    eventually("the alert is over", async || {
        let shown = reader.run(&[&show[..], &["-o", "json"]].concat()).await.json();
        shown["alerts"][0]["resolved_at_ms"].as_i64()
    })
    .await;
}

#[tokio::test]
async fn refusals_say_what_is_missing() {
    let set = Set::up().await;
    let nobody = ["incident", "list", "--server", "http://127.0.0.1:1"];
    let said = set.home.run(&nobody).await.failed();
    assert!(said.contains("Start it with `watchkeeper serve`"), "{said}");
    let said = set.home.run(&["healthcheck", "--set", "listen=127.0.0.1:1"]).await.failed();
    assert!(said.contains("nothing ready answers at http://127.0.0.1:1/readyz"), "{said}");

    let server = set.home.serve("config/watchkeeper.yaml").await;
    let at = ["--server", &server.url()];
    let said = set.home.run(&[&["incident", "list"], &at[..]].concat()).await.failed();
    assert!(said.contains("Give a token with --token-file or WATCHKEEPER_TOKEN"), "{said}");
    let strangers = set.home.with_token("wk_nobodys");
    let said = strangers.run(&[&["alert", "send-test"], &at[..]].concat()).await.failed();
    assert!(said.contains("the server refuses (401)") && !said.contains("wk_nobodys"), "{said}");
    let hook = set.home.with_token(&set.hook);
    let said = hook.run(&[&["incident", "list"], &at[..]].concat()).await.failed();
    assert!(said.contains("a webhook token may bring alerts and nothing else"), "{said}");

    let kim = set.home.with_token(&set.sre);
    let absent = "00000000-0000-4000-8000-000000000000";
    for args in [["incident", "show", absent], ["approve", absent, "-v"], ["reject", absent, "-v"]]
    {
        let args: Vec<&str> = args.into_iter().filter(|arg| *arg != "-v").collect();
        let said = kim.run(&[&args[..], &at].concat()).await.failed();
        assert!(said.contains("the server refuses (404): there is no such"), "{said}");
    }
    kim.run(&["incident", "show", "not-an-id"]).await.misused();
    let said = kim.run(&["incident", "list", "--state", "asleep"]).await.misused();
    assert!(said.contains("must be one of open, "), "{said}");
    kim.run(&["alert", "send-test", "--resolved"]).await.misused();
}

/// Whoever halts may come while somebody edits the file, and need not be a reader of its secrets.
#[tokio::test]
async fn mistakes_in_the_configuration_keep_nobody_from_a_halt() {
    let set = Set::up().await;
    let server = set.home.serve("config/watchkeeper.yaml").await;
    let lee = set.home.with_token(&set.responder);
    let at = ["halt", "-o", "json", "--set", &server.listen()];
    let file = set.home.read("config/watchkeeper.yaml");
    let broken = file.replace("investigations_max: 64", "investigations_max: many");
    let broken = broken.replacen("webhook_url_file:\n", "webhook_url_file: gone.secret\n", 1);
    assert_eq!(broken.matches("gone.secret").count(), 1);
    set.home.write("config/watchkeeper.yaml", &broken);
    assert_eq!(set.home.run(&["check-config"]).await.code, Some(1));
    let ran = lee.run(&at).await;
    assert!(ran.stderr.contains("`watchkeeper check-config` lists them"), "{ran:#?}");
    assert_eq!(ran.json()["halted"], json!(true));
    set.home.run(&["healthcheck", "--set", &server.listen()]).await.ok();

    // What may be about the address is not passed over: the token is for one server.
    set.home.write("config/watchkeeper.yaml", &file.replace("\nlisten:", "\nlistn:"));
    let said = lee.run(&at).await.failed();
    assert!(said.contains("listn") && said.contains("Name the server with --server"), "{said}");
    let named = lee.run(&["halt", "--status", "--server", &server.url()]).await.ok();
    assert!(named.starts_with("halted by lee"), "{named}");
}

#[tokio::test]
async fn halting_needs_a_responder_and_resuming_an_sre() {
    let set = Set::up().await;
    let server = set.home.serve("config/watchkeeper.yaml").await;
    let at = ["--server", &server.url()];
    set.home.write("lee.token", &format!("{}\n", set.responder));
    let lee = [&["--token-file", "lee.token"], &at[..]].concat();
    let halt = [&["halt", "--reason", "deploy night", "-o", "json"], &lee[..]].concat();
    let halted = set.home.run(&halt).await.json();
    assert_eq!((&halted["halted"], &halted["by"]), (&json!(true), &json!("lee")));
    let said = set.home.run(&[&["resume"], &lee[..]].concat()).await.failed();
    assert!(said.contains("this needs the role sre; yours is responder"), "{said}");
    let kim = set.home.with_token(&set.sre);
    let resumed = kim.run(&[&["resume"], &at[..]].concat()).await.ok();
    assert_eq!(resumed, "not halted; changes go on\n");
    let said = set.home.run(&["halt", "--token-file", "gone", at[0], at[1]]).await.failed();
    assert!(said.contains("cannot read the token file gone"), "{said}");
}

#[tokio::test]
async fn an_approved_call_runs_once_and_a_rejected_one_never() {
    on_sqlite(|ground| async move {
        let world = World::new(&ground).await;
        let set = Set::up().await;
        for file in ["inventory.yaml", "safety_rules.yaml", "runbooks.yaml"] {
            let from = world.folder.join("config").join(file);
            std::fs::copy(from, set.home.folder.join("config").join(file)).unwrap();
        }
        set.home.write(
            "config/watchkeeper.yaml",
            &format!(
                "prometheus: {{ url: {:?} }}\nverify: {{ wait_s: 0, poll_s: 1 }}\n",
                world.prometheus.url()
            ),
        );
        world.break_service("db");
        let server = set.home.serve("config/watchkeeper.yaml").await;
        let at = ["--server", &server.url()];
        let waiting = async |alert: &str| {
            let labels = ["--label", "instance=10.2.3.4:9100", "--label", "service=db"];
            let name = ["alert", "send-test", "--name", alert, "--severity", "critical"];
            let hook = set.home.with_token(&set.hook);
            hook.run(&[&name[..], &labels, &at].concat()).await.ok();
            eventually("a call waits", async || waiting_action(&set, &at).await).await
        };
        let kim = set.home.with_token(&set.sre);

        let first = waiting("ServiceDown").await;
        let approve = [&["approve", &first, "--comment", "go on"], &at[..]].concat();
        let ran = kim.run(&approve).await;
        assert!(ran.stderr.contains("restart_service") && ran.stderr.contains("db"), "{ran:?}");
        let said = ran.ok();
        assert_eq!(
            said,
            format!("{first} is awaiting: 1 of 2 approvals; somebody else has to approve\n")
        );
        let lee = set.home.with_token(&set.responder);
        assert!(lee.run(&approve).await.ok().starts_with(&format!("{first} is ")));
        eventually("the service is up", async || world.is_up("db").then_some(())).await;
        let said = kim.run(&approve).await.failed();
        assert!(said.contains("the server refuses (409)"), "{said}");

        let second = waiting("DBCorruption").await;
        let rejected = kim.run(&[&["reject", &second], &at[..]].concat()).await.ok();
        assert_eq!(rejected, format!("{second} is rejected\n"));
        assert_eq!(world.restarts("db"), 1);
    })
    .await;
}

/// The id of the action that awaits an answer, as the incidents tell it.
async fn waiting_action(set: &Set, at: &[&str]) -> Option<String> {
    let kim = set.home.with_token(&set.sre);
    let list = ["incident", "list", "--state", "awaiting_approval", "-o", "json"];
    let list = kim.run(&[&list[..], at].concat()).await.json();
    let id = list["incidents"].get(0)?["id"].as_str()?.to_owned();
    let show = kim.run(&[&["incident", "show", &id, "-o", "json"], at].concat()).await.json();
    let actions = show["actions"].as_array()?.clone();
    let waits = |action: &&Value| action["state"] == "awaiting";
    Some(actions.iter().find(waits)?["proposal"]["action_id"].as_str()?.to_owned())
}

#[tokio::test]
async fn a_server_with_a_private_authority_is_trusted_when_it_is_named() {
    let set = Set::up().await;
    let data = set.home.folder.join("tls").display().to_string();
    private_authority(Path::new(&data));
    set.home.write(
        "config/watchkeeper.yaml",
        &format!("http: {{ tls_cert_file: {data}/server.pem, tls_key_file: {data}/server.key }}\n"),
    );
    let server = set.home.serve("config/watchkeeper.yaml").await;
    let list = ["incident", "list", "--set", &server.listen()];
    let kim = set.home.with_token(&set.sre);
    let said = kim.run(&list).await.failed();
    assert!(said.contains("Here that is --ca-file"), "{said}");
    let ca = format!("{data}/ca.pem");
    assert_eq!(kim.run(&[&list[..], &["--ca-file", &ca]].concat()).await.ok(), "no incidents\n");
}

/// Makes an authority of its own and a certificate for this machine, signed by it.
fn private_authority(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut of_authority = CertificateParams::new(Vec::new()).unwrap();
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = of_authority.self_signed(&key).unwrap();
    let issuer = Issuer::new(of_authority, key);
    let server_key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let server = CertificateParams::new(names).unwrap().signed_by(&server_key, &issuer).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.join("server.pem"), server.pem()).unwrap();
    std::fs::write(folder.join("server.key"), server_key.serialize_pem()).unwrap();
}
