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
    epoch: u64,
    down: bool,
    streams: BTreeMap<Stream, Kept>,
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
        let rng = StdRng::seed_from_u64(seed);
        Arc::new(Self { inner: Mutex::new(Inner { rng, epoch: 1, down: false, streams: BTreeMap::new() }) })
    }

    pub(crate) fn epoch(&self) -> Epoch {
        format!("e{}", self.inner.lock().unwrap().epoch).parse().unwrap()
    }

    /// It has never failed over.
    pub(crate) fn has_one_history(&self) -> bool {
        self.inner.lock().unwrap().epoch == 1
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.inner.lock().unwrap().down = down;
    }

    /// Commits an event: from here on it must reach everybody.
    pub(crate) fn append(&self, stream: &Stream) -> Arc<Event> {
        let mut inner = self.inner.lock().unwrap();
        let epoch = inner.epoch;
        let events = &mut inner.streams.entry(stream.clone()).or_default().events;
        let seq = events.len() as u64 + 1;
        // The body tells histories apart: the same number of another epoch is another event.
        let body = format!("{{\"epoch\":{epoch},\"seq\":{seq}}}");
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
        inner.epoch += 1;
        for kept in inner.streams.values_mut() {
            let lost = inner.rng.random_range(0..=3_usize);
            let left = kept.events.len().saturating_sub(lost).max(usize::try_from(kept.floor).unwrap());
            kept.events.truncate(left);
        }
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
        let epoch = self.epoch();
        let heads = {
            let inner = self.inner.lock().unwrap();
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
}

impl Inner {
    fn pages(&self, reads: &[Read]) -> Vec<Page> {
        let page = |read: &Read| {
            let epoch = format!("e{}", self.epoch).parse().unwrap();
            let mut page = Page { epoch, events: Vec::new(), floor: Seq(0) };
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
