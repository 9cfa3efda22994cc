//! What the application's backend decides about users: whether they may connect and follow topics.

use std::sync::Arc;

use common::{Code, DeviceId, TopicName};
use tokio::time::Instant;

use super::failure::Failure;
use crate::auth::{Backend, Identity, Unanswered, Verdict};

/// Whether the user may connect. Connections without a user are not asked about.
///
/// # Errors
/// `forbidden` with the backend's reason; `unavailable` where it does not answer.
pub(crate) async fn check_connect(
    backend: &Arc<Backend>,
    identity: Option<&Identity>,
    device: &DeviceId,
) -> Result<(), Failure> {
    let Some(identity) = identity else { return Ok(()) };
    match backend.may_connect(identity, device).await {
        None => Ok(()),
        Some(answer) => {
            allowed(answer, || "the application does not let this user connect".to_owned()).map(drop)
        }
    }
}

/// Asks whether the user may follow the topic: until when the yes holds.
///
/// # Errors
/// As for [`check_connect`].
pub(crate) async fn check_subscribe(
    backend: &Arc<Backend>,
    identity: &Identity,
    topic: &TopicName,
) -> Result<Instant, Failure> {
    let denied = || format!("the application does not allow to follow {topic}");
    match backend.may_subscribe(identity, topic).await {
        None => Err(Failure::new(Code::Forbidden, denied())),
        Some(answer) => allowed(answer, denied),
    }
}

fn allowed(answer: Result<Verdict, Unanswered>, denied: impl FnOnce() -> String) -> Result<Instant, Failure> {
    match answer {
        Ok(Verdict { denied: None, until }) => Ok(until),
        Ok(Verdict { denied: Some(reason), .. }) if reason.is_empty() => {
            Err(Failure::new(Code::Forbidden, denied()))
        }
        Ok(Verdict { denied: Some(reason), .. }) => Err(Failure::new(Code::Forbidden, &*reason)),
        Err(Unanswered) => {
            let message = "the application, which decides on this right, does not answer; come back later";
            Err(Failure::new(Code::Unavailable, message))
        }
    }
}
