//! A private Redis.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{ports, process::Process, service::Service};

const START_WAIT: Duration = Duration::from_secs(20);

/// How long a live server may take to answer a PING.
const PING_WAIT: Duration = Duration::from_secs(2);

/// A Redis server of its own that keeps nothing. Dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    arguments: Vec<String>,
    // Before the folder: fields are dropped in this order.
    process: Option<Process>,
    dir: TempDir,
}

impl Redis {
    /// Starts a single server.
    ///
    /// # Errors
    /// When it is not installed or does not answer; with the end of its log.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts a server with further arguments (`["--cluster-enabled", "yes"]`).
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub async fn start_with(arguments: &[&str]) -> Result<Self> {
        let mut server = Self {
            port: ports::free()?,
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            process: None,
            dir: TempDir::with_prefix("redis-")?,
        };
        server.start_again().await?;
        Ok(server)
    }

    /// The port of 127.0.0.1 that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Service for Redis {
    const STOP_SIGNAL: Signal = Signal::TERM;
    const STOP_WAIT: Duration = START_WAIT;

    fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    fn process_mut(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// It is empty then.
    async fn start_again(&mut self) -> Result<()> {
        let mut command = Command::new("redis-server");
        command
            // First, because one may be a file of settings.
            .args(&self.arguments)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--dir"])
            .arg(self.dir.path());
        let mut process = Process::start("redis-server", command, &self.dir.path().join("log"))
            .context("install the package `redis-server`")?;
        let port = self.port;
        process.wait_ready(START_WAIT, || ping(port)).await?;
        self.process = Some(process);
        Ok(())
    }
}

async fn ping(port: u16) -> Result<()> {
    let answer = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(PING_WAIT, answer).await.context("Redis does not answer")??;
    ensure!(&answer == b"+PONG", "Redis answers {}", String::from_utf8_lossy(&answer));
    Ok(())
}
