//! `draftwire publish`, `subscribe`, `drafts`, `settings`, `config` and what operators ask, as processes, on a node of the test.

mod drafts;
mod operators;
mod publish;
mod settings;
mod subscribe;

use std::{
    io::{BufRead, BufReader, Read, Write as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};

use crate::DEADLINE;

/// A command line to be run.
struct Line {
    command: Command,
}

/// How a process has ended, and what it has said.
struct Ended {
    status: ExitStatus,
    /// The lines of the output, as JSON.
    lines: Vec<Value>,
    /// The error output.
    errors: String,
}

/// A process that runs. Dropping it kills it.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
    errors: Option<JoinHandle<String>>,
}

/// `draftwire` with these arguments, separated by blanks, on a server.
fn draftwire(url: &str, arguments: &str) -> Line {
    let mut command = Command::new(env!("CARGO_BIN_EXE_draftwire"));
    // A setting in the developer's shell is none of the test's.
    command.env_clear().env("DRAFTWIRE_URL", url).args(arguments.split_whitespace());
    Line { command }
}

impl Line {
    fn token(mut self, token: &str) -> Self {
        self.command.env("DRAFTWIRE_TOKEN", token);
        self
    }

    /// One more argument, blanks and all.
    fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// Runs it with an input until it ends.
    async fn run(self, input: impl Into<Vec<u8>>) -> Ended {
        let mut running = self.start();
        running.feed(input).await;
        running.end_input();
        running.ended().await
    }

    /// Runs it to its end. Returns what it has written, which is for people.
    async fn shown(mut self) -> String {
        let output = tokio::task::spawn_blocking(move || self.command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts it with an output that nobody reads.
    fn start_unread(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        drop(child.stdout.take());
        Running::of(child, mpsc::unbounded_channel().1)
    }

    fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let (sender, lines) = mpsc::unbounded_channel();
        let output = child.stdout.take().unwrap();
        thread::spawn(move || {
            // It ends when nobody takes the lines any more, and with it the process sees a closed output.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running::of(child, lines)
    }
}

impl Running {
    fn of(mut child: Child, lines: mpsc::UnboundedReceiver<String>) -> Self {
        let mut errors = child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).unwrap();
            text
        });
        Self { input: child.stdin.take(), child, lines, errors: Some(errors) }
    }

    /// Writes to the input. A process that does not read it to its end has its reasons.
    async fn feed(&mut self, input: impl Into<Vec<u8>>) {
        let (mut pipe, input) = (self.input.take().unwrap(), input.into());
        let written = tokio::task::spawn_blocking(move || {
            let _ = pipe.write_all(&input).and_then(|()| pipe.flush());
            pipe
        });
        self.input = Some(written.await.unwrap());
    }

    fn end_input(&mut self) {
        self.input = None;
    }

