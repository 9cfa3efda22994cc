//! The hub: the face of the fan-out. It connects the followers on this node with the log and the bus.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use common::{
    Cursor, Epoch, Event, Seq, Signal, Stream, ids::NodeId, protocol::Device, time::unix_micros, trace,
};
use metrics::counter;
use tokio::{task::AbortHandle, time::sleep};
use tracing::{debug, warn};

use crate::{
    LiveSettings, Settings,
    bus::{
        Bus, Channel, Inbox, Unsure,
        envelope::{self, Body, Envelope},
        hop,
    },
    canary::Canary,
    log::{Log, LogError, Page, Read},
    presence::{Attendance, PresenceList, Rooms},
    repair::{BusTrust, GapFill, HeadCheck, LogReader, Loss, LossReport, Origin, Sweep},
    stream::{LocalStream, Mailbox, MailboxSlot, Registry, Source, StreamReader},
    supervise::{RESTART_PAUSE, catch_panic, restart_on_panic},
    traces::trace_hop,
};

/// Takes what another process says to all nodes: who says it, and what. Called on the bus's task, so it must be short.
pub type NodeInbox = Box<dyn Fn(NodeId, &[u8]) + Send + Sync>;

/// Connects the followers on this node with the log and the bus.
///
/// Invariants: an event reaches followers only through its stream's sequencer; no other node needs anything
/// that is kept here.
pub struct Hub {
    /// The sender of this process's messages: the node's name and a random part, because two nodes may be
    /// given the same name, and a process is followed by another of that name.
    sender: NodeId,
    settings: LiveSettings,
    bus: Arc<dyn Bus>,
    registry: Arc<Registry>,
    canary: Arc<Canary>,
    trust: Arc<BusTrust>,
    log: Arc<LogReader>,
    gaps: Arc<GapFill>,
    heads: Arc<HeadCheck>,
    losses: Arc<LossReport>,
    rooms: Arc<Rooms>,
    /// Numbers the signals that this process sends, over all streams.
    signals_sent: AtomicU64,
    /// Where what other nodes say goes; empty until [`Hub::listen_to_nodes`].
    node_inbox: OnceLock<NodeInbox>,
    /// The tasks of the canary and the sweep.
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Hub {
    /// Builds the hub and starts its tasks, which end when it is dropped or [`Hub::stop`]ped.
    pub fn start(node: NodeId, settings: Settings, log: Arc<dyn Log>, bus: Arc<dyn Bus>) -> Arc<Self> {
        let sender = sender_of(&node);
        let settings: LiveSettings = Arc::new(ArcSwap::from_pointee(settings));
        let canary = Canary::new(&node, bus.clone());
        let registry = Arc::new(Registry::new(bus.clone(), &settings));
        let trust = Arc::new(BusTrust::new(canary.clone()));
        let log = Arc::new(LogReader::start(log, &settings.load(), registry.clone(), trust.clone()));
        let losses = Arc::new(LossReport::new(log.clone(), trust.clone()));
        let gaps = Arc::new(GapFill::new(settings.clone(), registry.clone(), log.clone(), losses.clone()));
        let heads = HeadCheck::new(bus.clone(), trust.clone(), log.clone(), gaps.clone(), losses.clone());
        let heads = Arc::new(heads);
        let rooms = Rooms::new(
            sender.clone(),
            settings.clone(),
            bus.clone(),
            registry.clone(),
            trust.clone(),
            log.clone(),
        );
        let sweep = Sweep::new(settings.clone(), registry.clone(), trust.clone(), log.clone(), heads.clone());
        let hub = Arc::new(Self {
            sender,
            settings,
            bus,
            registry,
            canary,
            trust,
            log,
            gaps,
            heads,
            losses,
            rooms: rooms.clone(),
            signals_sent: AtomicU64::new(0),
            node_inbox: OnceLock::new(),
            tasks: Mutex::default(),
        });
        let inbox = Arc::downgrade(&hub);
        hub.bus.attach(inbox.clone());
        let canary = tokio::spawn({
            let canary = hub.canary.clone();
            restart_on_panic("canary", move || canary.clone().run(inbox.clone()))
        });
        let sweep = tokio::spawn(sweep_for_ever(sweep, rooms));
        hub.tasks().extend([canary.abort_handle(), sweep.abort_handle()]);
        hub
    }

    /// Stops the tasks and closes the bus. Followers keep what they have.
    pub fn stop(&self) {
        self.tasks().drain(..).for_each(|task| task.abort());
        self.gaps.stop();
        self.losses.stop();
        self.rooms.stop();
        self.bus.close();
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<AbortHandle>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether messages arrive, as far as canaries show.
    pub fn bus_is_trusted(&self) -> bool {
        self.trust.is_trusted()
    }

    /// Returns the interval at which the heads of followed streams are compared with the log at present: the
    /// upper bound on the delay of an event whose message was lost.
    pub fn sweep_interval(&self) -> Duration {
        self.settings.load().sweep_interval_while(self.bus_is_trusted())
    }

    /// Replaces the settings. Streams and rooms that are there already keep their own bounds on recent events and on
    /// lists of members; `fills_max` and `presence_lease` stay as they were at the start.
    pub fn set_settings(&self, settings: Settings) {
        let before = self.settings.load();
        let (fills_max, presence_lease) = (before.fills_max, before.presence_lease);
        self.registry.set_recent_bytes_max(settings.recent_bytes_max);
        self.settings.store(Arc::new(Settings { fills_max, presence_lease, ..settings }));
        // It waits for an interval that may have been longer.
        self.trust.request_sweep();
    }

    /// Follows a stream from a cursor on, or from its head. `mailbox` is marked with `slot` whenever
    /// something is due.
    ///
    /// The follower is registered before the position is read, so nothing falls between the two.
    ///
    /// # Errors
    /// When the position must be read and the store does not answer, or when the stream is new on this node
    /// and there are [`Settings::streams_max`] already. Nothing is followed then.
    ///
    /// Cancel-safe: a dropped call follows nothing.
    pub async fn follow(
        &self,
        stream: Stream,
        from: Option<&Cursor>,
        mailbox: Arc<Mailbox>,
        slot: u32,
    ) -> Result<StreamReader, LogError> {
        let registration = self.registry.register(stream, MailboxSlot::new(mailbox, slot))?;
        let stream = registration.stream();
        let head_was_read = self.heads.open(stream).await?;
        if head_was_read {
            // Nothing is more recent.
        } else if from.is_some_and(|cursor| stream.is_beyond(cursor)) {
            // Committed on another node a moment ago, or of a history that this node does not know yet, or
            // of one that has ended: only the log can tell.
            self.heads.refresh(stream).await?;
        } else if !self.heads.is_confirmed(stream) {
            // Memory is good enough while the store is down: the sweep finds what it lacks.
            if let Err(error) = self.heads.refresh(stream).await {
                debug!(stream = %stream.name(), %error, "the head cannot be read; following from memory");
            }
        }
        if let Some(from) = from
            && self.losses.report_cursor(stream, from).await
        {
            self.heads.refresh(stream).await?;
        }
        StreamReader::open(registration, from)
    }

    /// Reads a page for a follower, again and again until the store answers. Concurrent calls for the same
    /// page share one read. Cancel-safe.
    pub async fn read(&self, read: Read) -> Page {
        self.log.page_with_retries(&read).await
    }

    /// Takes events that this node has committed: hands them to local followers and sends copies to the
    /// other nodes. `events` ascend in each stream.
    pub fn committed(&self, epoch: &Epoch, events: &[Arc<Event>]) {
        let committed_at = unix_micros();
        self.observe_epoch(epoch);
        for events in events.chunk_by(|event, next| event.stream == next.stream) {
            let Some(first) = events.first() else { continue };
            if let Some(stream) = self.registry.get(&first.stream) {
                self.offer(&stream, epoch, events, Source::Local);
            }
            for copy in envelope::events(&self.sender, epoch, committed_at, events) {
                self.bus.publish(Channel::Stream(first.stream.clone()), copy);
            }
        }
    }

    /// Hands a signal to the live followers of its stream, on this node and on others. Whether it reaches
    /// any is not known: it is stored nowhere and sent once.
    pub fn signal(&self, signal: Arc<Signal>) {
        let number = self.signals_sent.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(stream) = self.registry.get(&signal.stream) {
            stream.signal(signal.clone());
        }
        let publish = move |bus: &dyn Bus, sender: &NodeId, epoch: &Epoch, signal: &Signal| {
            let message = envelope::signal(sender, epoch, number, signal);
            bus.publish(Channel::Stream(signal.stream.clone()), message);
        };
        if let Some(epoch) = self.log.epoch() {
            return publish(&*self.bus, &self.sender, &epoch, &signal);
        }
        // A node that has just started.
        let (bus, sender, log) = (self.bus.clone(), self.sender.clone(), self.log.clone());
        tokio::spawn(async move {
            match log.head(&signal.stream).await {
                Ok((epoch, _)) => publish(&*bus, &sender, &epoch, &signal),
                Err(error) => debug!(stream = %signal.stream, %error, "a signal stays on this node"),
            }
        });
    }

    /// Makes a device present in the stream that the reader follows, for as long as the attendance lives.
    /// `mailbox` is marked with `slot` whenever [`Attendance::due`] has something, which is so at once.
    ///
    /// A device may attend several times, through several connections and nodes: it is present once, while
    /// any of them remains. Called on the Tokio runtime that the hub runs on.
    pub fn attend(
        &self,
        reader: &StreamReader,
        device: Device,
        mailbox: Arc<Mailbox>,
        slot: u32,
    ) -> Attendance {
        self.rooms.attend(reader.local_stream(), device, mailbox, slot)
    }

    /// The streams that somebody attends through this node, at this moment.
    pub fn attended(&self) -> Vec<Stream> {
        self.rooms.attended()
    }

    /// Returns who is present in the stream that the reader follows, without being present in it. Where nobody attends
    /// it through this node yet, that takes a third of a second: the other nodes are asked, and have the time to
    /// announce their members. Cancel-safe.
    pub async fn presence(&self, reader: &StreamReader) -> PresenceList {
        self.rooms.look(reader.local_stream()).await
    }

    /// Says something to the other nodes, at most once, over the channel of the control stream, which all of them follow.
    pub fn say_to_nodes(&self, body: &[u8]) {
        let Some(epoch) = self.log.epoch() else { return };
        let message = envelope::node(&self.sender, &epoch, body);
        self.bus.publish(Channel::Stream(Stream::Control), message);
    }

    /// Sets who takes what other nodes say. A second call is ignored.
    pub fn listen_to_nodes(&self, inbox: NodeInbox) {
        let _ = self.node_inbox.set(inbox);
    }

    /// The last event that is known of a stream that is followed here, and how many follow it; `None` for others.
    pub fn followed(&self, stream: &Stream) -> Option<(Option<Seq>, usize)> {
        self.registry.get(stream).map(|stream| (stream.known_head(), stream.followers()))
    }

    /// How many streams are followed here, or were a moment ago.
    pub fn streams(&self) -> usize {
        self.registry.len()
    }

    /// Notes that an event exists, in case no copy of it ever arrived.
    pub fn announce(&self, epoch: &Epoch, stream: &Stream, seq: Seq) {
        self.fill_up_to(epoch, stream, seq, Source::GapFill);
    }

    /// Notes that an event exists that no node has committed. No copy of it will come, so it is read at once.
    pub fn notice(&self, epoch: &Epoch, stream: &Stream, seq: Seq) {
        self.fill_up_to(epoch, stream, seq, Source::Notice);
    }

    fn fill_up_to(&self, epoch: &Epoch, stream: &Stream, seq: Seq, source: Source) {
        let Some(stream) = self.registry.get(stream) else { return };
        if stream.announce(epoch, seq) {
            self.gaps.fill_if_missing(&stream, source);
        }
    }

    /// Compares these streams with the log as soon as it answers: they may have new events that nobody
    /// announces.
    pub fn recheck(&self, streams: impl IntoIterator<Item = Stream>) {
        for stream in streams {
            if let Some(stream) = self.registry.get(&stream) {
                stream.unconfirm();
            }
        }
        self.trust.request_sweep();
    }

    /// Compares every followed stream with the log as soon as it answers: any may have new events that nobody
    /// announces.
    pub fn recheck_all(&self) {
        self.trust.invalidate();
        self.trust.request_sweep();
    }

    /// Wakes the followers of a stream on this node, though nothing of it is due.
    pub fn wake_followers(&self, stream: &Stream) {
        if let Some(stream) = self.registry.get(stream) {
            stream.wake_followers();
        }
    }

    /// Notes the epoch that the store was just seen in. When it is another one, every stream is opened again,
    /// and followers are sent the state.
    pub fn observe_epoch(&self, epoch: &Epoch) {
        self.log.observe_epoch(epoch);
    }

    fn offer(&self, stream: &Arc<LocalStream>, epoch: &Epoch, events: &[Arc<Event>], source: Source) {
        if stream.contradicts(epoch, events) {
            self.losses.report(epoch, stream, Loss::Contents);
        }
        match stream.offer(epoch, events, source) {
            Some(released) => {
                source.count_released(released);
                self.gaps.fill_if_missing(stream, Source::GapFill);
            }
            None => {
                // Sent by a node that sees another history. The log tells which one is right.
                counter!("draftwire_bus_messages_rejected_total", "reason" => "epoch").increment(1);
                stream.unconfirm();
                self.trust.request_sweep();
            }
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Inbox for Hub {
    fn message(&self, channel: &Channel, message: Bytes) {
        let name = match channel {
            Channel::Canary(_) => return self.canary.returned(channel, &message),
            Channel::Stream(name) => name,
        };
        if envelope::sender(&message) == Some(self.sender.as_str()) {
            // Local followers had it when it was committed.
            return;
        }
        let Some(stream) = self.registry.get(name) else { return };
        match envelope::decode(&message, name) {
            Ok(Envelope { sender, epoch, body }) => match (self.log.origin(&epoch, name), body) {
                (Origin::Stranger, _)
                | (Origin::Unknown, Body::Signal { .. } | Body::Presence(_) | Body::Node(_)) => {
                    counter!("draftwire_bus_messages_rejected_total", "reason" => "stranger").increment(1);
                }
                // Of a history that is not known, a stream that is not open yet holds events back.
                (origin, Body::Events { mut events, committed_at }) => {
                    let committed_at = committed_at.filter(|_| origin == Origin::Own);
                    let hop = committed_at.and_then(|at| hop::measure(at, unix_micros(), events.len()));
                    if trace::is_on()
                        && let Some(hop) = hop
                    {
                        trace_hop(&mut events, &sender, hop);
                    }
                    self.offer(&stream, &epoch, &events, Source::Bus);
                }
                (Origin::Own, Body::Signal { number, signal }) => stream.signal_from(&sender, number, signal),
                (Origin::Own, Body::Presence(body)) => self.rooms.announced(name, sender, body),
                (Origin::Own, Body::Node(body)) => {
                    if let Some(inbox) = self.node_inbox.get() {
                        inbox(sender, body);
                    }
                }
            },
            Err(error) => {
                counter!("draftwire_bus_messages_rejected_total", "reason" => error.label()).increment(1);
                debug!(stream = %name, %error, "rejected a message; the sweep finds the events that it carried");
            }
        }
    }

    fn subscribed(&self, channel: &Channel) {
        let Channel::Stream(name) = channel else { return };
        let Some(stream) = self.registry.get(name) else { return };
        stream.set_subscribed(true);
        self.rooms.subscribed(name);
        if stream.is_open() && self.heads.is_due(&stream) {
            self.trust.request_sweep();
        }
    }

    fn unsure(&self, why: Unsure) {
        warn!(
            reason = why.label(),
            "messages may have been lost; comparing every followed stream with the log"
        );
        counter!("draftwire_bus_unsure_total", "reason" => why.label()).increment(1);
        self.trust.invalidate();
        match why {
            Unsure::Disconnected => {
                self.registry.all().iter().for_each(|stream| stream.set_subscribed(false));
            }
            Unsure::Reconnected => self.rooms.wake_all(),
            Unsure::Lagged | Unsure::Deaf => {}
        }
        self.trust.request_sweep();
    }
}

async fn sweep_for_ever(mut sweep: Sweep, rooms: Arc<Rooms>) {
    loop {
        let round = async {
            let round = sweep.due().await;
            if round.trust_regained {
                rooms.wake_all();
            }
            sweep.run(round).await;
        };
        if catch_panic("sweep", round).await.is_err() {
            sleep(RESTART_PAUSE).await;
        }
    }
}

fn sender_of(node: &NodeId) -> NodeId {
    let unique = format!("{:08x}.{node}", rand::random::<u32>());
    let fitting: String = unique.chars().take(NodeId::CHARS_MAX).collect();
    fitting.parse().unwrap_or_else(|_| node.clone())
}
