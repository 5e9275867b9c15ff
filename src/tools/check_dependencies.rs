//! Shows what a service needs, and whether each of these runs.
//!
//! In: a service. Out: the tree of the inventory's `depends_on`, each with what its service
//! manager, its health command and its `up` query say. Never: "up" for something that nobody could
//! look at; that is unknown, with the reason.

use super::get_metrics::no_prometheus;
use super::{Bounds, Deps, Done, Error, Output, Tool, told};
use crate::model::call::Call;
use crate::model::entity::ServiceFacts;
use crate::model::tool::{Arg, ArgKind, Effect, ToolSpec};
use crate::safety::evidence::MONITORING;
use crate::safety::permit::Permit;
use crate::targets::service::{Active, Placed};
use futures::future::{BoxFuture, join_all};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A chain of needs longer than this is no help to anybody.
const DEPTH_MAX: usize = 8;
const SERVICES_MAX: usize = 50;

/// The tool `check_dependencies`.
pub(super) struct CheckDependencies {
    spec: ToolSpec,
    deps: Deps,
}

/// One service of the tree, in the order in which it is shown.
struct Node {
    service: ServiceFacts,
    depth: usize,
}

/// What one way of looking said.
struct Finding {
    state: State,
    said: String,
}

/// Whether a service runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Up,
    /// One look says up and another down, or it is on its way.
    Partly,
    Down,
    Unknown,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Partly => "partly up",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }

    fn of(findings: &[Finding]) -> Self {
        let any = |state| findings.iter().any(|finding| finding.state == state);
        match (any(Self::Up), any(Self::Down), any(Self::Partly)) {
            (true, false, false) => Self::Up,
            (false, true, false) => Self::Down,
            (false, false, false) => Self::Unknown,
            (_, _, true) | (true, true, false) => Self::Partly,
        }
    }
}

impl CheckDependencies {
    pub(super) fn new(deps: &Deps) -> Self {
        let spec = ToolSpec {
            name: "check_dependencies".into(),
            about: "Shows the services that a service needs and whether they run.".into(),
            effect: Effect::Read,
            args: vec![Arg::required("service", ArgKind::Service, "the service")],
        };
        Self { spec, deps: deps.clone() }
    }

    async fn check(&self, call: &Call) -> Result<Done, Error> {
        let root = self.deps.inventory.known_service(call.text("service").unwrap_or_default());
        let root = root.map_err(|error| Error::Tell(error.to_string()))?;
        let nodes = self.tree(root);
        let looks = join_all(nodes.iter().map(|node| self.look(&node.service))).await;
        Ok(Done::Output(render(&nodes, &looks)))
    }

    /// The service and all it needs, each once, where it is needed first.
    fn tree(&self, root: ServiceFacts) -> Vec<Node> {
        let mut seen = BTreeSet::from([root.name.clone()]);
        let mut open = vec![Node { service: root, depth: 0 }];
        let mut nodes = Vec::new();
        while let Some(node) = open.pop() {
            if node.depth < DEPTH_MAX && nodes.len() + open.len() < SERVICES_MAX {
                for name in node.service.depends_on.iter().rev() {
                    let Some(service) = self.deps.inventory.service(name) else { continue };
                    if seen.insert(service.name.clone()) {
                        open.push(Node { service, depth: node.depth + 1 });
                    }
                }
            }
            nodes.push(node);
        }
        nodes
    }

    async fn look(&self, service: &ServiceFacts) -> Vec<Finding> {
        let hosts = join_all(service.hosts.iter().map(|host| self.look_on(&service.name, host)));
        let (hosts, query) = tokio::join!(hosts, self.query(service));
        let mut findings: Vec<Finding> = hosts.into_iter().flatten().collect();
        findings.extend(query);
        if findings.is_empty() {
            findings.push(Finding {
                state: State::Unknown,
                said: "the inventory gives it neither hosts nor an up query".to_owned(),
            });
        }
        findings
    }

