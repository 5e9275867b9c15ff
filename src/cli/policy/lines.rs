//! `policy explain --stdin`: a question a line in, an answer a line out, in the same order.
//!
//! Never: a line without an answer, an end before the input ends, memory for an endless line.

use super::cases::{Answered, Question};
use super::judge::{Facts, Judge};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Write};

/// Longer than any call that a tool takes.
const LINE_BYTES_MAX: usize = 1024 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// Answers every line until the input ends or nobody reads the answers any more.
///
/// # Errors
/// The input cannot be read or the output cannot be written.
pub fn answer_all(
    judge: &Judge,
    usual: &Facts,
    input: impl Read,
    output: impl Write,
) -> Result<()> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    let mut output = BufWriter::with_capacity(BUFFER_BYTES, output);
    let mut line = Vec::new();
    while let Some(length) = next_line(&mut input, &mut line).context("cannot read the input")? {
        let mut said = serde_json::to_vec(&answer(judge, usual, &line, length))?;
        said.push(b'\n');
        let written = output.write_all(&said).and_then(|()| {
            // Whoever asks one question at a time waits for its answer before the next.
            if input.buffer().is_empty() { output.flush() } else { Ok(()) }
        });
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            other => other.context("cannot write the answer")?,
        }
    }
    Ok(())
}

fn answer(judge: &Judge, usual: &Facts, line: &[u8], length: usize) -> Answered {
    let refused = |why: String| {
        let answer = judge.refused("input", why);
        Answered { id: None, answer, words: Vec::new() }
    };
    if length > LINE_BYTES_MAX {
        return refused(format!("the line has {length} bytes; at most {LINE_BYTES_MAX} are read"));
    }
    match line.trim_ascii().first() {
        Some(b'{') => {}
        None => return refused("the line is empty".to_owned()),
        // A list would be taken for the values of the keys, in some order.
        Some(_) => return refused("the line is no question: write a JSON object".to_owned()),
    }
    match serde_json::from_slice::<Question>(line) {
        Ok(question) => question.ask(judge, usual),
        Err(error) => refused(format!("the line is no question: {error}")),
    }
}

/// Reads a line without its end into `line`, of a longer one only the start; returns its length.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<Option<usize>> {
    line.clear();
    let mut length = 0;
    loop {
        let part = match input.fill_buf() {
            Ok(part) => part,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if part.is_empty() {
            return Ok((length > 0).then_some(length));
        }
        let end = part.iter().position(|byte| *byte == b'\n');
        let text = &part[..end.unwrap_or(part.len())];
        let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&text[..text.len().min(room)]);
        length += text.len();
        let used = text.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(Some(length));
        }
    }
}
