use super::*;
use crate::model::call::Call;
use crate::model::entity::{HostFacts, ServiceFacts};
use crate::safety::weigh::Target;
use serde_json::json;

fn reasons(
    host: &HostFacts,
    service: &ServiceFacts,
    args: Value,
    own: &Own,
) -> Vec<(String, Tier)> {
    let call = Call::new("mend", args);
    let target = Target { host: Some(host), service: Some(service) };
    let mut found = Vec::new();
    weigh(
        &Subject { call: &call, spec: None, effect: None, target, state: &Value::Null },
        own,
        &mut found,
    );
    found.into_iter().map(|reason| (reason.source, reason.tier)).collect()
}

fn service(name: &str, unit: &str) -> ServiceFacts {
    ServiceFacts { name: name.into(), unit: unit.into(), ..ServiceFacts::default() }
}

#[test]
fn tools_are_refused_by_what_their_name_says() {
    for (name, expected) in [
        ("delete_data", Some("deleting data")),
        ("drop_table", Some("deleting data")),
        ("drop_tables", Some("deleting data")),
        ("dropDatabase", Some("deleting data")),
        ("droptable", Some("deleting data")),
        ("mysql.truncate-table", Some("deleting data")),
        ("delete_all_old_volumes", Some("deleting data")),
        ("failover_database", Some("failing over a database")),
        ("fail_over", Some("failing over a database")),
        ("FailOverPrimary", Some("failing over a database")),
        ("promote_replica", Some("failing over a database")),
        ("change_security_policy", Some("changing security policy")),
        ("grant_role", Some("changing security policy")),
        ("update_iptables", Some("changing the firewall")),
        ("set_firewall_rule", Some("changing the firewall")),
        ("apply_network_policy", Some("changing the firewall")),
        ("restart_service", None),
        ("clean_disk_space", None),
        ("scale_service", None),
        ("restart_connection_pool", None),
        ("apply_config", None),
        ("rollback_deployment", None),
        ("delete_pod", None),
        ("set_replicas", None),
        ("get_firewall_rules", None),
        ("", None),
    ] {
        assert_eq!(refused_tool(name, None), expected, "{name}");
    }
}

#[test]
fn a_write_is_refused_even_if_its_name_begins_like_a_look() {
    let name = "check_and_drop_table";
    assert_eq!(refused_tool(name, None), None);
    assert_eq!(refused_tool(name, Some(Effect::Write)), Some("deleting data"));
    assert_eq!(refused_tool("drop_table", Some(Effect::Read)), None);
}

#[test]
fn what_machines_stand_on_is_refused_in_every_spelling() {
    let host = HostFacts::default();
    for (name, unit, expected) in [
        ("watchkeeper", "watchkeeper.service", "floor: Watchkeeper itself"),
        ("agent", "Watchkeeper@2.service", "floor: Watchkeeper itself"),
        ("login", "sshd.service", "floor: remote access"),
        ("login", "ssh.socket", "floor: remote access"),
        ("login", "/lib/systemd/system/SSH", "floor: remote access"),
        ("clock", "systemd-timesyncd", "floor: time sync"),
        ("chronyd", "", "floor: time sync"),
        ("trail", "auditd.service", "floor: audit"),
        ("nightly", "restic-backup@home.timer", "floor: backup"),
        ("db-backup", "db-dump.service", "floor: backup"),
        ("fw", "nftables.service", "floor: firewall"),
    ] {
        let found = reasons(&host, &service(name, unit), json!({}), &Own::default());
        assert_eq!(found, [(expected.to_owned(), Tier::Forbidden)], "{name} {unit}");
    }
    for (name, unit) in [("nginx", "nginx.service"), ("sshportal", "sshportal.service")] {
        assert_eq!(reasons(&host, &service(name, unit), json!({}), &Own::default()), []);
    }
}

#[test]
fn the_configured_database_unit_is_our_own() {
    let own = Own { units: vec!["postgresql@15-main".into()], paths: vec![] };
    let host = HostFacts::default();
    let found = reasons(&host, &service("store", "postgresql@15-main.service"), json!({}), &own);
    assert_eq!(found, [("floor: Watchkeeper itself".to_owned(), Tier::Forbidden)]);
    assert_eq!(reasons(&host, &service("other", "postgresql@16-main"), json!({}), &own), []);
}

#[test]
fn databases_and_protected_targets_ask() {
    let host = HostFacts { protected: true, ..HostFacts::default() };
    let database = ServiceFacts {
        class: "database".into(),
        protected: true,
        ..service("orders", "postgresql.service")
    };
    assert_eq!(
        reasons(&host, &database, json!({}), &Own::default()),
        [
            ("floor: database".to_owned(), Tier::Confirm),
            ("floor: protected".to_owned(), Tier::Confirm),
            ("floor: protected".to_owned(), Tier::Confirm),
        ]
    );
}

#[test]
fn kept_paths_are_refused_from_inside_and_from_above() {
    let own = Own { units: vec![], paths: vec!["/srv/wk/data".into()] };
    for (path, expected) in [
        ("/var/log/audit", Some(Tier::Forbidden)),
        ("//var/./log/audit/", Some(Tier::Forbidden)),
        ("/var/log/audit/old", Some(Tier::Forbidden)),
        ("/var/log/nginx/../audit", Some(Tier::Forbidden)),
        ("/var/log", Some(Tier::Confirm)),
        ("/var/log/auditor", None),
        ("/var/log/nginx", None),
        ("/srv/wk/data/store.db", Some(Tier::Forbidden)),
        ("/srv/wk", Some(Tier::Forbidden)),
        ("/", Some(Tier::Forbidden)),
        ("/srv/wk/database", None),
    ] {
        let found = refused_path(path, &own).map(|(_, tier, _)| tier);
        assert_eq!(found, expected, "{path}");
    }
}

#[test]
fn paths_are_found_wherever_they_stand_in_the_arguments() {
    let args = json!({"reason": "x", "steps": [{"file": "/etc/sudoers"}]});
    let found = reasons(&HostFacts::default(), &service("a", "a"), args, &Own::default());
    assert_eq!(found, [("floor: security policy".to_owned(), Tier::Forbidden)]);
    // Words that name one are no path: prose would refuse what it tells about.
    let args = json!({"reason": "etc/sudoers was touched, look there and back .. /x"});
    assert_eq!(reasons(&HostFacts::default(), &service("a", "a"), args, &Own::default()), []);
    let args = json!({"reason": "etc/sudoers"});
    assert_eq!(reasons(&HostFacts::default(), &service("a", "a"), args, &Own::default()), []);
}

#[test]
fn a_unit_has_one_spelling() {
    for name in ["nginx", "nginx.service", " NGINX.service "] {
        assert_eq!(canonical_unit(name), "nginx.service");
    }
    assert_eq!(canonical_unit("logrotate.timer"), "logrotate.timer");
}
