//! The verbs that prepare: configuration, users, tokens, migrations.

use crate::support::binary::Home;
use crate::support::engines::on_postgres;
use secrecy::ExposeSecret;
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use watchkeeper::store::db::Location;

#[tokio::test]
async fn init_writes_a_valid_configuration_and_never_over_another() {
    let home = Home::new();
    let first =
        home.run(&["init", "--yes", "--public-url", "https://watch.example.org/"]).await.ok();
    assert!(first.contains("- url: https://watch.example.org/webhook/alert"), "{first}");
    assert!(first.contains("credentials_file: "), "{first}");
    let rules = home.folder.canonicalize().unwrap().join("config/watchkeeper.rules.yaml");
    assert!(first.contains(&rules.display().to_string()), "{first}");
    assert!(home.run(&["check-config"]).await.ok().contains("configuration is valid"));
    let settings = home.read("config/watchkeeper.yaml");
    assert!(settings.contains("\npublic_url: \"https://watch.example.org\"\n"));
    assert!(!home.read("config/inventory.yaml").contains("allow: [restart_service]\n    -"));

    home.write("config/runbooks.yaml", "mine");
    let again = home.run(&["init", "--yes", "--output", "json"]).await.json();
    assert_eq!(again["written"], json!([]));
    assert_eq!(again["kept"].as_array().unwrap().len(), 7);
    assert_eq!(home.read("config/runbooks.yaml"), "mine");
    assert_eq!(home.read("config/watchkeeper.yaml"), settings);
}

#[tokio::test]
async fn init_asks_again_until_an_answer_is_an_address() {
    let home = Home::new();
    let typed = "prometheus\nhttp://10.0.0.1:9090\n\n";
    let ran = home.run_with(&["init", "there"], typed).await;
    assert!(ran.stderr.contains("write it as http://host:port"), "{ran:?}");
    let said = ran.ok();
    assert!(said.contains("--config there/config/watchkeeper.yaml"), "{said}");
    assert!(
        home.read("there/config/watchkeeper.yaml").contains("\n  url: \"http://10.0.0.1:9090\"\n")
    );

    home.write("file", "");
    let said = home.run(&["init", "--yes", "file"]).await.failed();
    assert!(said.contains("cannot make the folder file/config"), "{said}");
}

#[tokio::test]
async fn a_user_is_added_once_and_the_password_is_not_kept() {
    let home = Home::new();
    let add = ["user", "add", "kim", "--role", "sre"];
    let said = home.run_with(&add, "correct horse battery\n").await.failed();
    assert!(said.contains("run `watchkeeper init`"), "{said}");

    home.run(&["init", "--yes"]).await.ok();
    let said = home.run_with(&add, "short\n").await.failed();
    assert!(said.contains("the password has 5 characters; take 12 or more"), "{said}");
    assert!(!home.folder.join("config/access.yaml").exists());

    let json = [&add[..], &["--password-stdin", "-o", "json"]].concat();
    let added = home.run_with(&json, "correct horse battery\n").await.json();
    assert_eq!(added, json!({"user": "kim", "role": "sre", "file": "config/access.yaml"}));
    let file = home.read("config/access.yaml");
    assert!(file.contains("$argon2id$") && !file.contains("correct horse"), "{file}");
    let mode = home.folder.join("config/access.yaml").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let said = home.run_with(&add, "correct horse battery\n").await.failed();
    assert!(said.contains("there is a user kim already"), "{said}");
    let said = home.run(&["user", "add", "a b", "--role", "sre"]).await.failed();
    assert!(said.contains("is not a name"), "{said}");
    let said = home.run(&["user", "add", "kim", "--role", "boss"]).await.misused();
    assert!(said.contains("must be one of viewer, responder, sre, admin"), "{said}");
    assert_eq!(home.read("config/access.yaml"), file);
}

