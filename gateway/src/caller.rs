//! Who asks for a change.

use common::{CommandId, DeviceId, UserId};

/// Who asks, from which device, under which id.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// The device; the `origin` of the event.
    pub device: DeviceId,
    /// The id that makes a repetition known.
    pub id: Option<CommandId>,
}
