//! The shapes that the value of a flag or a positional word may have.
//!
//! In: the table's notation (`int(1..100)`, `one(a|b)`, `read`), then words. Out: accepted or why
//! not. Never: a shape that begins with `-` where a program could take it for a flag. To add one:
//! a variant, its notation in `simple` or `with_list`, its arm in `accept` and in `describe`.

use std::net::IpAddr;

use super::shapes::Shape;
use crate::safety::paths::{self, Access};

/// Longest value of any kind.
const VALUE_MAX: usize = 512;

/// One shape of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `int(1..100)`
    Int(u64, u64),
    /// `signed(-10..10)`, also with a leading `+`.
    Signed(i64, i64),
    /// `num(0.2..5)`
    Number(f64, f64),
    /// `one(a|b)`
    OneOf(Vec<String>),
    /// `many(a|b)`: a comma list.
    Many(Vec<String>),
    /// `sorted(a|b)`: a comma list, each with `+` or `-` in front if wanted.
    Sorted(Vec<String>),
    /// `word(_.-)`: letters, digits and the listed characters; only `_` and `+` of those in front.
    Word(String),
    /// `named(_.-)`: the same, but begins with a letter, where a number would mean an interval.
    Named(String),
    /// `words(_.-)`: a comma list of them.
    Words(String),
    /// A path, by what is done with it: `read`, `tree`, `list`, `cert`.
    Path(Access),
    /// `device`: a block device that a program asks about.
    Device,
    /// `time`: a point in time as systemd, `date` or `dmesg` read it.
    Time,
    /// `duration`: `90s`, `1h30m`
    Duration,
    /// `unit`: one systemd unit; `unitglob`: also a pattern of units.
    Unit,
    UnitGlob,
    /// `host`: a host name or an address; `loopback`: this host only.
    Host,
    Loopback,
    /// `server`: `@` and a host, as `dig` wants it.
    Server,
    /// `text`: anything printable that is not a flag; `pattern`: may begin with `-` too.
    Text,
    Pattern,
    /// `filter`: words of a socket filter.
    Filter,
    /// `age`: `+7`, `-1`, `60`; `size`: the same with a unit; `mode`: permission bits.
    Age,
    Size,
    Mode,
    /// `journalmatch`: `_PID=1`
    JournalMatch,
    /// `dateformat`: `+%F`
    DateFormat,
    /// `resource`: Kubernetes types or `type/name`, no secrets; `resourceoutput`: `-o` of kubectl.
    Resource,
    ResourceOutput,
    /// `endpoint`: `lsof -i`'s `TCP@host:port`.
    Endpoint,
    /// `hostport`: `db1:5432`
    HostPort,
    /// A small language of its own: `sedprint`, `awkprint`, `jqpath`, `healthurl` and others.
    Shape(Shape),
    /// `a|b`: the first that accepts.
    Any(Vec<Kind>),
}

impl Kind {
    /// Judges a value; `Some(access)` says that it is a path and what is done with it.
    ///
    /// # Errors
    /// What the value should have been.
    pub fn accept(&self, text: &str) -> Result<Option<Access>, String> {
        if text.len() > VALUE_MAX {
            return Err(format!("a value has at most {VALUE_MAX} characters"));
        }
        if let Kind::Path(access) = self {
            return match paths::permit(*access, text) {
                Ok(_) => Ok(Some(*access)),
                Err(denied) => Err(denied.to_string()),
            };
        }
        if let Kind::Any(kinds) = self {
            let mut answers = kinds.iter().map(|kind| kind.accept(text));
            let first = answers.find(Result::is_ok);
            return first.unwrap_or_else(|| Err(self.expected(text, kinds)));
        }
        if self.fits(text) { Ok(None) } else { Err(format!("it should be {}", self.describe())) }
    }

