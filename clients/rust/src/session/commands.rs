//! Commands that change something, in the order in which they were given, until each has its answer.

use std::collections::VecDeque;

/// Commands that are sent and not answered yet; the server stops reading a connection with more by default
/// (`PENDING_COMMANDS_MAX`).
pub const IN_FLIGHT_MAX: usize = 64;

/// A command that has no answer yet.
#[derive(Debug)]
struct Pending {
    id: String,
    text: String,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// To be sent on this connection.
    Unsent,
    /// Sent on this connection.
    Sent,
    /// Sent, and refused for the moment.
    Unavailable,
}

/// The commands without an answer. They are sent in their order; behind one that was refused for the moment,
/// new ones are held back until it was sent again.
#[derive(Debug, Default)]
pub(super) struct Commands {
    pending: VecDeque<Pending>,
    sent: usize,
    unavailable: usize,
}

impl Commands {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn push(&mut self, id: String, text: String) {
        self.pending.push_back(Pending { id, text, standing: Standing::Unsent });
    }

    /// A connection has begun or ended: everything without an answer has to be sent again.
    pub(super) fn reconnect(&mut self) {
        for command in &mut self.pending {
            command.standing = Standing::Unsent;
        }
        self.sent = 0;
        self.unavailable = 0;
    }

    /// The next command to send; `None` while it is not time.
    pub(super) fn next(&mut self) -> Option<&str> {
        if self.unavailable > 0 || self.sent >= IN_FLIGHT_MAX {
            return None;
        }
        let next = self.pending.iter_mut().find(|command| command.standing == Standing::Unsent)?;
        next.standing = Standing::Sent;
        self.sent += 1;
        Some(&next.text)
    }

    /// A command has its answer. Returns whether it waited for one.
    pub(super) fn answered(&mut self, id: &str) -> bool {
        let Some(at) = self.position(id) else { return false };
        let Some(command) = self.pending.remove(at) else { return false };
        match command.standing {
            Standing::Sent => self.sent -= 1,
            Standing::Unavailable => self.unavailable -= 1,
            Standing::Unsent => {}
        }
        true
    }

    /// A command was refused for the moment. Returns whether it waited for an answer.
    pub(super) fn refused_for_the_moment(&mut self, id: &str) -> bool {
        let Some(at) = self.position(id) else { return false };
        let command = &mut self.pending[at];
        if command.standing == Standing::Sent {
            command.standing = Standing::Unavailable;
            self.sent -= 1;
            self.unavailable += 1;
        }
        true
    }

    /// Gives up a command that was refused for the moment. Returns whether it was.
    pub(super) fn withdraw(&mut self, id: &str) -> bool {
        let Some(at) = self.position(id) else { return false };
        let is_refused = self.pending[at].standing == Standing::Unavailable;
        is_refused && self.answered(id)
    }

    /// Whether, after a pause, [`Commands::retry`] is due: every command that was sent has been answered or
    /// refused. What is still on its way would be overtaken.
    pub(super) fn wants_retry(&self) -> bool {
        self.unavailable > 0 && self.sent == 0
    }

    /// The pause is over: what was refused is sent again, in its order.
    pub(super) fn retry(&mut self) {
        if self.wants_retry() {
            self.reconnect();
        }
    }

    /// Takes out commands that are longer than the server takes.
    pub(super) fn take_longer_than(&mut self, bytes: usize) -> Vec<String> {
        let (long, fit): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|command| command.text.len() > bytes && command.standing == Standing::Unsent);
        self.pending = fit;
        long.into_iter().map(|command| command.id).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<String> {
        self.reconnect();
        self.pending.drain(..).map(|command| command.id).collect()
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.pending.iter().position(|command| command.id == id)
    }
}
