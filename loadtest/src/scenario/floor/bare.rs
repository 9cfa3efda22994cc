//! What the machine alone costs: the kernel's part of a delivery and of a connection, and a commit
//! without a server in front of it. No server can be cheaper; the ratio to it is what says how good one
//! is, on whatever machine.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::server::{self, Order, Plan, Reading, SERVER, TOPIC};
use crate::{
    measure::latency::Percentiles,
    run::Stage,
    swarm::{
        self, Pace, Swarm,
        orders::{Setup, To, Wire},
    },
};

/// How long connecting, and receiving what was written, may take.
const WAIT: Duration = Duration::from_secs(60);

/// Events before those that are measured.
const WARM_UP_EVENTS: u64 = 5;

/// Events in one write, in the batching variant.
pub(crate) const BATCH: u64 = 10;

/// Rates without a limit are no rates: what is written at once is the kernel's buffers' business.
pub(crate) const RATE_MAX: f64 = 1_000.0;

/// What a delivery costs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Delivery {
    pub(crate) sockets: usize,
    pub(crate) events: u64,
    /// Events in one write.
    pub(crate) batch: u64,
    pub(crate) deliveries: u64,
    /// Writes that found no room: then it is not the floor.
    pub(crate) blocked: u64,
    pub(crate) cpu_us_per_delivery: f64,
    pub(crate) from_send: Percentiles,
}

/// What a connection costs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Connection {
    pub(crate) connections: usize,
    pub(crate) bytes_each: f64,
    pub(crate) cpu_us_each: f64,
    pub(crate) connect: Percentiles,
}

/// Writes to `sockets` clients.
pub(crate) async fn delivery(
    stage: &mut Stage,
    wire: Wire,
    sockets: usize,
    bytes: usize,
    rate: f64,
    duration: Duration,
    batch: u64,
) -> Result<Delivery> {
    let mut server = Server::start(wire, false).await?;
    let mut swarm = server.swarm(wire, sockets).await?;
    connect_all(&mut swarm, stage, &server, Pace::Window).await?;
    let rate = rate.min(RATE_MAX);
    let events = ((rate * duration.as_secs_f64()) as u64).max(batch);
    let plan = |events, measured| Order::Write(Plan { sockets, events, rate, batch, bytes, measured });
    let before = server.ask(&plan(WARM_UP_EVENTS, false)).await?;
    let after = server.ask(&plan(events, true)).await?;
    let wanted = after.head * sockets as u64;
    swarm.until(stage, WAIT, "floor", |status| status.received >= wanted).await?;
    let judged = swarm.judge(&[after.head]).await?;
    ensure!(judged.faulty == 0, "what was written without a server did not arrive: {:?}", judged.told);
    Ok(Delivery {
        sockets,
        events,
        batch,
        deliveries: judged.measured,
        blocked: after.blocked,
        cpu_us_per_delivery: (after.cpu_seconds - before.cpu_seconds) * 1e6 / judged.measured as f64,
        from_send: judged.from_send.percentiles(),
    })
}

/// Holds `sockets` clients.
pub(crate) async fn connection(stage: &mut Stage, sockets: usize, pace: Pace) -> Result<Connection> {
    let wire = Wire::Json;
    let mut server = Server::start(wire, true).await?;
    let mut swarm = server.swarm(wire, sockets).await?;
    let before = server.ask(&Order::Read).await?;
    connect_all(&mut swarm, stage, &server, pace).await?;
    let after = server.ask(&Order::Read).await?;
    let judged = swarm.judge(&[0]).await?;
    let each = sockets as f64;
    Ok(Connection {
        connections: sockets,
        bytes_each: after.resident_bytes.saturating_sub(before.resident_bytes) as f64 / each,
        cpu_us_each: (after.cpu_seconds - before.cpu_seconds) * 1e6 / each,
        connect: judged.connect.percentiles(),
    })
}

async fn connect_all(swarm: &mut Swarm, stage: &mut Stage, server: &Server, pace: Pace) -> Result<()> {
    let clients = swarm.clients();
    let status = swarm.connected(stage, clients, &[server.to()], pace, WAIT).await?;
    ensure!(status.ready == clients, "{} of {clients} clients reach the floor's server", status.ready);
    Ok(())
}

/// The process.
#[derive(Debug)]
struct Server {
    port: u16,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// Ended when it is dropped.
    _child: Child,
}

impl Server {
    async fn start(wire: Wire, idle: bool) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SERVER).args(["--wire", if wire == Wire::Json { "json" } else { "msgpack" }]);
        if idle {
            command.arg("--idle");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is this process' to act on.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("start the floor's server")?;
        let orders = child.stdin.take().context("a server without standard input")?;
        let out = child.stdout.take().context("a server without standard output")?;
        let mut answers = BufReader::new(out).lines();
        let Reading { port, .. } = server::parse(timeout(WAIT, answers.next_line()).await??)?;
        Ok(Self { port, orders, answers, _child: child })
    }

    async fn ask(&mut self, order: &Order) -> Result<Reading> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.write_all(&line).await?;
        self.orders.flush().await?;
        // As long as it takes to write at the given rate.
        server::parse(self.answers.next_line().await?)
    }

    async fn swarm(&self, wire: Wire, clients: usize) -> Result<Swarm> {
        let clients = (0..clients)
            .map(|number| swarm::client(number, format!("f{number}"), String::new(), 0, true))
            .collect();
        Swarm::start(Setup { wire, batch: false, streams: vec![Some(TOPIC.to_owned())], clients }).await
    }

    fn to(&self) -> To {
        To {
            address: ([127, 0, 0, 1], self.port).into(),
            host: format!("127.0.0.1:{}", self.port),
            path: "/".to_owned(),
        }
    }
}
