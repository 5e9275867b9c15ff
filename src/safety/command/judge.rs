//! Judges a whole command line.
//!
//! In: a line, or ready words. Out: a `Judgement`. Never: I/O, a word run that was not judged, a
//! word judged differently from how the program reads it. This is the only maker of `Argv`.

use super::lexer::{self, Word};
use super::table::{self, Form, Table};
use super::walk::{self, Walk};
use super::{Argv, Judgement, Peer, Reach, Refusal, Role, WordJudgement, WordVerdict};
use crate::model::text::distance;
use std::net::IpAddr;

/// Judges one command line.
pub fn judge(line: &str) -> Judgement {
    judge_with(table::builtin(), lexer::split(line))
}

/// Judges ready words, the program first; no shell ever reads them.
pub fn judge_argv(argv: &[String]) -> Judgement {
    judge_with(table::builtin(), lexer::take(argv))
}

pub(super) fn judge_with(table: &Table, words: Result<Vec<Word>, Refusal>) -> Judgement {
    let words = match words {
        Ok(words) => words,
        Err(refusal) => return Judgement { words: Vec::new(), outcome: Err(refusal) },
    };
    let Some((name, form)) = table.program(&words[0].text) else {
        return refused(&words, Vec::new(), 0, unknown_program(table, &words[0]));
    };
    let (words, added) = without_added(form, words);
    let mut judgement = match walk::follow(form, &words) {
        Ok(walk) => {
            let argv = make(name, form, &walk, &words);
            Judgement { words: walk.notes, outcome: Ok(argv) }
        }
        Err(stop) => refused(&words, stop.notes, stop.at, stop.refusal),
    };
    // Every word that was given is told of.
    judgement.words.splice(
        1..1,
        added.into_iter().map(|word| WordJudgement {
            word: word.text,
            column: word.column,
            role: Role::Flag,
            verdict: WordVerdict::Allowed("put there anyway".to_owned()),
        }),
    );
    judgement
}

/// Leaves out what the judge itself puts in front, so that a judged line can be judged again.
fn without_added(form: &Form, mut words: Vec<Word>) -> (Vec<Word>, Vec<Word>) {
    let end = 1 + form.add.len();
    let added = words.get(1..end).unwrap_or_default().iter().map(|word| &word.text);
    let added = if added.eq(&form.add) { words.drain(1..end).collect() } else { Vec::new() };
    (words, added)
}

fn make(name: &str, form: &Form, walk: &Walk<'_>, words: &[Word]) -> Argv {
    let added = form.add.iter().filter(|word| !walk.seen.contains(word)).cloned();
    Argv {
        program: name.to_owned(),
        args: added.chain(words[1..].iter().map(|word| word.text.clone())).collect(),
        paths: walk.paths.clone(),
        peers: peers(walk),
        reach: if walk.network { Reach::Network } else { Reach::Local },
    }
}

/// A program that only resolves names sends nothing to an address.
fn peers(walk: &Walk<'_>) -> Vec<Peer> {
    let is_address = |peer: &Peer| peer.name.parse::<IpAddr>().is_ok();
    let all = walk.hosts.iter();
    all.filter(|peer| walk.network || (walk.resolves && !is_address(peer))).cloned().collect()
}

fn refused(
    words: &[Word],
    mut notes: Vec<WordJudgement>,
    at: usize,
    refusal: Refusal,
) -> Judgement {
    notes.truncate(at);
    for (index, word) in words.iter().enumerate().skip(notes.len()) {
        let verdict = if index == at {
            WordVerdict::Refused(refusal.reason.clone())
        } else {
            WordVerdict::NotReached
        };
        let role = if index == 0 { Role::Program } else { Role::Unknown };
        notes.push(WordJudgement { word: word.text.clone(), column: word.column, role, verdict });
    }
    Judgement { words: notes, outcome: Err(refusal) }
}

fn unknown_program(table: &Table, word: &Word) -> Refusal {
    let name = word.text.as_str();
    let bare = name.rsplit('/').next().unwrap_or(name);
    let (reason, nearest) = if bare != name {
        let known = table.program(bare).map(|(name, _)| name.to_owned());
        ("a program is named without a path".to_owned(), known)
    } else if let Some(instead) = table.instead(name) {
        (format!("`{name}` {}", instead.why), instead.nearest.clone())
    } else {
        // Whoever asks chooses the length of the word.
        let comparable = |other: &str| name.len() <= other.len() + 4;
        let close =
            table.programs().filter(|(other, _)| comparable(other) && distance(name, other) == 1);
        let form = close.into_iter().next();
        let nearest =
            form.map(|(other, form)| form.nearest.clone().unwrap_or_else(|| other.to_owned()));
        (format!("`{name}` is not in the table of read-only programs"), nearest)
    };
    Refusal { word: name.to_owned(), column: word.column, reason, nearest }
}
