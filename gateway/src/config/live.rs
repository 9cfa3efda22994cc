//! The settings that hold at the moment, and for whom.
//!
//! A setting that was changed at run time may hold for a part of the users, connections or nodes. For every set of
//! such roll-outs that can meet in one connection there is a whole configuration, made when something changes: so each
//! of them was validated, and looking one up costs a hash for each roll-out under way, of which there are few.

use std::sync::Arc;

use arc_swap::ArcSwap;
use common::{UserId, ids::NodeId};
use tokio::sync::watch;

use super::{Changeable, ConfigErrors, Declared as _, Given, declared};

/// The most settings that may hold for a part of users, connections or nodes at a time. Each doubles the number of
/// configurations.
pub(crate) const ROLLOUTS_MAX: usize = 8;

/// What a roll-out takes a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The users. A connection without a token has none; it counts as a user of its own.
    User,
    /// The connections.
    Connection,
    /// The nodes, by their names.
    Node,
}

impl By {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::User, Self::Connection, Self::Node];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Connection => "connection",
            Self::Node => "node",
        }
    }
}

/// A setting that was changed at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The setting, by its environment variable.
    pub name: &'static str,
    /// What it is, written as in the environment.
    pub value: String,
    /// What it is for those whom the roll-out leaves out; `None` stands for what the node was started with.
    pub otherwise: Option<String>,
    /// The part that has the value, 0 to 100.
    pub percent: u8,
    /// Of what.
    pub by: By,
}

impl Overlay {
    fn is_partial(&self) -> bool {
        (1..100).contains(&self.percent)
    }

    /// Whether a user, connection or node has the value.
    fn holds_for(&self, id: &str) -> bool {
        share(self.name, id) < self.percent
    }
}

