//! Batches reads of the log: one query for many readers.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::{
    Epoch, Stream,
    operations::{Operation, Outcome},
};
use metrics::{counter, gauge};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, sleep_until},
};

use crate::log::{HEADS_PER_CALL_MAX, Head, Heads, Log, LogError, Page, READS_PER_CALL_MAX, Read};

/// Requests for heads, and for pages, that wait at once; further ones wait to enter the queue.
const WAITERS_MAX: usize = 4096;

/// The log, queried for many readers at once.
pub(crate) struct LogBatcher {
    log: Arc<dyn Log>,
    heads: Batcher<Stream, (Epoch, Head)>,
    pages: Batcher<Read, Page>,
}

impl LogBatcher {
    /// Starts its tasks, which end when it is dropped. `pages_max` queries for pages are in flight at
    /// once.
    pub(crate) fn start(log: Arc<dyn Log>, pages_max: usize) -> Self {
        #[allow(clippy::cast_precision_loss)]
        gauge!("draftwire_log_waiters_max").set(WAITERS_MAX as f64);
        let limits =
            |keys_max, in_flight_max| BatchLimits { queue_max: WAITERS_MAX, keys_max, in_flight_max };
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
                    let began = Instant::now();
                    let pages = log.read(&reads).await;
                    Operation::LogPage.meter().record(Outcome::of(&pages), began.elapsed());
                    pages
                }
            }
        });
        Self { log, heads, pages }
    }

    /// Reads the head of a stream, together with other requests.
    pub(crate) async fn head(&self, stream: &Stream) -> Result<(Epoch, Head), LogError> {
        self.heads.get(stream.clone()).await
    }

    /// Reads a page, together with other requests.
    pub(crate) async fn page(&self, read: &Read) -> Result<Page, LogError> {
        self.pages.get(read.clone()).await
    }

    /// Reads the heads of many streams in a query of their own; at most [`HEADS_PER_CALL_MAX`].
    pub(crate) async fn heads(&self, streams: &[Stream]) -> Result<Heads, LogError> {
        heads_of(&*self.log, streams).await
    }

    /// Gives the history another name; see [`Log::rename_history`].
    pub(crate) async fn rename_history(&self, epoch: &Epoch) -> Result<(), LogError> {
        self.log.rename_history(epoch).await
    }

    /// Updates the gauges of waiting requests.
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

/// Collects the keys that are requested while earlier queries are in flight, and for a while after them, and
/// queries all of them at once, each key once. An idle store is queried without delay, a busy one with few
/// large queries.
struct Batcher<K, V> {
    queue: mpsc::Sender<(K, oneshot::Sender<Result<V, LogError>>)>,
}

/// How much a [`Batcher`] does at a time.
#[derive(Debug, Clone, Copy)]
struct BatchLimits {
    /// Requests in the queue; further ones wait to enter it.
    queue_max: usize,
    /// Distinct keys in one query.
    keys_max: usize,
    /// Queries in flight at once.
    in_flight_max: usize,
}

/// How long the last query took, and when it was answered.
#[derive(Debug, Clone, Copy)]
struct Last {
    took: Duration,
    at: Instant,
}

/// The pause after a query, as a multiple of its duration: the slower the store, the fewer and larger the
/// queries. So many reconnects at once take at most a quarter of the store's time.
const PAUSE: u32 = 3;

/// The longest pause: a client that resumes waits for it.
const PAUSE_MAX: Duration = Duration::from_millis(100);

impl Last {
    /// The earliest time of the next query.
    fn next_at(self) -> Instant {
        self.at + (self.took * PAUSE).min(PAUSE_MAX)
    }
}

