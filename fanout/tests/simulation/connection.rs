//! A connection of a device, as a session of the gateway handles one.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use common::{Cursor, Stream, protocol};
use fanout::{Attendance, Deliveries, Hub, Mailbox, Pending, Step, StreamReader};
use tokio::{sync::watch, time::sleep};

use crate::{log::ModelLog, marked, seen::Seen};

pub(crate) struct Connection {
    hub: Arc<Hub>,
    log: Arc<ModelLog>,
    seen: Arc<Mutex<Seen>>,
    stalled: watch::Receiver<bool>,
    habits: Habits,
    mailbox: Arc<Mailbox>,
    attendance: Option<Attendance>,
    followers: Vec<StreamReader>,
}

/// How a connection takes what it is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// How long events of the topic may wait for others, unless one is urgent.
    pub(crate) window: Duration,
    /// Bytes taken at a time.
    pub(crate) bytes_max: usize,
}

/// The slot of the user's stream, which alone has a state.
const USER: usize = 0;
const TOPIC: usize = 1;

/// The slot of presence, after those of the streams.
const PRESENCE: usize = 3;

impl Connection {
    /// Follows all streams of a device, from where it stopped.
    pub(crate) async fn open(
        hub: Arc<Hub>,
        log: Arc<ModelLog>,
        seen: Arc<Mutex<Seen>>,
        stalled: watch::Receiver<bool>,
        habits: Habits,
        streams: [Stream; 3],
        attends: Option<protocol::Device>,
    ) -> Option<Self> {
        let mailbox = Arc::<Mailbox>::default();
        seen.lock().unwrap().connects();
        let mut followers = Vec::new();
        for (slot, stream) in streams.into_iter().enumerate() {
            let from = seen.lock().unwrap().places[slot].cursor.clone();
            let slot_number = u32::try_from(slot).unwrap();
            let follower = hub.follow(stream, from.as_ref(), mailbox.clone(), slot_number).await.ok()?;
            if from.is_none() {
                seen.lock().unwrap().places[slot].cursor = Some(follower.head());
            }
            followers.push(follower);
        }
        let slot = u32::try_from(PRESENCE).unwrap();
        let attendance = attends.map(|who| hub.attend(&followers[TOPIC], who, mailbox.clone(), slot));
        Some(Self { hub, log, seen, stalled, habits, mailbox, attendance, followers })
    }

    /// Takes what is due until it is aborted.
    pub(crate) async fn run(mut self) {
        let mut ready: Vec<u32> = (0..self.followers.len() as u32).collect();
        loop {
            for slot in ready {
                match slot as usize {
                    PRESENCE => self.look(),
                    slot => self.advance(slot).await,
                }
            }
            ready = marked(&self.mailbox).await;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn look(&mut self) {
        if let Some(attendance) = &mut self.attendance {
            for message in attendance.due() {
                self.seen.lock().unwrap().presence(message.json());
            }
        }
    }

    /// Does what the follower in a slot needs, until that is nothing.
    async fn advance(&mut self, slot: usize) {
        loop {
            self.stalled.wait_for(|stalled| !stalled).await.unwrap();
            let held_back = |pending: Pending| pending.live && pending.events > 0 && !pending.urgent;
            if slot == TOPIC && !self.habits.window.is_zero() && held_back(self.followers[slot].pending()) {
                sleep(self.habits.window).await;
            }
            let pending = self.followers[slot].pending();
            let step = self.followers[slot].step(self.habits.bytes_max);
            self.compare(slot, pending, &step);
            match step {
                Step::Wait => return,
                Step::Send(due) => {
                    let mut seen = self.seen();
                    due.iter()
                        .flat_map(Deliveries::as_slice)
                        .for_each(|delivery| seen.event(slot, &delivery.event));
                }
                Step::Signals(due) => {
                    let mut seen = self.seen();
                    due.iter().for_each(|signal| seen.signal(slot, signal, self.followers[slot].stream()));
                }
                Step::Synced(seq) => self.seen().places[slot].synced(seq),
                Step::Read(read) => {
                    let page = self.hub.read(read).await;
                    let events = self.followers[slot].accept(&page);
                    let mut seen = self.seen();
                    events.iter().for_each(|event| seen.event(slot, event));
                }
                Step::Reset if slot == USER => self.restart(slot),
                Step::Reset => {
                    if !self.skip(slot) {
                        return;
                    }
                }
            }
        }
    }

    /// What a follower says is pending is what it then does.
    fn compare(&self, slot: usize, pending: Pending, step: &Step) {
        let agrees = match step {
            Step::Send(due) if pending.live => {
                let due: Vec<_> = due.iter().flat_map(Deliveries::as_slice).collect();
                let urgent = due.iter().any(|delivery| delivery.event.priority.is_urgent());
                due.len() <= pending.events
                    && (pending.urgent || !urgent)
                    && (due.len() < pending.events || urgent == pending.urgent)
            }
            Step::Send(_) => self.seen().places[slot].awaits_synced,
            Step::Signals(_) => pending.live && pending.events == 0,
            Step::Wait => pending.events == 0,
            Step::Synced(_) | Step::Read(_) | Step::Reset => !pending.live,
        };
        assert!(agrees, "{pending:?}, then {step:?}");
    }

    /// Goes on from the state.
    fn restart(&mut self, slot: usize) {
        let stream = self.followers[slot].stream().clone();
        let cursor = Cursor { epoch: self.log.epoch(), seq: self.log.head(&stream) };
        self.hub.observe_epoch(&cursor.epoch);
        self.followers[slot].restart(cursor.clone());
        let floor = self.log.floor(&stream);
        self.seen().places[slot].reset(cursor, floor);
    }

    /// Goes on without what cannot be had. Returns whether it could.
    fn skip(&mut self, slot: usize) -> bool {
        let Some(cursor) = self.followers[slot].skip() else { return false };
        let follower = &self.followers[slot];
        assert_eq!(follower.cursor(), cursor);
        let floor = self.log.floor(follower.stream());
        if let Some(place) = &self.seen().places[slot].cursor
            && place.epoch == cursor.epoch
            && self.log.has_one_history()
        {
            assert!(
                place.seq < cursor.seq && cursor.seq <= floor,
                "at {place}, skipped to {cursor} with the floor {floor} of {}",
                follower.stream()
            );
        }
        self.seen().places[slot].reset(cursor, floor);
        true
    }
}