    /// For a path the reason why it is denied says more than a list of kinds.
    fn expected(&self, text: &str, kinds: &[Kind]) -> String {
        let path = kinds.iter().find(|kind| matches!(kind, Kind::Path(_)));
        match path.filter(|_| text.starts_with('/')).map(|kind| kind.accept(text)) {
            Some(Err(denied)) => denied,
            Some(Ok(_)) | None => format!("it should be {}", self.describe()),
        }
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Kind::Int(min, max) => {
                all(text, "", |c| c.is_ascii_digit())
                    && text.parse().is_ok_and(|n: u64| (*min..=*max).contains(&n))
            }
            Kind::Signed(min, max) => {
                let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
                all(digits, "", |c| c.is_ascii_digit())
                    && text.parse().is_ok_and(|n: i64| (*min..=*max).contains(&n))
            }
            Kind::Number(min, max) => {
                all(text, ".", |c| c.is_ascii_digit())
                    && text.parse().is_ok_and(|n: f64| (*min..=*max).contains(&n))
            }
            Kind::OneOf(list) => list.iter().any(|item| item == text),
            Kind::Many(list) => text.split(',').all(|part| list.iter().any(|item| item == part)),
            Kind::Sorted(list) => text.split(',').all(|part| {
                let part = part.strip_prefix(['+', '-']).unwrap_or(part);
                list.iter().any(|item| item == part)
            }),
            Kind::Word(extra) => is_word(text, extra),
            Kind::Named(extra) => {
                text.starts_with(|c: char| c.is_ascii_alphabetic()) && is_word(text, extra)
            }
            Kind::Words(extra) => text.split(',').all(|part| is_word(part, extra)),
            Kind::Device => is_device(text),
            Kind::Time => {
                text.len() <= 40
                    && !text.starts_with("--")
                    && all(text, " :+-./@", |c| c.is_ascii_alphanumeric())
            }
            Kind::Duration => is_duration(text),
            Kind::Unit => is_unit(text, ""),
            Kind::UnitGlob => is_unit(text, "*?[]"),
            Kind::Host => is_host(text),
            Kind::Loopback => ["localhost", "127.0.0.1", "::1"].contains(&text),
            Kind::Server => text.strip_prefix('@').is_some_and(is_host),
            Kind::Text => !text.starts_with('-') && !text.is_empty(),
            Kind::Pattern => !text.is_empty(),
            Kind::Filter => all(text, " :.*/[]()=<>!_-%", |c| c.is_ascii_alphanumeric()),
            Kind::Age => {
                let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
                all(digits, "", |c| c.is_ascii_digit()) && digits.len() <= 9
            }
            Kind::Size => {
                let text = text.strip_prefix(['+', '-']).unwrap_or(text);
                let digits = text.strip_suffix(|c| "bcwkKMGT".contains(c)).unwrap_or(text);
                all(digits, "", |c| c.is_ascii_digit()) && digits.len() <= 15
            }
            Kind::Mode => {
                let text = text.strip_prefix(['/', '-']).unwrap_or(text);
                all(text, "01234567ugoarwxst=+,-", |_| false)
            }
            Kind::JournalMatch => text.split_once('=').is_some_and(|(field, _)| {
                !field.is_empty()
                    && all(field, "_", |c| c.is_ascii_uppercase() || c.is_ascii_digit())
            }),
            Kind::DateFormat => text.starts_with('+'),
            Kind::Resource => text.split(',').all(is_resource),
            Kind::ResourceOutput => {
                ["wide", "name", "yaml", "json"].contains(&text)
                    || ["jsonpath=", "custom-columns="].iter().any(|p| text.starts_with(p))
            }
            Kind::Endpoint => is_endpoint(text),
            Kind::HostPort => text
                .rsplit_once(':')
                .is_some_and(|(host, port)| is_host(host) && Kind::Int(1, 65_535).fits(port)),
            Kind::Shape(shape) => shape.fits(text),
            Kind::Path(_) | Kind::Any(_) => false,
        }
    }

    /// The hosts that an accepted value names, as a program would look them up.
    pub fn hosts<'t>(&self, text: &'t str) -> Vec<&'t str> {
        if let Kind::Any(kinds) = self {
            let kind = kinds.iter().find(|kind| kind.accept(text).is_ok());
            return kind.map(|kind| kind.hosts(text)).unwrap_or_default();
        }
        if *self == Kind::Host {
            return vec![text];
        }
        if *self == Kind::HostPort {
            return text.rsplit_once(':').map(|(host, _)| host).into_iter().collect();
        }
        if *self == Kind::Server {
            return text.strip_prefix('@').into_iter().collect();
        }
        if *self == Kind::Endpoint {
            let host =
                text.split_once('@').map(|(_, rest)| rest.rsplit_once(':').unwrap_or((rest, "")));
            return host
                .into_iter()
                .map(|(host, _)| host)
                .filter(|host| !host.is_empty())
                .collect();
        }
        if *self == Kind::Filter {
            // Words of the filter's own language hold no dot, and addresses no letter beside one.
            let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || "._-*".contains(c)));
            let name = |part: &&str| {
                part.contains('.') && part.contains(|c: char| c.is_ascii_alphabetic())
            };
            return parts.filter(name).collect();
        }
        Vec::new()
    }

    /// Says what is expected, to follow "it should be".
    pub fn describe(&self) -> String {
        match self {
            Kind::Int(min, max) => format!("a whole number from {min} to {max}"),
            Kind::Signed(min, max) => format!("a number from {min} to {max}"),
            Kind::Number(min, max) => format!("a number from {min} to {max}"),
            Kind::OneOf(list) => format!("one of {}", some(list)),
            Kind::Many(list) => format!("a comma list of {}", some(list)),
            Kind::Sorted(list) => format!("a comma list of {}, with + or -", some(list)),
            Kind::Word(_) => "a plain name".to_owned(),
            Kind::Named(_) => "a name that begins with a letter".to_owned(),
            Kind::Words(_) => "a comma list of plain names".to_owned(),
            Kind::Path(Access::Read) => "a readable file".to_owned(),
            Kind::Path(Access::ReadTree) => "a readable folder".to_owned(),
            Kind::Path(Access::List) => "an absolute path".to_owned(),
            Kind::Path(Access::Certificate) => "a certificate file".to_owned(),
            Kind::Device => "a block device such as /dev/sda1".to_owned(),
            Kind::Time => "a time such as `2026-01-31 08:00` or `-1h`".to_owned(),
            Kind::Duration => "a duration such as 10m".to_owned(),
            Kind::Unit => "the name of one unit".to_owned(),
            Kind::UnitGlob => "the name of a unit, or a quoted pattern".to_owned(),
            Kind::Host => "a host name or an address".to_owned(),
            Kind::Loopback => "localhost, 127.0.0.1 or ::1".to_owned(),
            Kind::Server => "@ and a name server".to_owned(),
            Kind::Text | Kind::Pattern => "some text".to_owned(),
            Kind::Filter => "a socket filter".to_owned(),
            Kind::Age => "a count such as +7, -1 or 60".to_owned(),
            Kind::Size => "a size such as +100M".to_owned(),
            Kind::Mode => "permissions such as 0644 or /u+w".to_owned(),
            Kind::JournalMatch => "a journal field such as _PID=1".to_owned(),
            Kind::DateFormat => "+ and a format".to_owned(),
            Kind::Resource => "a resource such as pods or deploy/api, never secrets".to_owned(),
            Kind::ResourceOutput => "wide, name, yaml, json, jsonpath=… or custom-columns=…".into(),
            Kind::Endpoint => "an address such as :443 or TCP@10.0.0.1:5432".to_owned(),
            Kind::HostPort => "a host and a port such as db1:443".to_owned(),
            Kind::Shape(shape) => shape.describe().to_owned(),
            Kind::Any(kinds) => kinds.iter().map(Kind::describe).collect::<Vec<_>>().join(", or "),
        }
    }
}

