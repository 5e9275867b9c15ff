//! Talks to the running server over HTTP.
//!
//! In: where it is and a token. Out: its answers as JSON or text, or what it said against the
//! request with its advice. Never: the token in a message, or in the list of processes.

use super::{Global, settings_of_the_server};
use crate::clients::http::{Answer, Auth, Error, Http, Options};
use crate::config::{Environment, Settings, is_loopback_url};
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use reqwest::RequestBuilder;
use secrecy::SecretString;
use serde_json::Value;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The report of a long incident is far below this.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where the server is, and who asks.
#[derive(Args, Clone)]
pub struct At {
    /// The running server [default: public_url of the configuration, else where it listens].
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// File that holds the token [default: the environment variable WATCHKEEPER_TOKEN].
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// PEM file of the authority that signed the server's certificate, if it is a private one.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// A server that can be asked.
pub struct Remote {
    http: Http,
    has_token: bool,
}

impl At {
    /// Prepares to ask; sends nothing.
    ///
    /// # Errors
    /// The configuration, the address, the token file or the CA file cannot be used.
    pub fn remote(&self, global: &Global) -> Result<Remote> {
        Remote::new(&self.base(global)?, self.token()?, self.ca_file.clone())
    }

    /// The address of the server.
    ///
    /// # Errors
    /// The configuration cannot be read.
    pub fn base(&self, global: &Global) -> Result<String> {
        match &self.server {
            Some(url) => Ok(url.clone()),
            // Whoever names the server needs no configuration, e.g. on a laptop.
            None => match settings_of_the_server(global) {
                Ok(settings) => Ok(own_url(&settings)),
                Err(error) => Err(anyhow!("{error}. Name the server with --server meanwhile")),
            },
        }
    }

    /// The token from the file, else from the environment.
    ///
    /// # Errors
    /// The file cannot be read or is empty.
    pub fn token(&self) -> Result<Option<SecretString>> {
        match &self.token_file {
            Some(file) => token_in(file).map(Some),
            None => Ok(Environment::from_process().token()),
        }
    }
}

fn token_in(file: &Path) -> Result<SecretString> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the token file {}", file.display()))?;
    match text.trim() {
        "" => bail!("the token file {} is empty", file.display()),
        token => Ok(SecretString::from(token)),
    }
}

/// Where commands on the server's own machine reach it.
pub fn own_url(settings: &Settings) -> String {
    match (&settings.public_url, settings.listen_address()) {
        (None, Some(address)) => {
            let scheme = if settings.http.tls_cert_file.is_some() { "https" } else { "http" };
            format!("{scheme}://{}", reachable(address))
        }
        (Some(_), _) | (None, None) => settings.public_url(),
    }
}

/// An address to connect to for one that is listened on: "everywhere" is no place to go to.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        let v4 = address.is_ipv4();
        reachable.set_ip(if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    reachable
}

impl Remote {
    /// Prepares to ask the server at `base`.
    ///
    /// # Errors
    /// The address or the CA file cannot be used.
    pub fn new(base: &str, token: Option<SecretString>, ca_file: Option<PathBuf>) -> Result<Self> {
        if token.is_some() && base.starts_with("http:") && !is_loopback_url(base) {
            eprintln!("warning: the token travels unencrypted; use https beyond this machine");
        }
        let has_token = token.is_some();
        let auth = token.map_or(Auth::None, Auth::Bearer);
        let options = Options { timeout_ms: 60_000, ca_file, auth, ..Options::default() };
        Ok(Self { http: Http::new("Watchkeeper", base, &options)?, has_token })
    }

    /// The server's address, without credentials.
    pub fn shown(&self) -> String {
        self.http.shown()
    }

    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value> {
        self.json(self.http.get(path, query)).await
    }

    pub async fn get_text(&self, path: &str) -> Result<String> {
        let answer = self.ask(self.http.get(path, &[])).await?;
        String::from_utf8(answer.body).context("the server's answer is not text")
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(self.http.post(path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.json(self.http.client().delete(self.http.url(path))).await
    }

    pub async fn delete_with(&self, path: &str, query: &[(&str, String)]) -> Result<Value> {
        let mut url = self.http.url(path);
        url.query_pairs_mut().extend_pairs(query);
        self.json(self.http.client().delete(url)).await
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value> {
        let answer = self.ask(request).await?;
        let not_ours = || format!("{} gave no JSON; is it Watchkeeper?", self.shown());
        serde_json::from_slice(&answer.body).with_context(not_ours)
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Answer> {
        let answer = self.http.send(request, ANSWER_BYTES_MAX).await.map_err(unreached)?;
        if answer.is_success() { Ok(answer) } else { Err(self.refused(&answer)) }
    }

    /// The server's own words against a request.
    fn refused(&self, answer: &Answer) -> anyhow::Error {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let Some(message) = body.pointer("/error/message").and_then(Value::as_str) else {
            return self.http.refused(answer).into();
        };
        let mut said = format!("the server refuses ({}): ", answer.status);
        if let Some(path) = body.pointer("/error/path").and_then(Value::as_str) {
            said.push_str(&format!("{path}: "));
        }
        said.push_str(&super::print::one_line(message));
        if let Some(problems) = body.pointer("/error/problems").and_then(Value::as_array) {
            for problem in problems.iter().filter_map(Value::as_str) {
                said.push_str(&format!("\n{}", super::print::one_line(problem)));
            }
            return anyhow!(said);
        }
        if answer.status == 401 && !self.has_token {
            said.push_str(
                ". Give a token with --token-file or WATCHKEEPER_TOKEN; \
                 `watchkeeper token create` makes one",
            );
        } else if let Some(hint) = body.pointer("/error/hint").and_then(Value::as_str) {
            said.push_str(&format!(". {}", super::print::one_line(hint)));
        }
        anyhow!(said)
    }
}

/// Why no answer came, with the option that helps.
fn unreached(error: Error) -> anyhow::Error {
    let said = error.to_string();
    let mend = if said.contains("ca_file") {
        "Here that is --ca-file"
    } else {
        "Start it with `watchkeeper serve`, or name another with --server"
    };
    anyhow!("{}. {mend}", said.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_reached_on_this_machine() {
        let at =
            |listen: &str| own_url(&Settings { listen: listen.to_owned(), ..Settings::default() });
        assert_eq!(at("0.0.0.0:9000"), "http://127.0.0.1:9000");
        assert_eq!(at("[::]:9000"), "http://[::1]:9000");
        assert_eq!(at("10.1.2.3:80"), "http://10.1.2.3:80");
        let public = Settings {
            public_url: Some("https://watch.example.org/".to_owned()),
            ..Settings::default()
        };
        assert_eq!(own_url(&public), "https://watch.example.org");
    }
}
