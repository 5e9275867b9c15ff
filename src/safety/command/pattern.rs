//! Small text matchers shared by the value kinds and the path roots.
//!
//! In: text. Out: whether it has the shape. Never: backtracking without bound.

/// Tells whether `path` matches `pattern`, component by component.
///
/// `*` stands for one component, `#` for one of digits, a final `**` for the folder and all below.
pub fn path_matches(path: &str, pattern: &str) -> bool {
    let mut have = path.split('/').skip(1).filter(|part| !part.is_empty());
    for want in pattern.split('/').skip(1) {
        if want == "**" {
            return true;
        }
        let Some(part) = have.next() else { return false };
        let fits = match want {
            "*" => true,
            "#" => part.bytes().all(|b| b.is_ascii_digit()),
            exact => part == exact,
        };
        if !fits {
            return false;
        }
    }
    have.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_components() {
        for (path, pattern, expected) in [
            ("/var/log", "/var/log/**", true),
            ("/var/log/a/b", "/var/log/**", true),
            ("/var/logs", "/var/log/**", false),
            ("/proc/12/status", "/proc/#/status", true),
            ("/proc/self/status", "/proc/#/status", false),
            ("/proc/12/status/x", "/proc/#/status", false),
            ("/sys/class/net/eth0/mtu", "/sys/class/net/*/mtu", true),
            ("/", "/**", true),
        ] {
            assert_eq!(path_matches(path, pattern), expected, "{path} {pattern}");
        }
    }
}
