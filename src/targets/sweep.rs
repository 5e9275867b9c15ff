//! Deleting old files: what is asked, what was found, what went. The same for every way to a host.
//!
//! In: folders within allowed roots. Out: files that may go, then what became of each. Never: a
//! folder, a link, a file that was not listed before.

use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// More files than this are no longer a list that anybody reads.
pub const FILES_MAX: usize = 1_000;
/// More than this at once is a decision, not a clean-up.
pub const BYTES_MAX: u64 = 256 * 1024 * 1024 * 1024;
/// Examples that each reason for keeping shows.
const EXAMPLES_MAX: usize = 3;

/// Which files may go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sweep {
    /// Folders or files, normalised, each within a root.
    pub paths: Vec<String>,
    /// The host's clean roots, normalised.
    pub roots: Vec<String>,
    /// Names or numbers of users whose files may go, beside root and our own.
    pub owners: Vec<String>,
    /// Only files last written before this.
    pub older_than_ms: i64,
}

/// One file that may go; recognised again by all of this.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    pub path: String,
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub modified_ns: i64,
}

impl Entry {
    /// Five values in a row, since a thousand of them are stored.
    pub fn to_value(&self) -> Value {
        json!([self.path, self.device, self.inode, self.size, self.modified_ns])
    }

    /// Reads what [`Self::to_value`] wrote.
    pub fn from_value(value: &Value) -> Option<Self> {
        let (path, device, inode, size, modified_ns) =
            serde_json::from_value(value.clone()).ok()?;
        Some(Self { path, device, inode, size, modified_ns })
    }
}

/// Why a file stays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    TooYoung,
    Open,
    OtherOwner,
    /// Deleting one of several names frees nothing.
    HardLinked,
    SymbolicLink,
    /// A pipe, a socket or a device.
    NotAFile,
    OtherFileSystem,
    /// It cannot be written into a list that people read.
    StrangeName,
    TooDeep,
    /// Another file than the one listed, or one that was written to.
    Changed,
    Gone,
    /// Beyond [`FILES_MAX`] or [`BYTES_MAX`].
    OverLimit,
    OutOfTime,
    /// The system refused.
    Denied,
}

impl Kept {
    pub fn words(self) -> &'static str {
        match self {
            Self::TooYoung => "too young",
            Self::Open => "open in a process",
            Self::OtherOwner => "of an owner that is not in clean_owners",
            Self::HardLinked => "with other hard links",
            Self::SymbolicLink => "symbolic links",
            Self::NotAFile => "no regular files",
            Self::OtherFileSystem => "on another file system",
            Self::StrangeName => "with names that are not plain text",
            Self::TooDeep => "too deep",
            Self::Changed => "changed since they were listed",
            Self::Gone => "gone already",
            Self::OverLimit => "over the limit of one run",
            Self::OutOfTime => "not reached in time",
            Self::Denied => "refused by the system",
        }
    }
}

/// How many files stay for one reason.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Stays {
    pub count: usize,
    pub bytes: u64,
    pub examples: Vec<String>,
}

/// What stays, by reason.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Rest(pub BTreeMap<Kept, Stays>);

impl Rest {
    pub fn add(&mut self, why: Kept, path: &str, bytes: u64) {
        let stays = self.0.entry(why).or_default();
        stays.count += 1;
        stays.bytes += bytes;
        if stays.examples.len() < EXAMPLES_MAX {
            stays.examples.push(path.to_owned());
        }
    }

    pub fn count(&self) -> usize {
        self.0.values().map(|stays| stays.count).sum()
    }
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// In path order.
    pub files: Vec<Entry>,
    pub kept: Rest,
    /// Processes whose open files we may not see.
    pub unseen_processes: usize,
}

/// What went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    pub deleted: Vec<String>,
    pub freed_bytes: u64,
    pub kept: Rest,
    pub unseen_processes: usize,
}