fn some(list: &[String]) -> String {
    match list.len() {
        0..=12 => list.join(", "),
        _ => format!("{}, …", list[..12].join(", ")),
    }
}

/// Non-empty, and every character is `allowed` or one of `extra`.
fn all(text: &str, extra: &str, allowed: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(|c| allowed(c) || extra.contains(c))
}

fn is_word(text: &str, extra: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| {
            c.is_ascii_alphanumeric() || ("_+".contains(c) && extra.contains(c))
        })
        && all(text, extra, |c| c.is_ascii_alphanumeric())
}

fn is_unit(text: &str, extra: &str) -> bool {
    text.len() <= 255
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || extra.contains(c))
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ":_.-@".contains(c) || extra.contains(c))
}

fn is_host(text: &str) -> bool {
    let name = text.len() <= 253
        && text.strip_suffix('.').unwrap_or(text).split('.').all(|label| {
            label.len() <= 63
                && !label.starts_with('-')
                && all(label, "-_", |c| c.is_ascii_alphanumeric())
        });
    name || text.parse::<IpAddr>().is_ok()
}

/// Names of disks, partitions and volumes; never a character device such as /dev/watchdog.
fn is_device(text: &str) -> bool {
    let Some(name) = text.strip_prefix("/dev/") else { return false };
    let mapped =
        ["mapper/", "md/", "disk/by-id/", "disk/by-uuid/", "disk/by-label/", "disk/by-path/"]
            .iter()
            .find_map(|folder| name.strip_prefix(folder));
    if let Some(name) = mapped {
        return is_word(name, "_.:+-") && !name.contains("..");
    }
    let known =
        ["sd", "vd", "xvd", "hd", "nvme", "dm-", "md", "loop", "sr", "nbd", "mmcblk", "drbd"];
    is_word(name, "-") && known.iter().any(|start| name.starts_with(start))
}

fn is_duration(text: &str) -> bool {
    let parts = text.split_inclusive(|c: char| c.is_ascii_alphabetic());
    !text.is_empty()
        && text.len() <= 16
        && parts.into_iter().all(|part| {
            let number = part.strip_suffix(['s', 'm', 'h', 'd', 'w']).unwrap_or(part);
            all(number, "", |c| c.is_ascii_digit())
        })
}

