//! Runs a program of the inventory that starts something that lasts, such as a restart script.
//!
//! In: the file to run, ready words, bounds. Out: what it wrote and how it ended. Unlike
//! `process::run` it waits for the program alone, not for what that started, and ends nothing: not
//! at the time limit, not when the call is dropped. Never: a shell, input, our environment.

use super::process::{Spec, visible};
use super::{Error, Exit, Ran};
use crate::crash::{self, Point};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::{Instant, timeout, timeout_at};

/// What a program gets as `PATH`: init scripts call their helpers by name.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// How long its last words are read after it ended; what it started may hold the pipes for ever.
const DRAIN: Duration = Duration::from_millis(200);

/// Runs the first of the files that exists.
///
/// # Errors
/// `Missing`: nothing was started. `Unknown`: it was, and was lost.
pub(super) async fn run(spec: Spec) -> Result<Ran, Error> {
    let Some(program) = spec.candidates.iter().find(|path| path.is_absolute() && path.is_file())
    else {
        return Err(Error::Missing(format!("no such program: {:?}", spec.candidates)));
    };
    crash::at(Point::BeforeProgram);
    let mut child = Command::new(program)
        .args(&spec.args)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: what ends us from the terminal should not end it.
        .process_group(0)
        .spawn()
        .map_err(|error| Error::Missing(format!("cannot run {}: {error}", program.display())))?;
    let deadline = Instant::now() + spec.timeout;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let half = spec.output_bytes_max / 2;
    let ended = {
        let reading = async {
            tokio::join!(read(stdout, &mut out, half), read(stderr, &mut err, half));
        };
        let waiting = timeout_at(deadline, child.wait());
        tokio::pin!(reading, waiting);
        let mut all_read = false;
        let ended = loop {
            tokio::select! {
                ended = &mut waiting => break ended,
                () = &mut reading, if !all_read => all_read = true,
            }
        };
        if !all_read {
            let _ = timeout(DRAIN, reading).await;
        }
        ended
    };
    crash::at(Point::AfterProgram);
    let exit = match ended {
        Err(_) => Exit::TimedOut,
        Ok(Ok(status)) => exit(status),
        Ok(Err(error)) => return Err(Error::Unknown(format!("lost sight of it: {error}"))),
    };
    Ok(Ran {
        exit,
        truncated: out.len() >= half || err.len() >= half,
        stdout: visible(&out),
        stderr: visible(&err),
    })
}

/// Reads to the end and keeps the first bytes; a full pipe would stop the program.
async fn read(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>, bytes_max: usize) {
    let Some(mut from) = from else { return };
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let room = bytes_max.saturating_sub(into.len());
        into.extend_from_slice(&chunk[..count.min(room)]);
    }
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}
