//! Splits one line into words, or refuses it.
//!
//! In: a line. Out: its words with their columns. The language is the part of the shell's that
//! every shell reads alike: plain words, `'literal'` and `"text"`. Never: expansion, operators,
//! a second command, a guess. What is accepted here means the same to bash; a test compares.

use super::Refusal;

/// Longest line and longest word, in characters; a person's diagnosis command is far shorter.
pub const LINE_MAX: usize = 4096;
/// Most words of one command.
pub const WORDS_MAX: usize = 64;

/// One word and where it began, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub column: usize,
}

/// Splits a line into words.
///
/// # Errors
/// A `Refusal` that names the first character outside the language, its column, and what to do.
pub fn split(line: &str) -> Result<Vec<Word>, Refusal> {
    if line.chars().count() > LINE_MAX {
        return Err(refuse("line", 1, format!("a command has at most {LINE_MAX} characters")));
    }
    let chars: Vec<char> = line.chars().collect();
    let mut words: Vec<Word> = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if chars[at] == ' ' {
            at += 1;
            continue;
        }
        let (word, next) = one_word(&chars, at)?;
        words.push(word);
        at = next;
    }
    check_words(&words)?;
    Ok(words)
}

/// Takes ready words, as from a JSON array, under the rules that still make sense without quotes.
///
/// # Errors
/// A `Refusal` that names the word with a control or non-ASCII character, or an excess of words.
pub fn take(argv: &[String]) -> Result<Vec<Word>, Refusal> {
    let mut column = 1;
    let mut words = Vec::with_capacity(argv.len());
    for text in argv {
        if let Some(found) = text.chars().find(|c| !is_plain(*c)) {
            return Err(refuse(&visible(found), column, unprintable(found)));
        }
        words.push(Word { text: text.clone(), column });
        column += text.len() + 1;
    }
    if column > LINE_MAX {
        return Err(refuse("line", 1, format!("a command has at most {LINE_MAX} characters")));
    }
    check_words(&words)?;
    Ok(words)
}

/// Writes a word so that `split` and every shell read it back as it is.
pub fn quote(word: &str) -> String {
    if !word.is_empty() && word.chars().all(is_bare) {
        return word.to_owned();
    }
    if word.contains('\'') {
        // Single quotes cannot hold one; each goes into double quotes of its own.
        return format!("'{}'", word.replace('\'', "'\"'\"'"));
    }
    format!("'{word}'")
}

fn check_words(words: &[Word]) -> Result<(), Refusal> {
    let Some(first) = words.first() else {
        return Err(refuse("", 1, "the command is empty; name a program".to_owned()));
    };
    if words.len() > WORDS_MAX {
        let word = &words[WORDS_MAX];
        let reason = format!("a command has at most {WORDS_MAX} words");
        return Err(refuse(&word.text, word.column, reason));
    }
    if is_assignment(&first.text) {
        let reason = "setting a variable before a program is not possible; begin with the program";
        return Err(refuse(&first.text, first.column, reason.to_owned()));
    }
    Ok(())
}

fn one_word(chars: &[char], start: usize) -> Result<(Word, usize), Refusal> {
    let mut text = String::new();
    let mut at = start;
    while at < chars.len() && chars[at] != ' ' {
        match chars[at] {
            '\'' => at = single_quoted(chars, at, &mut text)?,
            '"' => at = double_quoted(chars, at, &mut text)?,
            c if is_bare(c) => {
                text.push(c);
                at += 1;
            }
            c => return Err(refuse(&visible(c), at + 1, why_bare(c))),
        }
    }
    Ok((Word { text, column: start + 1 }, at))
}

fn single_quoted(chars: &[char], open: usize, text: &mut String) -> Result<usize, Refusal> {
    for (at, &c) in chars.iter().enumerate().skip(open + 1) {
        if c == '\'' {
            return Ok(at + 1);
        }
        if !is_plain(c) {
            return Err(refuse(&visible(c), at + 1, unprintable(c)));
        }
        text.push(c);
    }
    Err(refuse("'", open + 1, "this quote is never closed".to_owned()))
}

