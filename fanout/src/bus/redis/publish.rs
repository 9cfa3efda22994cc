//! The publishing side: the queue's other end.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::{Duration, Instant},
};

use common::operations::{Operation, Outcome};
use fred::{
    clients::Pipeline,
    error::Error,
    prelude::{Client, PubsubInterface, Value},
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::sleep};

use super::{
    backoff::Backoff,
    outgoing::{Dropped, Outgoing},
    session::{Ended, Session, Side, hint, report_ended, report_up},
    shared::Shared,
};
use crate::{
    bus::metrics as names,
    supervise::{RESTART_PAUSE, catch_panic},
};

/// Copies published in one pipeline, and pipelines in flight.
const PIPELINE_MESSAGES_MAX: usize = 128;
const PIPELINES_MAX: usize = 16;

/// How often it is said that Redis refuses what is published. It may refuse every copy.
const REFUSALS_SAID_INTERVAL: Duration = Duration::from_secs(10);

/// Connects and publishes, for ever.
pub(super) async fn publish_for_ever(shared: Arc<Shared>, mut outgoing: mpsc::Receiver<Outgoing>) {
    while catch_panic("bus publisher", reconnect_for_ever(&shared, &mut outgoing)).await.is_err() {
        shared.publishing.store(false, Ordering::Relaxed);
        sleep(RESTART_PAUSE).await;
    }
}

/// Returns when nobody can publish any more.
async fn reconnect_for_ever(shared: &Shared, outgoing: &mut mpsc::Receiver<Outgoing>) {
    let mut backoff = Backoff::default();
    let mut first = true;
    loop {
        let connected = tokio::select! {
            connected = Session::connect(shared) => connected,
            () = drop_all(outgoing) => return,
        };
        let since = Instant::now();
        let (ended, lasted) = match connected {
            Ok(session) => {
                report_up(Side::Publish, std::mem::take(&mut first));
                shared.publishing.store(true, Ordering::Relaxed);
                let ended = publish(shared, session, outgoing).await;
                shared.publishing.store(false, Ordering::Relaxed);
                (ended, since.elapsed())
            }
            Err(ended) => (ended, Duration::ZERO),
        };
        if matches!(ended, Ended::Asked | Ended::ClusterChanged) {
            backoff.reset();
        }
        if matches!(ended, Ended::ClusterChanged) {
            // Publishing meets a slot that has moved long before listening does.
            shared.rebuild();
        }
        let wait = backoff.next(lasted);
        report_ended(Side::Publish, &ended, wait);
        tokio::select! {
            () = sleep(wait) => {}
            () = drop_all(outgoing) => return,
        }
    }
}

/// Drops what is published while Redis is away. Returns when nobody can publish any more.
async fn drop_all(outgoing: &mut mpsc::Receiver<Outgoing>) {
    metrics::gauge!(names::PUBLISH_QUEUE_DEPTH).set(0);
    let mut copies = Vec::new();
    while outgoing.recv_many(&mut copies, PIPELINE_MESSAGES_MAX).await > 0 {
        Dropped::Disconnected.count(copies.len());
        copies.clear();
    }
}

/// Publishes until the session ends. Several pipelines are in flight; none waits for another's answer.
async fn publish(shared: &Shared, mut session: Session, outgoing: &mut mpsc::Receiver<Outgoing>) -> Ended {
    let client = session.client.clone();
    let mut ended = pin!(session.ended());
    let mut pipelines = FuturesUnordered::new();
    let mut unanswered = 0;
    let mut batch = Vec::with_capacity(PIPELINE_MESSAGES_MAX);
    let mut refusals = Refusals::default();
    let ended = loop {
        metrics::gauge!(names::PUBLISH_QUEUE_DEPTH).set(outgoing.len() as f64);
        tokio::select! {
            ended = &mut ended => break ended,
            Some(answered @ Answered { sent, .. }) = pipelines.next() => {
                unanswered -= sent;
                answered.count(&mut refusals);
            }
            received = outgoing.recv_many(&mut batch, PIPELINE_MESSAGES_MAX),
                if pipelines.len() < PIPELINES_MAX =>
            {
                if received == 0 {
                    break Ended::Asked;
                }
                let waiting = batch.len();
                batch.retain(|copy: &Outgoing| !copy.is_stale());
                Dropped::Stale.count(waiting - batch.len());
                let copies = std::mem::replace(&mut batch, Vec::with_capacity(PIPELINE_MESSAGES_MAX));
                let sent = copies.len();
                let mut pipeline = Box::pin(send(pipeline(shared, &client, &copies).await, copies));
                // Polled at once, the pipeline enters the connection now, before any later one: that
                // keeps the order of copies.
                match poll_fn(|cx| Poll::Ready(pipeline.as_mut().poll(cx))).await {
                    Poll::Ready(answered) => answered.count(&mut refusals),
                    Poll::Pending => {
                        unanswered += sent;
                        pipelines.push(pipeline);
                    }
                }
            }
        }
    };
    Dropped::Failed.count(unanswered);
    ended
}

/// Puts the copies together. Nothing is sent yet, so this does not wait for Redis.
async fn pipeline(shared: &Shared, client: &Client, copies: &[Outgoing]) -> Pipeline<Client> {
    let pipeline = client.pipeline();
    for outgoing in copies {
        // What could go wrong comes with the answers.
        let name = shared.name(&outgoing.channel);
        let _ = pipeline.spublish::<(), _, _>(name, outgoing.copy.clone()).await;
    }
    pipeline
}

/// What Redis has said to a pipeline.
struct Answered {
    sent: usize,
    taken: usize,
    /// Why it has not taken one of them.
    refused: Option<Error>,
}

/// Sends a pipeline. Everything is on its way after the first poll.
async fn send(pipeline: Pipeline<Client>, copies: Vec<Outgoing>) -> Answered {
    let mut answered = Answered { sent: copies.len(), taken: 0, refused: None };
    let answers = pipeline.try_all::<Value>().await;
    let now = Instant::now();
    for (answer, copy) in answers.into_iter().zip(&copies) {
        Operation::Publish.meter().record(Outcome::of(&answer), now.duration_since(copy.queued_at));
        match answer {
            Ok(_) => answered.taken += 1,
            Err(error) => answered.refused = Some(error),
        }
    }
    answered
}

impl Answered {
    fn count(self, refusals: &mut Refusals) {
        metrics::counter!(names::MESSAGES_PUBLISHED).increment(self.taken as u64);
        Dropped::Failed.count(self.sent.saturating_sub(self.taken));
        if let Some(error) = self.refused {
            refusals.say(&error);
        }
    }
}

/// Says what Redis refuses, at a bounded rate.
#[derive(Default)]
struct Refusals {
    said_at: Option<Instant>,
}

impl Refusals {
    fn say(&mut self, error: &Error) {
        if self.said_at.is_none_or(|at| at.elapsed() >= REFUSALS_SAID_INTERVAL) {
            self.said_at = Some(Instant::now());
            tracing::warn!(%error, "Redis refused copies{}", hint(error));
        }
    }
}
