//! Incidents that were claimed by a transaction whose answer was lost: the claim stands, and the
//! process that made it does not know of it. It would renew it with all its others for ever.

use super::Error;
use super::db::{Store, db, dialect, list};
use crate::model::ids::IncidentId;

impl Store {
    /// Gives back whatever this owner holds besides the incidents that it knows of; returns how many
    /// those were. Nobody may claim for the same owner meanwhile.
    pub async fn give_back_unknown(
        &self,
        owner: &str,
        known: Vec<IncidentId>,
    ) -> Result<u64, Error> {
        let owner = owner.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                let sql = dialect!(conn,
                    lite: "update incident set lease_owner = null, lease_until_ms = null
                           where lease_owner = $1
                             and id not in (select value from json_each($2))",
                    pg: "update incident set lease_owner = null, lease_until_ms = null
                         where lease_owner = $1 and id not in
                             (select jsonb_array_elements_text(cast($2 as jsonb)))",
                );
                let rows = db!(conn, c => sqlx::query(sql)
                    .bind(&owner)
                    .bind(list(known))
                    .execute(&mut **c).await.map(|done| done.rows_affected()))?;
                Ok(rows)
            })
        })
        .await
    }
}
