//! The durable log as a model: a vector per stream. It answers late, and not at all while down.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use common::{Epoch, Event, Priority, Seq, Stream};
use fanout::log::{Head, Heads, Log, LogError, Page, Read};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::value::RawValue;

pub(crate) struct ModelLog {
    inner: Mutex<Inner>,
}

struct Inner {
    rng: StdRng,
    naming: Naming,
    epoch: u64,
    /// The last name that was given; no name is given twice.
    last_name: u64,
    /// How often another server has taken over.
    server: u64,
    /// The server on which the history got its name.
    named_on: u64,
    /// How often events were lost.
    losses: u64,
    down: bool,
    streams: BTreeMap<Stream, Kept>,
}

/// Where the history has its name from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// A failover is a new name by itself.
    Timeline,
    /// A row among the data, with the server that it was given on: whoever meets it on another server gives it
    /// a new one.
    Row,
}

#[derive(Default)]
struct Kept {
    events: Vec<Arc<Event>>,
    floor: u64,
}

/// Some events are urgent; which, their numbers tell.
pub(crate) fn priority(seq: Seq) -> Priority {
    match seq.0 % 9 {
        3 => Priority::High,
        7 => Priority::Critical,
        _ => Priority::Normal,
    }
}

impl ModelLog {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Self::named(seed, Naming::Timeline)
    }

    pub(crate) fn named(seed: u64, naming: Naming) -> Arc<Self> {
        let inner = Inner {
            rng: StdRng::seed_from_u64(seed),
            naming,
            epoch: 1,
            last_name: 1,
            server: 1,
            named_on: 1,
            losses: 0,
            down: false,
            streams: BTreeMap::new(),
        };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.inner.lock().unwrap().name()
    }

    /// It has never lost anything.
    pub(crate) fn has_one_history(&self) -> bool {
        self.inner.lock().unwrap().losses == 0
    }

    /// The bodies of the events that it holds after this one, in their order.
    pub(crate) fn bodies(&self, stream: &Stream, after: Seq) -> Vec<String> {
        let inner = self.inner.lock().unwrap();
        let events = inner.streams.get(stream).map(|kept| kept.events.iter()).into_iter().flatten();
        events.skip_while(|event| event.seq <= after).map(|event| event.payload.get().to_owned()).collect()
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.inner.lock().unwrap().down = down;
    }

    /// Commits an event: from here on it must reach everybody.
    pub(crate) fn append(&self, stream: &Stream) -> Arc<Event> {
        let mut inner = self.inner.lock().unwrap();
        inner.name();
        let (epoch, losses) = (inner.epoch, inner.losses);
        let events = &mut inner.streams.entry(stream.clone()).or_default().events;
        let seq = events.len() as u64 + 1;
        // The body tells histories apart: the same number after a loss is another event.
        let body = format!("{{\"epoch\":{epoch},\"seq\":{seq},\"losses\":{losses}}}");
        let event = Event::new(
            stream.clone(),
            Seq(seq),
            "TEST".parse().unwrap(),
            "device".parse().unwrap(),
            0,
            RawValue::from_string(body).unwrap(),
        );
        let event = Arc::new(event.with_priority(priority(Seq(seq))));
        events.push(event.clone());
        event
    }

    pub(crate) fn head(&self, stream: &Stream) -> Seq {
        let inner = self.inner.lock().unwrap();
        Seq(inner.streams.get(stream).map_or(0, |kept| kept.events.len() as u64))
    }

    pub(crate) fn floor(&self, stream: &Stream) -> Seq {
        Seq(self.inner.lock().unwrap().streams.get(stream).map_or(0, |kept| kept.floor))
    }

    /// Removes events up to a random one.
    pub(crate) fn retain(&self, stream: &Stream) {
        let mut inner = self.inner.lock().unwrap();
        let Some(head) = inner.streams.get(stream).map(|kept| kept.events.len() as u64) else { return };
        let floor = inner.rng.random_range(0..=head);
        let kept = inner.streams.get_mut(stream).unwrap();
        kept.floor = kept.floor.max(floor);
    }

    /// A failover to a replica that lacks the newest events: they are gone, and their numbers are
    /// used again, in a history of its own.
    pub(crate) fn fail_over(&self) {
        let mut guard = self.inner.lock().unwrap();
        let inner = &mut *guard;
        inner.losses += 1;
        inner.server += 1;
        if inner.naming == Naming::Timeline {
            inner.rename();
        }
        for kept in inner.streams.values_mut() {
            let lost = inner.rng.random_range(0..=3_usize);
            let left = kept.events.len().saturating_sub(lost).max(usize::try_from(kept.floor).unwrap());
            kept.events.truncate(left);
        }
    }

    /// A backup is restored in place: the newest events of a stream are gone, and no server or timeline tells.
    pub(crate) fn put_back(&self, stream: &Stream, head: usize) {
        let mut inner = self.inner.lock().unwrap();
        inner.losses += 1;
        inner.streams.get_mut(stream).unwrap().events.truncate(head);
    }

    async fn answer(&self) -> Result<(), LogError> {
        let (down, wait) = {
            let mut inner = self.inner.lock().unwrap();
            (inner.down, inner.rng.random_range(0..20))
        };
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if down { Err(LogError("down".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Log for ModelLog {
    async fn heads(&self, streams: &[Stream]) -> Result<Heads, LogError> {
        self.answer().await?;
        let heads = {
            let mut inner = self.inner.lock().unwrap();
            let epoch = inner.name();
            let head = |stream| {
                inner.streams.get(stream).map_or_else(Head::default, |kept| Head {
                    head: Seq(kept.events.len() as u64),
                    floor: Seq(kept.floor),
                })
            };
            Heads { epoch, heads: streams.iter().map(head).collect() }
        };
        // What is read may be old when it arrives.
        self.answer().await?;
        Ok(heads)
    }

    async fn read(&self, reads: &[Read]) -> Result<Vec<Page>, LogError> {
        self.answer().await?;
        let pages = self.inner.lock().unwrap().pages(reads);
        self.answer().await?;
        Ok(pages)
    }

    async fn rename_history(&self, epoch: &Epoch) -> Result<(), LogError> {
        self.answer().await?;
        {
            let mut inner = self.inner.lock().unwrap();
            if inner.naming == Naming::Row && inner.name() == *epoch {
                inner.rename();
            }
        }
        self.answer().await
    }
}

impl Inner {
    /// The name of the history, given anew where it is from another server.
    fn name(&mut self) -> Epoch {
        if self.naming == Naming::Row && self.named_on != self.server {
            self.rename();
        }
        format!("e{}", self.epoch).parse().unwrap()
    }

    fn rename(&mut self) {
        self.last_name += 1;
        self.epoch = self.last_name;
        self.named_on = self.server;
    }

    fn pages(&mut self, reads: &[Read]) -> Vec<Page> {
        let epoch = self.name();
        let page = |read: &Read| {
            let mut page = Page { epoch: epoch.clone(), events: Vec::new(), floor: Seq(0) };
            let Some(kept) = self.streams.get(&read.stream) else { return page };
            page.floor = Seq(kept.floor);
            if read.after >= page.floor {
                let from = usize::try_from(read.after.0).unwrap();
                page.events = kept.events.iter().skip(from).take(read.limit as usize).cloned().collect();
            }
            page
        };
        reads.iter().map(page).collect()
    }
}
