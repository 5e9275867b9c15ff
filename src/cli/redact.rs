//! `watchkeeper redact`: what would be left of a text.
//!
//! In: text on standard input, the configured secrets. Out: the same text with its secrets taken
//! out, as they are before it is stored, sent or logged. Never: a secret that a border between two
//! reads hides; a stop because of bytes that are no text.

use super::{Global, settings};
use crate::redact::Redactor;
use anyhow::{Context, Result};
use std::io::{ErrorKind, Read, Write};
use std::process::ExitCode;

const READ_BYTES: usize = 64 * 1024;

pub fn run(global: &Global) -> Result<ExitCode> {
    let redactor = Redactor::new(settings(global)?.secrets());
    pass(&redactor, std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// Copies text, redacted. Bytes that are no UTF-8 become U+FFFD, as in everything that is stored.
fn pass(redactor: &Redactor, mut input: impl Read, mut output: impl Write) -> Result<()> {
    let mut stream = redactor.stream();
    let mut decoder = Decoder::default();
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let count = match input.read(&mut bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("cannot read the input"),
        };
        let ready = match count {
            0 => {
                let mut last = stream.push(&decoder.finish());
                last.push_str(&stream.finish());
                return written(&mut output, &last).map(|_| ());
            }
            count => stream.push(&decoder.push(&bytes[..count])),
        };
        if written(&mut output, &ready)? == Reader::Gone {
            return Ok(());
        }
    }
}

/// Whether anybody still reads what is written.
#[derive(PartialEq, Eq)]
enum Reader {
    There,
    Gone,
}

fn written(output: &mut impl Write, text: &str) -> Result<Reader> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(Reader::There),
        // As with `| head`: whoever read has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Bytes that arrive in pieces as text; a character that a border cuts is put together again.
#[derive(Default)]
struct Decoder {
    rest: Vec<u8>,
}

impl Decoder {
    fn push(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.rest.len());
        let mut at = 0;
        for chunk in self.rest.utf8_chunks() {
            text.push_str(chunk.valid());
            at += chunk.valid().len();
            let invalid = chunk.invalid();
            if at + invalid.len() == self.rest.len() && is_start(invalid) {
                break;
            }
            if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
            at += invalid.len();
        }
        self.rest.drain(..at);
        text
    }

    fn finish(self) -> String {
        String::from_utf8_lossy(&self.rest).into_owned()
    }
}

/// Whether more bytes could make a character of these.
fn is_start(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    /// Gives one byte a read.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            into[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    #[test]
    fn secrets_go_however_the_input_is_cut_and_the_rest_stays() {
        let redactor = Redactor::new([SecretString::from("our-own-passphrase")]);
        let text = "磁盘 password=hunter2hunter2 ok\nour-own-passphrase\0é";
        let whole = redactor.text(text).into_owned();
        assert!(!whole.contains("hunter2") && !whole.contains("passphrase"), "{whole}");
        let mut out = Vec::new();
        pass(&redactor, Slow(text.as_bytes()), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), whole);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let redactor = Redactor::new([]);
        for (bytes, text) in [
            (&b"a\xffb"[..], "a\u{fffd}b"),
            (b"\xe7\xa3", "\u{fffd}"),
            (b"\xe7\xa3\xffx", "\u{fffd}\u{fffd}x"),
            (b"", ""),
        ] {
            let (mut slow, mut fast) = (Vec::new(), Vec::new());
            pass(&redactor, Slow(bytes), &mut slow).unwrap();
            pass(&redactor, bytes, &mut fast).unwrap();
            assert_eq!((slow.as_slice(), fast.as_slice()), (text.as_bytes(), text.as_bytes()));
        }
    }
}