impl<K, V> Batcher<K, V>
where
    K: Clone + Ord + Send + Sync + 'static,
    V: Clone + Send + 'static,
{
    /// Starts the task that queries. It ends when the batcher is dropped.
    ///
    /// `query` returns one value per key, in their order.
    fn start<F, R>(limits: BatchLimits, query: F) -> Self
    where
        F: Fn(Vec<K>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<V>, LogError>> + Send,
    {
        let (queue, mut waiters) =
            mpsc::channel::<(K, oneshot::Sender<Result<V, LogError>>)>(limits.queue_max);
        let in_flight = Arc::new(Semaphore::new(limits.in_flight_max));
        let query = Arc::new(query);
        let last: Arc<Mutex<Option<Last>>> = Arc::default();
        tokio::spawn(async move {
            // The permit first: while all queries are in flight, requests gather.
            while let Ok(permit) = in_flight.clone().acquire_owned().await {
                let Some((key, waiter)) = waiters.recv().await else { return };
                let next_at = last.lock().unwrap_or_else(PoisonError::into_inner).map(Last::next_at);
                if let Some(next_at) = next_at {
                    sleep_until(next_at).await;
                }
                let mut waiting: BTreeMap<K, Vec<oneshot::Sender<_>>> = BTreeMap::from([(key, vec![waiter])]);
                while waiting.len() < limits.keys_max {
                    let Ok((key, waiter)) = waiters.try_recv() else { break };
                    waiting.entry(key).or_default().push(waiter);
                }
                let (query, last) = (query.clone(), last.clone());
                tokio::spawn(async move {
                    let (keys, waiters): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
                    let count = keys.len();
                    let began = Instant::now();
                    let answer = match query(keys).await {
                        Ok(values) if values.len() == count => Ok(values),
                        Ok(_) => Err(LogError(
                            "it returned another number of values than it was queried for".to_owned(),
                        )),
                        Err(error) => Err(error),
                    };
                    let at = Instant::now();
                    *last.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(Last { took: at - began, at });
                    drop(permit);
                    match answer {
                        Ok(values) => {
                            for (waiters, value) in waiters.into_iter().zip(values) {
                                for waiter in waiters {
                                    // A reader that has gone away needs no answer.
                                    let _ = waiter.send(Ok(value.clone()));
                                }
                            }
                        }
                        Err(error) => {
                            for waiter in waiters.into_iter().flatten() {
                                let _ = waiter.send(Err(error.clone()));
                            }
                        }
                    }
                });
            }
        });
        Self { queue }
    }

    /// Requests one key. Cancel-safe: a dropped call leaves nothing behind.
    async fn get(&self, key: K) -> Result<V, LogError> {
        let gone = || LogError("the log reader has stopped".to_owned());
        let (waiter, answer) = oneshot::channel();
        self.queue.send((key, waiter)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// The requests in the queue.
    fn depth(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn what_is_asked_meanwhile_goes_out_together_and_once() {
        let queried: Arc<Mutex<Vec<Vec<u32>>>> = Arc::default();
        let gate = Arc::new(Semaphore::new(0));
        let limits = BatchLimits { queue_max: 100, keys_max: 10, in_flight_max: 1 };
        let batcher = Arc::new(Batcher::start(limits, {
            let (queried, gate) = (queried.clone(), gate.clone());
            move |keys: Vec<u32>| {
                queried.lock().unwrap().push(keys.clone());
                let gate = gate.clone();
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ok(keys.iter().map(|key| key * 2).collect())
                }
            }
        }));
        let first = tokio::spawn({
            let batcher = batcher.clone();
            async move { batcher.get(1).await.unwrap() }
        });
        while queried.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let rest: Vec<_> = [9, 7, 7]
            .map(|key| {
                let batcher = batcher.clone();
                tokio::spawn(async move { batcher.get(key).await.unwrap() })
            })
            .into();
        while batcher.depth() < 3 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
        assert_eq!(first.await.unwrap(), 2);
        for (answer, expected) in rest.into_iter().zip([18, 14, 14]) {
            assert_eq!(answer.await.unwrap(), expected);
        }
        assert_eq!(*queried.lock().unwrap(), [vec![1], vec![7, 9]]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_slow_question_waiters_gather_for_a_while() {
        let queried: Arc<Mutex<Vec<usize>>> = Arc::default();
        let limits = BatchLimits { queue_max: 1000, keys_max: 1000, in_flight_max: 1 };
        let batcher = Arc::new(Batcher::start(limits, {
            let queried = queried.clone();
            move |keys: Vec<u32>| {
                queried.lock().unwrap().push(keys.len());
                async move {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok(keys)
                }
            }
        }));
        let waiters = (0..100).map(|key| {
            let batcher = batcher.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(u64::from(key))).await;
                let asked_at = Instant::now();
                assert_eq!(batcher.get(key).await.unwrap(), key);
                // What is under way, the pause after it, and its own.
                assert!(asked_at.elapsed() <= Duration::from_millis(10 * (1 + u64::from(PAUSE) + 1) + 5));
            }
        });
        futures_util::future::join_all(waiters).await;
        assert_eq!(queried.lock().unwrap()[0], 1, "an idle store is queried at once");
        assert!(queried.lock().unwrap().len() <= 4, "{queried:?}");
    }

    #[tokio::test]
    async fn a_failure_reaches_every_asker() {
        let limits = BatchLimits { queue_max: 100, keys_max: 10, in_flight_max: 1 };
        let batcher = Batcher::<u32, u32>::start(limits, |_| async { Err(LogError("down".to_owned())) });
        let (one, two) = tokio::join!(batcher.get(1), batcher.get(2));
        assert!(one.is_err() && two.is_err());
    }
}
