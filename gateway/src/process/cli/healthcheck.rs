//! `draftwire healthcheck`: for container runtimes, whose images hold no curl.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use crate::auth::install_crypto;

/// Less than the intervals that container runtimes use.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a node is not ready.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// It does not answer.
    #[error("the node does not answer: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// It answers that it is not.
    #[error("the node is not ready: it answers with status {0}")]
    NotReady(u16),
}

/// Where a node that listens on `addr` can be reached from this machine.
pub(super) fn target(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

/// Asks the node at `addr` whether it takes traffic (`GET /readyz`).
///
/// # Errors
/// When it does not, or does not answer within five seconds.
pub async fn healthcheck(addr: SocketAddr) -> Result<(), HealthError> {
    // The client wants it even for plain HTTP.
    install_crypto();
    // A proxy of the environment is for the way out, not for this machine.
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
    let status = client.get(format!("http://{addr}/readyz")).send().await?.status();
    if status.is_success() { Ok(()) } else { Err(HealthError::NotReady(status.as_u16())) }
}
