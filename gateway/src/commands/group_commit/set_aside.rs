//! Writes that another transaction keeps from being tried, apart from all others.
//!
//! A long transaction of an operator, or a node that hangs, holds the row of a stream, or a key. What needs it
//! is set aside in a lane of its own, with everything that has to come after it: for a stream all writes to it,
//! for a key what the same device writes to the same stream. The lane tries again and again, in transactions of
//! its own, until it succeeds or its writes have waited for as long as a write may. The batches of the shard
//! know nothing of it.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::{DeviceId, Stream, UserId};
use fanout::supervise::catch_panic;
use metrics::{counter, gauge};
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep, timeout_at},
};
use tracing::warn;

use super::{
    attempt::{Commits, Unfinished},
    batch::{Batch, Bounds},
    job::{Barrier, Job, Waiting},
    unavailable::Unavailable,
};
use crate::store::{Lock, Write};

/// Transactions of lanes at a time, per shard: each may hold a connection while it waits for a lock.
const LANES_AT_ONCE: usize = 2;

/// How long a lane waits in the queue of a lock at a time. It must queue: a stream that many nodes write to is
/// never free at the moment of a try that does not wait.
const LANE_LOCK_WAIT: Duration = Duration::from_millis(50);

/// The first and the longest pause between the attempts of a lane; each is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// How long a lane is kept after its last write. Clients repeat what was refused, and others write to the same
/// stream: the batches of the shard should not meet the lock again for each of them.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes of the writes of one lane. A write that is larger has a lane to itself.
const LANE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of the writes of all lanes of a shard.
const LANES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Whose writes to a stream share a lane: everybody's, or those of one device.
type Writer = Option<(UserId, DeviceId)>;

/// The lanes of one shard.
pub(super) struct SetAside {
    commits: Commits,
    /// Writes in all lanes ([`crate::config::Writes::queue_max`]); one lane may have a quarter.
    writes_max: usize,
    lanes: Mutex<Lanes>,
    turns: Semaphore,
}

/// Only lanes that have a task. Locked for moments.
#[derive(Default)]
struct Lanes {
    of_streams: HashMap<Stream, HashMap<Writer, Lane>>,
    size: Size,
}

#[derive(Default)]
struct Lane {
    jobs: VecDeque<Job>,
    /// What waits in `jobs` and what is being tried.
    size: Size,
    wake: Arc<Notify>,
}

/// The number and the bytes of the writes in a lane, or in all of them.
#[derive(Debug, Default, Clone, Copy)]
struct Size {
    writes: usize,
    bytes: usize,
}

impl SetAside {
    pub(super) fn new(writes_max: usize, commits: Commits) -> Arc<Self> {
        Arc::new(Self { commits, writes_max, lanes: Mutex::default(), turns: Semaphore::new(LANES_AT_ONCE) })
    }

    /// Takes a write that must not overtake one that is here. Returns what may go on; a barrier always does,
    /// and waits for the lanes of its stream as well.
    pub(super) fn take(&self, job: Job) -> Option<Job> {
        let mut lanes = self.lock();
        if lanes.of_streams.is_empty() {
            return Some(job);
        }
        match job {
            Job::Barrier(barrier) => {
                lanes.hold(&barrier);
                Some(Job::Barrier(barrier))
            }
            Job::Write(write, waiting) => {
                let stream = write.stream();
                let Some(writer) = lanes.lane_for(&stream, &write) else {
                    return Some(Job::Write(write, waiting));
                };
                self.push(&mut lanes, &stream, &writer, *write, waiting);
                None
            }
        }
    }

    /// Sets aside what could not be tried, and makes the barriers of the batch wait for it.
    pub(super) fn add(self: &Arc<Self>, locked: Vec<(Lock, Write, Waiting)>, barriers: &[Arc<Barrier>]) {
        if locked.is_empty() {
            return;
        }
        let mut lanes = self.lock();
        for (lock, write, waiting) in locked {
            let stream = write.stream();
            let writer = match lock {
                Lock::Stream => None,
                Lock::Key => Some((write.user.clone(), write.device.clone())),
            };
            counter!("draftwire_writes_set_aside_total", "why" => lock.label()).increment(1);
            let of_stream = lanes.of_streams.entry(stream.clone()).or_default();
            if !of_stream.contains_key(&writer) {
                warn!(%stream, lock = lock.label(), "another transaction holds a lock; the stream is set aside");
                of_stream.insert(writer.clone(), Lane::default());
                gauge!("draftwire_lanes_set_aside").increment(1.0);
                tokio::spawn(self.clone().run(stream.clone(), writer.clone()));
            }
            self.push(&mut lanes, &stream, &writer, write, waiting);
        }
        for barrier in barriers {
            lanes.hold(barrier);
        }
    }

