//! Redacts text that arrives in chunks.
//!
//! In: chunks of any size. Out: redacted text as soon as nothing to come can change it; the rest
//! at `finish`. Holds back at most the longest value that the rules follow (tens of kilobytes),
//! usually one word. Never: a secret that leaks because a chunk border cuts it.

use super::Redactor;
use super::exact::Exact;
use super::scan::{self, Found, Progress, SPAN_LEFT_BYTES, Span};
use super::window::{LEFT_BYTES, Reach, Window};
use std::sync::Arc;

/// One text under way.
pub struct Stream {
    /// The same for the whole text.
    exact: Arc<Option<Exact>>,
    /// Some text already given out, as context, then the text held back.
    held: String,
    /// Where the text held back starts.
    from: usize,
    progress: Progress,
    exact_at: usize,
    spans: Vec<Span>,
    /// Waits for this length before looking again, so that tiny chunks do not repeat long looks.
    look_at: usize,
}

impl Stream {
    pub(super) fn new(redactor: &Redactor) -> Self {
        Self {
            exact: redactor.exact(),
            held: String::new(),
            from: 0,
            progress: Progress::default(),
            exact_at: 0,
            spans: Vec::new(),
            look_at: 0,
        }
    }

    /// Takes a chunk, returns what is final.
    pub fn push(&mut self, chunk: &str) -> String {
        self.held.push_str(chunk);
        if self.held.len() < self.look_at {
            return String::new();
        }
        self.look(Reach::Open);
        let decided = self.progress.at.saturating_sub(SPAN_LEFT_BYTES).min(self.exact_at);
        let pending = self.held.len() - self.progress.at.min(self.exact_at);
        self.look_at = self.held.len() + pending / 2;
        let out = self.give_out(decided);
        self.forget();
        out
    }

    /// Returns the rest.
    pub fn finish(mut self) -> String {
        self.look(Reach::Whole);
        self.give_out(self.held.len())
    }

    fn look(&mut self, reach: Reach) {
        let window = Window::new(&self.held, reach);
        let mut found = Found { spans: std::mem::take(&mut self.spans), secret_name_seen: false };
        scan::walk(&window, &mut self.progress, &mut found);
        self.exact_at = match self.exact.as_ref() {
            Some(exact) => exact.walk(self.held.as_bytes(), self.exact_at, reach, &mut found.spans),
            None => self.held.len(),
        };
        self.spans = found.spans;
    }

    /// Writes up to `decided`, but never into the middle of a finding.
    fn give_out(&mut self, decided: usize) -> String {
        let mut merged = self.spans.clone();
        scan::merge(&mut merged);
        let cut = merged.iter().find(|span| span.start < decided && span.end > decided);
        let decided = cut.map_or(decided, |span| span.start).max(self.from);
        let decided = self.held.floor_char_boundary(decided).max(self.from);
        let ready = merged.partition_point(|span| span.end <= decided);
        self.spans.retain(|span| span.end > decided);
        let mut out = String::with_capacity(decided - self.from);
        scan::write(&self.held, self.from, decided, &merged[..ready], &mut out);
        self.from = decided;
        out
    }

    /// Drops what no rule can look back at.
    fn forget(&mut self) {
        let keep = self.from.saturating_sub(LEFT_BYTES + SPAN_LEFT_BYTES);
        // Moving the rest for a few bytes would cost more than it frees.
        if keep < 4096 {
            return;
        }
        let drop = self.held.floor_char_boundary(keep);
        self.held.drain(..drop);
        self.from -= drop;
        self.progress.at -= drop;
        self.progress.seam = self.progress.seam.saturating_sub(drop);
        self.exact_at -= drop;
        self.look_at -= drop;
        for span in &mut self.spans {
            span.start -= drop;
            span.end -= drop;
        }
    }
}
