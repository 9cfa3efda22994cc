//! The members of one stream through all nodes, and the leases of the other nodes. Pure: time is an argument.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use common::{UserId, ids::NodeId, protocol::Device};
use tokio::time::Instant;

use super::announcement::{Counts, LocalMembers};

/// The members of one stream, through this node and the others.
#[derive(Debug)]
pub(crate) struct Membership {
    lease: Duration,
    /// The devices that attend through this node, counted per attendance.
    local: DeviceSet,
    /// What the other nodes last announced, until its lease ends.
    nodes: HashMap<NodeId, Node>,
    /// The devices that any node lists, counted per node.
    all: DeviceSet,
    /// The sum of the counts of nodes that do not list.
    counted: Counts,
}

#[derive(Debug)]
struct Node {
    version: u64,
    /// A list is sorted and without repeats. An empty one is kept as well, until the lease ends: an older
    /// announcement may still arrive.
    members: LocalMembers,
    until: Instant,
}

/// A device that came or left, and how many were present right after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) device: Device,
    pub(crate) came: bool,
    pub(crate) counts: Counts,
}

/// What an announcement changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// These changes.
    Applied(Vec<Change>),
    /// Nothing: a newer one of that node has arrived before.
    Outdated,
    /// Nothing: [`NODES_MAX`] other nodes are remembered already.
    TooManyNodes,
}

/// Other nodes remembered per stream: more than a cluster has.
pub(crate) const NODES_MAX: usize = 256;

impl Membership {
    pub(crate) fn new(lease: Duration) -> Self {
        Self {
            lease,
            local: DeviceSet::default(),
            nodes: HashMap::new(),
            all: DeviceSet::default(),
            counted: Counts::default(),
        }
    }

    /// The devices that attend through this node.
    pub(crate) fn local(&self) -> &DeviceSet {
        &self.local
    }

    /// The devices that are listed. All devices, unless [`Membership::is_counted`].
    pub(crate) fn listed(&self) -> &DeviceSet {
        &self.all
    }

    /// Returns whether a node announced only how many attend through it.
    pub(crate) fn is_counted(&self) -> bool {
        self.counted.devices > 0
    }

    /// How many are present. A user who attends through several nodes counts several times when one of them
    /// does not list.
    pub(crate) fn counts(&self) -> Counts {
        let listed = self.all.counts();
        Counts { users: listed.users + self.counted.users, devices: listed.devices + self.counted.devices }
    }

    /// A connection of this node attends. Returns whether its device is a new member of this node.
    pub(crate) fn join(&mut self, device: &Device, changes: &mut Vec<Change>) -> bool {
        let new = self.local.add(device);
        if new {
            self.add(device, changes);
        }
        new
    }

    /// A connection of this node no longer attends. Returns whether its device has left this node.
    pub(crate) fn leave(&mut self, device: &Device, changes: &mut Vec<Change>) -> bool {
        let gone = self.local.remove(device);
        if gone {
            self.remove(device, changes);
        }
        gone
    }

    /// Takes what another node announced.
    pub(crate) fn hear(
        &mut self,
        node: NodeId,
        version: u64,
        mut members: LocalMembers,
        now: Instant,
    ) -> Heard {
        match self.nodes.get(&node) {
            Some(known) if known.version >= version => return Heard::Outdated,
            None if self.nodes.len() >= NODES_MAX => return Heard::TooManyNodes,
            _ => {}
        }
        if let LocalMembers::Listed(devices) = &mut members {
            devices.sort_unstable();
            devices.dedup();
        }
        let mut changes = Vec::new();
        let before = self.nodes.remove(&node).map_or_else(LocalMembers::nobody, |known| known.members);
        self.replace(&before, &members, &mut changes);
        self.nodes.insert(node, Node { version, members, until: now + self.lease });
        Heard::Applied(changes)
    }

