//! A child process that does not outlive its owner.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    param::clock_ticks_per_second,
    process::{Pid, Signal, kill_process},
};

/// How much of a log is shown when something fails, bytes.
const TAIL_BYTES_MAX: usize = 8 * 1024;

/// How long a killed process may take to be gone: it only has to be scheduled once more.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// A running program with its children. Dropping it kills them all, at once: whatever they would put
/// in order on the way out lives in a temporary folder.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Set once the child is reaped; from then on its pid may be somebody else's.
    exit: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` in a process group of its own, its output appended to `log`.
    ///
    /// # Errors
    /// When the program or the log cannot be opened.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log).context("open the log")?;
        let err = out.try_clone().context("open the log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Ctrl-C in a terminal reaches the test, which ends its children in its own order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), exit: None })
    }

    /// Whether its end has not been seen yet.
    pub fn runs(&self) -> bool {
        self.exit.is_none()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of what it has written.
    pub(crate) fn log_tail(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let from = bytes.len().saturating_sub(TAIL_BYTES_MAX);
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }

    /// All that it has written.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("read the log of {}", self.name))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Fails with the log's end when the process is no longer there.
    ///
    /// # Errors
    /// When it has exited.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.try_wait()? {
            bail!("{} has exited with {status}. Its log ends:\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Waits until `check`, which is asked again and again, finds nothing wrong.
    ///
    /// # Errors
    /// When the process exits before, at once; and what `check` found when `deadline` has passed. With
    /// the end of its log.
    pub(crate) async fn wait_ready<T, F, Fut>(&mut self, deadline: Duration, mut check: F) -> Result<()>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            self.check_alive()?;
            match check().await {
                Ok(_) => return Ok(()),
                Err(error) if tokio::time::Instant::now() >= end => {
                    let (name, log) = (&self.name, self.log_tail());
                    return Err(error.context(format!("{name} is not ready. Its log ends:\n{log}")));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Freezes it and its children (SIGSTOP). Their sockets stay open and answer nothing.
    pub fn pause(&self) {
        self.signal_tree(Signal::STOP);
    }

    /// Lets them go on (SIGCONT).
    pub fn resume(&self) {
        self.signal_tree(Signal::CONT);
    }

    /// Asks it to stop (SIGTERM). [`Process::wait_exit`] tells when it has.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal to the process itself, not to its children.
    pub fn signal(&self, signal: Signal) {
        if self.exit.is_none() {
            send(self.child.id(), signal);
        }
    }

    /// Kills it and its children (SIGKILL), and returns when they are gone.
    pub fn kill9(&mut self) {
        if matches!(self.try_wait(), Ok(Some(_))) {
            return;
        }
        // Stopped first, so that it starts no further children while they are listed.
        self.signal(Signal::STOP);
        let children = descendants(self.child.id());
        self.signal(Signal::KILL);
        for pid in &children {
            send(*pid, Signal::KILL);
        }
        let end = Instant::now() + KILL_WAIT;
        while Instant::now() < end {
            let reaped = matches!(self.try_wait(), Ok(Some(_)) | Err(_));
            if reaped && children.iter().all(|pid| is_gone(*pid)) {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until it has exited by itself.
    ///
    /// # Errors
    /// When it still runs after `deadline`; with the end of its log.
    pub async fn wait_exit(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if tokio::time::Instant::now() >= end {
                bail!("{} still runs after {deadline:?}. Its log ends:\n{}", self.name, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Memory in use (resident set), bytes; its children not counted.
    ///
    /// # Errors
    /// When it is no longer there.
    pub fn rss_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")?;
        Ok(kib * 1024)
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().with_context(|| format!("wait for {}", self.name))?;
        }
        Ok(self.exit)
    }

    fn signal_tree(&self, signal: Signal) {
        if self.exit.is_none() {
            send(self.child.id(), signal);
            for pid in descendants(self.child.id()) {
                send(pid, signal);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have exited a moment ago: then there is nobody to tell.
        let _ = kill_process(pid, signal);
    }
}

/// All children of a process just now, their children included. Not by process group: Postgres gives each
/// of its children a group of its own.
pub fn descendants(root: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let parents: Vec<(u32, u32)> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, state_and_parent(pid)?.1)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// How long a process and its children have been on processors, those that have ended included, seconds.
/// Linux counts it in hundredths.
///
/// # Errors
/// When it is no longer there.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let ticks_of = |pid: u32| {
        let fields = stat_fields(pid)?;
        // Its own time, and that of children that it has waited for: user and system each.
        let ticks = [14, 15, 16, 17].map(|field| fields.get(field - FIRST_FIELD)?.parse::<u64>().ok());
        ticks.into_iter().sum::<Option<u64>>()
    };
    let own = ticks_of(pid).with_context(|| format!("process {pid} is gone"))?;
    // One that ends at this moment is counted with its parent.
    let children: u64 = descendants(pid).into_iter().filter_map(ticks_of).sum();
    Ok((own + children) as f64 / clock_ticks_per_second() as f64)
}

/// Gone, or dead and only waiting to be reaped by whoever inherited it.
fn is_gone(pid: u32) -> bool {
    state_and_parent(pid).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'))
}

fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let fields = stat_fields(pid)?;
    Some((fields.first()?.chars().next()?, fields.get(4 - FIRST_FIELD)?.parse().ok()?))
}

/// The fields of `/proc/<pid>/stat` (proc(5)) from the third on. The name before them may hold spaces and
/// brackets.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// The number by which proc(5) calls the first of [`stat_fields`].
const FIRST_FIELD: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_children_use_counts_also_when_they_have_ended() {
        let dir = tempfile::tempdir().expect("a folder");
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let mut command = Command::new("sh");
        command.args(["-c", &format!("sh -c '{busy}'; echo done; exec sleep 60")]);
        let log = dir.path().join("log");
        let process = Process::start("busy", command, &log).expect("it starts");
        let end = Instant::now() + Duration::from_secs(60);
        while !process.log_tail().contains("done") {
            assert!(Instant::now() < end, "it does not end");
            thread::yield_now();
        }
        assert!(cpu_seconds(process.pid()).expect("it runs") > 0.0);
        drop(process);
        assert!(cpu_seconds(u32::MAX).is_err(), "there is none");
    }
}
