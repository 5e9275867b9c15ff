use super::*;
use crate::support::{FakeSmtp, Server, SmtpFault};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use watchkeeper::notify::email::{Email, Login, Options, Security};
use watchkeeper::notify::words::Language;

fn options(host: String, port: u16) -> Options {
    Options {
        host,
        port,
        security: Security::None,
        login: None,
        ca_file: None,
        timeout_ms: 5_000,
        from: "Watchkeeper <watch@example.com>".to_owned(),
        to: vec!["ops@example.com".to_owned()],
        language: Language::En,
    }
}

fn at(fake: &FakeSmtp) -> Options {
    options(fake.host(), fake.port())
}

fn two(fake: &FakeSmtp) -> Email {
    let to = vec!["one@example.com".to_owned(), "two@example.com".to_owned()];
    Email::new(&Options { to, ..at(fake) }).unwrap()
}

fn recipients(fake: &FakeSmtp) -> Vec<String> {
    let mut all: Vec<String> = fake.mails().into_iter().flat_map(|mail| mail.to).collect();
    all.sort();
    all
}

fn subjects(fake: &FakeSmtp) -> Vec<String> {
    fake.mails().iter().filter_map(|mail| mail.header("Subject")).collect()
}

#[tokio::test]
async fn every_event_is_one_wellformed_mail() {
    let fake = FakeSmtp::start().await;
    let email = Email::new(&at(&fake)).unwrap();
    for event in EVENTS {
        for message in [message(event), huge(event)] {
            assert_eq!(send(&email, &message).await, Ok(Sent { note: None }));
            let mail = fake.mails().pop().unwrap();
            assert_eq!(mail.from, "watch@example.com");
            assert_eq!(mail.to, ["ops@example.com"]);
            let id = format!("<{}@example.com>", message.id);
            assert_eq!(mail.header("Message-ID"), Some(id));
            let thread = format!("<incident-{}@example.com>", message.incident_id.unwrap());
            assert_eq!(mail.header("References"), Some(thread));
        }
    }
    assert_eq!(fake.violations(), [""; 0]);
    assert_eq!(fake.mails().len(), 2 * EVENTS.len());
}

#[tokio::test]
async fn a_temporary_refusal_is_retried_as_fresh() {
    let faults = [SmtpFault::Busy, SmtpFault::TemporaryAtRecipient, SmtpFault::TemporaryAtData];
    for fault in faults {
        let fake = FakeSmtp::start().await;
        fake.fail_next([fault]);
        let email = Email::new(&at(&fake)).unwrap();
        let message = Message { title: "t".to_owned(), ..message(Event::Note) };
        let (after_ms, why) = retried(send(&email, &message).await);
        assert_eq!(after_ms, None);
        assert!(why.contains("transient error (4"), "{why}");
        email.send(&message, SECOND).await.unwrap();
        assert_eq!(subjects(&fake), ["[Note] t"]);
    }
}

#[tokio::test]
async fn a_permanent_refusal_names_the_recipient_and_the_remedy() {
    let cases = [
        (SmtpFault::PermanentAtRecipient, "Check the address, and that the server relays for us"),
        (SmtpFault::PermanentAtData, "The server's own log says more"),
    ];
    for (fault, mend) in cases {
        let fake = FakeSmtp::start().await;
        fake.fail_next([fault]);
        let email = Email::new(&at(&fake)).unwrap();
        let why = refused(send(&email, &message(Event::Note)).await);
        assert!(why.starts_with(&format!("no mail to ops@example.com. {mend}. mail ")), "{why}");
    }
}

#[tokio::test]
async fn one_bad_recipient_keeps_nobody_else_in_the_dark() {
    let fake = FakeSmtp::start().await;
    fake.fail_next([SmtpFault::PermanentAtRecipient]);
    let sent = send(&two(&fake), &message(Event::Note)).await.unwrap();
    assert_eq!(recipients(&fake).len(), 1);
    assert!(sent.note.is_some_and(|note| note.contains("no such user")));
}

#[tokio::test]
async fn a_retry_goes_only_to_those_who_have_nothing_yet() {
    let fake = FakeSmtp::start().await;
    fake.fail_next([SmtpFault::TemporaryAtRecipient]);
    let email = two(&fake);
    let message = message(Event::Note);
    retried(send(&email, &message).await);
    assert_eq!(recipients(&fake).len(), 1);
    assert_eq!(email.send(&message, SECOND).await, Ok(Sent { note: None }));
    assert_eq!(recipients(&fake), ["one@example.com", "two@example.com"]);
}

