//! TLS from the configured files.

use crate::config::HttpSettings;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Builds the acceptor; `None` when TLS is not configured.
///
/// # Errors
/// A sentence that names the file and never shows what is in it.
pub fn acceptor(http: &HttpSettings) -> Result<Option<TlsAcceptor>, String> {
    let (Some(cert_file), Some(key_file)) = (&http.tls_cert_file, &http.tls_key_file) else {
        return Ok(None);
    };
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert_file)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(cert_file, &error))?;
    let key =
        PrivateKeyDer::from_pem_file(key_file).map_err(|error| unreadable(key_file, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| format!("{} and {}: {error}", cert_file.display(), key_file.display()))?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn unreadable(file: &Path, error: &impl std::fmt::Display) -> String {
    format!("cannot read {}: {error}", file.display())
}
