//! Rooms of several nodes over a bus that loses, repeats and reorders, compared with the truth.

use proptest::prelude::*;

use super::*;

/// Several nodes over a bus that loses, repeats and reorders.
struct Model {
    now: Instant,
    nodes: Vec<Node>,
    /// Copies under way: to which node, of whom.
    copies: Vec<(usize, NodeId, Announcement)>,
    started: u64,
}

struct Node {
    name: NodeId,
    room: RoomState,
    version: u64,
    trust: Trust,
    /// The truth: who attends through this node, how often.
    local: BTreeMap<Device, u32>,
    watcher: Watcher,
    next: Instant,
}

#[derive(Debug, Clone)]
enum Op {
    Join(usize, usize),
    Leave(usize, usize),
    Look(usize),
    Deliver(usize),
    Repeat(usize),
    Lose(usize),
    Pass(u64),
    Doubt(usize),
    Kill(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let (node, device, copy) = (0..3_usize, 0..8_usize, any::<usize>());
    prop_oneof![
        6 => (node.clone(), device.clone()).prop_map(|(node, device)| Op::Join(node, device)),
        5 => (node.clone(), device).prop_map(|(node, device)| Op::Leave(node, device)),
        4 => node.clone().prop_map(Op::Look),
        8 => copy.prop_map(Op::Deliver),
        1 => copy.prop_map(Op::Repeat),
        1 => copy.prop_map(Op::Lose),
        4 => (1..300_u64).prop_map(Op::Pass),
        2 => (300..8000_u64).prop_map(Op::Pass),
        1 => node.clone().prop_map(Op::Doubt),
        1 => node.prop_map(Op::Kill),
    ]
}

/// Two devices each of three users, and two of nobody.
fn some_device(n: usize) -> Device {
    device(["a", "b", "c", ""][n / 2], ["x", "y"][n % 2])
}

impl Model {
    fn new() -> Self {
        let mut model = Self { now: Instant::now(), nodes: Vec::new(), copies: Vec::new(), started: 0 };
        for _ in 0..3 {
            let node = model.start();
            model.nodes.push(node);
        }
        model
    }

    fn start(&mut self) -> Node {
        self.started += 1;
        Node {
            name: name(&format!("n{}", self.started)),
            room: room(),
            version: 0,
            trust: trust(true, 1),
            local: BTreeMap::new(),
            watcher: Watcher::default(),
            next: self.now,
        }
    }

    fn tick(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let tick = node.room.tick(self.now, node.trust);
        node.next = tick.next.unwrap_or(self.now + LEASE);
        assert!(node.next > self.now, "it does not spin");
        if let Some((members, asks)) = tick.announce {
            node.version += 1;
            let announcement = Announcement { version: node.version, asks, members };
            let sender = node.name.clone();
            for to in (0..self.nodes.len()).filter(|to| *to != index) {
                self.copies.push((to, sender.clone(), announcement.clone()));
            }
        }
    }

    fn deliver(&mut self, (to, sender, announcement): (usize, NodeId, Announcement)) {
        self.nodes[to].room.hear(sender, announcement, self.now);
        self.tick(to);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let next = self.nodes.iter().map(|node| node.next).min().unwrap();
            if next > end {
                break;
            }
            self.now = next;
            for index in 0..self.nodes.len() {
                if self.nodes[index].next <= self.now {
                    self.tick(index);
                }
            }
        }
        self.now = end;
    }

    fn apply(&mut self, op: Op) {
        let pick = |copies: &[_], n: usize| (!copies.is_empty()).then(|| n % copies.len());
        match op {
            Op::Join(index, device) => {
                let (node, device) = (&mut self.nodes[index], some_device(device));
                node.room.join(&device, self.now);
                *node.local.entry(device).or_default() += 1;
                self.tick(index);
            }
            Op::Leave(index, device) => {
                let (node, device) = (&mut self.nodes[index], some_device(device));
                if let Some(times) = node.local.get_mut(&device) {
                    *times -= 1;
                    if *times == 0 {
                        node.local.remove(&device);
                    }
                    node.room.leave(&device, self.now);
                    self.tick(index);
                }
            }
            Op::Look(index) => self.look(index),
            Op::Deliver(n) => {
                if let Some(n) = pick(&self.copies, n) {
                    let copy = self.copies.swap_remove(n);
                    self.deliver(copy);
                }
            }
            Op::Repeat(n) => {
                if let Some(n) = pick(&self.copies, n) {
                    self.deliver(self.copies[n].clone());
                }
            }
            Op::Lose(n) => {
                if let Some(n) = pick(&self.copies, n) {
                    self.copies.swap_remove(n);
                }
            }
            Op::Pass(ms) => self.pass(Duration::from_millis(ms)),
            Op::Doubt(index) => {
                let trust = &mut self.nodes[index].trust;
                trust.trusted = !trust.trusted;
                trust.generation += 1;
                self.tick(index);
            }
            Op::Kill(index) => self.nodes[index] = self.start(),
        }
    }

    /// A watcher looks; what it makes of the messages is what the node knows.
    fn look(&mut self, index: usize) {
        let Node { watcher, room, .. } = &mut self.nodes[index];
        watcher.look(room);
        if let Some(members) = &watcher.members
            && room.updates.next_state(self.now).is_none()
        {
            let known: BTreeSet<_> = room.membership.listed().list().into_iter().collect();
            assert_eq!(*members, known, "replaying equals what the node knows");
        }
    }

    /// Everything works; after the leases and a heartbeat everybody knows the truth.
    fn settle(&mut self) {
        for node in &mut self.nodes {
            node.trust = trust(true, node.trust.generation + 1);
            node.next = self.now;
        }
        for _ in 0..60 {
            self.pass(LEASE / 20);
            while let Some(copy) = self.copies.pop() {
                self.deliver(copy);
            }
        }
        for index in 0..self.nodes.len() {
            self.look(index);
        }
    }

    fn check(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let mut listed: BTreeSet<Device> = node.local.keys().cloned().collect();
            let mut counted = Counts::default();
            for (_, other) in self.nodes.iter().enumerate().filter(|(other, _)| *other != index) {
                let theirs: BTreeSet<Device> = other.local.keys().cloned().collect();
                if theirs.len() > LIST_MAX {
                    let counts = counts_of(&theirs);
                    counted.users += counts.users;
                    counted.devices += counts.devices;
                } else {
                    listed.extend(theirs);
                }
            }
            let of_listed = counts_of(&listed);
            let expected = (of_listed.users + counted.users, of_listed.devices + counted.devices);
            assert_eq!((node.watcher.users, node.watcher.devices), expected);
            match &node.watcher.members {
                Some(members) => assert_eq!(*members, listed),
                None => assert!(counted.devices > 0 || listed.len() > LIST_MAX),
            }
        }
    }
}

proptest! {
    #[test]
    fn in_the_end_every_node_knows_who_is_here(ops in prop::collection::vec(op(), 0..150)) {
        let mut model = Model::new();
        for op in ops {
            model.apply(op);
        }
        model.settle();
        model.check();
    }
}
