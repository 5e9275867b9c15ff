//! The task that owns SQLite's only write connection.
//!
//! In: acknowledgements and jobs. Out: their answers, sent after the commit that holds them.
//! Whatever waits is put into one transaction, so that many writes share one sync; each job has a
//! savepoint, so that one failure does not touch the others. Acknowledgements come first: a
//! transaction takes jobs until the next ones wait, every other one that holds a few of them takes none,
//! and under a flood jobs get a share of the time.
//! Each statement is a message to another thread and back, which costs more than most statements
//! do; so there are as few as possible.

use super::db::Conn;
use super::{Error, deliveries};
use crate::crash::{self, Point};
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Acknowledgements share one sync up to this many; more would let early ones wait too long.
const ACKS_MAX: usize = 512;
/// Jobs share one sync for so long.
const JOBS_WITHIN: Duration = Duration::from_millis(5);
/// So many acknowledgements at once say that the disk, not the senders, sets the pace.
const FLOOD: usize = 8;
/// In a flood jobs get one part of the time in so many: what is stored is safe, what is refused
/// may be lost; but investigations go on.
const PARTS: u32 = 4;

/// What waits for the writer.
pub(super) struct Queues {
    pub acks: mpsc::Receiver<deliveries::Ack>,
    pub jobs: mpsc::Receiver<Box<dyn Job>>,
}

/// A unit of work and the way to answer whoever waits for it.
pub(super) trait Job: Send {
    /// Sends `opening`, then works inside the transaction.
    fn run<'c>(
        self: Box<Self>,
        conn: &'c mut Conn<'_>,
        opening: Opening,
    ) -> BoxFuture<'c, Finished>;
}

/// The statements that a job begins with: they open the transaction, or end the job before, and set
/// the savepoint. Empty where there is nothing to open.
pub(super) type Opening = &'static str;

/// Sends the opening by itself, for work that does not put it before its own first statement.
pub(super) async fn open(conn: &mut Conn<'_>, opening: Opening) -> Result<(), Error> {
    if let Conn::Lite(connection) = conn
        && !opening.is_empty()
    {
        connection.execute(opening).await?;
    }
    Ok(())
}

/// A job that ran inside the open transaction.
pub(super) struct Finished {
    worked: bool,
    answer: Answer,
}

type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;

struct Work<T, F> {
    work: F,
    send: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Job for Work<T, F>
where
    T: Send + 'static,
    F: for<'c, 'd> FnOnce(&'c mut Conn<'d>, Opening) -> BoxFuture<'c, Result<T, Error>>
        + Send
        + 'static,
{
    fn run<'c>(
        self: Box<Self>,
        conn: &'c mut Conn<'_>,
        opening: Opening,
    ) -> BoxFuture<'c, Finished> {
        let Self { work, send } = *self;
        let work = work(conn, opening);
        Box::pin(async move {
            let result = work.await;
            Finished {
                worked: result.is_ok(),
                answer: Box::new(move |committed| {
                    // A caller that went away does not change what was committed.
                    let _ = send.send(committed.and(result));
                }),
            }
        })
    }
}

/// Wraps typed work into a job and the channel for its answer.
pub(super) fn job<T, F>(work: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T, Error>>)
where
    T: Send + 'static,
    F: for<'c, 'd> FnOnce(&'c mut Conn<'d>, Opening) -> BoxFuture<'c, Result<T, Error>>
        + Send
        + 'static,
{
    let (send, receive) = oneshot::channel();
    (Box::new(Work { work, send }), receive)
}

/// Runs until told to stop and everything that waits is answered.
pub(super) async fn run(
    mut connection: SqliteConnection,
    mut queues: Queues,
    stop: CancellationToken,
) {
    let mut acks = Vec::with_capacity(ACKS_MAX);
    let (mut acks_open, mut jobs_open) = (true, true);
    let mut jobs_from = Instant::now();
    // Whether the acknowledgements before went without jobs.
    let mut spared = false;
    while acks_open || jobs_open {
        let mut job = None;
        tokio::select! {
            biased;
            // First, because a queue that never runs empty would otherwise hide the order to stop.
            () = stop.cancelled(), if !queues.acks.is_closed() => {
                // Writers that are already waiting still get their answer.
                queues.acks.close();
                queues.jobs.close();
                jobs_from = Instant::now();
                continue;
            }
            taken = queues.acks.recv_many(&mut acks, ACKS_MAX), if acks_open => {
                acks_open = taken > 0;
            }
            taken = due(&mut queues.jobs, jobs_from), if jobs_open => {
                jobs_open = taken.is_some();
                job = taken;
            }
        }
        if acks.is_empty() && job.is_none() {
            continue;
        }
        let flood = acks.len() >= FLOOD;
        if acks.is_empty() {
            spared = false;
        } else if Instant::now() >= jobs_from {
            // A few do not wait for a job, but every other time: jobs get their turn when none wait,
            // and there may always be a few.
            spared = !flood && !spared;
            if !spared {
                job = queues.jobs.try_recv().ok();
            }
        }
        let worked = commit(&mut connection, std::mem::take(&mut acks), job, &mut queues).await;
        jobs_from = Instant::now();
        if flood || queues.acks.len() >= FLOOD {
            jobs_from += worked * (PARTS - 1);
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "cannot close the database");
    }
}

