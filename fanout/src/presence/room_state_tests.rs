#![allow(clippy::unwrap_used)]

#[path = "room_state_model_tests.rs"]
mod model;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;
use crate::presence::membership::NODES_MAX;

const LEASE: Duration = Duration::from_secs(9);
const LIST_MAX: usize = 4;

fn trust(trusted: bool, generation: u64) -> Trust {
    Trust { trusted, generation }
}

fn device(user: &str, device: &str) -> Device {
    Device { user_id: (!user.is_empty()).then(|| user.parse().unwrap()), device: device.parse().unwrap() }
}

fn room() -> RoomState {
    RoomState::new("topic:t".to_owned(), LIST_MAX, LEASE, trust(true, 1))
}

fn listed(version: u64, devices: &[Device]) -> Announcement {
    Announcement { version, asks: false, members: LocalMembers::Listed(devices.to_vec()) }
}

fn counted(version: u64, users: u64, devices: u64) -> Announcement {
    Announcement { version, asks: false, members: LocalMembers::Counted(Counts { users, devices }) }
}

fn name(text: &str) -> NodeId {
    text.parse().unwrap()
}

/// Ticks as often as is asked for. Returns how many nodes expire.
fn run(room: &mut RoomState, mut now: Instant, end: Instant, trust: Trust) -> usize {
    let mut expired = 0;
    loop {
        let tick = room.tick(now, trust);
        expired += tick.expired;
        match tick.next {
            Some(next) if next <= end => now = next,
            _ => return expired,
        }
    }
}

/// What a client makes of the messages that it is sent.
#[derive(Debug, Default)]
struct Watcher {
    seen: Option<u64>,
    /// `None` while only numbers are known.
    members: Option<BTreeSet<Device>>,
    users: u64,
    devices: u64,
    kinds: Vec<String>,
}

impl Watcher {
    fn look(&mut self, room: &mut RoomState) {
        for message in room.due(&mut self.seen) {
            let message: Value = serde_json::from_slice(message.json()).unwrap();
            let (kind, payload) = (message["type"].as_str().unwrap(), &message["payload"]);
            assert_eq!(message["stream"], "topic:t");
            self.kinds.push(kind.to_owned());
            let who = || serde_json::from_value::<Device>(payload.clone()).unwrap();
            match kind {
                "PRESENCE" => {
                    self.members = payload
                        .get("members")
                        .map(|members| serde_json::from_value(members.clone()).unwrap());
                }
                "JOIN" => assert!(self.members.as_mut().unwrap().insert(who()), "came twice"),
                "LEAVE" => assert!(self.members.as_mut().unwrap().remove(&who()), "left without being here"),
                other => panic!("{other}"),
            }
            self.users = payload["users"].as_u64().unwrap();
            self.devices = payload["devices"].as_u64().unwrap();
            if let Some(members) = &self.members {
                let counts = counts_of(members);
                assert_eq!(
                    (self.users, self.devices),
                    (counts.users, counts.devices),
                    "numbers are those of the list"
                );
            }
        }
    }

    fn kinds(&mut self, room: &mut RoomState) -> Vec<String> {
        self.kinds.clear();
        self.look(room);
        std::mem::take(&mut self.kinds)
    }
}

fn counts_of(members: &BTreeSet<Device>) -> Counts {
    let users: BTreeSet<_> = members.iter().filter_map(|member| member.user_id.as_ref()).collect();
    let anonymous = members.iter().filter(|member| member.user_id.is_none()).count();
    Counts { users: (users.len() + anonymous) as u64, devices: members.len() as u64 }
}

#[test]
fn watchers_are_told_the_state_then_what_changes() {
    let now = Instant::now();
    let (mut room, mut watcher) = (room(), Watcher::default());
    room.join(&device("a", "phone"), now);
    assert!(room.take_updated());
    assert_eq!(watcher.kinds(&mut room), ["PRESENCE"]);
    assert!(watcher.kinds(&mut room).is_empty());
    assert!(!room.join(&device("a", "phone"), now), "the same device through another connection");
    assert!(!room.take_updated());
    room.hear(name("n2"), listed(1, &[device("a", "laptop"), device("", "tv")]), now);
    assert!(room.take_updated());
    assert_eq!(watcher.kinds(&mut room), ["JOIN", "JOIN"]);
    assert_eq!((watcher.users, watcher.devices), (2, 3));
    // It moves to this node: present through either is present.
    room.join(&device("", "tv"), now);
    room.hear(name("n2"), listed(2, &[device("a", "laptop")]), now);
    assert!(watcher.kinds(&mut room).is_empty());
    assert!(!room.leave(&device("a", "phone"), now));
    assert!(room.leave(&device("a", "phone"), now));
    assert_eq!(watcher.kinds(&mut room), ["LEAVE"]);
    assert_eq!((watcher.users, watcher.devices), (2, 2));
    let mut late = Watcher::default();
    late.look(&mut room);
    assert_eq!(late.members, watcher.members);
}

