//! A private PgBouncer in front of a private Postgres.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Postgres, ports, postgres, process::Process, service::Service};

const START_WAIT: Duration = Duration::from_secs(20);

/// A PgBouncer of its own. Dropping it ends it.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    // Before the folder: fields are dropped in this order.
    process: Option<Process>,
    dir: TempDir,
}

impl PgBouncer {
    /// Starts one that leads to every database of the server, with further settings of its section
    /// `[pgbouncer]` (`[("pool_mode", "transaction")]`). All else is as PgBouncer has it by default.
    ///
    /// # Errors
    /// When it is not installed or does not listen; with the end of its log.
    pub async fn start(server: &Postgres, settings: &[(&str, &str)]) -> Result<Self> {
        let dir = TempDir::with_prefix("pgbouncer-")?;
        let port = ports::free()?;
        let mut file = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\n",
            server.port()
        );
        for (name, value) in settings {
            file += &format!("{name} = {value}\n");
        }
        fs::write(dir.path().join("pgbouncer.ini"), file)?;
        // It may run as another user, who only reads here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let mut bouncer = Self { port, process: None, dir };
        bouncer.start_again().await?;
        Ok(bouncer)
    }

    /// The address of a database of the server behind it.
    pub fn url(&self, database: &str) -> String {
        postgres::url_at(self.port, database)
    }
}

impl Service for PgBouncer {
    /// At once; the softer ones wait for clients.
    const STOP_SIGNAL: Signal = Signal::TERM;
    const STOP_WAIT: Duration = START_WAIT;

    fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    fn process_mut(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    async fn start_again(&mut self) -> Result<()> {
        // Like Postgres, it does not run as root; and Debian keeps it outside of a user's path.
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map(std::path::PathBuf::from);
        let program = program.into_iter().find(|path| path.is_file()).unwrap_or_else(|| "pgbouncer".into());
        let mut command = match postgres::other_user_if_root()? {
            None => Command::new(program),
            Some(user) => user.command(&program),
        };
        command.arg(self.dir.path().join("pgbouncer.ini"));
        let mut process = Process::start("pgbouncer", command, &self.dir.path().join("log"))
            .context("install the package `pgbouncer`")?;
        let port = self.port;
        let listens = || async move { Ok(TcpStream::connect(("127.0.0.1", port)).await?) };
        process.wait_ready(START_WAIT, listens).await?;
        self.process = Some(process);
        Ok(())
    }
}
