//! Every bus, against its contract; and the one over Redis against what Redis does to it.

#![allow(clippy::unwrap_used)]

mod canary;
mod contract;
mod redis_faults;
mod redis_topologies;
mod support;

use std::sync::Arc;

use fanout::bus::{Bus, RedisBus, RedisOptions};

contract::contract!(
    a_copy_reaches_every_subscriber_and_the_sender,
    every_kind_of_channel_is_carried,
    unsubscribing_ends_and_subscribing_resumes,
    asking_again_is_confirmed_again,
    copies_of_one_publisher_keep_their_order,
    thousands_of_channels_are_heard,
    a_closed_bus_is_silent,
);

fn redis_bus(url: &str) -> Arc<dyn Bus> {
    RedisBus::new(RedisOptions::new(url)).unwrap()
}