    fn push(&self, lanes: &mut Lanes, stream: &Stream, writer: &Writer, write: Write, waiting: Waiting) {
        let all = lanes.size;
        let Some(lane) = lanes.of_streams.get_mut(stream).and_then(|lanes| lanes.get_mut(writer)) else {
            return waiting.refuse(Unavailable::Locked);
        };
        let bytes = waiting.size.bytes;
        let has_room = lane.size.writes == 0
            || lane.size.writes < self.writes_max.div_ceil(4) && lane.size.bytes + bytes <= LANE_BYTES_MAX;
        if !has_room || all.writes >= self.writes_max || all.bytes + bytes > LANES_BYTES_MAX {
            return waiting.refuse(Unavailable::Locked);
        }
        lane.size.add(bytes);
        lane.jobs.push_back(Job::Write(Box::new(write), waiting));
        lane.wake.notify_one();
        lanes.size.add(bytes);
        gauge!("draftwire_writes_set_aside").increment(1.0);
    }

    /// The task of a lane. After a panic there is no lane any more: what it held is refused, and what comes goes
    /// to the batches of the shard again.
    async fn run(self: Arc<Self>, stream: Stream, writer: Writer) {
        if catch_panic("set-aside lane", self.try_lane(&stream, &writer)).await.is_err() {
            self.give_up(&stream, &writer);
        }
    }

    /// Tries what is in the lane until nothing comes any more.
    async fn try_lane(self: &Arc<Self>, stream: &Stream, writer: &Writer) {
        let mut pause = PAUSE_MIN;
        while let Some(oldest) = self.until_filled(stream, writer).await {
            let wait_max = self.commits.live.node().writes.wait_max;
            let turn = timeout_at(oldest + wait_max, self.turns.acquire()).await;
            let batch = self.next_batch(stream, writer);
            let Batch { writes, waiting, barriers, .. } = batch;
            if writes.is_empty() {
                continue;
            }
            let sizes = waiting.iter().map(|waiting| waiting.size.bytes).collect::<Vec<_>>();
            let left = if turn.is_ok() {
                self.commits.run(writes, waiting, LANE_LOCK_WAIT).await
            } else {
                let locked = writes.into_iter().zip(waiting);
                Unfinished {
                    locked: locked.map(|(write, waiting)| (Lock::Stream, write, waiting)).collect(),
                    ..Unfinished::default()
                }
            };
            drop(turn);
            // A key holds up one device, which then leaves the lane of the whole stream.
            let by_key = |lock: &Lock| writer.is_none() && *lock == Lock::Key;
            let devices: HashSet<(UserId, DeviceId)> = left
                .locked
                .iter()
                .filter(|(lock, ..)| by_key(lock))
                .map(|(_, write, _)| (write.user.clone(), write.device.clone()))
                .collect();
            let stays_locked = left.locked.iter().any(|(lock, ..)| !by_key(lock));
            self.put_back(stream, writer, &sizes, left.locked, barriers);
            for device in devices {
                self.split(stream, device);
            }
            if stays_locked {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            } else {
                pause = PAUSE_MIN;
            }
        }
    }

    /// Waits until there is something in the lane. Returns since when the first has waited; `None` when nothing
    /// has come for a while: then the lane is gone.
    async fn until_filled(&self, stream: &Stream, writer: &Writer) -> Option<Instant> {
        let until = Instant::now() + LINGER;
        loop {
            let wake = {
                let mut lanes = self.lock();
                let lane = lanes.of_streams.get(stream)?.get(writer)?;
                match lane.jobs.front() {
                    Some(Job::Write(_, waiting)) => return Some(waiting.since),
                    Some(Job::Barrier(barrier)) => return Some(barrier.since),
                    None if Instant::now() >= until => {
                        lanes.remove(stream, writer);
                        return None;
                    }
                    None => lane.wake.clone(),
                }
            };
            // Whether it was woken or the time is over, the next look tells.
            let _ = timeout_at(until, wake.notified()).await.is_ok();
        }
    }

    /// Takes what fits into a batch, and refuses what has waited too long.
    fn next_batch(&self, stream: &Stream, writer: &Writer) -> Batch {
        let mut lanes = self.lock();
        let mut batch = Batch::default();
        let Lanes { of_streams, size } = &mut *lanes;
        let Some(lane) = of_streams.get_mut(stream).and_then(|lanes| lanes.get_mut(writer)) else {
            return batch;
        };
        let bounds = Bounds::new(&self.commits.live.node().writes);
        while batch.has_room(bounds)
            && let Some(job) = lane.jobs.pop_front()
        {
            match job {
                Job::Write(write, waiting) => {
                    let Some(unavailable) = self.commits.missed_its_turn(&waiting) else {
                        batch.add(Job::Write(write, waiting));
                        continue;
                    };
                    lane.size.remove(waiting.size.bytes);
                    size.remove(waiting.size.bytes);
                    gauge!("draftwire_writes_set_aside").decrement(1.0);
                    // What made it late.
                    let locked = unavailable == Unavailable::Late;
                    waiting.refuse(if locked { Unavailable::Locked } else { unavailable });
                }
                barrier @ Job::Barrier(_) => batch.add(barrier),
            }
        }
        batch
    }

