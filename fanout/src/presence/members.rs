//! Devices, counted in several ways at once. Pure.

use std::collections::{BTreeMap, HashMap};

use common::{UserId, protocol::Device};

use super::announcement::Counts;

/// The devices that are here, each for as long as one of possibly several reasons remains: through a
/// node, each connection that attends is one; through all nodes, each node is.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// Ordered, so that lists are.
    devices: BTreeMap<Device, u32>,
    /// How many devices of each user are here.
    users: HashMap<UserId, u32>,
    /// How many devices without a user are here.
    anonymous: u64,
}

impl Members {
    /// Adds a reason for the device. Returns whether it was not here before.
    pub(crate) fn add(&mut self, device: &Device) -> bool {
        if let Some(reasons) = self.devices.get_mut(device) {
            *reasons += 1;
            return false;
        }
        self.devices.insert(device.clone(), 1);
        match &device.user_id {
            Some(user) => *self.users.entry(user.clone()).or_default() += 1,
            None => self.anonymous += 1,
        }
        true
    }

    /// Takes a reason away. Returns whether it was the last one.
    pub(crate) fn remove(&mut self, device: &Device) -> bool {
        match self.devices.get_mut(device) {
            None => return false,
            Some(reasons) if *reasons > 1 => {
                *reasons -= 1;
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
