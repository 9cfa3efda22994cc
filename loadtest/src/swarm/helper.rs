//! A helper process: many clients on one thread, over one poll and one buffer. A client without a
//! message under way holds no memory but its own few words.

use std::{
    collections::VecDeque,
    io::{BufRead, ErrorKind, Write},
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::Duration,
};

use anyhow::{Context, Result};
use common::time::unix_ms;
use mio::{Events, Interest, Poll, Token, Waker, net::TcpStream};
use websocket::{Opcode, client as frames};

use super::{
    client::{Client, Phase, Shared},
    measures::{Measures, Moment},
    orders::{Judged, Numbered, Order, Reply, Setup, Status, TOLD_MAX, To},
    socket::{Got, dial, outline, read, send, take},
};
use crate::{measure::clock, run::files};

/// How often a status is written.
const STATUS_EVERY_US: u64 = 100_000;

/// The longest wait for something to happen: pauses and deadlines are looked at as often.
const TICK: Duration = Duration::from_millis(20);

/// How long one attempt to connect may take.
const CONNECT_WAIT_US: u64 = 30_000_000;

/// How long a goodbye may take.
const CLOSE_WAIT_US: u64 = 5_000_000;

/// The pause after a first failure; doubled with each further one, and spread by chance.
const PAUSE_US: u64 = 100_000;

/// The longest pause, before it is spread.
const PAUSE_US_MAX: u64 = 2_000_000;

/// What is read at one time, in bytes; more for a frame that is larger.
const BUFFER_BYTES: usize = 256 << 10;

/// Events taken from one poll.
const EVENTS_MAX: usize = 4096;

/// What is not a client's.
const WAKE: Token = Token(usize::MAX);

/// A client and its socket.
#[derive(Debug)]
struct Connection {
    client: Client,
    socket: Option<TcpStream>,
    /// The beginning of a frame that is not all there.
    partial: Vec<u8>,
    to: usize,
    attempts: u32,
    /// When the pause is over, or the attempt or the goodbye has taken too long.
    due_us: u64,
}

/// The order to connect that is being carried out.
#[derive(Debug, Default)]
struct Connecting {
    to: Vec<To>,
    window: Option<usize>,
    retry: bool,
    queue: VecDeque<usize>,
    /// Clients that are on their way, pauses included.
    under_way: usize,
    order_us: u64,
}

#[derive(Debug)]
struct Helper {
    poll: Poll,
    shared: Shared,
    connections: Vec<Connection>,
    measures: Measures,
    connecting: Connecting,
    status: Status,
    buffer: Vec<u8>,
    status_us: u64,
}

/// Reads orders from standard input and carries them out, until it ends.
pub(crate) fn run() -> Result<()> {
    files::raise()?;
    let mut lines = std::io::stdin().lock().lines();
    let setup = lines.next().context("no setup")??;
    let setup: Setup = serde_json::from_str(&setup)?;
    drop(lines);
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (sender, orders) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() || waker.wake().is_err() {
                return;
            }
        }
        drop(sender);
        // That there is nobody any more is seen by whoever looks for orders.
        let _ = waker.wake();
    });
    Helper::new(poll, setup).serve(&orders)
}

impl Helper {
    fn new(poll: Poll, setup: Setup) -> Self {
        let connections = setup
            .clients
            .iter()
            .map(|spec| Connection {
                client: Client::new(spec.clone()),
                socket: None,
                partial: Vec::new(),
                to: 0,
                attempts: 0,
                due_us: 0,
            })
            .collect();
        Self {
            poll,
            shared: Shared::new(setup),
            connections,
            measures: Measures::new(),
            connecting: Connecting::default(),
            status: Status::default(),
            buffer: vec![0; BUFFER_BYTES],
            status_us: 0,
        }
    }

