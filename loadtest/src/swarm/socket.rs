//! One socket of a helper: opened without waiting, written what always fits, read in whole frames.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    os::fd::OwnedFd,
};

use mio::net::TcpStream;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with},
};
use websocket::client::{self as frames, Frame};

use super::{
    client::{Client, Next, Phase, Shared},
    measures::{Measures, Moment},
};

/// The longest frame that is taken, in bytes: a page of the log is far below it.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Takes all frames from the beginning of some bytes; returns how many bytes they had.
pub(super) fn take(
    client: &mut Client,
    socket: &mut TcpStream,
    shared: &Shared,
    measures: &mut Measures,
    now: Moment,
    bytes: &[u8],
) -> Result<usize, String> {
    let mut taken = 0;
    if client.phase == Phase::Upgrading {
        taken = client.upgraded(bytes)?;
        if taken == 0 {
            return Ok(0);
        }
    }
    loop {
        let read = frames::read(&bytes[taken..], PAYLOAD_BYTES_MAX).map_err(|wrong| wrong.to_string())?;
        let Some((Frame { opcode, fin, payload }, length)) = read else { return Ok(taken) };
        if !fin {
            // Ours sends every message in one frame.
            return Err("a message in pieces".to_owned());
        }
        taken += length;
        match client.frame(shared, measures, now, opcode, payload) {
            Next::Nothing => {}
            Next::Send(bytes) => send(socket, &bytes)?,
            Next::End(why) => return Err(why),
        }
    }
}

/// Sends what a socket that has sent little always takes.
pub(super) fn send(socket: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    match socket.write(bytes) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        Ok(_) => Err("a socket that takes no more".to_owned()),
        Err(error) => Err(outline(&error)),
    }
}

/// An error without numbers: failures are counted by it.
pub(super) fn outline(error: &std::io::Error) -> String {
    format!("{:?}", error.kind())
}

/// Begins a connection, without waiting for it.
pub(super) fn dial(to: SocketAddr, source: Option<SocketAddr>) -> std::io::Result<TcpStream> {
    let socket = std::net::TcpStream::from(open(to, source)?);
    socket.set_nodelay(true)?;
    Ok(TcpStream::from_std(socket))
}

fn open(to: SocketAddr, source: Option<SocketAddr>) -> Result<OwnedFd, Errno> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    if let Some(source) = source {
        bind(&socket, &source)?;
    }
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// What a read has found.
pub(super) enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
}

/// Reads once.
///
/// # Errors
/// Why the connection is over, in few words.
pub(super) fn read(socket: &mut TcpStream, buffer: &mut [u8]) -> Result<Got, String> {
    loop {
        return match socket.read(buffer) {
            Ok(0) => Err("ended".to_owned()),
            Ok(bytes) => Ok(Got::Bytes(bytes)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Got::Nothing),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(outline(&error)),
        };
    }
}
