//! What nodes say to each other over the bus: how they are, once a second; questions, and answers. JSON, so that nodes of other versions can read it.

use common::operations::Window;
use serde::{Deserialize, Serialize};

use super::{
    facts::Facts,
    questions::{Answer, Question},
};

/// The version of the messages. It grows only when a field gets another meaning: fields that are new, or gone, need no
/// other version.
const VERSION: u8 = 1;

/// The longest message that is read. A report has about ten kilobytes; a page of connections with all their cursors may
/// have more than this, and is then missing.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// What one node says to all others.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Message {
    v: u8,
    /// How it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) report: Option<Report>,
    /// What it wants to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) question: Option<Question>,
    /// What it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Answer>,
}

/// How a node is, with histograms that add up over nodes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Report {
    /// Grows with each report of the process: an older one has no effect.
    pub(super) number: u64,
    /// Its figures.
    pub(super) facts: Facts,
    /// How late events were handed to sockets in the last minute.
    pub(super) latency: Window,
    /// The operations on the way of a change in the last minute, and others that were slow.
    pub(super) operations: Vec<(String, Window)>,
}

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// It is longer than any node's.
    #[error("{0} bytes are too many")]
    TooLong(usize),
    /// A node of another version wrote it, and means something else by it.
    #[error("unknown version {0}")]
    Version(u8),
    /// It is no message.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl Unreadable {
    /// The metric label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Version(_) => "version",
            Self::TooLong(_) | Self::Json(_) => "malformed",
        }
    }
}

impl Message {
    /// A report.
    pub(super) fn of_report(report: Report) -> Self {
        Self { v: VERSION, report: Some(report), ..Self::default() }
    }

    /// A question.
    pub(super) fn of_question(question: Question) -> Self {
        Self { v: VERSION, question: Some(question), ..Self::default() }
    }

    /// An answer.
    pub(super) fn of_answer(answer: Answer) -> Self {
        Self { v: VERSION, answer: Some(answer), ..Self::default() }
    }

    /// As bytes for the bus.
    ///
    /// # Errors
    /// Never: numbers that JSON cannot write are no part of it.
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads any bytes.
    ///
    /// # Errors
    /// When they are no message that this version understands.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(Unreadable::TooLong(bytes.len()));
        }
        let message: Self = serde_json::from_slice(bytes)?;
        if message.v == VERSION { Ok(message) } else { Err(Unreadable::Version(message.v)) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_report_reads_back_with_its_histograms() {
        let mut window = Window::default();
        window.durations.record(Duration::from_millis(7));
        let operations = vec![("commit".to_owned(), window.clone())];
        let facts = Facts { node: "n1".to_owned(), memory_bytes: 5, ..Facts::default() };
        let report = Report { number: 3, facts: facts.clone(), latency: window.clone(), operations };
        let read = Message::decode(&Message::of_report(report).encode().unwrap()).unwrap().report.unwrap();
        assert_eq!((read.number, read.facts, read.latency), (3, facts, window.clone()));
        assert_eq!(read.operations, [("commit".to_owned(), window)]);
    }

    #[test]
    fn what_other_versions_write_is_read_as_far_as_it_is_known() {
        let newer = r#"{"v":1,"weather":"fine","report":{"number":2,"facts":{"node":"n2","colour":"red"}}}"#;
        let report = Message::decode(newer.as_bytes()).unwrap().report.unwrap();
        assert_eq!((report.number, report.facts.node.as_str(), report.facts.users), (2, "n2", 0));
        assert!(Message::decode(br#"{"v":1,"question":{}}"#).unwrap().report.is_none());
        assert!(matches!(Message::decode(br#"{"v":2}"#), Err(Unreadable::Version(2))));
        assert!(matches!(Message::decode(b"{}"), Err(Unreadable::Version(0))));
        assert!(matches!(Message::decode(b"\xff"), Err(Unreadable::Json(_))));
        let long = vec![b' '; MESSAGE_BYTES_MAX + 1];
        assert!(matches!(Message::decode(&long), Err(Unreadable::TooLong(_))));
        let damaged = r#"{"v":1,"report":{"latency":{"durations":{"counts":[[9,1],[3,1]],"sum":0,"max":0},"errors":0}}}"#;
        assert!(matches!(Message::decode(damaged.as_bytes()), Err(Unreadable::Json(_))));
    }
}
