//! A private Postgres.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::{ports, process::Process, service::Service};

/// How long it may take until it answers; recovery after a kill included.
const START_WAIT: Duration = Duration::from_secs(60);

/// Who may run it when the test itself runs as root, which Postgres refuses.
const OTHER_USERS: [&str; 2] = ["postgres", "nobody"];

/// A Postgres server of its own, in a temporary folder. Dropping it ends it and removes the folder.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    run_as: Option<RunAs>,
    port: u16,
    settings: Vec<(String, String)>,
    databases: AtomicU32,
    // Before the folder: fields are dropped in this order.
    process: Option<Process>,
    dir: TempDir,
}

#[derive(Debug)]
pub(crate) struct RunAs {
    uid: u32,
    gid: u32,
}

impl RunAs {
    /// It replaces itself by the program, so the pid is that of the program.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={}", self.uid)).arg(format!("--regid={}", self.gid));
        command.arg("--clear-groups").arg(program);
        command
    }
}

impl Postgres {
    /// Makes and starts a server that keeps what it has committed, also when it is killed.
    ///
    /// # Errors
    /// When it is not installed or does not start; with the end of its log.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// As [`Postgres::start`], for tests that never kill it: faster, and durable in nothing.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn start_quick() -> Result<Self> {
        Self::start_with(&[("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off")])
            .await
    }

    /// The quick server that the tests of one process share while at least one of them holds it. Each has
    /// [a database of its own](Self::create_database).
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn shared() -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        let started = Arc::new(Self::start_quick().await?);
        *shared = Arc::downgrade(&started);
        Ok(started)
    }

    /// As [`Postgres::start`], with settings of `postgresql.conf`.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let dir = TempDir::with_prefix("postgres-")?;
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut server = Self {
            programs: find_programs()?,
            run_as: other_user_if_root()?,
            port: ports::free()?,
            settings,
            databases: AtomicU32::new(0),
            process: None,
            dir,
        };
        server.init().await?;
        server.start_again().await?;
        Ok(server)
    }

    /// The port of 127.0.0.1 that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        url_at(self.port, database)
    }

    /// Makes an empty database with a name of its own, and gives its address.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn create_database(&self) -> Result<String> {
        let name = format!("db{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.query("postgres", &format!("CREATE DATABASE {name}")).await?;
        Ok(self.url(&name))
    }

    /// Runs SQL and gives the rows as text: a line each, columns separated by `|`.
    ///
    /// # Errors
    /// When the server does not answer or refuses the statement.
    pub async fn query(&self, database: &str, sql: &str) -> Result<String> {
        let mut command = tokio::process::Command::new(self.programs.join("psql"));
        command
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"])
            .args(["--dbname", &self.url(database), "--command", sql])
            .kill_on_drop(true);
        let output = tokio::time::timeout(START_WAIT, command.output()).await.context("psql hangs")??;
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Has it come back as a standby that follows nobody, until it is promoted. For one that is stopped.
    ///
    /// # Errors
    /// When its folder cannot be written to.
    pub fn demote(&self) -> Result<()> {
        fs::write(self.data().join("standby.signal"), "").context("make it a standby")
    }

    async fn init(&self) -> Result<()> {
        let data = self.data();
        fs::create_dir(&data)?;
        if let Some(user) = &self.run_as {
            // The folder is root's; its other user needs to pass through.
            fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o755))?;
            chown(&data, Some(user.uid), Some(user.gid))?;
        }
        let mut command = self.command("initdb");
        command.arg("-D").arg(&data).args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        let mut process = Process::start("initdb", command, &self.dir.path().join("initdb.log"))?;
        let status = process.wait_exit(START_WAIT).await?;
        ensure!(status.success(), "initdb: {status}: {}", process.log_tail());
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = match &self.run_as {
            None => Command::new(program),
            Some(user) => user.command(&program),
        };
        command.current_dir(self.dir.path()).env("LC_ALL", "C");
        command
    }
}

impl Service for Postgres {
    /// "Fast": it does not wait for clients.
    const STOP_SIGNAL: Signal = Signal::INT;
    const STOP_WAIT: Duration = START_WAIT;

    fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    fn process_mut(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    async fn start_again(&mut self) -> Result<()> {
        let data = self.data();
        let mut command = self.command("postgres");
        command.arg("-D").arg(&data).args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        for (key, value) in &self.settings {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        let mut process = Process::start("postgres", command, &self.dir.path().join("log"))?;
        process.wait_ready(START_WAIT, || self.query("postgres", "SELECT 1")).await?;
        self.process = Some(process);
        Ok(())
    }
}

/// One of Postgres' own programs, `postgres` or `psql`.
///
/// # Errors
/// When it is not installed.
pub fn program(name: &str) -> Result<PathBuf> {
    Ok(find_programs()?.join(name))
}

pub(crate) fn url_at(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

/// The folder that holds Postgres' programs: Debian keeps one per version, outside of `PATH`.
fn find_programs() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let complete = |dir: &Path| ["initdb", "postgres", "psql"].iter().all(|p| dir.join(p).is_file());
    versions
        .into_iter()
        .rev()
        .chain(std::env::split_paths(&path))
        .find(|dir| complete(dir))
        .context("no Postgres found: install the package `postgresql`")
}

pub(crate) fn other_user_if_root() -> Result<Option<RunAs>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd")?;
    OTHER_USERS
        .iter()
        .find_map(|name| {
            let fields: Vec<&str> =
                passwd.lines().map(|line| line.split(':').collect()).find(|f: &Vec<&str>| f[0] == *name)?;
            Some(RunAs { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
        })
        .map(Some)
        .context("Postgres does not run as root, and there is neither a user postgres nor nobody")
}
