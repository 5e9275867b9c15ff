//! Addresses as the configuration writes them: URLs, and networks in CIDR form.
//!
//! In: text. Out: [`Network`], and judgements about URLs.
//! Never: a name looked up; only `localhost` and literal addresses count as this machine.

use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// One address, or all that share its first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` lies in this network. IPv4 in an IPv6 coat counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let shift = 32 - u32::from(self.bits);
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let shift = 128 - u32::from(self.bits);
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| "must be an address or a network such as 10.0.0.0/8".to_owned())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => match bits.parse::<u8>() {
                Ok(bits) if bits <= most => bits,
                Ok(_) | Err(_) => return Err(format!("must end in /0 to /{most}")),
            },
        };
        Ok(Self { address, bits })
    }
}

/// Whether a URL points at this machine by its very text.
pub fn is_loopback_url(url: &str) -> bool {
    let Some(host) = host_of(url) else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

pub(super) fn host_of(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

/// Parses a base URL of one of `schemes`; the error never repeats the URL.
pub(super) fn base_url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let such_as = format!("{}://host:port", schemes.first().unwrap_or(&"http"));
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if !schemes.iter().any(|scheme| text.starts_with(&format!("{scheme}://"))) {
        return Err(format!("must start with {}", schemes.join(":// or ") + "://"));
    }
    let url =
        Url::parse(text).map_err(|error| format!("is not a URL such as {such_as}: {error}"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("names no host; write it as {such_as}"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_what_shares_its_first_bits() {
        let within = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(within("10.0.0.0/8", "10.255.0.1"));
        assert!(within("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("192.0.2.7", "192.0.2.7"));
        assert!(!within("192.0.2.7", "192.0.2.8"));
        assert!(within("0.0.0.0/0", "203.0.113.1"));
        assert!(!within("0.0.0.0/0", "::1"));
        assert!(within("fd00::/8", "fdff::1"));
        assert!(within("::/0", "2001:db8::1"));
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for url in ["http://localhost:1", "http://127.0.0.2/v1", "http://[::1]:8080"] {
            assert!(is_loopback_url(url), "{url}");
        }
        for url in ["https://api.openai.com/v1", "http://127.0.0.1.example.org", "localhost", ""] {
            assert!(!is_loopback_url(url), "{url}");
        }
    }
}
