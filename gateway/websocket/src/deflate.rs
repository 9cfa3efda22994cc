//! Deflating and inflating single messages (RFC 7692 section 7.2). No context is kept from one message
//! to the next, so the state is the thread's, not the connection's.

use std::cell::RefCell;

use miniz_oxide::{
    DataFormat, MZFlush,
    deflate::{core::CompressorOxide, stream},
    inflate::{
        TINFLStatus,
        core::{
            DecompressorOxide, decompress,
            inflate_flags::{
                TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_IGNORE_ADLER32,
                TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
            },
        },
    },
};

use crate::Violation;

/// What a flush ends with; it is left out on the wire (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// An empty block that is the last one. Behind a whole message it ends the stream; behind one that
/// stops halfway it is something else, and that shows.
const LAST: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];

/// Level 6 saves up to nine percent more bytes, and takes five times as long for a large message: 11 ms
/// for 200 kB, in which the thread serves nobody else.
const LEVEL: u8 = 3;

/// The window is what was inflated so far, so no message can refer to one before it, least of all to
/// one of another client. There are no checksums in this format.
const FLAGS: u32 =
    TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | TINFL_FLAG_IGNORE_ADLER32;

/// Room for output to begin with, in bytes.
const ROOM_BYTES_MIN: usize = 256;

/// How many times larger than its deflated form a message is taken to be at first.
const RATIO: usize = 4;

thread_local! {
    /// About 300 KiB, which take several times as long to make as to reset.
    static COMPRESSOR: RefCell<CompressorOxide> = RefCell::new(compressor());
    /// About 10 KiB.
    static DECOMPRESSOR: RefCell<DecompressorOxide> = RefCell::new(DecompressorOxide::new());
}

fn compressor() -> CompressorOxide {
    let mut compressor = CompressorOxide::default();
    compressor.set_format_and_level(DataFormat::Raw, LEVEL);
    compressor
}

/// The library says that it cannot go on. No message makes it do so.
#[derive(Debug, thiserror::Error)]
#[error("deflating failed")]
pub struct CannotDeflate;

/// How large a deflated message may be whose content is within `message_bytes_max`: what cannot be
/// compressed grows a little.
pub(crate) fn deflated_bytes_max(message_bytes_max: usize) -> usize {
    message_bytes_max.saturating_add(message_bytes_max >> 7).saturating_add(64)
}

/// Deflates a message, with a window of 15 bits, and appends it to `out`.
///
/// # Errors
/// When the library gives up; what was appended is of no use then.
pub fn deflate(message: &[u8], out: &mut Vec<u8>) -> Result<(), CannotDeflate> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        let (mut rest, mut end) = (message, out.len());
        loop {
            out.resize(end + ROOM_BYTES_MIN.max(rest.len() / 2), 0);
            let result = stream::deflate(compressor, rest, &mut out[end..], MZFlush::Sync);
            rest = rest.get(result.bytes_consumed..).ok_or(CannotDeflate)?;
            end += result.bytes_written;
            if result.status.is_err() {
                return Err(CannotDeflate);
            }
            // Room that is left says that the flush is over.
            if rest.is_empty() && end < out.len() {
                break;
            }
        }
        out.truncate(end);
        if !out.ends_with(&TAIL) {
            return Err(CannotDeflate);
        }
        out.truncate(end - TAIL.len());
        Ok(())
    })
}

/// Inflates a message, up to `bytes_max`. One that would be larger is given up as soon as it is.
///
/// # Errors
/// [`Violation::TooLarge`], or [`Violation::Deflate`] for what is no deflated message.
pub fn inflate(message: &[u8], bytes_max: usize) -> Result<Vec<u8>, Violation> {
    if message.is_empty() {
        // Strictly an empty message is one byte. Some libraries send none.
        return Ok(Vec::new());
    }
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        decompressor.init();
        let room = message.len().saturating_mul(RATIO).max(ROOM_BYTES_MIN);
        // One byte more than allowed, so that a message which fills all of it is too large.
        let room_max = bytes_max.saturating_add(1);
        let mut inflating = Inflating { decompressor, out: vec![0; room.min(room_max)], end: 0, room_max };
        // A sender may end its stream with the message, or with what it leaves out (RFC 7692 section
        // 7.2.3.4).
        let ended = inflating.part(message)? || inflating.part(&TAIL)? || inflating.part(&LAST)?;
        let Inflating { mut out, end, .. } = inflating;
        if !ended {
            return Err(Violation::Deflate);
        }
        out.truncate(end);
        Ok(out)
    })
}

