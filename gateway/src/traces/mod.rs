//! Spans on their way out of the process: OTLP over HTTP, in batches.
//!
//! A span that finds no room in the queue is dropped and counted, and so are those of a batch that the receiver does not
//! take: nothing waits for a receiver, and nothing is tried again.

mod encoding;

use std::{fmt, time::Duration};

use common::{
    ids::NodeId,
    trace::{self, Span},
};
use metrics::{Counter, counter, gauge};
use reqwest::{
    Client, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use self::encoding::encode;

/// Spans that wait to be sent. Each takes some 500 bytes.
const QUEUE_MAX: usize = 4096;

/// Spans that are sent together.
const BATCH_MAX: usize = 512;

/// How long a batch waits for more.
const BATCH_WAIT: Duration = Duration::from_millis(500);

/// How long the receiver may take for a batch.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of the process waits for what is in the queue.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Where spans go.
#[derive(Clone)]
pub struct Settings {
    /// The receiver; `/v1/traces` is added.
    pub endpoint: Url,
    /// Sent with each batch; they may hold a key.
    pub headers: HeaderMap,
    /// What the receiver calls this service.
    pub service: String,
}

/// Without the headers.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("service", &self.service).finish_non_exhaustive()
    }
}

/// Sends the spans of this process.
pub(crate) struct Exporter {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Takes the spans of this process from now on. One exporter of a process does.
    ///
    /// # Errors
    /// When the client cannot be built.
    pub(crate) fn start(settings: &Settings, node: &NodeId) -> Result<Self, reqwest::Error> {
        // A redirect could lead the headers elsewhere.
        let client = Client::builder()
            .timeout(SEND_TIMEOUT)
            .redirect(redirect::Policy::none())
            .default_headers(settings.headers.clone());
        let client = client.build()?;
        let (queue, spans) = mpsc::channel(QUEUE_MAX);
        let full = dropped("queue_full");
        trace::install(move |span| {
            if queue.try_send(span).is_err() {
                full.increment(1);
            }
        });
        #[allow(clippy::cast_precision_loss)]
        gauge!("draftwire_trace_queue_max").set(QUEUE_MAX as f64);
        let (stop, stopped) = oneshot::channel();
        let sender = Sender {
            client,
            url: url(&settings.endpoint),
            service: settings.service.clone(),
            node: node.to_string(),
            is_up: true,
        };
        Ok(Self { stop, task: tokio::spawn(sender.run(spans, stopped)) })
    }

    /// Sends what is in the queue, for a moment.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        // What is not sent by then is lost.
        let _ = timeout(FLUSH_MAX, self.task).await;
    }
}

fn dropped(reason: &'static str) -> Counter {
    counter!("draftwire_trace_spans_dropped_total", "reason" => reason)
}

/// The address for traces below that of the receiver.
fn url(endpoint: &Url) -> Url {
    let mut url = endpoint.clone();
    url.set_path(&format!("{}/v1/traces", endpoint.path().trim_end_matches('/')));
    url
}

struct Sender {
    client: Client,
    url: Url,
    service: String,
    node: String,
    /// Whether the receiver took the last batch.
    is_up: bool,
}

impl Sender {
    /// Runs until `stopped`, and then until the queue is empty.
    async fn run(mut self, mut spans: mpsc::Receiver<Span>, mut stopped: oneshot::Receiver<()>) {
        let mut stopping = false;
        loop {
            let mut batch = Vec::new();
            if stopping {
                // What came until now.
                if spans.is_empty() {
                    return;
                }
            } else {
                tokio::select! {
                    // The sink holds the other end for as long as the process lives.
                    count = spans.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return },
                    _ = &mut stopped => stopping = true,
                }
            }
            if !stopping && batch.len() < BATCH_MAX {
                tokio::select! {
                    () = sleep(BATCH_WAIT) => {}
                    _ = &mut stopped => stopping = true,
                }
            }
            while batch.len() < BATCH_MAX
                && let Ok(span) = spans.try_recv()
            {
                batch.push(span);
            }
            if !batch.is_empty() {
                self.send(batch).await;
            }
        }
    }

    async fn send(&mut self, batch: Vec<Span>) {
        let count = batch.len() as u64;
        let body = encode(batch, &self.service, &self.node);
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        let sent = self.client.post(self.url.clone()).header(CONTENT_TYPE, protobuf).body(body).send().await;
        // The address may hold a key.
        let failure = match sent.map(|answer| answer.status()).map_err(reqwest::Error::without_url) {
            Ok(status) if status.is_success() => None,
            Ok(status) => Some(refused(status)),
            Err(error) => Some(error.to_string()),
        };
        match &failure {
            None => counter!("draftwire_trace_spans_sent_total").increment(count),
            Some(_) => dropped("not_taken").increment(count),
        }
        // Said when it changes, because a receiver may be down for days.
        match (failure, self.is_up) {
            (Some(error), true) => {
                warn!(error, "traces are not taken; their spans are dropped until they are");
                self.is_up = false;
            }
            (None, false) => {
                info!("traces are taken again");
                self.is_up = true;
            }
            _ => {}
        }
    }
}

fn refused(status: StatusCode) -> String {
    format!("the receiver answers with status {}", status.as_u16())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn traces_have_a_path_below_the_endpoint() {
        for (endpoint, expected) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://example.com/otlp/?key=1", "https://example.com/otlp/v1/traces?key=1"),
        ] {
            assert_eq!(url(&endpoint.parse().unwrap()).as_str(), expected);
        }
    }
}