fn double_quoted(chars: &[char], open: usize, text: &mut String) -> Result<usize, Refusal> {
    for (at, &c) in chars.iter().enumerate().skip(open + 1) {
        match c {
            '"' => return Ok(at + 1),
            '$' | '`' | '\\' | '!' => {
                let reason = "inside double quotes a shell would expand it; use single quotes";
                return Err(refuse(&visible(c), at + 1, reason.to_owned()));
            }
            c if !is_plain(c) => return Err(refuse(&visible(c), at + 1, unprintable(c))),
            c => text.push(c),
        }
    }
    Err(refuse("\"", open + 1, "this quote is never closed".to_owned()))
}

/// Characters that no shell treats in a special way anywhere in a word.
fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c)
}

fn is_plain(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}

/// `NAME=` and `NAME+=` at the front are assignments to a shell.
fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    let name = name.strip_suffix('+').unwrap_or(name);
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn why_bare(c: char) -> String {
    let reason = match c {
        '|' => "it joins commands; send one command and narrow it with its own flags",
        ';' | '&' => "it starts a second command; send one command at a time",
        '<' | '>' => "it redirects input or output; output is captured anyway",
        '$' | '`' => "it expands variables or runs commands; write the value itself",
        '*' | '?' | '[' | ']' | '{' | '}' => {
            "no shell expands patterns here; name the file, or quote a pattern for `find -name`"
        }
        '(' | ')' | '!' | '^' => "outside quotes it is an operator; put it in single quotes",
        '~' => "no home directory is expanded; write an absolute path",
        '#' => "it begins a comment; put it in single quotes",
        '\\' => "nothing is escaped with it; use single quotes",
        c => return unprintable(c),
    };
    reason.to_owned()
}

fn unprintable(c: char) -> String {
    match c {
        '\t' => "use a space instead of a tab".to_owned(),
        '\n' | '\r' => "a command is one line".to_owned(),
        c if c.is_control() => "control characters are not allowed".to_owned(),
        _ => "only printable ASCII characters are allowed".to_owned(),
    }
}

fn visible(c: char) -> String {
    if c.is_ascii_graphic() { c.to_string() } else { c.escape_default().to_string() }
}

