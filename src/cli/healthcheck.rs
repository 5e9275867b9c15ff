//! `watchkeeper healthcheck`: asks the configured listener on this machine whether it is ready.

use super::{Global, block_on, print, remote, settings_of_the_server};
use crate::clients::http::{install_tls, read_capped};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// Docker's own limit in the shipped Dockerfile is five seconds.
const WITHIN: Duration = Duration::from_secs(4);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

pub fn run(global: &Global) -> Result<ExitCode> {
    // A file that is being edited says nothing about the server that runs.
    let settings = settings_of_the_server(global)?;
    let address = settings.listen_address().ok_or_else(|| anyhow!("listen is no address"))?;
    let scheme = if settings.http.tls_cert_file.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}/readyz", remote::reachable(address));
    let answer = block_on(ask(&url))?;
    print::show(global.output, &answer, |_| "ready".to_owned())?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(url: &str) -> Result<Value> {
    install_tls();
    // The certificate names the public address and not this one. It is not checked: nothing secret
    // is sent, and the process on the configured port is the one that is asked about.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .timeout(WITHIN)
        .build()?;
    let response = client.get(url).send().await.map_err(reqwest::Error::without_url);
    let response = response.with_context(|| format!("nothing ready answers at {url}"))?;
    let status = response.status();
    let body = read_capped(response, ANSWER_BYTES_MAX).await?;
    let answer: Value = serde_json::from_slice(&body)
        .with_context(|| format!("{url} gave no JSON; is it Watchkeeper?"))?;
    if !status.is_success() {
        let missing = answer.get("not_ready").unwrap_or(&answer);
        bail!("not ready: {}", print::one_line(&missing.to_string()));
    }
    Ok(answer)
}
