//! The OpenAPI document. A test holds it to `routes.rs`.

use axum::Json;
use serde_json::{Map, Value, json};

/// One operation: method, path, summary, who may, query parameters, body, statuses.
type Operation = (
    &'static str,
    &'static str,
    &'static str,
    Access,
    &'static [&'static str],
    Body,
    &'static [u16],
);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Open,
    /// Webhook token as bearer or basic credentials.
    Sender,
    /// API token or session.
    Reader,
    /// API token, or session with CSRF token.
    Responder,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    None,
    Alerts,
    Decision,
    Reason,
    Held,
    Rule,
    Form,
}

use Access::{Open, Reader, Responder, Sender};
use Body::{Alerts, Decision, Form, Held, None as No, Reason, Rule};

const OPERATIONS: &[Operation] = &[
    (
        "post",
        "/webhook/alert",
        "Take an Alertmanager delivery",
        Sender,
        &[],
        Alerts,
        &[200, 400, 401, 403, 413, 503],
    ),
    ("get", "/", "The console", Reader, &["state", "limit", "before"], No, &[200, 303, 400, 401]),
    ("get", "/incidents/{id}", "One incident as a page", Reader, &[], No, &[200, 303, 401, 404]),
    ("get", "/incidents/{id}/report", "Report as a page", Reader, &[], No, &[200, 401, 404]),
    ("get", "/incidents/{id}/report.md", "Report as Markdown", Reader, &[], No, &[200, 401, 404]),
    ("get", "/incidents/{id}/report.json", "Report as JSON", Reader, &[], No, &[200, 401, 404]),
    (
        "get",
        "/incidents/{id}/export.json",
        "The incident as one file",
        Responder,
        &[],
        No,
        &[200, 401, 403, 404, 410],
    ),
    (
        "post",
        "/incidents/{id}/acknowledge",
        "Take an incident by form",
        Responder,
        &[],
        Form,
        &[303, 401, 403, 404],
    ),
    (
        "get",
        "/confirm/{id}",
        "Show a proposed call; never acts",
        Reader,
        &[],
        No,
        &[200, 303, 401, 404],
    ),
    (
        "post",
        "/confirm/{id}",
        "Decide on a proposed call",
        Responder,
        &["approved"],
        Form,
        &[200, 303, 400, 401, 403, 404, 409, 410, 503],
    ),
    ("get", "/login", "The sign-in form", Open, &["next"], No, &[200]),
    ("post", "/login", "Sign in", Open, &[], Form, &[303, 401, 403, 429, 503]),
    ("post", "/logout", "Sign out", Reader, &[], Form, &[303, 401, 403]),
    ("get", "/assets/style.css", "Style sheet", Open, &[], No, &[200]),
    (
        "get",
        "/api/v1/incidents",
        "List incidents, newest first",
        Reader,
        &["state", "limit", "before"],
        No,
        &[200, 400, 401],
    ),
    ("get", "/api/v1/incidents/{id}", "One incident", Reader, &[], No, &[200, 401, 404, 410]),
    (
        "get",
        "/api/v1/incidents/{id}/timeline",
        "Its hash-chained history",
        Reader,
        &["after", "limit"],
        No,
        &[200, 400, 401, 404, 410],
    ),
    ("get", "/api/v1/incidents/{id}/report", "Its report", Reader, &[], No, &[200, 401, 404, 410]),
    (
        "get",
        "/api/v1/incidents/{id}/export",
        "The incident as one file",
        Responder,
        &[],
        No,
        &[200, 401, 403, 404, 410],
    ),
    (
        "post",
        "/api/v1/incidents/{id}/acknowledge",
        "Take an incident",
        Responder,
        &[],
        No,
        &[200, 401, 403, 404],
    ),
    (
        "get",
        "/api/v1/alerts",
        "Find alerts and their incidents, newest first",
        Reader,
        &["fingerprint", "label", "incident", "status", "limit", "offset", "before"],
        No,
        &[200, 400, 401],
    ),
    (
        "get",
        "/api/v1/digests/{id}",
        "A digest and the messages it stands for",
        Reader,
        &[],
        No,
        &[200, 401, 404],
    ),
    ("get", "/digests/{id}", "A digest as a page", Reader, &[], No, &[200, 303, 401, 404]),
    (
        "get",
        "/api/v1/actions",
        "List actions, newest first",
        Reader,
        &["state", "limit"],
        No,
        &[200, 400, 401],
    ),
    ("get", "/api/v1/actions/{id}", "One action", Reader, &[], No, &[200, 401, 404]),
    (
        "post",
        "/api/v1/actions/{id}/approve",
        "Approve the exact stored call",
        Responder,
        &[],
        Decision,
        &[200, 400, 401, 403, 404, 409, 410, 503],
    ),
    (
        "post",
        "/api/v1/actions/{id}/reject",
        "Reject it",
        Responder,
        &[],
        Decision,
        &[200, 400, 401, 403, 404, 409, 410, 503],
    ),
    ("get", "/api/v1/halt", "Whether changes are halted", Reader, &[], No, &[200, 401]),
    ("post", "/api/v1/halt", "Halt every change", Responder, &[], Reason, &[200, 400, 401, 403]),
    (
        "delete",
        "/api/v1/halt",
        "Let changes go on (role sre)",
        Responder,
        &[],
        No,
        &[200, 401, 403],
    ),
    ("get", "/orders", "Halt, holds and quarantine as a page", Reader, &[], No, &[200, 303, 401]),
    ("post", "/halt", "Halt by form", Responder, &[], Form, &[303, 401, 403]),
    ("post", "/resume", "Resume by form (role sre)", Responder, &[], Form, &[303, 401, 403]),
    (
        "get",
        "/api/v1/holds",
        "Holds in force; with all=true those that ended, too",
        Reader,
        &["all"],
        No,
        &[200, 400, 401],
    ),
    ("post", "/api/v1/holds", "Hold targets", Responder, &[], Held, &[200, 400, 401, 403]),
    (
        "delete",
        "/api/v1/holds/{id}",
        "End a hold before its time (role sre)",
        Responder,
        &[],
        No,
        &[200, 401, 403, 404],
    ),
    (
        "get",
        "/api/v1/policy",
        "Rules in force here and on every replica, rules in quarantine",
        Reader,
        &[],
        No,
        &[200, 401],
    ),
    (
        "post",
        "/api/v1/policy/quarantine",
        "Let a rule ask from now on",
        Responder,
        &[],
        Rule,
        &[200, 400, 401, 403],
    ),
    (
        "delete",
        "/api/v1/policy/quarantine",
        "Lift the quarantine of a rule (role sre)",
        Responder,
        &["rule"],
        No,
        &[200, 400, 401, 403],
    ),
    (
        "get",
        "/api/v1/system/timeline",
        "What happened to the system itself, chained",
        Reader,
        &["after", "limit"],
        No,
        &[200, 400, 401],
    ),
    ("get", "/api/v1/openapi.json", "This document", Open, &[], No, &[200]),
    ("get", "/healthz", "The process lives", Open, &[], No, &[200]),
    ("get", "/readyz", "The store can be read and written", Open, &[], No, &[200, 503]),
    ("get", "/-/healthy", "The process lives", Open, &[], No, &[200]),
    ("get", "/-/ready", "The store can be read and written", Open, &[], No, &[200, 503]),
    (
        "post",
        "/-/reload",
        "Take over changed rules, runbooks and inventory (role admin)",
        Responder,
        &[],
        No,
        &[200, 401, 403, 422, 503],
    ),
    ("get", "/metrics", "Metrics for Prometheus", Open, &[], No, &[200]),
];

