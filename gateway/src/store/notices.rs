//! Notices: how nodes learn of events that an application has added with SQL.

use async_trait::async_trait;
use common::{Epoch, Seq, Stream};

use super::StoreError;

/// Reads what one node has not read yet. Each node has a reader of its own and writes nothing for it.
#[async_trait]
pub trait NoticeReader: Send {
    /// The notices of transactions that have committed since the last call, in whatever order they began. Call
    /// it again and again; after a failure open another reader. A call that is dropped may have read what no
    /// later one returns, so open another one then as well.
    async fn next(&mut self) -> Result<Noticed, StoreError>;
}

/// What a call has read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Noticed {
    /// The history that the numbers count in; `None` where there are none.
    pub epoch: Option<Epoch>,
    /// The last event that was added to each stream.
    pub streams: Vec<(Stream, Seq)>,
    /// Whether that is all. It is not at the first call, after a long pause, and where there are more than
    /// [`NOTICES_MAX`]: then only the heads of streams tell what is new.
    pub complete: bool,
}

/// Notices that one call reads.
pub const NOTICES_MAX: u32 = 10_000;
