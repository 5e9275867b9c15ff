//! Around sending: the process dies, or the answer is lost after the service took the message. A page
//! is never doubled, a message never lost, and what may be a repeat says so.

use super::{REPEAT, broken_web, heard_once, settled};
use crate::support::drill::Problem;
use crate::support::engines::for_each_engine;
use crate::support::process::{Process, time_passes};
use crate::support::{FakeSmtp, Fault, SmtpFault};
use std::collections::BTreeMap;
use watchkeeper::crash::VARIABLE;

/// Every third send of a process is its last act, before or after the service heard it; and answers
/// get lost besides.
#[tokio::test(flavor = "multi_thread")]
async fn around_every_send_nothing_is_lost_and_no_page_doubled() {
    for_each_engine(|ground| async move {
        let world = broken_web(&ground).await;
        world.make_unrepairable("web");
        let smtp = FakeSmtp::start().await;
        let port = smtp.port().to_string();
        let mail = [
            ("WATCHKEEPER__NOTIFY__EMAIL__HOST", "127.0.0.1"),
            ("WATCHKEEPER__NOTIFY__EMAIL__PORT", port.as_str()),
            ("WATCHKEEPER__NOTIFY__EMAIL__SECURITY", "none"),
            ("WATCHKEEPER__NOTIFY__EMAIL__FROM", "wk@example.org"),
            ("WATCHKEEPER__NOTIFY__EMAIL__TO", "oncall@example.org"),
        ];
        world.slack.fail_next([Fault::TakenUnanswered]);
        world.pagerduty.fail_next([Fault::TakenUnanswered]);
        smtp.fail_next([SmtpFault::CutOffAfterData]);
        let deaths = ["after_send:1", "before_send:2", "after_send:3", "before_send:3"];
        let mut posted = false;
        for death in deaths {
            let variables = [&mail[..], &[(VARIABLE, death)]].concat();
            let mut process = Process::start(&world, &ground, &variables);
            if !posted {
                posted = process.post(&Problem::down().firing()).await == Some(200);
            }
            super::eventually("the process dies or is done", async || {
                process.has_ended() || crate::support::process::is_settled(&ground).await
            })
            .await;
            process.kill().await;
            time_passes(&ground).await;
        }
        let mut last = Process::start(&world, &ground, &mail);
        if !posted {
            assert_eq!(last.post(&Problem::down().firing()).await, Some(200));
        }
        settled(&mut last, &ground).await;
        last.kill().await;

        assert_eq!(world.pagerduty.opened(), 1, "paged once");
        heard_once(&world);
        // Every message that is in the database reached Slack and the mailbox.
        let sql = "select channel, count(*) from message_delivery where state = 'sent'
                   group by channel order by channel";
        let sent: BTreeMap<String, usize> = ground
            .sql(sql)
            .await
            .into_iter()
            .map(|row| (row[0].clone(), row[1].parse().unwrap()))
            .collect();
        let plain = |text: &str| text.replace(REPEAT, "").replace(" ()", "");
        let slack: Vec<String> = world
            .slack
            .messages()
            .iter()
            .map(|message| plain(message["text"].as_str().unwrap()))
            .collect();
        let ids = |list: &[String]| list.iter().cloned().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(ids(&slack).len(), sent["slack"], "{slack:#?}");
        let mails = smtp.mails();
        let mailed: Vec<String> =
            mails.iter().map(|mail| mail.header("message-id").unwrap()).collect();
        assert_eq!(ids(&mailed).len(), sent["email"], "{mailed:#?}");
        let mut seen = Vec::new();
        for mail in &mails {
            let id = mail.header("message-id").unwrap();
            let subject = mail.header("subject").unwrap();
            assert!(!seen.contains(&id) || mail.data.contains("repeat"), "not marked: {subject}");
            seen.push(id);
        }
        assert!(slack.len() > ids(&slack).len(), "no answer was lost");
        assert!(mailed.len() > ids(&mailed).len(), "no answer was lost");
        world.assert_no_violations();
        assert_eq!(smtp.violations(), Vec::<String>::new());
    })
    .await;
}
