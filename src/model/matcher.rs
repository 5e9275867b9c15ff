//! Alertmanager's matchers: `severity="critical"`, `alertname=~"Disk.*"`, `!=`, `!~`.
//!
//! Regular expressions are anchored at both ends and a missing label reads as the empty string,
//! as in Alertmanager (its `pkg/labels/matcher.go`).

use crate::model::alert::Labels;
use regex::Regex;
use std::fmt;

/// One matcher over one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    label: String,
    test: Test,
    text: String,
}

#[derive(Clone, Debug)]
enum Test {
    Equal(String),
    NotEqual(String),
    Like(Regex),
    NotLike(Regex),
}

/// Longest pattern taken; the engine is linear, this bounds its memory.
const PATTERN_BYTES_MAX: usize = 1000;

impl Matcher {
    /// Reads `label op "value"`. Quotes may be left out for plain words.
    ///
    /// # Errors
    /// What is wrong, with an example of the right form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let at = text
            .find(['=', '!'])
            .ok_or_else(|| format!("'{text}' has no operator; write e.g. alertname=\"Disk\""))?;
        let label = text[..at].trim();
        let valid = !label.is_empty()
            && label.chars().all(|c| c.is_alphanumeric() || c == '_')
            && !label.starts_with(|c: char| c.is_ascii_digit());
        if !valid {
            return Err(format!("'{label}' is not a label name"));
        }
        let rest = &text[at..];
        let (operator, value) = ["=~", "!~", "!=", "="]
            .iter()
            .find_map(|op| rest.strip_prefix(op).map(|value| (*op, value.trim())))
            .ok_or_else(|| format!("'{rest}' starts with no operator: use =, !=, =~ or !~"))?;
        let value = unquote(value)?;
        let test = match operator {
            "=" => Test::Equal(value),
            "!=" => Test::NotEqual(value),
            "=~" => Test::Like(anchored(&value)?),
            _ => Test::NotLike(anchored(&value)?),
        };
        Ok(Self { label: label.to_owned(), test, text: text.trim().to_owned() })
    }

    /// Reads several matchers, `a="1", b=~"2.*"`, with or without braces around them. Commas inside
    /// quotes do not separate.
    ///
    /// # Errors
    /// As for [`Matcher::parse`], or that there is none.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let text = text.trim();
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let mut parts = vec![String::new()];
        let (mut quoted, mut escaped) = (false, false);
        for c in inner.chars() {
            match c {
                ',' if !quoted => {
                    parts.push(String::new());
                    continue;
                }
                '"' if !escaped => quoted = !quoted,
                _ => {}
            }
            escaped = quoted && c == '\\' && !escaped;
            if let Some(part) = parts.last_mut() {
                part.push(c);
            }
        }
        // As in Alertmanager, a comma may stand at the end.
        if parts.len() > 1 && parts.last().is_some_and(|last| last.trim().is_empty()) {
            parts.pop();
        }
        parts.iter().map(|part| Self::parse(part)).collect()
    }

    /// The label that it reads.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether the labels satisfy the matcher.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.accepts(labels.get(&self.label).map_or("", String::as_str))
    }

    /// Whether this value of the label satisfies the matcher; a missing one is empty.
    pub fn accepts(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal(wanted) => value == wanted,
            Test::NotEqual(unwanted) => value != unwanted,
            Test::Like(pattern) => pattern.is_match(value),
            Test::NotLike(pattern) => !pattern.is_match(value),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn anchored(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("the pattern is longer than {PATTERN_BYTES_MAX} bytes"));
    }
    Regex::new(&format!("^(?s:{pattern})$"))
        .map_err(|error| format!("'{pattern}' is not a regular expression: {error}"))
}

fn unquote(value: &str) -> Result<String, String> {
    let Some(inner) = value.strip_prefix('"') else {
        return if value.contains(['"', '{', '}', ',']) {
            Err(format!("put {value} in double quotes"))
        } else {
            Ok(value.to_owned())
        };
    };
    let inner = inner
        .strip_suffix('"')
        .ok_or_else(|| format!("the closing double quote of {value} is missing"))?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Err(format!("write \\\" for a double quote inside {value}")),
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(escaped @ ('"' | '\\')) => out.push(escaped),
                Some(other) => out.extend(['\\', other]),
                None => return Err(format!("{value} ends in a single backslash")),
            },
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn matchers_follow_alertmanager() {
        let disk = labels(&[("alertname", "DiskFull"), ("note", "a\nb")]);
        for (text, expected) in [
            (r#"alertname="DiskFull""#, true),
            ("alertname=DiskFull", true),
            (r#"alertname!="DiskFull""#, false),
            (r#"alertname=~"Disk""#, false),
            (r#"alertname=~"Disk.*""#, true),
            (r#"alertname=~"Cpu|DiskFull""#, true),
            (r#"alertname!~"Disk.*""#, false),
            (r#"team="""#, true),
            (r#"team!="""#, false),
            (r#"note=~"a.b""#, true),
            (r#" severity = "critical" "#, false),
        ] {
            assert_eq!(Matcher::parse(text).unwrap().matches(&disk), expected, "{text}");
        }
    }

    #[test]
    fn several_matchers_are_read_from_one_text() {
        let texts = |text: &str| -> Vec<String> {
            Matcher::parse_all(text).unwrap().iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts(r#"a="1""#), [r#"a="1""#]);
        assert_eq!(texts(r#"{a="x,y", b=~"\",z"}"#), [r#"a="x,y""#, r#"b=~"\",z""#]);
        assert_eq!(texts("a=1,b!=2,"), ["a=1", "b!=2"]);
        for wrong in ["", "{}", "a=1,,b=2", "a=1 b"] {
            assert_eq!(Matcher::parse_all(wrong).is_err(), wrong != "a=1 b", "{wrong}");
        }
    }

    #[test]
    fn a_wrong_matcher_says_how_to_mend_it() {
        for (text, part) in [
            ("alertname", "has no operator"),
            ("=x", "not a label name"),
            (r#"a=~"(""#, "not a regular expression"),
            (r#"a="b"#, "closing double quote"),
            (r#"a="b"c""#, "double quote inside"),
            ("1a=b", "not a label name"),
        ] {
            let error = Matcher::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