    /// Accounts for a batch that was tried: what is still locked goes back to the front, in its order, with the
    /// barriers behind it.
    fn put_back(
        &self,
        stream: &Stream,
        writer: &Writer,
        tried: &[usize],
        locked: Vec<(Lock, Write, Waiting)>,
        barriers: Vec<Arc<Barrier>>,
    ) {
        let mut lanes = self.lock();
        let Lanes { of_streams, size } = &mut *lanes;
        let Some(lane) = of_streams.get_mut(stream).and_then(|lanes| lanes.get_mut(writer)) else { return };
        for bytes in tried {
            lane.size.remove(*bytes);
            size.remove(*bytes);
        }
        #[allow(clippy::cast_precision_loss)]
        gauge!("draftwire_writes_set_aside").decrement((tried.len() - locked.len()) as f64);
        if !locked.is_empty() {
            for barrier in barriers {
                lane.jobs.push_front(Job::Barrier(barrier));
            }
        }
        for (_, write, waiting) in locked.into_iter().rev() {
            lane.size.add(waiting.size.bytes);
            size.add(waiting.size.bytes);
            lane.jobs.push_front(Job::Write(Box::new(write), waiting));
        }
    }

    /// Removes a lane and refuses what waits in it. What was being tried has been dropped already.
    fn give_up(&self, stream: &Stream, writer: &Writer) {
        let mut lanes = self.lock();
        let Some(lane) = lanes.remove(stream, writer) else { return };
        lanes.size.writes = lanes.size.writes.saturating_sub(lane.size.writes);
        lanes.size.bytes = lanes.size.bytes.saturating_sub(lane.size.bytes);
        #[allow(clippy::cast_precision_loss)]
        gauge!("draftwire_writes_set_aside").decrement(lane.size.writes as f64);
        drop(lanes);
        for job in lane.jobs {
            // Barriers are answered by being dropped: everything before them has been.
            if let Job::Write(_, waiting) = job {
                waiting.refuse(Unavailable::Store);
            }
        }
    }

    /// Moves what a device has in the lane of a whole stream to a lane of its own.
    fn split(self: &Arc<Self>, stream: &Stream, device: (UserId, DeviceId)) {
        let mut lanes = self.lock();
        let Some(of_stream) = lanes.of_streams.get_mut(stream) else { return };
        let Some(whole) = of_stream.get_mut(&None) else { return };
        let (mut moved, mut stay) = (Lane::default(), VecDeque::new());
        for job in whole.jobs.drain(..) {
            match job {
                Job::Write(write, waiting) if (&write.user, &write.device) == (&device.0, &device.1) => {
                    whole.size.remove(waiting.size.bytes);
                    moved.size.add(waiting.size.bytes);
                    moved.jobs.push_back(Job::Write(write, waiting));
                }
                Job::Barrier(barrier) => {
                    moved.jobs.push_back(Job::Barrier(barrier.clone()));
                    stay.push_back(Job::Barrier(barrier));
                }
                job => stay.push_back(job),
            }
        }
        whole.jobs = stay;
        match of_stream.entry(Some(device.clone())) {
            // It was set aside before the stream was: what it has there comes first.
            Entry::Occupied(mut own) => {
                let own = own.get_mut();
                own.size.writes += moved.size.writes;
                own.size.bytes += moved.size.bytes;
                own.jobs.append(&mut moved.jobs);
                own.wake.notify_one();
            }
            Entry::Vacant(own) => {
                own.insert(moved);
                gauge!("draftwire_lanes_set_aside").increment(1.0);
                tokio::spawn(self.clone().run(stream.clone(), Some(device)));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        // Nothing that holds the lock can panic halfway.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes {
    /// The lane that a write has to go through, if there is one.
    fn lane_for(&self, stream: &Stream, write: &Write) -> Option<Writer> {
        let of_stream = self.of_streams.get(stream)?;
        let own = Some((write.user.clone(), write.device.clone()));
        // What the device has set aside already comes before what it writes now.
        [own, None].into_iter().find(|writer| of_stream.contains_key(writer))
    }

    /// Makes a barrier wait for everything of its stream that is here.
    fn hold(&mut self, barrier: &Arc<Barrier>) {
        for lane in self.of_streams.get_mut(&barrier.stream).into_iter().flat_map(HashMap::values_mut) {
            if lane.size.writes > 0 {
                lane.jobs.push_back(Job::Barrier(barrier.clone()));
                lane.wake.notify_one();
            }
        }
    }

    fn remove(&mut self, stream: &Stream, writer: &Writer) -> Option<Lane> {
        let of_stream = self.of_streams.get_mut(stream)?;
        let lane = of_stream.remove(writer);
        if lane.is_some() {
            gauge!("draftwire_lanes_set_aside").decrement(1.0);
        }
        if of_stream.is_empty() {
            self.of_streams.remove(stream);
        }
        lane
    }
}

impl Size {
    fn add(&mut self, bytes: usize) {
        self.writes += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: usize) {
        self.writes = self.writes.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
