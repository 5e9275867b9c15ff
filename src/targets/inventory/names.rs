//! What a name may look like, and which valid name somebody meant.
//!
//! In: text from a person, a label or a mind. Out: whether it can be a name at all, its compared
//! form, and the valid names nearest to it. Never: a glob, a blank, a leading dash, two names.

use crate::model::text::distance;
use regex::Regex;
use std::net::IpAddr;
use std::sync::LazyLock;

/// Names of DNS and of systemd units are at most this long.
const NAME_CHARS_MAX: usize = 253;
/// How many valid names an error lists; more would bury the answer.
pub(super) const LISTED_MAX: usize = 10;

#[expect(clippy::expect_used, reason = "a constant pattern, compiled by a test")]
static SERVICE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[A-Za-z0-9][A-Za-z0-9:_.-]*(?:@[A-Za-z0-9][A-Za-z0-9:_.-]*)?$").expect("constant")
});
#[expect(clippy::expect_used, reason = "a constant pattern, compiled by a test")]
static HOST: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$").expect("constant"));

/// Kinds of systemd units other than services: naming one is not naming a service.
const OTHER_UNITS: [&str; 10] = [
    ".socket",
    ".timer",
    ".target",
    ".mount",
    ".automount",
    ".swap",
    ".path",
    ".slice",
    ".scope",
    ".device",
];

/// Whether the text can name a service.
pub fn is_service(text: &str) -> bool {
    text.len() <= NAME_CHARS_MAX
        && SERVICE.is_match(text)
        && !OTHER_UNITS.iter().any(|end| text.to_ascii_lowercase().ends_with(end))
}

/// Whether the text can name a host: a host name or an IP address, without a port.
pub fn is_host(text: &str) -> bool {
    text.len() <= NAME_CHARS_MAX && (HOST.is_match(text) || text.parse::<IpAddr>().is_ok())
}

/// The form in which names are compared.
pub(super) fn key(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    lower.strip_suffix(".service").map(str::to_owned).unwrap_or(lower)
}

/// The form in which addresses are compared; IP addresses in their shortest spelling.
pub(super) fn address_key(address: &str) -> String {
    address.parse::<IpAddr>().map_or_else(|_| address.to_ascii_lowercase(), |ip| ip.to_string())
}

/// The unit's full name: `nginx` is `nginx.service`.
pub(super) fn unit(text: &str) -> String {
    if text.ends_with(".service") { text.to_owned() } else { format!("{text}.service") }
}

/// The valid names, nearest to `name` first, at most [`LISTED_MAX`]; and how many are left out.
pub(super) fn nearest(name: &str, mut valid: Vec<String>) -> (Vec<String>, usize) {
    let wanted = key(name);
    valid.sort_by_cached_key(|known| (edits(&wanted, &key(known)), known.clone()));
    let left_out = valid.len().saturating_sub(LISTED_MAX);
    valid.truncate(LISTED_MAX);
    (valid, left_out)
}

/// Edits between two names. A name that holds the other counts as one edit.
fn edits(a: &str, b: &str) -> usize {
    if !a.is_empty() && !b.is_empty() && (a.contains(b) || b.contains(a)) {
        return usize::from(a != b);
    }
    let short = |name: &str| name.chars().take(NAME_CHARS_MAX).collect::<String>();
    distance(&short(a), &short(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_a_strict_syntax() {
        for good in ["nginx", "nginx.service", "redis@6379", "a:b_c.d-e", "postgresql@15-main"] {
            assert!(is_service(good), "{good} was refused");
        }
        let hostile = [
            "",
            "-H",
            "nginx;id",
            "nginx*",
            "nginx ssh",
            "nginx\n",
            "../x",
            "a@",
            "a@b@c",
            "@a",
            "reboot.target",
            "x.Socket",
            "nginx/..",
            "ngínx",
            "$(id)",
            ".hidden",
        ];
        for bad in hostile {
            assert!(!is_service(bad), "{bad:?} was taken");
        }
        for bad in ["", "-oProxyCommand=x", "web1,web2", "web 1", "root@web1", "[::1]", "a:1"] {
            assert!(!is_host(bad), "{bad:?} was taken");
        }
        assert!(is_host("::1") && is_host("10.2.3.4") && is_host("web1.example.org"));
        assert!(!is_service(&"a".repeat(254)) && !is_host(&"a".repeat(254)));
    }

    #[test]
    fn nearest_names_come_first_and_are_capped() {
        let valid: Vec<String> = (10..30).map(|n| format!("web{n}")).collect();
        let (listed, left_out) = nearest("wbe21", valid);
        assert_eq!((listed.len(), left_out), (10, 10));
        assert_eq!(listed[0], "web21");
        let two = vec!["postgresql".to_owned(), "nginx".to_owned()];
        assert_eq!(nearest("ngnix", two), (vec!["nginx".to_owned(), "postgresql".to_owned()], 0));
    }
}
