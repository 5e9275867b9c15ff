//! Lists and deletes old files of this machine.
//!
//! In: a [`Sweep`], and for deleting the files that were listed before. Out: what may go, or what
//! went. Every condition is looked at again for each file right before it goes. Never: a file that
//! is open, young, linked, another user's, elsewhere, or not the one that was listed.

use super::tree::{Blocked, Folder, kind, modified_ns};
use crate::safety::paths::is_within;
use crate::targets::Error;
use crate::targets::sweep::{BYTES_MAX, Entry, FILES_MAX, Kept, Listing, Rest, Sweep, Swept};
use rustix::fs::{FileType, Stat};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

/// Log folders are shallow; anything deeper is not one.
const DEPTH_MAX: usize = 24;
/// A folder with more files than this needs a person.
const SCANNED_MAX: usize = 500_000;

/// What a file must fulfil at this moment.
struct Terms {
    older_than_ns: i64,
    owners: BTreeSet<u32>,
    open: BTreeSet<(u64, u64)>,
}

/// Lists what may go.
///
/// # Errors
/// `Missing`: a path is outside the roots or cannot be entered; nothing is half listed.
pub(super) fn list(sweep: &Sweep) -> Result<Listing, Error> {
    let (open, unseen_processes) = open_files();
    let terms = Terms::new(sweep, open);
    let mut walk =
        Walk { terms, files: Vec::new(), kept: Rest::default(), scanned: 0, dropped: false };
    for path in &sweep.paths {
        walk.path(root_of(sweep, path)?, path)?;
    }
    let Walk { mut files, mut kept, dropped, .. } = walk;
    if dropped {
        return Err(Error::Missing(format!(
            "there are more than {SCANNED_MAX} entries below {:?}; name a folder further down",
            sweep.paths
        )));
    }
    // The largest free most, if not all can go.
    files.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.cmp(b)));
    files.dedup_by(|a, b| a.path == b.path);
    let mut bytes = 0_u64;
    let mut taken = 0_usize;
    files.retain(|file| {
        let fits = taken < FILES_MAX && bytes.saturating_add(file.size) <= BYTES_MAX;
        if fits {
            taken += 1;
            bytes += file.size;
        } else {
            kept.add(Kept::OverLimit, &file.path, file.size);
        }
        fits
    });
    files.sort();
    Ok(Listing { files, kept, unseen_processes })
}

/// Deletes those of `listed` that are still what they were.
///
/// # Errors
/// `Missing`: nothing was deleted, since a listed file lies outside the asked paths.
pub(super) fn delete(sweep: &Sweep, listed: &[Entry], until: Instant) -> Result<Swept, Error> {
    let stray = listed.iter().find(|file| !is_within(&file.path, &sweep.paths));
    if let Some(stray) = stray {
        let path = &stray.path;
        return Err(Error::Missing(format!("{path} is not below the paths of this call")));
    }
    let (open, unseen_processes) = open_files();
    let terms = Terms::new(sweep, open);
    let mut swept = Swept { unseen_processes, ..Swept::default() };
    let mut folders: BTreeMap<String, Result<Folder, Blocked>> = BTreeMap::new();
    for file in listed.iter().take(FILES_MAX) {
        if Instant::now() >= until {
            swept.kept.add(Kept::OutOfTime, &file.path, file.size);
            continue;
        }
        let (folder_path, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let root = root_of(sweep, &file.path)?;
        // The handle stays the same folder even if its name is given to another one.
        if !folders.contains_key(folder_path) {
            folders.clear();
            folders.insert(folder_path.to_owned(), enter(root, folder_path));
        }
        match folders.get(folder_path) {
            Some(Ok(folder)) => match remove(folder, name, file, &terms) {
                Ok(freed_bytes) => {
                    swept.deleted.push(file.path.clone());
                    swept.freed_bytes += freed_bytes;
                }
                Err(why) => swept.kept.add(why, &file.path, file.size),
            },
            Some(Err(blocked)) => swept.kept.add(reason(blocked), &file.path, file.size),
            None => swept.kept.add(Kept::Denied, &file.path, file.size),
        }
    }
    Ok(swept)
}

fn remove(folder: &Folder, name: &str, file: &Entry, terms: &Terms) -> Result<u64, Kept> {
    let stat = folder.stat(name).map_err(|blocked| reason(&blocked))?;
    if kind(&stat) != FileType::RegularFile || entry(&file.path, &stat) != *file {
        return Err(Kept::Changed);
    }
    terms.judge(&stat)?;
    folder.unlink(name).map_err(|blocked| reason(&blocked))?;
    Ok(freed(&stat))
}

fn reason(blocked: &Blocked) -> Kept {
    match blocked {
        Blocked::Gone => Kept::Gone,
        Blocked::Link => Kept::Changed,
        Blocked::OtherFileSystem => Kept::OtherFileSystem,
        Blocked::System(_) => Kept::Denied,
    }
}

/// The widest root that holds the path: the walk is held to one file system from there on.
fn root_of<'a>(sweep: &'a Sweep, path: &str) -> Result<&'a str, Error> {
    let holds = |root: &&String| is_within(path, &[root.as_str()]);
    let root = sweep.roots.iter().filter(holds).min_by_key(|root| root.len());
    root.map(String::as_str).ok_or_else(|| {
        Error::Missing(format!("{path} is outside the clean_roots {:?}", sweep.roots))
    })
}

