//! Independent sources that show the need for a change.
//!
//! In: the looks of an incident that gave an answer, each with what it looked through and at what.
//! Out: the sources that looked at the target of a call. Never: what an answer says; text decides
//! nothing, so a look counts by where it looked.

use crate::safety::limits::canonical_host;
use crate::safety::weigh::Target;
use std::collections::BTreeSet;

/// The source that confirms that the alert fires. Looks through it say nothing more of their own.
pub const MONITORING: &str = "prometheus";

/// A look of the incident that gave an answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// What was looked through. Two tools that read the same thing are one source.
    pub source: String,
    pub host: Option<String>,
    pub service: Option<String>,
}

/// The sources that looked at the target: at its service, or at its host without naming another
/// service.
pub(super) fn sources<'a>(seen: &'a [Seen], target: Target<'_>) -> BTreeSet<&'a str> {
    let looked_at = |seen: &&Seen| match (&seen.service, target.service) {
        (Some(name), service) => service.is_some_and(|service| service.name == *name),
        (None, _) => target
            .host
            .zip(seen.host.as_deref())
            .is_some_and(|(host, name)| canonical_host(&host.name) == canonical_host(name)),
    };
    seen.iter().filter(looked_at).map(|seen| seen.source.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entity::{HostFacts, ServiceFacts};

    #[test]
    fn a_look_counts_by_what_it_looked_at() {
        let seen = |source: &str, host: Option<&str>, service: Option<&str>| Seen {
            source: source.into(),
            host: host.map(str::to_owned),
            service: service.map(str::to_owned),
        };
        let all = [
            seen("logs", Some("web1"), Some("shop")),
            seen("journal", Some("web1"), Some("mail")),
            seen("host", Some("WEB1"), None),
            seen("disk", Some("web2"), None),
            seen("weather", None, None),
        ];
        let host = HostFacts { name: "web1".into(), ..HostFacts::default() };
        let shop = ServiceFacts { name: "shop".into(), ..ServiceFacts::default() };
        let target = Target { host: Some(&host), service: Some(&shop) };
        assert_eq!(sources(&all, target).into_iter().collect::<Vec<_>>(), ["host", "logs"]);
        let alone = Target { host: Some(&host), service: None };
        assert_eq!(sources(&all, alone).into_iter().collect::<Vec<_>>(), ["host"]);
    }
}
