//! Where checkpoint lines go: a file, syslog, an object store.
//!
//! In: a line. Out: taken, or why not. Never: a line counted as taken that was not handed over
//! whole. What is taken twice is the same text, which a reader leaves out.

use crate::clients::http::{Http, Options};
use crate::config::{CheckpointMethod, SyslogAddress};
use secrecy::{ExposeSecret, SecretString};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UdpSocket, UnixDatagram, lookup_host};

/// Facility "log audit", severity "notice" (RFC 5424, section 6.2.1).
const PRIORITY: u8 = 13 * 8 + 5;
/// Of a datagram, name look-up included.
const SYSLOG_WITHIN: Duration = Duration::from_secs(5);
/// Of what the other side answers, so much is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// One place that takes lines.
#[derive(Clone)]
pub enum Target {
    File(PathBuf),
    Syslog(SyslogAddress),
    Http { url: SecretString, method: CheckpointMethod, options: Options },
}

impl Target {
    /// What the store remembers it by.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Syslog(_) => "syslog",
            Self::Http { .. } => "http",
        }
    }

    /// Hands over one line.
    ///
    /// # Errors
    /// Why it was not taken, without a secret.
    pub async fn send(&self, number: i64, line: &str, at_ms: i64) -> Result<(), String> {
        match self {
            Self::File(path) => {
                let (path, line) = (path.clone(), line.to_owned());
                let written = tokio::task::spawn_blocking(move || append(&path, &line)).await;
                written.map_err(|error| error.to_string())?
            }
            Self::Syslog(address) => {
                let message = syslog(line, at_ms);
                let sent = tokio::time::timeout(SYSLOG_WITHIN, datagram(address, &message)).await;
                sent.map_err(|_| "syslog did not take it in time".to_owned())?
            }
            Self::Http { url, method, options } => {
                let url = url.expose_secret().replace("{number}", &format!("{number:012}"));
                post(&url, *method, options, line).await
            }
        }
    }
}

/// Adds a line and syncs it. A line that broke off before is ended first.
fn append(path: &Path, line: &str) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let mut options = File::options();
    let mut file =
        options.read(true).append(true).create(true).mode(0o600).open(path).map_err(cannot)?;
    let mut text = String::with_capacity(line.len() + 2);
    let mut last = [b'\n'];
    if file.metadata().map_err(cannot)?.len() > 0 {
        file.seek(SeekFrom::End(-1)).map_err(cannot)?;
        file.read_exact(&mut last).map_err(cannot)?;
    }
    if last != *b"\n" {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(cannot)
}

/// RFC 5424: version 1, no structured data. Host name and process are for the daemon to know.
fn syslog(line: &str, at_ms: i64) -> String {
    let at = chrono::DateTime::from_timestamp_millis(at_ms)
        .map_or_else(|| "-".to_owned(), |at| at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
    format!("<{PRIORITY}>1 {at} - watchkeeper {} checkpoint - {line}", std::process::id())
}

async fn datagram(address: &SyslogAddress, message: &str) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("cannot write to syslog: {error}");
    let sent = match address {
        SyslogAddress::Unix(path) => {
            let socket = UnixDatagram::unbound().map_err(cannot)?;
            socket.send_to(message.as_bytes(), path).await.map_err(cannot)?
        }
        SyslogAddress::Udp(address) => {
            let to = lookup_host(address).await.map_err(cannot)?.next();
            let to = to.ok_or_else(|| format!("{address} has no address"))?;
            let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(from).await.map_err(cannot)?;
            socket.connect(to).await.map_err(cannot)?;
            socket.send(message.as_bytes()).await.map_err(cannot)?
        }
    };
    if sent == message.len() { Ok(()) } else { Err("syslog took only a part".to_owned()) }
}

async fn post(
    url: &str,
    method: CheckpointMethod,
    options: &Options,
    line: &str,
) -> Result<(), String> {
    let full: reqwest::Url = url.parse().map_err(|_| "its address is not a URL".to_owned())?;
    // What is presigned has a query, which belongs to the request and into no message.
    let mut base = full.clone();
    base.set_query(None);
    base.set_fragment(None);
    let http = Http::new("the checkpoint store", base.as_str(), options)
        .map_err(|error| error.to_string())?
        .hiding_path();
    let request = match method {
        CheckpointMethod::Put => http.client().put(full),
        CheckpointMethod::Post => http.client().post(full),
    };
    let request = request.header("content-type", "application/json").body(format!("{line}\n"));
    let answer = http.send(request, ANSWER_BYTES_MAX).await.map_err(|error| error.to_string())?;
    http.success(answer).map(|_| ()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_broke_off_is_ended_before_the_next() {
        let path = std::env::temp_dir().join(format!("wk-lines-{}", uuid::Uuid::new_v4()));
        append(&path, "one").unwrap();
        std::fs::File::options().append(true).open(&path).unwrap().write_all(b"tw").unwrap();
        append(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntw\ntwo\n");
        std::fs::remove_file(&path).unwrap();
        let gone = append(&path.join("below"), "x").unwrap_err();
        assert!(gone.contains("cannot write"), "{gone}");
    }

    #[test]
    fn a_datagram_has_the_form_of_rfc_5424() {
        let message = syslog("{}", 1_773_136_800_123);
        let process = std::process::id();
        assert_eq!(
            message,
            format!("<109>1 2026-03-10T10:00:00.123Z - watchkeeper {process} checkpoint - {{}}")
        );
    }
}
