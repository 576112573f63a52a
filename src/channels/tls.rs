//! The TLS of outgoing mail: always verified, by the platform's authorities or by the one the operator names.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the PEM file can't be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    #[error("the PEM file holds no certificate")]
    Empty,
    #[error("rustls refuses it")]
    Rustls(#[source] rustls::Error),
}

/// A client configuration. With `authority`, that file's certificates are trusted and nothing else.
pub fn client(authority: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(TlsError::Rustls)?;
    let verified = match authority {
        None => builder.with_platform_verifier().map_err(TlsError::Rustls)?,
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path).map_err(TlsError::Pem)? {
                roots.add(certificate.map_err(TlsError::Pem)?).map_err(TlsError::Rustls)?;
            }
            if roots.is_empty() {
                return Err(TlsError::Empty);
            }
            builder.with_root_certificates(roots)
        }
    };
    Ok(Arc::new(verified.with_no_client_auth()))
}
