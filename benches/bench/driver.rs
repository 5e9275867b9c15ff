//! The load: keep-alive connections that post webhooks and time the answers.
//!
//! Closed loop: each connection sends its next request when it has its answer; this finds the most
//! that a server can do. Open loop: requests have due times and latency counts from them, so that a
//! server that stalls cannot hide the requests that it kept from being sent.

use super::alerts::Bodies;
use anyhow::{Result, bail};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};

/// Group numbers are never used twice in one run, whoever sends them.
static NEXT_GROUP: AtomicU64 = AtomicU64::new(1);

/// What came of a load.
#[derive(Default)]
pub struct Outcome {
    /// Microseconds of each 2xx answer, sorted.
    pub latencies_us: Vec<u64>,
    pub refused: u64,
    pub seconds: f64,
    /// Groups that were answered 2xx.
    pub acknowledged: Vec<u64>,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        self.latencies_us.len() as f64 / self.seconds
    }

    /// Milliseconds below which this share of the answers came.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        let last = self.latencies_us.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies_us.get(at).map_or(f64::NAN, |us| *us as f64 / 1000.0)
    }
}

/// As much as the connections can get through.
pub fn closed(
    address: SocketAddr,
    bodies: &Bodies,
    connections: usize,
    during: Duration,
) -> Outcome {
    alone(async {
        let began = Instant::now();
        let tasks = (0..connections).map(|_| {
            let bodies = bodies.clone();
            tokio::task::spawn_local(async move {
                let mut seen = Outcome::default();
                let Ok(mut connection) = Connection::open(address).await else { return seen };
                while began.elapsed() < during {
                    let group = NEXT_GROUP.fetch_add(1, Ordering::Relaxed);
                    let sent = Instant::now();
                    let answered = connection.post(&bodies, group).await;
                    seen.note(group, sent, answered);
                }
                seen
            })
        });
        gather(tasks.collect(), began).await
    })
}

/// Groups that nobody has sent yet.
pub fn fresh(count: u64) -> Vec<u64> {
    let first = NEXT_GROUP.fetch_add(count, Ordering::Relaxed);
    (first..first + count).collect()
}

/// A fixed number of requests a second, each with a group of its own.
pub fn open(address: SocketAddr, bodies: &Bodies, per_second: f64, requests: u64) -> Outcome {
    open_with(address, bodies, per_second, fresh(requests))
}

/// These groups, so many a second.
pub fn open_with(
    address: SocketAddr,
    bodies: &Bodies,
    per_second: f64,
    groups: Vec<u64>,
) -> Outcome {
    const CONNECTIONS: f64 = 128.0;
    // A tenth of a second behind still needs no more.
    let connections = per_second.clamp(8.0, CONNECTIONS) as usize;
    alone(async {
        let (send, due) = mpsc::unbounded_channel();
        let due = Arc::new(Mutex::new(due));
        let began = Instant::now();
        // A thread of its own, because the runtime's timers are a millisecond coarse.
        std::thread::spawn(move || {
            for (i, group) in groups.into_iter().enumerate() {
                let at = began + Duration::from_secs_f64(i as f64 / per_second);
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                if send.send((at, group)).is_err() {
                    return;
                }
            }
        });
        let tasks = (0..connections).map(|_| {
            let (bodies, due) = (bodies.clone(), Arc::clone(&due));
            tokio::task::spawn_local(async move {
                let mut seen = Outcome::default();
                let Ok(mut connection) = Connection::open(address).await else { return seen };
                loop {
                    let Some((at, group)) = due.lock().await.recv().await else { return seen };
                    let answered = connection.post(&bodies, group).await;
                    seen.note(group, at, answered);
                }
            })
        });
        gather(tasks.collect(), began).await
    })
}

/// One webhook.
pub fn post_once(address: SocketAddr, bodies: &Bodies) -> Result<()> {
    alone(async {
        let group = NEXT_GROUP.fetch_add(1, Ordering::Relaxed);
        let status = Connection::open(address).await?.post(bodies, group).await?;
        if status == 200 { Ok(()) } else { bail!("answered {status}") }
    })
}

/// One page, e.g. `/metrics`.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    alone(async {
        let mut connection = Connection::open(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        connection.stream.write_all(request.as_bytes()).await?;
        let status = connection.answer().await?;
        Ok((status, String::from_utf8_lossy(&connection.body).into_owned()))
    })
}

impl Outcome {
    fn note(&mut self, group: u64, since: Instant, answered: Result<u16>) {
        match answered {
            Ok(200..=299) => {
                let us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.latencies_us.push(us);
                self.acknowledged.push(group);
            }
            Ok(_) | Err(_) => self.refused += 1,
        }
    }
}

async fn gather(tasks: Vec<tokio::task::JoinHandle<Outcome>>, began: Instant) -> Outcome {
    let mut all = Outcome::default();
    for task in tasks {
        let seen = task.await.unwrap_or_default();
        all.latencies_us.extend(seen.latencies_us);
        all.acknowledged.extend(seen.acknowledged);
        all.refused += seen.refused;
    }
    all.seconds = began.elapsed().as_secs_f64();
    all.latencies_us.sort_unstable();
    all
}

/// One thread drives all connections, which leaves the most of the machine to the server.
fn alone<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime.unwrap(), work)
        });
        thread.join().unwrap()
    })
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Vec::new(), head: Vec::new(), body: Vec::new() })
    }

    async fn post(&mut self, bodies: &Bodies, group: u64) -> Result<u16> {
        bodies.write(group, &mut self.request);
        self.stream.write_all(&self.request).await?;
        self.answer().await
    }

    /// Reads one answer whole.
    async fn answer(&mut self) -> Result<u16> {
        self.head.clear();
        let end = loop {
            let searched = self.head.len().saturating_sub(3);
            if self.stream.read_buf(&mut self.head).await? == 0 {
                bail!("the connection closed");
            }
            if let Some(at) = self.head[searched..].windows(4).position(|four| four == b"\r\n\r\n")
            {
                break searched + at + 4;
            }
        };
        self.body = self.head.split_off(end);
        let head = std::str::from_utf8(&self.head)?;
        let status = head.get(9..12).unwrap_or_default().parse()?;
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
        while self.body.len() < length {
            if self.stream.read_buf(&mut self.body).await? == 0 {
                bail!("the answer broke off");
            }
        }
        Ok(status)
    }
}
