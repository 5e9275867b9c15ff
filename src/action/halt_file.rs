//! The halt file: while it exists, no change starts in this process, with or without a database.
//!
//! In: the path. Out: whether it is there, and its first line as the reason. Never: a file that
//! cannot be looked at taken for one that is not there; a read that waits for somebody to write.

use crate::model::orders::FileHalt;
use crate::redact::Redactor;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Of the first line, so much is kept.
const REASON_CHARS_MAX: usize = 500;
/// Much more is read, so that a secret across the cut is whole when it is looked for.
const READ_BYTES_MAX: u64 = 4_096;

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
            Ok(_) => {
                let line = first_line(&self.path);
                self.redactor.text(&line).chars().take(REASON_CHARS_MAX).collect()
            }
        };
        Some(FileHalt { path: self.path.display().to_string(), reason })
    }
}

/// The start of a file's first line; nothing of what is no regular file.
fn first_line(path: &Path) -> String {
    let Ok(Some(file)) = regular(path) else {
        return String::new();
    };
    let mut start = Vec::new();
    // A file that cannot be read halts without a reason.
    let _ = file.take(READ_BYTES_MAX).read_to_end(&mut start);
    let text = String::from_utf8_lossy(&start);
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

/// Opens a regular file. It is opened first and looked at then, as another may stand under its name
/// a moment later; opened so that a pipe without a writer keeps nobody waiting.
fn regular(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
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
        let pipe = folder.join("pipe");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o600.into(), 0).unwrap();
        assert_eq!(look("pipe").as_deref(), Some(""));
        assert!(regular(&pipe).unwrap().is_none());
        assert!(look("HALT/below").is_some_and(|why| why.contains("cannot be looked at")));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_secret_across_the_cut_is_not_told_by_half() {
        let path = std::env::temp_dir().join(format!("wk-halt-{}", uuid::Uuid::new_v4()));
        let secret = "correct-horse-battery-staple";
        std::fs::write(&path, format!("{}{secret} and more", "a ".repeat(240))).unwrap();
        let file = HaltFile::new(path.clone(), Redactor::new([secret.to_owned().into()]));
        let reason = file.look().unwrap().reason;
        assert_eq!(reason.chars().count(), REASON_CHARS_MAX);
        assert!(reason.contains("[redacted") && !reason.contains("correct"), "{reason}");
        std::fs::remove_file(&path).unwrap();
    }
}
