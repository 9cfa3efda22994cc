//! The connections of this node, for the cluster's picture.

use std::sync::Arc;

use super::{connections::Connections, drain::Drain};
use crate::cluster::{self, ConnectionCounts};

/// What the edge of this node tells of its connections.
pub(crate) struct Here {
    pub(crate) connections: Arc<Connections>,
    pub(crate) drain: Arc<Drain>,
}

impl cluster::Here for Here {
    fn connections(&self) -> ConnectionCounts {
        self.connections.by_kind()
    }

    fn users(&self) -> usize {
        self.connections.users()
    }

    fn is_stopping(&self) -> bool {
        self.drain.is_stopping()
    }
}
