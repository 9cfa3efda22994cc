//! The least that can serve: accepts, answers a handshake with prepared bytes, and writes prepared
//! frames. In a process of its own, so that its processor time and memory can be read as a node's are.

use std::{
    io::{ErrorKind, Write},
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use common::{message::Encoding, time::unix_ms};
use serde::{Deserialize, Serialize};
use serde_json::json;
use testkit::handshake;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, sleep, sleep_until},
};
use websocket::frame::{self, Kind};

use crate::{measure::clock, run::files, swarm::orders::Wire};

/// The server's hidden name among the scenarios.
pub(crate) const SERVER: &str = "floor-server";

/// The topic that its clients follow.
pub(crate) const TOPIC: &str = "floor";

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// The longest handshake, in bytes; and the longest command after it.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// The pause before it is looked again whether all have shaken hands. They have from their own side.
const ACCEPT_PAUSE: Duration = Duration::from_millis(1);

/// What it is told, a line each.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Writes events to every connection.
    Write(Plan),
    /// Says what it uses.
    Read,
}

/// What is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// How many connections there are: the last of them may still be shaking hands.
    pub(crate) sockets: usize,
    pub(crate) events: u64,
    /// Events a second.
    pub(crate) rate: f64,
    /// Events in one write.
    pub(crate) batch: u64,
    /// The length of the data of an event.
    pub(crate) bytes: usize,
    /// Whether events carry the moment at which they were to be sent.
    pub(crate) measured: bool,
}

/// What it answers, a line each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Where it listens.
    pub(crate) port: u16,
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    /// The last event.
    pub(crate) head: u64,
    /// Writes that found no room.
    pub(crate) blocked: u64,
}

/// The connections that are written to, out of the runtime's hands.
#[derive(Debug, Default)]
struct Sockets(Mutex<Vec<std::net::TcpStream>>);

impl Sockets {
    fn all(&self) -> MutexGuard<'_, Vec<std::net::TcpStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until standard input ends. With `idle`, connections stay with the runtime, each in a task
/// that waits for its end; otherwise they are written to.
pub(crate) async fn run(wire: Wire, idle: bool) -> Result<()> {
    files::raise()?;
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(BACKLOG)?;
    let mut reading = Reading { port: listener.local_addr()?.port(), ..Reading::default() };
    let sockets = Arc::new(Sockets::default());
    tokio::spawn(accept(listener, wire, idle, Arc::clone(&sockets)));
    say(&mut reading)?;
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = orders.next_line().await? {
        if let Order::Write(plan) = serde_json::from_str(&line)? {
            write_all(&sockets, wire, &plan, &mut reading).await;
        }
        say(&mut reading)?;
    }
    Ok(())
}

fn say(reading: &mut Reading) -> Result<()> {
    reading.cpu_seconds = clock::cpu_seconds();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    reading.resident_bytes = kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() * 1024;
    let mut line = serde_json::to_vec(reading)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    out.flush()?;
    Ok(())
}

async fn accept(listener: TcpListener, wire: Wire, idle: bool, sockets: Arc<Sockets>) {
    let answer: Arc<[u8]> = answer(wire).into();
    let ack: Arc<[u8]> = message(wire, &position("ACK")).to_vec().into();
    while let Ok((stream, _)) = listener.accept().await {
        let (answer, ack, sockets) = (Arc::clone(&answer), Arc::clone(&ack), Arc::clone(&sockets));
        tokio::spawn(async move {
            // Boxed, so that its buffers are not a part of what an idle connection holds.
            let Ok(stream) = Box::pin(shake_hands(stream, &answer, &ack)).await else { return };
            if idle {
                let _ = stream.readable().await;
            } else if let Ok(stream) = stream.into_std() {
                sockets.all().push(stream);
            }
        });
    }
}

/// Reads a handshake and a `SUBSCRIBE` without looking at them, and answers both.
async fn shake_hands(mut stream: TcpStream, answer: &[u8], ack: &[u8]) -> Result<TcpStream> {
    stream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(1024);
    while !request.ends_with(b"\r\n\r\n") {
        ensure!(request.len() < REQUEST_BYTES_MAX, "headers without end");
        ensure!(stream.read_buf(&mut request).await? > 0, "ended");
    }
    stream.write_all(answer).await?;
    // It waits for `WELCOME` before it sends one command, which is short.
    ensure!(stream.read(&mut [0; 1024]).await? > 0, "ended");
    stream.write_all(ack).await?;
    Ok(stream)
}

fn answer(wire: Wire) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {}\r\nsec-websocket-protocol: {}\r\n\r\n",
        handshake::ACCEPT,
        wire.subprotocol(),
    )
    .into_bytes();
    answer.extend_from_slice(&message(wire, &position("WELCOME")));
    answer
}

