//! Where devices connect and requests go.

use anyhow::{Result, bail};

/// Where a node opens WebSockets.
const WS_PATH: &str = "/ws/realtime";

/// One way into the cluster: a node, or what balances between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entrance {
    /// Where devices connect.
    pub(crate) ws: String,
    /// Where requests go; without a slash at the end.
    pub(crate) http: String,
}

/// Reads a `ws://` URL; the path may be left out.
///
/// # Errors
/// When it is none. `wss` is among these: the server speaks no TLS, what is in front of it does.
pub(crate) fn entrance(url: &str) -> Result<Entrance> {
    let Some(rest) = url.strip_prefix("ws://") else {
        bail!("{url:?} does not begin with ws://");
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let odd = |c: char| c.is_whitespace() || matches!(c, '?' | '#' | '@');
    if authority.is_empty() || rest.contains(odd) {
        bail!("{url:?} is not of the form ws://host:port");
    }
    let path = if path.len() > 1 { path } else { WS_PATH };
    Ok(Entrance { ws: format!("ws://{authority}{path}"), http: format!("http://{authority}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_added_where_there_is_none() {
        let whole = Entrance {
            ws: "ws://localhost:8080/ws/realtime".to_owned(),
            http: "http://localhost:8080".to_owned(),
        };
        for url in ["ws://localhost:8080", "ws://localhost:8080/", "ws://localhost:8080/ws/realtime"] {
            assert_eq!(entrance(url).ok().as_ref(), Some(&whole), "{url}");
        }
        for wrong in
            ["", "localhost:8080", "http://localhost", "wss://x", "ws://", "ws:///x", "ws://x?token=y"]
        {
            assert!(entrance(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
