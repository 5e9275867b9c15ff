//! Walks folders by handle, so that nobody can swap a folder for a link on the way.
//!
//! In: a normalised root and path. Out: handles, and what lies in a folder. Never: a symbolic link
//! followed, another file system entered (bind mounts included), a path resolved twice.

use crate::model::text::is_invisible;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// A folder inside a clean root.
pub(super) struct Folder {
    fd: OwnedFd,
    device: u64,
}

/// Why a folder cannot be entered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Blocked {
    Gone,
    Link,
    OtherFileSystem,
    System(String),
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("it does not exist"),
            Self::Link => {
                f.write_str("it leads over a symbolic link or something that is no folder")
            }
            Self::OtherFileSystem => f.write_str("it leads to another file system"),
            Self::System(why) => f.write_str(why),
        }
    }
}

impl From<Errno> for Blocked {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT => Self::Gone,
            Errno::LOOP | Errno::NOTDIR => Self::Link,
            Errno::XDEV => Self::OtherFileSystem,
            error => Self::System(error.to_string()),
        }
    }
}

impl Folder {
    /// Opens the root itself, component by component from `/`; it may be a mount point.
    pub(super) fn root(path: &str) -> Result<Self, Blocked> {
        let mut fd = rustix::fs::openat(CWD, "/", flags(), Mode::empty())?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            fd = rustix::fs::openat(&fd, part, flags(), Mode::empty())?;
        }
        let device = rustix::fs::fstat(&fd)?.st_dev;
        Ok(Self { fd, device })
    }

    /// The folder below, by relative path; an empty one gives the folder again.
    pub(super) fn below(&self, path: &str) -> Result<Self, Blocked> {
        let mut fd = self.fd.try_clone().map_err(|error| Blocked::System(error.to_string()))?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            fd = self.enter(&fd, part)?;
        }
        Ok(Self { fd, device: self.device })
    }

    /// One name in it, not followed.
    pub(super) fn stat(&self, name: &str) -> Result<Stat, Blocked> {
        Ok(rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Deletes one name in it that is no folder.
    pub(super) fn unlink(&self, name: &str) -> Result<(), Blocked> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// The names in it; `None` for one that is not text.
    pub(super) fn names(&self) -> Result<Vec<Option<String>>, Blocked> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            match entry?.file_name().to_str() {
                Ok("." | "..") => {}
                // A list that people approve must show each name as it is.
                Ok(name) if name.chars().any(hides) => names.push(None),
                Ok(name) => names.push(Some(name.to_owned())),
                Err(_) => names.push(None),
            }
        }
        names.sort();
        Ok(names)
    }

    fn enter(&self, from: &impl AsFd, name: &str) -> Result<OwnedFd, Blocked> {
        // NO_XDEV also sees bind mounts, which have the same device number.
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let fd = match rustix::fs::openat2(from, name, flags(), Mode::empty(), resolve) {
            // Kernels before 5.6, and sandboxes that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => {
                rustix::fs::openat(from, name, flags(), Mode::empty())?
            }
            other => other?,
        };
        if rustix::fs::fstat(&fd)?.st_dev == self.device {
            Ok(fd)
        } else {
            Err(Blocked::OtherFileSystem)
        }
    }
}

/// Whether a name with this character may look like another one.
fn hides(c: char) -> bool {
    c.is_control() || is_invisible(c) || matches!(c, '\u{2028}' | '\u{2029}')
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Nanoseconds since the epoch at which the content was last written.
#[expect(clippy::useless_conversion, reason = "the field's type differs between architectures")]
pub(super) fn modified_ns(stat: &Stat) -> i64 {
    let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    i64::from(stat.st_mtime).saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// What kind of thing it is.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