fn position(kind: &str) -> String {
    json!({ "type": kind, "id": "s", "payload": { "topic": TOPIC, "epoch": "floor", "seq": 0 } }).to_string()
}

/// A message in its frame.
fn message(wire: Wire, text: &str) -> Bytes {
    match wire.encoding() {
        Encoding::Json => frame::message(Kind::Text, text.as_bytes()),
        Encoding::MessagePack => frame::message(Kind::Binary, &common::msgpack::from_json(text.as_bytes())),
    }
}

/// The data of an event, `bytes` long as JSON, or as short as it can be. `at` stands first: it is looked
/// for there.
pub(crate) fn data(at_us: u64, number: u64, bytes: usize) -> String {
    let bare = format!("{{\"at\":{at_us},\"n\":{number},\"pad\":\"\"}}");
    let pad = bytes.saturating_sub(bare.len());
    format!("{{\"at\":{at_us},\"n\":{number},\"pad\":\"{:x<pad$}\"}}", "")
}

/// Writes at the given rate, to one socket after the other.
async fn write_all(sockets: &Sockets, wire: Wire, plan: &Plan, reading: &mut Reading) {
    while sockets.all().len() < plan.sockets {
        sleep(ACCEPT_PAUSE).await;
    }
    // Nobody connects meanwhile.
    let all = std::mem::take(&mut *sockets.all());
    let batch = plan.batch.max(1);
    let begun = Instant::now();
    let begun_us = clock::now_us();
    for first in (0..plan.events).step_by(usize::try_from(batch).unwrap_or(1)) {
        let last = (first + batch).min(plan.events);
        // Together with the last of its batch.
        let moment = Duration::from_secs_f64((last - 1) as f64 / plan.rate);
        sleep_until(begun + moment).await;
        let mut bytes = Vec::new();
        for number in first..last {
            reading.head += 1;
            let due = begun_us + (number as f64 / plan.rate * 1e6) as u64;
            let data = data(if plan.measured { due } else { 0 }, number, plan.bytes);
            let text = format!(
                "{{\"type\":\"COMMENT\",\"stream\":\"topic:{TOPIC}\",\"seq\":{},\"timestamp\":{},\"origin\":\"floor\",\
                 \"payload\":{data}}}",
                reading.head,
                unix_ms(),
            );
            bytes.extend_from_slice(&message(wire, &text));
        }
        for mut socket in &all {
            match socket.write(&bytes) {
                Ok(written) if written == bytes.len() => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => reading.blocked += 1,
            }
        }
    }
    *sockets.all() = all;
}

/// Reads a line of answer.
pub(crate) fn parse(line: Option<String>) -> Result<Reading> {
    Ok(serde_json::from_str(&line.context("the floor's server has ended")?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_as_long_as_asked_for() {
        for bytes in [60, 200, 5000] {
            let data = data(1_234_567, 89, bytes);
            assert_eq!(data.len(), bytes);
            let value: serde_json::Value = serde_json::from_str(&data).unwrap_or_default();
            assert_eq!((&value["at"], &value["n"]), (&json!(1_234_567), &json!(89)));
        }
        assert!(data(1, 1, 0).starts_with("{\"at\":1,"));
    }
}
