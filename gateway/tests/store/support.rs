//! A private Postgres server for the tests: in a temporary folder, on a free port, ended with the test.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::Mutex;

/// How long a server may take to start or to stop on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Postgres {
    // Declared first: the server ends before its folder goes.
    server: Server,
    databases: AtomicU32,
}

struct Server {
    child: Option<Child>,
    folder: tempfile::TempDir,
    port: u16,
    user: Option<(u32, u32)>,
}

/// The server that tests share while at least one of them runs; each has a database of its own.
pub(crate) async fn shared() -> Arc<Postgres> {
    static SHARED: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let started = Arc::new(Postgres::start().await);
    *shared = Arc::downgrade(&started);
    started
}

impl Postgres {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Postgres refuses to run as root.
        let root = fs::metadata("/proc/self").unwrap();
        let user = (std::os::unix::fs::MetadataExt::uid(&root) == 0).then(unprivileged);
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let server = Server { child: None, folder, port: 0, user };
        let initdb = server
            .command("initdb")
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg("-D")
            .arg(server.data())
            .output()
            .unwrap();
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        let postgres = Self { server, databases: AtomicU32::new(0) };
        postgres.started().await
    }

    async fn started(mut self) -> Self {
        // The free port may be taken by the time the server binds it.
        for _ in 0..5 {
            self.server.port = free_port();
            self.server.spawn();
            if self.server.ready().await {
                return self;
            }
        }
        panic!("Postgres does not start: {}", self.server.log());
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.server.port)
    }

    /// An empty database, by its URL.
    pub(crate) async fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        self.url(&name)
    }

    /// Stops the server in its tracks: it keeps its sockets and its locks, and answers nobody.
    pub(crate) fn pause(&self) {
        self.server.signal_all("STOP");
    }

    pub(crate) fn resume(&self) {
        self.server.signal_all("CONT");
    }

    /// Shuts the server down and cuts its connections.
    pub(crate) async fn stop(&mut self) {
        self.server.signal("INT");
        let deadline = Instant::now() + PATIENCE;
        while self.server.running() {
            assert!(Instant::now() < deadline, "Postgres does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.server.child = None;
    }

    /// Has a stopped server come back as a standby that follows nobody, until it is promoted.
    pub(crate) fn demote(&self) {
        fs::write(self.server.data().join("standby.signal"), "").unwrap();
    }

    /// Starts it again, on the same port and data.
    pub(crate) async fn restart(&mut self) {
        self.server.spawn();
        assert!(self.server.ready().await, "Postgres does not start again: {}", self.server.log());
    }
}

impl Server {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(bin().join(program));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn spawn(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let sockets = format!("unix_socket_directories={}", self.folder.path().display());
        let settings = ["listen_addresses=127.0.0.1", &sockets, "fsync=off", "max_connections=50"];
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    async fn ready(&mut self) -> bool {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
        let deadline = Instant::now() + PATIENCE;
        while self.running() && Instant::now() < deadline {
            if PgConnection::connect(&url).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    fn signal(&self, name: &str) {
        if let Some(child) = &self.child {
            kill(name, child.id());
        }
    }

    /// The postmaster first, so that no child comes to life in between.
    fn signal_all(&self, name: &str) {
        let Some(child) = &self.child else { return };
        kill(name, child.id());
        for pid in children(child.id()) {
            kill(name, pid);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal_all("CONT");
        self.signal("QUIT");
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
    }
}

fn kill(name: &str, pid: u32) {
    // A child may have ended meanwhile; then there is nothing to tell it.
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}

fn children(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    let is_child = |pid: &u32| {
        // "pid (name) state ppid …", where the name may hold anything.
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| stat.rsplit(')').next().and_then(|r| r.split(' ').nth(2)) == Some(&parent))
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Where the programs are: Debian keeps them out of the path, in a folder per version.
fn bin() -> PathBuf {
    let in_path = |folder: &PathBuf| folder.join("initdb").exists();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut packaged: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    packaged.sort();
    packaged
        .into_iter()
        .rev()
        .chain(std::env::split_paths(&path))
        .find(in_path)
        .expect("the tests need PostgreSQL's server programs (Debian package postgresql)")
}

/// The user and group to run the server as.
fn unprivileged() -> (u32, u32) {
    let passwd = fs::read_to_string(Path::new("/etc/passwd")).unwrap();
    let ids = |name: &str| -> io::Result<(u32, u32)> {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name));
        let mut fields = line.ok_or(io::ErrorKind::NotFound)?.split(':').skip(2);
        let mut id = || fields.next().and_then(|id| id.parse().ok()).ok_or(io::ErrorKind::InvalidData);
        Ok((id()?, id()?))
    };
    ids("postgres").or_else(|_| ids("nobody")).unwrap()
}
