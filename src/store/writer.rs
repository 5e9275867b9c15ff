//! The task that owns SQLite's only write connection.
//!
//! In: acknowledgements and jobs. Out: their answers, sent after the commit that holds them.
//! Whatever waits is put into one transaction, so that many writes share one sync; each job has a
//! savepoint, so that one failure does not touch the others.

use super::db::Conn;
use super::{Error, deliveries};
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};
use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Commits share one sync up to this many commands; more would let early ones wait too long.
const BATCH_MAX: usize = 512;

pub(super) enum Command {
    Ack(deliveries::Ack),
    Job(Box<dyn Job>),
}

/// A unit of work and the way to answer whoever waits for it.
pub(super) trait Job: Send {
    /// Works inside the open transaction.
    fn run<'c>(self: Box<Self>, conn: &'c mut Conn<'_>) -> BoxFuture<'c, Finished>;
    /// Answers without having worked.
    fn refuse(self: Box<Self>, error: Error);
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
    F: for<'c, 'd> FnOnce(&'c mut Conn<'d>) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
{
    fn run<'c>(self: Box<Self>, conn: &'c mut Conn<'_>) -> BoxFuture<'c, Finished> {
        let Self { work, send } = *self;
        let work = work(conn);
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

    fn refuse(self: Box<Self>, error: Error) {
        let _ = self.send.send(Err(error));
    }
}

/// Wraps typed work into a job and the channel for its answer.
pub(super) fn job<T, F>(work: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T, Error>>)
where
    T: Send + 'static,
    F: for<'c, 'd> FnOnce(&'c mut Conn<'d>) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
{
    let (send, receive) = oneshot::channel();
    (Box::new(Work { work, send }), receive)
}

/// Runs until told to stop and every waiting command is answered.
pub(super) async fn run(
    mut connection: SqliteConnection,
    mut queue: mpsc::Receiver<Command>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        let taken = tokio::select! {
            biased;
            // First, because a queue that never runs empty would otherwise hide the order to stop.
            () = stop.cancelled(), if !queue.is_closed() => {
                // Writers that are already waiting still get their answer.
                queue.close();
                continue;
            }
            taken = queue.recv_many(&mut batch, BATCH_MAX) => taken,
        };
        if taken == 0 {
            break;
        }
        commit(&mut connection, batch.drain(..)).await;
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "cannot close the database");
    }
}

async fn commit(connection: &mut SqliteConnection, batch: impl Iterator<Item = Command>) {
    let (mut acks, mut jobs) = (Vec::new(), VecDeque::new());
    for command in batch {
        match command {
            Command::Ack(ack) => acks.push(ack),
            Command::Job(job) => jobs.push_back(job),
        }
    }
    let mut finished = Vec::with_capacity(jobs.len());
    let result = transaction(connection, &acks, &mut jobs, &mut finished).await;
    if let Err(error) = &result {
        let writes = acks.len() + finished.len() + jobs.len();
        tracing::error!(%error, writes, "cannot commit");
        // SQLite has already rolled back by itself after some errors, a full disk among them.
        let _ = connection.execute("rollback").await;
    }
    let (refused, failed) = match result {
        Ok(refused) => (refused, None),
        Err(error) => (BTreeMap::new(), Some(error.to_string())),
    };
    let told = || failed.clone().map_or(Ok(()), |why| Err(Error::Unavailable(why)));
    let mut refused = refused;
    for (i, ack) in acks.into_iter().enumerate() {
        let _ = ack.done.send(refused.remove(&i).map_or_else(told, Err));
    }
    for answer in finished {
        answer(told());
    }
    for job in jobs {
        job.refuse(told().err().unwrap_or_else(super::db::stopped));
    }
}

/// Runs everything in one transaction; returns which acknowledgements were refused, by place.
async fn transaction(
    connection: &mut SqliteConnection,
    acks: &[deliveries::Ack],
    jobs: &mut VecDeque<Box<dyn Job>>,
    finished: &mut Vec<Answer>,
) -> Result<BTreeMap<usize, Error>, Error> {
    connection.execute("begin immediate").await?;
    let mut refused = BTreeMap::new();
    if let Some(error) = insert(connection, acks).await? {
        if let [_] = acks {
            refused.insert(0, error);
        } else {
            // One row that cannot be stored must not take the others with it.
            for (i, ack) in acks.iter().enumerate() {
                if let Some(error) = insert(connection, std::slice::from_ref(ack)).await? {
                    refused.insert(i, error);
                }
            }
        }
    }
    while let Some(job) = jobs.pop_front() {
        connection.execute("savepoint job").await?;
        let ran = AssertUnwindSafe(job.run(&mut Conn::Lite(connection))).catch_unwind().await;
        let worked = match ran {
            Ok(ran) => {
                finished.push(ran.answer);
                ran.worked
            }
            // Its caller is told by the loss of the channel; everybody else's writes go on.
            Err(_) => false,
        };
        if !worked {
            connection.execute("rollback to job").await?;
        }
        connection.execute("release job").await?;
    }
    connection.execute("commit").await?;
    Ok(refused)
}

/// Inserts all or none; returns the reason when the rows themselves are at fault.
async fn insert(
    connection: &mut SqliteConnection,
    acks: &[deliveries::Ack],
) -> Result<Option<Error>, Error> {
    if acks.is_empty() {
        return Ok(None);
    }
    connection.execute("savepoint acks").await?;
    let refused = match deliveries::insert_many(&mut Conn::Lite(connection), acks).await {
        Ok(()) => None,
        Err(error @ Error::Conflict(_)) => {
            connection.execute("rollback to acks").await?;
            Some(error)
        }
        Err(error) => return Err(error),
    };
    connection.execute("release acks").await?;
    Ok(refused)
}
