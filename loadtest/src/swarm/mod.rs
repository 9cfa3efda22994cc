//! Many lean clients, in helper processes of this program: what is measured is the server, so they must
//! cost less than it does, and one process may not open enough files for all.

mod client;
pub(crate) mod helper;
mod measures;
mod memo;
mod message;
pub(crate) mod orders;
#[cfg(test)]
mod session_tests;
mod socket;
mod track;
mod upgrade;

use std::{net::Ipv4Addr, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::lookup_host,
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use self::orders::{ClientSpec, Judged, Numbered, Order, Reply, Setup, Status, To};
use crate::{
    cluster::urls::Entrance,
    measure::effort::Helping,
    run::{
        Stage,
        files::{self, OTHER_FILES},
    },
};

/// Clients of one run, over all helpers.
pub(crate) const CLIENTS_MAX: u32 = 1_000_000;

/// Clients that a helper has before a second one is worth its while.
const CLIENTS_PER_HELPER: usize = 2_500;

/// How long a helper may take to judge.
const JUDGE_WAIT: Duration = Duration::from_secs(30);

/// How many clients connect at one time, in all, unless all do.
pub(crate) const WINDOW: usize = 64;

/// The helper's hidden name among the scenarios.
pub(crate) const HELPER: &str = "swarm-helper";

/// The local addresses that clients of this machine's own nodes connect from: 127.0.0.2 and up. An
/// address has 28,000 ports for each that it connects to.
const SOURCES: usize = 200;

/// How clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// A few at a time.
    Window,
    /// All at once; their times count from the beginning.
    Burst,
    /// All at once, as often as it takes.
    Storm,
}

/// The clients.
#[derive(Debug)]
pub(crate) struct Swarm {
    helpers: Vec<Helper>,
    number: u64,
    clients: usize,
}

