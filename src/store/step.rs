//! The one transaction that moves an incident: entries, outbox, actions, outputs and the row that
//! the next claim reads, all or nothing, and only under a lease that still holds.

use super::db::{Conn, Store, db};
use super::incidents::Lease;
use super::timeline::{self, Head, Link, Stream, bind_links};
use super::writer::{self, Opening};
use super::{Error, actions, blobs, breakers, inbox, intents, outbox, text, usage};
use crate::crash::{self, Point};
use crate::model::action::ActionState;
use crate::model::alert::Severity;
use crate::model::ids::{ActionId, InboxId};
use crate::model::incident::State;
use crate::model::message::Message;
use crate::model::timeline::{Entry, Stored, Usage};
use futures::TryStreamExt as _;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Either, Executor as _, Row as _};

/// Everything that one step writes.
#[derive(Clone, Debug)]
pub struct Step {
    pub lease: Lease,
    /// The entry that the step was decided on; the commit is refused if there is a later one.
    pub after: Head,
    pub entries: Vec<(i64, Entry)>,
    /// Inbox items that became entries, or were ignored for a reason that is an entry's business.
    pub folded: Vec<InboxId>,
    /// `None` leaves it as the step before left it: only under the same lease, when nothing moved.
    pub row: Option<Projection>,
    pub actions: Vec<Change>,
    pub intent: Option<intents::Intent>,
    /// Changes that ended badly.
    pub failures: Vec<breakers::Failure>,
    pub messages: Vec<Announcement>,
    pub blobs: Vec<blobs::Blob>,
    /// Added to the day's total.
    pub usage: Usage,
    pub at_ms: i64,
}

/// The incident row after the step, folded from the timeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Projection {
    pub title: String,
    pub severity: Severity,
    pub state: State,
    pub due_at_ms: Option<i64>,
    pub page_due_at_ms: Option<i64>,
    /// Set once the incident is closed: later alerts no longer join it.
    pub ended_at_ms: Option<i64>,
}

impl Projection {
    /// Whether the incident's next step is due by then.
    pub fn is_due(&self, at_ms: i64) -> bool {
        self.due_at_ms.is_some_and(|due_at_ms| due_at_ms <= at_ms)
    }

    /// Whether a row that says this need not be written again to say `next` at `at_ms`: since when a
    /// step is due makes no difference to anybody.
    pub fn serves_as(&self, next: &Self, at_ms: i64) -> bool {
        let due = self.is_due(at_ms) && next.is_due(at_ms);
        due && *self == Self { due_at_ms: self.due_at_ms, ..next.clone() }
    }
}

/// What happens to an action row.
#[derive(Clone, Debug)]
pub enum Change {
    Insert(Box<actions::Row>),
    Move {
        id: ActionId,
        from: ActionState,
        to: ActionState,
    },
    /// The question is put under other rules; nobody has answered it so far.
    Rejudge {
        id: ActionId,
        rules_version: String,
    },
}

/// A message and the transition that it announces, which is announced once.
#[derive(Clone, Debug)]
pub struct Announcement {
    pub transition: String,
    pub message: Message,
}

/// A step as it was committed.
#[derive(Clone, PartialEq, Debug)]
pub struct Committed {
    pub stored: Vec<Stored>,
    pub inbox: Inbox,
    /// The day's total, when the step added to it.
    pub used: Option<usage::Used>,
}

/// Whether something waits that no step has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inbox {
    /// Nothing did when the step was committed.
    Empty,
    Waiting,
}

impl Inbox {
    fn of(items: i64) -> Self {
        if items == 0 { Self::Empty } else { Self::Waiting }
    }
}

impl Store {
    /// Commits a step.
    ///
    /// # Errors
    /// `Fenced`: another worker has the incident; nothing was written. `OverLimit`, `Held`,
    /// `Crowded`, `NoLonger`: the intent was refused; nothing was written.
    pub async fn commit(&self, step: Step) -> Result<Committed, Error> {
        let committed = self
            .write_opening(move |conn, opening| {
                Box::pin(async move { commit(conn, &step, opening).await })
            })
            .await?;
        crash::at(Point::AfterCommit);
        Ok(committed)
    }
}

