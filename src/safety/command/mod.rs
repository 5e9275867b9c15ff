//! The read-only command grammar: which command lines may be run without asking.
//!
//! In: a line or ready words that a mind proposed. Out: each word judged, and either an `Argv`,
//! which nothing but the judge can make, or a refusal that names the word and a way that works.
//! Never: I/O, a shell, an unknown flag let through. To add a program, describe it in
//! `programs/*.yaml` and give `tests/data/commands/` lines it must accept and refuse.

mod judge;
mod kind;
mod lexer;
mod notation;
pub(crate) mod pattern;
mod shapes;
mod table;
mod walk;

use std::fmt;
use std::path::PathBuf;

use crate::safety::paths::{self, Access};

pub use judge::{judge, judge_argv};
pub use lexer::quote;

/// Where a program may lie; the first that exists is run. Never a search of `PATH`.
pub const PROGRAM_FOLDERS: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// A whole command line, judged word by word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub words: Vec<WordJudgement>,
    pub outcome: Result<Argv, Refusal>,
}

/// One word, what it was taken for, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordJudgement {
    pub word: String,
    pub column: usize,
    pub role: Role,
    pub verdict: WordVerdict,
}

/// What a word is in its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Program,
    Subcommand,
    Flag,
    Value,
    Positional,
    EndOfFlags,
    Unknown,
}

/// What was found about one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WordVerdict {
    /// Allowed; says as what.
    Allowed(String),
    /// This word is why the command is refused.
    Refused(String),
    /// The command was refused before this word was reached.
    NotReached,
}

/// Why a command is refused: the word, its column (from 1), and the nearest form that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    pub word: String,
    pub column: usize,
    pub reason: String,
    pub nearest: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at column {} is not allowed: {}", self.word, self.column, self.reason)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; use `{nearest}`"),
            None => Ok(()),
        }
    }
}

/// Whom a command speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The host it runs on, and services that listen there.
    Local,
    /// Hosts that its arguments name: what it is given may leave the machine.
    Network,
}

/// A path that a command was given, and what the command does with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathUse {
    /// Normalised.
    pub path: String,
    pub access: Access,
    column: usize,
}

/// A host that a command would look up or speak to: its very name may carry something away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    pub column: usize,
}

/// A judged command. Made only by the judge; run it exactly as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argv {
    program: String,
    args: Vec<String>,
    paths: Vec<PathUse>,
    peers: Vec<Peer>,
    reach: Reach,
}

impl Argv {
    /// Returns the program's bare name.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Returns the only files that may be run for it, in order.
    pub fn candidates(&self) -> Vec<PathBuf> {
        PROGRAM_FOLDERS.iter().map(|folder| PathBuf::from(folder).join(&self.program)).collect()
    }

    /// Returns the arguments, with the words that the table adds in front.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// Returns whom the command speaks to.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Returns the hosts that it would look up or speak to. Whoever knows the hosts decides.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Returns the paths among the arguments. A target resolves each and asks `check_resolved`.
    pub fn paths(&self) -> &[PathUse] {
        &self.paths
    }

    /// Judges the paths once more after `resolve` followed their symbolic links on the target.
    ///
    /// A path that `resolve` cannot find (`None`) is left to the program, which will not either.
    ///
    /// # Errors
    /// A `Refusal` that names the first path that leads out of the readable roots.
    pub fn check_resolved(
        &self,
        mut resolve: impl FnMut(&str) -> Option<String>,
    ) -> Result<(), Refusal> {
        for used in &self.paths {
            let Some(real) = resolve(&used.path) else { continue };
            if let Err(denied) = paths::permit(used.access, &real) {
                return Err(Refusal {
                    word: used.path.clone(),
                    column: used.column,
                    reason: format!("it leads to `{real}`: {denied}"),
                    nearest: None,
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Argv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", quote(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quote(arg)))
    }
}

#[cfg(test)]
mod tests;
