//! The deployments that ship keep a replica ready while another one is exchanged.

use serde_json::Value;
use std::path::Path;
use watchkeeper::web::ROUTES;

fn documents(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    text.split("\n---\n").map(|part| serde_saphyr::from_str(part).unwrap()).collect()
}

#[test]
fn a_kubernetes_deployment_never_goes_below_its_replicas() {
    let all = documents("deploy/kubernetes/watchkeeper.yaml");
    let of = |kind: &str| all.iter().find(|one| one["kind"] == kind).unwrap();
    let deployment = &of("Deployment")["spec"];
    let update = &deployment["strategy"]["rollingUpdate"];
    assert_eq!((&update["maxUnavailable"], &update["maxSurge"]), (&0.into(), &1.into()));
    let budget = &of("PodDisruptionBudget")["spec"];
    assert!(budget["minAvailable"].as_u64() < deployment["replicas"].as_u64());
    let pod = &deployment["template"];
    for selector in [&deployment["selector"], &budget["selector"]] {
        assert_eq!(selector["matchLabels"], pod["metadata"]["labels"]);
    }
    let container = &pod["spec"]["containers"][0];
    for (probe, path) in
        [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert!(ROUTES.contains(&("get", path)));
    }
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    assert_eq!(pod["spec"]["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    for mount in container["volumeMounts"].as_array().unwrap() {
        assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
    }
}

/// Whoever ends a process earlier makes the outcome of a change unknown.
#[test]
fn every_deployment_waits_for_as_long_as_a_stop_may_take() {
    let needs_s = watchkeeper::app::STOPS_WITHIN.as_secs();
    let pod = &documents("deploy/kubernetes/watchkeeper.yaml")[0]["spec"]["template"]["spec"];
    let compose = documents("deploy/compose/compose.yaml");
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/watchkeeper.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    let of_unit = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
    let seconds = |text: &str| text.strip_suffix('s').unwrap().parse::<u64>().unwrap();
    for (deployment, gives_s) in [
        ("systemd", seconds(of_unit.unwrap())),
        ("kubernetes", pod["terminationGracePeriodSeconds"].as_u64().unwrap()),
        (
            "compose",
            seconds(compose[0]["services"]["watchkeeper-2"]["stop_grace_period"].as_str().unwrap()),
        ),
    ] {
        assert!(gives_s > needs_s, "{deployment} gives {gives_s} s, a stop may take {needs_s} s");
    }
}

#[test]
fn a_compose_deployment_has_two_replicas_behind_a_balancer_that_asks_whether_they_are_ready() {
    let all = documents("deploy/compose/compose.yaml");
    let services = &all[0]["services"];
    let balancer = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/compose/haproxy.cfg");
    let balancer = std::fs::read_to_string(balancer).unwrap();
    for replica in ["watchkeeper-1", "watchkeeper-2"] {
        assert_eq!(services[replica]["secrets"][0], "database.url", "{services}");
        assert!(balancer.contains(&format!("{replica}:8080 check")));
    }
    assert!(balancer.contains("option httpchk GET /readyz"));
    assert!(balancer.contains("resolvers compose init-addr"), "a new container has a new address");
    let subnet = &all[0]["networks"]["default"]["ipam"]["config"][0]["subnet"];
    let compose = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/compose/compose.yaml");
    let proxies = format!("trusted_proxies: [{}]", subnet.as_str().unwrap());
    assert!(std::fs::read_to_string(compose).unwrap().contains(&proxies), "{subnet}");
    assert!(all[0]["secrets"].get("database.url").is_some());
}
