//! Keeps the changes of one connection from overtaking each other in the queue of the committer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The way of one connection's changes to the store. It breaks with the first change that leaves it
/// undecided, because the queue was full, it waited too long or the store failed; and then no change behind
/// that one is carried out, although it may be in the queue already.
///
/// Within a stream that is exact, because a stream has one queue. A change of another stream may have been
/// committed by the time the pipeline breaks.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    broken: Arc<AtomicBool>,
}

impl Pipeline {
    /// Whether a change has left it undecided.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// A place in the pipeline for one more change.
    pub(crate) fn enter(&self) -> Pass {
        Pass { pipeline: Some(self.clone()) }
    }
}

/// The place of one change. Dropping it breaks the pipeline, so that no way of losing a change is forgotten.
#[derive(Debug)]
pub(crate) struct Pass {
    /// `None` once the change is decided.
    pipeline: Option<Pipeline>,
}

impl Pass {
    /// Whether a change before it was left undecided, so that it must not be carried out.
    pub(crate) fn is_void(&self) -> bool {
        self.pipeline.as_ref().is_some_and(Pipeline::is_broken)
    }

    /// The change was carried out, or refused for good.
    pub(crate) fn decided(mut self) {
        self.pipeline = None;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(pipeline) = &self.pipeline {
            pipeline.broken.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_left_undecided_voids_those_behind_it() {
        let pipeline = Pipeline::default();
        let (first, second, third) = (pipeline.enter(), pipeline.enter(), pipeline.enter());
        first.decided();
        assert!(!pipeline.is_broken() && !third.is_void());
        drop(second);
        assert!(pipeline.is_broken() && third.is_void() && pipeline.enter().is_void());
        assert!(!Pipeline::default().is_broken());
    }
}
