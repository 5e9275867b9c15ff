//! Sessions of signed-in people. The token itself is never stored, only its hash.

use super::Error;
use super::db::{Store, db};

/// A signed-in person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    pub token_hash: String,
    pub user: String,
    /// Must come back with every form.
    pub csrf: String,
    pub created_at_ms: i64,
    pub expires_at_ms: i64,
}

impl Store {
    /// Remembers a sign-in, and forgets the ones that have expired.
    pub async fn add_session(&self, session: Session) -> Result<(), Error> {
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query("delete from session where expires_at_ms <= $1")
                    .bind(session.created_at_ms).execute(&mut **c).await.map(|_| ()))?;
                db!(conn, c => sqlx::query(
                    "insert into session (token_hash, user_name, csrf, created_at_ms, expires_at_ms)
                     values ($1, $2, $3, $4, $5)"
                )
                    .bind(session.token_hash)
                    .bind(session.user)
                    .bind(session.csrf)
                    .bind(session.created_at_ms)
                    .bind(session.expires_at_ms)
                    .execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }

    /// The session of a token hash, unless it has expired.
    pub async fn session(&self, token_hash: &str, now_ms: i64) -> Result<Option<Session>, Error> {
        let token_hash = token_hash.to_owned();
        self.read(move |conn| {
            Box::pin(async move {
                let found: Option<(String, String, i64, i64)> = db!(conn, c => sqlx::query_as(
                    "select user_name, csrf, created_at_ms, expires_at_ms from session
                     where token_hash = $1 and expires_at_ms > $2"
                ).bind(&token_hash).bind(now_ms).fetch_optional(&mut **c).await)?;
                Ok(found.map(|(user, csrf, created_at_ms, expires_at_ms)| Session {
                    token_hash,
                    user,
                    csrf,
                    created_at_ms,
                    expires_at_ms,
                }))
            })
        })
        .await
    }

    /// Signs out.
    pub async fn end_session(&self, token_hash: &str) -> Result<(), Error> {
        let token_hash = token_hash.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query("delete from session where token_hash = $1")
                    .bind(token_hash).execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }
}
