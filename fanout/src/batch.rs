//! One question to the store for many askers.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, sleep_until},
};

use crate::log::LogError;

/// Collects the keys that are asked for while earlier questions are under way, and for a while after
/// them, and asks for all of them at once; the same key is asked for once. An idle store is asked without
/// delay, a busy one in few large questions.
pub(crate) struct Batcher<K, V> {
    queue: mpsc::Sender<(K, oneshot::Sender<Result<V, LogError>>)>,
}

/// How much a [`Batcher`] does at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    /// Askers in the queue; further ones wait to enter it.
    pub(crate) queue_max: usize,
    /// Distinct keys in one question.
    pub(crate) keys_max: usize,
    /// Questions under way at once.
    pub(crate) in_flight_max: usize,
}

/// How long the last question took, and when it was answered.
#[derive(Debug, Clone, Copy)]
struct Last {
    took: Duration,
    at: Instant,
}

/// The pause after a question, in times of what it took. So the askers of a storm have the store's time in
/// few large questions, the slower it is the fewer.
const PAUSE: u32 = 3;

/// The longest pause: whoever resumes waits for it.
const PAUSE_MAX: Duration = Duration::from_millis(100);

impl Last {
    /// From when on the next question may be asked.
    fn next_at(self) -> Instant {
        self.at + (self.took * PAUSE).min(PAUSE_MAX)
    }
}

impl<K, V> Batcher<K, V>
where
    K: Clone + Ord + Send + Sync + 'static,
    V: Clone + Send + 'static,
{
    /// Starts the task that asks. It ends when the batcher is dropped.
    ///
    /// `ask` answers one value per key, in their order.
    pub(crate) fn start<F, R>(limits: BatchLimits, ask: F) -> Self
    where
        F: Fn(Vec<K>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<V>, LogError>> + Send,
    {
        let (queue, mut askers) =
            mpsc::channel::<(K, oneshot::Sender<Result<V, LogError>>)>(limits.queue_max);
        let in_flight = Arc::new(Semaphore::new(limits.in_flight_max));
        let ask = Arc::new(ask);
        let last: Arc<Mutex<Option<Last>>> = Arc::default();
        tokio::spawn(async move {
            // The permit first: while all questions are under way, askers gather.
            while let Ok(permit) = in_flight.clone().acquire_owned().await {
                let Some((key, asker)) = askers.recv().await else { return };
                let next_at = last.lock().unwrap_or_else(PoisonError::into_inner).map(Last::next_at);
                if let Some(next_at) = next_at {
                    sleep_until(next_at).await;
                }
                let mut waiting: BTreeMap<K, Vec<oneshot::Sender<_>>> = BTreeMap::from([(key, vec![asker])]);
                while waiting.len() < limits.keys_max {
                    let Ok((key, asker)) = askers.try_recv() else { break };
                    waiting.entry(key).or_default().push(asker);
                }
                let (ask, last) = (ask.clone(), last.clone());
                tokio::spawn(async move {
                    let (keys, askers): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
                    let count = keys.len();
                    let began = Instant::now();
                    let answer = match ask(keys).await {
                        Ok(values) if values.len() == count => Ok(values),
                        Ok(_) => Err(LogError(
                            "it returned another number of values than it was asked for".to_owned(),
                        )),
                        Err(error) => Err(error),
                    };
                    let at = Instant::now();
                    *last.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(Last { took: at - began, at });
                    drop(permit);
                    match answer {
                        Ok(values) => {
                            for (askers, value) in askers.into_iter().zip(values) {
                                for asker in askers {
                                    // An asker that has gone away needs no answer.
                                    let _ = asker.send(Ok(value.clone()));
                                }
                            }
                        }
                        Err(error) => {
                            for asker in askers.into_iter().flatten() {
                                let _ = asker.send(Err(error.clone()));
                            }
                        }
                    }
                });
            }
        });
        Self { queue }
    }

    /// Asks for one key. Cancel-safe: a dropped call leaves nothing behind.
    pub(crate) async fn get(&self, key: K) -> Result<V, LogError> {
        let gone = || LogError("the log reader has stopped".to_owned());
        let (asker, answer) = oneshot::channel();
        self.queue.send((key, asker)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Askers in the queue.
    pub(crate) fn depth(&self) -> usize {
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
        let asked: Arc<Mutex<Vec<Vec<u32>>>> = Arc::default();
        let gate = Arc::new(Semaphore::new(0));
        let limits = BatchLimits { queue_max: 100, keys_max: 10, in_flight_max: 1 };
        let batcher = Arc::new(Batcher::start(limits, {
            let (asked, gate) = (asked.clone(), gate.clone());
            move |keys: Vec<u32>| {
                asked.lock().unwrap().push(keys.clone());
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
        while asked.lock().unwrap().is_empty() {
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
        assert_eq!(*asked.lock().unwrap(), [vec![1], vec![7, 9]]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_slow_question_askers_gather_for_a_while() {
        let asked: Arc<Mutex<Vec<usize>>> = Arc::default();
        let limits = BatchLimits { queue_max: 1000, keys_max: 1000, in_flight_max: 1 };
        let batcher = Arc::new(Batcher::start(limits, {
            let asked = asked.clone();
            move |keys: Vec<u32>| {
                asked.lock().unwrap().push(keys.len());
                async move {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok(keys)
                }
            }
        }));
        let askers = (0..100).map(|key| {
            let batcher = batcher.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(u64::from(key))).await;
                let asked_at = Instant::now();
                assert_eq!(batcher.get(key).await.unwrap(), key);
                // What is under way, the pause after it, and its own.
                assert!(asked_at.elapsed() <= Duration::from_millis(10 * (1 + u64::from(PAUSE) + 1) + 5));
            }
        });
        futures_util::future::join_all(askers).await;
        assert_eq!(asked.lock().unwrap()[0], 1, "an idle store is asked at once");
        assert!(asked.lock().unwrap().len() <= 4, "{asked:?}");
    }

    #[tokio::test]
    async fn a_failure_reaches_every_asker() {
        let limits = BatchLimits { queue_max: 100, keys_max: 10, in_flight_max: 1 };
        let batcher = Batcher::<u32, u32>::start(limits, |_| async { Err(LogError("down".to_owned())) });
        let (one, two) = tokio::join!(batcher.get(1), batcher.get(2));
        assert!(one.is_err() && two.is_err());
    }
}