#[tokio::test]
async fn a_token_is_shown_once_and_only_its_hash_is_kept() {
    let home = Home::new();
    home.run(&["init", "--yes"]).await.ok();
    let shown = home.run(&["token", "create", "am", "--kind", "webhook"]).await.ok();
    let token = shown.trim_end();
    assert!(token.starts_with("wk_") && !token.contains(char::is_whitespace), "{shown}");
    let api = ["token", "create", "bot", "--kind", "api", "--role", "viewer", "-o", "json"];
    let api = home.run(&api).await.json();
    let file = home.read("config/access.yaml");
    assert!(!file.contains(token) && !file.contains(api["token"].as_str().unwrap()), "{file}");

    for (args, why) in [
        (&["am", "--kind", "webhook"][..], "there is a token am already"),
        (&["x", "--kind", "api"], "an api token needs a role"),
        (&["x", "--kind", "webhook", "--role", "sre"], "a webhook token has no role"),
        (&["x", "--kind", "api", "--role", "sre", "--source", "b"], "an api token has no source"),
    ] {
        let said = home.run(&[&["token", "create"], args].concat()).await.failed();
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(home.read("config/access.yaml"), file);
}

#[tokio::test]
async fn migrations_are_planned_without_a_write_and_then_applied() {
    let home = Home::new();
    home.run(&["init", "--yes"]).await.ok();
    let plan = home.run(&["migrate", "--plan", "-o", "json"]).await.json();
    let all = plan["would_apply"].as_array().unwrap().clone();
    assert!(all[0].as_str().unwrap().starts_with("0001 "), "{plan}");
    assert!(!home.folder.join("data").exists());

    let done = home.run(&["migrate", "-o", "json"]).await.json();
    assert_eq!((&done["before"], &done["applied"]), (&json!([]), &json!(all)));
    let plan = home.run(&["migrate", "--plan", "-o", "json"]).await.json();
    assert_eq!((&plan["before"], &plan["would_apply"]), (&json!(all), &json!([])));

    let serving = home.serve("config/watchkeeper.yaml").await;
    let said = home.run(&["migrate"]).await.failed();
    assert!(said.contains("another process uses the data folder"), "{said}");
    let plan = home.run(&["migrate", "--plan"]).await.ok();
    assert!(plan.contains("up to date"), "{plan}");
    drop(serving);

    home.write("data/watchkeeper.db", "not a database, and long enough to hold its header");
    let said = home.run(&["migrate", "--plan"]).await.failed();
    assert!(said.contains("cannot read data/watchkeeper.db"), "{said}");
}

#[tokio::test]
async fn migrations_of_postgres_are_planned_and_applied() {
    on_postgres(|ground| async move {
        let Location::Postgres { url, .. } = ground.location() else { unreachable!() };
        let home = Home::new();
        home.run(&["init", "--yes"]).await.ok();
        home.write("config/url", url.expose_secret());
        let at = ["--set", "store.database_url_file=url", "-o", "json"];
        let plan = home.run(&[&["migrate", "--plan"], &at[..]].concat()).await.json();
        let all = plan["would_apply"].clone();
        assert_ne!(all, json!([]));
        let tables = "select count(*) from pg_tables where schemaname = 'public'";
        assert_eq!(ground.sql(tables).await, [["0"]]);
        let done = home.run(&[&["migrate"], &at[..]].concat()).await.json();
        assert_eq!(done["applied"], all);
        let plan = home.run(&[&["migrate", "--plan"], &at[..]].concat()).await.json();
        assert_eq!((&plan["before"], &plan["would_apply"]), (&all, &json!([])));

        ground.sql("update _sqlx_migrations set version = 9000 where version = 1").await;
        let said = home.run(&[&["migrate"], &at[..]].concat()).await.failed();
        assert!(said.contains("was migrated to 9000 by another Watchkeeper"), "{said}");
        ground
            .sql("update _sqlx_migrations set version = 1, success = false where version = 9000")
            .await;
        let said = home.run(&[&["migrate"], &at[..]].concat()).await.failed();
        assert!(said.contains("broke off half-way"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn check_config_and_version_say_what_there_is() {
    let home = Home::new();
    home.run(&["init", "--yes"]).await.ok();
    let version = home.run(&["version", "-o", "json"]).await.json();
    assert_eq!(version, json!({"version": env!("CARGO_PKG_VERSION")}));
    home.write("config/inventory.yaml", "hosts: [{ nme: web1 }]\n");
    let ran = home.run(&["check-config"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("config/inventory.yaml:1:"), "{ran:?}");
}
