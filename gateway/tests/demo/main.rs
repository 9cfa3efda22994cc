//! The demo page in a real browser against a real node: what a visitor is promised there.

mod browser;
mod device;
mod drafts;
mod live_match;
mod page;
mod viewer;