/// The next job, not before its time.
async fn due(jobs: &mut mpsc::Receiver<Box<dyn Job>>, from: Instant) -> Option<Box<dyn Job>> {
    if from > Instant::now() {
        tokio::time::sleep_until(from.into()).await;
    }
    jobs.recv().await
}

/// Commits the acknowledgements, and jobs as long as there is time; returns how long those took.
async fn commit(
    connection: &mut SqliteConnection,
    acks: Vec<deliveries::Ack>,
    job: Option<Box<dyn Job>>,
    queues: &mut Queues,
) -> Duration {
    let mut finished = Vec::new();
    let mut worked = Duration::ZERO;
    let result = async {
        let mut bounds = &ALONE;
        let mut refused = BTreeMap::new();
        if !acks.is_empty() {
            bounds = &AMONG_OTHERS;
            refused = begin(connection, &acks).await?;
        }
        let began = Instant::now();
        let ran = run_jobs(connection, bounds, job, queues, &mut finished).await;
        worked = began.elapsed();
        ran?;
        crash::at(Point::BeforeStored);
        connection.execute("commit").await?;
        crash::at(Point::AfterStored);
        Ok::<_, Error>(refused)
    }
    .await;
    if let Err(error) = &result {
        tracing::error!(%error, writes = acks.len() + finished.len(), "cannot commit");
        // SQLite has already rolled back by itself after some errors, a full disk among them.
        let _ = connection.execute("rollback").await;
    }
    let (mut refused, failed) = match result {
        Ok(refused) => (refused, None),
        Err(error) => (BTreeMap::new(), Some(error.to_string())),
    };
    let told = || failed.clone().map_or(Ok(()), |why| Err(Error::Unavailable(why)));
    for (i, ack) in acks.into_iter().enumerate() {
        let _ = ack.done.send(refused.remove(&i).map_or_else(told, Err));
    }
    for answer in finished {
        answer(told());
    }
    worked
}

/// Opens the transaction with the acknowledgements; returns which were refused, by place.
async fn begin(
    connection: &mut SqliteConnection,
    acks: &[deliveries::Ack],
) -> Result<BTreeMap<usize, Error>, Error> {
    connection.execute("begin immediate").await?;
    let mut refused = BTreeMap::new();
    match deliveries::insert_many(&mut Conn::Lite(connection), acks).await {
        Ok(()) => return Ok(refused),
        Err(Error::Conflict(_)) => {}
        Err(error) => return Err(error),
    }
    // One row that cannot be stored must not take the others with it.
    connection.execute("rollback; begin immediate").await?;
    for (i, ack) in acks.iter().enumerate() {
        let one = std::slice::from_ref(ack);
        match deliveries::insert_many(&mut Conn::Lite(connection), one).await {
            Ok(()) => {}
            Err(error @ Error::Conflict(_)) => {
                refused.insert(i, error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

/// What comes before a job, and after one that is followed by another.
struct Bounds {
    opening: Opening,
    after_success: Opening,
    after_failure: Opening,
    undo: &'static str,
}

/// The first job of a transaction needs no savepoint: nothing is lost with it.
const ALONE: Bounds = Bounds {
    opening: "begin immediate",
    after_success: "savepoint job",
    after_failure: "rollback; begin immediate; savepoint job",
    undo: "rollback; begin immediate",
};

const AMONG_OTHERS: Bounds = Bounds {
    opening: "savepoint job",
    after_success: "release job; savepoint job",
    after_failure: "rollback to job; release job; savepoint job",
    undo: "rollback to job",
};

/// Runs jobs until none is left, time is up, or acknowledgements wait. A job that is taken up is
/// answered, whatever happens to the transaction.
async fn run_jobs(
    connection: &mut SqliteConnection,
    mut bounds: &Bounds,
    first: Option<Box<dyn Job>>,
    queues: &mut Queues,
    finished: &mut Vec<Answer>,
) -> Result<(), Error> {
    let mut opening = bounds.opening;
    let began = Instant::now();
    let mut next = first;
    while let Some(job) = next {
        let mut conn = Conn::Lite(connection);
        let ran = AssertUnwindSafe(job.run(&mut conn, opening)).catch_unwind().await;
        let worked = match ran {
            Ok(ran) => {
                finished.push(ran.answer);
                ran.worked
            }
            // Its caller is told by the loss of the channel; everybody else's writes go on.
            Err(_) => false,
        };
        // After an opening that failed there is nothing to undo, so that this fails, too.
        opening = if worked { bounds.after_success } else { bounds.after_failure };
        let time_is_up = !queues.acks.is_empty() || began.elapsed() >= JOBS_WITHIN;
        next = if time_is_up { None } else { queues.jobs.try_recv().ok() };
        if next.is_none() && !worked {
            // The commit takes what lies below an open savepoint, too.
            connection.execute(bounds.undo).await?;
        }
        bounds = &AMONG_OTHERS;
    }
    Ok(())
}
