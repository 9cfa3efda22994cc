//! The runs that a report is made of: each a scenario of this program in a process of its own, as anybody
//! would start it.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::run::Stage;

/// The longest run; one that has not ended by then is ended.
const RUN_MAX: Duration = Duration::from_secs(15 * 60);

/// How long a run may take to end what it has started, once it is told to.
const END_WAIT: Duration = Duration::from_secs(20);

/// How much of what a run said is kept where it failed, in characters.
const SAID_MAX: usize = 400;

/// A run.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    /// Unlike those of all other runs; a file name.
    pub(super) key: String,
    /// Scenario and options, without those that say which server and where results go.
    pub(super) line: String,
    /// Whether it is run with the older server, too, when there is one.
    pub(super) compared: bool,
}

/// A run that was made, or could not be.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    pub(super) line: String,
    pub(super) seconds: f64,
    /// What it found; otherwise why there is nothing.
    pub(super) found: Result<Value, String>,
}

impl Ran {
    /// The thresholds of the run.
    pub(super) fn checks(&self) -> &[Value] {
        self.found.as_ref().map_or(&[], |json| super::figure::all(json, "/checks"))
    }

    /// Whether it was made, and every threshold held.
    pub(super) fn held(&self) -> bool {
        self.found.as_ref().is_ok_and(|json| json["held"] == true)
    }
}

/// All runs.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) now: BTreeMap<String, Ran>,
    /// With the older server.
    pub(super) before: BTreeMap<String, Ran>,
}

impl Results {
    /// What a run found.
    ///
    /// # Errors
    /// Why there is nothing, in words.
    pub(super) fn found(&self, key: &str) -> Result<&Value, String> {
        let ran = self.now.get(key).ok_or_else(|| format!("the run {key} was not asked for"))?;
        ran.found
            .as_ref()
            .map_err(|why| format!("`draftwire-loadtest {}` could not be made: {why}", ran.line))
    }
}

/// Makes a run with a server; it writes what it finds to `json`.
///
/// # Errors
/// When the report is interrupted. A run that fails is a result.
pub(super) async fn make(spec: &Spec, server: &Path, json: &Path, stage: &mut Stage) -> Result<Ran> {
    let begun = Instant::now();
    let mut arguments: Vec<String> = spec.line.split_whitespace().map(str::to_owned).collect();
    if arguments.iter().any(|argument| argument == "--start") {
        arguments.extend(["--server".to_owned(), server.display().to_string()]);
    }
    arguments.extend(["--json".to_owned(), json.display().to_string()]);
    let said = run(&arguments, stage).await?;
    let found = match said {
        Err(why) => Err(why),
        Ok(said) => read(json).map_err(|error| said.unwrap_or_else(|| format!("{error:#}"))),
    };
    Ok(Ran { line: spec.line.clone(), seconds: begun.elapsed().as_secs_f64(), found })
}

fn read(json: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(json).context("it gave no results")?;
    serde_json::from_str(&text).context("its results are not JSON")
}

/// Runs this program. Returns what it said last when it could not do what it should.
async fn run(arguments: &[String], stage: &mut Stage) -> Result<Result<Option<String>, String>> {
    let child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .env_remove("JWT_SECRET")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C is told to it from here.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("start a run")?;
    let pid = child.id();
    let output = child.wait_with_output();
    tokio::pin!(output);
    tokio::select! {
        done = timeout(RUN_MAX, &mut output) => match done {
            Ok(output) => {
                let output = output?;
                let said = (output.status.code() == Some(2)).then(|| said(&output.stderr));
                Ok(Ok(said))
            }
            Err(_) => {
                give_up(pid);
                let _ = timeout(END_WAIT, output).await;
                Ok(Err(format!("it did not end within {RUN_MAX:?}")))
            }
        },
        () = stage.interrupt.pressed() => {
            give_up(pid);
            // It ends the cluster that it has started.
            let _ = timeout(END_WAIT, output).await;
            bail!("interrupted")
        }
    }
}

/// As two times Ctrl-C.
fn give_up(pid: Option<u32>) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    for _ in 0..2 {
        if let Some(pid) = pid {
            // It may have ended a moment ago.
            let _ = kill_process(pid, Signal::INT);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The last that it said.
fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let told =
        text.lines().rev().find(|line| line.contains("draftwire-loadtest:") || line.contains("error:"));
    let line =
        told.or_else(|| text.lines().rev().find(|line| !line.trim().is_empty())).unwrap_or("it said nothing");
    let line = line.trim().trim_start_matches("draftwire-loadtest:").trim();
    line.chars().take(SAID_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ran(found: Result<Value, String>) -> Ran {
        Ran { line: "x".to_owned(), seconds: 1.0, found }
    }

    #[test]
    fn a_run_that_was_not_made_does_not_hold() {
        assert!(ran(Ok(json!({"held": true}))).held());
        assert!(!ran(Ok(json!({"held": false}))).held());
        assert!(!ran(Err("no".to_owned())).held());
        assert!(!ran(Ok(json!({}))).held(), "nothing was judged");
    }

    #[test]
    fn what_it_says_of_its_failure_is_found() {
        let text = b"starting 3 nodes\ndraftwire-loadtest: there is no x: build it\n";
        assert_eq!(said(text), "there is no x: build it");
        assert_eq!(
            said(b"error: unrecognized subcommand 'nope'\n\nUsage: x\n"),
            "error: unrecognized subcommand 'nope'"
        );
        assert_eq!(said(b""), "it said nothing");
    }
}
