//! Texts by their hash: whole tool outputs and reports.

use super::db::{Conn, Store, db};
use super::{Error, text};
use crate::model::call::sha256_hex;
use crate::model::timeline::OutputRef;

/// A text on its way into the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blob {
    pub hash: String,
    pub body: String,
    pub at_ms: i64,
    pub kind: Kind,
}

/// What a text is, which says how long it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// What a tool returned.
    Output,
    /// As long as its incident.
    Report,
    /// For ever.
    Rules,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Report => "report",
            Self::Rules => "rules",
        }
    }
}

impl Blob {
    /// The hash is that of the stored text, in which a NUL is replaced.
    pub fn new(kind: Kind, body: String, at_ms: i64) -> Self {
        let body = text(&body).into_owned();
        Self { hash: sha256_hex(body.as_bytes()), body, at_ms, kind }
    }

    /// How the timeline names it.
    pub fn reference(&self) -> OutputRef {
        OutputRef {
            hash: self.hash.clone(),
            bytes: i64::try_from(self.body.len()).unwrap_or(i64::MAX),
        }
    }
}

impl Store {
    /// A text by its hash; `None` when it never was or has aged out.
    pub async fn blob(&self, hash: &str) -> Result<Option<String>, Error> {
        let hash = hash.to_owned();
        self.read(move |conn| Box::pin(async move { body(conn, &hash).await })).await
    }
}

/// A text by its hash, inside a transaction or a read.
pub async fn body(conn: &mut Conn<'_>, hash: &str) -> Result<Option<String>, Error> {
    let found: Option<(String,)> = db!(conn, c =>
        sqlx::query_as("select body from blob where hash = $1")
            .bind(hash).fetch_optional(&mut **c).await)?;
    Ok(found.map(|(body,)| body))
}

/// Keeps a text; the same text is kept once, and as what is kept longest.
pub async fn keep(conn: &mut Conn<'_>, blob: &Blob) -> Result<(), Error> {
    db!(conn, c => sqlx::query(
        "insert into blob (hash, body, bytes, at_ms, kind) values ($1, $2, $3, $4, $5)
         on conflict (hash) do update set at_ms = excluded.at_ms,
             kind = case when blob.kind = 'output' then excluded.kind else blob.kind end"
    )
        .bind(&blob.hash)
        .bind(&blob.body)
        .bind(blob.reference().bytes)
        .bind(blob.at_ms)
        .bind(blob.kind.as_str())
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}
