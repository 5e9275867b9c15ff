//! Who has to agree when several rules ask: the most people, and only roles that all rules accept.

use crate::model::verdict::{Approvals, Matched, Tier};

/// The approvals of the rules that matched so far.
#[derive(Debug, Default)]
pub(super) struct Merged {
    approvals: Approvals,
    conflict: Option<String>,
}

impl Merged {
    pub(super) fn add(&mut self, rule: &str, wanted: &Approvals) {
        self.approvals.quorum = self.approvals.quorum.max(wanted.quorum);
        if wanted.roles.is_empty() {
            return;
        }
        if self.approvals.roles.is_empty() {
            self.approvals.roles.clone_from(&wanted.roles);
            return;
        }
        let common: Vec<String> = self
            .approvals
            .roles
            .iter()
            .filter(|role| wanted.roles.contains(role))
            .cloned()
            .collect();
        if common.is_empty() {
            let before = self.approvals.roles.join(", ");
            self.conflict = Some(format!(
                "rule '{rule}' takes approvers of {}, other rules only of {before}: nobody counts",
                wanted.roles.join(", ")
            ));
        } else {
            self.approvals.roles = common;
        }
    }

    /// A call that nobody could approve is refused, so that it does not wait for an answer that
    /// cannot come.
    pub(super) fn conflict(&self) -> Option<Matched> {
        let note = self.conflict.clone()?;
        Some(Matched { source: "approvals".into(), tier: Tier::Forbidden, note })
    }

    pub(super) fn into_approvals(self) -> Approvals {
        self.approvals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approvals(quorum: u32, roles: &[&str]) -> Approvals {
        Approvals { quorum, roles: roles.iter().map(|role| (*role).to_owned()).collect() }
    }

    #[test]
    fn the_most_people_of_the_roles_that_all_accept() {
        let mut merged = Merged::default();
        merged.add("a", &approvals(1, &[]));
        merged.add("b", &approvals(2, &["sre", "dba"]));
        merged.add("c", &approvals(1, &["dba", "lead"]));
        assert_eq!(merged.conflict(), None);
        assert_eq!(merged.into_approvals(), approvals(2, &["dba"]));
    }

    #[test]
    fn rules_without_a_common_role_refuse() {
        let mut merged = Merged::default();
        merged.add("a", &approvals(1, &["sre"]));
        merged.add("b", &approvals(1, &["dba"]));
        let conflict = merged.conflict().unwrap();
        assert_eq!(conflict.tier, Tier::Forbidden);
        assert_eq!(
            conflict.note,
            "rule 'b' takes approvers of dba, other rules only of sre: nobody counts"
        );
    }
}
