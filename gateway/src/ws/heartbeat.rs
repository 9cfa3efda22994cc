//! Whether a connection still lives. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// When to ping, and when a silent connection is dead.
///
/// A connection is dead when a ping has gone unanswered for the time allowed. Silence alone is not
/// counted from the last message on: a client that stops reading for that long must have had the
/// whole time since a ping was put before it.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    next_ping: Instant,
    /// The oldest ping without an answer. [`Heartbeat::pinged`] sets it, [`Heartbeat::alive`] takes
    /// it away.
    unanswered: Option<Instant>,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing yet.
    Wait,
    /// Send a ping and say so.
    Ping,
    /// Give the connection up.
    Dead,
}

impl Heartbeat {
    pub(crate) fn new(interval: Duration, timeout: Duration, now: Instant) -> Self {
        Self { interval, timeout, next_ping: now + interval, unanswered: None }
    }

    /// When to ask [`Heartbeat::due`] next.
    pub(crate) fn deadline(&self) -> Instant {
        match self.unanswered {
            Some(since) => self.next_ping.min(since + self.timeout),
            None => self.next_ping,
        }
    }

    pub(crate) fn due(&self, now: Instant) -> Beat {
        if self.unanswered.is_some_and(|since| now >= since + self.timeout) {
            Beat::Dead
        } else if now >= self.next_ping {
            Beat::Ping
        } else {
            Beat::Wait
        }
    }

    /// A ping was sent.
    pub(crate) fn pinged(&mut self, now: Instant) {
        self.next_ping = now + self.interval;
        self.unanswered.get_or_insert(now);
    }

    /// The other side has shown that it lives: it sent something, or took what had not fitted.
    pub(crate) fn alive(&mut self) {
        self.unanswered = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(25);
    const TIMEOUT: Duration = Duration::from_secs(75);

    #[test]
    fn a_ping_without_an_answer_ends_in_death() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(INTERVAL, TIMEOUT, start);
        assert_eq!(heartbeat.due(start), Beat::Wait);
        let mut now = start;
        for _ in 0..3 {
            now += INTERVAL;
            assert_eq!(heartbeat.deadline(), now);
            assert_eq!(heartbeat.due(now), Beat::Ping);
            heartbeat.pinged(now);
        }
        assert_eq!(heartbeat.deadline(), start + INTERVAL + TIMEOUT);
        assert_eq!(heartbeat.due(heartbeat.deadline()), Beat::Dead);
    }

    #[test]
    fn any_answer_is_life() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(INTERVAL, TIMEOUT, start);
        heartbeat.pinged(start + INTERVAL);
        heartbeat.alive();
        assert_eq!(heartbeat.due(start + INTERVAL + TIMEOUT), Beat::Ping);
    }
}
