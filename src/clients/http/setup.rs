//! Turns an address and options into a client.
//!
//! In: what the configuration says. Out: a base URL free of credentials, and a client that holds to
//! the rules of the parent module, or a sentence that says how to write it right. Never: a sentence
//! that repeats a password.

use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, Client, Proxy, Url, redirect};

use super::{Auth, Options, innermost};

/// A same-origin redirect chain longer than this is a loop.
const REDIRECTS_MAX: usize = 3;

pub(super) fn address(base_url: &str, auth: &Auth) -> Result<(Url, Auth), String> {
    let mut base = Url::parse(base_url.trim()).map_err(|error| {
        format!("its address is not a URL ({error}); write it as http://host:port")
    })?;
    if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
        return Err("its address must begin with http:// or https:// and name a host".to_owned());
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err("its address must not contain ? or #".to_owned());
    }
    let auth = match (auth, base.username(), base.password()) {
        (Auth::None, "", None) => Auth::None,
        (Auth::None, user, password) => Auth::Basic {
            user: decoded(user),
            password: decoded(password.unwrap_or_default()).into(),
        },
        (named, _, _) => named.clone(),
    };
    // `set_*` fail only for addresses that cannot have a host, which are refused above.
    let _ = base.set_username("");
    let _ = base.set_password(None);
    Ok((base, auth))
}

/// Undoes percent-encoding; the URL type keeps user and password encoded.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn client(base: &Url, options: &Options) -> Result<Client, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("watchkeeper/", env!("CARGO_PKG_VERSION")))
        .timeout(Duration::from_millis(options.timeout_ms))
        .connect_timeout(Duration::from_millis(options.connect_timeout_ms))
        .redirect(redirect::Policy::custom(follow_same_origin))
        .no_proxy();
    let mut needs_roots = base.scheme() == "https";
    if let Some(proxy) = &options.proxy {
        needs_roots |= proxy.starts_with("https:");
        // The error would repeat the address, which may hold a password.
        let proxy = Proxy::all(proxy.as_str())
            .map_err(|_| "its proxy is not a URL; write it as http://host:port".to_owned())?;
        builder = builder.proxy(proxy);
    }
    if let Some(file) = &options.ca_file {
        builder = builder.tls_certs_only(authorities(file)?);
    } else if !needs_roots {
        // Plain HTTP never checks a certificate, and images without CA files must still start.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| innermost(&error))
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, String> {
    let shown = file.display();
    let pem = std::fs::read(file)
        .map_err(|error| format!("its ca_file {shown} cannot be read: {error}"))?;
    let found = Certificate::from_pem_bundle(&pem)
        .map_err(|error| format!("its ca_file {shown} is not PEM: {}", innermost(&error)))?;
    if found.is_empty() {
        return Err(format!("its ca_file {shown} holds no certificate"));
    }
    Ok(found)
}

/// Follows only 307 and 308, which keep the method: a POST that silently became a GET would look
/// like a success, and 302 mostly leads to a login page.
fn follow_same_origin(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let keeps_method = matches!(attempt.status().as_u16(), 307 | 308);
    let same_origin =
        attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
    if keeps_method && same_origin && attempt.previous().len() <= REDIRECTS_MAX {
        attempt.follow()
    } else {
        attempt.stop()
    }
}
