//! The listening side: every subscription, and what arrives.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use fred::{
    prelude::{Client, ClientLike, EventInterface, FredResult, PubsubInterface},
    types::Message,
};
use futures_util::{
    StreamExt,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{interval, sleep},
};

use super::{
    backoff::Backoff,
    session::{Ended, Session, Side, closed, hint, report_ended, report_up},
    shared::{Shared, lock},
    subscriptions::Verb,
};
use crate::{
    bus::{Channel, Unsure, metrics as names},
    supervise::catch_panic,
};

/// Commands of one chunk of subscriptions, and chunks in flight.
const CHUNK_MAX: usize = 256;
const CHUNKS_MAX: usize = 16;

/// How often refused subscriptions are tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How often everything is subscribed again on a Cluster: a slot that moves away ends its subscriptions
/// with a message that fred drops, and subscribing again is what finds the new owner.
const CLUSTER_REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// Connects, subscribes and delivers, for ever.
pub(super) async fn listen_for_ever(shared: Arc<Shared>) {
    let mut report_reconnect = false;
    // The inbox runs in here.
    while catch_panic("bus listener", reconnect_for_ever(&shared, report_reconnect)).await.is_err() {
        shared.listening.store(false, Ordering::Relaxed);
        report_reconnect = true;
        sleep(RETRY_INTERVAL).await;
    }
}

/// `report_reconnect`: whether the inbox must learn that the connection was established again.
async fn reconnect_for_ever(shared: &Shared, mut report_reconnect: bool) {
    let mut backoff = Backoff::default();
    let mut first = !report_reconnect;
    if report_reconnect {
        // After a panic: whatever was subscribed is void, and it may be long until it is again.
        shared.unsure(Unsure::Disconnected);
    }
    loop {
        let connected = Session::connect(shared).await;
        let since = Instant::now();
        let (ended, lasted, began) = match connected {
            Ok(session) => {
                report_up(Side::Subscribe, std::mem::take(&mut first));
                let ended = listen(shared, session, &mut report_reconnect).await;
                shared.listening.store(false, Ordering::Relaxed);
                (ended, since.elapsed(), true)
            }
            Err(ended) => (ended, Duration::ZERO, false),
        };
        // Also when it ended before everything was subscribed: what it had confirmed is void.
        if !std::mem::replace(&mut report_reconnect, true) || began {
            shared.unsure(Unsure::Disconnected);
        }
        if matches!(ended, Ended::Asked | Ended::ClusterChanged) {
            backoff.reset();
        }
        let wait = backoff.next(lasted);
        report_ended(Side::Subscribe, &ended, wait);
        sleep(wait).await;
    }
}

/// What Redis said to the commands of one chunk.
type Answers = Vec<(Channel, Verb, FredResult<()>)>;

/// Subscribes everything and delivers until the session ends.
async fn listen(shared: &Shared, mut session: Session, report_reconnect: &mut bool) -> Ended {
    let client = session.client.clone();
    // Taken before anything is subscribed, so that no message arrives earlier.
    let mut delivery = pin!(deliver(shared, client.message_rx()));
    let mut ended = pin!(session.ended());
    let mut chunks: FuturesUnordered<BoxFuture<'_, Answers>> = FuturesUnordered::new();
    let mut retries = interval(RETRY_INTERVAL);
    let mut refreshes = interval(CLUSTER_REFRESH_INTERVAL);
    refreshes.reset();
    lock(&shared.subscriptions).restart();
    let mut rebuilt = false;
    loop {
        while chunks.len() < CHUNKS_MAX {
            let due = lock(&shared.subscriptions).take(CHUNK_MAX);
            if due.is_empty() {
                break;
            }
            chunks.push(Box::pin(ask(shared, &client, due)));
        }
        if !rebuilt && lock(&shared.subscriptions).is_rebuilt() {
            rebuilt = true;
            shared.listening.store(true, Ordering::Relaxed);
            if std::mem::take(report_reconnect) {
                shared.unsure(Unsure::Reconnected);
            }
        }
        tokio::select! {
            ended = &mut ended => return ended,
            ended = &mut delivery => return ended,
            Some(answers) = chunks.next() => take_answers(shared, answers),
            () = shared.changed.notified() => {}
            _ = retries.tick() => {
                let mut subscriptions = lock(&shared.subscriptions);
                subscriptions.retry();
                metrics::gauge!(names::SUBSCRIPTIONS).set(subscriptions.wanted() as f64);
            }
            _ = refreshes.tick(), if client.is_clustered() => lock(&shared.subscriptions).refresh(),
        }
    }
}

async fn ask(shared: &Shared, client: &Client, due: Vec<(Channel, Verb)>) -> Answers {
    let commands = due.into_iter().map(|(channel, verb)| async move {
        let name = shared.name(&channel);
        let answer = match verb {
            Verb::Subscribe => client.ssubscribe(name).await,
            Verb::Unsubscribe => client.sunsubscribe(name).await,
        };
        (channel, verb, answer)
    });
    join_all(commands).await
}

fn take_answers(shared: &Shared, answers: Answers) {
    let mut refused = None;
    let mut subscribed = Vec::with_capacity(answers.len());
    let mut subscriptions = lock(&shared.subscriptions);
    for (channel, verb, answer) in answers {
        if subscriptions.answered(&channel, verb, answer.is_ok()) {
            subscribed.push(channel);
        }
        if let Err(error) = answer {
            metrics::counter!(names::SUBSCRIBE_FAILURES).increment(1);
            refused = Some(error);
        }
    }
    drop(subscriptions);
    if let Some(error) = refused {
        tracing::warn!(%error, "Redis refused subscriptions; trying again{}", hint(&error));
    }
    shared.with_inbox(|inbox| subscribed.iter().for_each(|channel| inbox.subscribed(channel)));
}

/// Hands what arrives to the inbox. Returns when nothing more will come.
async fn deliver(shared: &Shared, mut incoming: broadcast::Receiver<Message>) -> Ended {
    loop {
        match incoming.recv().await {
            Ok(message) => {
                metrics::counter!(names::MESSAGES_RECEIVED).increment(1);
                let channel = shared.channel(&message.channel);
                if let (Some(channel), Some(copy)) = (channel, message.value.into_bytes()) {
                    shared.with_inbox(|inbox| inbox.message(&channel, copy));
                }
            }
            Err(RecvError::Lagged(lost)) => {
                tracing::warn!(lost, "messages arrived faster than the node processed them");
                metrics::counter!(names::MESSAGES_LAGGED).increment(lost);
                shared.unsure(Unsure::Lagged);
            }
            Err(RecvError::Closed) => return Ended::Lost(closed(Ok(Ok(())))),
        }
    }
}
