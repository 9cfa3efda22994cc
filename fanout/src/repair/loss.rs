//! Notices that the log lacks what was acknowledged or announced in its history.
//!
//! A restored backup, or a replica that took over without the newest events, reuses their numbers. Where the
//! store cannot see that by itself, somebody who remembers has to say so, before cursors of the old history are
//! taken for positions in the new one: then the history is given another name, for every node.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{Cursor, Epoch, Stream, operations::Tally};
use metrics::counter;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::{log_reader::LogReader, trust::BusTrust};
use crate::{stream::LocalStream, supervise::catch_panic};

/// The pause between attempts to rename the history while the store does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// What shows that the log lacks events of its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its head is before an event that was known when the head was asked for.
    Head,
    /// An event has the number of another one.
    Contents,
    /// A client has seen more.
    Cursor,
}

impl Loss {
    fn label(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Contents => "contents",
            Self::Cursor => "cursor",
        }
    }
}

/// Has the history renamed when it lacks events.
pub(crate) struct LossReport {
    log: Arc<LogReader>,
    trust: Arc<BusTrust>,
    renaming: AtomicBool,
    stopped: AtomicBool,
}

impl LossReport {
    pub(crate) fn new(log: Arc<LogReader>, trust: Arc<BusTrust>) -> Self {
        Self { log, trust, renaming: AtomicBool::new(false), stopped: AtomicBool::new(false) }
    }

    /// Ends the task that waits for a store that does not answer.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Has the history renamed, in a task that tries until the store answers. One at a time: whatever else
    /// shows the same loss leads to the same name.
    pub(crate) fn report(self: &Arc<Self>, epoch: &Epoch, stream: &Arc<LocalStream>, loss: Loss) {
        if self.renaming.swap(true, Ordering::AcqRel) {
            return;
        }
        note(epoch, stream.name(), loss);
        let (losses, epoch, stream) = (self.clone(), epoch.clone(), stream.clone());
        tokio::spawn(async move {
            let rename = async {
                while let Err(error) = losses.log.rename_history(&epoch).await {
                    debug!(%error, "the history cannot be renamed; trying again");
                    sleep(RETRY).await;
                    if losses.stopped.load(Ordering::Acquire) {
                        return;
                    }
                }
            };
            // After a panic the next one who notices the loss reports it again.
            let _ = catch_panic("history renaming", rename).await;
            losses.renaming.store(false, Ordering::Release);
            // The sweep reads the new name.
            stream.unconfirm();
            losses.trust.request_sweep();
        });
    }

    /// Has the history renamed if a client's cursor is in it and beyond its end, and there is reason to believe
    /// the client. Returns whether the stream's head has to be read again.
    pub(crate) async fn report_cursor(&self, stream: &LocalStream, cursor: &Cursor) -> bool {
        let in_history = stream.position().is_some_and(|position| position.epoch == cursor.epoch);
        if !in_history || !stream.is_beyond(cursor) || !self.log.take_doubt() {
            return false;
        }
        note(&cursor.epoch, stream.name(), Loss::Cursor);
        match self.log.rename_history(&cursor.epoch).await {
            Ok(()) => true,
            Err(error) => {
                debug!(%error, "the history cannot be renamed");
                false
            }
        }
    }
}

fn note(epoch: &Epoch, stream: &Stream, loss: Loss) {
    warn!(%epoch, %stream, reason = loss.label(), "the log lacks events of its history; renaming the history");
    Tally::Losses.add(1);
    counter!("draftwire_history_losses_total", "reason" => loss.label()).increment(1);
}
