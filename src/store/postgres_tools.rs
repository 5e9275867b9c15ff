//! Runs `pg_dump` and `pg_restore`, which read and write a Postgres better than we could.
//!
//! In: an address, arguments, a file for the output. Out: done, or what the program said. Never: a
//! password among the arguments, where every user of the machine sees it.

use super::Error;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::Command;

/// What both libpq and our own client understand; the rest is ours alone.
const PARAMETERS: [&str; 9] =
    ["host", "port", "user", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey", "options"];

/// Of what a failing program said, so much is told.
const SAID_CHARS_MAX: usize = 600;

/// A database as the programs are told of it.
pub struct Target {
    address: String,
    password: Option<SecretString>,
}

impl Target {
    /// # Errors
    /// The address is none.
    pub fn new(url: &SecretString) -> Result<Self, Error> {
        let wrong = || Error::Unavailable("DATABASE_URL is not a Postgres address".into());
        let mut url = Url::parse(url.expose_secret()).map_err(|_| wrong())?;
        let mut password = url.password().map(|text| SecretString::from(unescaped(text)));
        let mut kept: Vec<(String, String)> = Vec::new();
        for (name, value) in url.query_pairs() {
            let name = if name == "ssl-mode" { "sslmode".into() } else { name };
            match &*name {
                "password" => password = Some(SecretString::from(value.into_owned())),
                known if PARAMETERS.contains(&known) => {
                    kept.push((name.into_owned(), value.into_owned()));
                }
                _ => {}
            }
        }
        if url.password().is_some() {
            url.set_password(None).map_err(|()| wrong())?;
        }
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(&kept);
            // libpq takes a plus sign for itself.
            let query = url.query().map(|query| query.replace('+', "%20"));
            url.set_query(query.as_deref());
        }
        Ok(Self { address: url.into(), password })
    }

    /// Runs a program of the Postgres client to its end; its output goes into `output`.
    ///
    /// # Errors
    /// It is not installed, or what it said on failing.
    pub async fn run(
        &self,
        program: &str,
        arguments: &[String],
        output: Option<File>,
    ) -> Result<(), Error> {
        let mut places = vec![PathBuf::from(program)];
        places.extend(debian(program));
        for place in places {
            let mut command = Command::new(&place);
            command.args(arguments).arg(format!("--dbname={}", self.address));
            command.env("PGAPPNAME", "watchkeeper backup").kill_on_drop(true);
            if let Some(password) = &self.password {
                command.env("PGPASSWORD", password.expose_secret());
            }
            let again = output.as_ref().map(File::try_clone).transpose();
            let again = again.map_err(|error| Error::Unavailable(error.to_string()))?;
            command.stdin(Stdio::null()).stderr(Stdio::piped());
            command.stdout(again.map_or_else(Stdio::null, Stdio::from));
            let child = match command.spawn() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    let why = format!("cannot run {}: {error}", place.display());
                    return Err(Error::Unavailable(why));
                }
                Ok(child) => child,
            };
            let ended = child.wait_with_output().await;
            let ended = ended.map_err(|error| Error::Unavailable(error.to_string()))?;
            if ended.status.success() {
                return Ok(());
            }
            let said: String =
                String::from_utf8_lossy(&ended.stderr).chars().take(SAID_CHARS_MAX).collect();
            return Err(Error::Unavailable(format!("{program} failed: {}", said.trim())));
        }
        Err(Error::Unavailable(format!(
            "{program} is not on this machine; it comes with the Postgres client (on Debian \
             `apt-get install postgresql-client`), in the version of the server or a later one"
        )))
    }
}

/// Where Debian puts the versions that it has, the newest first.
fn debian(program: &str) -> Vec<PathBuf> {
    let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = versions
        .flatten()
        .filter_map(|version| {
            let number = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin").join(program)))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

fn unescaped(text: &str) -> String {
    // A query of one pair is decoded as an address is, but for the plus sign.
    let query = format!("p={}", text.replace('+', "%2B").replace('&', "%26"));
    let mut any = Url::parse("http://localhost").ok();
    if let Some(url) = &mut any {
        url.set_query(Some(&query));
    }
    any.and_then(|url| url.query_pairs().next().map(|(_, value)| value.into_owned()))
        .unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_no_part_of_the_arguments() {
        let url = SecretString::from(
            "postgres://kim:p%40s+s%26@db.example.org:5433/wk?sslmode=require&statement-cache-capacity=9",
        );
        let target = Target::new(&url).unwrap();
        assert_eq!(target.address, "postgres://kim@db.example.org:5433/wk?sslmode=require");
        assert_eq!(target.password.unwrap().expose_secret(), "p@s+s&");
        let url = SecretString::from("postgres:///wk?host=/run/postgresql&password=x");
        let target = Target::new(&url).unwrap();
        assert_eq!(target.address, "postgres:///wk?host=%2Frun%2Fpostgresql");
        assert_eq!(target.password.unwrap().expose_secret(), "x");
    }
}
