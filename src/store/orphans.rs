//! What a process that is gone held: leases on incidents, deliveries under way.
//!
//! In: the proof that no other process works on this database, which is the lock on SQLite's folder.
//! Out: everything due at once, instead of when its time has run out. Never: a lower epoch, so that
//! a step of the process that is gone could not be committed even if it came back; a delivery that
//! counts as not sent.

use super::Error;
use super::db::{Conn, db};

/// Gives back every lease and every claim on a delivery.
pub async fn free(conn: &mut Conn<'_>) -> Result<(), Error> {
    free_leases(conn).await?;
    free_deliveries(conn).await
}

async fn free_leases(conn: &mut Conn<'_>) -> Result<(), Error> {
    db!(conn, c => sqlx::query(
        "update incident set lease_owner = null, lease_until_ms = null
         where lease_owner is not null"
    ).execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

/// Each stays one whose attempt was not answered, and so may have arrived.
async fn free_deliveries(conn: &mut Conn<'_>) -> Result<(), Error> {
    db!(conn, c => sqlx::query(
        "update message_delivery set next_at_ms = created_at_ms
         where next_at_ms is not null and state = 'sending'"
    ).execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}
