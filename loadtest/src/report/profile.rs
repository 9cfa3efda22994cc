//! Where a program spends its time under load: `perf` samples it, and what it saw is drawn as a flame graph.

use std::{
    collections::HashMap,
    io::BufReader,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use inferno::{
    collapse::{Collapse, perf},
    flamegraph,
};
use testkit::{Cluster, Node, Service, node::metric_sum, process, token, wait};
use tokio::{process::Command, time::timeout};

use crate::run::Stage;

/// Samples a second; not a divisor of what timers do.
const FREQUENCY: &str = "499";

/// How much of a stack is kept with each sample, in bytes: neither program has frame pointers.
const STACK: &str = "dwarf,16384";

/// How long the load may take to begin.
const BEGIN_WAIT: Duration = Duration::from_secs(60);

/// How long `perf` may take to write down what it has seen.
const PERF_WAIT: Duration = Duration::from_secs(300);

/// Functions that are told.
const FUNCTIONS_MAX: usize = 15;

/// Frames narrower than this, in per cent, are left out of the drawing.
const NARROWEST: f64 = 0.2;

/// What is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Node,
    Postgres,
}

/// A load, and what is looked into meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) key: &'static str,
    pub(super) program: Program,
    /// Scenario and options, without those that say which cluster.
    pub(super) line: String,
    /// The load has begun once the node has published this many events.
    pub(super) begun_after: u32,
    pub(super) seconds: u32,
}

impl Program {
    /// As it is told.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Node => "a node",
            Self::Postgres => "Postgres",
        }
    }
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Profile {
    pub(super) samples: u64,
    /// The part of them in which the kernel ran, in per cent.
    pub(super) kernel: f64,
    pub(super) functions: Vec<Function>,
    pub(super) svg: String,
}

/// One function.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Function {
    pub(super) name: String,
    /// The part of all samples that it was running in itself, and with all that it called; in per cent.
    pub(super) own: f64,
    pub(super) within: f64,
}

/// Looks into a program. A failure is a result: `perf` is not everywhere, nor is it allowed to everybody.
pub(super) async fn look(target: &Target, server: &Path, stage: &mut Stage) -> Result<Profile, String> {
    let looked = tokio::select! {
        looked = look_into(target, server) => looked,
        () = stage.interrupt.pressed() => Err(anyhow::anyhow!("interrupted")),
    };
    looked.map_err(|error| format!("{error:#}"))
}

async fn look_into(target: &Target, server: &Path) -> Result<Profile> {
    let version = Command::new("perf").arg("--version").output().await;
    ensure!(version.is_ok_and(|output| output.status.success()), "there is no `perf` here");
    let dir = tempfile::tempdir()?;
    let cluster = Cluster::start(server, 1).await?;
    let node = cluster.nodes.first().context("a cluster without nodes")?;
    let mut load = Command::new(std::env::current_exe()?)
        .args(target.line.split_whitespace())
        .args(["--url", &node.ws_url(), "--metrics", &node.metrics_url()])
        .env("JWT_SECRET", token::SECRET)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("start the load")?;
    let begun = async || begun(node, target.begun_after).await;
    wait::poll(BEGIN_WAIT, begun).await.context("the load does not begin")?;
    let data = dir.path().join("perf.data");
    let process = match target.program {
        Program::Node => node.pid(),
        Program::Postgres => cluster.postgres.pid(),
    };
    record(process.context("it has ended")?, &data, target.seconds).await?;
    // It has no cluster of its own to end.
    load.kill().await.context("end the load")?;
    drop(cluster);
    let script = script(&data, &dir.path().join("perf.script")).await?;
    let title = format!("{} during draftwire-loadtest {}", target.program.name(), target.line);
    tokio::task::spawn_blocking(move || drawn(&script, &title)).await?
}

async fn begun(node: &Node, events: u32) -> Result<()> {
    let published = metric_sum(&node.metrics().await?, "draftwire_events_published_total", &[]);
    ensure!(published >= events.into(), "{published} events are published");
    Ok(())
}

/// Samples a process and the children that it has now.
async fn record(pid: u32, data: &Path, seconds: u32) -> Result<()> {
    let all: Vec<String> =
        [pid].into_iter().chain(process::descendants(pid)).map(|pid| pid.to_string()).collect();
    let mut command = Command::new("perf");
    command
        .args(["record", "--quiet", "-F", FREQUENCY, "--call-graph", STACK, "-p", &all.join(","), "-o"])
        .arg(data)
        .args(["--", "sleep", &seconds.to_string()]);
    ran(command, "perf record").await
}

async fn script(data: &Path, script: &Path) -> Result<PathBuf> {
    let out = std::fs::File::create(script)?;
    let mut command = Command::new("perf");
    // Inlined functions would be looked up one by one, which takes minutes; without periods, each sample
    // counts as one.
    command.args(["script", "--no-inline", "-F", "comm,pid,tid,time,event,ip,sym,dso", "-i"]);
    command.arg(data).stdout(out);
    ran(command, "perf script").await?;
    Ok(script.to_owned())
}

