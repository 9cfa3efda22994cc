//! Reads of the store on behalf of clients: bounded, so that they leave connections for commits.
//!
//! After a failover every connection needs its user's drafts at once. Reads run a few at a time;
//! beyond a number of waiting ones, or after a while of waiting, they are refused. Each runs in a task
//! of its own: a client that does not read what it asked for must not hold a database connection
//! meanwhile.

use std::{sync::Arc, time::Duration};

use common::{DraftId, Seq, Stream, UserId, protocol::Draft};
use fanout::log::Read;
use metrics::gauge;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{failure::Failure, group_commit::Unavailable};
use crate::store::{DraftList, History, Store, StoreError};

/// Reads that wait for their turn. Past it they are refused: who repeats them later is served sooner.
const WAITING_MAX: usize = 1024;

/// How long a read may wait for its turn: together with the store's time limit, the longest that a
/// client waits. A thousand reads of a store that is slow would otherwise wait for minutes.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);

/// A place to wait in, shown in the metric for as long as it is taken.
struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn take(places: &Arc<Semaphore>) -> Option<Self> {
        let permit = places.clone().try_acquire_owned().ok()?;
        gauge!("draftwire_reads_waiting").increment(1.0);
        Some(Self { _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        gauge!("draftwire_reads_waiting").decrement(1.0);
    }
}

/// Reads drafts and history, a few at a time.
#[derive(Clone)]
pub struct Reads {
    store: Arc<dyn Store>,
    /// Places to wait in, those that are being served included.
    places: Arc<Semaphore>,
    /// Reads under way.
    turns: Arc<Semaphore>,
}

impl Reads {
    /// Reads over this store, `turns_max` at a time.
    pub fn new(store: Arc<dyn Store>, turns_max: usize) -> Self {
        #[allow(clippy::cast_precision_loss)]
        gauge!("draftwire_reads_waiting_max").set(WAITING_MAX as f64);
        let turns = Arc::new(Semaphore::new(turns_max));
        Self { store, places: Arc::new(Semaphore::new(WAITING_MAX)), turns }
    }

    /// A user's drafts, with the position at which they stand. Cancel-safe.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn list(&self, user: UserId) -> Result<DraftList, Failure> {
        self.run(|store| async move { store.drafts(&user).await }).await
    }

    /// One draft, if it is there. Cancel-safe.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn draft(&self, user: UserId, id: DraftId) -> Result<Option<Draft>, Failure> {
        self.run(|store| async move { store.draft(&user, &id).await }).await
    }

    /// Up to `limit` events of a stream after a cursor, with the stream's head, floor and epoch. A page
    /// is also bounded by bytes, so it may end early; it is complete when its last event is the head.
    /// Cancel-safe.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn history(&self, stream: Stream, after: Seq, limit: u32) -> Result<History, Failure> {
        let read = Read { stream, after, limit };
        self.run(|store| async move { store.history(&read).await }).await
    }

    async fn run<T, R>(&self, read: impl FnOnce(Arc<dyn Store>) -> R) -> Result<T, Failure>
    where
        T: Send + 'static,
        R: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let place = Place::take(&self.places).ok_or(Unavailable::Full)?;
        let turns = self.turns.clone();
        let read = read(self.store.clone());
        let task = tokio::spawn(async move {
            let _place = place;
            // Never closed; if it were, the store's own bound would still hold.
            let _turn = timeout(TURN_WAIT_MAX, turns.acquire_owned()).await.map_err(|_| Unavailable::Late)?;
            read.await.map_err(Failure::from)
        });
        task.await.map_err(|_| Unavailable::Store)?
    }
}
