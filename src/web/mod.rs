//! HTTP: webhooks in, people's console and decisions, the API, health and metrics.
//!
//! In: requests. Out: answers that name the reason and an id; the cause stays in the log.
//! Never: a decision by GET; a listener beyond loopback without credentials; text of others
//! unescaped. To add a route, add its line in `routes.rs` and its entry in `openapi.rs`.

mod actions;
mod alerts;
mod bodies;
mod chrome;
mod confirm;
mod connections;
mod console;
mod describe;
mod digests;
mod error;
mod export;
mod forms;
mod halt;
mod health;
mod holds;
mod incidents;
mod metrics;
mod openapi;
mod orders;
mod outer;
mod peer;
mod policy;
mod report;
mod routes;
mod server;
mod session;
mod sign_in;
mod system;
mod tls;
mod visible;
mod visitor;
mod webhook;

pub use policy::PolicyDoor;
pub use routes::ROUTES;
pub use visible::visible;

use crate::approval::People;
use crate::approval::attempts::Attempts;
use crate::clock::Clock;
use crate::config::Settings;
use crate::ingest::Ingest;
use crate::model::alert::Labels;
use crate::model::entity::Located;
use crate::model::orders::FileHalt;
use crate::redact::Redactor;
use crate::store::Store;
use crate::tasks::Tasks;
use error::Error;
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// What the routes need besides the settings; handed over once it is there.
pub struct Deps {
    pub store: Store,
    pub clock: Clock,
    pub ingest: Ingest,
    pub redactor: Redactor,
    /// Fires when an incident's next step is due, so that a decision need not wait for a poll.
    pub due: Arc<Notify>,
    pub locate: Locator,
    /// The policy in force.
    pub policy: Arc<dyn PolicyDoor>,
    pub halt_file: HaltFileLook,
    pub trouble: TroubleLook,
    /// Metrics of the process; those about the store are read at each scrape.
    pub metrics: Option<PrometheusHandle>,
}

/// The halt file of this process, if it is there now.
pub type HaltFileLook = Arc<dyn Fn() -> Option<FileHalt> + Send + Sync>;

/// What keeps this process from its work, in words that anybody may read.
pub type TroubleLook = Arc<dyn Fn() -> Option<&'static str> + Send + Sync>;

/// Finds the targets that the labels of alerts name, for the report.
pub type Locator = Arc<dyn Fn(&[&Labels]) -> Located + Send + Sync>;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}")]
    Refused(String),
    #[error("cannot listen on {address}: {cause}. `listen` names another address")]
    Listen { address: String, cause: std::io::Error },
    #[error("{0}")]
    Tls(String),
}

/// A server that listens. It answers `/healthz` at once and everything else after
/// [`Serving::ready`].
pub struct Serving {
    pub address: SocketAddr,
    web: Web,
}

impl Serving {
    /// Opens all routes. Only the first call counts.
    pub fn ready(&self, deps: Deps) {
        let _ = self.web.0.deps.set(deps);
    }
}

/// What every handler shares.
#[derive(Clone)]
struct Web(Arc<Shared>);

struct Shared {
    settings: Settings,
    people: People,
    deps: OnceLock<Deps>,
    attempts: Attempts,
    bodies: Semaphore,
    /// When the log was last told of a refused webhook.
    refusal_told: Mutex<Option<Instant>>,
    stopping: CancellationToken,
}

impl Web {
    fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn people(&self) -> &People {
        &self.0.people
    }

    fn scope(&self) -> &str {
        &self.0.settings.scope
    }

    /// What the routes need, once the process has started and until it stops.
    fn deps(&self) -> Result<&Deps, Error> {
        self.0.deps.get().ok_or_else(|| Error::Unavailable("still starting".into()))
    }
}

/// Listens and serves until [`Tasks::stopping`].
///
/// # Errors
/// The address is not free, TLS files are unfit, or strangers could reach an open server.
pub async fn serve(
    settings: &Settings,
    people: People,
    tasks: &Tasks,
) -> Result<Serving, ServeError> {
    may_listen(settings, &people).map_err(ServeError::Refused)?;
    let tls = tls::Tls::load(&settings.http).map_err(ServeError::Tls)?;
    let listen = |cause| ServeError::Listen { address: settings.listen.clone(), cause };
    let listener = tokio::net::TcpListener::bind(&settings.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let web = Web(Arc::new(Shared {
        settings: settings.clone(),
        people,
        deps: OnceLock::new(),
        attempts: Attempts::default(),
        bodies: Semaphore::new(bodies::KIB_AT_ONCE),
        refusal_told: Mutex::new(None),
        stopping: tasks.stopping(),
    }));
    let server = server::Server::new(&settings.http, tls, routes::router(web.clone()));
    tasks.spawn(server.run(listener, tasks.clone()));
    Ok(Serving { address, web })
}

/// Whether it is safe to listen where the settings say.
///
/// # Errors
/// Other machines could connect and nobody would have to prove who they are.
pub fn may_listen(settings: &Settings, people: &People) -> Result<(), String> {
    if !settings.listens_beyond_loopback() || !people.is_nobody() {
        return Ok(());
    }
    Err(format!(
        "refusing to listen on {}: other machines can connect and {} holds no credentials. Add \
         some with `watchkeeper user add` and `watchkeeper token create`, or listen on 127.0.0.1",
        settings.listen,
        settings.access_file.display()
    ))
}
