//! Policy files that were read once and are broken by now.

use futures::future::BoxFuture;
use watchkeeper::model::orders::{Held, Hold, PolicySummary};
use watchkeeper::model::policy::InForce;
use watchkeeper::model::verdict::Autonomy;
use watchkeeper::web::PolicyDoor;

pub struct Files {
    pub rules: PolicySummary,
}

impl Default for Files {
    fn default() -> Self {
        let rules_version = String::new();
        Self { rules: PolicySummary { rules_version, autonomy: Autonomy::Observe, rules: vec![] } }
    }
}

impl PolicyDoor for Files {
    fn in_force(&self) -> InForce {
        InForce { rules_version: "rules-7".into(), ..InForce::default() }
    }

    fn summary(&self) -> PolicySummary {
        self.rules.clone()
    }

    fn reload<'a>(&'a self, _by: &'a str) -> BoxFuture<'a, Result<InForce, Vec<String>>> {
        Box::pin(async { Err(vec!["safety_rules.yaml:1:1: is broken".into()]) })
    }

    fn held(&self, _hold: &Hold) -> Held {
        Held::default()
    }
}
