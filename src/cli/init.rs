//! `watchkeeper init`: a configuration to start from, and what to paste into the systems around.
//!
//! In: a folder and two answers. Out: the shipped files in `config/`, with the answers and this
//! host's name in them, and text for Alertmanager, Prometheus and Slack. Never: a file that was
//! there already changed; a right to change anything granted.

mod paste;

use super::{Global, print};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use paste::Pastes;
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const SETTINGS: &str = include_str!("../../config/watchkeeper.yaml");
const INVENTORY: &str = include_str!("../../config/inventory.yaml");
const SAFETY_RULES: &str = include_str!("../../config/safety_rules.yaml");
const RUNBOOKS: &str = include_str!("../../config/runbooks.yaml");
const ALERT_RULES: &str = include_str!("../../deploy/prometheus/watchkeeper.rules.yaml");

#[derive(Args)]
pub struct Init {
    /// Where the folder `config` is made.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Ask nothing; what no option says stays as shipped.
    #[arg(long, short)]
    yes: bool,
    /// Where Prometheus answers, e.g. http://127.0.0.1:9090.
    #[arg(long, value_name = "URL", value_parser = url)]
    prometheus: Option<String>,
    /// How people and Alertmanager reach this server, if not only from this machine.
    #[arg(long, value_name = "URL", value_parser = url)]
    public_url: Option<String>,
}

pub fn run(global: &Global, init: &Init) -> Result<ExitCode> {
    let prometheus = init.answer(
        &init.prometheus,
        "Where does Prometheus answer? e.g. http://127.0.0.1:9090; empty for none: ",
    )?;
    let public_url = init.answer(
        &init.public_url,
        "How do people and Alertmanager reach this server? e.g. https://watchkeeper.example.org; \
         empty for this machine only: ",
    )?;
    let host = host_name();
    let folder = match init.dir.as_path() {
        // Without the `./` that would stand in every line.
        here if here == Path::new(".") => PathBuf::from("config"),
        dir => dir.join("config"),
    };
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let files = [
        ("watchkeeper.yaml", settings(prometheus.as_deref(), public_url.as_deref())),
        ("inventory.yaml", inventory(&host)),
        ("safety_rules.yaml", SAFETY_RULES.to_owned()),
        ("runbooks.yaml", RUNBOOKS.to_owned()),
        ("watchkeeper.rules.yaml", ALERT_RULES.to_owned()),
    ];
    let (mut written, mut kept) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let file = folder.join(name);
        if write_new(&file, &text)? { written.push(file) } else { kept.push(file) }
    }
    if kept.iter().any(|file| file.ends_with("watchkeeper.yaml"))
        && (prometheus.is_some() || public_url.is_some())
    {
        eprintln!("warning: watchkeeper.yaml was there already; write the addresses into it");
    }
    let has_inventory = kept.iter().any(|file| file.ends_with("inventory.yaml"));
    let pastes = Pastes {
        folder: &folder,
        url: public_url.as_deref().unwrap_or("http://127.0.0.1:8080"),
        host: &host,
    };
    let result = json!({
        "written": written,
        "kept": kept,
        "alertmanager": pastes.alertmanager(),
        "inventory": pastes.inventory(),
        "prometheus": pastes.prometheus(),
        "slack": pastes.slack(),
        "next": pastes.next(),
    });
    print::show(global.output, &result, |_| {
        let listed = |word: &str, files: &[PathBuf]| {
            files.iter().map(|file| format!("{word:8} {}\n", file.display())).collect::<String>()
        };
        let files = listed("wrote", &written) + &listed("kept", &kept);
        format!("{files}\n{}", pastes.for_people(has_inventory))
    })?;
    Ok(ExitCode::SUCCESS)
}

impl Init {
    /// The option, else what is typed, else nothing.
    fn answer(&self, option: &Option<String>, question: &str) -> Result<Option<String>> {
        if option.is_some() || self.yes {
            return Ok(option.clone());
        }
        loop {
            eprint!("{question}");
            std::io::stderr().flush()?;
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).context("cannot read the answer")?;
            match line.trim() {
                "" => return Ok(None),
                text => match url(text) {
                    Ok(url) => return Ok(Some(url)),
                    Err(why) => eprintln!("{why}"),
                },
            }
        }
    }
}

fn url(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let such = || "write it as http://host:port or https://host".to_owned();
    let parsed = reqwest::Url::parse(text).map_err(|_| such())?;
    let fits = matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
    if fits { Ok(text.to_owned()) } else { Err(such()) }
}

/// The shipped settings with the answers in their places.
fn settings(prometheus: Option<&str>, public_url: Option<&str>) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = SETTINGS.to_owned();
    if let Some(url) = public_url {
        text = text.replacen("\npublic_url:\n", &format!("\npublic_url: {}\n", quoted(url)), 1);
    }
    if let Some(url) = prometheus {
        // The first `url:` below a section is Prometheus'.
        text = text.replacen("\n  url:\n", &format!("\n  url: {}\n", quoted(url)), 1);
    }
    text
}

/// The shipped inventory, whose one host becomes this machine.
fn inventory(host: &str) -> String {
    INVENTORY.replacen("\n  - name: localhost\n", &format!("\n  - name: {host}\n"), 1)
}

/// The kernel's name of this machine, if it can stand in YAML as it is.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts && name.chars().all(plain) { name.to_owned() } else { "localhost".to_owned() }
}

/// Writes a file unless there is one; whether it did.
fn write_new(file: &Path, text: &str) -> Result<bool> {
    let cannot = |error: std::io::Error| anyhow!("cannot write {}: {error}", file.display());
    match File::options().write(true).create_new(true).open(file) {
        Ok(mut new) => {
            new.write_all(text.as_bytes()).and_then(|()| new.sync_all()).map_err(cannot)?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(cannot(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load};
    use crate::targets::inventory::{Catalogue, Inventory};

    #[test]
    fn the_answers_stand_in_the_settings() {
        let folder = std::env::temp_dir().join(format!("wk-init-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("watchkeeper.yaml");
        let text = settings(Some("http://10.0.0.1:9090"), Some("https://watch.example.org"));
        std::fs::write(&file, text).unwrap();
        let loaded = load(Some(&file), &Environment::default(), &[]).unwrap().value;
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(loaded.prometheus.url.as_deref(), Some("http://10.0.0.1:9090"));
        assert_eq!(loaded.public_url.as_deref(), Some("https://watch.example.org"));
        assert_eq!(settings(None, None), SETTINGS);
    }

    #[test]
    fn the_inventory_names_this_host_and_grants_nothing() {
        let catalogue = Catalogue::parse(&inventory("web1.example.org")).unwrap();
        assert_eq!(catalogue.host_names(), ["web1.example.org"]);
        assert_eq!(catalogue.host("127.0.0.1").unwrap().name, "web1.example.org");
        assert_eq!(catalogue.grants(), []);
    }
}
