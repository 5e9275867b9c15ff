//! Files that only their owner may read, made durable.

use super::Error;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Read and copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Makes a folder, and those above it, unless it is there.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes an empty file.
///
/// # Errors
/// `Conflict` when it is there already; it is left as it is.
pub fn make_private(file: &Path) -> Result<File, Error> {
    let made = File::options().create_new(true).read(true).write(true).mode(0o600).open(file);
    made.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Error::Conflict(format!(
                "{} is there already; it is left alone",
                file.display()
            ));
        }
        cannot("make", file, &error)
    })
}

/// Copies a file into one that is made, and syncs it; returns its size and SHA-256.
pub fn copy(from: &Path, to: &Path) -> Result<(u64, String), Error> {
    let mut source = File::open(from).map_err(|error| cannot("read", from, &error))?;
    let mut target = make_private(to)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = source.read(&mut chunk).map_err(|error| cannot("read", from, &error))?;
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        target.write_all(&chunk[..read]).map_err(|error| cannot("write", to, &error))?;
        bytes += read as u64;
    }
    target.sync_all().map_err(|error| cannot("write", to, &error))?;
    Ok((bytes, hex(&hash.finalize())))
}

/// Syncs a file; returns its size and SHA-256.
pub fn seal(file: &Path) -> Result<(u64, String), Error> {
    let mut source = File::open(file).map_err(|error| cannot("read", file, &error))?;
    source.sync_all().map_err(|error| cannot("write", file, &error))?;
    let mut hash = Sha256::new();
    let bytes = io::copy(&mut source, &mut hash).map_err(|error| cannot("read", file, &error))?;
    Ok((bytes, hex(&hash.finalize())))
}

/// Renames a file and makes that durable.
pub fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|error| cannot("write", to, &error))?;
    sync_folder_of(to)
}

pub fn sync_folder_of(file: &Path) -> Result<(), Error> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| cannot("write", file, &error))
}

/// The same file name with more at its end.
pub fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub fn cannot(what: &str, file: &Path, error: &io::Error) -> Error {
    Error::Unavailable(format!("cannot {what} {}: {error}", file.display()))
}

pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
