//! One question to the store for many askers.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::log::LogError;

/// Collects the keys that are asked for while earlier questions are under way, and asks for all of
/// them at once; the same key is asked for once. An idle store is asked without delay, a busy one in
/// few large questions.
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
        tokio::spawn(async move {
            // The permit first: while all questions are under way, askers gather.
            while let Ok(permit) = in_flight.clone().acquire_owned().await {
                let Some((key, asker)) = askers.recv().await else { return };
                let mut waiting: BTreeMap<K, Vec<oneshot::Sender<_>>> = BTreeMap::from([(key, vec![asker])]);
                while waiting.len() < limits.keys_max {
                    let Ok((key, asker)) = askers.try_recv() else { break };
                    waiting.entry(key).or_default().push(asker);
                }
                let ask = ask.clone();
                tokio::spawn(async move {
                    let (keys, askers): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
                    let count = keys.len();
                    let answer = match ask(keys).await {
                        Ok(values) if values.len() == count => Ok(values),
                        Ok(_) => Err(LogError("it answered something else".to_owned())),
                        Err(error) => Err(error),
                    };
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
        let gone = || LogError("the reader has stopped".to_owned());
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

    #[tokio::test]
    async fn a_failure_reaches_every_asker() {
        let limits = BatchLimits { queue_max: 100, keys_max: 10, in_flight_max: 1 };
        let batcher = Batcher::<u32, u32>::start(limits, |_| async { Err(LogError("down".to_owned())) });
        let (one, two) = tokio::join!(batcher.get(1), batcher.get(2));
        assert!(one.is_err() && two.is_err());
    }
}
