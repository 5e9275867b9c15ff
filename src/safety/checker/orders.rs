//! The reasons that people's orders are: holds and rules in quarantine.

use super::because;
use crate::model::alert::Labels;
use crate::model::orders::Orders;
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
    let target = subject.target;
    for hold in &circumstances.orders.holds {
        let over = hold.until_ms <= circumstances.now_ms;
        if over || !hold.scope().holds(target.host, target.service, labels) {
            continue;
        }
        let until = chrono::DateTime::from_timestamp_millis(hold.until_ms)
            .map_or_else(String::new, |at| at.format(" until %Y-%m-%dT%H:%M:%SZ").to_string());
        let note = because(format!("{} holds {}{until}", hold.by, hold.matched()), &hold.reason);
        weighed.push("hold", Tier::Forbidden, note);
    }
}
