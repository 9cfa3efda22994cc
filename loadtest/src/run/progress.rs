//! How a run goes, on standard error: one line that is written over on a terminal, a line now and
//! then elsewhere.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// How often a plain line is written.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// How often a terminal's line is written over.
const TERMINAL_EVERY: Duration = Duration::from_millis(500);

/// The display.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    /// When a line was last written.
    shown: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), shown: None }
    }

    /// How often it is worth asking for a new line.
    pub(crate) fn every(&self) -> Duration {
        if self.terminal { TERMINAL_EVERY } else { PLAIN_EVERY }
    }

    /// Shows how it stands, unless that was shown just now.
    pub(crate) fn show(&mut self, line: impl FnOnce() -> String) {
        // Timers come a little early or late.
        if self.shown.is_some_and(|shown| shown.elapsed() < self.every().mul_f64(0.9)) {
            return;
        }
        self.shown = Some(Instant::now());
        let line = line();
        let mut out = std::io::stderr().lock();
        // A display that cannot be written to is no reason to stop.
        let _ = if self.terminal { write!(out, "\r\x1b[2K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    }

    /// Begins a new part of the run, which says at once what it is.
    pub(crate) fn part(&mut self, line: &str) {
        self.clear();
        eprintln!("{line}");
        self.shown = Some(Instant::now());
    }

    /// Leaves the line empty for what follows.
    pub(crate) fn clear(&mut self) {
        if self.terminal && self.shown.is_some() {
            eprint!("\r\x1b[2K");
        }
    }
}
