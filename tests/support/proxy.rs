//! A proxy before Postgres that understands enough of the protocol to break a connection in a
//! chosen state of a transaction (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
//!
//! In: a server's address. Out: the address of the proxy, and how often it cut. TLS is not spoken, so
//! addresses carry `sslmode=disable`.

use super::engines::Ground;
use super::{Server, Shared};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use secrecy::ExposeSecret as _;
use std::collections::VecDeque;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use watchkeeper::store::db::Location;

/// Where a transaction is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// `begin` does not reach the server.
    BeforeBegin,
    AfterBegin,
    /// After the answer to the first, second or third statement, by chance.
    AfterStatement,
    /// `commit` does not reach the server.
    BeforeCommit,
    /// The server commits, its answer does not arrive.
    CommitUnanswered,
    /// The answer to `commit` was the last thing to arrive.
    AfterCommit,
}

impl Cut {
    pub const ALL: [Self; 6] = [
        Self::BeforeBegin,
        Self::AfterBegin,
        Self::AfterStatement,
        Self::BeforeCommit,
        Self::CommitUnanswered,
        Self::AfterCommit,
    ];
}

/// What the line does at large.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    Open,
    /// Takes everything and passes nothing on.
    Dead,
    /// Nobody is let through.
    Closed,
}

struct Plan {
    cut: Option<Cut>,
    /// One transaction in so many is cut.
    one_in: u32,
    left: usize,
    made: usize,
    chance: StdRng,
}

pub struct Proxy {
    server: Server,
    plan: Shared<Plan>,
    line: watch::Sender<Line>,
    url: String,
}

impl Proxy {
    /// Stands before the database of this ground.
    pub async fn start(ground: &Ground, seed: u64) -> Self {
        let Location::Postgres { url, .. } = ground.location() else { panic!("not Postgres") };
        let (before, target, after) = parts(url.expose_secret());
        let plan = Shared::new(Plan {
            cut: None,
            one_in: 1,
            left: 0,
            made: 0,
            chance: StdRng::seed_from_u64(seed),
        });
        let (line, lines) = watch::channel(Line::Open);
        let kept = plan.clone();
        let server = Server::start(|listener| accept(listener, target, kept, lines)).await;
        let url = plain(&format!("{before}{}{after}", server.addr));
        Self { server, plan, line, url }
    }

    /// The address of the database through the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Cuts one transaction in `one_in`, until `times` were cut.
    pub fn cut(&self, cut: Cut, one_in: u32, times: usize) {
        let mut plan = self.plan.lock();
        (plan.cut, plan.one_in, plan.left) = (Some(cut), one_in, times);
    }

    /// How many transactions were cut.
    pub fn cuts(&self) -> usize {
        self.plan.lock().made
    }

    /// Nothing passes any more, and no connection is closed.
    pub fn hang(&self) {
        self.line.send_replace(Line::Dead);
    }

    /// Every connection is closed, and each new one, too.
    pub fn close(&self) {
        self.line.send_replace(Line::Closed);
    }

    /// New connections work again; those that hung are closed.
    pub fn open(&self) {
        self.line.send_replace(Line::Open);
    }
}

/// The address of a database, without TLS.
pub fn plain(url: &str) -> String {
    let join = if url.contains('?') { '&' } else { '?' };
    format!("{url}{join}sslmode=disable")
}

/// What stands before the host, the host with its port, and what follows.
fn parts(url: &str) -> (String, String, String) {
    let from = url.rfind('@').map_or(url.find("://").unwrap() + 3, |at| at + 1);
    let to = url[from..].find(['/', '?']).map_or(url.len(), |at| from + at);
    let host = &url[from..to];
    let target = if host.contains(':') { host.to_owned() } else { format!("{host}:5432") };
    (url[..from].to_owned(), target, url[to..].to_owned())
}

async fn accept(
    listener: TcpListener,
    target: String,
    plan: Shared<Plan>,
    lines: watch::Receiver<Line>,
) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if *lines.borrow() == Line::Closed {
            continue;
        }
        let (target, plan, mut lines) = (target.clone(), plan.clone(), lines.clone());
        open.spawn(async move {
            if *lines.borrow() == Line::Open {
                let Ok(server) = TcpStream::connect(&target).await else { return };
                let mut relay = Relay::new(plan);
                let mut run = Box::pin(relay.run(client, server));
                let closed = tokio::select! {
                    _ = &mut run => true,
                    line = lines.wait_for(|line| *line != Line::Open) => {
                        line.is_ok_and(|line| *line == Line::Closed)
                    }
                };
                if !closed {
                    // What is not polled passes nothing on, and holds both ends open.
                    let _ = lines.wait_for(|line| *line != Line::Dead).await;
                }
                return;
            }
            let _held = client;
            let _ = lines.wait_for(|line| *line != Line::Dead).await;
        });
    }
}