/// A message while it is inflated.
struct Inflating<'a> {
    decompressor: &'a mut DecompressorOxide,
    out: Vec<u8>,
    /// Up to here `out` is inflated; the rest is room.
    end: usize,
    room_max: usize,
}

impl Inflating<'_> {
    /// Inflates the next part, all of it. Returns whether a deflate stream ended exactly with it. One
    /// that ends earlier is followed by another (RFC 7692 section 7.2.3.5).
    fn part(&mut self, mut part: &[u8]) -> Result<bool, Violation> {
        loop {
            let (status, taken, given) = decompress(self.decompressor, part, &mut self.out, self.end, FLAGS);
            part = part.get(taken..).ok_or(Violation::Deflate)?;
            self.end += given;
            if self.end >= self.room_max {
                return Err(Violation::TooLarge);
            }
            match status {
                TINFLStatus::NeedsMoreInput => return Ok(false),
                TINFLStatus::HasMoreOutput => {
                    let room = self.out.len().saturating_mul(2).min(self.room_max);
                    self.out.resize(room, 0);
                }
                TINFLStatus::Done if part.is_empty() => return Ok(true),
                TINFLStatus::Done => self.decompressor.init(),
                _ => return Err(Violation::Deflate),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1 << 20;

    fn deflated(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        deflate(message, &mut out).unwrap();
        out
    }

    #[test]
    fn messages_of_the_rfc_are_read() {
        // RFC 7692 section 7.2.3: one block, no compression, a last block, two blocks.
        for bytes in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
            // A last block that is empty.
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x04],
            // Without the padding that section 7.2.3.4 asks for.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            assert_eq!(inflate(bytes, 5).unwrap(), b"Hello", "{bytes:x?}");
            assert_eq!(inflate(bytes, 4), Err(Violation::TooLarge));
        }
        // Section 7.2.3.6, and what some send instead.
        assert_eq!(inflate(&[0x00], MAX).unwrap(), b"");
        assert_eq!(inflate(&[], MAX).unwrap(), b"");
        assert_eq!(deflated(b""), [0x00]);
    }

    #[test]
    fn a_message_knows_nothing_of_the_one_before() {
        let once = deflated(b"the same words");
        assert_eq!(deflated(b"the same words"), once);
        // Section 7.2.3.2: refers to the window that "Hello" would have left.
        assert_eq!(inflate(&deflated(b"Hello"), MAX).unwrap(), b"Hello");
        assert_eq!(inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], MAX), Err(Violation::Deflate));
    }

    #[test]
    fn half_a_message_is_none() {
        let whole = deflated(&b"draft ".repeat(1000));
        for cut in 1..whole.len() {
            assert_eq!(inflate(&whole[..cut], MAX), Err(Violation::Deflate), "{cut} of {}", whole.len());
        }
    }

    #[test]
    fn a_bomb_is_given_up() {
        let bomb = deflated(&vec![0; 64 << 20]);
        assert!(bomb.len() < 300_000);
        assert_eq!(inflate(&bomb, MAX), Err(Violation::TooLarge));
        let exact = deflated(&vec![0; MAX]);
        assert_eq!(inflate(&exact, MAX).unwrap().len(), MAX);
        assert_eq!(inflate(&exact, MAX - 1), Err(Violation::TooLarge));
    }

    #[test]
    fn what_cannot_be_compressed_stays_within_its_bound() {
        let mut noise = 1u64;
        let message: Vec<u8> = std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise.to_le_bytes()[0]
        })
        .take(200_000)
        .collect();
        for length in [0, 1, 100, 20_000, 200_000] {
            assert!(deflated(&message[..length]).len() <= deflated_bytes_max(length));
        }
    }

    proptest! {
        #[test]
        fn messages_survive_the_round_trip(words in proptest::collection::vec("[a-e]{0,6}", 0..5000)) {
            let message = words.concat().into_bytes();
            let sent = deflated(&message);
            prop_assert_eq!(inflate(&sent, message.len()).unwrap(), message);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            if let Ok(inflated) = inflate(&bytes, 4096) {
                prop_assert!(inflated.len() <= 4096);
            }
        }
    }
}
