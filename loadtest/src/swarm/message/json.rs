//! RFC 8259. What is skipped is not checked to be well-formed.

use super::{Head, byte, take, taken};

pub(super) fn messages<'a>(rest: &mut &'a [u8], each: &mut impl FnMut(Head<'a>, &'a [u8])) -> Option<()> {
    space(rest);
    if rest.first() != Some(&b'[') {
        let begin = *rest;
        let head = message(rest)?;
        each(head, taken(begin, rest));
        space(rest);
        return Some(());
    }
    byte(rest);
    loop {
        space(rest);
        let begin = *rest;
        let head = message(rest)?;
        each(head, taken(begin, rest));
        space(rest);
        match byte(rest)? {
            b',' => {}
            b']' => break,
            _ => return None,
        }
    }
    space(rest);
    Some(())
}

fn message<'a>(rest: &mut &'a [u8]) -> Option<Head<'a>> {
    let mut head = Head::default();
    expect(rest, b'{')?;
    space(rest);
    if rest.first() == Some(&b'}') {
        byte(rest);
        return Some(head);
    }
    loop {
        space(rest);
        let key = string(rest)?;
        space(rest);
        expect(rest, b':')?;
        space(rest);
        match key {
            b"type" => head.kind = string(rest)?,
            b"stream" => head.stream = string(rest)?,
            b"seq" => head.seq = Some(number(rest)?),
            b"timestamp" => head.timestamp_ms = Some(number(rest)?),
            b"payload" => {
                let mut inside = *rest;
                head.at_us = inside.strip_prefix(b"{\"at\":").and_then(|after| {
                    inside = after;
                    number(&mut inside)
                });
                value(rest)?;
            }
            _ => value(rest)?,
        }
        space(rest);
        match byte(rest)? {
            b',' => {}
            b'}' => return Some(head),
            _ => return None,
        }
    }
}

fn space(rest: &mut &[u8]) {
    *rest = rest.trim_ascii_start();
}

fn expect(rest: &mut &[u8], wanted: u8) -> Option<()> {
    (byte(rest)? == wanted).then_some(())
}

/// A string without its quotes, escapes left as they are.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    expect(rest, b'"')?;
    let mut at = 0;
    loop {
        match rest.get(at)? {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    let inside = take(rest, at)?;
    byte(rest);
    Some(inside)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut number = 0u64;
    for digit in take(rest, digits)? {
        number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    (digits > 0).then_some(number)
}

fn value(rest: &mut &[u8]) -> Option<()> {
    let mut depth = 0usize;
    loop {
        match rest.first()? {
            b'"' => {
                string(rest)?;
            }
            b'{' | b'[' => {
                depth += 1;
                byte(rest);
                continue;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                byte(rest);
            }
            b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' if depth > 0 => {
                byte(rest);
                continue;
            }
            _ => {
                let plain = rest.iter().take_while(|byte| !b",:]} \n\r\t\"".contains(byte)).count();
                if plain == 0 {
                    return None;
                }
                take(rest, plain)?;
            }
        }
        if depth == 0 {
            return Some(());
        }
    }
}
