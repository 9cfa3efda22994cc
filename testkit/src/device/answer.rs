//! What a command was answered.

use std::fmt;

use draftwire_client::{self as client, Json, Refusal};
use serde_json::Value;

/// What a command was answered when it was carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Ack {
    /// The event that reports the change, when there is one.
    pub seq: Option<u64>,
    /// The answer's body; `null` when there is none.
    pub payload: Value,
}

impl Ack {
    /// The draft's version after the change; zero when the answer names none.
    pub fn version(&self) -> u64 {
        self.payload["version"].as_u64().unwrap_or(0)
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The protocol's code; or `timeout` when no answer came, or `closed` when the device will not
    /// connect again. After these two it is not known whether the command was carried out.
    pub code: String,
    /// For people.
    pub message: String,
    /// What helps to mend it; `null` when there is nothing.
    pub payload: Value,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}

/// A refusal that no server has sent.
pub(super) fn local(code: &str, message: &str) -> Refused {
    Refused { code: code.to_owned(), message: message.to_owned(), payload: Value::Null }
}

/// The answer as the session has it.
pub(super) fn answer(result: Result<client::Ack, Refusal>) -> Result<Ack, Refused> {
    let value = |json: Option<Json>| json.and_then(|json| json.parse().ok()).unwrap_or_default();
    match result {
        Ok(ack) => Ok(Ack { seq: ack.seq, payload: value(ack.payload) }),
        Err(refusal) => {
            let code = refusal.code.to_string();
            Err(Refused { code, message: refusal.message, payload: value(refusal.payload) })
        }
    }
}
