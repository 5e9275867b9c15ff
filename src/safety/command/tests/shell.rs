//! The lexer against bash itself: whatever is accepted, bash reads as the same words of one simple
//! command. `fuzz/` does the same without end.

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::super::{judge, lexer};
use super::{USEFUL, lines};

/// Lines that were once doubtful; each is accepted.
const DOUBTFUL: &str = include_str!("../../../../tests/data/commands/shell.txt");

/// Bash without programs and without builtins but those that show words: a mistake of the lexer
/// must not become a command of this machine.
const PRELUDE: &str = "command_not_found_handle() { printf '%s\\0' \"$#\" \"$@\"; }
enable -n . : [ alias bg bind break builtin caller cd command compgen complete compopt continue \
declare dirs disown echo eval exec exit export false fc fg getopts hash help history jobs kill let \
local logout mapfile popd pushd pwd read readarray readonly return shift shopt source suspend test \
times trap true type typeset ulimit umask unalias unset wait enable\n";

/// Words that begin something else than a simple command, and the two builtins that are left.
const OTHER: [&str; 23] = [
    "if", "then", "else", "elif", "fi", "case", "esac", "for", "select", "while", "until", "do",
    "done", "in", "function", "time", "coproc", "{", "}", "!", "[[", "set", "printf",
];

/// A line as a command of its own: itself where its first word can name a program, else with a
/// name put in front of it, unless a slash makes it a file.
fn as_command(line: &str) -> Option<String> {
    let first = by_us(line)?.remove(0);
    let plain = first.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && first.chars().all(|c| c.is_ascii_alphanumeric() || "_.+:@,-=%".contains(c));
    match (plain && !OTHER.contains(&first.as_str()), first.contains('/')) {
        (true, _) => Some(line.to_owned()),
        (false, true) => None,
        (false, false) => Some(format!("xq{line}")).filter(|named| by_us(named).is_some()),
    }
}

/// Words as bash sees them, for each line, in one bash process.
fn by_bash(lines: &[String]) -> Vec<Vec<String>> {
    let mut script = PRELUDE.to_owned();
    for line in lines {
        script.push_str(&format!("set -- {line}\nprintf '%s\\0' \"$#\" \"$@\"\n"));
        script.extend(as_command(line).map(|line| line + "\n"));
    }
    // Patterns would be seen, since there is something that they match.
    let folder = std::env::temp_dir().join(format!("wk-bash-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    for name in ["a", "b", "ab", "1", "A", "-n", ".x"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    let mut bash = Command::new("/bin/bash")
        .args(["--norc", "--noprofile", "-r", "-s"])
        .env_clear()
        .env("PATH", "/nonexistent")
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = bash.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
    let output = bash.wait_with_output().unwrap();
    let _ = writer.join();
    std::fs::remove_dir_all(&folder).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut fields = text.split('\0');
    let mut seen = Vec::new();
    while let Some(count) = fields.next().filter(|field| !field.is_empty()) {
        let count = count.parse().unwrap_or(0);
        seen.push(fields.by_ref().take(count).map(str::to_owned).collect());
    }
    seen
}

fn by_us(line: &str) -> Option<Vec<String>> {
    let words = lexer::split(line).ok()?;
    Some(words.into_iter().map(|word| word.text).collect())
}

fn compare(lines: Vec<String>) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let accepted: Vec<String> = lines.into_iter().filter(|line| by_us(line).is_some()).collect();
    let ours = accepted
        .iter()
        .flat_map(|line| [Some(line.clone()), as_command(line)].into_iter().flatten())
        .map(|line| by_us(&line).unwrap())
        .collect();
    (by_bash(&accepted), ours)
}

fn line() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        12 => "[a-zA-Z0-9_.:=@%+,-]{1,4}",
        4 => Just(" ".to_owned()),
        3 => "'[ -~]{0,6}'",
        3 => "\"[ a-zA-Z0-9;|&<>*?(){}'#~^\\[\\]=]{0,6}\"",
        1 => "[ -~]",
        1 => "[\t\n\r\u{7f}\u{a0}\u{e9}]",
    ];
    proptest::collection::vec(piece, 1..10).prop_map(|pieces| pieces.concat())
}

/// A line that people type, with a few characters put in, taken out or replaced.
fn nearly_useful() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[ '\"\\\\$`|&;<>(){}\\[\\]*?~!#^=%+/:,.\n\t-]",
        2 => "[a-zA-Z0-9]",
        2 => "'[ -~]{0,5}'",
        2 => "\"[ -~]{0,5}\"",
        1 => Just(" --".to_owned()),
        1 => Just("''".to_owned()),
        1 => "[\u{80}-\u{2fff}]",
    ];
    let edit = (any::<proptest::sample::Index>(), 0_usize..3, piece);
    let edits = proptest::collection::vec(edit, 1..4);
    (proptest::sample::select(lines(USEFUL)), edits).prop_map(|(line, edits)| {
        let mut chars: Vec<char> = line.chars().collect();
        for (at, taken, piece) in edits {
            let at = at.index(chars.len() + 1);
            let end = (at + taken).min(chars.len());
            chars.splice(at..end, piece.chars());
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn bash_sees_the_words_that_were_judged(lines in proptest::collection::vec(line(), 700)) {
        let (seen, ours) = compare(lines);
        prop_assert!(ours.len() > 60, "{}", ours.len());
        prop_assert_eq!(seen, ours);
    }

    #[test]
    fn bash_sees_the_words_of_lines_that_were_nearly_useful(
        lines in proptest::collection::vec(nearly_useful(), 700),
    ) {
        let (seen, ours) = compare(lines);
        prop_assert!(ours.len() > 300, "{}", ours.len());
        prop_assert_eq!(seen, ours);
    }

    #[test]
    fn no_line_makes_the_judge_fail(line in line(), program in "[a-z]{1,3}") {
        let _ = judge(&line);
        let _ = judge(&format!("{program} {line}"));
        let _ = judge(&format!("find {line}"));
    }
}

#[test]
fn bash_sees_the_words_of_doubtful_lines() {
    let doubtful: Vec<String> = lines(DOUBTFUL).into_iter().map(str::to_owned).collect();
    let refused: Vec<&String> = doubtful.iter().filter(|line| by_us(line).is_none()).collect();
    assert_eq!(refused, Vec::<&String>::new());
    let (seen, ours) = compare(doubtful);
    assert_eq!(seen, ours);
}

/// Without this the comparison could be blind.
#[test]
fn what_a_shell_would_do_is_noticed() {
    for line in ["x *", "x ?", "x {a,b}", "x $#", "x a;", "x #a", "x a\\ b", "A=b x", "x <a"] {
        let seen = by_bash(&[line.to_owned()]);
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert!(seen.iter().all(|seen| *seen != words) || seen.len() != 2, "{line}: {seen:?}");
    }
}

#[test]
fn no_program_is_a_word_of_the_shells_own_grammar() {
    for word in OTHER {
        assert!(
            judge(word).outcome.is_err() && judge(&format!("{word} -a")).outcome.is_err(),
            "{word}"
        );
    }
    for line in ["%1", "%1 a", "'' a", ". /var/log/syslog", ": a", "- a", "= a", "+ a"] {
        assert!(judge(line).outcome.is_err(), "{line}");
    }
}