#[test]
fn one_encoding_serves_all_watchers_and_one_who_is_late_is_told_the_state() {
    let now = Instant::now();
    let mut room = room();
    room.join(&device("a", "phone"), now);
    let (mut one, mut other) = (None, None);
    assert!(Arc::ptr_eq(&room.due(&mut one)[0], &room.due(&mut other)[0]));
    room.join(&device("b", "phone"), now);
    assert!(Arc::ptr_eq(&room.due(&mut one)[0], &room.due(&mut other)[0]));
    let mut late = Watcher::default();
    late.look(&mut room);
    for _ in 0..100 {
        room.leave(&device("b", "phone"), now);
        room.join(&device("b", "phone"), now);
    }
    assert_eq!(late.kinds(&mut room), ["PRESENCE"]);
}

#[test]
fn older_announcements_change_nothing() {
    let now = Instant::now();
    let mut room = room();
    room.hear(name("n2"), listed(5, &[]), now);
    assert_eq!(room.hear(name("n2"), listed(4, &[device("a", "x")]), now), Heard::Outdated);
    assert_eq!(room.hear(name("n2"), listed(5, &[device("a", "x")]), now), Heard::Outdated);
    assert!(room.membership.listed().is_empty());
}

#[test]
fn announcements_are_coalesced_and_repeated_as_heartbeats() {
    let mut now = Instant::now();
    let mut room = room();
    room.join(&device("a", "phone"), now);
    let tick = room.tick(now, trust(true, 1));
    assert_eq!(
        tick.announce,
        Some((LocalMembers::Listed(vec![device("a", "phone")]), true)),
        "the first asks"
    );
    assert_eq!(tick.next, Some(now + LEASE / 3));
    room.join(&device("b", "phone"), now);
    room.join(&device("c", "phone"), now);
    let tick = room.tick(now, trust(true, 1));
    assert_eq!((tick.announce, tick.next), (None, Some(now + PAUSE)));
    now += PAUSE;
    let all = ["a", "b", "c"].map(|user| device(user, "phone")).to_vec();
    assert_eq!(room.tick(now, trust(true, 1)).announce, Some((LocalMembers::Listed(all.clone()), false)));
    now += LEASE / 3;
    assert_eq!(room.tick(now, trust(true, 1)).announce, Some((LocalMembers::Listed(all.clone()), false)));
    let asked = Announcement { asks: true, ..listed(1, &[]) };
    room.hear(name("n2"), asked, now);
    assert_eq!(
        room.tick(now + PAUSE, trust(true, 1)).announce,
        Some((LocalMembers::Listed(all.clone()), false))
    );
    all.iter().for_each(|device| assert!(room.leave(device, now)));
    let tick = room.tick(now + 2 * PAUSE, trust(true, 1));
    assert_eq!(tick.announce, Some((LocalMembers::nobody(), false)));
    assert_eq!(tick.next, None, "the room can be closed");
}

#[test]
fn a_node_that_is_silent_leaves_when_its_lease_ends() {
    let now = Instant::now();
    let (mut room, mut watcher) = (room(), Watcher::default());
    room.join(&device("a", "phone"), now);
    room.hear(name("n2"), listed(1, &[device("b", "phone"), device("a", "phone")]), now);
    room.hear(name("n3"), listed(1, &[]), now);
    watcher.look(&mut room);
    let nearly = now + LEASE - Duration::from_millis(1);
    assert_eq!(room.tick(nearly, trust(true, 1)).next, Some(now + LEASE));
    assert!(watcher.kinds(&mut room).is_empty());
    assert_eq!(room.tick(now + LEASE, trust(true, 1)).expired, 1, "those with members count");
    assert!(room.take_updated());
    assert_eq!(watcher.kinds(&mut room), ["LEAVE"], "one is present through this node still");
}

