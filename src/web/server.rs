//! The accept loop, with the limits that `axum::serve` does not have.
//!
//! In: a listener and the router. Out: connections, each with a deadline for whatever it is doing.
//! Never: a slow or silent client that holds its place for ever; an answer cut off by shutdown
//! while it is being written.

use super::connections::{Connections, Full, Place};
use super::peer::Peer;
use super::tls::Tls;
use crate::config::{HttpSettings, Network};
use crate::tasks::Tasks;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// Enough for the request line and headers of any honest client.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// What a handler may take beyond the time for its body before the connection is given up.
const HANDLER_WITHIN: Duration = Duration::from_secs(60);
/// After a failed accept, e.g. because no file descriptor is left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// The server is full: Alertmanager sends again after any 5xx.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

pub struct Server(Arc<Shared>);

struct Shared {
    connections: Arc<Connections>,
    trusted: Vec<Network>,
    tls: Option<Tls>,
    router: Router,
    patience: Patience,
}

#[derive(Clone, Copy)]
struct Patience {
    header: Duration,
    idle: Duration,
    busy: Duration,
}

impl Server {
    pub fn new(http: &HttpSettings, tls: Option<Tls>, router: Router) -> Self {
        let patience = Patience {
            header: Duration::from_millis(http.header_timeout_ms),
            idle: Duration::from_millis(http.idle_timeout_ms),
            busy: Duration::from_millis(http.body_timeout_ms) + HANDLER_WITHIN,
        };
        Self(Arc::new(Shared {
            connections: Arc::new(Connections::new(http)),
            trusted: http.trusted_networks(),
            tls,
            router,
            patience,
        }))
    }

    /// Accepts until told to stop; connections end after the request they are in.
    pub async fn run(self, listener: TcpListener, tasks: Tasks) {
        let stop = tasks.stopping();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, address)) => self.take(stream, address, &tasks),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, address: SocketAddr, tasks: &Tasks) {
        match self.0.connections.enter(address.ip()) {
            Ok(place) => {
                let shared = Arc::clone(&self.0);
                tasks.spawn(shared.serve(stream, address.ip(), place, tasks.stopping()));
            }
            Err(full) => {
                let counted = match full {
                    Full::Everywhere => "all",
                    Full::ForThisAddress => "address",
                };
                metrics::counter!("watchkeeper_connections_refused_total", "limit" => counted)
                    .increment(1);
                tracing::debug!(client = %address.ip(), ?full, "refused a connection");
                if self.0.tls.is_none() {
                    let _ = stream.try_write(FULL);
                }
            }
        }
    }
}

impl Shared {
    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        address: IpAddr,
        place: Place,
        stop: CancellationToken,
    ) {
        let _place = place;
        // Answers are small; waiting to fill a packet would add 40 ms to each.
        let _ = stream.set_nodelay(true);
        let began = Instant::now();
        let Some(tls) = &self.tls else {
            return self.speak(stream, address, began, stop).await;
        };
        let shaken =
            tokio::time::timeout(self.patience.header, tls.acceptor().accept(stream)).await;
        match shaken {
            Ok(Ok(stream)) => self.speak(stream, address, began, stop).await,
            Ok(Err(error)) => tracing::debug!(client = %address, %error, "no TLS with a client"),
            Err(_) => tracing::debug!(client = %address, "a client was slow to begin TLS"),
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        address: IpAddr,
        began: Instant,
        stop: CancellationToken,
    ) {
        let doing = Doing(Arc::new(Mutex::new((Phase::Fresh, began))));
        let service = hyper::service::service_fn(|mut request: hyper::Request<Incoming>| {
            doing.enter(Phase::Busy);
            let peer = Peer::of(address, request.headers(), &self.trusted);
            request.extensions_mut().insert(peer);
            let answer = self.router.clone().call(request.map(Body::new));
            let doing = doing.clone();
            async move {
                let answer = answer.await;
                doing.enter(Phase::Idle);
                answer.map_err(|never: Infallible| never)
            }
        });
        let io = TokioIo::new(Watched { stream, doing: doing.clone() });
        let mut http = http1::Builder::new();
        // The deadlines below cover what hyper's own header timeout does, and idle connections.
        http.header_read_timeout(None).max_buf_size(HEADER_BYTES_MAX);
        let mut connection = pin!(http.serve_connection(io, service));
        let mut stopped = false;
        loop {
            // Phases change while this sleeps, so it looks more often than deadlines end.
            let look = Instant::now() + self.patience.header / 4;
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(client = %address, %error, "a connection broke");
                    }
                    break;
                }
                () = stop.cancelled(), if !stopped => {
                    stopped = true;
                    if doing.is_fresh() {
                        break;
                    }
                    connection.as_mut().graceful_shutdown();
                }
                () = tokio::time::sleep_until(look.min(doing.deadline(self.patience))) => {
                    if doing.deadline(self.patience) <= Instant::now() {
                        tracing::debug!(client = %address, "cut a slow or idle connection");
                        break;
                    }
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing has come yet.
    Fresh,
    /// From the first byte of a request to the end of its headers.
    Header,
    /// While the handler works, the body included.
    Busy,
    /// While the answer is written, and until the next request begins.
    Idle,
}

/// What a connection is doing, and since when.
#[derive(Clone)]
struct Doing(Arc<Mutex<(Phase, Instant)>>);

impl Doing {
    fn enter(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (phase, Instant::now());
    }

    fn heard(&self) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match now.0 {
            // The time for the first headers began with the connection.
            Phase::Fresh => now.0 = Phase::Header,
            Phase::Idle => *now = (Phase::Header, Instant::now()),
            Phase::Header | Phase::Busy => {}
        }
    }

    fn is_fresh(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 == Phase::Fresh
    }

    fn deadline(&self, patience: Patience) -> Instant {
        let (phase, since) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since
            + match phase {
                Phase::Fresh | Phase::Header => patience.header,
                Phase::Busy => patience.busy,
                Phase::Idle => patience.idle,
            }
    }
}

/// A stream that notices when the next request begins.
struct Watched<S> {
    stream: S,
    doing: Doing,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        if polled.is_ready() && into.filled().len() > before {
            self.doing.heard();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
