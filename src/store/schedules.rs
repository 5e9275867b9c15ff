//! Jobs that one of all replicas does at a time.
//!
//! In: who wants a turn and for how long. Out: the turn, or when to ask again. Due times and leases
//! are on the database's clock on Postgres. Never: two owners of a turn; whoever comes back after
//! its lease is told so by the number of the turn.

use super::db::{Conn, Store, db, dialect};
use super::{Error, text};
use sqlx::FromRow;

/// Longest reason that is kept of a failure.
const ERROR_BYTES_MAX: usize = 500;

/// The right to do a job once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn {
    pub job: String,
    pub owner: String,
    pub number: i64,
}

/// Whether it is our turn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Look {
    Ours(Turn),
    /// Nobody's, or somebody else's, for so many milliseconds.
    Later(i64),
}

/// How a turn ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    Done,
    Failed(String),
    /// Given back undone.
    Left,
}

/// A job as it stands.
#[derive(Clone, PartialEq, Eq, Debug, FromRow)]
pub struct Scheduled {
    pub job: String,
    pub due_at_ms: i64,
    pub owner: Option<String>,
    pub turn: i64,
    pub succeeded_at_ms: Option<i64>,
    pub error: Option<String>,
}

/// Who asks for a turn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asking {
    pub job: String,
    pub owner: String,
    pub now_ms: i64,
    pub every_ms: i64,
    pub lease_ms: i64,
}

impl Store {
    /// Takes the turn if the job is due and nobody is at it. A job that nobody has heard of is due.
    pub async fn take_turn(&self, asking: Asking) -> Result<Look, Error> {
        // Looks without writing, so that idle replicas do not write each time they ask.
        let seen = asking.clone();
        let wait = self.read(move |conn| Box::pin(async move { wait(conn, &seen).await })).await?;
        if let Some(ms) = wait.filter(|ms| *ms > 0) {
            return Ok(Look::Later(ms));
        }
        self.write(move |conn| {
            Box::pin(async move {
                make(conn, &asking).await?;
                if let Some(number) = take(conn, &asking).await? {
                    return Ok(Look::Ours(Turn { job: asking.job, owner: asking.owner, number }));
                }
                Ok(Look::Later(wait_at_least(wait_again(conn, &asking).await?)))
            })
        })
        .await
    }

    /// Keeps a turn for as long again; tells whether it is still ours.
    pub async fn keep_turn(&self, turn: &Turn, now_ms: i64, lease_ms: i64) -> Result<bool, Error> {
        let turn = turn.clone();
        self.write(move |conn| {
            Box::pin(async move {
                let sql = dialect!(conn,
                    lite: "update schedule set lease_until_ms = $4 + $5
                           where job = $1 and owner = $2 and turn = $3",
                    pg: "update schedule set lease_until_ms =
                             (extract(epoch from clock_timestamp()) * 1000)::bigint + $5
                         where job = $1 and owner = $2 and turn = $3
                           and cast($4 as bigint) is not null",
                );
                let kept = db!(conn, c => sqlx::query(sql)
                    .bind(&turn.job)
                    .bind(&turn.owner)
                    .bind(turn.number)
                    .bind(now_ms)
                    .bind(lease_ms)
                    .execute(&mut **c).await.map(|done| done.rows_affected()))?;
                Ok(kept == 1)
            })
        })
        .await
    }