#[test]
fn while_the_bus_is_not_trusted_nobody_leaves() {
    let now = Instant::now();
    let (mut room, mut watcher) = (room(), Watcher::default());
    room.join(&device("a", "phone"), now);
    room.tick(now, trust(true, 1));
    room.hear(name("n2"), listed(1, &[device("b", "phone")]), now);
    watcher.look(&mut room);
    let later = now + 10 * LEASE;
    assert_eq!(room.tick(later, trust(false, 1)).expired, 0);
    // Trusted again, which is a generation of its own unless it was too short to be seen.
    let tick = room.tick(later, trust(true, 1));
    assert_eq!(tick.expired, 0);
    assert!(matches!(room.tick(later + PAUSE, trust(true, 1)).announce, Some((_, true))), "it asks");
    let later = later + LEASE - Duration::from_millis(1);
    assert_eq!(room.tick(later, trust(true, 1)).expired, 0);
    assert_eq!(room.tick(later, trust(true, 2)).expired, 0, "copies may have been lost just now");
    assert!(watcher.kinds(&mut room).is_empty());
    assert_eq!(run(&mut room, later, later + LEASE, trust(true, 2)), 1);
    assert_eq!(watcher.kinds(&mut room), ["LEAVE"]);
}

#[test]
fn a_channel_on_which_nobody_is_heard_is_subscribed_anew() {
    let now = Instant::now();
    let mut room = room();
    room.join(&device("a", "phone"), now);
    room.hear(name("n2"), listed(1, &[device("b", "phone")]), now);
    room.hear(name("n3"), listed(1, &[device("c", "phone")]), now);
    room.hear(name("n4"), listed(1, &[]), now + LEASE / 2);
    assert!(!room.tick(now, trust(true, 1)).resubscribe);
    room.tick(now + LEASE / 3, trust(true, 1));
    room.hear(name("n3"), listed(2, &[device("c", "phone")]), now + LEASE / 3);
    let tick = room.tick(now + 2 * LEASE / 3, trust(true, 1));
    assert!(!tick.resubscribe, "one is heard");
    let tick = room.tick(now + LEASE, trust(true, 1));
    assert_eq!((tick.resubscribe, tick.expired), (true, 1));
    assert!(matches!(tick.announce, Some((_, true))), "it asks");
    // Answers that came before the subscription was there are lost.
    room.subscribed();
    let tick = room.tick(now + LEASE + PAUSE, trust(true, 1));
    assert!(matches!(tick.announce, Some((_, true))) && !tick.resubscribe, "{tick:?}");
    assert_eq!(run(&mut room, now + LEASE + PAUSE, now + LEASE + LEASE / 4, trust(true, 1)), 0);
    room.hear(name("n3"), listed(3, &[device("c", "phone")]), now + LEASE + LEASE / 4);
    room.subscribed();
    let tick = room.tick(now + LEASE + LEASE / 4, trust(true, 1));
    assert_eq!((tick.announce, tick.expired), (None, 0));
}

#[test]
fn while_this_process_stands_still_nobody_leaves() {
    let now = Instant::now();
    let (mut room, mut watcher) = (room(), Watcher::default());
    room.join(&device("a", "phone"), now);
    room.hear(name("n2"), listed(1, &[device("b", "laptop")]), now);
    room.tick(now, trust(true, 1));
    watcher.look(&mut room);
    // The last canary has come back before, so nothing puts the bus in doubt.
    let thawed = now + LEASE + Duration::from_secs(5);
    let tick = room.tick(thawed, trust(true, 1));
    assert_eq!(tick.expired, 0);
    assert!(matches!(tick.announce, Some((_, true))), "it asks");
    assert!(watcher.kinds(&mut room).is_empty());
    // What was announced meanwhile is read a moment later.
    room.hear(name("n2"), listed(5, &[device("b", "laptop")]), thawed);
    let nearly = thawed + LEASE - Duration::from_millis(1);
    assert_eq!(run(&mut room, thawed, nearly, trust(true, 1)), 0);
    assert!(watcher.kinds(&mut room).is_empty());
    assert_eq!(run(&mut room, nearly, thawed + LEASE, trust(true, 1)), 1);
    assert_eq!(watcher.kinds(&mut room), ["LEAVE"], "that one was silent for a lease");
}

