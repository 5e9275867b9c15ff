use super::{cut, html, inert, inert_line, is_invisible, link, one_line, plain, slack};
use crate::notify::samples::HOSTILE;
use proptest::prelude::*;
use regex::Regex;
use std::sync::LazyLock;

/// What a client would make active, written apart from the code under test.
static ACTIVE: LazyLock<Regex> = LazyLock::new(|| {
    let forms = [
        r"[a-z][a-z0-9+.-]*://",
        r"www\.\w",
        r"[@＠]\w",
        r"[\p{L}\p{N}]\.(com|net|org|io|dev|app|rs|py|support|click|рф|テスト)(\W|$)",
        r"\w\.xn--",
    ];
    Regex::new(&format!("(?i){}", forms.join("|"))).unwrap()
});

fn active(text: &str) -> Option<&str> {
    ACTIVE.find(text).map(|found| found.as_str())
}

fn entities_removed(text: &str) -> String {
    ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"]
        .iter()
        .fold(text.to_owned(), |t, e| t.replace(e, ""))
}

fn assert_plain(text: &str) {
    let bad = text.chars().find(|&c| c != '\n' && (c.is_control() || is_invisible(c)));
    assert_eq!(bad, None, "{text:?}");
}

/// Arbitrary text salted with what is dangerous.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<char>().prop_map(String::from),
        "\\PC{0,8}",
        prop::sample::select(HOSTILE.as_slice()).prop_map(str::to_owned),
        prop::sample::select(
            &[
                "<",
                ">",
                "&",
                "&amp;",
                "@",
                ":",
                "//",
                ".",
                "com",
                "www",
                "xn--",
                "a",
                "\u{200b}",
                "\u{202e}",
                "\u{e0041}",
                "\r",
                "\n",
                "\0",
                "]",
                "[",
                "\u{fe0f}",
                "…",
                "😀"
            ][..]
        )
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_input_becomes_active_in_slack(text in any_text(), max in 0_usize..200) {
        let shown = slack(&inert(&text), max);
        prop_assert!(shown.encode_utf16().count() <= max);
        prop_assert!(!entities_removed(&shown).contains(['<', '>', '&']), "{shown:?}");
        prop_assert_eq!(active(&shown), None, "{:?}", shown);
        assert_plain(&shown);
    }

    #[test]
    fn no_input_becomes_a_tag_in_html(text in any_text()) {
        let shown = html(&inert(&text));
        let bare = entities_removed(&shown);
        prop_assert!(!bare.contains(['<', '>', '&', '"', '\'']), "{shown:?}");
        prop_assert_eq!(active(&shown), None, "{:?}", shown);
        assert_plain(&shown);
    }

    #[test]
    fn plain_text_has_no_control_characters(text in any_text()) {
        let shown = plain(&text);
        assert_plain(&shown);
        prop_assert!(!shown.contains("\n\n\n"));
        prop_assert_eq!(plain(&shown), shown.clone());
        prop_assert!(!one_line(&text).contains('\n'));
        let line = inert_line(&text);
        prop_assert_eq!(active(&line), None, "{:?}", line);
    }

    #[test]
    fn cutting_keeps_the_limit_and_the_beginning(text in any_text(), max in 1_usize..100) {
        let shown = cut(&text, max);
        prop_assert!(shown.chars().count() <= max);
        prop_assert!(shown == text || text.starts_with(shown.strip_suffix('…').unwrap()));
    }

    #[test]
    fn a_link_is_a_plain_web_address(text in any_text()) {
        for url in [text.clone(), format!("https://{text}"), format!("https://a.example/{text}")] {
            if let Some(url) = link(&url, 3_000) {
                prop_assert!(url.starts_with("http://") || url.starts_with("https://"));
                prop_assert!(!url.contains(['<', '>', '"', '\'', '|', ' ', '\n']), "{url:?}");
            }
        }
    }
}

#[test]
fn hostile_texts_are_broken_where_people_can_see_it() {
    let cases = [
        ("<!channel> tell @here", "<!channel> tell [@]here"),
        ("https://evil.example.net/x", "https[:]//evil.example[.]net/x"),
        ("see www.evil.support.", "see www[.]evil[.]support."),
        ("ops@evil.example.net", "ops[@]evil.example[.]net"),
        ("ht\u{ad}tp:\u{200b}//a.b", "http[:]//a.b"),
        ("safe\u{202e}txt.exe", "safetxt[.]exe"),
        ("one\r\ntwo\u{2028}three\r\n\r\n\r\nfour\n", "one\ntwo\nthree\n\nfour"),
        ("\u{1b}[31mred\u{7}\tend \u{e0041}", "[31mred end"),
        ("xn--e1aybc.xn--p1ai", "xn--e1aybc[.]xn--p1ai"),
    ];
    for (text, expected) in cases {
        assert_eq!(inert(text), expected);
    }
}

#[test]
fn what_operators_read_most_stays_whole() {
    let texts = [
        "nginx.service failed with code 502 at 10:15:00",
        "10.2.3.4:9100 has 93.5% used, load 1.25",
        "/etc/nginx/nginx.conf: line 3, see app.log",
        "rate(http_requests_total{code=~\"5..\"}[5m]) > 0.1",
        "Ünïcode \"quotes\" 😀 磁盘空间不足。请处理",
        "db-1.internal, kube.svc.cluster.local, v1.28.3",
    ];
    assert_eq!(texts.map(inert), texts);
}

#[test]
fn an_entity_is_never_cut_in_two() {
    let shown: Vec<String> = (0..=11).map(|max| slack("a<&b😀", max)).collect();
    let expected =
        ["", "…", "a…", "a…", "a…", "a…", "a&lt;…", "a&lt;…", "a&lt;…", "a&lt;…", "a&lt;…"];
    assert_eq!(shown[..11], expected);
    assert_eq!(shown[11], "a&lt;&amp;…");
    assert_eq!(slack("a<&b😀", 12), "a&lt;&amp;b…");
    assert_eq!(slack("a<&b😀", 13), "a&lt;&amp;b😀");
}

#[test]
fn only_web_addresses_become_links() {
    let cases = [
        ("https://watch.example.com/a?b=1", Some("https://watch.example.com/a?b=1")),
        ("http://[::1]:8080/x", Some("http://[::1]:8080/x")),
        ("https://a.example/'\"<>|", Some("https://a.example/%27%22%3C%3E%7C")),
        ("https://bank.example@evil.example/", None),
        ("javascript:alert(1)", None),
        ("mailto:a@b.example", None),
        ("/relative", None),
        ("", None),
    ];
    for (url, expected) in cases {
        assert_eq!(link(url, 100).as_deref(), expected, "{url}");
    }
    assert_eq!(link(&format!("https://a.example/{}", "x".repeat(100)), 100), None);
}
