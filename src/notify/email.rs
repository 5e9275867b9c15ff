//! E-mail by SMTP.
//!
//! In: a message. Out: one mail to each recipient, so that one bad address keeps nobody else in the
//! dark. Never: a mail server's certificate unchecked, credentials over a readable connection
//! beyond this machine, a second mail to somebody who is known to have got the first.

use super::answer::{one_why, retry};
use super::doubt::{Known, Memory};
use super::words::Language;
use super::{Attempt, Before, Channel, Failure, Repeat, Sent, addressed};
use crate::crash::{self, Point};
use crate::model::message::Message;
use base64::Engine as _;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
use lettre::message::Mailbox;
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};
use std::time::Duration;

mod render;

pub use crate::config::EmailSecurity as Security;
pub use render::render;

/// Mail servers refuse a client that opens many at once.
const CONNECTIONS_MAX: usize = 4;

/// How to reach the mail server, and whom to write to.
#[derive(Clone, Debug)]
pub struct Options {
    pub host: String,
    pub port: u16,
    /// `Starttls` refuses to go on unprotected.
    pub security: Security,
    pub login: Option<Login>,
    /// PEM bundle; when set, only these authorities are trusted.
    pub ca_file: Option<PathBuf>,
    /// For one mail, from connecting to the server's last answer.
    pub timeout_ms: u64,
    /// `Watchkeeper <watchkeeper@example.com>` or the bare address.
    pub from: String,
    pub to: Vec<String>,
    pub language: Language,
}

#[derive(Clone, Debug)]
pub struct Login {
    pub user: String,
    pub password: SecretString,
}

/// The configuration cannot be used; the text says which key and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up e-mail: {0}")]
pub struct SetupError(String);

pub struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    server: String,
    login: Option<Login>,
    timeout: Duration,
    from: Mailbox,
    to: Vec<Mailbox>,
    language: Language,
    memory: Memory,
}

/// What became of the mail to one recipient.
enum Outcome {
    Accepted,
    Later { why: String, known: Known },
    Refused { why: String },
}

impl Email {
    /// # Errors
    /// An address, the CA file or the combination of login and security cannot be used.
    pub fn new(options: &Options) -> Result<Self, SetupError> {
        crate::clients::http::install_tls();
        let to = options.to.iter().map(|to| mailbox("to", to)).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(SetupError("`to` names nobody".to_owned()));
        }
        Ok(Self {
            transport: transport(options)?,
            server: format!("{}:{}", options.host, options.port),
            login: options.login.clone(),
            timeout: Duration::from_millis(options.timeout_ms),
            from: mailbox("from", &options.from)?,
            to,
            language: options.language,
            memory: Memory::default(),
        })
    }

    /// Connects, greets, secures the connection and signs in as before a mail, and sends none.
    ///
    /// # Errors
    /// `Retry`, with what the server or the network said.
    pub async fn reach(&self) -> Result<(), Failure> {
        let tried = tokio::time::timeout(self.timeout, self.transport.test_connection()).await;
        let why = match tried {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => "it closed the connection".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", self.timeout.as_millis()),
        };
        Err(retry(self.tell(&format!("mail server {}: {why}", self.server))))
    }

    async fn deliver(&self, message: &Message, attempt: Attempt) -> Result<Sent, Failure> {
        let mut tries = Vec::with_capacity(self.to.len());
        for to in &self.to {
            tries.push(self.deliver_once(message, to, attempt));
        }
        let outcomes: Vec<_> = stream::iter(tries).buffered(CONNECTIONS_MAX).collect().await;
        let (mut later, mut refused, mut accepted) = (None, None, 0_usize);
        let mut maybe_sent = Repeat::Fresh;
        for outcome in outcomes {
            match outcome {
                Outcome::Accepted => accepted += 1,
                Outcome::Later { why, known } => {
                    later = Some(self.tell(&why));
                    if known == Known::Doubt {
                        maybe_sent = Repeat::AfterCrash;
                    }
                }
                Outcome::Refused { why } => refused = Some(self.tell(&why)),
            }
        }
        if let Some(why) = later {
            // Another process does not know which recipients have it.
            if accepted > 0 {
                maybe_sent = Repeat::AfterCrash;
            }
            return Err(Failure::Retry { after_ms: None, why, maybe_sent });
        }
        self.memory.forget(message.id);
        match (accepted, refused) {
            (0, why) => Err(Failure::Permanent { why: why.unwrap_or_default() }),
            (_, note) => Ok(Sent { note }),
        }
    }

    /// Delivers to one recipient, unless that is done, and remembers what came of it.
    async fn deliver_once(&self, message: &Message, to: &Mailbox, attempt: Attempt) -> Outcome {
        let address: &str = to.email.as_ref();
        let before = self.memory.of(message.id, address);
        if before == Known::Accepted {
            return Outcome::Accepted;
        }
        let repeat = self.memory.repeat(message.id, address, attempt.maybe_sent);
        // Noted beforehand, as the caller may give up while the mail is on its way.
        self.memory.note(message.id, address, Known::Doubt);
        let outcome = match render(message, repeat, self.language, &self.from, to) {
            Ok(mail) => self.deliver_mail(mail, to).await,
            Err(error) => Outcome::Refused { why: format!("cannot write a mail to {to}: {error}") },
        };
        let known = match &outcome {
            Outcome::Accepted => Known::Accepted,
            Outcome::Later { known: Known::Doubt, .. } => Known::Doubt,
            Outcome::Later { .. } | Outcome::Refused { .. } => before,
        };
        self.memory.note(message.id, address, known);
        outcome
    }

    async fn deliver_mail(&self, mail: lettre::Message, to: &Mailbox) -> Outcome {
        crash::at(Point::BeforeMail);
        let sent = tokio::time::timeout(self.timeout, self.transport.send(mail)).await;
        crash::at(Point::AfterMail);
        match sent {
            Ok(Ok(_)) => Outcome::Accepted,
            Ok(Err(error)) => self.judge(&error, to),
            Err(_) => {
                let (server, ms) = (&self.server, self.timeout.as_millis());
                let why = format!("mail server {server} did not finish within {ms} ms");
                Outcome::Later { why, known: Known::Doubt }
            }
        }
    }

    /// Sorts a failure by what to do. Without an answer of the server it is always tried again.
    fn judge(&self, error: &lettre::transport::smtp::Error, to: &Mailbox) -> Outcome {
        let said = format!("mail server {}: {error}", self.server);
        if error.is_permanent() {
            // RFC 5321, section 4.2.3, and RFC 4954, section 6.
            let mend = match error.status().map(u16::from) {
                Some(530 | 534 | 535 | 538) => "Check user, password and security",
                Some(550..=553) => "Check the address, and that the server relays for us",
                Some(_) | None => "The server's own log says more",
            };
            return Outcome::Refused { why: format!("no mail to {}. {mend}. {said}", to.email) };
        }
        if error.is_client() {
            return Outcome::Refused { why: format!("{said}. Check security and login") };
        }
        // With an answer nothing was taken; before TLS or the greeting nothing was sent.
        let nothing_sent = error.is_transient()
            || error.is_tls()
            || error.to_string().starts_with("Connection error");
        let known = if nothing_sent { Known::Nothing } else { Known::Doubt };
        let mend = if said.contains("certificate") {
            ". Set ca_file to the authority that signed its certificate, and use the name in it"
        } else {
            ""
        };
        Outcome::Later { why: format!("{said}{mend}"), known }
    }

    /// One line without the login, which a server may repeat as it got it.
    fn tell(&self, why: &str) -> String {
        let Some(Login { user, password }) = &self.login else { return one_why(why) };
        let password = password.expose_secret();
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let forms =
            [encode(&format!("\0{user}\0{password}")), encode(password), password.to_owned()];
        let clean = forms
            .iter()
            .filter(|form| !form.is_empty())
            .fold(why.to_owned(), |text, form| text.replace(form, "[redacted]"));
        one_why(&clean)
    }
}

