//! The log as everybody on this node asks it: together, in few large questions.

use std::sync::Arc;

use common::{Epoch, Stream};
use metrics::{counter, gauge};

use crate::{
    batch::{BatchLimits, Batcher},
    log::{HEADS_PER_CALL_MAX, Head, Heads, Log, LogError, Page, READS_PER_CALL_MAX, Read},
};

/// Askers for heads or pages that wait at once; more wait to enter the queue.
const ASKERS_MAX: usize = 4096;

/// The log, asked for many at once.
pub(crate) struct SharedLog {
    log: Arc<dyn Log>,
    heads: Batcher<Stream, (Epoch, Head)>,
    pages: Batcher<Read, Page>,
}

impl SharedLog {
    /// Starts its tasks, which end when it is dropped. `pages_max` questions for pages are under way at once.
    pub(crate) fn start(log: Arc<dyn Log>, pages_max: usize) -> Self {
        let limits = |keys_max, in_flight_max| BatchLimits { queue_max: ASKERS_MAX, keys_max, in_flight_max };
        let heads = Batcher::start(limits(HEADS_PER_CALL_MAX, 1), {
            let log = log.clone();
            move |streams: Vec<Stream>| {
                let log = log.clone();
                async move {
                    let Heads { epoch, heads } = heads_of(&*log, &streams).await?;
                    Ok(heads.into_iter().map(|head| (epoch.clone(), head)).collect())
                }
            }
        });
        let pages = Batcher::start(limits(READS_PER_CALL_MAX, pages_max), {
            let log = log.clone();
            move |reads: Vec<Read>| {
                let log = log.clone();
                async move {
                    counter!("draftwire_log_read_queries_total").increment(1);
                    log.read(&reads).await
                }
            }
        });
        Self { log, heads, pages }
    }

    /// Where a stream stands, asked together with whoever else asks just now.
    pub(crate) async fn head(&self, stream: &Stream) -> Result<(Epoch, Head), LogError> {
        self.heads.get(stream.clone()).await
    }

    /// A page, asked for together with whoever else asks just now.
    pub(crate) async fn page(&self, read: &Read) -> Result<Page, LogError> {
        self.pages.get(read.clone()).await
    }

    /// Where many streams stand, in a question of its own; at most [`HEADS_PER_CALL_MAX`].
    pub(crate) async fn heads(&self, streams: &[Stream]) -> Result<Heads, LogError> {
        heads_of(&*self.log, streams).await
    }

    /// Shows how many wait.
    pub(crate) fn measure(&self) {
        #[allow(clippy::cast_precision_loss)]
        {
            gauge!("draftwire_log_waiters", "kind" => "heads").set(self.heads.depth() as f64);
            gauge!("draftwire_log_waiters", "kind" => "pages").set(self.pages.depth() as f64);
        }
    }
}

async fn heads_of(log: &dyn Log, streams: &[Stream]) -> Result<Heads, LogError> {
    counter!("draftwire_log_head_queries_total").increment(1);
    log.heads(streams).await
}
