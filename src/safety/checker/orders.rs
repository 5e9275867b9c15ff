//! The reasons that people's orders are: holds and rules in quarantine.
//!
//! A hold reads the names of the inventory (`host`, `service`, `class`, `region`, `owner` of the
//! call's target) and the labels of the incident's alerts. Each of its matchers holds if any value
//! does that the label has in either place, so that a label from outside can add a hold and never
//! take one away; a label that the inventory does not know counts as missing, too.

use super::because;
use crate::model::alert::Labels;
use crate::model::matcher::Matcher;
use crate::model::orders::{Hold, Orders};
use crate::model::verdict::Tier;
use crate::safety::circumstances::Circumstances;
use crate::safety::weigh::{Subject, Weighed};

/// The safe rules that matched and are in quarantine ask.
pub(super) fn quarantine(orders: &Orders, weighed: &mut Weighed<'_>) {
    let names: Vec<String> = weighed.safe.iter().map(|rule| rule.name.clone()).collect();
    for order in orders.quarantined.iter().filter(|order| names.contains(&order.rule)) {
        let note = because(format!("{} wants to be asked", order.by), &order.reason);
        weighed.push(format!("quarantine: {}", order.rule), Tier::Confirm, note);
    }
}

/// The holds that match and last.
pub(super) fn holds(
    circumstances: &Circumstances,
    subject: &Subject<'_>,
    labels: &[&Labels],
    weighed: &mut Weighed<'_>,
) {
    for hold in &circumstances.orders.holds {
        if hold.until_ms <= circumstances.now_ms || !holds_on(hold, subject, labels) {
            continue;
        }
        let until = chrono::DateTime::from_timestamp_millis(hold.until_ms)
            .map_or_else(String::new, |at| at.format(" until %Y-%m-%dT%H:%M:%SZ").to_string());
        let note = because(format!("{} holds {}{until}", hold.by, hold.matched()), &hold.reason);
        weighed.push("hold", Tier::Forbidden, note);
    }
}

fn holds_on(hold: &Hold, subject: &Subject<'_>, labels: &[&Labels]) -> bool {
    hold.matchers.iter().all(|text| match Matcher::parse(text) {
        Ok(matcher) => {
            values(matcher.label(), subject, labels).iter().any(|value| matcher.accepts(value))
        }
        // What cannot be read holds everything rather than nothing.
        Err(_) => true,
    })
}

/// Every value that a label may have for this call.
fn values<'a>(label: &str, subject: &Subject<'a>, labels: &[&'a Labels]) -> Vec<&'a str> {
    let (host, service) = (subject.target.host, subject.target.service);
    let of_either = |of_host: Option<&'a str>, of_service: Option<&'a str>| {
        of_host.into_iter().chain(of_service).collect::<Vec<_>>()
    };
    let mut values = match label {
        "host" => match (host, service) {
            (Some(host), _) => vec![host.name.as_str()],
            (None, Some(service)) => service.hosts.iter().map(String::as_str).collect(),
            (None, None) => Vec::new(),
        },
        "service" => of_either(None, service.map(|service| service.name.as_str())),
        "class" => of_either(host.map(|h| h.class.as_str()), service.map(|s| s.class.as_str())),
        "region" => of_either(host.map(|h| h.region.as_str()), service.map(|s| s.region.as_str())),
        "owner" => of_either(host.map(|h| h.owner.as_str()), service.map(|s| s.owner.as_str())),
        _ => Vec::new(),
    };
    values.retain(|value| !value.is_empty());
    if values.is_empty() {
        values.push("");
    }
    values.extend(labels.iter().filter_map(|labels| labels.get(label)).map(String::as_str));
    values
}
