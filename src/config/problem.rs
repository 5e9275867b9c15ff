//! What is wrong with a configuration, said so that a person can mend it.
//!
//! In: nothing. Out: `Problem`, one finding with its place; `Problems`, all of them in file order.
//! Never: the value of a secret in a message. To report from another module, ask
//! [`Positions::problem`](super::Positions::problem) for one that points at the right line.

use std::fmt;

/// One finding in a configuration file, an environment variable or an option of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named by the caller, or the variable or option that holds the value.
    pub file: String,
    /// Counted from 1; `None` where there is no text to point into.
    pub line: Option<u64>,
    /// Counted from 1, in characters.
    pub column: Option<u64>,
    /// Where in the document, such as `rules[3].when`; empty for the document as a whole.
    pub path: String,
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// A finding about a file as a whole, or about something that is not a file.
    pub fn about(file: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            column: None,
            path: String::new(),
            message: message.into(),
            hint: None,
        }
    }

    /// The same finding with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => f.write_str("1 problem"),
            count => write!(f, "{count} problems"),
        }
    }
}

impl std::error::Error for Problems {}

impl From<Vec<Problem>> for Problems {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_listed_and_counted() {
        let placed = Problem {
            line: Some(12),
            column: Some(5),
            path: "rules[3].when".to_owned(),
            ..Problem::about("config/x.yaml", "unknown name `srvice`")
                .hint("did you mean `service`?")
        };
        let problems = Problems(vec![placed, Problem::about("config/y.yaml", "is a folder")]);
        assert_eq!(
            problems.to_string(),
            "config/x.yaml:12:5: rules[3].when: unknown name `srvice` (did you mean `service`?)\n\
             config/y.yaml: is a folder\n\
             2 problems"
        );
    }
}
