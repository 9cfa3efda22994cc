//! A real browser against real nodes: what visitors of the demo page and of the console are promised, and what pages of
//! other origins may do.

mod browser;
mod console;
mod demo;
mod event_source;
mod layout;
mod other_origin;

use std::time::Duration;

/// Far more than anything here takes; it only bounds a failing test.
pub(crate) const SHOWN_WAIT: Duration = Duration::from_secs(30);
