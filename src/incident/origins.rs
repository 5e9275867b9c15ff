//! The very place at which each argument of a change was found, in words for whoever approves it.
//!
//! In: what the checker says of the origins, the case. Out: the same with the label, the relation,
//! the runbook, or the output in which a value stands first. Never: a place that makes a value
//! trusted; the checker has decided that before.

use super::Desk;
use crate::model::alert::Labels;
use crate::model::call::canonical;
use crate::model::case::Case;
use crate::model::entity::{Located, ServiceFacts};
use crate::model::verdict::{Source, Traced};

/// Of a storm's alerts, so many are looked through.
const ALERTS_MAX: usize = 20;
/// Of an incident's answers, so many are looked through.
const ANSWERS_MAX: usize = 500;

/// Names the places.
pub(super) fn name_places(desk: &Desk, case: &Case, origins: &mut [Traced]) {
    if origins.is_empty() {
        return;
    }
    let located = desk.located(case);
    for traced in origins {
        let found = match traced.source {
            Source::Alert => label_of(desk, case, &traced.value),
            Source::Inventory => relation_of(desk, &located, &traced.value),
            Source::Runbook => {
                desk.runbooks.of_case(case).map(|runbook| format!("runbook '{}'", runbook.name))
            }
            Source::Nowhere | Source::Text => {
                let place = text_with(case, &traced.value);
                if place.is_some() {
                    traced.source = Source::Text;
                }
                place
            }
            Source::Default | Source::Prose => None,
        };
        traced.place = found.unwrap_or_else(|| traced.source.words().to_owned());
    }
}

/// The label that names the target, as the mappings of labels read it.
fn label_of(desk: &Desk, case: &Case, target: &str) -> Option<String> {
    case.alerts.iter().take(ALERTS_MAX).flat_map(|attached| &attached.alert.labels).find_map(
        |(name, value)| {
            let alone = Labels::from([(name.clone(), value.clone())]);
            let Located { hosts, services, .. } = (desk.locate)(&[&alone]);
            let words = || format!("alert label {name}=\"{value}\"");
            if hosts.iter().any(|host| host == target) && services.is_empty() {
                return Some(words());
            }
            let names_service = services.iter().any(|service| service == target);
            if names_service {
                return Some(words());
            }
            // The label names a service, and that runs on one host only.
            hosts.iter().any(|host| host == target).then(|| {
                format!("{}, and the inventory: {} runs there", words(), services.join(", "))
            })
        },
    )
}

fn relation_of(desk: &Desk, located: &Located, value: &str) -> Option<String> {
    let inventory = &desk.gate.inventory;
    let own: Vec<ServiceFacts> =
        located.services.iter().filter_map(|name| inventory.service(name)).collect();
    let needed = own.iter().flat_map(|service| &service.depends_on);
    let needed = needed.filter_map(|name| inventory.service(name));
    let runs = own
        .iter()
        .cloned()
        .chain(needed)
        .find(|service| service.hosts.iter().any(|host| host == value));
    let needs = || own.iter().find(|service| service.depends_on.iter().any(|name| name == value));
    match runs {
        Some(service) => Some(format!("the inventory: {} runs there", service.name)),
        None => needs().map(|service| format!("the inventory: {} depends on it", service.name)),
    }
    .or_else(|| value.starts_with('/').then(|| "the inventory: clean_roots of the host".to_owned()))
}

/// The first text of the incident in which the value stands as a word.
fn text_with(case: &Case, value: &str) -> Option<String> {
    let alerts = || case.alerts.iter().take(ALERTS_MAX).map(|attached| &attached.alert);
    let label = alerts().flat_map(|alert| &alert.labels).find(|(_, text)| has_word(text, value));
    if let Some((name, _)) = label {
        return Some(format!("alert label {name}, which names no target"));
    }
    let annotation =
        alerts().flat_map(|alert| &alert.annotations).find(|(_, text)| has_word(text, value));
    if let Some((name, _)) = annotation {
        return Some(format!("annotation {name} of the alert"));
    }
    let calls = case.turns.iter().flat_map(|turn| &turn.calls).take(ANSWERS_MAX);
    calls.into_iter().find_map(|call| {
        let answer = call.answer.as_ref()?;
        let stands = has_word(&answer.text, value) || has_word(&canonical(&answer.data), value);
        stands.then(|| format!("the answer #{} to {}", answer.seq, call.request.call.tool))
    })
}

/// Whether the word stands in the text, and not only as a part of another one.
fn has_word(text: &str, word: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || c == '_';
    if word.is_empty() {
        return false;
    }
    text.match_indices(word).any(|(at, found)| {
        let (before, after) = (&text[..at], &text[at + found.len()..]);
        let joined = |edge: Option<char>, next: Option<char>| {
            edge.is_some_and(goes_on) && next.is_some_and(goes_on)
        };
        !joined(word.chars().next(), before.chars().next_back())
            && !joined(word.chars().next_back(), after.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::has_word;

    #[test]
    fn a_part_of_another_word_is_no_place() {
        for (text, word, expected) in [
            ("restart db-2 now", "db-2", true),
            ("disk at 17%", "17", true),
            ("disk at 170%", "17", false),
            ("see /var/log/app/x", "/var/log/app", true),
            ("host box12", "box1", false),
            ("{\"path\":\"/srv\"}", "/srv", true),
            ("anything", "", false),
        ] {
            assert_eq!(has_word(text, word), expected, "{word} in {text}");
        }
    }
}
