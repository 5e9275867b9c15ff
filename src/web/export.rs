//! An incident as one file, for those who work on incidents.
//!
//! Never: a viewer who gets whole outputs of tools; a browser that shows the file as a page.

use super::Web;
use super::error::Error;
use super::forms::Id;
use super::incidents::{self, Whole};
use super::visitor::Visitor;
use crate::approval::Role;
use crate::report::export::{Export, Exported, FORMAT, Named, Text, VERSION};
use crate::store::audit::Raw;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use std::collections::{BTreeMap, BTreeSet};

pub async fn file(State(web): State<Web>, visitor: Visitor, Id(id): Id) -> Result<Response, Error> {
    if let Some(principal) = visitor.principal()
        && principal.role < Role::Responder
    {
        return Err(Error::Forbidden {
            code: "not_allowed",
            message: format!(
                "this needs the role {}; yours is {}",
                Role::Responder,
                principal.role
            ),
            hint: "an export holds whole outputs of tools; ask somebody who has the role",
        });
    }
    let Whole { row, .. } = incidents::load(&web, &id).await?;
    let name = format!("attachment; filename=\"incident-{}.json\"", row.id);
    let export = export(&web, row).await?;
    let text = export.text().map_err(|error| Error::Internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/json".to_owned()), (CONTENT_DISPOSITION, name)], text)
        .into_response())
}

/// The same for programs.
pub async fn api(web: State<Web>, visitor: Visitor, id: Id) -> Result<Response, Error> {
    file(web, visitor, id).await
}

async fn export(web: &Web, row: crate::model::incident::IncidentRow) -> Result<Export, Error> {
    let deps = web.deps()?;
    let mut raw = deps.store.raw_incident(row.id).await?;
    // What was added since the row was read is not what the row tells.
    raw.retain(|entry| entry.seq <= row.seq);
    let exact: Vec<Exported> = raw.into_iter().map(exported).collect();
    let named = Named::by(&exact);
    let (outputs, outputs_gone) = texts(web, named.outputs).await?;
    let (rules, rules_gone) = texts(web, named.rules).await?;
    let runbooks = tokio::fs::read_to_string(&web.settings().runbooks_file).await.ok();
    Ok(Export {
        format: FORMAT.to_owned(),
        version: VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        exported_at_ms: deps.clock.now_ms(),
        incident: row,
        entries: exact.into_iter().map(|entry| entry.redact(&deps.redactor)).collect(),
        outputs,
        outputs_gone,
        rules,
        rules_gone,
        runbooks: runbooks.map(|text| Text::redacted(&deps.redactor, &text)),
    })
}

/// The texts of these names, and the names that have none.
async fn texts(
    web: &Web,
    names: BTreeSet<String>,
) -> Result<(BTreeMap<String, Text>, BTreeSet<String>), Error> {
    let deps = web.deps()?;
    let (mut found, mut gone) = (BTreeMap::new(), BTreeSet::new());
    for name in names {
        match deps.store.blob(&name).await? {
            Some(text) => {
                found.insert(name, Text::redacted(&deps.redactor, &text));
            }
            None => {
                gone.insert(name);
            }
        }
    }
    Ok((found, gone))
}

fn exported(raw: Raw) -> Exported {
    let Raw { seq, at_ms, kind, version, body, hash } = raw;
    Exported { seq, at_ms, kind, version, body, hash, redacted: false }
}
