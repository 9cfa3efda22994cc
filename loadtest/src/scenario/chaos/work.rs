//! What clients ask for: edits of drafts and events of topics, at a rate that does not wait for answers.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use serde_json::{Value, json};
use testkit::{Publisher, Refused, Target, publisher::Form};
use tokio::time::{Instant, sleep};

use super::{
    history::{Content, Op, What},
    recorder::Clock,
};
use crate::{
    checks::Outcome,
    fleet::{Member, User},
};

/// The type of every event that is published.
const EVENT: &str = "CHANGE";

/// The device of requests over HTTP: their origin.
const BACKEND: &str = "backend";

/// How long a request is repeated that is not answered, or answered to come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pause before the first repetition; doubled with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The longest pause between repetitions.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Everything that was asked for.
#[derive(Debug)]
pub(super) struct Ledger {
    clock: Clock,
    /// With the place of its stream. A change's number is one more than its own place.
    ops: Mutex<Vec<(usize, Op)>>,
    acked: AtomicU64,
}

impl Ledger {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, ops: Mutex::default(), acked: AtomicU64::new(0) }
    }

    /// How many were acknowledged so far.
    pub(super) fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// How many were asked for so far.
    pub(super) fn asked(&self) -> usize {
        self.ops().len()
    }

    /// The changes of each of so many streams.
    pub(super) fn by_stream(&self, streams: usize) -> Vec<Vec<Op>> {
        let mut by_stream = vec![Vec::new(); streams];
        for (stream, op) in self.ops().iter() {
            by_stream[*stream].push(op.clone());
        }
        by_stream
    }

    fn ops(&self) -> MutexGuard<'_, Vec<(usize, Op)>> {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a change that is about to be asked for, whose content follows from its number. Until it is
    /// answered, its outcome is unknown.
    fn begin(
        &self,
        stream: usize,
        client: String,
        what: What,
        content: impl FnOnce(u64) -> (Content, Value),
    ) -> (u64, Value) {
        let mut ops = self.ops();
        let id = ops.len() as u64 + 1;
        let (content, body) = content(id);
        let invoked = self.clock.now();
        ops.push((
            stream,
            Op { id, client, what, content, invoked, answered: None, outcome: Outcome::Unknown },
        ));
        (id, body)
    }

    fn end(&self, id: u64, outcome: Outcome) {
        self.acked.fetch_add(u64::from(matches!(outcome, Outcome::Acked(_))), Ordering::Relaxed);
        let mut ops = self.ops();
        if let Some((_, op)) = usize::try_from(id - 1).ok().and_then(|at| ops.get_mut(at)) {
            op.answered = Some(self.clock.now());
            op.outcome = outcome;
        }
    }
}

/// A device as histories name it.
pub(super) fn label(user: &str, device: &str) -> String {
    format!("{user}/{device}")
}

/// Makes a draft.
pub(super) async fn create(
    user: &User,
    member: &Member,
    stream: usize,
    draft: &str,
    ledger: &Ledger,
) -> Result<(), Refused> {
    let device = &member.device;
    let what = What::Create { draft: draft.to_owned() };
    let (id, body) = ledger.begin(stream, label(&user.name, device.name()), what, |id| {
        let body = json!({ "made": id });
        (Content::new("DRAFT_CREATED", device.name(), &Value::from(draft), &body), body)
    });
    let answer = device.create(draft, body).await;
    ledger.end(id, Outcome::of(&answer));
    answer.map(drop)
}

/// Sets the device's own field of a draft to the number of the change. One device makes one edit after the
/// other.
pub(super) async fn edit(user: &User, member: &Member, stream: usize, draft: &str, ledger: &Ledger) {
    let _turn = member.turn.lock().await;
    let device = &member.device;
    let field = device.name();
    let what = What::Edit { draft: draft.to_owned(), field: field.to_owned() };
    let (id, patch) = ledger.begin(stream, label(&user.name, field), what, |id| {
        let patch = json!({ (field): id });
        (Content::new("DRAFT_UPDATED", field, &Value::from(draft), &patch), patch)
    });
    let answer = device.edit(draft, patch).await;
    ledger.end(id, Outcome::of(&answer));
}

/// Publishes to a topic from a device.
pub(super) async fn publish(user: &User, member: &Member, stream: usize, topic: &str, ledger: &Ledger) {
    let device = &member.device;
    let (id, data) = ledger
        .begin(stream, label(&user.name, device.name()), What::Publish, |id| published(device.name(), id));
    let answer = device.publish(topic, EVENT, data).await;
    ledger.end(id, Outcome::of(&answer));
}

fn published(origin: &str, id: u64) -> (Content, Value) {
    let data = json!({ "op": id });
    (Content::new(EVENT, origin, &Value::Null, &data), data)
}

/// Backends that publish over HTTP.
#[derive(Debug, Clone)]
pub(super) struct Backend(Publisher);

impl Backend {
    /// To the nodes at `urls` (`http://<host>:<port>`) in turn.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(super) fn new(urls: Vec<String>, token: &str) -> Result<Self> {
        Ok(Self(Publisher::new(urls, BACKEND)?.token(token)))
    }

    /// Publishes `count` events to a topic in one request, and repeats that under the same key until it is
    /// decided.
    pub(super) async fn post(&self, stream: usize, topic: &str, count: usize, ledger: &Ledger) {
        let mut ids = Vec::with_capacity(count);
        let mut events = Vec::with_capacity(count);
        for _ in 0..count {
            let what = What::Post { with: ids.first().copied() };
            let (id, data) = ledger.begin(stream, BACKEND.to_owned(), what, |id| published(BACKEND, id));
            ids.push(id);
            events.push(json!({ "event": EVENT, "data": data }));
        }
        let Some(key) = ids.first().map(|id| format!("change-{id}")) else { return };
        let decided = self.decide(&Target::topic(topic), &events, &key).await;
        for (id, seq) in ids.into_iter().zip(0..) {
            let outcome = match &decided {
                Outcome::Acked(first) => Outcome::Acked(first.map(|first| first + seq)),
                other => other.clone(),
            };
            ledger.end(id, outcome);
        }
    }

    /// What becomes of a request; acknowledged, with the number of its first event.
    async fn decide(&self, target: &Target, events: &[Value], key: &str) -> Outcome {
        let form = if events.len() == 1 { Form::One } else { Form::Array };
        let end = Instant::now() + PATIENCE;
        let mut backoff = BACKOFF_MIN;
        loop {
            match self.0.post(target, events, form, key).await {
                Ok(answer) if answer.status == 201 => return Outcome::Acked(answer.json["first"].as_u64()),
                Ok(answer) if answer.status < 500 && answer.status != 429 => {
                    let code = answer.json["code"].as_str();
                    return Outcome::Refused(code.map_or_else(|| answer.status.to_string(), str::to_owned));
                }
                // A proxy that gives up does not know either whether it was done.
                Ok(_) | Err(_) if Instant::now() >= end => return Outcome::Unknown,
                Ok(_) | Err(_) => {}
            }
            sleep(backoff.mul_f64(rand::random_range(0.5..=1.0))).await;
            backoff = (2 * backoff).min(BACKOFF_MAX);
        }
    }
}