/// The document.
pub async fn document() -> Json<Value> {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let (method, path, ..) = operation;
        let path = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        path[*method] = described(operation);
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Watchkeeper",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every error is {\"error\": {code, message, id}}, often with a hint. \
                Alertmanager's deliveries are answered 200 once stored; 503 asks for a retry.",
        },
        "paths": paths,
        "components": {"securitySchemes": schemes(), "schemas": schemas()},
    }))
}

fn described(operation: &Operation) -> Value {
    let (_, path, summary, access, query, body, statuses) = operation;
    let text = json!({"type": "string"});
    let mut parameters: Vec<Value> = Vec::new();
    if path.contains("{id}") {
        let id = json!({"type": "string", "format": "uuid"});
        parameters.push(json!({"name": "id", "in": "path", "required": true, "schema": id}));
    }
    for name in *query {
        let required = *name == "approved";
        parameters.push(json!({"name": name, "in": "query", "required": required, "schema": text}));
    }
    let responses: Map<String, Value> =
        statuses.iter().map(|status| (status.to_string(), response(*status))).collect();
    let security = match access {
        Access::Open => json!([]),
        Access::Sender => json!([{"webhookToken": []}, {"webhookBasic": []}]),
        Access::Reader => json!([{"apiToken": []}, {"session": []}]),
        Access::Responder => json!([{"apiToken": []}, {"session": [], "csrf": []}]),
    };
    let mut described = json!({
        "summary": summary, "parameters": parameters, "security": security, "responses": responses,
    });
    let (kind, schema) = match body {
        Body::None => return described,
        Body::Alerts => ("application/json", "Alerts"),
        Body::Decision => ("application/json", "Decision"),
        Body::Reason => ("application/json", "Reason"),
        Body::Held => ("application/json", "Hold"),
        Body::Rule => ("application/json", "Quarantine"),
        Body::Form => ("application/x-www-form-urlencoded", "Form"),
    };
    let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
    described["requestBody"] = json!({"content": {kind: {"schema": schema}}});
    described
}