    async fn look_on(&self, service: &str, host: &str) -> Vec<Finding> {
        let (inventory, targets) = (&*self.deps.inventory, &self.deps.targets);
        let unknown =
            |why: String| Finding { state: State::Unknown, said: format!("{host}: {why}") };
        let placed = match Placed::find(inventory, targets, service, Some(host)).await {
            Ok(placed) => placed,
            Err(error) => return vec![unknown(error.to_string())],
        };
        let (status, health) = tokio::join!(placed.status(), placed.health());
        let mut findings = vec![match status {
            Ok(status) => Finding {
                state: match status.active {
                    Active::Active => State::Up,
                    Active::Changing => State::Partly,
                    Active::Inactive | Active::Failed => State::Down,
                    Active::Unknown => State::Unknown,
                },
                said: format!("{host}: {} ({})", status.active.as_str(), status.said),
            },
            Err(error) => unknown(error.to_string()),
        }];
        findings.extend(match health {
            Ok(None) => None,
            Ok(Some(Ok(said))) => {
                Some(Finding { state: State::Up, said: format!("{host}: healthy ({said})") })
            }
            Ok(Some(Err(said))) => {
                Some(Finding { state: State::Down, said: format!("{host}: not healthy ({said})") })
            }
            Err(error) => Some(unknown(error.to_string())),
        });
        findings
    }

    async fn query(&self, service: &ServiceFacts) -> Option<Finding> {
        let up = self.deps.inventory.up_query(&service.name)?;
        let unknown =
            |why: String| Some(Finding { state: State::Unknown, said: format!("{up}: {why}") });
        let Some(prometheus) = &self.deps.prometheus else {
            return unknown(no_prometheus().to_string());
        };
        let table = match prometheus.query(&up, None).await {
            Ok(table) => table,
            Err(error) => return unknown(error.to_string()),
        };
        let ups = table.rows.iter().filter(|row| row.value > 0.0).count();
        let state = match (ups, table.rows.len()) {
            (_, 0) => return unknown("no series match, so nobody reports on it".to_owned()),
            (0, _) => State::Down,
            (ups, all) if ups == all => State::Up,
            (_, _) => State::Partly,
        };
        let of = table.rows.len();
        Some(Finding { state, said: format!("{up}: {ups} of {of} series are above 0") })
    }
}

impl Tool for CheckDependencies {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn source(&self) -> &str {
        // In part it asks Prometheus, which is asked before every change anyway.
        MONITORING
    }

    fn canonical(&self, mut call: Call) -> Result<Call, String> {
        let service = self.deps.inventory.known_service(call.text("service").unwrap_or_default());
        let service = service.map_err(|error| error.to_string())?;
        call.args.insert("service".to_owned(), Value::String(service.name));
        Ok(call)
    }

    fn run(
        &self,
        permit: Permit,
        _basis: Option<Value>,
        _bounds: Bounds,
    ) -> BoxFuture<'_, Result<Done, Error>> {
        Box::pin(async move { self.check(permit.call()).await.map_err(told) })
    }
}

fn render(nodes: &[Node], looks: &[Vec<Finding>]) -> Output {
    let mut text = String::new();
    let mut dependencies = Vec::new();
    let mut root = json!(null);
    for (node, findings) in nodes.iter().zip(looks) {
        let state = State::of(findings);
        let said: Vec<&str> = findings.iter().map(|finding| finding.said.as_str()).collect();
        let indent = "  ".repeat(node.depth);
        let name = &node.service.name;
        let _ = writeln!(text, "{indent}{name}: {}; {}", state.as_str(), said.join("; "));
        let facts = json!({
            "service": name,
            "class": node.service.class,
            "state": state.as_str(),
            "depth": node.depth,
            "needs": node.service.depends_on,
            "said": said,
        });
        if node.depth == 0 {
            root = facts;
        } else {
            dependencies.push(facts);
        }
    }
    if nodes.len() == 1 {
        text.push_str("The inventory names nothing that it depends on.\n");
    }
    let named = |state: State| -> Vec<&Value> {
        let is = |facts: &&Value| facts["state"] == state.as_str();
        dependencies.iter().filter(is).map(|facts| &facts["service"]).collect()
    };
    let data = json!({
        "service": root["service"],
        "state": root["state"],
        "down": named(State::Down),
        "unknown": named(State::Unknown),
        "dependencies": dependencies,
    });
    Output::new(text, data)
}

#[cfg(test)]
#[path = "tests/check_dependencies.rs"]
mod tests;
