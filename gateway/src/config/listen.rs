//! The settings of listeners and of the log.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use common::ids::NodeId;
use reqwest::Url;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::{
    reader::Reader,
    setting::{
        Declared, FileSetting, Group, HOUR, MINUTE, MS, Optional, Otherwise, SECOND, Setting, Value, choice,
        duration, text, yes_or_no,
    },
    store::Store,
};

pub(super) static GROUP: Group = Group {
    title: "Listening and logging",
    settings: &[
        &LISTEN_ADDR,
        &PUBLISHED_ADDR,
        &METRICS_ADDR,
        &ADMIN_ON_PRIVATE,
        &HTTP_KEEP_ALIVE,
        &NODE_NAME,
        &ALLOWED_ORIGINS,
        &DEMO,
        &LOG_LEVEL,
        &LOG_LEVEL_FILE,
        &LOG_FORMAT,
        &SLOW_OPERATION,
    ],
};

pub(crate) static LISTEN_ADDR: Setting<SocketAddr> = Setting {
    env: "LISTEN_ADDR",
    takes: text(socket_address),
    default: Value("127.0.0.1:8080"),
    help: "The IP address and port for clients: WebSocket and HTTP. Port 0 takes a free one.",
};

static PUBLISHED_ADDR: Optional<IpAddr> = Setting {
    env: "PUBLISHED_ADDR",
    takes: text(ip_address),
    default: Otherwise("that of LISTEN_ADDR"),
    help: "The IP address at which clients reach LISTEN_ADDR where that is another one, as with the published port of a container. Unless it is a loopback address, the demonstration's secret is refused, and DEMO is warned of.",
};

static METRICS_ADDR: Setting<SocketAddr> = Setting {
    env: "METRICS_ADDR",
    takes: text(socket_address),
    default: Value("127.0.0.1:9464"),
    help: "The IP address and port for Prometheus. Never expose it to clients.",
};

static ADMIN_ON_PRIVATE: Setting<bool> = Setting {
    env: "ADMIN_ON_PRIVATE",
    takes: yes_or_no(),
    default: Value("false"),
    help: "Whether METRICS_ADDR also serves the paths below /v1/admin/, without a token: whoever reaches it may do there what operators may.",
};

static HTTP_KEEP_ALIVE: Setting<Duration> = Setting {
    env: "HTTP_KEEP_ALIVE",
    takes: duration(SECOND, HOUR),
    default: Value("75s"),
    help: "How long an idle HTTP connection is kept for the next request. Longer than proxies in front keep theirs, often 60s: what they send on one that is being closed is lost, a 502.",
};

static NODE_NAME: Optional<NodeId> = Setting {
    env: "NODE_NAME",
    takes: text(node_name),
    default: Otherwise("the host name"),
    help: "The name of this node in logs, health and WELCOME; 1 to 64 characters of A-Z a-z 0-9 : _ . -",
};

static ALLOWED_ORIGINS: Optional<Origins> = Setting {
    env: "ALLOWED_ORIGINS",
    takes: text(origins),
    default: Otherwise("the same origin only"),
    help: "Web pages of which origins may connect, separated by commas (https://app.example.com); * for any. Clients that are no browsers send no origin and are not affected.",
};

static DEMO: Optional<bool> = Setting {
    env: "DEMO",
    takes: yes_or_no(),
    default: Otherwise("true embedded, false with DATABASE_URL"),
    help: "Whether the demonstration page hands a token to whoever opens it. Never in production.",
};

pub(super) static LOG_LEVEL: Setting<String> = Setting {
    env: "LOG_LEVEL",
    takes: text(log_level).or_in(&LOG_LEVEL_FILE).at_run_time(),
    default: Value("info"),
    help: "What is logged: error, warn, info, debug, trace or off, also per module (info,gateway::edge::ws=debug).",
};

static LOG_LEVEL_FILE: FileSetting = FileSetting {
    env: "LOG_LEVEL_FILE",
    help: "A file that holds LOG_LEVEL: that of a node that runs can be changed there, and is read again on SIGHUP.",
};

