//! Where the node listens, how it is called and what it logs.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use common::ids::NodeId;
use reqwest::Url;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::{reader::Reader, store::Store};

/// Where the node listens, how it is called and what it logs.
#[derive(Debug, Clone)]
pub struct Listen {
    /// For clients: WebSocket and HTTP.
    pub addr: SocketAddr,
    /// Where the world reaches `addr`, if that is elsewhere, as with a container's published port.
    pub published_addr: Option<IpAddr>,
    /// For Prometheus.
    pub metrics_addr: SocketAddr,
    /// For how long a client may keep a connection without a request.
    pub keep_alive: Duration,
    /// The name of this node.
    pub node: NodeId,
    /// Which web pages may connect.
    pub origins: Origins,
    /// Whether the demonstration page is served, which hands tokens to anybody.
    pub demo: bool,
    /// `tracing` filter directives, known to be valid.
    pub log_level: String,
    /// How log lines are written.
    pub log_format: LogFormat,
}

/// Which web pages may connect. Clients that send no `Origin` are no browsers and may always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Those that this node itself served: the origin's host is the request's `Host`.
    Same,
    /// Any page.
    Any,
    /// These, as browsers write them (RFC 6454 section 6.2), lower-case.
    These(Vec<String>),
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Listen {
    /// The address at which clients reach this node, as far as it knows.
    pub fn reachable_at(&self) -> IpAddr {
        self.published_addr.unwrap_or(self.addr.ip())
    }

    pub(super) fn read(reader: &mut Reader<'_>, store: &Store) -> Self {
        let addr = address(reader, "LISTEN_ADDR");
        let metrics_addr = address(reader, "METRICS_ADDR");
        if addr == metrics_addr && addr.port() != 0 {
            reader.complain(format!(
                "LISTEN_ADDR (--listen-addr) and METRICS_ADDR (--metrics-addr) are both {addr}: \
                 give them different ports"
            ));
        }
        Self {
            addr,
            published_addr: reader.read("PUBLISHED_ADDR", ip_address),
            metrics_addr,
            keep_alive: reader.duration("HTTP_KEEP_ALIVE"),
            node: node(reader),
            origins: reader.read("ALLOWED_ORIGINS", origins).unwrap_or(Origins::Same),
            demo: match reader.choice("DEMO") {
                Some(word) => word == "true",
                None => store.is_embedded(),
            },
            log_level: reader.read("LOG_LEVEL", log_level).unwrap_or_default(),
            log_format: match reader.choice("LOG_FORMAT") {
                Some("json") => LogFormat::Json,
                _ => LogFormat::Text,
            },
        }
    }
}

/// One of the two addresses; the unspecified one after a complaint.
pub(super) fn address(reader: &mut Reader<'_>, env: &str) -> SocketAddr {
    reader
        .read(env, |text| {
            text.parse().map_err(|_| "give an IP address and port such as 0.0.0.0:8080".to_owned())
        })
        .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
}

/// An address without a port; one of IPv6 may be in brackets, as compose needs it before a port.
fn ip_address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| "give an IP address without a port, such as 127.0.0.1".to_owned())
}

fn node(reader: &mut Reader<'_>) -> NodeId {
    reader
        .read("NODE_NAME", |text| text.parse().map_err(|error| format!("{error}")))
        .unwrap_or_else(|| node_from_host(&host_name()))
}

/// The machine's name, or an empty text where it cannot be found out.
fn host_name() -> String {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default()
}

/// A host name as a node's name: what a node's name cannot hold becomes a dash.
fn node_from_host(host: &str) -> NodeId {
    let name: String = host
        .trim()
        .chars()
        .take(NodeId::CHARS_MAX)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '-' })
        .collect();
    let name = if name.is_empty() { "node" } else { name.as_str() };
    name.parse().expect("only characters of node names are left")
}

fn origins(text: &str) -> Result<Origins, String> {
    let entries: Vec<&str> = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
    if entries == ["*"] {
        return Ok(Origins::Any);
    }
    let mut origins = Vec::with_capacity(entries.len());
    for entry in entries {
        // Parsing also writes it as browsers do: lower-case, without the scheme's own port.
        let origin = Url::parse(entry).ok().filter(|url| url.has_host()).map(|url| {
            let plain = url.origin().ascii_serialization();
            // Other schemes (`app://local`) are opaque to the URL standard, and sent as they are.
            if plain == "null" { entry.to_ascii_lowercase() } else { plain }
        });
        let path = entry.split_once("://").is_none_or(|(_, rest)| rest.contains(['/', '?', '#', '@']));
        match origin {
            Some(origin) if !path => origins.push(origin),
            _ => {
                return Err(format!(
                    "{entry:?} is no origin; give a scheme and a host without a path, such as \
                     https://app.example.com, or * alone for any"
                ));
            }
        }
    }
    Ok(if origins.is_empty() { Origins::Same } else { Origins::These(origins) })
}

fn log_level(text: &str) -> Result<String, String> {
    let mend = "give error, warn, info, debug, trace or off, also per module (info,gateway::ws=debug)";
    // A lone word that is no level would be taken for a module's name and show nothing else.
    let levels = text
        .split(',')
        .filter(|directive| !directive.contains(['=', '[']))
        .all(|word| word.trim().parse::<LevelFilter>().is_ok());
    if !levels || EnvFilter::builder().parse(text).is_err() {
        return Err(mend.to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_becomes_a_node_name() {
        assert_eq!(node_from_host("web-1.example\n").as_str(), "web-1.example");
        assert_eq!(node_from_host("büro 7").as_str(), "b-ro-7");
        assert_eq!(node_from_host(&"x".repeat(100)).as_str(), "x".repeat(64));
        assert_eq!(node_from_host("\n").as_str(), "node");
    }

    #[test]
    fn origins_are_written_as_browsers_do() {
        assert_eq!(origins("*").unwrap(), Origins::Any);
        assert_eq!(
            origins("HTTPS://App.Example.com:443, http://localhost:3000,").unwrap(),
            Origins::These(vec!["https://app.example.com".into(), "http://localhost:3000".into()])
        );
        assert_eq!(origins("app://local").unwrap(), Origins::These(vec!["app://local".into()]));
        for text in ["app.example.com", "https://a.example/", "https://a.example,*", "https://u@a.example"] {
            assert!(origins(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn log_levels_are_levels() {
        for text in ["info", "off", "WARN", "info,gateway::ws=debug", "gateway=trace"] {
            assert!(log_level(text).is_ok(), "{text:?} was refused");
        }
        for text in ["verbose", "info,gateway", "gateway=loud", "info;debug"] {
            assert!(log_level(text).is_err(), "{text:?} was taken");
        }
    }
}