#[test]
fn a_crowd_is_counted_and_told_once_a_second() {
    let mut now = Instant::now();
    let (mut room, mut watcher) = (room(), Watcher::default());
    for user in ["a", "b", "c", "d"] {
        room.join(&device(user, "phone"), now);
    }
    watcher.look(&mut room);
    assert_eq!(watcher.members.as_ref().map(BTreeSet::len), Some(4));
    room.tick(now, trust(true, 1));
    room.join(&device("d", "laptop"), now);
    assert_eq!(watcher.kinds(&mut room), ["PRESENCE"]);
    assert_eq!((watcher.members.is_none(), watcher.users, watcher.devices), (true, 4, 5));
    room.take_updated();
    room.hear(name("n2"), counted(1, 20, 30), now);
    room.join(&device("", "x"), now);
    assert!(!room.take_updated());
    assert!(watcher.kinds(&mut room).is_empty());
    let tick = room.tick(now + PAUSE, trust(true, 1));
    assert_eq!(tick.announce.unwrap().0, LocalMembers::Counted(Counts { users: 5, devices: 6 }));
    assert_eq!(tick.next, Some(now + Duration::from_secs(1)));
    now += Duration::from_secs(1);
    room.tick(now, trust(true, 1));
    assert!(room.take_updated());
    assert_eq!(watcher.kinds(&mut room), ["PRESENCE"]);
    assert_eq!((watcher.users, watcher.devices), (25, 36));
    // Below the limit again: a list.
    room.hear(name("n2"), listed(2, &[]), now);
    room.leave(&device("", "x"), now);
    room.leave(&device("d", "laptop"), now);
    now += Duration::from_secs(1);
    room.tick(now, trust(true, 1));
    assert_eq!(watcher.kinds(&mut room), ["PRESENCE"]);
    assert_eq!(watcher.members.as_ref().map(BTreeSet::len), Some(4));
    room.leave(&device("d", "phone"), now);
    assert_eq!(watcher.kinds(&mut room), ["LEAVE"]);
}

#[test]
fn the_nodes_remembered_are_bounded() {
    let now = Instant::now();
    let mut room = room();
    for n in 0..NODES_MAX {
        assert!(matches!(room.hear(name(&format!("n{n}")), listed(1, &[]), now), Heard::Applied(_)));
    }
    assert_eq!(room.hear(name("one-more"), listed(1, &[]), now), Heard::TooManyNodes);
    room.tick(now + LEASE, trust(true, 1));
    assert!(matches!(room.hear(name("one-more"), listed(1, &[]), now), Heard::Applied(_)));
}

#[test]
fn whoever_looks_is_no_member_and_has_the_other_nodes_asked() {
    let (mut room, now) = (room(), Instant::now());
    let (good, better) = (trust(true, 1), trust(true, 2));
    room.observe();
    assert!(!room.is_empty() && !room.has_members());
    assert_eq!(room.settling(good), Settling::Asking);
    let tick = room.tick(now, good);
    assert_eq!(tick.announce, Some((LocalMembers::nobody(), true)));
    assert!(tick.next.is_some(), "it stays");
    assert_eq!(room.settling(good), Settling::At(now + SETTLE));
    let bob = device("bob", "tv");
    room.hear(name("b"), listed(1, std::slice::from_ref(&bob)), now);
    assert_eq!(room.members(), (Some(vec![bob]), Counts { users: 1, devices: 1 }));
    // There is nothing to answer.
    room.hear(name("c"), Announcement { asks: true, ..listed(1, &[]) }, now);
    assert_eq!(room.tick(now + PAUSE, good).announce, None);
    // What was announced may have been lost.
    assert_eq!(room.settling(trust(false, 1)), Settling::Unsure);
    assert_eq!(room.settling(better), Settling::Asking);
    let later = now + SETTLE;
    assert_eq!(room.tick(later, better).announce, Some((LocalMembers::nobody(), true)));
    assert_eq!(room.settling(better), Settling::At(later + SETTLE));
    room.hear(name("c"), counted(2, 3, 7), later);
    assert_eq!(room.members(), (None, Counts { users: 4, devices: 8 }));
    room.unobserve();
    assert!(room.is_empty());
    assert_eq!(room.tick(later, better).next, None);
}
