//! Reaches the machine that Watchkeeper runs on.
//!
//! In: ready arguments and paths. Out: what the programs and files of this machine say. Never: a
//! shell, a search of `PATH`, a wait without an end.

use super::launch;
use super::{Command, Error, Ran, Reach, Tail};
use futures::future::BoxFuture;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// This machine.
#[derive(Clone, Debug, Default)]
pub struct Local;

impl Reach for Local {
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Ran, Error>> {
        Box::pin(launch::run(command))
    }

    fn systemd(&self) -> BoxFuture<'_, Result<(), String>> {
        // The test that systemd's own sd_booted(3) makes.
        let booted = Path::new("/run/systemd/system").is_dir();
        Box::pin(async move {
            if booted { Ok(()) } else { Err("systemd does not run this machine".to_owned()) }
        })
    }

    fn tail(&self, path: String, bytes_max: u64) -> BoxFuture<'_, Result<Tail, Error>> {
        Box::pin(blocking(move || tail(&path, bytes_max)))
    }
}

/// Runs file work on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Error::Unknown(format!("the work broke off: {error}"))),
    }
}

fn tail(path: &str, bytes_max: u64) -> Result<Tail, Error> {
    let failed = |error: std::io::Error| Error::Missing(format!("cannot read {path}: {error}"));
    // Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut file: File =
        File::options().read(true).custom_flags(nonblock).open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(Error::Missing(format!("{path} is not a regular file")));
    }
    let skipped = about.len().saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(skipped)).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).map_err(failed)?;
    let mut start = 0;
    if skipped > 0 {
        start = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    }
    let modified_ms = about
        .modified()
        .ok()
        .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default();
    Ok(Tail {
        text: String::from_utf8_lossy(&bytes[start..]).into_owned(),
        modified_ms,
        skipped_bytes: skipped + start as u64,
    })
}