async fn ran(mut command: Command, name: &str) -> Result<()> {
    let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let output = timeout(PERF_WAIT, child.wait_with_output()).await;
    let output = output.with_context(|| format!("{name} does not end"))??;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{name} fails: {}",
            said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing")
        );
    }
    Ok(())
}

fn drawn(script: &Path, title: &str) -> Result<Profile> {
    let mut options = perf::Options::default();
    options.annotate_kernel = true;
    let mut folded = Vec::new();
    let reader = BufReader::new(std::fs::File::open(script)?);
    perf::Folder::from(options).collapse(reader, &mut folded).context("read what perf wrote")?;
    let folded = String::from_utf8_lossy(&folded).into_owned();
    let (samples, kernel, functions) = functions(&folded);
    ensure!(samples > 0, "perf has seen nothing");
    let mut options = flamegraph::Options::default();
    options.title = title.to_owned();
    options.count_name = "samples".to_owned();
    options.min_width = NARROWEST;
    options.deterministic = true;
    options.image_width = Some(1200);
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, folded.lines(), &mut svg).context("draw a flame graph")?;
    Ok(Profile { samples, kernel, functions, svg: without_script(&String::from_utf8_lossy(&svg)) })
}

/// A drawing is shown where scripts do not run, and is a third of the size without; what a frame is, is its
/// title.
fn without_script(svg: &str) -> String {
    let svg = svg.replace(" onload=\"init(evt)\"", "");
    match (svg.split_once("<script"), svg.split_once("</script>")) {
        (Some((before, _)), Some((_, after))) => format!("{before}{after}"),
        _ => svg,
    }
}

/// What is told of a function of the kernel.
const KERNEL: &str = "_[k]";

/// The number of samples, the kernel's part, and the functions that most samples were in themselves, of
/// stacks as `a;b;c count`.
fn functions(folded: &str) -> (u64, f64, Vec<Function>) {
    let mut own: HashMap<&str, u64> = HashMap::new();
    let mut within: HashMap<&str, u64> = HashMap::new();
    let mut samples = 0;
    for line in folded.lines() {
        let Some((stack, count)) = line.rsplit_once(' ') else { continue };
        let Ok(count) = count.parse::<u64>() else { continue };
        samples += count;
        let mut frames: Vec<&str> = stack.split(';').skip(1).collect();
        if let Some(last) = frames.last() {
            *own.entry(last).or_default() += count;
        }
        frames.sort_unstable();
        frames.dedup();
        for frame in frames {
            *within.entry(frame).or_default() += count;
        }
    }
    let part = |count: u64| 100.0 * count as f64 / samples.max(1) as f64;
    let mut all: Vec<Function> = own
        .iter()
        .map(|(name, count)| Function {
            name: (*name).to_owned(),
            own: part(*count),
            within: part(within.get(name).copied().unwrap_or_default()),
        })
        .collect();
    let kernel =
        all.iter().filter(|function| function.name.ends_with(KERNEL)).map(|function| function.own).sum();
    all.sort_by(|a, b| b.own.total_cmp(&a.own).then_with(|| a.name.cmp(&b.name)));
    all.truncate(FUNCTIONS_MAX);
    (samples, kernel, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `perf script` writes it.
    const SCRIPT: &str = "\
draftwire 1 10.0:          1 cycles:\n\
\t       1 leaf+0x1 (/bin/draftwire)\n\
\t       2 middle+0x2 (/bin/draftwire)\n\
\t       3 main+0x3 (/bin/draftwire)\n\
\n\
draftwire 1 10.1:          1 cycles:\n\
\tffffffff00000001 tcp_sendmsg+0x1 ([kernel.kallsyms])\n\
\t       2 middle+0x2 (/bin/draftwire)\n\
\t       3 main+0x3 (/bin/draftwire)\n\
\n";

    #[test]
    fn what_perf_wrote_is_counted_and_drawn() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("script");
        std::fs::write(&file, SCRIPT).expect("it is written");
        let profile = drawn(&file, "a feed").expect("it is drawn");
        assert_eq!((profile.samples, profile.kernel), (2, 50.0));
        let names: Vec<&str> = profile.functions.iter().map(|function| function.name.as_str()).collect();
        assert_eq!(names, ["leaf", "tcp_sendmsg_[k]"]);
        assert!(profile.svg.contains("middle") && profile.svg.contains("a feed"), "{}", profile.svg);
        assert!(!profile.svg.contains("<script"), "{}", profile.svg);
    }

    #[test]
    fn a_function_that_calls_itself_counts_once() {
        let (samples, kernel, functions) = functions("x;a;b;a 3\nx;a 1\nnonsense\n");
        assert_eq!((samples, kernel), (4, 0.0));
        assert_eq!(functions, [Function { name: "a".to_owned(), own: 100.0, within: 100.0 }]);
    }
}
