//! The members of a node, as the node announces them to others.
//!
//! Behind the [start of an envelope](crate::bus::envelope), all numbers big-endian:
//!
//! | bytes | |
//! |---|---|
//! | 8 | version: grows with each announcement of the sender, about whichever stream |
//! | 1 | 1 when the sender asks the others for theirs, else 0 |
//! | 1 | what follows: 1 a list, 2 numbers |
//!
//! then of a list the number of its devices in 2 bytes, and of each
//!
//! | bytes | |
//! |---|---|
//! | 2 + n | user: length, UTF-8; empty for none |
//! | 2 + n | device: length, UTF-8 |
//!
//! and of numbers users and devices, 4 bytes each.

use bytes::{BufMut, Bytes, BytesMut};
use common::{Epoch, ids::NodeId, protocol::Device};

use crate::bus::envelope::{self, EnvelopeError, Reader, put_text};

/// The most devices that a list may hold, whatever the settings of the node that sent it.
pub(crate) const LIST_MAX: usize = 1000;

const LIST: u8 = 1;
const NUMBERS: u8 = 2;

/// The devices that attend a stream through the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// Of one sender's announcements, an older one than the last has no effect.
    pub(crate) version: u64,
    /// The sender asks the other nodes to announce theirs.
    pub(crate) asks: bool,
    pub(crate) members: LocalMembers,
}

/// The devices that attend through one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LocalMembers {
    /// All of them.
    Listed(Vec<Device>),
    /// How many they are: more than are listed.
    Counted(Counts),
}

/// How many attend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Devices without a user count as one each.
    pub(crate) users: u64,
    pub(crate) devices: u64,
}

/// Writes an announcement as a copy for the bus.
pub(crate) fn encode(sender: &NodeId, epoch: &Epoch, announcement: &Announcement) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u64(announcement.version);
    body.put_u8(announcement.asks.into());
    match &announcement.members {
        LocalMembers::Listed(devices) => {
            body.put_u8(LIST);
            let devices = &devices[..devices.len().min(LIST_MAX)];
            body.put_u16(u16::try_from(devices.len()).expect("no more than LIST_MAX"));
            for device in devices {
                put_text(&mut body, device.user_id.as_ref().map_or("", |user| user.as_str()));
                put_text(&mut body, device.device.as_str());
            }
        }
        LocalMembers::Counted(counts) => {
            body.put_u8(NUMBERS);
            for count in [counts.users, counts.devices] {
                body.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
            }
        }
    }
    envelope::presence(sender, epoch, &body)
}

/// Reads the body of a presence envelope. Any bytes may be given.
pub(crate) fn decode(body: &[u8]) -> Result<Announcement, EnvelopeError> {
    let mut rest = Reader(body);
    let version = rest.u64()?;
    let asks = rest.u8()? != 0;
    let members = match rest.u8()? {
        LIST => {
            let count = usize::from(rest.u16()?);
            if count > LIST_MAX {
                return Err(EnvelopeError::List(count));
            }
            LocalMembers::Listed((0..count).map(|_| device(&mut rest)).collect::<Result<_, _>>()?)
        }
        NUMBERS => LocalMembers::Counted(Counts { users: rest.u32()?.into(), devices: rest.u32()?.into() }),
        other => return Err(EnvelopeError::Kind(other)),
    };
    match rest.0.len() {
        0 => Ok(Announcement { version, asks, members }),
        more => Err(EnvelopeError::TooLong(more)),
    }
}

fn device(rest: &mut Reader<'_>) -> Result<Device, EnvelopeError> {
    let user_id = match rest.text()? {
        "" => None,
        user => Some(user.parse()?),
    };
    Ok(Device { user_id, device: rest.text()?.parse()? })
}

impl LocalMembers {
    /// Nobody.
    pub(crate) fn nobody() -> Self {
        Self::Listed(Vec::new())
    }

