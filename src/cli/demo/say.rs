//! What the demo prints: one line for each thing that happened, with its time and who did it.
//!
//! In: facts from the demo, its monitor and the server's timeline. Out: standard output; colour
//! only on a terminal. Never: control characters of others; a panic because nobody reads any more.

use crate::clock::Clock;
use crate::web::visible;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

/// Longer lines hide the next ones on a terminal.
const CHARS_MAX: usize = 200;

/// Who did it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// The demo itself: what it breaks, and what it looks at.
    Demo,
    Monitor,
    Server,
    /// The person who approves.
    Person,
    /// What arrives in the team's chat.
    Team,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Monitor => "monitor",
            Self::Server => "watchkeeper",
            Self::Person => "person",
            Self::Team => "team chat",
        }
    }

    /// An ANSI colour.
    fn colour(self) -> &'static str {
        match self {
            Self::Demo => "1",
            Self::Monitor => "33",
            Self::Server => "36",
            Self::Person => "32",
            Self::Team => "35",
        }
    }
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    pub at_ms: i64,
    pub who: Who,
    pub text: String,
}

/// Whether something that the demo looked at is as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    Yes,
    No,
}

impl From<bool> for Held {
    fn from(held: bool) -> Self {
        if held { Self::Yes } else { Self::No }
    }
}

/// What others have to say, until it is printed. Clones share the same pages.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<Said>>>);

impl Journal {
    pub fn add(&self, at_ms: i64, who: Who, text: impl Into<String>) {
        self.locked().push(Said { at_ms, who, text: text.into() });
    }

    pub fn take(&self) -> Vec<Said> {
        std::mem::take(&mut *self.locked())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Said>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints.
pub struct Voice {
    clock: Clock,
    began_ms: i64,
    colours: Colours,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Colours {
    On,
    Off,
}

impl Voice {
    pub fn new(clock: Clock) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colours = if terminal { Colours::On } else { Colours::Off };
        Self { began_ms: clock.now_ms(), clock, colours }
    }

    /// Begins a part.
    pub fn heading(&self, text: &str) {
        self.plain("");
        self.plain(&self.painted("1;4", text));
    }

    /// Tells what the demo does, as it does it.
    pub fn now(&self, who: Who, text: &str) {
        self.line(&Said { at_ms: self.clock.now_ms(), who, text: text.to_owned() });
    }

    pub fn line(&self, said: &Said) {
        let time = chrono::DateTime::from_timestamp_millis(said.at_ms)
            .map_or_else(String::new, |at| at.format("%H:%M:%S").to_string());
        let since = seconds(said.at_ms - self.began_ms);
        let who = self.painted(said.who.colour(), &format!("{:<11}", said.who.name()));
        self.plain(&format!("{time} {since:>6}  {who}  {}", one_line(&said.text)));
    }

    /// Tells the outcome of a check, and gives it back.
    pub fn checked(&self, what: &str, held: Held) -> Held {
        let (mark, colour) = match held {
            Held::Yes => ("ok    ", "32"),
            Held::No => ("FAILED", "31"),
        };
        self.plain(&format!("  {}  {}", self.painted(colour, mark), one_line(what)));
        held
    }

    /// Prints text as it is, except for what a terminal would obey.
    pub fn plain(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Whoever closed the pipe has read enough; the demo still cleans up behind itself.
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        match self.colours {
            Colours::On => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
            Colours::Off => text.to_owned(),
        }
    }
}

/// A length of time as the demo shows it.
pub fn seconds(ms: i64) -> String {
    format!("{}.{} s", ms / 1000, ms.rem_euclid(1000) / 100)
}

/// The first line, cut, with nothing hidden in it; and the second where the first announces it.
pub fn one_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut line = visible(lines.next().unwrap_or_default());
    if line.ends_with(':') {
        line = format!("{line} {}", visible(lines.next().unwrap_or_default()));
    }
    if line.chars().count() <= CHARS_MAX {
        return line;
    }
    let cut: String = line.chars().take(CHARS_MAX).collect();
    format!("{cut}…")
}
