//! Opens a configured log, also over symbolic links, without being led astray.
//!
//! In: an absolute path of the inventory. Out: the file, opened. Never: a link followed that was
//! not looked at through its own handle. An account that owns its log folder can put a link there,
//! to a file that it may not read itself and we may, and can change it between any two looks.

use super::super::Error;
use crate::safety::paths::{self, Access};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;

/// As many as Linux itself follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Opens the file for reading; a pipe or a device does not make it wait.
///
/// # Errors
/// `Missing` with the reason: it is not there, or a link of somebody else leads to a file that may
/// not be shown.
pub(super) fn open(path: &str) -> Result<File, Error> {
    let failed = |why: String| Error::Missing(format!("cannot read {path}: {why}"));
    let found = walk(path).map_err(|error| failed(error.to_string()))?;
    // Through the handle, so that it is the very file that was found.
    let handle = format!("/proc/self/fd/{}", found.file.as_raw_fd());
    if found.foreign {
        let real = std::fs::read_link(&handle).map_err(|error| failed(error.to_string()))?;
        let real = real.to_string_lossy().into_owned();
        if real != path {
            let denied = |why| Error::Missing(format!("{path} leads to {real}: {why}"));
            paths::permit(Access::Read, &real).map_err(denied)?;
        }
    }
    // Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options().read(true).custom_flags(nonblock).open(handle);
    opened.map_err(|error| failed(error.to_string()))
}

struct Found {
    file: OwnedFd,
    /// Whether a link on the way belongs to neither root nor us: then it is no configuration.
    foreign: bool,
}

/// Follows the path part by part. What is a link is read through the handle that its owner was
/// read through.
fn walk(path: &str) -> Result<Found, Errno> {
    let mut parts: VecDeque<String> = split(path);
    let mut above = vec![look(None, "/")?];
    let (mut links, mut foreign) = (0, false);
    while let Some(part) = parts.pop_front() {
        if part == ".." {
            if above.len() > 1 {
                above.pop();
            }
            continue;
        }
        let handle = look(above.last(), &part)?;
        let about = rustix::fs::fstat(&handle)?;
        if FileType::from_raw_mode(about.st_mode) != FileType::Symlink {
            above.push(handle);
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        foreign |= !is_trusted(&about);
        let target = rustix::fs::readlinkat(&handle, "", Vec::new())?;
        let target = target.to_str().map_err(|_| Errno::ILSEQ)?;
        if target.starts_with('/') {
            above.truncate(1);
        }
        for part in split(target).into_iter().rev() {
            parts.push_front(part);
        }
    }
    let file = above.pop().ok_or(Errno::NOENT)?;
    Ok(Found { file, foreign })
}

fn split(path: &str) -> VecDeque<String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
}

fn look(from: Option<&OwnedFd>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match from {
        Some(folder) => rustix::fs::openat(folder, name, flags, Mode::empty()),
        None => rustix::fs::openat(CWD, name, flags, Mode::empty()),
    }
}

fn is_trusted(about: &Stat) -> bool {
    [0, rustix::process::geteuid().as_raw()].contains(&about.st_uid)
}
