//! The format of <https://msgpack.org>, as far as messages use it.

use super::{Head, byte, take, taken};

pub(super) fn messages<'a>(rest: &mut &'a [u8], each: &mut impl FnMut(Head<'a>, &'a [u8])) -> Option<()> {
    let count = match rest.first()? {
        0x90..=0x9F | 0xDC | 0xDD => array(rest)?,
        _ => 1,
    };
    for _ in 0..count {
        let begin = *rest;
        let head = message(rest)?;
        each(head, taken(begin, rest));
    }
    Some(())
}

fn message<'a>(rest: &mut &'a [u8]) -> Option<Head<'a>> {
    let mut head = Head::default();
    for _ in 0..map(rest)? {
        match string(rest)? {
            b"type" => head.kind = string(rest)?,
            b"stream" => head.stream = string(rest)?,
            b"seq" => head.seq = Some(number(rest)?),
            b"timestamp" => head.timestamp_ms = Some(number(rest)?),
            b"payload" => {
                let mut inside = *rest;
                head.at_us = at(&mut inside);
                skip(rest)?;
            }
            _ => skip(rest)?,
        }
    }
    Some(head)
}

fn at(rest: &mut &[u8]) -> Option<u64> {
    let members = map(rest)?;
    (members > 0 && string(rest)? == b"at").then(|| number(rest))?
}

fn big_endian(rest: &mut &[u8], bytes: usize) -> Option<u64> {
    Some(take(rest, bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn length(rest: &mut &[u8], bytes: usize) -> Option<usize> {
    usize::try_from(big_endian(rest, bytes)?).ok()
}

fn map(rest: &mut &[u8]) -> Option<usize> {
    match byte(rest)? {
        short @ 0x80..=0x8F => Some(usize::from(short & 0x0F)),
        0xDE => length(rest, 2),
        0xDF => length(rest, 4),
        _ => None,
    }
}

fn array(rest: &mut &[u8]) -> Option<usize> {
    match byte(rest)? {
        short @ 0x90..=0x9F => Some(usize::from(short & 0x0F)),
        0xDC => length(rest, 2),
        0xDD => length(rest, 4),
        _ => None,
    }
}

fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = match byte(rest)? {
        short @ 0xA0..=0xBF => usize::from(short & 0x1F),
        0xD9 => length(rest, 1)?,
        0xDA => length(rest, 2)?,
        0xDB => length(rest, 4)?,
        _ => return None,
    };
    take(rest, length)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    match byte(rest)? {
        short @ 0..=0x7F => Some(u64::from(short)),
        0xCC => big_endian(rest, 1),
        0xCD => big_endian(rest, 2),
        0xCE => big_endian(rest, 4),
        0xCF => big_endian(rest, 8),
        _ => None,
    }
}

/// Passes over one value with all that is in it.
fn skip(rest: &mut &[u8]) -> Option<()> {
    let mut left = 1usize;
    while left > 0 {
        left -= 1;
        let bytes = match *rest.first()? {
            0x80..=0x8F | 0xDE | 0xDF => {
                // Bounded by what is there: a member takes two bytes at least.
                left = left.checked_add(map(rest)?.checked_mul(2)?)?;
                0
            }
            0x90..=0x9F | 0xDC | 0xDD => {
                left = left.checked_add(array(rest)?)?;
                0
            }
            0xA0..=0xBF | 0xD9..=0xDB => {
                string(rest)?;
                0
            }
            0xCC | 0xD0 => 2,
            0xCD | 0xD1 => 3,
            0xCA | 0xCE | 0xD2 => 5,
            0xCB | 0xCF | 0xD3 => 9,
            0xC0 | 0xC2 | 0xC3 | 0..=0x7F | 0xE0..=0xFF => 1,
            _ => return None,
        };
        take(rest, bytes)?;
    }
    Some(())
}
