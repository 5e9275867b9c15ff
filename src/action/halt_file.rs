//! The halt file: while it exists, no change starts in this process, with or without a database.
//!
//! In: the path. Out: whether it is there, and its first line as the reason. Never: a file that
//! cannot be looked at taken for one that is not there; a read that waits for somebody to write.

use crate::model::orders::FileHalt;
use crate::redact::Redactor;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// Of the first line, so much is read.
const REASON_BYTES_MAX: u64 = 500;

/// Looks at one file.
#[derive(Clone)]
pub struct HaltFile {
    path: PathBuf,
    redactor: Redactor,
}

impl HaltFile {
    pub fn new(path: PathBuf, redactor: Redactor) -> Self {
        Self { path, redactor }
    }

    /// The halt, if the file is there.
    pub fn look(&self) -> Option<FileHalt> {
        let reason = match std::fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => format!("it cannot be looked at: {error}"),
            Ok(_) => self.redactor.text(&first_line(&self.path)).into_owned(),
        };
        Some(FileHalt { path: self.path.display().to_string(), reason })
    }
}

/// The start of a file's first line; nothing of what is no regular file.
fn first_line(path: &Path) -> String {
    let is_file = std::fs::metadata(path).is_ok_and(|data| data.is_file());
    let Some(file) = is_file.then(|| std::fs::File::open(path).ok()).flatten() else {
        return String::new();
    };
    let mut start = Vec::new();
    // A file that cannot be read halts without a reason.
    let _ = file.take(REASON_BYTES_MAX).read_to_end(&mut start);
    let text = String::from_utf8_lossy(&start);
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_there_halts_and_a_regular_file_says_why() {
        let folder = std::env::temp_dir().join(format!("wk-halt-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let look = |name: &str| {
            let file = HaltFile::new(folder.join(name), Redactor::new([]));
            file.look().map(|halt| halt.reason)
        };
        assert_eq!(look("HALT"), None);
        std::fs::write(folder.join("HALT"), "deploy\u{7} night \nsecond").unwrap();
        assert_eq!(look("HALT").as_deref(), Some("deploy night"));
        std::fs::write(folder.join("empty"), "").unwrap();
        assert_eq!(look("empty").as_deref(), Some(""));
        std::fs::create_dir(folder.join("folder")).unwrap();
        assert_eq!(look("folder").as_deref(), Some(""));
        std::os::unix::fs::symlink("nowhere", folder.join("link")).unwrap();
        assert_eq!(look("link").as_deref(), Some(""));
        assert!(look("HALT/below").is_some_and(|why| why.contains("cannot be looked at")));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