    /// Ends the leases that are over. Returns how many of their nodes had members.
    pub(crate) fn expire(&mut self, now: Instant, changes: &mut Vec<Change>) -> usize {
        let mut over: Vec<NodeId> =
            self.nodes.iter().filter(|(_, node)| node.until <= now).map(|(id, _)| id.clone()).collect();
        over.sort_unstable();
        let mut lost = 0;
        for id in over {
            if let Some(node) = self.nodes.remove(&id) {
                lost += usize::from(!node.members.is_nobody());
                self.replace(&node.members, &LocalMembers::nobody(), changes);
            }
        }
        lost
    }

    /// Gives every node a full lease from now on.
    pub(crate) fn renew_all(&mut self, now: Instant) {
        for node in self.nodes.values_mut() {
            node.until = now + self.lease;
        }
    }

    /// When the next lease ends.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.nodes.values().map(|node| node.until).min()
    }

    /// When the last lease of a node with members ends.
    pub(crate) fn last_expiry(&self) -> Option<Instant> {
        self.nodes.values().filter(|node| !node.members.is_nobody()).map(|node| node.until).max()
    }

    fn replace(&mut self, before: &LocalMembers, after: &LocalMembers, changes: &mut Vec<Change>) {
        if let LocalMembers::Counted(counts) = before {
            self.counted.users -= counts.users;
            self.counted.devices -= counts.devices;
        }
        if let LocalMembers::Counted(counts) = after {
            // The sum over NODES_MAX nodes cannot overflow: each number has 32 bits on the wire.
            self.counted.users += counts.users;
            self.counted.devices += counts.devices;
        }
        let (before, after) = (devices(before), devices(after));
        for device in before.iter().filter(|device| after.binary_search(device).is_err()) {
            self.remove(device, changes);
        }
        for device in after.iter().filter(|device| before.binary_search(device).is_err()) {
            self.add(device, changes);
        }
    }

    fn add(&mut self, device: &Device, changes: &mut Vec<Change>) {
        if self.all.add(device) {
            changes.push(Change { device: device.clone(), came: true, counts: self.counts() });
        }
    }

    fn remove(&mut self, device: &Device, changes: &mut Vec<Change>) {
        if self.all.remove(device) {
            changes.push(Change { device: device.clone(), came: false, counts: self.counts() });
        }
    }
}

fn devices(members: &LocalMembers) -> &[Device] {
    match members {
        LocalMembers::Listed(devices) => devices,
        LocalMembers::Counted(_) => &[],
    }
}

/// Devices with a count each, and how many users they belong to. A device is in the set while its count is
/// above zero: of one node, it counts the connections that attend; of all nodes, the nodes that list it.
#[derive(Debug, Default)]
pub(crate) struct DeviceSet {
    /// Ordered, so that lists are.
    devices: BTreeMap<Device, u32>,
    /// The devices per user.
    users: HashMap<UserId, u32>,
    /// The devices without a user.
    anonymous: u64,
}

impl DeviceSet {
    /// Adds one to the device's count. Returns whether it was not in the set before.
    pub(crate) fn add(&mut self, device: &Device) -> bool {
        if let Some(count) = self.devices.get_mut(device) {
            *count += 1;
            return false;
        }
        self.devices.insert(device.clone(), 1);
        match &device.user_id {
            Some(user) => *self.users.entry(user.clone()).or_default() += 1,
            None => self.anonymous += 1,
        }
        true
    }

    /// Subtracts one from the device's count. Returns whether that removed it from the set.
    pub(crate) fn remove(&mut self, device: &Device) -> bool {
        match self.devices.get_mut(device) {
            None => return false,
            Some(count) if *count > 1 => {
                *count -= 1;
                return false;
            }
            Some(_) => self.devices.remove(device),
        };
        let Some(user) = &device.user_id else {
            self.anonymous -= 1;
            return true;
        };
        if let Some(devices) = self.users.get_mut(user) {
            *devices -= 1;
            if *devices == 0 {
                self.users.remove(user);
            }
        }
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.devices.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Every device, in order.
    pub(crate) fn list(&self) -> Vec<Device> {
        self.devices.keys().cloned().collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { users: self.users.len() as u64 + self.anonymous, devices: self.devices.len() as u64 }
    }
}