async fn commit(
    conn: &mut Conn<'_>,
    step: &Step,
    mut opening: Opening,
) -> Result<Committed, Error> {
    let stream = Stream::incident(step.lease.incident_id);
    let links = timeline::chain(&stream, &step.after, &step.entries)?;
    if !step.folded.is_empty() {
        writer::open(conn, opening).await?;
        opening = "";
        inbox::remove(conn, &step.folded).await?;
    }
    let (inbox, mut used) = match conn {
        Conn::Lite(c) if links.len() <= AT_ONCE_MAX => {
            move_at_once(c, step, &stream, &links, opening).await?
        }
        Conn::Pg(c) if (1..=AT_ONCE_MAX).contains(&links.len()) => {
            (move_on_postgres(c, step, &stream, &links).await?, None)
        }
        Conn::Lite(_) | Conn::Pg(_) => {
            writer::open(conn, opening).await?;
            (move_on(conn, step, &stream, &links).await?, None)
        }
    };
    if step.row.as_ref().is_some_and(|row| !row.is_due(step.at_ms)) {
        inbox::wake_if_waiting(conn, step.lease.incident_id, step.at_ms).await?;
    }
    // One order for everybody, so that two steps with the same outputs cannot wait for each other.
    let mut blobs: Vec<&blobs::Blob> = step.blobs.iter().collect();
    blobs.sort_by(|a, b| a.hash.cmp(&b.hash));
    for blob in blobs {
        blobs::keep(conn, blob).await?;
    }
    for change in &step.actions {
        match change {
            Change::Insert(row) => actions::insert(conn, row).await?,
            Change::Move { id, from, to } => {
                actions::move_on(conn, *id, *from, *to).await?;
                // A change of unknown outcome may still be running; its places free themselves.
                if *from == ActionState::Intended && *to != ActionState::Unknown {
                    intents::give_back(conn, *id).await?;
                }
            }
            Change::Rejudge { id, rules_version } => {
                actions::rejudge(conn, *id, rules_version).await?;
            }
        }
    }
    if let Some(intent) = &step.intent {
        intents::write_intent(conn, intent).await?;
    }
    for failure in &step.failures {
        breakers::count(conn, failure).await?;
    }
    for announcement in &step.messages {
        outbox::queue(conn, announcement).await?;
    }
    // Last, because every step of the day waits for this row on Postgres.
    if used.is_none() && step.usage != Usage::default() {
        let added = usage::add(conn, &step.lease.scope, step.at_ms, step.usage).await?;
        used = Some(added);
    }
    crash::at(Point::BeforeCommit);
    Ok(Committed { stored: links.into_iter().map(Link::stored).collect(), inbox, used })
}

/// Entries of a step that go along with its move in one message; most steps have one or two.
const AT_ONCE_MAX: usize = 8;

/// Moves the incident if the lease and the timeline are still those of the step, and locks its row.
const FENCE: &str =
    "where id = $1 and lease_owner = $2 and lease_epoch = $3 and seq = $4 and head = $5";

/// What every step writes. Most steps of an investigation leave the rest of the row as it is, which
/// spares its indexes.
const MOVE: &str = "update incident set updated_at_ms = $6, seq = $7, head = $8";
const MOVE_VALUES: usize = 8;

/// The rest of the row.
///
/// An incident that goes on after its key was given to a later one does without: claiming the key
/// would fail every one of its steps.
const ROW: &str = ", title = $9, severity = $10, severity_rank = $11, state = $12, due_at_ms = $13,
         page_due_at_ms = $14, ended_at_ms = $15,
         open_key = case
             when cast($15 as bigint) is not null then null
             when exists (select 1 from incident o
                          where o.scope = incident.scope and o.id <> incident.id
                            and o.open_key = incident.correlation_key) then null
             else correlation_key end";
const ROW_VALUES: usize = 7;

/// The move of a step and the number of its values.
fn fenced_move(step: &Step) -> (String, usize) {
    match step.row {
        Some(_) => (format!("{MOVE}{ROW} {FENCE}"), MOVE_VALUES + ROW_VALUES),
        None => (format!("{MOVE} {FENCE}"), MOVE_VALUES),
    }
}

macro_rules! bind_fence {
    ($query:expr, $step:expr, $end:expr) => {{
        let query = $query
            .bind($step.lease.incident_id.to_string())
            .bind(&$step.lease.owner)
            .bind($step.lease.epoch)
            .bind($step.after.seq)
            .bind(&$step.after.hash)
            .bind($step.at_ms)
            .bind($end.seq)
            .bind(&$end.hash);
        match &$step.row {
            None => query,
            Some(row) => query
                .bind(text(&row.title))
                .bind(row.severity.as_str())
                .bind(row.severity.rank())
                .bind(row.state.as_str())
                .bind(row.due_at_ms)
                .bind(row.page_due_at_ms)
                .bind(row.ended_at_ms),
        }
    }};
}

