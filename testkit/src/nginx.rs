//! A private Nginx in front of nodes.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{ports, process::Process, service::Service};

const START_WAIT: Duration = Duration::from_secs(20);

/// Where Debian's packages put dynamic modules.
const MODULES: &str = "/usr/lib/nginx/modules";

/// The configuration that the repository ships.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../nginx");

/// An Nginx of its own. Dropping it ends it.
#[derive(Debug)]
pub struct Nginx {
    port: u16,
    // Before the folder: fields are dropped in this order.
    process: Option<Process>,
    dir: TempDir,
}

impl Nginx {
    /// Starts it in front of nodes, given by their ports of 127.0.0.1.
    ///
    /// # Errors
    /// When it is not installed, or does not listen; with the end of its log.
    pub async fn start(nodes: &[u16]) -> Result<Self> {
        let dir = TempDir::with_prefix("nginx-")?;
        let port = ports::free()?;
        render_config(nodes, port, dir.path())?;
        let mut server = Self { port, process: None, dir };
        server.start_again().await?;
        Ok(server)
    }

    /// The port of 127.0.0.1 that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where WebSockets are opened.
    pub fn ws_url(&self) -> String {
        format!("ws://127.0.0.1:{}/ws/realtime", self.port)
    }

    /// The address of a path on the HTTP API behind it.
    pub fn http_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Loads the configuration anew (SIGHUP): new workers take over, old ones keep their connections.
    pub fn reload(&self) {
        if let Some(process) = &self.process {
            process.signal(Signal::HUP);
        }
    }

    /// All that it has logged: errors, and a line per request.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(self.dir.path().join("log")).context("read the log of nginx")
    }
}

impl Service for Nginx {
    /// At once, its connections included.
    const STOP_SIGNAL: Signal = Signal::TERM;
    const STOP_WAIT: Duration = START_WAIT;

    fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    fn process_mut(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    async fn start_again(&mut self) -> Result<()> {
        let dir = self.dir.path();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf"));
        // Root's workers would drop to another user, who cannot write into this folder.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        command.arg("-g").arg(format!("daemon off; pid {}; {user}", dir.join("pid").display()));
        let mut process = Process::start("nginx", command, &dir.join("log"))
            .context("install the packages `nginx` and `libnginx-mod-http-js`")?;
        let port = self.port;
        process
            .wait_ready(START_WAIT, || async {
                TcpStream::connect(("127.0.0.1", port)).await.context("nothing listens")
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }
}

/// Puts the repository's configuration into `dir`, with the two files that depend on where it runs
/// written anew: what it listens on, and which nodes there are.
fn render_config(nodes: &[u16], listen: u16, dir: &Path) -> Result<()> {
    let source = Path::new(CONFIG);
    for name in ["nginx.conf", "draftwire.conf", "sticky.js"] {
        fs::copy(source.join(name), dir.join(name)).with_context(|| format!("copy {CONFIG}/{name}"))?;
    }
    symlink(MODULES, dir.join("modules"))?;
    fs::write(dir.join("listen.conf"), format!("listen 127.0.0.1:{listen};\n"))?;
    let mut upstream = String::new();
    // Where the packages put them, only root may write.
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        upstream += &format!("{kind}_temp_path temp_{kind};\n");
    }
    // The rest as nginx/docker-entrypoint.d/40-upstreams.sh has it.
    let script = fs::read_to_string(source.join("docker-entrypoint.d/40-upstreams.sh"))?;
    let options = script.split_once(":$port resolve ").and_then(|(_, rest)| rest.split_once(';'));
    let (options, _) = options.context("40-upstreams.sh has no server line")?;
    upstream += "upstream gateways {\n    zone gateways 512k;\n    hash $sticky_key consistent;\n";
    for port in nodes {
        upstream += &format!("    server 127.0.0.1:{port} {options};\n");
    }
    upstream += "    keepalive 32;\n}\n";
    fs::write(dir.join("upstream.conf"), upstream)?;
    Ok(())
}
