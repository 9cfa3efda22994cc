//! Who is present through any node, and since which announcement. Pure: time is an argument.

use std::{collections::HashMap, time::Duration};

use common::{ids::NodeId, protocol::Device};
use tokio::time::Instant;

use super::{
    announcement::{Counts, Here},
    members::Members,
};

/// The members of one stream, through this node and the others.
#[derive(Debug)]
pub(crate) struct Census {
    lease: Duration,
    /// Who attends through this node, a reason per attendance.
    local: Members,
    /// What the others last announced, until the lease of that ends.
    nodes: HashMap<NodeId, Node>,
    /// Who is listed by any node, a reason per node.
    all: Members,
    /// The sum of what nodes say that do not list.
    counted: Counts,
}

#[derive(Debug)]
struct Node {
    version: u64,
    /// A list is sorted and names nobody twice. Nobody at all is remembered as well, until the lease
    /// ends: an older announcement may be on its way.
    here: Here,
    until: Instant,
}

/// A device that came or left, and how many were present right after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) device: Device,
    pub(crate) came: bool,
    pub(crate) counts: Counts,
}

/// What an announcement did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is taken; this has changed by it.
    Taken(Vec<Change>),
    /// A newer one of that node has come before.
    Old,
    /// There are announcements of too many nodes already.
    Full,
}

/// Other nodes remembered per stream: more than a cluster has.
pub(crate) const NODES_MAX: usize = 256;

impl Census {
    pub(crate) fn new(lease: Duration) -> Self {
        Self {
            lease,
            local: Members::default(),
            nodes: HashMap::new(),
            all: Members::default(),
            counted: Counts::default(),
        }
    }

    /// Who attends through this node.
    pub(crate) fn local(&self) -> &Members {
        &self.local
    }

    /// Who is listed. Everybody, unless [`Census::is_counted`].
    pub(crate) fn listed(&self) -> &Members {
        &self.all
    }

    /// Whether a node says only how many attend through it.
    pub(crate) fn is_counted(&self) -> bool {
        self.counted.devices > 0
    }

    /// How many are present. A user who attends through several nodes of which one does not list
    /// counts several times.
    pub(crate) fn counts(&self) -> Counts {
        let listed = self.all.counts();
        Counts { users: listed.users + self.counted.users, devices: listed.devices + self.counted.devices }
    }

    /// A connection of this node attends. Returns whether that makes its device a member of this node.
    pub(crate) fn join(&mut self, device: &Device, changes: &mut Vec<Change>) -> bool {
        let new = self.local.add(device);
        if new {
            self.add(device, changes);
        }
        new
    }

    /// One ceases to. Returns whether its device is no longer a member of this node.
    pub(crate) fn leave(&mut self, device: &Device, changes: &mut Vec<Change>) -> bool {
        let gone = self.local.remove(device);
        if gone {
            self.remove(device, changes);
        }
        gone
    }

    /// Takes what another node announced.
    pub(crate) fn hear(&mut self, node: NodeId, version: u64, mut here: Here, now: Instant) -> Heard {
        match self.nodes.get(&node) {
            Some(known) if known.version >= version => return Heard::Old,
            None if self.nodes.len() >= NODES_MAX => return Heard::Full,
            _ => {}
        }
        if let Here::Listed(devices) = &mut here {
            devices.sort_unstable();
            devices.dedup();
        }
        let mut changes = Vec::new();
        let before = self.nodes.remove(&node).map_or_else(Here::nobody, |known| known.here);
        self.replace(&before, &here, &mut changes);
        self.nodes.insert(node, Node { version, here, until: now + self.lease });
        Heard::Taken(changes)
    }

    /// Ends the leases that are over. Returns how many nodes with members have gone that way.
    pub(crate) fn expire(&mut self, now: Instant, changes: &mut Vec<Change>) -> usize {
        let mut over: Vec<NodeId> =
            self.nodes.iter().filter(|(_, node)| node.until <= now).map(|(id, _)| id.clone()).collect();
        over.sort_unstable();
        let mut lost = 0;
        for id in over {
            if let Some(node) = self.nodes.remove(&id) {
                lost += usize::from(!node.here.is_nobody());
                self.replace(&node.here, &Here::nobody(), changes);
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

    /// When the last of the leases ends that nodes with members have.
    pub(crate) fn last_expiry(&self) -> Option<Instant> {
        self.nodes.values().filter(|node| !node.here.is_nobody()).map(|node| node.until).max()
    }

    fn replace(&mut self, before: &Here, after: &Here, changes: &mut Vec<Change>) {
        if let Here::Counted(counts) = before {
            self.counted.users -= counts.users;
            self.counted.devices -= counts.devices;
        }
        if let Here::Counted(counts) = after {
            // No sum of as many nodes overflows: each number came in 32 bits.
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

fn devices(here: &Here) -> &[Device] {
    match here {
        Here::Listed(devices) => devices,
        Here::Counted(_) => &[],
    }
}