/// What the server has been asked and has not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Begin,
    Statement,
    Commit,
    Other,
}

struct Relay {
    plan: Shared<Plan>,
    asked: VecDeque<Asked>,
    in_transaction: bool,
    cut: Option<Cut>,
    /// Statements until the cut.
    statements: usize,
    /// Answers are kept from the client.
    mute: bool,
}

impl Relay {
    fn new(plan: Shared<Plan>) -> Self {
        Self {
            plan,
            asked: VecDeque::new(),
            in_transaction: false,
            cut: None,
            statements: 0,
            mute: false,
        }
    }

    /// Passes everything on until the connection is cut or closed.
    async fn run(&mut self, client: TcpStream, server: TcpStream) -> std::io::Result<()> {
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let mut startup = vec![0; 4];
        from_client.read_exact(&mut startup).await?;
        let length = u32::from_be_bytes(startup[..4].try_into().unwrap()) as usize;
        startup.resize(length, 0);
        from_client.read_exact(&mut startup[4..]).await?;
        to_server.write_all(&startup).await?;
        let (mut asking, mut answering) = (Frames::default(), Frames::default());
        loop {
            tokio::select! {
                read = asking.read(&mut from_client) => {
                    if !read? {
                        return Ok(());
                    }
                    while let Some(frame) = asking.next() {
                        if !self.may_ask(&frame) {
                            return Ok(());
                        }
                        to_server.write_all(&frame).await?;
                    }
                }
                read = answering.read(&mut from_server) => {
                    if !read? {
                        return Ok(());
                    }
                    while let Some(frame) = answering.next() {
                        let ends = self.ends_with(&frame);
                        if !self.mute {
                            to_client.write_all(&frame).await?;
                        }
                        if ends {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// Whether what the client asks is passed on.
    fn may_ask(&mut self, frame: &[u8]) -> bool {
        let text = String::from_utf8_lossy(&frame[5..]).to_ascii_uppercase();
        let asked = match frame[0] {
            b'Q' if text.starts_with("BEGIN") => Asked::Begin,
            b'Q' if text.starts_with("COMMIT") => Asked::Commit,
            b'Q' if text.starts_with("ROLLBACK") => Asked::Other,
            b'Q' | b'S' if self.in_transaction => Asked::Statement,
            b'Q' | b'S' => Asked::Other,
            _ => return true,
        };
        self.asked.push_back(asked);
        match asked {
            Asked::Begin => {
                self.in_transaction = true;
                self.choose();
                self.cut != Some(Cut::BeforeBegin)
            }
            Asked::Commit => {
                self.in_transaction = false;
                self.mute = self.cut == Some(Cut::CommitUnanswered);
                self.cut != Some(Cut::BeforeCommit)
            }
            Asked::Other => {
                self.in_transaction = false;
                true
            }
            Asked::Statement => true,
        }
    }

    /// Whether the connection ends with this answer.
    fn ends_with(&mut self, frame: &[u8]) -> bool {
        if frame[0] != b'Z' {
            return false;
        }
        match (self.asked.pop_front(), self.cut) {
            (Some(Asked::Begin), Some(Cut::AfterBegin)) => true,
            (Some(Asked::Statement), Some(Cut::AfterStatement)) => {
                self.statements -= 1;
                self.statements == 0
            }
            (Some(Asked::Commit), Some(Cut::CommitUnanswered | Cut::AfterCommit)) => true,
            (Some(Asked::Commit), Some(cut)) => {
                // It had fewer statements than were wanted: the next one is cut in its place.
                assert_eq!(cut, Cut::AfterStatement);
                self.cut = None;
                let mut plan = self.plan.lock();
                plan.left += 1;
                plan.made -= 1;
                false
            }
            _ => false,
        }
    }

    fn choose(&mut self) {
        let mut plan = self.plan.lock();
        let one_in = plan.one_in;
        self.cut = plan.cut.filter(|_| plan.left > 0);
        if self.cut.is_some() && plan.chance.random_ratio(1, one_in) {
            plan.left -= 1;
            plan.made += 1;
            self.statements = plan.chance.random_range(1..=3);
        } else {
            self.cut = None;
        }
    }
}

/// Bytes cut into messages: a letter, a length, the rest.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// False at the end. Nothing is lost when this is dropped.
    async fn read(&mut self, from: &mut OwnedReadHalf) -> std::io::Result<bool> {
        Ok(from.read_buf(&mut self.bytes).await? > 0)
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let length = u32::from_be_bytes(self.bytes.get(1..5)?.try_into().unwrap()) as usize;
        (self.bytes.len() > length).then(|| self.bytes.drain(..=length).collect())
    }
}
