use super::super::testing::{Bench, Daemon, prometheus};
use serde_json::{Value, json};

fn inventory(daemon: &Daemon) -> String {
    format!(
        "hosts: [{{ name: box, reach: local, systemd: no }}, {{ name: far }}]\n\
         services:\n\
         - {{ name: shop, hosts: [box], class: web, depends_on: [stock, cloud, dark] }}\n\
         - {{ name: stock, hosts: [box], class: web, depends_on: [shop, queue], commands: {} }}\n\
         - {{ name: queue, hosts: [far], class: queue }}\n\
         - {{ name: cloud, class: database, up: cloud_up }}\n\
         - {{ name: dark, class: database }}\n",
        daemon.commands()
    )
}

fn vector(values: &[&str]) -> (u16, Value) {
    let row = |value: &&str| json!({ "metric": { "v": value }, "value": [1, value] });
    let result: Vec<Value> = values.iter().map(row).collect();
    (200, json!({ "status": "success", "data": { "resultType": "vector", "result": result } }))
}

#[tokio::test]
async fn the_tree_says_of_each_whether_it_runs_and_who_said_so() {
    let daemon = Daemon::new();
    let prometheus = prometheus(|query| {
        assert_eq!(query, "cloud_up");
        vector(&["1", "0"])
    })
    .await;
    let bench = Bench::with_prometheus(&inventory(&daemon), prometheus);
    let output = bench.output("check_dependencies", json!({ "service": "SHOP" })).await;
    assert_eq!(
        output.text,
        "shop: unknown; box: there is no way to do this for shop: the inventory says `systemd: no` \
         for box, and the inventory gives no services.0.commands.status\n  \
         stock: down; box: inactive (exit code 3: not running); box: not healthy (exit code 1)\n    \
         queue: unknown; far: far is in the inventory but there is no way to enter it; if it is \
         this machine, give it `reach: local`\n  \
         cloud: partly up; cloud_up: 1 of 2 series are above 0\n  \
         dark: unknown; the inventory gives it neither hosts nor an up query\n"
    );
    assert_eq!(output.data["down"], json!(["stock"]));
    assert_eq!(output.data["unknown"], json!(["queue", "dark"]));

    daemon.ctl("restart");
    let output = bench.output("check_dependencies", json!({ "service": "shop" })).await;
    assert_eq!(output.data["dependencies"][0]["state"], "up", "{}", output.text);
}

#[tokio::test]
async fn a_query_without_an_answer_leaves_the_state_unknown() {
    let text = "hosts: []\nservices: [{ name: cloud, class: database, up: cloud_up }]";
    let ask = json!({ "service": "cloud" });
    let none = Bench::new(text).output("check_dependencies", ask.clone()).await;
    assert_eq!(
        none.text,
        "cloud: unknown; cloud_up: no Prometheus is configured; set prometheus.url, or \
         PROMETHEUS_URL\nThe inventory names nothing that it depends on.\n"
    );
    let empty = Bench::with_prometheus(text, prometheus(|_| vector(&[])).await);
    let output = empty.output("check_dependencies", ask.clone()).await;
    assert_eq!(output.data["state"], "unknown", "{}", output.text);
    let down = Bench::with_prometheus(text, prometheus(|_| vector(&["0"])).await);
    assert_eq!(down.output("check_dependencies", ask).await.data["state"], "down");
}

#[test]
fn unknown_services_are_refused() {
    let bench = Bench::new("hosts: []");
    assert_eq!(
        bench.complete("check_dependencies", json!({ "service": "x" })),
        Err("there is no service \"x\" in the inventory; it lists no services".to_owned())
    );
}
