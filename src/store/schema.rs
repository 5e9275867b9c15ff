//! Which migrations a database has, and whether this program may work on it.
//!
//! In: a connection. Out: a database at this program's schema or a later one that it fits, or a
//! sentence that says what to run. Never: a write on a database that is not understood.

use super::db::{Conn, db, dialect};
use super::effects::{Effect, created, effects};
use super::{Error, opening};
use crate::crash::{self, Point};
use sqlx::migrate::Migrator;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A database may have more migrations than these: [`Found::refusal`] says when that is well.
pub(super) static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrations = sqlx::migrate!("./migrations");
    migrations.set_ignore_missing(true);
    migrations
});

/// Stands in a Postgres while a backup is restored into it.
pub(super) const RESTORING: &str = "watchkeeper_restoring";

/// Version, whether it succeeded, checksum.
type Row = (i64, bool, Vec<u8>);

/// What a database says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Found {
    rows: Vec<Row>,
    /// The oldest schema whose program may still run; absent before that was written down.
    pub floor: Option<i64>,
    restoring: bool,
}

/// The migrations of a database, by what this program knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Compared {
    pub applied: Vec<String>,
    pub pending: Vec<String>,
    pub unknown: Vec<i64>,
}

/// The newest migration that this program knows.
pub fn newest() -> i64 {
    MIGRATIONS.iter().map(|known| known.version).max().unwrap_or(0)
}

/// `0007 upgrades`.
fn name(migration: &sqlx::migrate::Migration) -> String {
    format!("{:04} {}", migration.version, migration.description)
}

/// What each known migration does, by its name.
pub(super) fn known() -> Vec<(String, Vec<Effect>)> {
    MIGRATIONS.iter().map(|known| (name(known), effects(known.sql.as_str()))).collect()
}

/// Every table of this program, with the one that lists the migrations.
pub(super) fn tables() -> Vec<String> {
    let known = known();
    let made = known.iter().flat_map(|(_, effects)| created(effects));
    made.chain(["_sqlx_migrations"]).map(str::to_owned).collect()
}

/// Reads what is there.
pub(super) async fn find(conn: &mut Conn<'_>) -> Result<Found, Error> {
    let restoring = has_table(conn, RESTORING).await?;
    if !has_table(conn, "_sqlx_migrations").await? {
        return Ok(Found { restoring, ..Found::default() });
    }
    let rows = db!(conn, c => sqlx::query_as(
        "select version, success, checksum from _sqlx_migrations order by version"
    ).fetch_all(&mut **c).await)?;
    let mut floor = None;
    if has_table(conn, "schema_floor").await? {
        let found: Option<(i64,)> = db!(conn, c => sqlx::query_as(
            "select version from schema_floor where name = 'floor'"
        ).fetch_optional(&mut **c).await)?;
        floor = found.map(|(version,)| version);
    }
    Ok(Found { rows, floor, restoring })
}

pub(super) async fn has_table(conn: &mut Conn<'_>, table: &str) -> Result<bool, Error> {
    let sql = dialect!(conn,
        lite: "select count(*) from sqlite_master where type = 'table' and name = $1",
        pg: "select count(*) from pg_catalog.pg_tables
             where tablename = $1 and schemaname = any (current_schemas(false))",
    );
    let (count,): (i64,) =
        db!(conn, c => sqlx::query_as(sql).bind(table).fetch_one(&mut **c).await)?;
    Ok(count > 0)
}

impl Found {
    /// The migrations that are applied, also those that this program does not know.
    pub fn versions(&self) -> Vec<i64> {
        self.rows.iter().map(|(version, ..)| *version).collect()
    }

    /// # Errors
    /// A migration broke off half-way, or is not the one that this program knows by its number.
    pub fn compare(&self, place: &str) -> Result<Compared, Error> {
        let mut found: BTreeMap<i64, (bool, &Vec<u8>)> =
            self.rows.iter().map(|(version, success, sum)| (*version, (*success, sum))).collect();
        let (mut applied, mut pending) = (Vec::new(), Vec::new());
        for known in MIGRATIONS.iter() {
            let name = name(known);
            match found.remove(&known.version) {
                None => pending.push(name),
                Some((false, _)) => {
                    return Err(Error::Conflict(format!(
                        "migration {name} of {place} broke off half-way; restore the last backup"
                    )));
                }
                Some((true, sum)) if *sum != *known.checksum => {
                    return Err(Error::Conflict(format!(
                        "migration {name} of {place} is not the one of this program; run the \
                         version that made it"
                    )));
                }
                Some((true, _)) => applied.push(name),
            }
        }
        Ok(Compared { applied, pending, unknown: found.into_keys().collect() })
    }

    /// Why this program must not work on the database; nothing when it may.
    pub fn refusal(&self, place: &str, unknown: &[i64], pending: &[String]) -> Option<String> {
        if self.restoring {
            return Some(format!(
                "a restore into {place} broke off; run `watchkeeper restore --replace` again"
            ));
        }
        let newer = unknown.last()?;
        let runs = "run the version that did, or a later one";
        match self.floor {
            _ if !pending.is_empty() => Some(format!(
                "{place} was migrated to {newer} by another Watchkeeper, which does not know \
                 migration {}; {runs}",
                pending.join(", ")
            )),
            Some(floor) if floor <= newest() => None,
            Some(floor) => Some(format!(
                "{place} was migrated to {newer} by a newer Watchkeeper and takes programs of \
                 schema {floor:04} or later, this one is of {:04}; {runs}",
                newest()
            )),
            None => Some(format!("{place} was migrated to {newer} by a newer Watchkeeper; {runs}")),
        }
    }

    fn refuse(&self, place: &str) -> Result<(), Error> {
        let Compared { pending, unknown, .. } = self.compare(place)?;
        self.refusal(place, &unknown, &pending).map_or(Ok(()), |why| Err(Error::Conflict(why)))
    }
}

/// Applies the migrations that a database lacks which is being restored.
pub(super) async fn migrate_restored(conn: &mut Conn<'_>, place: &str) -> Result<(), Error> {
    let Compared { pending, unknown, .. } = find(conn).await?.compare(place)?;
    if let Some(newer) = unknown.last() {
        return Err(Error::Conflict(format!(
            "the backup has migration {newer:04}, not known here"
        )));
    }
    if pending.is_empty() {
        return Ok(());
    }
    db!(conn, c => MIGRATIONS.run(&mut **c).await).map_err(opening::of_tables)
}

/// Applies the migrations that a database lacks.
///
/// # Errors
/// This program must not work on the database, before or after: another one may have migrated it in
/// between, as replicas wait for each other here.
pub(super) async fn bring_up_to_date(conn: &mut Conn<'_>, place: &str) -> Result<(), Error> {
    find(conn).await?.refuse(place)?;
    crash::at(Point::BeforeMigrate);
    db!(conn, c => MIGRATIONS.run(&mut **c).await).map_err(opening::of_tables)?;
    crash::at(Point::AfterMigrate);
    find(conn).await?.refuse(place)
}