fn enter(root: &str, path: &str) -> Result<Folder, Blocked> {
    let below = path.strip_prefix(root).unwrap_or_default();
    Folder::root(root)?.below(below)
}

struct Walk {
    terms: Terms,
    files: Vec<Entry>,
    kept: Rest,
    scanned: usize,
    dropped: bool,
}

impl Walk {
    fn path(&mut self, root: &str, path: &str) -> Result<(), Error> {
        let blocked = |why: Blocked| Error::Missing(format!("{path} cannot be cleaned: {why}"));
        match enter(root, path) {
            Ok(folder) => {
                self.folder(&folder, path, 0);
                Ok(())
            }
            // Perhaps it names a file.
            Err(Blocked::Link) if path != root => {
                let (folder_path, name) = path.rsplit_once('/').unwrap_or(("", path));
                let folder = enter(root, folder_path).map_err(blocked)?;
                let stat = folder.stat(name).map_err(blocked)?;
                if kind(&stat) == FileType::Symlink {
                    return Err(blocked(Blocked::Link));
                }
                self.entry(path, &stat);
                Ok(())
            }
            Err(why) => Err(blocked(why)),
        }
    }

    fn folder(&mut self, folder: &Folder, path: &str, depth: usize) {
        let names = match folder.names() {
            Ok(names) => names,
            Err(_) => return self.kept.add(Kept::Denied, path, 0),
        };
        for name in names {
            self.scanned += 1;
            if self.scanned > SCANNED_MAX {
                self.dropped = true;
                return;
            }
            let Some(name) = name else {
                self.kept.add(Kept::StrangeName, path, 0);
                continue;
            };
            let below = format!("{path}/{name}");
            match folder.stat(&name) {
                Ok(stat) if kind(&stat) == FileType::Directory => {
                    self.enter(folder, &name, &below, depth);
                }
                Ok(stat) => self.entry(&below, &stat),
                Err(Blocked::Gone) => {}
                Err(_) => self.kept.add(Kept::Denied, &below, 0),
            }
        }
    }

    fn enter(&mut self, folder: &Folder, name: &str, path: &str, depth: usize) {
        if depth >= DEPTH_MAX {
            return self.kept.add(Kept::TooDeep, path, 0);
        }
        match folder.below(name) {
            Ok(below) => self.folder(&below, path, depth + 1),
            Err(Blocked::Gone) => {}
            Err(why) => self.kept.add(reason(&why), path, 0),
        }
    }

    fn entry(&mut self, path: &str, stat: &Stat) {
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let kept = match kind(stat) {
            FileType::RegularFile => match self.terms.judge(stat) {
                Ok(()) => {
                    self.files.push(entry(path, stat));
                    return;
                }
                Err(why) => why,
            },
            FileType::Symlink => Kept::SymbolicLink,
            FileType::Directory
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Kept::NotAFile,
        };
        self.kept.add(kept, path, size);
    }
}

impl Terms {
    fn new(sweep: &Sweep, open: BTreeSet<(u64, u64)>) -> Self {
        Self {
            older_than_ns: sweep.older_than_ms.saturating_mul(1_000_000),
            owners: owners(&sweep.owners),
            open,
        }
    }

    /// Whether a regular file may go.
    fn judge(&self, stat: &Stat) -> Result<(), Kept> {
        if modified_ns(stat) >= self.older_than_ns {
            return Err(Kept::TooYoung);
        }
        if !self.owners.contains(&stat.st_uid) {
            return Err(Kept::OtherOwner);
        }
        if stat.st_nlink > 1 {
            return Err(Kept::HardLinked);
        }
        if self.open.contains(&(stat.st_dev, stat.st_ino)) {
            return Err(Kept::Open);
        }
        Ok(())
    }
}

fn entry(path: &str, stat: &Stat) -> Entry {
    Entry {
        path: path.to_owned(),
        device: stat.st_dev,
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        modified_ns: modified_ns(stat),
    }
}

/// What the disk gets back; a sparse file holds less than its size. Blocks are of 512 bytes
/// (stat(2)).
fn freed(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default() * 512
}

fn owners(configured: &[String]) -> BTreeSet<u32> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let by_name = |name: &String| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name.as_str())).then(|| fields.nth(1)?.parse().ok())?
        })
    };
    let named = configured.iter().filter_map(|o| o.parse().ok().or_else(|| by_name(o)));
    named.chain([0, rustix::process::geteuid().as_raw()]).collect()
}

/// Device and inode of every file that some process holds open, and the number of processes that
/// we may not look into.
fn open_files() -> (BTreeSet<(u64, u64)>, usize) {
    let (mut open, mut unseen) = (BTreeSet::new(), 0);
    let Ok(processes) = fs::read_dir("/proc") else { return (open, 1) };
    for process in processes.flatten() {
        let numeric = process.file_name().to_str().is_some_and(|n| n.parse::<u32>().is_ok());
        if !numeric {
            continue;
        }
        match fs::read_dir(process.path().join("fd")) {
            Ok(handles) => open.extend(handles.flatten().filter_map(|handle| {
                let about = fs::metadata(handle.path()).ok()?;
                about.is_file().then(|| (about.dev(), about.ino()))
            })),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => unseen += 1,
            // It ended in between.
            Err(_) => {}
        }
    }
    (open, unseen)
}
