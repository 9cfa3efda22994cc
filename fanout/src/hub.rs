//! The hub: what keeps the streams that somebody on this node follows complete.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use common::{Cursor, Epoch, Event, Seq, Signal, Stream, ids::NodeId};
use metrics::counter;
use tokio::{sync::Notify, task::AbortHandle, time::timeout};
use tracing::{debug, warn};

use crate::{
    Settings, Source,
    bus::{Bus, Channel},
    canary::Canary,
    envelope,
    followed::{Followed, Learned},
    follower::Follower,
    log::{Head, Log, LogError, Page, Read},
    mailbox::Mailbox,
    presence::{Rooms, Trust},
    shared_log::SharedLog,
    streams::Streams,
};

/// Connects the followers on this node with the log and the bus.
///
/// Invariants: an event reaches followers only through its stream's sequencer; nothing here is needed by
/// another node.
pub struct Hub {
    /// Who sends our copies: the node's name and a random part, because two nodes may be given the
    /// same name, and a process is followed by another of that name.
    pub(crate) sender: NodeId,
    settings: Settings,
    pub(crate) log: SharedLog,
    bus: Arc<dyn Bus>,
    pub(crate) canary: Arc<Canary>,
    pub(crate) streams: Streams,
    /// The history that the log was last seen in.
    epoch: Mutex<Option<Epoch>>,
    /// Numbers the signals that this process sends, over all streams.
    signals_sent: AtomicU64,
    /// Who attends the streams followed here.
    pub(crate) rooms: Rooms,
    /// Counts the moments at which copies may have been lost.
    generation: AtomicU64,
    /// Asks the sweep not to wait for its interval.
    pub(crate) sweep_now: Notify,
    /// Set when the node stops; tasks look at it through their `Weak`.
    stopped: AtomicBool,
    canary_task: OnceLock<AbortHandle>,
    pub(crate) myself: OnceLock<Weak<Self>>,
}

/// How long opening a stream waits for the bus to confirm its subscription. Beyond it the stream is
/// opened all the same, and confirmed by the sweep later: a bus that is gone delays nobody.
const SUBSCRIBE_WAIT: Duration = Duration::from_millis(250);

/// Pauses between attempts to read the log for a follower that needs it.
const READ_RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

impl Hub {
    /// Builds the hub and starts its tasks, which end when it is dropped or [`Hub::stop`]ped.
    pub fn start(node: NodeId, settings: Settings, log: Arc<dyn Log>, bus: Arc<dyn Bus>) -> Arc<Self> {
        let hub = Arc::new(Self {
            canary: Canary::new(&node, bus.clone()),
            sender: sender_of(&node),
            log: SharedLog::start(log, settings.fills_max),
            streams: Streams::new(bus.clone(), &settings),
            settings,
            bus,
            epoch: Mutex::default(),
            signals_sent: AtomicU64::new(0),
            rooms: Rooms::default(),
            generation: AtomicU64::new(1),
            sweep_now: Notify::new(),
            stopped: AtomicBool::new(false),
            canary_task: OnceLock::new(),
            myself: OnceLock::new(),
        });
        let myself = Arc::downgrade(&hub);
        hub.myself.get_or_init(|| myself.clone());
        hub.bus.attach(myself.clone());
        let canary = tokio::spawn(hub.canary.clone().run(myself.clone()));
        hub.canary_task.get_or_init(|| canary.abort_handle());
        tokio::spawn(crate::sweep::run(myself));
        hub
    }

