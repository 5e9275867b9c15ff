//! The command grammar against bash: what is accepted, bash splits into the same words, as one
//! simple command.
//!
//! In: any bytes. Out: a crash for a line that the two read differently. Bash is restricted, finds
//! no program, has no builtin but `set` and `printf`, and stands in a folder of a few files, so
//! that a pattern which it expands is seen. A line that bash never ends is seen by `-timeout`.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../model/mod.rs"]
mod model;
#[path = "../safety/mod.rs"]
mod safety;

use safety::command::{Judgement, judge};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const PRELUDE: &str = "command_not_found_handle() { printf '%s\\0' \"$#\" \"$@\"; }
enable -n . : [ alias bg bind break builtin caller cd command compgen complete compopt continue \
declare dirs disown echo eval exec exit export false fc fg getopts hash help history jobs kill let \
local logout mapfile popd pushd pwd read readarray readonly return shift shopt source suspend test \
times trap true type typeset ulimit umask unalias unset wait enable\n";

/// Words that begin something else than a simple command, or that are kept for the comparison.
const OTHER: [&str; 23] = [
    "if", "then", "else", "elif", "fi", "case", "esac", "for", "select", "while", "until", "do",
    "done", "in", "function", "time", "coproc", "{", "}", "!", "[[", "set", "printf",
];

struct Bash {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    asked: u64,
}

thread_local! {
    static BASH: RefCell<Option<Bash>> = const { RefCell::new(None) };
}

impl Bash {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("wk-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["a", "b", "ab", "1", "A", "-n", ".x"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let mut child = Command::new("/bin/bash")
            .args(["--norc", "--noprofile", "-r", "-s"])
            .env_clear()
            .env("PATH", "/nonexistent")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(PRELUDE.as_bytes()).unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output, asked: 0 }
    }

    /// What bash makes of some script lines, up to a mark of our own.
    fn ask(&mut self, script: &str) -> Vec<String> {
        self.asked += 1;
        let mark = format!("mark-{}-{}", self.asked, std::process::id());
        let all = format!("{script}\nprintf '%s\\0' '{mark}'\n");
        self.input.write_all(all.as_bytes()).unwrap();
        let mut fields = Vec::new();
        loop {
            let mut field = Vec::new();
            self.output.read_until(0, &mut field).unwrap();
            assert_eq!(
                field.pop(),
                Some(0),
                "bash ended over {script:?}: {:?}",
                self.child.try_wait()
            );
            let field = String::from_utf8(field).unwrap();
            if field == mark {
                return fields;
            }
            fields.push(field);
        }
    }
}

fn words(judgement: &Judgement) -> Vec<String> {
    judgement.words.iter().map(|word| word.word.clone()).collect()
}

fn expected(words: &[String]) -> Vec<String> {
    std::iter::once(words.len().to_string()).chain(words.iter().cloned()).collect()
}

/// Whether bash takes the first word for the name of a program, and tells it.
fn is_plain(word: &str) -> bool {
    !OTHER.contains(&word)
        && word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "_.+:@,-=%".contains(c))
}

fn compare(bash: &mut Bash, line: &str) {
    let judgement = judge(line);
    let ours = words(&judgement);
    if ours.is_empty() {
        assert!(judgement.outcome.is_err(), "{line:?}");
        return;
    }
    let seen = bash.ask(&format!("set -- {line}\nprintf '%s\\0' \"$#\" \"$@\""));
    assert_eq!(seen, expected(&ours), "as arguments: {line:?}");
    if is_plain(&ours[0]) {
        assert_eq!(bash.ask(line), expected(&ours), "as a command: {line:?}");
    }
    if let Ok(argv) = &judgement.outcome {
        assert!(is_plain(&ours[0]), "{line:?} begins something else than a command");
        let run: Vec<String> =
            std::iter::once(argv.program().to_owned()).chain(argv.args().iter().cloned()).collect();
        assert_eq!(bash.ask(&argv.to_string()), expected(&run), "as shown: {line:?}");
        let again = judge(&argv.to_string()).outcome.unwrap();
        assert_eq!(again.args(), argv.args(), "judged again: {line:?}");
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(line) = std::str::from_utf8(data) else { return };
    BASH.with_borrow_mut(|bash| compare(bash.get_or_insert_with(Bash::start), line));
});