impl Channel for Email {
    fn name(&self) -> &str {
        "email"
    }

    fn wants(&self, message: &Message, _sent_before: Before) -> bool {
        addressed(message, self.name())
    }

    fn send<'a>(
        &'a self,
        message: &'a Message,
        attempt: Attempt,
    ) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(self.deliver(message, attempt))
    }
}

fn mailbox(key: &str, address: &str) -> Result<Mailbox, SetupError> {
    address.trim().parse().map_err(|error| {
        SetupError(format!("`{key}` is not an address: {} ({error})", one_why(address)))
    })
}

fn transport(options: &Options) -> Result<AsyncSmtpTransport<Tokio1Executor>, SetupError> {
    let host = options.host.as_str();
    let here = matches!(host, "localhost" | "127.0.0.1" | "::1");
    if options.security == Security::None && options.login.is_some() && !here {
        return Err(SetupError(
            "a login over a readable connection; set security to tls or starttls".to_owned(),
        ));
    }
    let tls = match options.security {
        Security::Tls => Tls::Wrapper(tls_parameters(options)?),
        Security::Starttls => Tls::Required(tls_parameters(options)?),
        Security::None => Tls::None,
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(options.port)
        .tls(tls)
        .timeout(Some(Duration::from_millis(options.timeout_ms)))
        // Mails are rare, and a connection kept for later is often dead when it is needed.
        .pool_config(PoolConfig::new().max_size(1).idle_timeout(Duration::from_secs(5)));
    if let Some(Login { user, password }) = &options.login {
        let password = password.expose_secret().to_owned();
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    Ok(builder.build())
}

fn tls_parameters(options: &Options) -> Result<TlsParameters, SetupError> {
    let mut builder = TlsParameters::builder(options.host.clone());
    if let Some(file) = &options.ca_file {
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(authority(file)?);
    }
    builder.build().map_err(|error| SetupError(format!("TLS: {error}")))
}

fn authority(file: &Path) -> Result<Certificate, SetupError> {
    let shown = file.display();
    let pem = std::fs::read(file)
        .map_err(|error| SetupError(format!("ca_file {shown} cannot be read: {error}")))?;
    Certificate::from_pem(&pem).map_err(|error| SetupError(format!("ca_file {shown}: {error}")))
}

#[cfg(test)]
mod tests;
