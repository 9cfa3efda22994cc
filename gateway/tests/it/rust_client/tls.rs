//! `wss` addresses, with an authority of the test's own.

use std::{net::Ipv4Addr, sync::Arc};

use draftwire_client::{Client, ConnectError, NewEvent};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use testkit::token;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::in_time;
use crate::harness::{ALL_TOPICS, Server};

/// A TLS in front of a node, as a proxy's.
struct Tls {
    port: u16,
    /// The certificate of the authority, PEM.
    authority: String,
    accepting: tokio::task::JoinHandle<()>,
}

impl Tls {
    async fn before(server: &Server) -> Self {
        let mut of_authority = CertificateParams::new(Vec::new()).unwrap();
        of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(of_authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = names.signed_by(&key, &authority).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let (acceptor, upstream) = (TlsAcceptor::from(Arc::new(config)), server.addr);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Clients that do not trust it end the handshake.
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let Ok(mut node) = TcpStream::connect(upstream).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
                });
            }
        });
        Self { port, authority: authority.pem(), accepting }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[tokio::test]
async fn a_server_is_reached_over_tls_where_its_authority_is_trusted() {
    let server = Server::start().await;
    let tls = Tls::before(&server).await;
    let builder = |host: &str| {
        let url = format!("https://{host}:{}", tls.port);
        Client::builder(url).token(token::scoped("alice", ALL_TOPICS))
    };
    let trusting = |host: &str| builder(host).ca_certificates(tls.authority.as_str());
    let client = in_time("a connection", trusting("localhost").connect()).await.unwrap();
    let ack = in_time("the answer", client.publish("match:1", NewEvent::new("GOAL"))).await.unwrap();
    assert_eq!(ack.seq, Some(1));
    client.close();

    // An authority that nobody trusts, and a certificate for another name.
    for unsafe_one in [builder("localhost"), trusting("127.0.0.1")] {
        let error = in_time("the refusal", unsafe_one.connect()).await.unwrap_err();
        assert!(matches!(&*error, ConnectError::Network(_)), "{error}");
        assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
    }
    for wrong in ["no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let refused = builder("localhost").ca_certificates(wrong).start();
        assert!(matches!(refused, Err(ConnectError::Certificates(_))), "{wrong}");
    }
    server.stop().await;
}
