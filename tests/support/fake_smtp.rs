//! A small SMTP server (RFC 5321) that keeps the messages it takes.
//!
//! Without TLS or authentication. A command out of order, a bare line feed, a line beyond 998 bytes
//! or a message without its headers is a violation.

use std::collections::VecDeque;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::{Server, Shared};

/// One message taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    /// Headers and body, dots unstuffed, lines ended by `\r\n`.
    pub data: String,
}

impl Mail {
    /// The unfolded value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.data.split("\r\n\r\n").next()?.replace("\r\n ", " ");
        let head = head.replace("\r\n\t", " ");
        head.split("\r\n").find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// Where a failure strikes the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpFault {
    /// 421 in place of the greeting.
    Busy,
    /// 451 to a recipient: try again later.
    TemporaryAtRecipient,
    /// 550 to a recipient: never.
    PermanentAtRecipient,
    /// 452 after the data.
    TemporaryAtData,
    /// 554 after the data.
    PermanentAtData,
    /// The connection closes after the data was taken, before the answer: the sender cannot know.
    CutOffAfterData,
}

struct Inner {
    mails: Vec<Mail>,
    faults: VecDeque<SmtpFault>,
    connections: usize,
    violations: Vec<String>,
}

impl Inner {
    /// Takes the next fault if it is one of these.
    fn strike(&mut self, kinds: &[SmtpFault]) -> Option<SmtpFault> {
        let next = self.faults.front().copied().filter(|fault| kinds.contains(fault))?;
        self.faults.pop_front();
        Some(next)
    }
}

pub struct FakeSmtp {
    server: Server,
    inner: Shared<Inner>,
}

impl FakeSmtp {
    pub async fn start() -> Self {
        let inner = Shared::new(Inner {
            mails: vec![],
            faults: VecDeque::new(),
            connections: 0,
            violations: vec![],
        });
        let shared = inner.clone();
        Self { server: Server::start(|listener| listen(listener, shared)).await, inner }
    }

    pub fn host(&self) -> String {
        self.server.addr.ip().to_string()
    }

    pub fn port(&self) -> u16 {
        self.server.addr.port()
    }

    pub fn fail_next(&self, faults: impl IntoIterator<Item = SmtpFault>) {
        self.inner.lock().faults.extend(faults);
    }

    pub fn mails(&self) -> Vec<Mail> {
        self.inner.lock().mails.clone()
    }

    pub fn connections(&self) -> usize {
        self.inner.lock().connections
    }

    pub fn violations(&self) -> Vec<String> {
        self.inner.lock().violations.clone()
    }
}

async fn listen(listener: TcpListener, inner: Shared<Inner>) {
    let mut sessions = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        inner.lock().connections += 1;
        let (read, write) = socket.into_split();
        let session = Session { read: BufReader::new(read), write, inner: inner.clone() };
        // A client that goes away ends its session; that is its right.
        sessions.spawn(async move { session.run().await.ok() });
    }
}

struct Session {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    inner: Shared<Inner>,
}

impl Session {
    async fn run(mut self) -> std::io::Result<()> {
        let busy = self.inner.lock().strike(&[SmtpFault::Busy]);
        if busy.is_some() {
            return self.say("421 4.3.2 too busy").await;
        }
        self.say("220 fake ESMTP").await?;
        let (mut greeted, mut from, mut to) = (false, None, Vec::new());
        while let Some(line) = self.line().await? {
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" | "HELO" => {
                    greeted = true;
                    self.say("250-fake\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 10485760")
                        .await?;
                }
                "MAIL" if greeted && from.is_none() => {
                    from = Some(self.path(rest, "FROM:"));
                    self.say("250 2.1.0 ok").await?;
                }
                "RCPT" if from.is_some() => {
                    let kinds = [SmtpFault::TemporaryAtRecipient, SmtpFault::PermanentAtRecipient];
                    let fault = self.inner.lock().strike(&kinds);
                    match fault {
                        Some(SmtpFault::TemporaryAtRecipient) => {
                            self.say("451 4.7.1 greylisted").await?;
                        }
                        Some(_) => self.say("550 5.1.1 no such user").await?,
                        None => {
                            to.push(self.path(rest, "TO:"));
                            self.say("250 2.1.5 ok").await?;
                        }
                    }
                }
                "DATA" if !to.is_empty() => {
                    self.say("354 go on").await?;
                    let mail = Mail {
                        from: from.take().unwrap_or_default(),
                        to: std::mem::take(&mut to),
                        data: self.data().await?,
                    };
                    if !self.take(mail).await? {
                        return Ok(());
                    }
                }
                "RSET" => {
                    (from, to) = (None, Vec::new());
                    self.say("250 2.0.0 ok").await?;
                }
                "NOOP" => self.say("250 2.0.0 ok").await?,
                "QUIT" => return self.say("221 2.0.0 bye").await,
                other => {
                    self.broken(format!("{other} is unknown or out of order"));
                    self.say("503 5.5.1 bad sequence").await?;
                }
            }
        }
        Ok(())
    }

    /// Answers the data; false when the connection is to close.
    async fn take(&mut self, mail: Mail) -> std::io::Result<bool> {
        for header in ["From", "To", "Date", "Subject", "Message-ID"] {
            if mail.header(header).is_none_or(|value| value.is_empty()) {
                self.broken(format!("the message has no {header}"));
            }
        }
        let kinds =
            [SmtpFault::TemporaryAtData, SmtpFault::PermanentAtData, SmtpFault::CutOffAfterData];
        let fault = {
            let mut inner = self.inner.lock();
            let fault = inner.strike(&kinds);
            if matches!(fault, None | Some(SmtpFault::CutOffAfterData)) {
                inner.mails.push(mail);
            }
            fault
        };
        match fault {
            None => self.say("250 2.0.0 queued").await?,
            Some(SmtpFault::TemporaryAtData) => self.say("452 4.3.1 disk full").await?,
            Some(SmtpFault::CutOffAfterData) => return Ok(false),
            Some(_) => self.say("554 5.6.0 refused").await?,
        }
        Ok(true)
    }

    async fn data(&mut self) -> std::io::Result<String> {
        let mut data = String::new();
        while let Some(line) = self.line().await? {
            if line == "." {
                break;
            }
            if line.len() > 998 {
                self.broken(format!("a line of {} bytes", line.len()));
            }
            data.push_str(line.strip_prefix('.').unwrap_or(&line));
            data.push_str("\r\n");
        }
        Ok(data)
    }

    async fn line(&mut self) -> std::io::Result<Option<String>> {
        let mut bytes = Vec::new();
        if self.read.read_until(b'\n', &mut bytes).await? == 0 {
            return Ok(None);
        }
        if !bytes.ends_with(b"\r\n") {
            self.broken("a line ended by a bare line feed".to_owned());
        }
        let line = String::from_utf8_lossy(&bytes);
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// The address between `<` and `>`.
    fn path(&self, rest: &str, prefix: &str) -> String {
        let path = rest.get(prefix.len()..).and_then(|path| path.strip_prefix('<'));
        let keyword =
            rest.get(..prefix.len()).is_some_and(|word| word.eq_ignore_ascii_case(prefix));
        match path.and_then(|path| path.split_once('>')) {
            Some((address, _)) if keyword => address.to_owned(),
            _ => {
                self.broken(format!("{rest:?} names no address"));
                String::new()
            }
        }
    }

    async fn say(&mut self, line: &str) -> std::io::Result<()> {
        self.write.write_all(format!("{line}\r\n").as_bytes()).await
    }

    fn broken(&self, rule: String) {
        self.inner.lock().violations.push(rule);
    }
}
