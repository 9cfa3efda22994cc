//! The demo page: what a visitor is promised.

mod device;
mod drafts;
mod layout;
mod live_match;
mod page;
mod viewer;