#[tokio::test]
async fn a_lost_answer_marks_the_repeat_and_keeps_its_id() {
    let fake = FakeSmtp::start().await;
    fake.fail_next([SmtpFault::CutOffAfterData]);
    let email = Email::new(&at(&fake)).unwrap();
    let message = Message { title: "t".to_owned(), ..message(Event::Note) };
    retried(send(&email, &message).await);
    email.send(&message, SECOND).await.unwrap();
    let marked = "[Note] (May be a repeat: an earlier delivery was interrupted) t";
    assert_eq!(subjects(&fake), ["[Note] t", marked]);
    let mails = fake.mails();
    assert_eq!(mails[0].header("Message-ID"), mails[1].header("Message-ID"));
}

#[tokio::test]
async fn nobody_listening_and_a_silent_server_are_retried() {
    let silent = silent().await;
    let host = silent.addr.ip().to_string();
    let slow = Options { timeout_ms: 200, ..options(host, silent.addr.port()) };
    let nowhere = options("127.0.0.1".to_owned(), 1);
    for (options, said) in [(slow, "timed out|within 200 ms"), (nowhere, "Connection error")] {
        let email = Email::new(&options).unwrap();
        let (after_ms, why) = retried(send(&email, &message(Event::Note)).await);
        assert_eq!(after_ms, None);
        assert!(said.split('|').any(|said| why.contains(said)), "{why}");
    }
}

#[tokio::test]
async fn a_server_without_the_configured_protection_or_login_gets_no_mail() {
    let fake = FakeSmtp::start().await;
    let starttls = Options { security: Security::Starttls, ..at(&fake) };
    let login = Some(Login { user: "watch".to_owned(), password: "hunter2-secret".into() });
    for options in [starttls, Options { login, ..at(&fake) }] {
        let email = Email::new(&options).unwrap();
        let why = refused(send(&email, &message(Event::Note)).await);
        assert!(why.ends_with("Check security and login"), "{why}");
        assert!(!why.contains("hunter2"), "{why}");
    }
    let tls = Email::new(&Options { security: Security::Tls, ..at(&fake) }).unwrap();
    retried(send(&tls, &message(Event::Note)).await);
    assert_eq!(fake.mails(), []);
}

/// A server that refuses every login and repeats what it was given.
async fn refusing_logins() -> Server {
    Server::start(|listener| async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (read, mut write) = socket.into_split();
            let mut lines = BufReader::new(read).lines();
            let mut answer = "220 fake ESMTP".to_owned();
            loop {
                write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
                answer = match lines.next_line().await {
                    Ok(Some(line)) if line.starts_with("EHLO") => {
                        "250-fake\r\n250 AUTH PLAIN".to_owned()
                    }
                    Ok(Some(line)) => format!("535 5.7.8 wrong: {line} hunter2-secret"),
                    Ok(None) | Err(_) => break,
                };
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_login_is_told_without_the_login() {
    let server = refusing_logins().await;
    let login = Some(Login { user: "watch".to_owned(), password: "hunter2-secret".into() });
    let at = options(server.addr.ip().to_string(), server.addr.port());
    let email = Email::new(&Options { login, ..at }).unwrap();
    let why = refused(send(&email, &message(Event::Note)).await);
    let expected = format!(
        "no mail to ops@example.com. Check user, password and security. mail server {}: permanent \
         error (535): 5.7.8 wrong: AUTH PLAIN [redacted] [redacted]",
        server.addr
    );
    assert_eq!(why, expected);
}

#[tokio::test]
async fn a_mail_given_up_on_its_way_is_in_doubt() {
    let fake = FakeSmtp::start().await;
    let email = Email::new(&at(&fake)).unwrap();
    let message = Message { title: "t".to_owned(), ..message(Event::Note) };
    let mut sending = email.send(&message, FIRST);
    assert!(futures::poll!(&mut sending).is_pending());
    drop(sending);
    email.send(&message, SECOND).await.unwrap();
    let marked = "[Note] (May be a repeat: an earlier delivery was interrupted) t";
    assert_eq!(subjects(&fake), [marked]);
}
