//! The API documents (docs/openapi.yaml, docs/asyncapi.yaml, docs/schemas) against what nodes say.
//!
//! Once a test has called [`enforce`], every answer over HTTP and every message that comes through this crate is
//! compared with the documents: what they do not name is a fault of the node or of the documents. What clients send
//! is compared only where the node has accepted it, so tests may send anything.

mod documents;
mod exchange;
mod schemas;
#[cfg(test)]
mod tests;

use std::sync::{
    LazyLock,
    atomic::{AtomicBool, Ordering},
};

use serde_json::Value;

pub use documents::{Documents, Operation};
pub(crate) use exchange::Exchange;

/// Off for the load test, which uses this crate too: its clients must cost less than what they measure.
static ENFORCED: AtomicBool = AtomicBool::new(false);

/// From now on, everything in this process is compared with the documents.
pub fn enforce() {
    ENFORCED.store(true, Ordering::Relaxed);
}

pub(crate) fn is_enforced() -> bool {
    ENFORCED.load(Ordering::Relaxed)
}

/// The documents, read once.
///
/// # Panics
/// When they cannot be read.
pub fn documents() -> &'static Documents {
    static DOCUMENTS: LazyLock<Documents> =
        LazyLock::new(|| Documents::read().expect("the API documents can be read"));
    &DOCUMENTS
}

/// What is wrong with an answer over HTTP, or with a request that was accepted.
pub(crate) fn exchange_fault(exchange: &Exchange<'_>) -> Option<String> {
    if is_enforced() { exchange.fault(documents()) } else { None }
}

/// What is wrong with a message of the server, if it is not one that the documents name.
pub(crate) fn message_fault(message: &Value) -> Option<String> {
    if !is_enforced() {
        return None;
    }
    documents().name_of_message(message).err()
}

/// What is wrong with a command that the server has carried out, or with the kind of its answer.
pub(crate) fn command_fault(command: &Value, answer: &Value) -> Option<String> {
    if !is_enforced() {
        return None;
    }
    documents().reply_fault(command, answer)
}

/// What is wrong with a batch of a webhook.
pub(crate) fn batch_fault(batch: &Value) -> Option<String> {
    if is_enforced() { documents().schemas.fault_by_name("WebhookBatch", batch) } else { None }
}

/// Fails the test when there is a fault.
///
/// # Panics
/// With the fault.
#[track_caller]
pub(crate) fn check(fault: Option<String>) {
    if let Some(fault) = fault {
        panic!("the API documents say otherwise: {fault}");
    }
}