/// Moves the row, adds the entries, and tells whether something waits by then.
async fn move_on(
    conn: &mut Conn<'_>,
    step: &Step,
    stream: &Stream,
    links: &[Link<'_>],
) -> Result<Inbox, Error> {
    let end = links.last().map_or(&step.after, |link| &link.head);
    let (moving, _) = fenced_move(step);
    let sql = format!(
        "{moving} returning (select count(*) from inbox
                            where stream_kind = 'incident' and stream_id = incident.id)"
    );
    let moved: Option<(i64,)> = db!(conn, c =>
        bind_fence!(sqlx::query_as(AssertSqlSafe(sql)), step, end).fetch_optional(&mut **c).await)?;
    let (waiting,) = moved.ok_or(Error::Fenced)?;
    timeline::append(conn, stream, links).await?;
    Ok(Inbox::of(waiting))
}

/// The same in one statement. The entries are added whatever becomes of the move; without it the
/// transaction is rolled back.
async fn move_on_postgres(
    connection: &mut PgConnection,
    step: &Step,
    stream: &Stream,
    links: &[Link<'_>],
) -> Result<Inbox, Error> {
    let end = links.last().map_or(&step.after, |link| &link.head);
    let (moving, values) = fenced_move(step);
    let sql = format!(
        "with moved as (
             {moving} returning (select count(*) from inbox
                                where stream_kind = 'incident' and stream_id = incident.id)
                 as waiting),
         added as (
             {} on conflict do nothing returning seq)
         select moved.waiting, (select count(*) from added) from moved",
        timeline::append_sql(values, links.len())
    );
    let query = bind_fence!(sqlx::query_as(AssertSqlSafe(sql)), step, end);
    let moved: Option<(i64, i64)> =
        bind_links!(query, stream, links).fetch_optional(connection).await?;
    let (waiting, added) = moved.ok_or(Error::Fenced)?;
    if usize::try_from(added) != Ok(links.len()) {
        let why = format!("{} has entries beyond {}", stream.path(), step.after.seq);
        return Err(Error::Conflict(why));
    }
    Ok(Inbox::of(waiting))
}

/// The same for SQLite, and the usage: one message to its thread instead of four.
async fn move_at_once(
    connection: &mut SqliteConnection,
    step: &Step,
    stream: &Stream,
    links: &[Link<'_>],
    opening: Opening,
) -> Result<(Inbox, Option<usage::Used>), Error> {
    let end = links.last().map_or(&step.after, |link| &link.head);
    let (mut sql, mut values) = fenced_move(step);
    let statements_before = match opening {
        "" => 0,
        some => {
            sql = format!("{some}; {sql}");
            some.split(';').count()
        }
    };
    if !links.is_empty() {
        sql = format!("{sql}; {}", timeline::append_sql(values, links.len()));
        values += links.len() * timeline::VALUES;
    }
    let charged = step.usage != Usage::default();
    if charged {
        sql = format!("{sql}; {}", usage::add_sql(values));
    }
    sql.push_str("; select count(*) from inbox where stream_kind = 'incident' and stream_id = $1");
    let query = bind_fence!(sqlx::query(AssertSqlSafe(sql)), step, end);
    let mut query = bind_links!(query, stream, links);
    if charged {
        query = query
            .bind(&step.lease.scope)
            .bind(usage::day(step.at_ms))
            .bind(step.usage.tokens())
            .bind(step.usage.cost_micros);
    }
    let mut answers = connection.fetch_many(query);
    for _ in 0..statements_before {
        answers.try_next().await?;
    }
    match answers.try_next().await? {
        Some(Either::Left(moved)) if moved.rows_affected() == 1 => {}
        Some(_) | None => return Err(Error::Fenced),
    }
    let mut rows = Vec::new();
    while let Some(answer) = answers.try_next().await? {
        rows.extend(answer.right());
    }
    // The last row counts the inbox; one before it is the day's total.
    let waiting = rows.last().map_or(Ok(0), |row| row.try_get(0))?;
    let used = match rows.as_slice() {
        [total, _] => Some(usage::Used::new(step.at_ms, total.try_get(0)?, total.try_get(1)?)),
        _ => None,
    };
    Ok((Inbox::of(waiting), used))
}
