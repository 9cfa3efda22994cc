//! TLS of connections to `wss` addresses.

use tokio_tungstenite::Connector;

use crate::error::ConnectError;

/// What makes TLS of a connection: rustls with ring, whatever the process has chosen as its default. Certificates
/// are those that the system trusts, and the given ones (PEM).
///
/// # Errors
/// [`ConnectError::Certificates`].
#[cfg(feature = "tls")]
pub(crate) fn connector(given: &[u8]) -> Result<Connector, ConnectError> {
    use std::sync::Arc;

    use rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, pem::PemObject},
    };

    let wrong = |error: Box<dyn std::error::Error + Send + Sync>| ConnectError::Certificates(error);
    let mut roots = RootCertStore::empty();
    // Those of the system that cannot be read are those that nothing is signed with; none at all shows in handshakes.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(given) {
        let certificate = certificate.map_err(|error| wrong(error.to_string().into()))?;
        roots.add(certificate).map_err(|error| wrong(error.into()))?;
        found = true;
    }
    if !found && !given.is_empty() {
        return Err(wrong("there is none in PEM".into()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::Network(Box::new(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Connector::Rustls(Arc::new(config)))
}

/// Addresses that need TLS are refused before.
#[cfg(not(feature = "tls"))]
pub(crate) fn connector(_: &[u8]) -> Result<Connector, ConnectError> {
    Ok(Connector::Plain)
}
