//! A real browser against real nodes: what a visitor of the demo page is promised, and what pages of other
//! origins may do.

mod browser;
mod device;
mod drafts;
mod event_source;
mod layout;
mod live_match;
mod other_origin;
mod page;
mod viewer;
