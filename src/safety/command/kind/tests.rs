//! What values of each kind look like, and where they end.

use super::*;
use crate::safety::command::notation::kind;

fn accepts(notation: &str, text: &str) -> bool {
    kind(notation, &Default::default()).unwrap().accept(text).is_ok()
}

#[test]
fn each_kind_accepts_and_refuses() {
    for (notation, good, bad) in [
        ("int(1..10)", vec!["1", "10"], vec!["0", "11", "", "+1", "1 ", "99999999999999999999"]),
        ("signed(-9..9)", vec!["-1", "+5", "0"], vec!["--1", "10", "-", "+"]),
        ("num(0.2..5)", vec!["0.5", "5"], vec!["0.1", "1e3", ".", "inf", "nan"]),
        ("one(a|b)", vec!["a"], vec!["", "A", "a|b"]),
        ("many(a|b)", vec!["a,b"], vec!["a,", "c", ""]),
        ("sorted(a|b)", vec!["-a,+b"], vec!["--a", "-"]),
        ("word(.-)", vec!["a-b.c"], vec!["-a", "a b", "a;b", "", "a/b"]),
        (
            "device",
            vec!["/dev/sda1", "/dev/mapper/vg-root"],
            vec![
                "/dev/watchdog",
                "/dev/tcp/1",
                "/dev/mapper/../mem",
                "/dev/mem",
                "sda",
                "/dev/sda/../x",
            ],
        ),
        ("time", vec!["-1h", "2026-01-31 08:00", "today"], vec!["--x", "$(x)", "", "a;b"]),
        ("duration", vec!["10m", "1h30m", "90"], vec!["-1s", "m", "1y", "10mm", "1;2"]),
        ("unit", vec!["nginx", "a@b.service"], vec!["-H", "nginx*", "a b", "../x", "a;b"]),
        ("unitglob", vec!["nginx*"], vec!["-x", "a;b", "a/b"]),
        (
            "host",
            vec!["a.b-c", "10.0.0.1", "::1"],
            vec!["-oX", "a b", "a/b", "", "a..b", "http://a"],
        ),
        ("loopback", vec!["localhost"], vec!["10.0.0.1", "localhost.evil.org"]),
        ("age", vec!["+7", "-1"], vec!["7d", "--1", ""]),
        ("text", vec!["a b", "$(x)"], vec!["-x", ""]),
        ("pattern", vec!["-x", "*"], vec![""]),
        ("size", vec!["+100M"], vec!["100Mi", "M"]),
        ("mode", vec!["0644", "-4000", "/u+s"], vec!["", "8", "a;b"]),
        ("journalmatch", vec!["_PID=1"], vec!["a=1", "=1", "_PID"]),
        (
            "resource",
            vec!["pods", "deploy/a", "po,svc"],
            vec!["secret", "Secrets", "pods,secrets", "secrets/x", "secret.v1./x", "a b", ""],
        ),
        (
            "resourceoutput",
            vec!["json", "jsonpath={.a}"],
            vec!["go-template-file=/x", "jsonpath-file=/x"],
        ),
        ("endpoint", vec![":443", "TCP:80", "tcp@10.0.0.1:22", "4TCP"], vec!["-x", "a", "/etc"]),
        ("list|device", vec!["/opt", "/dev/sda"], vec!["/dev/mem", "x"]),
    ] {
        good.iter().for_each(|text| assert!(accepts(notation, text), "{notation} {text:?}"));
        bad.iter().for_each(|text| assert!(!accepts(notation, text), "{notation} {text:?}"));
    }
}

#[test]
fn a_value_has_an_end() {
    assert!(accepts("text", &"x".repeat(VALUE_MAX)));
    assert!(!accepts("text", &"x".repeat(VALUE_MAX + 1)));
}

#[test]
fn of_several_kinds_a_path_says_best_what_is_wrong() {
    let either = kind("int(1..9)|read", &Default::default()).unwrap();
    let told = |text: &str| either.accept(text).unwrap_err();
    assert_eq!(told("x"), "it should be a whole number from 1 to 9, or a readable file");
    assert!(told("/etc/shadow").starts_with("it is outside the readable places"));
}