    /// Gives a turn back; the job is due again in `due_in_ms`. Nothing happens when somebody else
    /// has taken it over.
    pub async fn end_turn(
        &self,
        turn: Turn,
        now_ms: i64,
        due_in_ms: i64,
        ended: Ended,
    ) -> Result<(), Error> {
        self.write(move |conn| {
            Box::pin(async move {
                let (done, error) = match ended {
                    Ended::Done => (1_i64, None),
                    Ended::Failed(why) => (0, Some(why)),
                    Ended::Left => return leave(conn, &turn).await,
                };
                let error = error.map(|why| text(short(&why)).into_owned());
                let sql = dialect!(conn,
                    lite: "update schedule set owner = null, lease_until_ms = null,
                               due_at_ms = $4 + $5, error = $7,
                               succeeded_at_ms = case when $6 = 1 then $4 else succeeded_at_ms end
                           where job = $1 and owner = $2 and turn = $3",
                    pg: "update schedule set owner = null, lease_until_ms = null,
                             due_at_ms = (extract(epoch from clock_timestamp()) * 1000)::bigint
                                 + $5, error = $7,
                             succeeded_at_ms = case when cast($6 as bigint) = 1
                                 then cast($4 as bigint) else succeeded_at_ms end
                         where job = $1 and owner = $2 and turn = $3",
                );
                db!(conn, c => sqlx::query(sql)
                    .bind(&turn.job)
                    .bind(&turn.owner)
                    .bind(turn.number)
                    .bind(now_ms)
                    .bind(due_in_ms)
                    .bind(done)
                    .bind(error)
                    .execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }

    /// Every job, by name.
    pub async fn scheduled(&self) -> Result<Vec<Scheduled>, Error> {
        self.read(|conn| {
            Box::pin(async move {
                Ok(db!(conn, c => sqlx::query_as(
                    "select job, due_at_ms, owner, turn, succeeded_at_ms, error
                     from schedule order by job"
                ).fetch_all(&mut **c).await)?)
            })
        })
        .await
    }
}

/// How long until the turn can be taken; zero or less: at once; `None`: there is no such job yet.
/// A due time or a lease further away than any could be was written before the clock was set back.
async fn wait(conn: &mut Conn<'_>, asking: &Asking) -> Result<Option<i64>, Error> {
    let sql = dialect!(conn,
        lite: "select max(
                   case when due_at_ms > $2 + $3 then 0 else due_at_ms - $2 end,
                   case when lease_until_ms is null or lease_until_ms > $2 + $4 then 0
                       else lease_until_ms + 1 - $2 end)
               from schedule where job = $1",
        pg: "select greatest(
                 case when due_at_ms > n.now_ms + $3 then 0 else due_at_ms - n.now_ms end,
                 case when lease_until_ms is null then cast($4 as bigint) - $4
                     else lease_until_ms + 1 - n.now_ms end)
             from schedule, (select (extract(epoch from clock_timestamp()) * 1000)::bigint
                                 as now_ms where cast($2 as bigint) is not null) n
             where job = $1",
    );
    let found: Option<(i64,)> = db!(conn, c => sqlx::query_as(sql)
        .bind(&asking.job)
        .bind(asking.now_ms)
        .bind(asking.every_ms)
        .bind(asking.lease_ms)
        .fetch_optional(&mut **c).await)?;
    Ok(found.map(|(ms,)| ms))
}

async fn wait_again(conn: &mut Conn<'_>, asking: &Asking) -> Result<i64, Error> {
    Ok(wait(conn, asking).await?.unwrap_or(0))
}

/// The clock of the database went on between two statements.
fn wait_at_least(ms: i64) -> i64 {
    ms.max(1)
}

async fn make(conn: &mut Conn<'_>, asking: &Asking) -> Result<(), Error> {
    db!(conn, c => sqlx::query(
        "insert into schedule (job, due_at_ms, turn) values ($1, 0, 0)
         on conflict (job) do nothing"
    ).bind(&asking.job).execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

async fn take(conn: &mut Conn<'_>, asking: &Asking) -> Result<Option<i64>, Error> {
    let sql = dialect!(conn,
        lite: "update schedule
               set owner = $2, lease_until_ms = $3 + $5, turn = turn + 1
               where job = $1 and (due_at_ms <= $3 or due_at_ms > $3 + $4)
                 and (lease_until_ms is null or lease_until_ms < $3 or lease_until_ms > $3 + $5)
               returning turn",
        pg: "update schedule
             set owner = $2, turn = turn + 1,
                 lease_until_ms = (extract(epoch from clock_timestamp()) * 1000)::bigint + $5
             where job = $1 and cast($3 as bigint) is not null
               and (due_at_ms <= (extract(epoch from clock_timestamp()) * 1000)::bigint
                   or due_at_ms > (extract(epoch from clock_timestamp()) * 1000)::bigint + $4)
               and (lease_until_ms is null or lease_until_ms
                   < (extract(epoch from clock_timestamp()) * 1000)::bigint)
             returning turn",
    );
    let found: Option<(i64,)> = db!(conn, c => sqlx::query_as(sql)
        .bind(&asking.job)
        .bind(&asking.owner)
        .bind(asking.now_ms)
        .bind(asking.every_ms)
        .bind(asking.lease_ms)
        .fetch_optional(&mut **c).await)?;
    Ok(found.map(|(turn,)| turn))
}

/// The job stays due, so that another replica can take it at once.
async fn leave(conn: &mut Conn<'_>, turn: &Turn) -> Result<(), Error> {
    db!(conn, c => sqlx::query(
        "update schedule set owner = null, lease_until_ms = null
         where job = $1 and owner = $2 and turn = $3"
    )
        .bind(&turn.job)
        .bind(&turn.owner)
        .bind(turn.number)
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

fn short(why: &str) -> &str {
    &why[..why.floor_char_boundary(ERROR_BYTES_MAX)]
}
