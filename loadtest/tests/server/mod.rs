//! The programs that tests run.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use testkit::wait;

/// The program under test.
pub(crate) const LOADTEST: &str = env!("CARGO_BIN_EXE_draftwire-loadtest");

/// The server beside this package's binary. Tests of the workspace build it; for those of this package
/// alone it is built here, once.
pub(crate) fn built() -> PathBuf {
    let dir = Path::new(LOADTEST).parent().unwrap();
    let server = dir.join("draftwire");
    if !server.exists() {
        let profile = match dir.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--package", "gateway", "--bin", "draftwire", "--profile", profile])
            .arg("--target-dir")
            .arg(dir.parent().unwrap())
            .status()
            .unwrap();
        assert!(built.success());
    }
    server
}

/// A run of the program that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) text: String,
    pub(crate) errors: String,
    /// What `--json` has written; null when nothing was.
    pub(crate) json: serde_json::Value,
}

/// Runs the program, with `--json`, and without what the developer's shell has set.
pub(crate) async fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("outcome.json");
    let mut all: Vec<OsString> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
    all.extend(["--json".into(), file.clone().into()]);
    let mut ran = Ran::of(LOADTEST, all).await;
    let json = std::fs::read_to_string(file).unwrap_or_default();
    ran.json = serde_json::from_str(&json).unwrap_or_default();
    ran
}

/// Runs the program, presses Ctrl-C once `begun` finds nothing wrong, and waits for its end.
pub(crate) async fn interrupted(
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    begun: impl AsyncFn() -> anyhow::Result<()>,
) -> Ran {
    let child = command(LOADTEST, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait::until("the run has begun", Duration::from_secs(60), async || begun().await).await;
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    Ran::ended(child.wait_with_output().await.unwrap())
}

fn command(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env_remove("JWT_SECRET").kill_on_drop(true);
    command
}

impl Ran {
    /// Runs any program to its end.
    pub(crate) async fn of(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::ended(command(program, arguments).output().await.unwrap())
    }

    fn ended(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
            json: serde_json::Value::Null,
        }
    }
}

/// Makes the database keep what the drafts of one user first had, whatever it acknowledges.
pub(crate) async fn keep_content(cluster: &testkit::Cluster) {
    let forge = "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql \
                 AS 'BEGIN NEW.content := OLD.content; RETURN NEW; END'; \
                 CREATE TRIGGER keep BEFORE UPDATE ON draftwire.drafts FOR EACH ROW \
                 WHEN (NEW.user_id LIKE 'load-%-1') EXECUTE FUNCTION keep();";
    cluster.postgres.query("db0", forge).await.unwrap();
}
