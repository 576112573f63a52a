//! One TLS client configuration for the token endpoint and the socket: the machine's own trust, aws-lc-rs, no other provider.

use std::sync::Arc;

use rustls::{ClientConfig, pki_types::CertificateDer};
use rustls_platform_verifier::Verifier;

/// Trusts what the machine trusts, and `extra` roots beside it (tests; a provider behind a private authority).
pub(super) fn client_config(extra: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = if extra.is_empty() {
        Verifier::new(Arc::clone(&provider))?
    } else {
        Verifier::new_with_extra_roots(extra, Arc::clone(&provider))?
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}
