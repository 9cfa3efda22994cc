//! What every scenario has besides its options: a display, and a user who may press Ctrl-C.

use crate::{interrupt::Interrupt, progress::Progress};

/// The surroundings of a run.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) progress: Progress,
    pub(crate) interrupt: Interrupt,
    /// Set once what was done is verified: then the first Ctrl-C has been heard, and ends nothing more.
    pub(crate) verifying: bool,
}

impl Stage {
    pub(crate) fn new(interrupt: Interrupt) -> Self {
        Self { progress: Progress::new(), interrupt, verifying: false }
    }
}
