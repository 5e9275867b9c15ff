//! Where a request comes from.
//!
//! In: the address of the connection and its headers. Out: a [`Peer`].
//! Never: `X-Forwarded-For` believed from anybody but the configured proxies.

use crate::config::Network;
use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use std::net::IpAddr;

/// The client of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    pub address: IpAddr,
    pub path: Path,
}

/// How a request came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    Direct,
    /// Through a trusted proxy, which named the client.
    Proxied,
    /// A proxy that is not configured stands in between, so the client is not known.
    Unknown,
}

impl Peer {
    /// Finds the client: from the right, the first address that is no trusted proxy.
    pub fn of(connected: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Self {
        let connected = connected.to_canonical();
        let forwarded =
            headers.contains_key("x-forwarded-for") || headers.contains_key("forwarded");
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        if !is_trusted(connected) {
            let path = if forwarded { Path::Unknown } else { Path::Direct };
            return Self { address: connected, path };
        }
        let named: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        let mut client = connected;
        for text in named.into_iter().rev() {
            let Ok(address) = text.trim().parse::<IpAddr>() else { break };
            client = address.to_canonical();
            if !is_trusted(client) {
                break;
            }
        }
        let path = if forwarded { Path::Proxied } else { Path::Direct };
        Self { address: client, path }
    }

    /// Whether the request was made on this machine, by something that connected by itself.
    pub fn is_local(&self) -> bool {
        self.path == Path::Direct && self.address.is_loopback()
    }
}

/// Whether `Host` names this machine by its loopback address. A page of a stranger whose name was
/// made to point at 127.0.0.1 carries that name here.
pub fn names_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    crate::config::is_loopback_url(&format!("http://{host}"))
}

/// Whether a browser says that a page of another site made this request.
pub fn is_foreign(headers: &HeaderMap, public_url: &str) -> bool {
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let Ok(origin) = origin.to_str() else { return true };
    let Some((_, named)) = origin.split_once("://") else { return true };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    !(named.eq_ignore_ascii_case(host) || origin_of(public_url).eq_ignore_ascii_case(origin))
}

/// Scheme, host and port of a URL.
fn origin_of(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)))
            .collect()
    }

    fn client(connected: &str, headers_of: &[(&'static str, &'static str)]) -> (String, Path) {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let peer = Peer::of(connected.parse().unwrap(), &headers(headers_of), &trusted);
        (peer.address.to_string(), peer.path)
    }

    #[test]
    fn only_trusted_proxies_name_the_client() {
        let forged = [("x-forwarded-for", "127.0.0.1")];
        assert_eq!(client("192.0.2.1", &forged), ("192.0.2.1".into(), Path::Unknown));
        assert_eq!(client("192.0.2.1", &[]), ("192.0.2.1".into(), Path::Direct));
        let chain = [("x-forwarded-for", "127.0.0.1, 192.0.2.9, 10.0.0.7")];
        assert_eq!(client("10.0.0.1", &chain), ("192.0.2.9".into(), Path::Proxied));
        let broken = [("x-forwarded-for", "192.0.2.9, nonsense")];
        assert_eq!(client("10.0.0.1", &broken), ("10.0.0.1".into(), Path::Proxied));
        assert_eq!(client("::ffff:10.0.0.1", &[]), ("10.0.0.1".into(), Path::Direct));
    }

    #[test]
    fn an_unknown_proxy_is_not_local() {
        let local = |pairs: &[(&'static str, &'static str)]| {
            Peer::of("127.0.0.1".parse().unwrap(), &headers(pairs), &[]).is_local()
        };
        assert!(local(&[]));
        assert!(!local(&[("x-forwarded-for", "192.0.2.1")]));
        assert!(!local(&[("forwarded", "for=192.0.2.1")]));
    }

    #[test]
    fn pages_of_other_sites_are_foreign() {
        let foreign = |pairs: &[(&'static str, &'static str)]| {
            is_foreign(&headers(pairs), "https://wk.example.org/base")
        };
        assert!(!foreign(&[("host", "wk:8080")]));
        assert!(!foreign(&[("host", "wk:8080"), ("origin", "http://wk:8080")]));
        assert!(!foreign(&[("host", "10.0.0.1"), ("origin", "https://wk.example.org")]));
        assert!(foreign(&[("host", "wk:8080"), ("origin", "http://wk:8081")]));
        assert!(foreign(&[("host", "wk:8080"), ("origin", "null")]));
        assert!(foreign(&[("host", "wk:8080"), ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn only_loopback_names_are_loopback() {
        assert!(names_loopback(&headers(&[("host", "127.0.0.1:8080")])));
        assert!(names_loopback(&headers(&[("host", "localhost")])));
        assert!(names_loopback(&headers(&[("host", "[::1]:8080")])));
        assert!(!names_loopback(&headers(&[("host", "evil.example")])));
        assert!(!names_loopback(&headers(&[])));
    }
}
