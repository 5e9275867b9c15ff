//! Asks for a password.
//!
//! In: a terminal, or standard input. Out: the password. Never: the password on the screen, in an
//! argument or in a message.

use anyhow::{Context, Result, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};
use std::io::{BufRead, IsTerminal, Read, Write};

/// Short ones are guessed; NIST SP 800-63B asks for length and no other rule.
const CHARS_MIN: usize = 12;
const BYTES_MAX: u64 = 1024;

/// Asks twice on a terminal; otherwise reads the first line of standard input.
///
/// # Errors
/// Too short, too long, not the same twice, or nothing there.
pub fn ask(name: &str) -> Result<SecretString> {
    if !std::io::stdin().is_terminal() {
        return from_stdin();
    }
    let first = prompt(&format!("Password for {name}: "))?;
    fit(&first)?;
    let second = prompt("The same again: ")?;
    if first.expose_secret() != second.expose_secret() {
        bail!("the two passwords differ; nothing was written");
    }
    Ok(first)
}

/// The first line of standard input.
///
/// # Errors
/// As for [`ask`].
pub fn from_stdin() -> Result<SecretString> {
    let password = line()?;
    fit(&password)?;
    Ok(password)
}

fn fit(password: &SecretString) -> Result<()> {
    let chars = password.expose_secret().chars().count();
    if chars < CHARS_MIN {
        bail!("the password has {chars} characters; take {CHARS_MIN} or more, e.g. four words");
    }
    Ok(())
}

fn prompt(words: &str) -> Result<SecretString> {
    eprint!("{words}");
    std::io::stderr().flush()?;
    let silence = Silence::begin()?;
    let password = line();
    drop(silence);
    eprintln!();
    password
}

fn line() -> Result<SecretString> {
    let mut text = String::new();
    let mut limited = std::io::stdin().lock().take(BYTES_MAX + 1);
    limited.read_line(&mut text).context("cannot read the password")?;
    if text.len() as u64 > BYTES_MAX {
        bail!("the password is longer than {BYTES_MAX} bytes");
    }
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n'])))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).context("cannot ask the terminal for its state")?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &quiet)
            .context("cannot keep the terminal from showing the password")?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
