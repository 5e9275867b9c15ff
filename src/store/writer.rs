//! The task that owns SQLite's only write connection.
//!
//! In: acknowledgements and jobs. Out: their answers, sent after the commit that holds them.
//! Whatever waits is put into one transaction, so that many writes share one sync; each job has a
//! savepoint, so that one failure does not touch the others.

use super::db::Conn;
use super::{Error, deliveries};
use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Executor};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Commits share one sync up to this many commands; more would let early ones wait too long.
const BATCH_MAX: usize = 512;

pub(super) enum Command {
    Ack(deliveries::Ack),
    Job(Job),
}

/// A unit of work and the way to answer it once its fate is known.
pub(super) type Job =
    Box<dyn for<'c, 'd> FnOnce(&'c mut Conn<'d>) -> BoxFuture<'c, Finished> + Send>;

/// A job that ran inside the open transaction.
pub(super) struct Finished {
    worked: bool,
    answer: Box<dyn FnOnce(Result<(), Error>) + Send>,
}

/// Wraps typed work into a job and the channel for its answer.
pub(super) fn job<T, F>(work: F) -> (Job, oneshot::Receiver<Result<T, Error>>)
where
    T: Send + 'static,
    F: for<'c, 'd> FnOnce(&'c mut Conn<'d>) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
{
    let (send, receive) = oneshot::channel();
    let job: Job = Box::new(move |conn| {
        Box::pin(async move {
            let result = work(conn).await;
            Finished {
                worked: result.is_ok(),
                answer: Box::new(move |committed| {
                    // A caller that went away does not change what was committed.
                    let _ = send.send(committed.and(result));
                }),
            }
        })
    });
    (job, receive)
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
            taken = queue.recv_many(&mut batch, BATCH_MAX) => taken,
            () = stop.cancelled(), if !queue.is_closed() => {
                // Writers that are already waiting still get their answer.
                queue.close();
                continue;
            }
        };
        if taken == 0 {
            break;
        }
        commit(&mut connection, batch.drain(..)).await;
    }
}

async fn commit(connection: &mut SqliteConnection, batch: impl Iterator<Item = Command>) {
    let (mut acks, mut jobs) = (Vec::new(), Vec::new());
    for command in batch {
        match command {
            Command::Ack(ack) => acks.push(ack),
            Command::Job(job) => jobs.push(job),
        }
    }
    let mut finished = Vec::with_capacity(jobs.len());
    let result = transaction(connection, &acks, jobs, &mut finished).await;
    if let Err(error) = &result {
        tracing::error!(%error, writes = acks.len() + finished.len(), "cannot commit");
        let _ = connection.execute("rollback").await;
    }
    let told = || match &result {
        Ok(()) => Ok(()),
        Err(error) => Err(Error::Unavailable(error.to_string())),
    };
    for ack in acks {
        let _ = ack.done.send(told());
    }
    for answer in finished {
        answer(told());
    }
}

type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;

async fn transaction(
    connection: &mut SqliteConnection,
    acks: &[deliveries::Ack],
    jobs: Vec<Job>,
    finished: &mut Vec<Answer>,
) -> Result<(), Error> {
    connection.execute("begin immediate").await?;
    if !acks.is_empty() {
        deliveries::insert_many(&mut Conn::Lite(connection), acks).await?;
    }
    for job in jobs {
        savepoint(connection, "savepoint job").await?;
        let ran = job(&mut Conn::Lite(connection)).await;
        finished.push(ran.answer);
        if !ran.worked {
            savepoint(connection, "rollback to job").await?;
        }
        savepoint(connection, "release job").await?;
    }
    connection.execute("commit").await?;
    Ok(())
}

async fn savepoint(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}
