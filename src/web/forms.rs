//! Reads forms, small JSON bodies, queries and ids.

use super::error::Error;
use super::{Web, bodies};
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::str::FromStr;

/// The fields of a form, or of a JSON object of texts. An empty body has none.
#[derive(Default, Debug)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// `Invalid` when it is neither; the errors of [`bodies::small`].
    pub async fn of(web: &Web, headers: &HeaderMap, body: Body) -> Result<Self, Error> {
        let bytes = bodies::small(web, body).await?;
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let of_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if of_type.starts_with("application/x-www-form-urlencoded") {
            let text = std::str::from_utf8(&bytes)
                .map_err(|_| Error::invalid("", "the form is not UTF-8"))?;
            return Ok(Self(query(text)?));
        }
        if of_type.starts_with("application/json") {
            return Ok(Self(json(&bytes)?));
        }
        Err(Error::Invalid {
            path: "Content-Type".into(),
            message: "the body is neither a form nor JSON".into(),
            hint: "send application/json or application/x-www-form-urlencoded".into(),
        })
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn json(bytes: &[u8]) -> Result<BTreeMap<String, String>, Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read: Result<BTreeMap<String, Option<String>>, _> =
        serde_path_to_error::deserialize(&mut reader);
    let fields = read.map_err(|error| Error::Invalid {
        path: error.path().to_string(),
        message: error.inner().to_string(),
        hint: "send a JSON object of texts, such as {\"comment\": \"looks right\"}".into(),
    })?;
    Ok(fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// The pairs of a query; the last of a name counts.
pub fn of_uri(uri: &Uri) -> Result<BTreeMap<String, String>, Error> {
    query(uri.query().unwrap_or_default())
}

fn query<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let uri = Uri::builder().path_and_query(format!("/?{text}")).build();
    let uri = uri.map_err(|_| Error::invalid("", "the pairs are not escaped as in a URL"))?;
    let read = Query::try_from_uri(&uri).map_err(|error| Error::invalid("", error.to_string()))?;
    Ok(read.0)
}

/// The pairs of a query in order; a name may stand several times.
pub fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Error> {
    query(uri.query().unwrap_or_default())
}

/// The id in a path, unread. What is not even text names nothing.
pub struct Id(pub String);

impl FromRequestParts<Web> for Id {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Error> {
        let found = Path::<String>::from_request_parts(parts, web).await;
        found.map(|Path(id)| Self(id)).map_err(|_| Error::NotFound("page"))
    }
}

/// Reads an id. One that cannot be read names nothing.
pub fn id<T: FromStr>(text: &str, what: &'static str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::NotFound(what))
}

/// How many rows a list leaves out at its beginning.
pub fn offset(query: &BTreeMap<String, String>) -> Result<i64, Error> {
    Ok(number(query, "offset")?.unwrap_or(0))
}

/// A number, 0 or more, where there is one of this name.
pub fn number(query: &BTreeMap<String, String>, name: &'static str) -> Result<Option<i64>, Error> {
    let Some(text) = query.get(name) else { return Ok(None) };
    let number = text.parse::<i64>().ok().filter(|number| *number >= 0);
    number.map(Some).ok_or_else(|| Error::invalid(name, "must be a number, 0 or more"))
}

/// More rows than this are in no answer.
pub const LIMIT_MAX: i64 = 500;

/// How many rows a list asks for.
pub fn limit(query: &BTreeMap<String, String>) -> Result<i64, Error> {
    const DEFAULT: i64 = 50;
    let Some(text) = query.get("limit") else { return Ok(DEFAULT) };
    match text.parse::<i64>() {
        Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        Ok(_) | Err(_) => Err(Error::invalid("limit", format!("must be 1 to {LIMIT_MAX}"))),
    }
}
