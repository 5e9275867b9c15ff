use super::*;
use crate::model::message::Event;
use crate::notify::Repeat;
use crate::notify::samples::{HOSTILE, filled, message};

fn options() -> Options {
    Options {
        host: "127.0.0.1".to_owned(),
        port: 9,
        security: Security::None,
        login: None,
        ca_file: None,
        timeout_ms: 1_000,
        from: "Watchkeeper <watch@example.com>".to_owned(),
        to: vec!["ops@example.com".to_owned()],
        language: Language::En,
    }
}

/// The header lines, unfolded, and the decoded parts.
fn read(message: &Message, repeat: Repeat, language: Language) -> (Vec<String>, Vec<String>) {
    let from = "Watchkeeper <watch@example.com>".parse().unwrap();
    let to = "ops@example.com".parse().unwrap();
    let mail = render(message, repeat, language, &from, &to).unwrap();
    let mail = String::from_utf8(mail.formatted()).unwrap();
    assert!(mail.lines().all(|line| line.len() < 998));
    let (head, body) = mail.split_once("\r\n\r\n").unwrap();
    let boundary = format!("--=_watchkeeper_{}", message.id);
    let parts = body.split(&boundary).skip(1).filter(|part| !part.starts_with("--"));
    let decoded = parts.map(|part| {
        let text = part.split_once("\r\n\r\n").unwrap().1.replace("\r\n", "");
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
    });
    let decoded = decoded.collect();
    (head.replace("\r\n ", " ").split("\r\n").map(str::to_owned).collect(), decoded)
}

#[test]
fn a_mail_says_the_same_in_text_and_html() {
    let (mut head, parts) = read(&message(Event::Resolved), Repeat::Fresh, Language::En);
    head.sort();
    let expected_head = [
        "Auto-Submitted: auto-generated",
        "Content-Type: multipart/alternative; \
         boundary=\"=_watchkeeper_00000000-0000-0000-0000-000000000007\"",
        "Date: Tue, 10 Mar 2026 10:00:00 +0000",
        "From: Watchkeeper <watch@example.com>",
        "In-Reply-To: <incident-00000000-0000-0000-0000-00000000002a@example.com>",
        "MIME-Version: 1.0",
        "Message-ID: <00000000-0000-0000-0000-000000000007@example.com>",
        "References: <incident-00000000-0000-0000-0000-00000000002a@example.com>",
        "Subject: [Resolved] web1 answers 502",
        "To: ops@example.com",
        "X-Priority: 1 (Highest)",
    ];
    assert_eq!(head, expected_head);
    let text = "\
✅ Resolved: web1 answers 502

Host: web1
Service: nginx.service

It was restarted.

up = 1
for 2m

Open incident: https://watch.example.com/incidents/42

-- 
critical · shop · 2026-03-10T10:00:00Z · Incident 00000000-0000-0000-0000-00000000002a
";
    let html = "\
<!doctype html>
<html><head><meta charset=\"utf-8\"></head><body>
<h2>✅ Resolved: web1 answers 502</h2>
<div>Host: web1</div>
<div>Service: nginx.service</div>
<p>It was restarted.</p>
<p>up = 1<br>
for 2m</p>
<p><a href=\"https://watch.example.com/incidents/42\" rel=\"noreferrer\">Open incident</a></p>
<hr>
<p><small>critical · shop · 2026-03-10T10:00:00Z · Incident 00000000-0000-0000-0000-00000000002a</small></p>
</body></html>
";
    assert_eq!(parts, [text, html]);
}

#[test]
fn a_repeat_is_marked_and_keeps_its_message_id() {
    let message = message(Event::Note);
    let (first, _) = read(&message, Repeat::Fresh, Language::En);
    let (second, parts) = read(&message, Repeat::AfterCrash, Language::En);
    let id = |head: &[String]| head.iter().find(|line| line.starts_with("Message-ID")).cloned();
    assert_eq!(id(&first), id(&second));
    let subject = "Subject: [Note] (May be a repeat: an earlier delivery was interrupted) web1 \
                   answers 502";
    assert!(second.contains(&subject.to_owned()), "{second:?}");
    assert!(parts.iter().all(|part| part.contains("May be a repeat")));
}

#[test]
fn nothing_of_a_hostile_text_is_active() {
    for text in HOSTILE {
        let (head, parts) = read(&filled(Event::Started, text), Repeat::Fresh, Language::En);
        assert!(!head.iter().any(|line| line.starts_with("Bcc")), "{head:?}");
        assert_eq!(head.len(), 11, "{head:?}");
        assert_eq!(parts.len(), 2);
        let ours = "https://watch.example.com/1";
        let mut tags = parts[1].clone();
        for tag in ["h2", "div", "p", "small", "html", "head", "body", "a"] {
            tags = tags.replace(&format!("<{tag}>"), "").replace(&format!("</{tag}>"), "");
        }
        let tags = tags
            .replace("<!doctype html>", "")
            .replace("<meta charset=\"utf-8\">", "")
            .replace("<br>", "")
            .replace("<hr>", "")
            .replace(&format!("<a href=\"{ours}\" rel=\"noreferrer\">"), "");
        assert!(!tags.contains(['<', '>', '"', '\'']), "{tags}");
        for part in parts {
            let rest = part.replace(ours, "");
            assert!(!rest.contains("://") && !rest.contains("www."), "{rest}");
            assert!(rest.chars().all(|c| c == '\n' || !c.is_control()), "{rest:?}");
        }
    }
}

#[test]
fn huge_messages_are_cut_and_say_so() {
    let text = "<&@😀".repeat(20_000);
    let mut message = filled(Event::Escalated, &text);
    message.facts = vec![(text.clone(), text); 60];
    let (head, parts) = read(&message, Repeat::Fresh, Language::Zh);
    assert!(head.iter().all(|line| line.len() < 2_000));
    assert!(parts.iter().all(|part| part.len() < 2_000_000));
    assert!(parts.iter().all(|part| part.contains(Language::Zh.shortened())));
}

#[tokio::test]
async fn a_login_needs_a_protected_connection_beyond_this_machine() {
    let login = Login { user: "watch".to_owned(), password: "secret".into() };
    let with = |host: &str, security| {
        let login = Some(login.clone());
        Email::new(&Options { host: host.to_owned(), security, login, ..options() }).map(|_| ())
    };
    let error = with("mail.example.com", Security::None).unwrap_err();
    let expected = "cannot set up e-mail: a login over a readable connection; set security to tls \
                    or starttls";
    assert_eq!(error.to_string(), expected);
    assert!(with("127.0.0.1", Security::None).is_ok());
}

#[tokio::test]
async fn a_wrong_address_is_named() {
    let error = |options: Options| Email::new(&options).map(|_| ()).unwrap_err().to_string();
    let to = vec!["ops@example.com".to_owned(), "nobody".to_owned()];
    assert!(error(Options { to, ..options() }).contains("`to` is not an address: nobody"));
    assert!(error(Options { to: vec![], ..options() }).contains("`to` names nobody"));
    assert!(error(Options { from: "x".to_owned(), ..options() }).contains("`from` is not"));
    let ca_file = Some("/nowhere/ca.pem".into());
    let missing = Options { ca_file, security: Security::Starttls, ..options() };
    assert!(error(missing).contains("ca_file /nowhere/ca.pem cannot be read"));
}
