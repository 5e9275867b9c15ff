//! Follows the words of one command along a form of the table.
//!
//! In: a form and the words after the program. Out: every word's role, and the flags and paths
//! seen; or the first word that does not fit. Never: a guess about a word that the form does not
//! name. Alternatives are tried in order; the refusal of the one that came furthest is told.

use super::kind::Kind;
use super::lexer::Word;
use super::notation::{Slot, Takes};
use super::table::{Form, Style};
use super::{PathUse, Peer, Refusal, Role, WordJudgement, WordVerdict};
use crate::safety::paths;

/// How far a command was followed.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    words: &'a [Word],
    at: usize,
    /// The program and its sub-commands so far, for messages.
    called: String,
    flags_ended: bool,
    positionals: Vec<usize>,
    pub seen: Vec<String>,
    pub notes: Vec<WordJudgement>,
    pub paths: Vec<PathUse>,
    /// The hosts that values name.
    pub hosts: Vec<Peer>,
    pub network: bool,
    pub resolves: bool,
}

/// Where and why a command does not fit.
#[derive(Debug)]
pub struct Stop {
    pub at: usize,
    pub refusal: Refusal,
    pub notes: Vec<WordJudgement>,
}

type Followed<T> = Result<T, Box<Stop>>;

/// Follows all words after the program.
///
/// # Errors
/// The first word that does not fit the form that fits longest.
pub fn follow<'a>(form: &Form, words: &'a [Word]) -> Followed<Walk<'a>> {
    let mut walk = Walk {
        words,
        at: 0,
        called: String::new(),
        flags_ended: false,
        positionals: Vec::new(),
        seen: Vec::new(),
        notes: Vec::new(),
        paths: Vec::new(),
        hosts: Vec::new(),
        network: false,
        resolves: false,
    };
    walk.called.clone_from(&words[0].text);
    walk.note(Role::Program, "a program of the table");
    walk.at = 1;
    along(form, walk)
}

fn along<'a>(form: &Form, mut walk: Walk<'a>) -> Followed<Walk<'a>> {
    if form.forms.is_empty() {
        walk.network |= form.network;
        walk.resolves |= form.resolves;
        return walk.alone(form);
    }
    let mut furthest: Option<Box<Stop>> = None;
    for alternative in &form.forms {
        match along(alternative, walk.clone()) {
            Ok(done) => return Ok(done),
            Err(stop) if furthest.as_ref().is_none_or(|best| stop.at > best.at) => {
                furthest = Some(stop);
            }
            Err(_) => {}
        }
    }
    Err(furthest.unwrap_or_else(|| walk.stop(form, "no form of it is allowed".to_owned())))
}

