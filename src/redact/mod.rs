//! Takes secrets out of text and JSON before they are stored, sent, logged or shown.
//!
//! In: any text on its way to a store, a model, a person or a log. Out: the same text, byte for
//! byte, with each secret replaced by `[redacted:KIND]`. Our own secrets are found exactly, in
//! every usual encoding; those of others by shape, by place and by the name beside them, at the
//! recall that `docs/redaction.md` publishes.
//! Never: I/O, a search that is not linear, JSON that no longer parses, a failure: what cannot be
//! judged is returned or hidden, not refused.
//! To add a token format see `tokens`, a name `names`, a program with a password flag `places`.

mod anchors;
mod exact;
mod json;
mod json_text;
mod keyed;
mod manifest;
mod names;
mod places;
mod quote;
mod scan;
mod stream;
#[cfg(test)]
mod tests;
mod tokens;
mod value;
mod window;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use secrecy::{ExposeSecret as _, SecretString};

pub use stream::Stream;

use exact::Exact;
use scan::{Found, Progress};
use window::{Reach, Window};

/// Finds and replaces secrets; clones share one set of rules.
#[derive(Clone)]
pub struct Redactor(Arc<Known>);

/// Our own secrets, those of before among them: they may stand in texts that are still to come.
struct Known {
    values: Mutex<Vec<SecretString>>,
    exact: RwLock<Arc<Option<Exact>>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Redactor")
    }
}

impl Redactor {
    /// Takes our own secrets; values shorter than six characters are ignored.
    pub fn new(exact: impl IntoIterator<Item = SecretString>) -> Self {
        let redactor = Self(Arc::new(Known { values: Mutex::default(), exact: RwLock::default() }));
        redactor.learn(exact);
        redactor
    }

    /// Takes more of our own secrets; every clone knows them from here on.
    pub fn learn(&self, more: impl IntoIterator<Item = SecretString>) {
        let mut values = self.0.values.lock().unwrap_or_else(PoisonError::into_inner);
        for value in more {
            if values.iter().all(|known| known.expose_secret() != value.expose_secret()) {
                values.push(value);
            }
        }
        let exact = Exact::new(values.iter().map(|value| value.expose_secret()));
        *self.0.exact.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(exact);
    }

    fn exact(&self) -> Arc<Option<Exact>> {
        Arc::clone(&self.0.exact.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces every secret; borrowed when there is none. Applying it twice changes nothing.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut found = self.find(text);
        if found.spans.is_empty() {
            return Cow::Borrowed(text);
        }
        scan::merge(&mut found.spans);
        let mut out = String::with_capacity(text.len());
        scan::write(text, 0, text.len(), &found.spans, &mut out);
        Cow::Owned(out)
    }

    /// Redacts all strings, and whatever stands under a secret-like key or in a Kubernetes Secret.
    pub fn json(&self, value: &mut serde_json::Value) {
        json::redact(self, value);
    }

    /// Redacts inside a JSON document, which still parses afterwards; the rest stays byte for
    /// byte. Borrowed, without parsing, when nothing looks suspicious. Text that is no JSON is
    /// treated as [`Redactor::text`] does.
    pub fn json_text<'a>(&self, raw: &'a str) -> Cow<'a, str> {
        let found = self.find(raw);
        if found.spans.is_empty() && !found.secret_name_seen {
            return Cow::Borrowed(raw);
        }
        json_text::redact(self, raw).unwrap_or_else(|| self.text(raw))
    }

    /// Redacts text that arrives in chunks: the outputs together equal [`Redactor::text`] of the
    /// chunks together.
    pub fn stream(&self) -> Stream {
        Stream::new(self)
    }

    fn find(&self, text: &str) -> Found {
        let mut found = Found::default();
        let window = Window::new(text, Reach::Whole);
        scan::walk(&window, &mut Progress::default(), &mut found);
        if let Some(exact) = self.exact().as_ref() {
            exact.walk(text.as_bytes(), 0, Reach::Whole, &mut found.spans);
        }
        found
    }
}
