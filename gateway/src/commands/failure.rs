//! Refusals: what clients are told when something was not done, over the socket and over HTTP alike.

use common::{
    Code, DraftId, Version,
    protocol::{Draft, DraftAck},
    text::{cut, printable},
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::group_commit::Unavailable;
use crate::{
    auth::AuthError,
    store::{Refusal, StoreError},
};

/// A refusal, as clients are told.
#[derive(Debug)]
pub struct Failure {
    /// Its kind.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// What helps to mend it.
    pub payload: Option<Box<RawValue>>,
    /// A condition of the request does not hold: over HTTP that is a status of its own.
    pub precondition: bool,
    /// The version of the draft that exists where one was to be created.
    pub existing: Option<Version>,
}

impl Failure {
    /// A refusal without further help.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let message = cut(&message.into(), MESSAGE_BYTES_MAX).into_owned();
        Self { code, message, payload: None, precondition: false, existing: None }
    }
}

/// How long the text of a refusal may be: it is for people, and what it quotes was written by clients.
const MESSAGE_BYTES_MAX: usize = 512;

/// Fields of a conflict that its text names; its payload names all.
const FIELDS_SHOWN: usize = 3;

fn changed(fields: &[String]) -> String {
    let shown: Vec<_> = fields.iter().take(FIELDS_SHOWN).map(|field| printable(field)).collect();
    let more = match fields.len().saturating_sub(FIELDS_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more} changed since the base version", shown.join(", "))
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Self {
        Self::new(Code::Unavailable, unavailable.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        // What the database said is for the log, not for clients.
        tracing::warn!(%error, "a read failed");
        Self::new(Code::Unavailable, Unavailable::Store.to_string())
    }
}

impl From<(&DraftId, Refusal)> for Failure {
    fn from((draft_id, refusal): (&DraftId, Refusal)) -> Self {
        match refusal {
            Refusal::NotFound => Self::new(Code::NotFound, format!("there is no draft {draft_id}")),
            Refusal::BadRequest(message) => Self::new(Code::BadRequest, message),
            Refusal::TooLarge(message) => Self::new(Code::TooLarge, message),
            Refusal::Locked(_) => Unavailable::Locked.into(),
            Refusal::Conflict { fields, current } => {
                let message = match (&current, fields.is_empty()) {
                    (None, _) => format!("the id {draft_id} belongs to a deleted draft"),
                    (Some(_), true) => format!("draft {draft_id} exists or has changed"),
                    (Some(_), false) => changed(&fields),
                };
                let payload = ConflictBody { draft_id, fields: &fields, draft: current.as_deref() };
                Self {
                    existing: current.as_deref().map(|draft| draft.version),
                    payload: to_raw_value(&payload).ok(),
                    ..Self::new(Code::Conflict, message)
                }
            }
            Refusal::PreconditionFailed { version } => Self {
                payload: to_raw_value(&DraftAck { draft_id: draft_id.clone(), version }).ok(),
                precondition: true,
                ..Self::new(Code::Conflict, format!("draft {draft_id} is at version {version}"))
            },
        }
    }
}

/// What a conflict tells, so that the client can mend it without asking again.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConflictBody<'a> {
    draft_id: &'a DraftId,
    fields: &'a [String],
    draft: Option<&'a Draft>,
}
