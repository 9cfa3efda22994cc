//! Who asks for a change.

use common::{CommandId, DeviceId, TraceContext, UserId};

use super::pipeline::Pipeline;

/// Who asks, from which device, under which id.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// The device; the `origin` of the event.
    pub device: DeviceId,
    /// The id that makes a repetition known.
    pub id: Option<CommandId>,
    /// What keeps the changes of one connection in order; requests over HTTP have none among each other.
    pub pipeline: Option<Pipeline>,
    /// The trace that the change belongs to.
    pub trace: Option<TraceContext>,
}