    fn serve(mut self, orders: &mpsc::Receiver<String>) -> Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            match self.poll.poll(&mut events, Some(TICK)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                if event.token() != WAKE {
                    self.happened(event.token().0);
                }
            }
            loop {
                match orders.try_recv() {
                    Ok(line) => self.order(serde_json::from_str(&line)?)?,
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
                }
            }
            self.begin();
            let now = clock::now_us();
            if now >= self.status_us {
                self.status_us = now + STATUS_EVERY_US;
                self.overdue(now);
                self.say_status()?;
            }
        }
    }

    fn order(&mut self, Numbered { number, order }: Numbered) -> Result<()> {
        match order {
            Order::Connect { count, to, window, retry } => {
                let idle =
                    |at: &usize| matches!(self.connections[*at].client.phase, Phase::Idle | Phase::Failed);
                let queue: VecDeque<usize> = (0..self.connections.len()).filter(idle).take(count).collect();
                for at in &queue {
                    let connection = &mut self.connections[*at];
                    connection.client.phase = Phase::Queued;
                    connection.attempts = 0;
                    connection.to = *at;
                }
                let order_us = clock::now_us();
                self.connecting = Connecting { to, window, retry, queue, under_way: 0, order_us };
                let old = std::mem::replace(&mut self.measures, Measures::new());
                // What was received stays: only times and failures are those of the last order.
                self.measures = Measures {
                    received: old.received,
                    measured: old.measured,
                    from_send: old.from_send,
                    from_commit: old.from_commit,
                    ..Measures::new()
                };
                self.status.failed = 0;
                self.status.retries = 0;
            }
            Order::Close { abrupt } => {
                self.connecting.queue.clear();
                self.connecting.under_way = 0;
                for at in 0..self.connections.len() {
                    self.close(at, abrupt);
                }
            }
            Order::Judge { heads } => {
                let judged = self.judge(&heads);
                self.say(&Reply::Judged(Box::new(judged)))?;
            }
        }
        self.status.handled = number;
        // At once: somebody waits for it.
        self.status_us = 0;
        Ok(())
    }

    /// Begins as many connections as may be under way.
    fn begin(&mut self) {
        let window = self.connecting.window.unwrap_or(usize::MAX);
        while self.connecting.under_way < window {
            let Some(at) = self.connecting.queue.pop_front() else { return };
            self.connecting.under_way += 1;
            self.connections[at].client.begun_us = match self.connecting.window {
                Some(_) => clock::now_us(),
                None => self.connecting.order_us,
            };
            self.dial(at);
        }
    }

    fn dial(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let to = &self.connecting.to[connection.to % self.connecting.to.len()];
        let source = connection.client.spec.source.map(|source| SocketAddr::new(source, 0));
        let dialled = dial(to.address, source).and_then(|mut socket| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut socket, Token(at), interest)?;
            Ok(socket)
        });
        connection.due_us = clock::now_us() + CONNECT_WAIT_US;
        connection.partial = Vec::new();
        connection.client.phase = Phase::Connecting;
        match dialled {
            Ok(socket) => connection.socket = Some(socket),
            Err(error) => self.end(at, &outline(&error)),
        }
    }

    /// Something can be read or written.
    fn happened(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let Some(socket) = &mut connection.socket else { return };
        if connection.client.phase == Phase::Connecting {
            if let Ok(Some(error)) | Err(error) = socket.take_error() {
                return self.end(at, &outline(&error));
            }
            if socket.peer_addr().is_err() {
                // Not yet.
                return;
            }
            let to = &self.connecting.to[connection.to % self.connecting.to.len()];
            let request = connection.client.request(&self.shared, to);
            connection.client.phase = Phase::Upgrading;
            if let Err(why) = send(socket, &request) {
                return self.end(at, &why);
            }
        }
        if let Err(why) = self.read(at) {
            self.end(at, &why);
        }
    }

    /// Reads what there is, and takes it.
    fn read(&mut self, at: usize) -> Result<(), String> {
        let connection = &mut self.connections[at];
        loop {
            let Some(socket) = &mut connection.socket else { return Ok(()) };
            let held = connection.partial.len();
            if held + BUFFER_BYTES / 2 > self.buffer.len() {
                // For a frame that is larger than what was thought of; bounded by the scanner.
                self.buffer.resize(held + BUFFER_BYTES, 0);
            }
            self.buffer[..held].copy_from_slice(&connection.partial);
            let room = self.buffer.len() - held;
            let Got::Bytes(got) = read(socket, &mut self.buffer[held..])? else { return Ok(()) };
            let now = Moment { us: clock::now_us(), unix_ms: unix_ms() };
            let all = &self.buffer[..held + got];
            let before = (connection.client.phase, connection.client.is_resuming());
            let taken = take(&mut connection.client, socket, &self.shared, &mut self.measures, now, all)?;
            connection.partial.clear();
            if taken < all.len() {
                connection.partial.extend_from_slice(&all[taken..]);
            } else if connection.partial.capacity() > 0 {
                connection.partial = Vec::new();
            }
            if before.0 != Phase::Open && connection.client.phase == Phase::Open {
                self.status.ready += 1;
                self.connecting.under_way = self.connecting.under_way.saturating_sub(1);
                if self.connecting.under_way == 0 && self.connecting.queue.is_empty() {
                    // Said at once: how long all of them took is measured by it.
                    self.status_us = 0;
                }
            }
            // Level or edge, less than there was room for means that nothing is left (epoll(7)).
            if got < room {
                return Ok(());
            }
        }
    }

    /// The connection is over.
    fn end(&mut self, at: usize, why: &str) {
        let now = clock::now_us();
        let retry = self.connecting.retry;
        let connection = &mut self.connections[at];
        let phase = connection.client.phase;
        drop(connection.socket.take());
        connection.partial = Vec::new();
        match phase {
            Phase::Closing => {
                connection.client.phase = Phase::Idle;
                self.status.closing = self.status.closing.saturating_sub(1);
                return;
            }
            Phase::Idle | Phase::Queued | Phase::Pausing | Phase::Failed => return,
            Phase::Open => {
                self.status.ready = self.status.ready.saturating_sub(1);
                self.status.ended += 1;
                // Whoever lost its connection before it had all it missed is still on its way.
                if !(retry && connection.client.is_resuming()) {
                    connection.client.phase = Phase::Idle;
                    return;
                }
                self.connecting.under_way += 1;
            }
            Phase::Connecting | Phase::Upgrading | Phase::Joining | Phase::Subscribing => {}
        }
        *self.measures.failures.entry(why.to_owned()).or_default() += 1;
        if retry {
            let pause = PAUSE_US.saturating_mul(1 << connection.attempts.min(10)).min(PAUSE_US_MAX);
            connection.attempts += 1;
            connection.to += 1;
            connection.due_us = now + rand::random_range(pause / 2..=pause);
            connection.client.phase = Phase::Pausing;
            self.status.retries += 1;
        } else {
            connection.client.phase = Phase::Failed;
            self.status.failed += 1;
            self.connecting.under_way = self.connecting.under_way.saturating_sub(1);
        }
    }

    fn close(&mut self, at: usize, abrupt: bool) {
        let connection = &mut self.connections[at];
        let Some(socket) = &mut connection.socket else {
            connection.client.phase = Phase::Idle;
            return;
        };
        if connection.client.phase == Phase::Open {
            self.status.ready = self.status.ready.saturating_sub(1);
            let mut goodbye = Vec::new();
            frames::write(Opcode::Close, &1000u16.to_be_bytes(), &mut goodbye);
            if !abrupt && send(socket, &goodbye).is_ok() {
                connection.client.phase = Phase::Closing;
                connection.due_us = clock::now_us() + CLOSE_WAIT_US;
                self.status.closing += 1;
                return;
            }
        }
        drop(connection.socket.take());
        connection.client.phase = Phase::Idle;
    }

    /// Goes on with those whose pause is over, and gives up what takes too long.
    fn overdue(&mut self, now: u64) {
        for at in 0..self.connections.len() {
            let connection = &self.connections[at];
            if connection.due_us > now {
                continue;
            }
            match connection.client.phase {
                Phase::Pausing => self.dial(at),
                phase if phase.is_connecting() => self.end(at, "no answer in time"),
                Phase::Closing => self.end(at, "no goodbye in time"),
                _ => {}
            }
        }
    }

    fn judge(&self, heads: &[u64]) -> Judged {
        let mut judged = Judged {
            measured: self.measures.measured,
            failures: self.measures.failures.clone(),
            connect: self.measures.connect.counts(),
            synced: self.measures.synced.counts(),
            from_send: self.measures.from_send.counts(),
            from_commit: self.measures.from_commit.counts(),
            ..Judged::default()
        };
        for Connection { client, .. } in &self.connections {
            let tally = client.tally(heads.get(client.spec.stream).copied().unwrap_or_default());
            judged.tally.add(&tally);
            if !tally.is_faulty() && client.fault.is_none() {
                continue;
            }
            judged.faulty += 1;
            if judged.told.len() < TOLD_MAX {
                let why = client.fault.as_deref().unwrap_or("the end of the stream is missing");
                judged.told.push(format!("{}: {why} ({tally:?})", client.spec.device));
            }
        }
        judged
    }

    fn say_status(&mut self) -> Result<()> {
        self.status.queued = self.connecting.queue.len();
        self.status.connecting = self.connecting.under_way;
        self.status.synced = self.measures.synced_clients;
        self.status.received = self.measures.received;
        self.status.cpu_seconds = clock::cpu_seconds();
        self.say(&Reply::Status(self.status))
    }

    fn say(&self, reply: &Reply) -> Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        out.flush()?;
        Ok(())
    }
}