    pub(crate) fn is_nobody(&self) -> bool {
        match self {
            Self::Listed(devices) => devices.is_empty(),
            Self::Counted(counts) => counts.devices == 0,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use common::Stream;
    use proptest::prelude::*;

    use super::*;
    use crate::bus::envelope::Body;

    fn listed(devices: &[(&str, &str)]) -> LocalMembers {
        let device = |(user, device): &(&str, &str)| Device {
            user_id: (!user.is_empty()).then(|| user.parse().unwrap()),
            device: device.parse().unwrap(),
        };
        LocalMembers::Listed(devices.iter().map(device).collect())
    }

    fn read(copy: &[u8]) -> Result<Announcement, EnvelopeError> {
        match envelope::decode(copy, &Stream::All)?.body {
            Body::Presence(body) => decode(body),
            other => panic!("{other:?}"),
        }
    }

    fn epoch() -> Epoch {
        "e".parse().unwrap()
    }

    const LISTED: &[u8] = b"\x04\x01n\x01e\x03\0\0\0\0\0\0\x01\x07\x01\x01\0\x02\
        \0\x03bob\0\x05phone\0\0\0\x03tv1";
    const COUNTED: &[u8] = b"\x04\x01n\x01e\x03\0\0\0\0\0\0\0\x08\0\x02\
        \0\0\0\x02\0\0\0\x03";

    #[test]
    fn version_4_stays_what_it_is() {
        let sender = "n".parse().unwrap();
        let golden = [
            (
                LISTED,
                Announcement { version: 263, asks: true, members: listed(&[("bob", "phone"), ("", "tv1")]) },
            ),
            (
                COUNTED,
                Announcement {
                    version: 8,
                    asks: false,
                    members: LocalMembers::Counted(Counts { users: 2, devices: 3 }),
                },
            ),
        ];
        for (bytes, announcement) in golden {
            assert_eq!(
                encode(&sender, &epoch(), &announcement).escape_ascii().to_string(),
                bytes.escape_ascii().to_string()
            );
            assert_eq!(read(bytes).unwrap(), announcement);
        }
    }

    #[test]
    fn every_truncation_and_addition_is_refused() {
        for golden in [LISTED, COUNTED] {
            for end in 0..golden.len() {
                assert!(read(&golden[..end]).is_err(), "{end} bytes were taken");
            }
            assert!(matches!(read(&[golden, b"!"].concat()), Err(EnvelopeError::TooLong(1))));
        }
    }

    #[test]
    fn lists_are_bounded_and_the_longest_names_fit() {
        let long = Device {
            user_id: Some("\u{1F600}".repeat(128).parse().unwrap()),
            device: "\u{1F600}".repeat(64).parse().unwrap(),
        };
        let members = LocalMembers::Listed(vec![long; LIST_MAX]);
        let announcement = Announcement { version: 1, asks: false, members };
        let mut bytes = encode(&"n".parse().unwrap(), &epoch(), &announcement).to_vec();
        assert_eq!(read(&bytes).unwrap(), announcement);
        bytes[16..18].copy_from_slice(&1001_u16.to_be_bytes());
        assert!(matches!(read(&bytes), Err(EnvelopeError::List(1001))));
    }

    /// A user of up to 255 characters, or none; and a device.
    const USER: &str = "([\\p{L}\\p{N}]([^\\p{C}]{0,253}[\\p{L}\\p{N}])?)?";
    const DEVICE: &str = "[\\p{L}\\p{N}]([^\\p{C}]{0,62}[\\p{L}\\p{N}])?";

    proptest! {
        #[test]
        fn what_is_written_is_read(
            version: u64,
            asks: bool,
            devices in prop::collection::vec((USER, DEVICE), 0..20),
            users: u32,
            count: u32,
        ) {
            let devices: Vec<_> = devices.iter().map(|(user, device)| (&**user, &**device)).collect();
            for members in [listed(&devices), LocalMembers::Counted(Counts { users: users.into(), devices: count.into() })] {
                let announcement = Announcement { version, asks, members };
                prop_assert_eq!(read(&encode(&"n".parse().unwrap(), &epoch(), &announcement)).unwrap(), announcement);
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, at: usize, byte: u8) {
            let _ = decode(&bytes);
            let mut damaged = LISTED[6..].to_vec();
            let at = at % damaged.len();
            damaged[at] = byte;
            let _ = decode(&damaged);
        }
    }
}
