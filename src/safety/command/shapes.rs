//! Small languages of which only a harmless corner is allowed, each as one pattern.
//!
//! In: a word. Out: whether it lies in that corner. Never: an expression that could run, write or
//! reach anything. To add one: a variant, its pattern, its words for people, its notation.

use regex::Regex;
use std::sync::LazyLock;

/// A corner of a language.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// sed: lines by number, `100,120p`.
    SedPrint,
    /// awk: columns, `{print $1, $NF}`.
    AwkPrint,
    /// jq: one path, `.items[0].status`.
    JqPath,
    /// curl: a page of this host by which services tell how they are. Other pages might act.
    HealthUrl,
    /// curl: what to write about the answer; neither `@file` nor `%output{file}`.
    CurlFormat,
    /// A router's `show …` of some things, none abbreviated: its configuration holds passwords.
    ShowLine,
}

macro_rules! patterns {
    ($($name:ident = $pattern:expr;)*) => {
        $(static $name: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new($pattern).expect("a valid pattern")
        });)*
    };
}

patterns! {
    SED_PRINT = r"^[0-9]{1,9}(,(\+?[0-9]{1,9}|\$))?p$";
    AWK_PRINT = r"^\{ ?print (\$([0-9]{1,3}|NF)|NR)( ?, ?(\$([0-9]{1,3}|NF)|NR)){0,31} ?\}$";
    JQ_PATH = r"^\.$|^(\.[A-Za-z_][A-Za-z0-9_]*|\.?\[[0-9]{0,6}\])+\??$";
    HEALTH_URL = concat!(
        r"^https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?(/|",
        r"/(health|healthz|healthcheck|ready|readyz|live|livez|ping|version|metrics|status)/?|",
        r"/-/(healthy|ready)|/api/(health|v[0-9]/status/(buildinfo|runtimeinfo|flags))|",
        r"/actuator/(health|info|metrics)(/[a-z.]{1,60})?|",
        r"/(nginx_status|stub_status|basic_status|server-status|fpm-status|fpm-ping)|",
        r"/_cluster/health|/_cat/(health|nodes|indices|shards|allocation)|/stats/prometheus)?$",
    );
    CURL_FORMAT = r"^([^%@\\-]|%\{)([^%\\]|%\{|\\n|\\t)*$";
    SHOW_LINE = concat!(
        r"^show (version|daemons|memory|thread cpu|bgp|evpn|vrf|bfd|mpls|interface|interfaces|",
        r"ip (bgp|route|ospf|pim|nht)|ipv6 (bgp|route|ospf6))( [a-z0-9./:-]{1,64}){0,8}$",
    );
}

impl Shape {
    pub fn fits(self, text: &str) -> bool {
        match self {
            Self::SedPrint => SED_PRINT.is_match(text),
            Self::AwkPrint => AWK_PRINT.is_match(text),
            Self::JqPath => JQ_PATH.is_match(text),
            Self::HealthUrl => HEALTH_URL.is_match(text),
            Self::CurlFormat => CURL_FORMAT.is_match(text),
            Self::ShowLine => SHOW_LINE.is_match(text),
        }
    }

    /// Says what is expected, to follow "it should be".
    pub fn describe(self) -> &'static str {
        match self {
            Self::SedPrint => "line numbers to print, such as '100,120p'",
            Self::AwkPrint => "columns to print, such as '{print $1, $9}'",
            Self::JqPath => "one path, such as .items[0].status",
            Self::HealthUrl => "a health page of this host, such as http://localhost:8080/health",
            Self::CurlFormat => "a format such as '%{http_code}', from no file and into none",
            Self::ShowLine => "a show command, without configuration",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_harmless_corner_fits() {
        let cases: [(Shape, &[&str], &[&str]); 6] = [
            (
                Shape::SedPrint,
                &["5p", "100,120p", "7,$p", "10,+5p"],
                &["1e id", "p", "w /tmp/x", "1,2p;w x", "1,2p\nw x", "1r /etc/shadow", "1,5w/x"],
            ),
            (
                Shape::AwkPrint,
                &["{print $1}", "{ print $1, $NF }", "{print $0}", "{print NR,$2}"],
                &[
                    "{print $1 > \"/tmp/x\"}",
                    "{print | \"sh\"}",
                    "BEGIN{system(\"id\")}",
                    "{print ENVIRON}",
                    "{print $1}{print $2 > $3}",
                    "{print \"x\" | $1}",
                    "{printf $1}",
                ],
            ),
            (
                Shape::JqPath,
                &[".", ".status", ".items[0].name", ".items[].x", ".a?"],
                &["env", "$ENV", ".a|env", "input", "input_filename", "..", "@sh", ".a,.b", ""],
            ),
            (
                Shape::HealthUrl,
                &[
                    "http://localhost:8080/health",
                    "https://127.0.0.1/healthz",
                    "http://[::1]:9090/-/ready",
                    "http://localhost",
                    "http://localhost:9200/_cluster/health",
                ],
                &[
                    "http://169.254.169.254/health",
                    "http://localhost@evil.example/health",
                    "http://localhost.evil.example/health",
                    "http://localhost:8080/shutdown",
                    "http://localhost:8080/health?x=1",
                    "http://localhost:8080/health/../quit",
                    "http://localhost:8080/-/quit",
                    "file:///etc/passwd",
                    "localhost:8080/health",
                    "http://u:p@localhost/health",
                    "http://localhost:8080/{health,quit}",
                    "http://localhost:80#@evil.example/",
                ],
            ),
            (
                Shape::CurlFormat,
                &["%{http_code}", "%{time_total}\\n", "code %{http_code}"],
                &["@/etc/passwd", "%output{/tmp/x}", "x%output{/tmp/x}", "-", "%header{x}"],
            ),
            (
                Shape::ShowLine,
                &["show ip bgp summary", "show interface eth0"],
                &[
                    "configure terminal",
                    "show running-config",
                    "show ru",
                    "show con",
                    "show ip",
                    "show ip route | x",
                    "write",
                    "show",
                ],
            ),
        ];
        for (shape, good, bad) in cases {
            for text in good {
                assert!(shape.fits(text), "{shape:?} {text}");
            }
            for text in bad {
                assert!(!shape.fits(text), "{shape:?} {text}");
            }
        }
    }
}