    /// Ends the tasks and the bus. Followers keep what they have.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(canary) = self.canary_task.get() {
            canary.abort();
        }
        self.bus.close();
        self.sweep_now.notify_one();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether copies arrive, as far as anything shows.
    pub fn bus_is_trusted(&self) -> bool {
        self.canary.is_heard()
    }

    /// The same, and since when.
    pub(crate) fn trust(&self) -> Trust {
        let generation = self.generation.load(Ordering::Acquire);
        Trust { trusted: self.bus_is_trusted(), generation }
    }

    /// Sends a copy to the other nodes. Call it without a lock that [`crate::bus::Inbox`] takes.
    pub(crate) fn publish(&self, channel: Channel, copy: Bytes) {
        self.bus.publish(channel, copy);
    }

    /// The interval at which the heads of followed streams are compared just now: the bound on how
    /// late an event can be that no copy announced.
    pub fn sweep_interval(&self) -> Duration {
        if self.bus_is_trusted() { self.settings.sweep_interval } else { self.settings.sweep_interval_unsure }
    }

    /// Follows a stream from a cursor on, or from its head. `mailbox` is marked with `slot` whenever
    /// something is due.
    ///
    /// The follower is registered before the position is read, so nothing falls between the two.
    ///
    /// # Errors
    /// When the position must be read and the store does not answer, or when the stream is new here and
    /// there are [`Settings::streams_max`] already. Nothing stays behind.
    ///
    /// Cancel-safe: a dropped call follows nothing.
    pub async fn follow(
        &self,
        stream: Stream,
        from: Option<&Cursor>,
        mailbox: Arc<Mailbox>,
        slot: u32,
    ) -> Result<Follower, LogError> {
        let (followed, seat) = self.streams.sit(stream, mailbox, slot)?;
        let seated = Seated { followed, seat: Some(seat) };
        let followed = &seated.followed;
        let fresh = self.open(followed).await?;
        // Committed on another node a moment ago, or of a history that this node has not heard of yet,
        // or of one that is over: only the log can tell.
        let beyond = from.is_some_and(|cursor| {
            let state = followed.state();
            state.sequencer.known_head() < cursor.seq || state.epoch.as_ref() != Some(&cursor.epoch)
        });
        if fresh {
            // The log has just been asked.
        } else if beyond {
            self.refresh(followed).await?;
        } else if !self.is_sure(followed) {
            // Memory is good enough while the store is down: what it lacks comes by the sweep.
            if let Err(error) = self.refresh(followed).await {
                debug!(stream = %followed.stream, %error, "the head cannot be read; following from memory");
            }
        }
        let (position, head) = {
            let state = followed.state();
            let epoch = state.epoch.clone();
            let tip = state.sequencer.tip();
            (epoch.zip(tip), state.sequencer.known_head())
        };
        let Some((epoch, tip)) = position else {
            return Err(LogError("the store's history changed during the request".to_owned()));
        };
        let mut follower = seated.into_follower(epoch, tip);
        if let Some(from) = from {
            follower.begin(from, head);
        }
        Ok(follower)
    }

    /// Reads a page for a follower, for as long as it takes: a store that is down is asked again.
    /// Concurrent calls for the same page share one read. Cancel-safe.
    pub async fn read(&self, read: Read) -> Page {
        let (mut pause, pause_max) = READ_RETRY;
        loop {
            match self.page(&read).await {
                Ok(page) => return page,
                Err(error) => debug!(stream = %read.stream, %error, "the page cannot be read; trying again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(pause_max);
        }
    }

    /// Reads a page, together with whoever else asks just now, and takes note of its history.
    pub(crate) async fn page(&self, read: &Read) -> Result<Page, LogError> {
        let page = self.log.page(read).await?;
        self.observe_epoch(&page.epoch);
        Ok(page)
    }

    /// Takes events that this node has committed: hands them to local followers and sends copies to
    /// the other nodes. `events` ascend in each stream.
    pub fn committed(&self, epoch: &Epoch, events: &[Arc<Event>]) {
        self.observe_epoch(epoch);
        for events in events.chunk_by(|event, next| event.stream == next.stream) {
            let Some(first) = events.first() else { continue };
            if let Some(followed) = self.streams.get(&first.stream) {
                self.offer(&followed, epoch, events, Source::Local);
            }
            for copy in envelope::events(&self.sender, epoch, events) {
                self.bus.publish(Channel::Stream(first.stream.clone()), copy);
            }
        }
    }

    /// Hands a signal to the followers of its stream that are live, here and on other nodes. Whether
    /// it reaches any is not known: it is stored nowhere and sent once.
    pub fn signal(&self, signal: Arc<Signal>) {
        let number = self.signals_sent.fetch_add(1, Ordering::Relaxed) + 1;
        let copy = envelope::signal(&self.sender, number, &signal);
        let channel = Channel::Stream(signal.stream.clone());
        if let Some(followed) = self.streams.get(&signal.stream) {
            followed.signal(signal);
        }
        self.bus.publish(channel, copy);
    }

    /// Says that an event exists, in case no copy of it ever came.
    pub fn announce(&self, epoch: &Epoch, stream: &Stream, seq: Seq) {
        let Some(followed) = self.streams.get(stream) else { return };
        if followed.announce(epoch, seq) {
            self.fill_if_missing(&followed, Source::GapFill);
        }
    }

    /// Says that these streams may have new events that nobody will tell of: they are compared with
    /// the log as soon as it answers.
    pub fn suspect(&self, streams: impl IntoIterator<Item = Stream>) {
        for stream in streams {
            if let Some(followed) = self.streams.get(&stream) {
                followed.state().confirmed = None;
            }
        }
        self.sweep_now.notify_one();
    }

    /// Wakes whoever follows a stream here, though nothing of it is due.
    pub fn rouse(&self, stream: &Stream) {
        if let Some(followed) = self.streams.get(stream) {
            followed.wake();
        }
    }

    /// Takes note of the history that the store was just seen in. When it is another one, every
    /// stream begins anew, and followers are sent the state.
    pub fn observe_epoch(&self, epoch: &Epoch) {
        let mut known = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() == Some(epoch) {
            return;
        }
        let before = known.replace(epoch.clone());
        drop(known);
        if let Some(before) = before {
            warn!(%before, now = %epoch, "the epoch of the store changed; every stream is opened again");
            counter!("draftwire_epoch_changes_total").increment(1);
            for followed in self.streams.all() {
                if followed.position().is_some_and(|position| position.epoch != *epoch) {
                    followed.close();
                }
            }
            self.sweep_now.notify_one();
        }
    }

    /// Makes sure that the stream's position is known. Returns whether it was asked for just now.
    async fn open(&self, followed: &Arc<Followed>) -> Result<bool, LogError> {
        if followed.is_open() {
            return Ok(false);
        }
        let failed = followed.openings_failed.load(Ordering::Acquire);
        let mut failure = followed.opening.lock().await;
        if followed.is_open() {
            return Ok(false);
        }
        // An attempt that was waited for has failed: who waited would fail after as long again, and one
        // after the other.
        if followed.openings_failed.load(Ordering::Acquire) != failed
            && let Some(error) = failure.as_ref()
        {
            return Err(error.clone());
        }
        // The head is read after the bus hears the stream: what is committed later is then copied.
        if self.bus.is_connected() {
            let confirmed = async {
                loop {
                    let notified = followed.subscribed_notify.notified();
                    if followed.subscribed.load(Ordering::Acquire) {
                        return;
                    }
                    notified.await;
                }
            };
            if timeout(SUBSCRIBE_WAIT, confirmed).await.is_err() {
                debug!(stream = %followed.stream, "the bus did not confirm the subscription in time");
            }
        }
        match self.refresh(followed).await {
            Ok(()) => {
                *failure = None;
                Ok(true)
            }
            Err(error) => {
                *failure = Some(error.clone());
                followed.openings_failed.fetch_add(1, Ordering::AcqRel);
                Err(error)
            }
        }
    }

    /// Whether the stream is complete up to what the bus could carry in the meantime.
    fn is_sure(&self, followed: &Followed) -> bool {
        self.bus_is_trusted()
            && followed.subscribed.load(Ordering::Acquire)
            && followed.state().confirmed == Some(self.generation.load(Ordering::Acquire))
    }

    /// From now on only what the log confirms anew counts as complete.
    pub(crate) fn doubt(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the sweep should look at the stream before its turn.
    pub(crate) fn is_due(&self, followed: &Followed) -> bool {
        let state = followed.state();
        let confirmed = state.confirmed == Some(self.generation.load(Ordering::Acquire));
        state.epoch.is_none() || (!confirmed && followed.subscribed.load(Ordering::Acquire))
    }

    /// Reads the head of one stream, together with whoever else asks just now.
    async fn refresh(&self, followed: &Arc<Followed>) -> Result<(), LogError> {
        let asked = Asked::now(self, followed);
        let (epoch, head) = self.log.head(&followed.stream).await?;
        self.observe_epoch(&epoch);
        self.learn(followed, &epoch, head, asked, Source::GapFill);
        Ok(())
    }

    /// Applies what the log says of a head, in the history that was last observed.
    pub(crate) fn learn(
        &self,
        followed: &Arc<Followed>,
        epoch: &Epoch,
        head: Head,
        asked: Asked,
        source: Source,
    ) {
        match followed.learn(epoch, head, asked.tip, asked.generation) {
            Learned::AsKnown => {}
            Learned::Opened | Learned::Behind => self.fill_if_missing(followed, source),
        }
    }

    pub(crate) fn offer(
        &self,
        followed: &Arc<Followed>,
        epoch: &Epoch,
        events: &[Arc<Event>],
        source: Source,
    ) {
        match followed.offer(epoch, events, source) {
            Some(released) => {
                source.released(released);
                self.fill_if_missing(followed, Source::GapFill);
            }
            None => {
                // Sent by a node that sees another history. Which one is right, the log says.
                counter!("draftwire_bus_messages_rejected_total", "reason" => "epoch").increment(1);
                followed.state().confirmed = None;
                self.sweep_now.notify_one();
            }
        }
    }
}

fn sender_of(node: &NodeId) -> NodeId {
    let unique = format!("{:08x}.{node}", rand::random::<u32>());
    let fitting: String = unique.chars().take(NodeId::CHARS_MAX).collect();
    fitting.parse().unwrap_or_else(|_| node.clone())
}

/// What held when a head was asked for. An answer confirms no more than that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    tip: Option<Seq>,
    generation: Option<u64>,
}

impl Asked {
    pub(crate) fn now(hub: &Hub, followed: &Followed) -> Self {
        let heard = followed.subscribed.load(Ordering::Acquire);
        let generation = heard.then(|| hub.generation.load(Ordering::Acquire));
        Self { tip: followed.state().sequencer.tip(), generation }
    }
}

/// A seat that is given back unless it becomes a follower's.
struct Seated {
    followed: Arc<Followed>,
    seat: Option<u32>,
}

impl Seated {
    fn into_follower(mut self, epoch: Epoch, tip: Seq) -> Follower {
        let seat = self.seat.take().unwrap_or(u32::MAX);
        Follower::new(self.followed.clone(), seat, epoch, tip)
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        if let Some(seat) = self.seat {
            self.followed.leave(seat);
        }
    }
}