impl<'a> Walk<'a> {
    fn alone(mut self, form: &Form) -> Followed<Walk<'a>> {
        while let Some(word) = self.words.get(self.at) {
            let text = word.text.as_str();
            if text == "-" {
                return Err(self.stop(form, "standard input is closed; name a file".to_owned()));
            } else if self.flags_ended {
                self.positional(form)?;
            } else if text.starts_with('-') {
                self.flag(form)?;
            } else if self.keyword(form)? {
                continue;
            } else if form.style == Style::Bsd && !text.bytes().all(|b| b.is_ascii_digit()) {
                self.cluster(form, "", text)?;
            } else if let Some(sub) = form.subs.get(text).filter(|_| self.positionals.is_empty()) {
                self.called = format!("{} {text}", self.called);
                self.note(Role::Subcommand, "a sub-command that only reads");
                self.at += 1;
                return along(sub, self);
            } else if form.args.is_none() && !form.subs.is_empty() {
                let reason = match form.refuse.get(text) {
                    Some(reason) => format!("`{} {text}` {reason}", self.called),
                    None => format!("`{} {text}` is not in the table", self.called),
                };
                return Err(self.stop(form, reason));
            } else {
                self.positional(form)?;
            }
        }
        self.finish(form)
    }

    fn positional(&mut self, form: &Form) -> Followed<()> {
        let text = self.words[self.at].text.as_str();
        // A program that does not know `--` would read it as a flag again.
        if text.starts_with('-') {
            return Err(self.stop(form, "a word that begins with - is a flag".to_owned()));
        }
        if let Some(reason) = form.refuse.get(text) {
            return Err(self.stop(form, format!("`{} {text}` {reason}", self.called)));
        }
        self.positionals.push(self.at);
        self.note(Role::Positional, "");
        self.at += 1;
        Ok(())
    }

    fn flag(&mut self, form: &Form) -> Followed<()> {
        let text = self.words[self.at].text.as_str();
        let whole = form.flags.get(text);
        if form.style == Style::Words || text == "-aux" {
            return match whole {
                Some(takes) => self.whole_word(form, text, takes),
                None => self.with_value(form, text),
            };
        }
        if text == "--" {
            self.flags_ended = true;
            self.note(Role::EndOfFlags, "the end of flags");
            self.at += 1;
            return Ok(());
        }
        if text.starts_with("--") {
            return match whole {
                Some(takes) => self.whole_word(form, text, takes),
                None => self.with_value(form, text),
            };
        }
        let letters = &text[1..];
        let number = form.flags.get("-NUM").filter(|_| letters.bytes().all(|b| b.is_ascii_digit()));
        if let Some(Takes::Value(kind)) = number {
            self.value(form, "-NUM", kind, letters)?;
            self.seen.push("-NUM".to_owned());
            self.note(Role::Flag, "a count");
            self.at += 1;
            return Ok(());
        }
        self.cluster(form, "-", letters)
    }

    /// A word without a dash that the form lists as a flag: `dev eth0`, `+short`, `+time=2`.
    fn keyword(&mut self, form: &Form) -> Followed<bool> {
        let text = self.words[self.at].text.as_str();
        if form.style == Style::Bsd {
            return Ok(false);
        }
        if let Some(takes) = form.flags.get(text) {
            self.whole_word(form, text, takes)?;
            return Ok(true);
        }
        let name = text.split_once('=').map(|(name, _)| name);
        if name.is_some_and(|name| form.flags.contains_key(name)) {
            self.with_value(form, text)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// A flag that stands alone in its word; its value, if any, is the next one.
    fn whole_word(&mut self, form: &Form, name: &str, takes: &Takes) -> Followed<()> {
        match takes {
            Takes::Nothing | Takes::MaybeAttached(_) => self.seen_flag(name),
            Takes::Value(kind) | Takes::Next(kind) => {
                self.seen_flag(name);
                self.next_value(form, name, kind)?;
            }
            Takes::Attached(_) => {
                return Err(self.stop(form, format!("write its value with it: {name}=…")));
            }
            Takes::Maybe(kind) => {
                self.seen_flag(name);
                let next = self.words.get(self.at);
                if next.is_some_and(|word| kind.accept(&word.text).is_ok()) {
                    self.next_value(form, name, kind)?;
                }
            }
        }
        Ok(())
    }

    /// A flag with `=` and its value in one word.
    fn with_value(&mut self, form: &Form, text: &str) -> Followed<()> {
        let Some((name, value)) = text.split_once('=') else {
            return Err(self.unknown(form, text));
        };
        match form.flags.get(name) {
            Some(Takes::Value(kind) | Takes::Attached(kind) | Takes::MaybeAttached(kind))
            | Some(Takes::Maybe(kind)) => {
                self.value(form, name, kind, value)?;
                self.seen_flag(name);
                Ok(())
            }
            Some(Takes::Next(_)) => {
                Err(self.stop(form, format!("write the value of {name} as the next word")))
            }
            Some(Takes::Nothing) => Err(self.stop(form, format!("{name} takes no value"))),
            None => Err(self.unknown(form, name)),
        }
    }

    /// Letters in one word; the first that takes a value takes the rest of it or the next word.
    fn cluster(&mut self, form: &Form, dash: &str, letters: &str) -> Followed<()> {
        for (index, letter) in letters.char_indices() {
            let name = format!("{dash}{letter}");
            let rest = &letters[index + letter.len_utf8()..];
            let Some(takes) = form.flags.get(&name) else {
                return Err(self.unknown(form, &name));
            };
            match takes {
                Takes::Nothing => self.seen.push(name),
                Takes::MaybeAttached(kind) | Takes::Maybe(kind) if !rest.is_empty() => {
                    self.value(form, &name, kind, rest)?;
                    self.seen_flag(&name);
                    return Ok(());
                }
                Takes::MaybeAttached(_) => self.seen.push(name),
                Takes::Value(kind) if !rest.is_empty() => {
                    let go = form.style == Style::Go;
                    let value = rest.strip_prefix('=').filter(|_| go).unwrap_or(rest);
                    self.value(form, &name, kind, value)?;
                    self.seen_flag(&name);
                    return Ok(());
                }
                Takes::Next(_) | Takes::Attached(_) if !rest.is_empty() => {
                    let reason = format!("write the value of {name} as the next word");
                    return Err(self.stop(form, reason));
                }
                takes @ (Takes::Value(_) | Takes::Next(_) | Takes::Attached(_)) => {
                    return self.whole_word(form, &name, takes);
                }
                takes @ Takes::Maybe(_) => return self.whole_word(form, &name, takes),
            }
        }
        self.note(Role::Flag, "a flag");
        self.at += 1;
        Ok(())
    }

    fn seen_flag(&mut self, name: &str) {
        self.seen.push(name.to_owned());
        self.note(Role::Flag, "a flag");
        self.at += 1;
    }

    fn next_value(&mut self, form: &Form, name: &str, kind: &Kind) -> Followed<()> {
        let Some(word) = self.words.get(self.at) else {
            self.at -= 1;
            self.notes.pop();
            let reason = format!("{name} needs a value, {}", kind.describe());
            return Err(self.stop(form, reason));
        };
        self.value(form, name, kind, &word.text)?;
        self.note(Role::Value, &kind.describe());
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, form: &Form, name: &str, kind: &Kind, text: &str) -> Followed<()> {
        match kind.accept(text) {
            Ok(access) => {
                self.remember(access, text);
                self.remember_hosts(kind, text);
                Ok(())
            }
            Err(reason) => Err(self.stop(form, format!("as the value of {name}, {reason}"))),
        }
    }

    fn remember(&mut self, access: Option<paths::Access>, text: &str) {
        if let (Some(access), Ok(path)) = (access, paths::normalise(text)) {
            let column = self.words[self.at.min(self.words.len() - 1)].column;
            self.paths.push(PathUse { path, access, column });
        }
    }

    fn remember_hosts(&mut self, kind: &Kind, text: &str) {
        let column = self.words[self.at.min(self.words.len() - 1)].column;
        let named = kind.hosts(text).into_iter();
        self.hosts.extend(named.map(|name| Peer { name: name.to_owned(), column }));
    }

    fn finish(mut self, form: &Form) -> Followed<Walk<'a>> {
        for choice in &form.require {
            if !choice.iter().any(|flag| self.seen.contains(flag)) {
                self.at = 0;
                self.notes.clear();
                let reason = format!("`{}` needs {}", self.called, choice.join(" or "));
                return Err(self.stop(form, reason));
            }
        }
        let none = vec![Vec::new()];
        let alternatives = match &form.args {
            Some(args) => args,
            None if form.subs.is_empty() => &none,
            None => {
                self.at = 0;
                self.notes.clear();
                let reason = format!("`{}` needs a sub-command", self.called);
                return Err(self.stop(form, reason));
            }
        };
        let mut furthest: Option<(usize, String)> = None;
        for slots in alternatives {
            let mut kinds = Vec::new();
            match self.fit(slots, 0, &mut kinds) {
                Ok(()) => return Ok(self.accept_positionals(&kinds)),
                Err(miss) if furthest.as_ref().is_none_or(|best| miss.0 > best.0) => {
                    furthest = Some(miss);
                }
                Err(_) => {}
            }
        }
        let (index, reason) = furthest.unwrap_or((0, "it does not fit".to_owned()));
        self.at = self.positionals.get(index).copied().unwrap_or(0);
        self.notes.truncate(self.at);
        Err(self.stop(form, reason))
    }

    /// Fits positional words from `from` on into slots, each as many as it can hold, else fewer.
    fn fit<'k>(
        &self,
        slots: &'k [Slot],
        from: usize,
        kinds: &mut Vec<&'k Kind>,
    ) -> Result<(), (usize, String)> {
        let Some((slot, later)) = slots.split_first() else {
            return match self.positionals.get(from) {
                None => Ok(()),
                Some(_) => Err((from, format!("`{}` takes no further word", self.called))),
            };
        };
        let words = self.positionals.iter().skip(from).take(slot.max);
        let answers: Vec<_> = words
            .map(|at| slot.kind.accept(&self.words[*at].text))
            .take_while(Result::is_ok)
            .collect();
        let taken = answers.len();
        let mut best = match self.positionals.get(from + taken) {
            Some(at) if taken < slot.max => {
                let reason = slot.kind.accept(&self.words[*at].text).err();
                (from + taken, reason.unwrap_or_default())
            }
            Some(_) | None => (from + taken, self.missing(slot)),
        };
        for count in (slot.min..=taken).rev() {
            kinds.extend(std::iter::repeat_n(&slot.kind, count));
            match self.fit(later, from + count, kinds) {
                Ok(()) => return Ok(()),
                Err(miss) if miss.0 > best.0 => best = miss,
                Err(_) => {}
            }
            kinds.truncate(kinds.len() - count);
        }
        Err(best)
    }

    fn missing(&self, slot: &Slot) -> String {
        format!("`{}` needs {}", self.called, slot.kind.describe())
    }

    fn accept_positionals(mut self, kinds: &[&Kind]) -> Walk<'a> {
        for (at, kind) in self.positionals.clone().into_iter().zip(kinds) {
            let text = &self.words[at].text;
            let access = kind.accept(text).ok().flatten();
            self.at = at;
            self.remember(access, text);
            self.remember_hosts(kind, text);
            self.notes[at].verdict = WordVerdict::Allowed(kind.describe());
        }
        self
    }

    fn note(&mut self, role: Role, why: &str) {
        let word = &self.words[self.at];
        self.notes.push(WordJudgement {
            word: word.text.clone(),
            column: word.column,
            role,
            verdict: WordVerdict::Allowed(why.to_owned()),
        });
    }

    fn unknown(&self, form: &Form, name: &str) -> Box<Stop> {
        let longer: Vec<&String> =
            form.flags.keys().filter(|flag| flag.starts_with(name)).collect();
        let reason = match (form.refuse.get(name), longer.as_slice()) {
            (Some(reason), _) => format!("`{} {name}` {reason}", self.called),
            (None, [one]) if name.starts_with("--") => format!("write it in full, {one}"),
            (None, _) => format!("{name} is not in the table for `{}`", self.called),
        };
        self.stop(form, reason)
    }

    fn stop(&self, form: &Form, reason: String) -> Box<Stop> {
        let word = &self.words[self.at.min(self.words.len() - 1)];
        let refusal = Refusal {
            word: word.text.clone(),
            column: word.column,
            reason,
            nearest: form.nearest.clone(),
        };
        Box::new(Stop { at: self.at, refusal, notes: self.notes.clone() })
    }
}