/// Returns where an id stands among 100 equal parts, for a setting: the same on every node and in every version. A
/// roll-out takes the parts below its percentage, so raising that moves nobody back; and each setting has an order of
/// its own, so it is not always the same who comes first.
fn share(setting: &str, id: &str) -> u8 {
    // FNV-1a, and the finaliser of MurmurHash3: FNV alone spreads short ids that differ in their last byte poorly.
    let bytes = setting.bytes().chain([0]).chain(id.bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    u8::try_from(hash % 100).unwrap_or(u8::MAX)
}

/// The configurations of a moment.
struct Variants {
    /// The roll-outs under way by user or by connection.
    rollouts: Vec<Overlay>,
    /// A configuration for each set of them: bit `n` stands for the one at `n`.
    each: Vec<Arc<Changeable>>,
}

/// The settings that hold at the moment. Whoever needs one asks here each time, or is told of changes.
pub struct Live {
    now: ArcSwap<Variants>,
    changed: watch::Sender<()>,
}

impl Live {
    /// Settings as a node was started with.
    pub fn new(settings: Changeable) -> Arc<Self> {
        let variants = Variants { rollouts: Vec::new(), each: vec![Arc::new(settings)] };
        Arc::new(Self { now: ArcSwap::from_pointee(variants), changed: watch::Sender::new(()) })
    }

    /// Returns what holds for the node as a whole.
    pub fn node(&self) -> Arc<Changeable> {
        self.now.load().each[0].clone()
    }

    /// Returns what holds for a connection.
    pub fn connection(&self, user: Option<&UserId>, connection: &str) -> Arc<Changeable> {
        let now = self.now.load();
        let id = |by| match by {
            By::User => user.map_or(connection, UserId::as_str),
            By::Connection | By::Node => connection,
        };
        let chosen = now.rollouts.iter().enumerate();
        let chosen = chosen.filter(|(_, rollout)| rollout.holds_for(id(rollout.by)));
        now.each[chosen.fold(0, |mask, (bit, _)| mask | 1 << bit)].clone()
    }

    /// Told of each change.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Replaces what was changed at run time. What is already valid stays while this fails.
    ///
    /// # Errors
    /// What does not go together with what this node was started with, in the sentences of the start.
    pub(crate) fn apply(
        &self,
        given: &Given,
        overlays: &[Overlay],
        node: &NodeId,
    ) -> Result<(), ConfigErrors> {
        let (of_nodes, others): (Vec<_>, Vec<_>) =
            overlays.iter().cloned().partition(|overlay| overlay.by == By::Node || !overlay.is_partial());
        let fixed = of_nodes.into_iter().map(|overlay| {
            let percent = if overlay.holds_for(node.as_str()) { 100 } else { 0 };
            Overlay { percent, ..overlay }
        });
        let fixed: Vec<_> = fixed.collect();
        let each = combinations(given, &fixed, &others)?;
        self.now
            .store(Arc::new(Variants { rollouts: others, each: each.into_iter().map(Arc::new).collect() }));
        self.changed.send_replace(());
        Ok(())
    }
}

/// Checks settings that were changed at run time with what a node was started with, for whomever they hold.
///
/// # Errors
/// The sentences of the start.
pub(crate) fn check(given: &Given, overlays: &[Overlay]) -> Result<(), ConfigErrors> {
    let (partial, fixed): (Vec<_>, Vec<_>) = overlays.iter().cloned().partition(Overlay::is_partial);
    combinations(given, &fixed, &partial).map(drop)
}

/// Returns a configuration for each set of the partial overlays, those with the first one at every second place.
fn combinations(
    given: &Given,
    fixed: &[Overlay],
    partial: &[Overlay],
) -> Result<Vec<Changeable>, ConfigErrors> {
    (0..1_usize << partial.len().min(ROLLOUTS_MAX))
        .map(|mask| {
            let holds = |name: &str| {
                let fixed = fixed.iter().map(|overlay| (overlay, overlay.percent == 100));
                let partial =
                    partial.iter().enumerate().map(|(bit, overlay)| (overlay, mask >> bit & 1 == 1));
                fixed.chain(partial).find(|(overlay, _)| overlay.name == name)
            };
            let lookup = |name: &str| {
                let overlaid = holds(name).and_then(|(overlay, holds)| {
                    if holds { Some(overlay.value.clone()) } else { overlay.otherwise.clone() }
                });
                overlaid.or_else(|| given.text(name).filter(|_| !names_a_file(name)).map(str::to_owned))
            };
            Changeable::from_texts(&lookup)
        })
        .collect()
}

/// Whether a setting names a file that holds another one. What it held was given for that one.
fn names_a_file(name: &str) -> bool {
    declared().any(|(_, setting)| setting.file().is_some_and(|file| file.env() == name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn given(some: &[(&str, &str)]) -> Config {
        let lookup =
            |name: &str| some.iter().find(|(env, _)| *env == name).map(|(_, text)| (*text).to_owned());
        Config::from_source(lookup).unwrap()
    }

    fn overlay(name: &'static str, value: &str, percent: u8, by: By) -> Overlay {
        Overlay { name, value: value.to_owned(), otherwise: None, percent, by }
    }

    #[test]
    fn shares_are_the_same_for_ever() {
        // Other numbers would move users between the parts of roll-outs that are under way.
        let shares = [("DEFLATE", "alice"), ("DEFLATE", "bob"), ("LINGER", "alice"), ("DEFLATE", "")];
        assert_eq!(shares.map(|(setting, id)| share(setting, id)), [62, 61, 50, 31]);
    }

    proptest! {
        #[test]
        fn raising_a_percentage_moves_nobody_back(
            setting in "[A-Z_]{1,20}", ids in prop::collection::hash_set("[a-z0-9-]{1,12}", 1..50),
            one in 0u8..=100, other in 0u8..=100,
        ) {
            let chosen = |percent| -> HashSet<&String> {
                ids.iter().filter(|id| share(&setting, id) < percent).collect()
            };
            prop_assert!(chosen(one.min(other)).is_subset(&chosen(one.max(other))));
            prop_assert!(chosen(0).is_empty());
            prop_assert_eq!(chosen(100).len(), ids.len());
        }
    }

    #[test]
    fn a_part_is_about_as_large_as_asked_for() {
        for setting in ["DEFLATE", "WS_PING_INTERVAL"] {
            for (percent, about) in [(1, 100), (25, 2500), (50, 5000), (99, 9900)] {
                let chosen = (0..10_000).filter(|id| share(setting, &format!("user-{id}")) < percent).count();
                assert!(chosen.abs_diff(about) < 150, "{setting} {percent}: {chosen}");
            }
        }
    }

    #[test]
    fn each_connection_has_what_its_part_has() {
        let config = given(&[("DEFLATE_MIN_BYTES", "2KiB")]);
        let live = Live::new(config.changeable());
        let overlays = [
            overlay("DEFLATE", "false", 50, By::User),
            overlay("COMMANDS_PER_SECOND", "7", 30, By::Connection),
            overlay("WS_PONG_TIMEOUT", "9s", 100, By::User),
            overlay("TOKEN_WARNING", "9s", 0, By::User),
        ];
        live.apply(&config.given, &overlays, &"n".parse().unwrap()).unwrap();
        for n in 0..200 {
            let (user, connection) = (format!("u{n}").parse().unwrap(), format!("c{n}"));
            let settings = live.connection(Some(&user), &connection);
            let websocket = &settings.websocket;
            assert_eq!(websocket.deflate, share("DEFLATE", user.as_str()) >= 50);
            assert_eq!(websocket.commands_per_second == 7, share("COMMANDS_PER_SECOND", &connection) < 30);
            assert_eq!((websocket.heartbeat.timeout.as_secs(), websocket.deflate_bytes_min), (9, 2048));
            assert_eq!(websocket.token_warning.as_secs(), 60);
        }
    }

    #[test]
    fn a_node_has_what_its_name_gives_it() {
        let config = given(&[]);
        let overlays =
            [Overlay { otherwise: Some("2ms".to_owned()), ..overlay("WRITE_WINDOW", "1ms", 40, By::Node) }];
        let windows = (0..50).map(|n| {
            let (name, live) = (format!("n{n}"), Live::new(config.changeable()));
            live.apply(&config.given, &overlays, &name.parse().unwrap()).unwrap();
            let window = live.node().writes.window.as_millis();
            assert_eq!(window, if share("WRITE_WINDOW", &name) < 40 { 1 } else { 2 });
            window
        });
        assert_eq!(windows.collect::<HashSet<_>>().len(), 2);
    }

    #[test]
    fn what_does_not_go_together_in_any_part_is_refused() {
        let config = given(&[("WS_PING_INTERVAL", "20s")]);
        let min = |percent| overlay("WS_PING_INTERVAL_MIN", "15s", percent, By::User);
        let start = |percent| overlay("WS_PING_INTERVAL", "12s", percent, By::Connection);
        assert!(check(&config.given, &[min(50)]).is_ok());
        assert!(check(&config.given, &[start(50)]).is_ok());
        let errors = check(&config.given, &[min(50), start(50)]).unwrap_err();
        assert!(errors.0[0].contains("give at least WS_PING_INTERVAL_MIN, which is 15s"), "{errors}");
        let live = Live::new(config.changeable());
        live.apply(&config.given, &[min(100)], &"n".parse().unwrap()).unwrap();
        assert!(live.apply(&config.given, &[min(100), start(100)], &"n".parse().unwrap()).is_err());
        assert_eq!(live.node().websocket.heartbeat.start.as_secs(), 20, "it has stayed");
    }
}
