use super::*;
use crate::model::alert::Labels;
use crate::model::entity::{Located, Missing};
use regex::Regex;

const TWO_HOSTS: &str = "
hosts:
  - { name: web1, addresses: [10.2.3.4, 'fe80::1'], class: vm, region: eu, owner: ops, reach: local,
      commands: { restart: [/bin/ctl, restart, '{service}', 'u={unit}'] } }
  - { name: web2, protected: true, allow: [clean_disk_space], clean_roots: [/var/log//nginx/] }
services:
  - { name: nginx, aliases: [Front], unit: nginx, hosts: [WEB1, web2], class: web, region: eu,
      owner: ops, allow: [restart_service], depends_on: [PG.service] }
  - { name: pg, unit: postgresql@15-main.service, hosts: [10.2.3.4], class: database,
      protected: true, commands: { restart: [/bin/pg] }, up: pg_up }
  - { name: cloud, class: database }
";

fn catalogue() -> Catalogue {
    Catalogue::parse(TWO_HOSTS).unwrap()
}

fn complaints(text: &str) -> Vec<String> {
    InventoryFile::parse(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn the_shipped_inventory_is_this_machine_read_only() {
    let text = include_str!("../../../config/inventory.yaml");
    let shipped = Catalogue::parse(text).unwrap();
    for name in ["localhost", "127.0.0.1", "::1", "LOCALHOST", "0:0:0:0:0:0:0:1"] {
        assert_eq!(shipped.host(name).unwrap().name, "localhost", "{name}");
    }
    assert_eq!(shipped.grants(), vec![]);
    let example: String = text
        .lines()
        .skip_while(|line| *line != "# services:")
        .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line)))
        .collect();
    let hosts = "hosts: [{ name: localhost, reach: local }]\n";
    let example = Catalogue::parse(&format!("{hosts}{example}")).unwrap();
    assert_eq!(example.grants(), [("services.0.allow.0".to_owned(), "restart_service".to_owned())]);
}

#[test]
fn every_spelling_leads_to_one_name() {
    let catalogue = catalogue();
    for name in ["nginx", "NGINX", "nginx.service", "front", "Front.service"] {
        assert_eq!(catalogue.service(name).unwrap().name, "nginx", "{name}");
    }
    for name in ["web1", "Web1", "10.2.3.4", "fe80::1", "FE80:0::1"] {
        assert_eq!(catalogue.host(name).unwrap().name, "web1", "{name}");
    }
    for name in ["", "nginx ", "nginx.socket", "nginx*", "10.2.3.4:9100"] {
        assert_eq!(catalogue.service(name), None, "{name:?}");
        assert_eq!(catalogue.host(name), None, "{name:?}");
    }
}

#[test]
fn facts_are_canonical() {
    let catalogue = catalogue();
    assert_eq!(
        catalogue.service("front"),
        Some(ServiceFacts {
            name: "nginx".into(),
            unit: "nginx.service".into(),
            hosts: vec!["web1".into(), "web2".into()],
            class: "web".into(),
            region: "eu".into(),
            owner: "ops".into(),
            protected: false,
            allow: vec!["restart_service".into()],
            depends_on: vec!["pg".into()],
        })
    );
    assert_eq!(
        catalogue.host("web2"),
        Some(HostFacts {
            name: "web2".into(),
            protected: true,
            allow: vec!["clean_disk_space".into()],
            clean_roots: vec!["/var/log/nginx".into()],
            ..HostFacts::default()
        })
    );
}

#[test]
fn a_services_own_commands_come_before_the_hosts() {
    let catalogue = catalogue();
    let argv = |service| catalogue.service_access(service, "web1").unwrap().commands.restart;
    assert_eq!(argv("nginx").unwrap(), ["/bin/ctl", "restart", "nginx", "u=nginx.service"]);
    assert_eq!(argv("pg").unwrap(), ["/bin/pg"]);
}

#[test]
fn the_host_is_filled_in_where_there_is_no_choice() {
    let catalogue = catalogue();
    let place = |service: &str, host: Option<&str>| {
        catalogue.place(service, host).map(|(s, h)| (s.name, h.name)).map_err(|e| e.to_string())
    };
    assert_eq!(place("pg", None), Ok(("pg".into(), "web1".into())));
    assert_eq!(place("nginx", Some("WEB2")), Ok(("nginx".into(), "web2".into())));
    let refused = [
        ("nginx", None, "nginx runs on several hosts; say which of [\"web1\", \"web2\"]"),
        ("pg", Some("web2"), "pg does not run on web2; it runs on [\"web1\"]"),
        ("cloud", None, "the inventory names no host for cloud"),
        ("cloud", Some("web1"), "the inventory names no host for cloud"),
        (
            "ngnix",
            None,
            "there is no service \"ngnix\" in the inventory; valid are [\"nginx\", \"pg\", \
             \"cloud\"]",
        ),
        (
            "pg",
            Some("web"),
            "there is no host \"web\" in the inventory; valid are [\"web1\", \"web2\"]",
        ),
    ];
    for (service, host, said) in refused {
        assert_eq!(place(service, host), Err(said.to_owned()));
    }
    let empty = Catalogue::parse("").unwrap();
    assert_eq!(
        empty.known_host("x").unwrap_err().to_string(),
        "there is no host \"x\" in the inventory; it lists no hosts"
    );
}

#[test]
fn everything_wrong_is_said_at_once_with_its_place() {
    let text = "
hosts:
  - { name: 'web 1', addresses: ['10.0.0.1:9100'], clean_roots: [/var, log, /var/../etc, /etc/nginx],
      allow: [Restart], commands: { restart: [], status: [systemctl] } }
  - { name: a }
  - { name: b, addresses: [A] }
services:
  - { name: -H, unit: x.socket, hosts: [nowhere], class: '', depends_on: [x, s1],
      logs: { file: relative, journal: a/b }, up: ' ' }
  - { name: s1, class: web, depends_on: [S1.service], commands: { health: [/x, '{service}'] },
      logs: {} }
  - { name: S1.service, class: web }
";
    assert_eq!(
        complaints(text),
        [
            "hosts.0.name: \"web 1\" is no host name; use letters, digits and _ . -",
            "hosts.0.addresses.0: \"10.0.0.1:9100\" is no host name or IP address; leave out the port",
            "hosts.0.allow.0: \"Restart\" is no tool name",
            "hosts.0.clean_roots.0: \"/var\" is too wide; name a folder such as /var/log/nginx",
            "hosts.0.clean_roots.1: a path must be absolute",
            "hosts.0.clean_roots.2: a path holds neither `.` nor `..`; write where it leads",
            "hosts.0.clean_roots.3: \"/etc/nginx\" belongs to the system; nothing in it is old",
            "hosts.0.commands.restart: is empty; give a list such as [/usr/sbin/x, reload]",
            "hosts.0.commands.status.0: \"systemctl\" must be an absolute path; no shell and no PATH \
             is used",
            "hosts.2.addresses.0: \"A\" already names hosts.1",
            "services.0.name: \"-H\" is no service name; use letters, digits and : _ . - and at most \
             one @, and no unit of another type",
            "services.0.unit: \"x.socket\" is no service name; use letters, digits and : _ . - and \
             at most one @, and no unit of another type",
            "services.0.class: say what it is, e.g. web, database, queue",
            "services.0.logs: give exactly one of journal, file, command",
            "services.0.logs.journal: \"a/b\" is no unit name",
            "services.0.logs.file: a path must be absolute",
            "services.0.up: is empty; write a PromQL query or leave it out",
            "services.1.commands.health.1: {service} is not filled in here",
            "services.1.logs: give exactly one of journal, file, command",
            "services.2.name: \"S1.service\" already names services.1",
            "services.0.hosts.0: there is no host \"nowhere\"",
            "services.0.depends_on.0: there is no service \"x\"",
            "services.1.depends_on.0: a service cannot need itself",
        ]
    );
}

#[test]
fn a_text_of_another_shape_is_refused_with_line_and_column() {
    for (text, said) in [
        ("hosts: [{ name: a, adress: b }]", "unknown field `adress`"),
        ("hosts: 3", "line 1 column 8"),
        ("services: [{ name: a }]", "missing field `class`"),
        ("hosts: [{ name: a, name: b }]", "line 1"),
        ("hosts: [{ name: a, reach: ssh }]", "unknown variant `ssh`"),
        ("hosts: [", "line"),
    ] {
        let all = complaints(text);
        assert_eq!(all.len(), 1);
        assert!(all[0].contains(said), "{text}: {all:?}");
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn mappings() -> Vec<Mapping> {
    let mapping = |label: &str, pattern: &str, to| Mapping {
        label: label.to_owned(),
        pattern: Regex::new(pattern).unwrap(),
        to,
        unknown: Unknown::Reported,
    };
    let job = Mapping { unknown: Unknown::Ignored, ..mapping("job", "^.+$", To::Service) };
    vec![
        mapping("instance", r"^(?:\[([^\]]+)\]|([^:]+))(?::[0-9]+)?$|^(.+)$", To::Host),
        mapping("host", "^.+$", To::Host),
        mapping("name", r"^(.+?)(?:\.service)?$", To::Service),
        job,
    ]
}

#[test]
fn a_service_on_one_host_says_where_it_is_unless_a_label_does() {
    let located = |pairs| locate(&catalogue(), &[&labels(pairs)], &mappings());
    let nginx = catalogue().service("nginx").unwrap();
    let alone = located(&[("name", "nginx")]);
    assert_eq!(alone.services, ["nginx"]);
    assert_eq!(alone.hosts, if nginx.hosts.len() == 1 { nginx.hosts } else { vec![] });
    assert_eq!(located(&[("name", "nginx"), ("instance", "10.9.9.9:1")]).hosts, [""; 0]);
}

#[test]
fn an_unlisted_scrape_job_is_no_missing_service() {
    let located = locate(&catalogue(), &[&labels(&[("job", "node")])], &mappings());
    assert_eq!(located, Located::default());
}

#[test]
fn labels_lead_to_targets() {
    let one = labels(&[("instance", "10.2.3.4:9100"), ("name", "nginx.service")]);
    let two = labels(&[("instance", "[fe80::1]:9100"), ("host", "web2")]);
    let three = labels(&[("instance", "10.9.9.9:9100"), ("host", "web2")]);
    assert_eq!(
        locate(&catalogue(), &[&one, &two, &three], &mappings()),
        Located {
            hosts: vec!["web1".into(), "web2".into()],
            services: vec!["nginx".into()],
            missing: vec![],
        }
    );
}

#[test]
fn unlisted_targets_come_with_the_line_to_paste() {
    let one = labels(&[("instance", "10.9.9.9:9100"), ("name", "redis@1.service")]);
    let two = labels(&[("instance", "[2001:db8::1]:9100")]);
    let three = labels(&[("instance", "web9\", reach: local }  # ")]);
    let located = locate(&catalogue(), &[&one, &two, &three], &mappings());
    let missing = |label: &str, value: &str, line: &str| Missing {
        label: label.into(),
        value: value.into(),
        line: line.into(),
    };
    assert_eq!((&located.hosts, &located.services), (&vec![], &vec![]));
    let hosts = "# under hosts:";
    assert_eq!(
        located.missing,
        [
            missing(
                "instance",
                "10.9.9.9",
                &format!("- {{ name: \"10.9.9.9\", addresses: [\"10.9.9.9\"] }}  {hosts}")
            ),
            missing(
                "instance",
                "2001:db8::1",
                &format!("- {{ name: \"2001:db8::1\", addresses: [\"2001:db8::1\"] }}  {hosts}")
            ),
            missing(
                "instance",
                "web9\", reach: local }  #",
                "# no name can look like this; map another label in ingest.targets"
            ),
            missing(
                "name",
                "redis@1",
                "- { name: \"redis@1\", class: web, hosts: [] }  # under services:"
            ),
        ]
    );
    for (key, missing) in [("hosts", &located.missing[0]), ("services", &located.missing[3])] {
        Catalogue::parse(&format!("{key}:\n  {}\n", missing.line)).unwrap();
    }
}
