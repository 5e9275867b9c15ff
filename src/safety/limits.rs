//! How often a rule may allow: at most so many intents per target within a sliding window.
//!
//! Out: canonical keys, so that every spelling of a target counts together. Counting is the
//! store's work; the checker only compares.

use crate::model::entity::ServiceFacts;
use crate::model::time::parse_duration_ms;
use crate::model::verdict::Limit;
use crate::safety::floor::canonical_unit;
use crate::safety::weigh::Target;

/// One compiled limit of a rule.
#[derive(Debug)]
pub(super) struct LimitRule {
    pub max: i64,
    pub per: Vec<Per>,
    pub within_ms: i64,
    /// The window as the file spells it.
    pub within: String,
}

/// What is counted apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Per {
    Host,
    Service,
}

impl Per {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "host" => Ok(Self::Host),
            "service" => Ok(Self::Service),
            _ => Err(format!("'{text}' cannot be counted by; write host or service")),
        }
    }
}

impl LimitRule {
    /// The limit for one target.
    pub(super) fn on(&self, rule: &str, target: Target<'_>) -> Limit {
        let key = target_key(rule, &self.per, target);
        Limit { key, max: self.max, within_ms: self.within_ms }
    }
}

/// A key for one target, the same for every spelling of it. A part that the call lacks is one
/// counter shared by all.
pub(super) fn target_key(start: &str, per: &[Per], target: Target<'_>) -> String {
    let mut key = start.to_owned();
    for per in per {
        match per {
            Per::Host => {
                key.push_str("|host=");
                key.push_str(&target.host.map_or("-".into(), |host| canonical_host(&host.name)));
            }
            Per::Service => {
                key.push_str("|service=");
                key.push_str(&target.service.map_or("-".into(), canonical_service));
            }
        }
    }
    key
}

/// A service's unit in one spelling.
pub(super) fn canonical_service(service: &ServiceFacts) -> String {
    canonical_unit(if service.unit.is_empty() { &service.name } else { &service.unit })
}

/// A host's name in one spelling.
pub(super) fn canonical_host(name: &str) -> String {
    name.trim().to_ascii_lowercase()
}

/// Reads a window such as `90s`, `1h30m` or `7d` as milliseconds; one of no length limits nothing.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    match parse_duration_ms(text)? {
        0 => Err(format!("'{text}' is no time at all")),
        window_ms => Ok(window_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entity::HostFacts;

    #[test]
    fn a_window_has_a_length() {
        assert_eq!(parse_duration("1h30m"), Ok(5_400_000));
        assert_eq!(parse_duration("0h"), Err("'0h' is no time at all".to_owned()));
        for wrong in ["", "1", "h", "1 h", "-1h", "1.5h", "99999999999999999d"] {
            assert!(parse_duration(wrong).unwrap_err().contains("is not a duration"), "{wrong}");
        }
    }

    #[test]
    fn every_spelling_of_a_target_has_one_key() {
        let limit = LimitRule {
            max: 3,
            per: vec![Per::Host, Per::Service],
            within_ms: 1,
            within: "".into(),
        };
        let key = |host: &str, unit: &str| {
            let host = HostFacts { name: host.into(), ..HostFacts::default() };
            let service =
                ServiceFacts { name: "web".into(), unit: unit.into(), ..ServiceFacts::default() };
            limit.on("restart", Target { host: Some(&host), service: Some(&service) }).key
        };
        assert_eq!(key("web1", "nginx.service"), "restart|host=web1|service=nginx.service");
        assert_eq!(key("WEB1", "Nginx"), key("web1", "nginx.service"));
        assert_eq!(key("web1", ""), "restart|host=web1|service=web.service");
    }

    #[test]
    fn a_missing_part_shares_one_counter() {
        let limit = LimitRule { max: 1, per: vec![Per::Host], within_ms: 1, within: "".into() };
        assert_eq!(limit.on("clean", Target { host: None, service: None }).key, "clean|host=-");
    }
}