fn response(status: u16) -> Value {
    let description = match status {
        200 => "Done",
        303 => "Go on at Location",
        400 => "The request cannot be understood; the path of the value at fault is named",
        401 => "Credentials are missing or not valid",
        403 => "Not for this role, or made by a page of another site",
        404 => "No such thing",
        409 => "Already decided, superseded, or another call than the one shown",
        410 => "Expired: nobody answered in time",
        413 => "Too large; its start was kept",
        422 => "The files are broken; what was in force stays in force",
        429 => "Too many wrong passwords",
        503 => "Nothing was stored; send it again",
        _ => "See the body",
    };
    if status < 400 {
        return json!({"description": description});
    }
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

fn schemes() -> Value {
    json!({
        "webhookToken": {"type": "http", "scheme": "bearer"},
        "webhookBasic": {"type": "http", "scheme": "basic"},
        "apiToken": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": "watchkeeper"},
        "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
    })
}

fn schemas() -> Value {
    let text = json!({"type": "string"});
    json!({
        "Problem": {"type": "object", "required": ["error"], "properties": {"error": {
            "type": "object", "required": ["code", "message", "id"],
            "properties": {
                "code": text, "message": text, "hint": text, "path": text, "state": text,
                "id": text, "problems": {"type": "array", "items": text},
            },
        }}},
        "Decision": {"type": "object", "properties": {"comment": text, "call_hash": text}},
        "Reason": {"type": "object", "properties": {"reason": text}},
        "Hold": {"type": "object", "required": ["match", "for"], "properties": {
            "match": text, "for": text, "reason": text,
        }},
        "Quarantine": {"type": "object", "required": ["rule"], "properties": {
            "rule": text, "reason": text,
        }},
        "Form": {"type": "object", "additionalProperties": text},
        "Alerts": {
            "type": "object",
            "required": ["alerts"],
            "properties": {"version": text, "groupKey": text, "alerts": {
                "type": "array",
                "items": {"type": "object", "required": ["status", "labels", "startsAt"]},
            }},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_lists_exactly_the_routes() {
        let listed: BTreeSet<_> = OPERATIONS.iter().map(|(m, p, ..)| (*m, *p)).collect();
        let routed: BTreeSet<_> = super::super::ROUTES.iter().copied().collect();
        assert_eq!(listed, routed);
        assert_eq!(OPERATIONS.len(), listed.len());
    }
}
