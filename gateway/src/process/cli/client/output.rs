//! The output: data alone, a line of JSON each. Written by a thread of its own, because whoever reads it may be slow,
//! and Ctrl-C has to work meanwhile.

use std::{
    io::{self, Write as _},
    thread,
};

use draftwire_client::Cursor;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use super::failure::Failure;

/// What is to be written, and who is told when it is.
type Order = (String, oneshot::Sender<io::Result<()>>);

/// The standard output.
#[derive(Debug)]
pub(super) struct Output {
    orders: mpsc::Sender<Order>,
    closed: watch::Receiver<bool>,
}

impl Output {
    /// Starts the thread, and one that notices when nobody reads any more. They end with the process.
    pub(super) fn start() -> Self {
        let (orders, mut ordered) = mpsc::channel::<Order>(1);
        thread::spawn(move || {
            while let Some((text, done)) = ordered.blocking_recv() {
                let mut output = io::stdout().lock();
                let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
                // Nobody waits any more when the command ends.
                let _ = done.send(written);
            }
        });
        let (sender, closed) = watch::channel(false);
        thread::spawn(move || {
            wait_until_closed();
            // The command may have ended.
            let _ = sender.send(true);
        });
        Self { orders, closed }
    }

    /// Waits until nobody reads the output any more: of a command that follows something, the next write may be far.
    pub(super) async fn closed(&self) -> Failure {
        match self.closed.clone().wait_for(|closed| *closed).await {
            Ok(_) => Failure::OutputClosed,
            // What cannot be watched shows with the next write.
            Err(_) => std::future::pending().await,
        }
    }

    /// Writes lines, and waits until whoever reads has taken them.
    pub(super) async fn write(&self, text: String) -> Result<(), Failure> {
        let (done, written) = oneshot::channel();
        if self.orders.send((text, done)).await.is_err() {
            return Err(Failure::OutputClosed);
        }
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
            Ok(Err(error)) => Err(Failure::Io(error)),
            Err(_) => Err(Failure::OutputClosed),
        }
    }

    /// Writes a value as a line.
    pub(super) async fn print(&self, value: &impl Serialize) -> Result<(), Failure> {
        let mut text = String::new();
        push_line(&mut text, value, None)?;
        self.write(text).await
    }
}

/// Waits until the other end of the standard output is closed; a file's never is.
fn wait_until_closed() {
    let output = io::stdout();
    let mut fds = [PollFd::new(&output, PollFlags::empty())];
    // Errors and the other end's end are reported without being asked for.
    while matches!(poll(&mut fds, None), Err(Errno::INTR)) {}
}

/// Adds a value, which serialises to an object, as a line; with the cursor behind it as its last field.
pub(super) fn push_line(
    text: &mut String,
    value: &impl Serialize,
    cursor: Option<&Cursor>,
) -> Result<(), Failure> {
    let line = serde_json::to_string(value).map_err(io::Error::from)?;
    match (cursor, line.strip_suffix('}')) {
        // Serialised by hand, because the numbers in the value keep their text.
        (Some(cursor), Some(open)) => *text += &format!("{open},\"cursor\":\"{cursor}\"}}\n"),
        _ => *text += &format!("{line}\n"),
    }
    Ok(())
}
