//! Users edit their drafts, and write down what becomes of it. An edit's latency counts from its intended
//! moment.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result};
use serde_json::json;
use testkit::{Ack, Refused};

use crate::{
    checks::{Change, Outcome},
    fleet::{Member, User},
};

/// One edit, from its intended moment on.
#[derive(Debug)]
pub(crate) struct Edit {
    pub(crate) change: Change,
    /// Whether it belongs to the load, or made the drafts before it.
    pub(crate) measured: bool,
    /// When it was to be sent.
    pub(crate) intended: Instant,
    /// When its answer came.
    pub(crate) answered: Option<Instant>,
}

/// Edits of the load by all users, for the progress display.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    sent: AtomicU64,
    acked: AtomicU64,
    failed: AtomicU64,
}

/// Every edit that a user has begun.
#[derive(Debug)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
    counts: Arc<Counts>,
}

/// What a ledger holds.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) edits: Vec<Edit>,
    /// Those that were acknowledged, by their events' numbers.
    acked: HashMap<u64, usize>,
}

impl Counts {
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Answered otherwise, or not in time.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Ledger {
    pub(crate) fn new(counts: Arc<Counts>) -> Self {
        Self { book: Mutex::default(), counts }
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an edit that is about to be sent. Until it is answered, its outcome is unknown.
    fn begin(&self, edit: Edit) -> usize {
        self.counts.sent.fetch_add(u64::from(edit.measured), Ordering::Relaxed);
        let mut book = self.book();
        book.edits.push(edit);
        book.edits.len() - 1
    }

    fn end(&self, index: usize, answer: &Result<Ack, Refused>) {
        let mut book = self.book();
        let Book { edits, acked } = &mut *book;
        let edit = &mut edits[index];
        let count = if answer.is_ok() { &self.counts.acked } else { &self.counts.failed };
        count.fetch_add(u64::from(edit.measured), Ordering::Relaxed);
        edit.answered = Some(Instant::now());
        if let Ok(Ack { seq: Some(seq), .. }) = answer {
            acked.insert(*seq, index);
        }
        edit.change.outcome = Outcome::of(answer);
    }
}

impl Book {
    /// The acknowledged edit that an event reports.
    pub(crate) fn acked(&self, seq: u64) -> Option<&Edit> {
        self.acked.get(&seq).and_then(|index| self.edits.get(*index))
    }
}

/// Makes a user's drafts, on its devices in turn.
///
/// # Errors
/// When one is refused.
pub(crate) async fn create_drafts(user: &User, count: u32) -> Result<()> {
    for number in 0..count {
        let device = &user.devices[number as usize % user.devices.len()].device;
        let draft = draft_id(number);
        let index = user.ledger.begin(Edit {
            change: change(device.name(), &draft, 0),
            measured: false,
            intended: Instant::now(),
            answered: None,
        });
        let answer = device.create(&draft, json!({})).await;
        user.ledger.end(index, &answer);
        answer.context("make the first drafts")?;
    }
    Ok(())
}

/// An edit that was to be sent at a moment, by any of the users on any of its devices, of any of its `drafts`.
pub(crate) fn edit_by_any(
    users: &[Arc<User>],
    drafts: u32,
    intended: Instant,
) -> impl Future<Output = ()> + Send + use<> {
    let user = Arc::clone(&users[rand::random_range(0..users.len())]);
    let member = Arc::clone(&user.devices[rand::random_range(0..user.devices.len())]);
    let draft = draft_id(rand::random_range(0..drafts));
    async move { edit(&member, &draft, intended, &user.ledger).await }
}

/// Sets the device's own field of the draft to the number of the change.
async fn edit(member: &Member, draft: &str, intended: Instant, ledger: &Ledger) {
    let mut number = member.turn.lock().await;
    *number += 1;
    let device = &member.device;
    let change = change(device.name(), draft, *number);
    let index = ledger.begin(Edit { change, measured: true, intended, answered: None });
    let answer = device.edit(draft, json!({ (device.name()): *number })).await;
    ledger.end(index, &answer);
}

fn draft_id(number: u32) -> String {
    format!("draft-{number}")
}

fn change(device: &str, draft: &str, value: u64) -> Change {
    Change { device: device.to_owned(), draft: draft.to_owned(), value, outcome: Outcome::Unknown }
}
