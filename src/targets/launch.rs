//! Runs one program on this machine: no shell, no input, no inherited environment, bounded.

use super::{Command, Error, Exit, Ran};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;

const FOLDERS: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

pub async fn run(command: Command) -> Result<Ran, Error> {
    let Some((program, args)) = command.argv.split_first() else {
        return Err(Error::Missing("the command is empty".to_owned()));
    };
    let path = if program.starts_with('/') {
        program.clone()
    } else {
        FOLDERS
            .iter()
            .map(|folder| format!("{folder}/{program}"))
            .find(|path| Path::new(path).exists())
            .ok_or_else(|| Error::Missing(format!("{program} is not installed")))?
    };
    let mut child = tokio::process::Command::new(&path)
        .args(args)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Error::Missing(format!("cannot start {path}: {error}")))?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Error::Unknown("no pipes".to_owned()));
    };
    let max = command.output_bytes_max as u64;
    let exit = tokio::time::timeout(Duration::from_millis(command.timeout_ms), async {
        let mut a = (&mut stdout).take(max);
        let mut b = (&mut stderr).take(max);
        let reads = async { tokio::join!(a.read_to_end(&mut out), b.read_to_end(&mut err)) };
        tokio::pin!(reads);
        let wait = child.wait();
        tokio::pin!(wait);
        tokio::select! {
            _ = &mut reads => wait.await,
            status = &mut wait => {
                let _ = tokio::time::timeout(Duration::from_millis(200), reads).await;
                status
            }
        }
    })
    .await;
    let exit = match exit {
        Err(_) => Exit::TimedOut,
        Ok(Err(error)) => return Err(Error::Unknown(error.to_string())),
        Ok(Ok(status)) => match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or_default()),
        },
    };
    Ok(Ran {
        exit,
        stdout: String::from_utf8_lossy(&out).into_owned(),
        stderr: String::from_utf8_lossy(&err).into_owned(),
        left_out_bytes: 0,
    })
}
