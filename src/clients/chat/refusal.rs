//! Reads the many ways in which model servers say no.
//!
//! In: a status and a body of any shape. Out: the error that tells the caller what to do. Never: a
//! guess that waiting helps when the account is empty or the conversation too long.

use serde_json::Value;

use super::Error;

/// What a server said, in whatever shape.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: u16,
    /// OpenAI's `code` and `type`, joined, in lower case.
    pub code: String,
    /// None when the body has no message that could be found.
    pub message: Option<String>,
}

/// Codes that mean an empty account; other 429s are rate limits and pass by themselves.
const QUOTA_CODES: [&str; 4] =
    ["insufficient_quota", "billing_hard_limit", "billing_not_active", "insufficient_balance"];
const QUOTA_WORDS: [&str; 2] =
    ["insufficient balance", "exceeded your current quota, please check"];
const CONTEXT_CODES: [&str; 3] =
    ["context_length_exceeded", "exceed_context_size", "string_above_max_length"];
/// The wording of OpenAI, vLLM, llama.cpp, Anthropic, Bedrock, Mistral and DeepSeek, in that order.
const CONTEXT_WORDS: [&str; 8] = [
    "maximum context length",
    "maximum model length",
    "exceeds the available context size",
    "prompt is too long",
    "input is too long",
    "too large for model with",
    "context window",
    "context length",
];

impl Refusal {
    /// Finds code and message; a body that is not JSON has neither.
    pub fn read(status: u16, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = &body["error"];
        let places =
            [&error["message"], error, &body["detail"], &body["message"], &body["error_msg"]];
        let message = places.into_iter().find_map(text);
        let code = [&error["code"], &error["type"], &body["code"], &body["type"]]
            .into_iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" ")
            .to_ascii_lowercase();
        Self { status, code, message }
    }

    /// The error that a 2xx answer holds instead of choices, as some proxies send it.
    pub fn within_success(body: &[u8]) -> Option<Self> {
        let parsed: Value = serde_json::from_slice(body).ok()?;
        let error = parsed.get("error").filter(|error| !error.is_null())?;
        if parsed["choices"].as_array().is_some_and(|choices| !choices.is_empty()) {
            return None;
        }
        let code = error["code"].as_u64().or_else(|| error["status"].as_u64());
        let status = code.and_then(|code| u16::try_from(code).ok()).filter(|c| *c >= 400);
        Some(Self::read(status.unwrap_or(502), body))
    }

    /// Whether the same request may work a little later.
    pub fn passes_by_itself(&self) -> bool {
        matches!(self.status, 408 | 429 | 500..=599) && !self.is_quota() && !self.is_context()
    }

    /// Turns it into the caller's error; `message` is the readable, secret-free text.
    pub fn into_error(self, endpoint: &str, message: String, retry_after_ms: Option<u64>) -> Error {
        let endpoint = endpoint.to_owned();
        if self.is_quota() {
            Error::QuotaExhausted { endpoint, message }
        } else if self.is_context() {
            Error::ContextTooLong { endpoint, message }
        } else if self.passes_by_itself() {
            let reason = format!("it answered {}: {message}", self.status);
            Error::Unavailable { endpoint, reason, retry_after_ms, source: None }
        } else {
            Error::Rejected { endpoint, status: self.status, message }
        }
    }

    fn is_quota(&self) -> bool {
        self.status == 402 || self.says(&QUOTA_CODES, &QUOTA_WORDS)
    }

    fn is_context(&self) -> bool {
        self.status == 413 || self.says(&CONTEXT_CODES, &CONTEXT_WORDS)
    }

    fn says(&self, codes: &[&str], words: &[&str]) -> bool {
        let message = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        codes.iter().any(|code| self.code.contains(code))
            || words.iter().any(|word| message.contains(word))
    }
}

/// Text, or the first message of a list of problems (FastAPI's `detail`).
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Array(items) => items.first().and_then(|item| text(&item["msg"])),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The error's name and its text.
    fn said(status: u16, body: &str) -> (&'static str, String) {
        let refusal = Refusal::read(status, body.as_bytes());
        let message = refusal.message.clone().unwrap_or_else(|| "-".to_owned());
        match refusal.into_error("m", message, None) {
            Error::Unavailable { reason, .. } => ("unavailable", reason),
            Error::Rejected { message, .. } => ("rejected", message),
            Error::Malformed { reason, .. } => ("malformed", reason),
            Error::QuotaExhausted { message, .. } => ("quota", message),
            Error::ContextTooLong { message, .. } => ("context", message),
        }
    }

    #[test]
    fn every_shape_of_refusal_is_understood() {
        let cases = [
            (
                401,
                r#"{"error":{"message":"bad key","code":"invalid_api_key"}}"#,
                "rejected",
                "bad key",
            ),
            (404, r#"{"error":"model 'x' not found"}"#, "rejected", "model 'x' not found"),
            (
                422,
                r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#,
                "rejected",
                "field required",
            ),
            (404, r#"{"detail":"Not Found"}"#, "rejected", "Not Found"),
            (
                400,
                r#"{"object":"error","message":"no such tool","code":400}"#,
                "rejected",
                "no such tool",
            ),
            (403, "<html>forbidden</html>", "rejected", "-"),
            (
                402,
                r#"{"error":{"message":"Insufficient Balance"}}"#,
                "quota",
                "Insufficient Balance",
            ),
            (429, r#"{"error":{"message":"no","type":"insufficient_quota"}}"#, "quota", "no"),
            (
                429,
                r#"{"error":{"message":"slow down"}}"#,
                "unavailable",
                "it answered 429: slow down",
            ),
            (503, "", "unavailable", "it answered 503: -"),
            (413, "", "context", "-"),
            (400, r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#, "context", "x"),
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens"}}"#,
                "context",
                "This model's maximum context length is 8192 tokens",
            ),
        ];
        for (status, body, kind, text) in cases {
            assert_eq!(said(status, body), (kind, text.to_owned()), "{status} {body}");
        }
    }

    #[test]
    fn error_inside_a_success_keeps_its_code() {
        let cases = [
            (json!({ "error": { "code": 429, "message": "busy" } }), Some(429)),
            (json!({ "error": { "message": "upstream" } }), Some(502)),
            (json!({ "error": null, "choices": [{}] }), None),
            (json!({ "error": { "code": 429 }, "choices": [{}] }), None),
        ];
        for (body, status) in cases {
            let found = Refusal::within_success(body.to_string().as_bytes());
            assert_eq!(found.map(|refusal| refusal.status), status, "{body}");
        }
    }
}
