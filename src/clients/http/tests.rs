use super::*;

fn failure(base_url: &str, options: &Options) -> String {
    Http::new("Prometheus", base_url, options).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn unusable_addresses_are_refused_with_the_way_to_write_them() {
    let cases = [
        (
            "prometheus:9090",
            "cannot set up the client for Prometheus: its address must begin with http:// or \
             https:// and name a host",
        ),
        (
            "prometheus",
            "cannot set up the client for Prometheus: its address is not a URL (relative URL \
             without a base); write it as http://host:port",
        ),
        (
            "http://prometheus:9090/?tenant=a",
            "cannot set up the client for Prometheus: its address must not contain ? or #",
        ),
    ];
    for (address, expected) in cases {
        assert_eq!(failure(address, &Options::default()), expected);
    }
}

#[test]
fn bad_proxy_is_refused_without_repeating_its_password() {
    let options = Options { proxy: Some("http://me:hunter2@:x".to_owned()), ..Options::default() };
    assert_eq!(
        failure("http://prometheus:9090", &options),
        "cannot set up the client for Prometheus: its proxy is not a URL; write it as \
         http://host:port"
    );
}

#[test]
fn missing_ca_file_is_named() {
    let options = Options { ca_file: Some("/nonexistent/ca.pem".into()), ..Options::default() };
    assert_eq!(
        failure("https://prometheus:9090", &options),
        "cannot set up the client for Prometheus: its ca_file /nonexistent/ca.pem cannot be read: \
         No such file or directory (os error 2)"
    );
}

#[test]
fn credentials_in_the_address_become_basic_and_are_never_shown() {
    let http =
        Http::new("Prometheus", "http://ann:p%40ss@prometheus:9090/prom/", &Options::default())
            .unwrap();
    assert_eq!(http.authorization().unwrap().to_str().unwrap(), "Basic YW5uOnBAc3M=");
    assert_eq!(http.shown(), "http://prometheus:9090/prom");
    assert_eq!(
        format!("{http:?}"),
        "Http { what: \"Prometheus\", url: \"http://prometheus:9090/prom\" }"
    );
    assert_eq!(http.url("/api/v1/query").as_str(), "http://prometheus:9090/prom/api/v1/query");
    assert_eq!(
        http.excerpt(b"bad\npassword p@ss (YW5uOnBAc3M=)"),
        "bad password [redacted] ([redacted])"
    );
}

#[test]
fn secret_path_is_hidden() {
    let http =
        Http::new("Slack", "https://hooks.slack.com/services/T0/B0/xyz", &Options::default())
            .unwrap()
            .hiding_path();
    assert_eq!(http.shown(), "https://hooks.slack.com");
    assert_eq!(http.url("").as_str(), "https://hooks.slack.com/services/T0/B0/xyz");
    assert_eq!(http.excerpt(b"no such hook services/T0/B0/xyz"), "no such hook [redacted]");
}

#[test]
fn excerpts_are_one_short_line() {
    let http = Http::new("Prometheus", "http://localhost", &Options::default()).unwrap();
    assert_eq!(http.excerpt(b""), "(empty)");
    assert_eq!(http.excerpt(b"<html>\r\n\x1b[31m  gone"), "<html> [31m gone");
    assert_eq!(http.excerpt("é".repeat(400).as_bytes()), format!("{}…", "é".repeat(300)));
}

#[test]
fn renewed_credentials_are_shown_by_every_clone_and_kept_out_of_errors() {
    let options = Options { auth: Auth::Bearer("first-token".into()), ..Options::default() };
    let http = Http::new("a service", "http://127.0.0.1:9", &options).unwrap();
    let clone = http.clone();
    http.renew(Auth::Bearer("second-token".into()));
    assert_eq!(clone.authorization().unwrap(), "Bearer second-token");
    assert_eq!(clone.excerpt(b"no second-token here"), "no [redacted] here");
}
