//! Who has connected, with what.

use std::sync::Arc;

use common::{ConnectionId, Cursor, DeviceId, message::Encoding};
use websocket::Deflate;

use crate::{auth::Identity, config::Changeable};

/// Who has connected, with what.
pub(crate) struct Client {
    /// `None` for one without a token, who may follow what is open to everybody.
    pub(crate) identity: Option<Identity>,
    pub(crate) connection: ConnectionId,
    pub(crate) device: DeviceId,
    /// Where the device stopped on its user's stream.
    pub(crate) cursor: Option<Cursor>,
    /// Where it stopped on the stream of all.
    pub(crate) all: Option<Cursor>,
    /// How it reads and writes messages.
    pub(crate) encoding: Encoding,
    pub(crate) deflate: Deflate,
    /// Whether it takes arrays of messages.
    pub(crate) batch: bool,
    /// The settings that held for it when it began.
    pub(crate) settings: Arc<Changeable>,
}
