//! Finds the files that the settings name: the configuration itself, secrets, certificates.
//!
//! In: paths. Out: secrets in their place in [`Settings`], problems for what cannot be read.
//! Never: the contents of a file in a message. To add a secret, add its line to `secrets`.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::Settings;
use super::environment::Findings;
use super::positions::Positions;
use super::problem::Problem;

/// Where a configuration file is looked for when none is named.
const PLACES: [&str; 2] = ["config/watchkeeper.yaml", "/etc/watchkeeper/watchkeeper.yaml"];

/// The text of a configuration file with its name and its folder.
pub(super) struct Document {
    pub file: String,
    pub text: String,
    pub folder: PathBuf,
}

/// Reads the named file, else the first that exists of the usual ones, else nothing.
pub(super) fn find(named: Option<&Path>) -> Result<Document, Box<Problem>> {
    let usual = || PLACES.iter().map(Path::new).find(|path| path.exists());
    let Some(path) = named.or_else(usual) else {
        let folder = Path::new(PLACES[0]).parent().unwrap_or(Path::new(""));
        let file = "configuration".to_owned();
        return Ok(Document { file, text: String::new(), folder: folder.to_owned() });
    };
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            let hint =
                format!("without a file named, {} is tried, then defaults", PLACES.join(", "));
            return Box::new(Problem::about(&file, "this file does not exist").hint(hint));
        }
        Box::new(Problem::about(&file, format!("cannot be read: {error}")))
    })?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok(Document { file, text, folder })
}

/// A secret in its place in the settings.
pub(super) struct Secret<'s> {
    pub path: String,
    pub value: &'s mut Option<SecretString>,
    file: Option<&'s PathBuf>,
}

pub(super) fn secrets(settings: &mut Settings) -> Vec<Secret<'_>> {
    let secret = |path: &str, value, file| Secret { path: path.to_owned(), value, file };
    let Settings { store, prometheus, alertmanager, notify, model, audit, .. } = settings;
    let checkpoint = &mut audit.checkpoint;
    let mut all = vec![
        secret("store.database_url", &mut store.database_url, store.database_url_file.as_ref()),
        secret(
            "notify.slack.webhook_url",
            &mut notify.slack.webhook_url,
            notify.slack.webhook_url_file.as_ref(),
        ),
        secret(
            "notify.pagerduty.routing_key",
            &mut notify.pagerduty.routing_key,
            notify.pagerduty.routing_key_file.as_ref(),
        ),
        secret(
            "notify.email.password",
            &mut notify.email.password,
            notify.email.password_file.as_ref(),
        ),
        secret(
            "notify.heartbeat.url",
            &mut notify.heartbeat.url,
            notify.heartbeat.url_file.as_ref(),
        ),
        secret("audit.checkpoint.key", &mut checkpoint.key, checkpoint.key_file.as_ref()),
        secret(
            "audit.checkpoint.http.url",
            &mut checkpoint.http.url,
            checkpoint.http.url_file.as_ref(),
        ),
    ];
    let clients = [
        ("prometheus.client", &mut prometheus.client),
        ("alertmanager.client", &mut alertmanager.client),
        ("notify.slack.client", &mut notify.slack.client),
        ("notify.pagerduty.client", &mut notify.pagerduty.client),
        ("notify.heartbeat.client", &mut notify.heartbeat.client),
        ("audit.checkpoint.http.client", &mut checkpoint.http.client),
    ];
    for (path, client) in clients {
        all.push(secret(
            &format!("{path}.bearer_token"),
            &mut client.bearer_token,
            client.bearer_token_file.as_ref(),
        ));
        all.push(secret(
            &format!("{path}.basic_password"),
            &mut client.basic_password,
            client.basic_password_file.as_ref(),
        ));
    }
    for (index, endpoint) in model.endpoints.iter_mut().enumerate() {
        all.push(secret(
            &format!("model.endpoints.{index}.api_key"),
            &mut endpoint.api_key,
            endpoint.api_key_file.as_ref(),
        ));
    }
    all
}

/// Reads every secret that lies in a file of its own; relative paths are taken from `folder`.
pub(super) fn read_secrets(
    settings: &mut Settings,
    folder: &Path,
    positions: &Positions,
) -> Findings {
    let mut findings = Findings::default();
    for Secret { path, value, file } in secrets(settings) {
        let file_path = format!("{path}_file");
        match (value.is_some(), file) {
            (false, None) => {}
            (true, Some(_)) => {
                let key = path.rsplit('.').next().unwrap_or_default();
                let said = format!("`{key}` and `{key}_file` are both set");
                let problem = positions.problem(&file_path, said);
                findings.problems.push(problem.hint("remove one of them"));
            }
            (true, None) => {
                let inline = positions.problem(&path, "the secret stands in the file itself");
                let empty = value.as_ref().is_some_and(|v| v.expose_secret().trim().is_empty());
                if empty {
                    let problem = positions.problem(&path, "is empty");
                    findings.problems.push(problem.hint("write a value, or remove the line"));
                } else if inline.line.is_some() {
                    let hint = "an environment variable, or a file of its own named by the key";
                    let key = file_path.rsplit('.').next().unwrap_or_default();
                    findings.warnings.push(inline.hint(format!("safer: {hint} `{key}`")));
                }
            }
            (false, Some(file)) => match read_secret(&folder.join(file)) {
                Ok(secret) => *value = Some(secret),
                Err(message) => findings.problems.push(positions.problem(&file_path, message)),
            },
        }
    }
    findings
}

fn read_secret(file: &Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    match text.trim() {
        "" => Err(format!("{} is empty", file.display())),
        secret => Ok(SecretString::from(secret)),
    }
}

/// Says why a file that must be readable is not.
pub(super) fn unreadable(file: &Path) -> Option<String> {
    let opened = std::fs::File::open(file).and_then(|file| file.metadata());
    match opened {
        Ok(data) if data.is_file() => None,
        Ok(_) => Some(format!("{} is not a file", file.display())),
        Err(error) => Some(format!("cannot read {}: {error}", file.display())),
    }
}
