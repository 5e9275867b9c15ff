//! To which receivers an alert goes, by the routes of a configuration.
//!
//! In: the configuration as `/api/v2/status` shows it. Out: names of receivers. A child is entered
//! when all its matchers hold, the first one that matches ends the search unless it says `continue`,
//! and a node without a matching child is itself a match (Alertmanager's `dispatch/route.go`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::matcher::Matcher;

type Labels = BTreeMap<String, String>;

/// A tree of routes.
#[derive(Debug, Clone)]
pub struct Routes {
    root: Route,
}

#[derive(Debug, Clone)]
struct Route {
    receiver: String,
    matchers: Vec<Matcher>,
    goes_on: bool,
    routes: Vec<Route>,
}

#[derive(Deserialize)]
struct Config {
    route: Node,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Node {
    receiver: Option<String>,
    r#match: BTreeMap<String, String>,
    match_re: BTreeMap<String, String>,
    matchers: Vec<String>,
    r#continue: bool,
    routes: Vec<Node>,
}

impl Routes {
    /// Reads a configuration.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn read(config_yaml: &str) -> Result<Self, String> {
        let config: Config = serde_saphyr::from_str(config_yaml)
            .map_err(|error| format!("its routes cannot be read: {error}"))?;
        Ok(Self { root: route(config.route, "")? })
    }

    /// Every receiver that some route leads to.
    pub fn receivers(&self) -> Vec<&str> {
        let (mut found, mut left) = (Vec::new(), vec![&self.root]);
        while let Some(route) = left.pop() {
            found.push(route.receiver.as_str());
            left.extend(&route.routes);
        }
        found
    }

    /// The receivers of an alert with these labels.
    pub fn receivers_of(&self, labels: &Labels) -> Vec<&str> {
        let mut found = Vec::new();
        self.root.collect(labels, &mut found);
        found
    }
}

impl Route {
    /// Adds the receivers below; tells whether there was any.
    fn collect<'r>(&'r self, labels: &Labels, found: &mut Vec<&'r str>) -> bool {
        if !self.matchers.iter().all(|matcher| matcher.matches(labels)) {
            return false;
        }
        let before = found.len();
        for child in &self.routes {
            if child.collect(labels, found) && !child.goes_on {
                break;
            }
        }
        if found.len() == before {
            found.push(&self.receiver);
        }
        true
    }
}

fn route(node: Node, inherited: &str) -> Result<Route, String> {
    let receiver = node.receiver.filter(|name| !name.is_empty());
    let receiver = receiver.unwrap_or_else(|| inherited.to_owned());
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"");
    let old = node.r#match.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value)));
    let old_re = node.match_re.iter().map(|(name, value)| format!("{name}=~\"{}\"", quoted(value)));
    let mut matchers = Vec::new();
    for text in old.chain(old_re).chain(node.matchers) {
        matchers.extend(Matcher::parse_all(&text)?);
    }
    let routes = node.routes.into_iter().map(|child| route(child, &receiver));
    let routes = routes.collect::<Result<_, _>>()?;
    Ok(Route { receiver, matchers, goes_on: node.r#continue, routes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
global: { resolve_timeout: 5m }
route:
  receiver: nobody
  routes:
    - receiver: watchkeeper
      matchers: ['team="ops"']
      continue: true
      routes:
        - matchers: ['severity="page"']
          receiver: pager
    - match: { team: ops }
      receiver: mail
    - match_re: { team: "db|web" }
receivers:
  - name: nobody
"#;

    fn of(pairs: &[(&str, &str)]) -> Vec<String> {
        let labels = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let routes = Routes::read(CONFIG).unwrap();
        routes.receivers_of(&labels).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn routes_are_followed_as_alertmanager_does() {
        assert_eq!(of(&[]), ["nobody"]);
        assert_eq!(of(&[("team", "ops")]), ["watchkeeper", "mail"]);
        assert_eq!(of(&[("team", "ops"), ("severity", "page")]), ["pager", "mail"]);
        assert_eq!(of(&[("team", "web")]), ["nobody"]);
        let mut all = Routes::read(CONFIG).unwrap().receivers().join(" ");
        all.make_ascii_lowercase();
        assert!(all.contains("pager") && all.contains("mail"), "{all}");
        assert!(Routes::read("receivers: []").is_err());
    }
}
