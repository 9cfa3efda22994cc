//! Who is here, as one follower is told, and whether that can be true.

use std::collections::BTreeSet;

use serde_json::Value;

/// One device that is here: its user, unless it has shown no token, and its name.
pub type Member = (Option<String>, String);

/// Somebody came or left, by a message of its own or by a whole state that differs from the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Somebody came.
    Came(Member),
    /// Somebody left.
    Left(Member),
}

/// Who is here.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    /// Whether `PRESENCE` has come on this connection: it comes before every change.
    known: bool,
    listed: bool,
    members: BTreeSet<Member>,
    users: u64,
    devices: u64,
    changes: Vec<Change>,
    states: u64,
}

impl Presence {
    /// Everyone who is here; `None` before it is known, and while there are too many to list.
    pub fn members(&self) -> Option<&BTreeSet<Member>> {
        (self.known && self.listed).then_some(&self.members)
    }

    /// How many users and devices are here.
    pub fn counts(&self) -> (u64, u64) {
        (self.users, self.devices)
    }

    /// Who came and left, oldest first. The first state counts as everybody coming; of states without
    /// a list nothing is known.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// How many whole states have come.
    pub fn states(&self) -> u64 {
        self.states
    }

    /// A connection has begun, on which nothing is known yet.
    pub(super) fn forget(&mut self) {
        self.known = false;
    }

    /// Takes `PRESENCE`.
    pub(super) fn state(&mut self, payload: &Value) -> Result<(), String> {
        (self.users, self.devices) = counts(payload)?;
        self.known = true;
        self.states += 1;
        let Some(list) = payload.get("members") else {
            self.listed = false;
            return Ok(());
        };
        let list = list.as_array().ok_or("members is no list")?;
        let members: BTreeSet<Member> = list.iter().map(member).collect::<Result<_, _>>()?;
        if members.len() != list.len() {
            return Err(format!("a member is listed twice: {payload}"));
        }
        self.changes.extend(self.members.difference(&members).cloned().map(Change::Left));
        self.changes.extend(members.difference(&self.members).cloned().map(Change::Came));
        self.members = members;
        self.listed = true;
        self.check()
    }

    /// Takes `JOIN`.
    pub(super) fn join(&mut self, payload: &Value) -> Result<(), String> {
        let member = self.change(payload)?;
        if !self.members.insert(member.clone()) {
            return Err(format!("{member:?} came, who was here"));
        }
        self.changes.push(Change::Came(member));
        self.check()
    }

    /// Takes `LEAVE`.
    pub(super) fn leave(&mut self, payload: &Value) -> Result<(), String> {
        let member = self.change(payload)?;
        if !self.members.remove(&member) {
            return Err(format!("{member:?} left, who was not here"));
        }
        self.changes.push(Change::Left(member));
        self.check()
    }

    fn change(&mut self, payload: &Value) -> Result<Member, String> {
        if !self.known || !self.listed {
            return Err(format!("a change of what was not told: {payload}"));
        }
        (self.users, self.devices) = counts(payload)?;
        member(payload)
    }

    fn check(&self) -> Result<(), String> {
        // Whoever has shown no token is a user of its own.
        let nameless = self.members.iter().filter(|(user, _)| user.is_none()).count();
        let named: BTreeSet<_> = self.members.iter().filter_map(|(user, _)| user.as_ref()).collect();
        let counted = ((named.len() + nameless) as u64, self.members.len() as u64);
        let said = (self.users, self.devices);
        if counted == said {
            return Ok(());
        }
        Err(format!("{said:?} users and devices are said, {counted:?} are here: {:?}", self.members))
    }
}

fn counts(payload: &Value) -> Result<(u64, u64), String> {
    let counts = payload["users"].as_u64().zip(payload["devices"].as_u64());
    counts.ok_or_else(|| format!("no counts: {payload}"))
}

fn member(of: &Value) -> Result<Member, String> {
    let device = of["device"].as_str().ok_or_else(|| format!("no device: {of}"))?;
    Ok((of["userId"].as_str().map(str::to_owned), device.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn who(user: &str, device: &str) -> Member {
        (Some(user.to_owned()), device.to_owned())
    }

    #[test]
    fn who_is_here_follows_from_what_is_told() {
        let mut presence = Presence::default();
        let alice = json!({ "userId": "alice", "device": "phone" });
        presence.state(&json!({ "members": [alice], "users": 1, "devices": 1 })).unwrap();
        presence.join(&json!({ "userId": "alice", "device": "laptop", "users": 1, "devices": 2 })).unwrap();
        presence.join(&json!({ "device": "x", "users": 2, "devices": 3 })).unwrap();
        presence.leave(&json!({ "userId": "alice", "device": "phone", "users": 2, "devices": 2 })).unwrap();
        assert_eq!(presence.members().unwrap().len(), 2);
        // Another connection tells the same in one go.
        presence.forget();
        assert!(presence.members().is_none());
        let members = json!([{ "userId": "bob", "device": "tv" }, { "device": "x" }]);
        presence.state(&json!({ "members": members, "users": 2, "devices": 2 })).unwrap();
        assert_eq!(
            presence.changes()[3..],
            [
                Change::Left(who("alice", "phone")),
                Change::Left(who("alice", "laptop")),
                Change::Came(who("bob", "tv"))
            ]
        );
        presence.state(&json!({ "users": 300, "devices": 500 })).unwrap();
        assert_eq!((presence.members(), presence.counts()), (None, (300, 500)));
    }

    #[test]
    fn what_cannot_be_is_noticed() {
        let join = json!({ "userId": "a", "device": "d", "users": 1, "devices": 1 });
        assert!(Presence::default().join(&join).is_err(), "before the state");
        let mut presence = Presence::default();
        presence.state(&json!({ "members": [], "users": 0, "devices": 0 })).unwrap();
        assert!(presence.clone().leave(&join).is_err(), "was not here");
        presence.join(&join).unwrap();
        assert!(presence.clone().join(&join).is_err(), "was here");
        let wrong = json!({ "userId": "a", "device": "e", "users": 2, "devices": 2 });
        assert!(presence.clone().join(&wrong).is_err(), "one user, not two");
        assert!(presence.state(&json!({ "members": [{ "device": "x" }], "users": 1 })).is_err());
        presence.state(&json!({ "users": 900, "devices": 900 })).unwrap();
        assert!(presence.join(&join).is_err(), "nobody is listed");
    }
}