#[test]
fn each_kind_ends_where_it_says() {
    let label = "a".repeat(63);
    let host = |last: usize| format!("{label}.{label}.{label}.{}", "a".repeat(last));
    let of = |count: usize| "1".repeat(count);
    for (notation, good, bad) in [
        ("age", of(9), of(10)),
        ("size", of(15), of(16)),
        ("time", of(40), of(41)),
        ("duration", "1m".repeat(8), "1m".repeat(9)),
        ("word()", of(128), of(129)),
        ("unit", of(255), of(256)),
        ("host", label.clone(), "a".repeat(64)),
        ("host", host(61), host(62)),
        ("host", "a.".into(), "a..".into()),
        ("hostport", "db1:65535".into(), "db1:65536".into()),
        ("hostport", "db1:1".into(), "db1:0".into()),
        ("hostport", "a:1".into(), "-a:1".into()),
        ("server", "@ns1".into(), "ns1".into()),
        ("server", "@ns1".into(), "@-x".into()),
        ("dateformat", "+%F".into(), "%F".into()),
        ("filter", "dport = :443".into(), "a;b".into()),
        ("named(-)", "a1-b".into(), "1a".into()),
        ("named(-)", "a1-b".into(), "a_b".into()),
        ("words(.)", "a.b,c".into(), "a,,c".into()),
        ("word(_)", "_a".into(), "-a".into()),
        ("word(+)", "+a".into(), "_a".into()),
        ("word(.)", "a.b".into(), ".a".into()),
        ("device", "/dev/disk/by-id/a.b:c".into(), "/dev/disk/by-id/a/b".into()),
        ("device", "/dev/mapper/a.b".into(), "/dev/mapper/a..b".into()),
        ("device", "/dev/mapper/vg-root".into(), "/dev/mapper/".into()),
        ("resource", "deploy/a.b:c_d".into(), "deploy/a/b".into()),
        ("resource", "pods".into(), "pods/".into()),
        ("resourceoutput", "custom-columns=A:.b".into(), "custom".into()),
        ("endpoint", "6udp:53,80-90".into(), "6".into()),
        ("endpoint", "@a".into(), "@".into()),
        ("endpoint", ":a-b,c".into(), ":".into()),
        ("endpoint", "TCP".into(), "TCP-".into()),
        ("journalmatch", "A_1=".into(), "A-1=x".into()),
        ("signed(-9..9)", "-9".into(), "-10".into()),
    ] {
        assert!(accepts(notation, &good), "{notation} {good:?}");
        assert!(!accepts(notation, &bad), "{notation} {bad:?}");
    }
}

#[test]
fn a_value_names_the_hosts_that_would_be_looked_up() {
    for (notation, text, expected) in [
        ("host", "a.example.org", vec!["a.example.org"]),
        ("server", "@ns1", vec!["ns1"]),
        ("endpoint", "TCP@db1:5432", vec!["db1"]),
        ("endpoint", "@db1", vec!["db1"]),
        ("endpoint", ":443", vec![]),
        ("filter", "dst a.example.org and sport = :80", vec!["a.example.org"]),
        ("filter", "dst 10.0.0.1", vec![]),
        ("filter", "dport = :443", vec![]),
        ("int(1..9)|host", "db1", vec!["db1"]),
        ("int(1..9)|host", "5", vec![]),
        ("text", "a.example.org", vec![]),
    ] {
        let kind = kind(notation, &Default::default()).unwrap();
        assert_eq!(kind.hosts(text), expected, "{notation} {text}");
    }
}

#[test]
fn a_list_says_what_is_in_it_up_to_a_dozen() {
    let told = |count: usize| {
        let words: Vec<String> = (1..=count).map(|n| format!("w{n}")).collect();
        kind(&format!("one({})", words.join("|")), &Default::default()).unwrap().describe()
    };
    assert_eq!(told(2), "one of w1, w2");
    assert!(told(12).ends_with(", w12"));
    assert!(told(13).ends_with(", w12, …"));
}
