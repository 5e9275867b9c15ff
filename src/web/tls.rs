//! TLS from the configured files, which are read again when they change.
//!
//! In: the names of a certificate and its key. Out: an acceptor for the next connection. Never: a
//! server without TLS because a renewed file is unfit: the pair in force stays, and the log says so.

use crate::config::HttpSettings;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How often a new connection makes us look at the files. Whoever renews writes two of them, one after
/// the other.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The pair in force.
pub struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    seen: Mutex<Seen>,
}

struct Seen {
    acceptor: TlsAcceptor,
    stamps: [Option<Stamp>; 2],
    looked_at: Instant,
}

/// Inode, length and time of the last change.
type Stamp = (u64, u64, i64, i64);

impl Tls {
    /// Reads the files; `None` when TLS is not configured.
    ///
    /// # Errors
    /// A sentence that names the file and never shows what is in it.
    pub fn load(http: &HttpSettings) -> Result<Option<Self>, String> {
        let (Some(cert_file), Some(key_file)) = (&http.tls_cert_file, &http.tls_key_file) else {
            return Ok(None);
        };
        // Before they are read: a change meanwhile is seen later.
        let stamps = [stamp(cert_file), stamp(key_file)];
        let acceptor = acceptor(cert_file, key_file)?;
        let seen = Mutex::new(Seen { acceptor, stamps, looked_at: Instant::now() });
        Ok(Some(Self { cert_file: cert_file.clone(), key_file: key_file.clone(), seen }))
    }

    /// For the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.looked_at.elapsed() >= LOOK_EVERY {
            seen.looked_at = Instant::now();
            let stamps = [stamp(&self.cert_file), stamp(&self.key_file)];
            if stamps != seen.stamps {
                seen.stamps = stamps;
                match acceptor(&self.cert_file, &self.key_file) {
                    Ok(renewed) => {
                        seen.acceptor = renewed;
                        tracing::info!("read the certificate and its key again");
                    }
                    Err(why) => tracing::error!(%why, "the certificate before stays: {why}"),
                }
            }
        }
        seen.acceptor.clone()
    }
}

fn acceptor(cert_file: &Path, key_file: &Path) -> Result<TlsAcceptor, String> {
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert_file)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(cert_file, &error))?;
    let key =
        PrivateKeyDer::from_pem_file(key_file).map_err(|error| unreadable(key_file, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| format!("{} and {}: {error}", cert_file.display(), key_file.display()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn stamp(file: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(file).ok()?;
    Some((data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
}

fn unreadable(file: &Path, error: &impl std::fmt::Display) -> String {
    format!("cannot read {}: {error}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a certificate and its key.
    struct Files(PathBuf);

    impl Files {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("wk-tls-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir(&folder).unwrap();
            let files = Self(folder);
            files.renew(["cert.pem", "key.pem"].as_slice());
            files
        }

        /// Writes these parts of a pair that was made anew.
        fn renew(&self, parts: &[&str]) {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            for part in parts {
                let text = match *part {
                    "cert.pem" => made.cert.pem(),
                    _ => made.signing_key.serialize_pem(),
                };
                // As tools do that renew: a file of its own, under the old name.
                std::fs::write(self.0.join("new"), text).unwrap();
                std::fs::rename(self.0.join("new"), self.0.join(part)).unwrap();
            }
        }

        fn tls(&self) -> Tls {
            let http = HttpSettings {
                tls_cert_file: Some(self.0.join("cert.pem")),
                tls_key_file: Some(self.0.join("key.pem")),
                ..HttpSettings::default()
            };
            Tls::load(&http).unwrap().unwrap()
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Whether a look that is due finds another pair.
    fn exchanges(tls: &Tls) -> bool {
        let before = tls.acceptor();
        tls.seen.lock().unwrap().looked_at = Instant::now() - LOOK_EVERY;
        !Arc::ptr_eq(before.config(), tls.acceptor().config())
    }

    #[test]
    fn a_renewed_pair_is_taken_over_and_half_of_one_is_not() {
        let files = Files::new();
        let tls = files.tls();
        assert!(!exchanges(&tls), "nothing changed");
        files.renew(&["cert.pem", "key.pem"]);
        assert!(exchanges(&tls));
        files.renew(&["cert.pem"]);
        assert!(!exchanges(&tls), "the key is of another certificate");
        files.renew(&["cert.pem", "key.pem"]);
        assert!(exchanges(&tls), "it fits again");
        std::fs::remove_dir_all(&files.0).unwrap();
        assert!(!exchanges(&tls), "the last good pair stays");
    }
}