static LOG_FORMAT: Setting<LogFormat> = Setting {
    env: "LOG_FORMAT",
    takes: choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
    default: Value("text"),
    help: "How log lines are written.",
};

pub(super) static SLOW_OPERATION: Setting<Duration> = Setting {
    env: "SLOW_OPERATION",
    takes: duration(MS, MINUTE).at_run_time(),
    default: Value("100ms"),
    help: "From how long on an operation is slow: it is logged, and named as a bottleneck where one in twenty takes longer.",
};

/// Where the node listens, how it is called and what it logs.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The address for clients: WebSocket and HTTP.
    pub addr: SocketAddr,
    /// The address at which clients reach `addr`, if it is another one, as with a container's published port.
    pub published_addr: Option<IpAddr>,
    /// The address for Prometheus.
    pub metrics_addr: SocketAddr,
    /// Whether that one serves operators as well, without a token.
    pub admin_on_private: bool,
    /// How long an HTTP connection without a request is kept.
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
    /// From how long on an operation is slow.
    pub slow_operation: Duration,
}

/// Which web pages may connect. Clients that send no `Origin` are no browsers and may always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Pages that this node itself served: the origin's host is the request's `Host`.
    Same,
    /// Any page.
    Any,
    /// Pages of these origins, as browsers write them (RFC 6454 section 6.2), lower-case.
    These(Vec<String>),
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Listen {
    /// Returns the address at which clients reach this node, as far as it knows.
    pub(crate) fn reachable_at(&self) -> IpAddr {
        self.published_addr.unwrap_or(self.addr.ip())
    }

    pub(super) fn read(reader: &Reader<'_>, store: &Store) -> Self {
        let addr = reader.value(&LISTEN_ADDR);
        let metrics_addr = reader.value(&METRICS_ADDR);
        let known = !reader.is_wrong(&LISTEN_ADDR) && !reader.is_wrong(&METRICS_ADDR);
        if addr == metrics_addr && addr.port() != 0 && known {
            reader.complain(format!(
                "{} and {} are both {addr}: give them different ports",
                LISTEN_ADDR.name(),
                METRICS_ADDR.name()
            ));
        }
        Self {
            addr,
            published_addr: reader.optional(&PUBLISHED_ADDR),
            metrics_addr,
            admin_on_private: reader.value(&ADMIN_ON_PRIVATE),
            keep_alive: reader.value(&HTTP_KEEP_ALIVE),
            node: reader.optional(&NODE_NAME).unwrap_or_else(|| node_from_host(&host_name())),
            origins: reader.optional(&ALLOWED_ORIGINS).unwrap_or(Origins::Same),
            demo: reader.optional(&DEMO).unwrap_or_else(|| store.is_embedded()),
            log_level: reader.value(&LOG_LEVEL),
            log_format: reader.value(&LOG_FORMAT),
            slow_operation: reader.value(&SLOW_OPERATION),
        }
    }
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "give an IP address and port such as 0.0.0.0:8080".to_owned())
}

/// Reads an address without a port. An IPv6 address may be in brackets, as compose needs it before a port.
fn ip_address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| "give an IP address without a port, such as 127.0.0.1".to_owned())
}

fn node_name(text: &str) -> Result<NodeId, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// Returns the machine's name, or an empty text where it cannot be read.
fn host_name() -> String {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default()
}

/// Makes a node's name of a host name: characters that a node's name cannot have become dashes.
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
    let rule = "give error, warn, info, debug, trace or off, also per module (info,gateway::edge::ws=debug)";
    // A lone word that is no level would be taken for a module's name and show nothing else.
    let levels = text
        .split(',')
        .filter(|directive| !directive.contains(['=', '[']))
        .all(|word| word.trim().parse::<LevelFilter>().is_ok());
    if !levels || EnvFilter::builder().parse(text).is_err() {
        return Err(rule.to_owned());
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
        for text in ["info", "off", "WARN", "info,gateway::edge::ws=debug", "gateway=trace"] {
            assert!(log_level(text).is_ok(), "{text:?} was refused");
        }
        for text in ["verbose", "info,gateway", "gateway=loud", "info;debug"] {
            assert!(log_level(text).is_err(), "{text:?} was taken");
        }
    }
}