/// A secret is refused under every spelling: `Secrets`, `secret.v1`, `secrets/name`.
fn is_resource(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let (kind, name) = lower.split_once('/').unwrap_or((&lower, "a"));
    !kind.starts_with("secret") && is_word(kind, ".-") && is_word(name, ".-_:")
}

fn is_endpoint(text: &str) -> bool {
    let text = text.strip_prefix(['4', '6']).unwrap_or(text);
    let rest = ["TCP", "UDP", "tcp", "udp"].iter().find_map(|p| text.strip_prefix(p));
    let (named, rest) = (rest.is_some(), rest.unwrap_or(text));
    if rest.is_empty() {
        return named;
    }
    let (host, ports) = match rest.rsplit_once(':') {
        Some((host, ports)) => (host, Some(ports)),
        None => (rest, None),
    };
    let host_fits = host.is_empty() || host.strip_prefix('@').is_some_and(is_host);
    let ports_fit = ports.is_none_or(|p| all(p, ",-", |c| c.is_ascii_alphanumeric()));
    host_fits && ports_fit && !rest.starts_with('-')
}

#[cfg(test)]
mod tests {
    use crate::safety::command::notation::kind;

    fn accepts(notation: &str, text: &str) -> bool {
        kind(notation, &Default::default()).unwrap().accept(text).is_ok()
    }

    #[test]
    fn each_kind_accepts_and_refuses() {
        for (notation, good, bad) in [
            (
                "int(1..10)",
                vec!["1", "10"],
                vec!["0", "11", "", "+1", "1 ", "99999999999999999999"],
            ),
            ("signed(-9..9)", vec!["-1", "+5", "0"], vec!["--1", "10", "-", "+"]),
            ("num(0.2..5)", vec!["0.5", "5"], vec!["0.1", "1e3", ".", "inf", "nan"]),
            ("one(a|b)", vec!["a"], vec!["", "A", "a|b"]),
            ("many(a|b)", vec!["a,b"], vec!["a,", "c", ""]),
            ("sorted(a|b)", vec!["-a,+b"], vec!["--a", "-"]),
            ("word(.-)", vec!["a-b.c"], vec!["-a", "a b", "a;b", "", "a/b"]),
            (
                "device",
                vec!["/dev/sda1", "/dev/mapper/vg-root"],
                vec![
                    "/dev/watchdog",
                    "/dev/tcp/1",
                    "/dev/mapper/../mem",
                    "/dev/mem",
                    "sda",
                    "/dev/sda/../x",
                ],
            ),
            ("time", vec!["-1h", "2026-01-31 08:00", "today"], vec!["--x", "$(x)", "", "a;b"]),
            ("duration", vec!["10m", "1h30m", "90"], vec!["-1s", "m", "1y", "10mm", "1;2"]),
            ("unit", vec!["nginx", "a@b.service"], vec!["-H", "nginx*", "a b", "../x", "a;b"]),
            ("unitglob", vec!["nginx*"], vec!["-x", "a;b", "a/b"]),
            (
                "host",
                vec!["a.b-c", "10.0.0.1", "::1"],
                vec!["-oX", "a b", "a/b", "", "a..b", "http://a"],
            ),
            ("loopback", vec!["localhost"], vec!["10.0.0.1", "localhost.evil.org"]),
            ("age", vec!["+7", "-1"], vec!["7d", "--1", ""]),
            ("size", vec!["+100M"], vec!["100Mi", "M"]),
            ("mode", vec!["0644", "-4000", "/u+s"], vec!["", "8", "a;b"]),
            ("journalmatch", vec!["_PID=1"], vec!["a=1", "=1", "_PID"]),
            (
                "resource",
                vec!["pods", "deploy/a", "po,svc"],
                vec!["secret", "Secrets", "pods,secrets", "secrets/x", "secret.v1./x", "a b", ""],
            ),
            (
                "resourceoutput",
                vec!["json", "jsonpath={.a}"],
                vec!["go-template-file=/x", "jsonpath-file=/x"],
            ),
            (
                "endpoint",
                vec![":443", "TCP:80", "tcp@10.0.0.1:22", "4TCP"],
                vec!["-x", "a", "/etc"],
            ),
            ("list|device", vec!["/opt", "/dev/sda"], vec!["/dev/mem", "x"]),
        ] {
            good.iter().for_each(|text| assert!(accepts(notation, text), "{notation} {text:?}"));
            bad.iter().for_each(|text| assert!(!accepts(notation, text), "{notation} {text:?}"));
        }
    }
}