    /// The next line of the output, as JSON.
    async fn line(&mut self) -> Value {
        let line = timeout(DEADLINE, self.lines.recv()).await.expect("a line in time");
        serde_json::from_str(&line.expect("a line before the end")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Reads no further.
    fn close_output(&mut self) {
        self.lines.close();
        while self.lines.try_recv().is_ok() {}
    }

    /// Waits until it ends by itself.
    async fn ended(mut self) -> Ended {
        let end = tokio::time::Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(tokio::time::Instant::now() < end, "it does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let mut lines = Vec::new();
        while let Some(line) = self.lines.recv().await {
            lines.push(serde_json::from_str(&line).unwrap());
        }
        let errors = self.errors.take().unwrap().join().unwrap();
        Ended { status, lines, errors }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The lines of one that has done what it was asked for.
    #[track_caller]
    fn done(self) -> Vec<Value> {
        assert_eq!(self.status.code(), Some(0), "{}", self.errors);
        assert_eq!(self.errors, "");
        self.lines
    }

    /// Checks that nothing was printed, and that the end has this code and says this.
    #[track_caller]
    fn failed(&self, code: i32, what: &str) {
        assert_eq!(self.status.code(), Some(code), "{}", self.errors);
        assert!(self.errors.contains(what), "{what} is not in: {}", self.errors);
        assert_eq!(self.lines, Vec::<Value>::new());
    }
}

/// Nothing listens here.
const NOWHERE: &str = "http://127.0.0.1:9";

/// What every command refuses in the same way.
#[tokio::test]
async fn what_cannot_be_done_is_said_and_has_its_exit_code() {
    let server = crate::harness::Server::start().await;
    let url = format!("http://{}", server.addr);
    let good = testkit::token::scoped("alice", crate::harness::ALL_TOPICS);
    let weak = testkit::token::good("alice");
    let forged = testkit::token::forged("alice");
    let publish = "publish --topic t --event E";
    let subscribe = "subscribe t";
    for (arguments, token, code, what) in [
        (publish, "", 2, "no token"),
        ("drafts list", "", 2, "no token"),
        (subscribe, "", 1, "unauthorized: "),
        (publish, &forged, 1, "unauthorized: "),
        (subscribe, &forged, 1, "unauthorized: "),
        ("drafts list", &forged, 1, "unauthorized: "),
        (publish, &weak, 1, "forbidden: "),
        ("publish --broadcast --event E", &good, 1, "forbidden: "),
        ("publish --user bob --event E", &good, 1, "forbidden: "),
        (subscribe, &weak, 1, "forbidden: t: "),
        (publish, "a\u{1}b", 2, "characters that no token has"),
        (subscribe, "a\u{1}b", 2, "characters that no token has"),
        ("publish --topic t --event goal", &good, 2, "event must be"),
        ("publish --topic t --event E --data {", &good, 2, "--data is no JSON"),
        ("publish --event E", &good, 2, "--topic"),
        ("publish --topic t --broadcast --event E", &good, 2, "cannot be used with"),
        ("publish --topic t* --event E", &good, 2, "1 to 128"),
        ("publish --topic t --key a/b", &good, 2, "1 to 50 characters"),
        ("publish --topic t --token-file /nowhere/token", "", 2, "/nowhere/token"),
        ("publish --topic t --url ftp://h", &good, 2, "http:// or https://"),
        ("publish --topic t --url http://h/path", &good, 2, "nothing but a scheme"),
        ("drafts get d", &weak, 1, "not_found: there is no draft d"),
        ("drafts update d --base-version 1 --patch []", &weak, 2, "the patch must be an object"),
        ("drafts update d --base-version 1 --patch {}", &weak, 1, "not_found: "),
        ("drafts frobnicate", &weak, 2, "frobnicate"),
    ] {
        let line = draftwire(&url, arguments);
        let ended = if token.is_empty() { line } else { line.token(token) }.run("").await;
        assert_eq!(ended.status.code(), Some(code), "{arguments}: {}", ended.errors);
        ended.failed(code, what);
        assert!(token.is_empty() || !ended.errors.contains(token), "{arguments}: {}", ended.errors);
    }
    for arguments in [publish, subscribe, "drafts list", "drafts watch"] {
        let line = draftwire(NOWHERE, arguments).token(&good).arg("--timeout").arg("200ms");
        line.run("").await.failed(1, NOWHERE);
    }
    for arguments in ["publish --help", "subscribe --help", "drafts --help", "drafts watch --help"] {
        let mut help = draftwire(&url, arguments);
        let output = help.command.output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("DRAFTWIRE_TOKEN") && text.contains("[default: 30s]"), "{arguments}: {text}");
    }
    server.stop().await;
}

/// The page's commands do what it says, one after the other.
#[tokio::test]
async fn the_examples_of_the_page_run() {
    let server = crate::harness::Server::start().await;
    let page = std::fs::read_to_string(crate::sources::root().join("docs/backends.md")).unwrap();
    let chapter = page.split("\n## On the command line\n").nth(1).unwrap();
    let script = chapter.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let url = format!("http://{}", server.addr);
    assert!(script.contains("http://127.0.0.1:8080"), "the address of the page");
    let script = format!("set -eu\n{}", script.replace("http://127.0.0.1:8080", &url));
    let folder = tempfile::tempdir().unwrap();
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_draftwire")).parent().unwrap();
    let mut command = Command::new("sh");
    command.env_clear().env("PATH", format!("{}:/usr/bin:/bin", binary.display()));
    command.env("JWT_SECRET", testkit::token::SECRET).current_dir(folder.path()).arg("-c").arg(script);
    let ended = Line { command }.run("").await.done();
    let kinds: Vec<_> = ended.iter().map(|line| line["type"].as_str().unwrap_or("-")).collect();
    assert_eq!(kinds, ["-", "-", "PRICE", "-", "-", "-"], "{ended:?}");
    assert_eq!(ended[5]["content"], serde_json::json!({ "text": "Two lamps" }));
    server.stop().await;
}