#[derive(Debug)]
struct Helper {
    orders: ChildStdin,
    status: watch::Receiver<Status>,
    judged: mpsc::Receiver<Judged>,
    clients: usize,
    reader: JoinHandle<()>,
    /// Ended when it is dropped.
    _child: Child,
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The address that client `number` connects from to a node of this machine.
fn source(number: usize) -> Ipv4Addr {
    let host = u8::try_from(2 + number % SOURCES).unwrap_or(2);
    Ipv4Addr::new(127, 0, 0, host)
}

impl Swarm {
    /// Starts helpers with these clients, which are not connected yet.
    pub(crate) async fn start(mut setup: Setup) -> Result<Self> {
        let per_process = usize::try_from(files::raise()?.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let clients = std::mem::take(&mut setup.clients);
        let total = clients.len();
        ensure!(total > 0, "no clients");
        // Half of the machine at most: the other half is the server's, where both share it.
        let useful = total.div_ceil(CLIENTS_PER_HELPER).min((processors / 2).max(1));
        let helpers = useful.max(total.div_ceil(per_process.max(1)));
        let share = total.div_ceil(helpers);
        let mut swarm = Self { helpers: Vec::new(), number: 0, clients: total };
        for clients in clients.chunks(share) {
            let setup = Setup { clients: clients.to_vec(), ..setup.clone() };
            swarm.helpers.push(Helper::start(&setup).await?);
        }
        Ok(swarm)
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> usize {
        self.clients
    }

    /// What the processes that they run in have used.
    pub(crate) fn helping(&self) -> Helping {
        Helping { cpu_seconds: self.status().cpu_seconds, helpers: self.helpers.len() }
    }

    /// Lets `count` clients connect, those that did before with their cursors.
    pub(crate) async fn connect(&mut self, count: usize, to: &[To], pace: Pace) -> Result<()> {
        let mut left = count;
        let helpers = self.helpers.len();
        let shares: Vec<usize> = self
            .helpers
            .iter()
            .map(|helper| {
                let share = helper.clients.min(left);
                left -= share;
                share
            })
            .collect();
        let window = (pace == Pace::Window).then(|| (WINDOW / helpers).max(1));
        self.send(|at| Order::Connect {
            count: shares[at],
            to: to.to_vec(),
            window,
            retry: pace == Pace::Storm,
        })
        .await
    }

    /// As [`Swarm::connect`], and waits until nobody is on the way any more.
    pub(crate) async fn connected(
        &mut self,
        stage: &mut Stage,
        count: usize,
        to: &[To],
        pace: Pace,
        wait: Duration,
    ) -> Result<Status> {
        self.connect(count, to, pace).await?;
        let done = |status: &Status| status.queued + status.connecting == 0;
        Ok(self.until(stage, wait, "connecting", done).await?.0)
    }

    /// As [`Swarm::close`], and waits until all have left.
    pub(crate) async fn closed(&mut self, stage: &mut Stage, abrupt: bool, wait: Duration) -> Result<()> {
        self.close(abrupt).await?;
        self.until(stage, wait, "leaving", |status| status.ready + status.closing == 0).await?;
        Ok(())
    }

    /// Ends all connections.
    pub(crate) async fn close(&mut self, abrupt: bool) -> Result<()> {
        self.send(|_| Order::Close { abrupt }).await
    }

    async fn send(&mut self, order: impl Fn(usize) -> Order) -> Result<()> {
        self.number += 1;
        for (at, helper) in self.helpers.iter_mut().enumerate() {
            let numbered = Numbered { number: self.number, order: order(at) };
            write_line(&mut helper.orders, &numbered).await?;
        }
        Ok(())
    }

    /// How all clients stand.
    pub(crate) fn status(&self) -> Status {
        let mut sum = Status { handled: u64::MAX, ..Status::default() };
        for helper in &self.helpers {
            sum.add(&helper.status.borrow());
        }
        sum
    }

    /// Waits until the last order was taken and the clients stand as they shall; returns how they
    /// stand, and whether it was in time.
    pub(crate) async fn until(
        &mut self,
        stage: &mut Stage,
        deadline: Duration,
        what: &str,
        mut stand: impl FnMut(&Status) -> bool,
    ) -> Result<(Status, bool)> {
        let end = Instant::now() + deadline;
        loop {
            let status = self.status();
            if status.handled == self.number && stand(&status) {
                return Ok((status, true));
            }
            stage.progress.show(|| {
                let Status { queued, connecting, ready, failed, received, .. } = status;
                format!(
                    "{what}: {ready} connected, {connecting} connecting, {queued} waiting, {failed} failed, \
                     {received} events received"
                )
            });
            let changes = self.helpers.iter_mut().map(|helper| Box::pin(helper.status.changed()));
            let changed = futures_util::future::select_all(changes);
            tokio::select! {
                changed = timeout_at(end, changed) => match changed {
                    Ok((Ok(()), ..)) => {}
                    Ok((Err(_), ..)) => bail!("a helper process has ended"),
                    Err(_) => return Ok((status, false)),
                },
                () = stage.interrupt.pressed(), if !stage.verifying => bail!("interrupted"),
            }
        }
    }

    /// What the clients received, given the last event of each stream.
    pub(crate) async fn judge(&mut self, heads: &[u64]) -> Result<Judged> {
        self.send(|_| Order::Judge { heads: heads.to_vec() }).await?;
        let end = Instant::now() + JUDGE_WAIT;
        let mut all = Judged::default();
        for helper in &mut self.helpers {
            let judged = timeout_at(end, helper.judged.recv()).await.context("a helper does not answer")?;
            all.add(judged.context("a helper process has ended")?);
        }
        Ok(all)
    }
}

impl Helper {
    async fn start(setup: &Setup) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(HELPER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is this process' to act on.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("start a helper process")?;
        let mut orders = child.stdin.take().context("a helper without standard input")?;
        let out = child.stdout.take().context("a helper without standard output")?;
        write_line(&mut orders, setup).await?;
        let (status_sender, status) = watch::channel(Status::default());
        // One answer is awaited at a time.
        let (judged_sender, judged) = mpsc::channel(1);
        let reader = tokio::spawn(read_replies(out, status_sender, judged_sender));
        Ok(Self { orders, status, judged, clients: setup.clients.len(), reader, _child: child })
    }
}

async fn write_line(to: &mut ChildStdin, what: &impl serde::Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line).await.context("a helper process has ended")?;
    to.flush().await.context("a helper process has ended")
}

async fn read_replies(out: ChildStdout, status: watch::Sender<Status>, judged: mpsc::Sender<Judged>) {
    let mut lines = BufReader::new(out).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Reply::Status(now)) => {
                status.send_replace(now);
            }
            Ok(Reply::Judged(what)) => {
                if judged.send(*what).await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// Clients by number: whose device and token, and which stream.
pub(crate) fn client(number: usize, device: String, token: String, stream: usize, local: bool) -> ClientSpec {
    let source = local.then(|| source(number).into());
    ClientSpec { device, token, stream, source }
}

/// Where clients connect, as an address.
pub(crate) async fn to(entrance: &Entrance) -> Result<To> {
    let rest = entrance.ws.strip_prefix("ws://").context("not a ws:// URL")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut addresses: Vec<_> =
        lookup_host(&with_port).await.with_context(|| format!("find {host}"))?.collect();
    // Nodes bind to IPv4 unless they are told otherwise.
    addresses.sort_by_key(|address| !address.is_ipv4());
    let address = *addresses.first().with_context(|| format!("{host} has no address"))?;
    Ok(To { address, host: host.to_owned(), path: path.to_owned() })
}

/// Whether the nodes are this machine's own, so that clients may use all its local addresses.
pub(crate) fn all_local(to: &[To]) -> bool {
    to.iter().all(|to| to.address.is_ipv4() && to.address.ip().is_loopback())
}