fn refuse(word: &str, column: usize, reason: String) -> Refusal {
    Refusal { word: word.to_owned(), column, reason, nearest: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        split(line).unwrap().into_iter().map(|w| w.text).collect()
    }

    #[test]
    fn quotes_are_removed_and_joined() {
        assert_eq!(texts("grep 'a b'\"c d\"e  ''"), ["grep", "a bc de", ""]);
    }

    #[test]
    fn words_know_their_columns() {
        let words = split("  ps 'aux'").unwrap();
        assert_eq!(words[0], Word { text: "ps".into(), column: 3 });
        assert_eq!(words[1], Word { text: "aux".into(), column: 6 });
    }

    #[test]
    fn every_operator_is_refused_at_its_column() {
        for c in "|;&<>$`*?[]{}()!^~#\\\t\n\r\u{7f}\u{e9}\u{202e}".chars() {
            let refusal = split(&format!("ps a{c}b")).unwrap_err();
            assert_eq!(refusal.column, 5, "{c:?}: {refusal}");
        }
    }

    #[test]
    fn double_quotes_hold_nothing_that_expands() {
        for c in ['$', '`', '\\', '!'] {
            assert_eq!(split(&format!("ps \"a{c}\"")).unwrap_err().column, 6);
        }
    }

    #[test]
    fn an_assignment_is_not_a_program() {
        for line in ["A=b ps", "LD_PRELOAD+=x ps", "_=1", "'A'=b ps"] {
            assert!(split(line).unwrap_err().reason.contains("variable"), "{line}");
        }
        assert_eq!(texts("ps 1=2 a=b"), ["ps", "1=2", "a=b"]);
    }

    #[test]
    fn open_quotes_and_empty_lines_are_refused() {
        for line in ["ps 'a", "ps \"a", "", "   "] {
            assert!(split(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn quoting_is_read_back() {
        for word in ["", "a b", "it's", "'\"'", "$(x)", "--a=b"] {
            assert_eq!(texts(&format!("x {}", quote(word))), ["x", word]);
        }
    }

    #[test]
    fn ready_words_keep_their_blanks_but_not_controls() {
        let words = take(&["grep".into(), "a b".into()]).unwrap();
        assert_eq!(words[1].text, "a b");
        for bad in ["a\nb", "a\0b", "\u{1b}[0m", "caf\u{e9}"] {
            assert!(take(&["grep".into(), bad.into()]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_refusal_says_what_to_do_instead() {
        for (characters, reason) in [
            ("|", "it joins commands"),
            (";&", "it starts a second command"),
            ("<>", "it redirects"),
            ("$`", "it expands variables"),
            ("*?[]{}", "no shell expands patterns here"),
            ("()!^", "outside quotes it is an operator"),
            ("~", "no home directory is expanded"),
            ("#", "it begins a comment"),
            ("\\", "nothing is escaped with it"),
            ("\t", "use a space"),
            ("\n\r", "a command is one line"),
            ("\u{1b}\u{7f}\0", "control characters"),
            ("\u{e9}\u{202e}", "only printable ASCII"),
        ] {
            for c in characters.chars() {
                let refusal = split(&format!("ps {c}")).unwrap_err();
                assert!(refusal.reason.starts_with(reason), "{c:?}: {}", refusal.reason);
                let shown = if c.is_ascii_graphic() { c.to_string() } else { visible(c) };
                assert_eq!(refusal.word, shown);
            }
        }
        assert_eq!([visible('\n'), visible('\u{e9}')], ["\\n", "\\u{e9}"]);
        for (line, word, column, reason) in [
            ("ps 'a\tb'", "\\t", 6, "use a space"),
            ("ps \"a\tb\"", "\\t", 6, "use a space"),
            ("ps 'ab", "'", 4, "this quote is never closed"),
            ("ps \"ab", "\"", 4, "this quote is never closed"),
            ("ps \"$\"", "$", 5, "inside double quotes"),
        ] {
            let refusal = split(line).unwrap_err();
            assert_eq!((refusal.word.as_str(), refusal.column), (word, column), "{line}");
            assert!(refusal.reason.starts_with(reason), "{line}: {}", refusal.reason);
        }
    }

    #[test]
    fn lines_and_words_have_an_end() {
        let long = |length: usize| format!("ps {}", "x".repeat(length - 3));
        assert!(split(&long(LINE_MAX)).is_ok());
        assert_eq!(split(&long(LINE_MAX + 1)).unwrap_err().word, "line");
        let many = |count: usize| vec!["x".to_owned(); count];
        for words in [split(&many(WORDS_MAX).join(" ")), take(&many(WORDS_MAX))] {
            assert_eq!(words.unwrap().len(), WORDS_MAX);
        }
        for words in [split(&many(WORDS_MAX + 1).join(" ")), take(&many(WORDS_MAX + 1))] {
            let refusal = words.unwrap_err();
            assert_eq!((refusal.word.as_str(), refusal.column), ("x", 2 * WORDS_MAX + 1));
        }
        // Ready words count with a blank behind each, and the end after the last.
        let ready = |length: usize| take(&["ps".into(), "x".repeat(length - 3)]);
        let words = ready(LINE_MAX - 2).unwrap();
        assert_eq!((words[0].column, words[1].column), (1, 4));
        assert_eq!(ready(LINE_MAX - 1).unwrap_err().word, "line");
        let refusal = take(&["ps".into(), "a".into(), "b\n".into()]).unwrap_err();
        assert_eq!((refusal.word.as_str(), refusal.column), ("\\n", 6));
    }

    #[test]
    fn only_a_name_before_the_sign_is_an_assignment() {
        for line in ["a1=b", "_A1+=b", "A="] {
            assert!(split(line).unwrap_err().reason.contains("variable"), "{line}");
        }
        for line in ["1a=b", "a-b=c", "+=b", "=b", "a++=b", "a.b=c"] {
            assert_eq!(texts(line), [line]);
        }
    }

    #[test]
    fn what_needs_no_quotes_gets_none() {
        assert_eq!(quote("a-b_c.d/e:f=g@h%i+j,k1"), "a-b_c.d/e:f=g@h%i+j,k1");
        assert_eq!([quote(""), quote("a b"), quote("it's")], ["''", "'a b'", "'it'\"'\"'s'"]);
    }
}
