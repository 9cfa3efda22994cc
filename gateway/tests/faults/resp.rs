//! As much of the Redis protocol as it takes to lose messages.

/// Cuts what a server sends into whole values, and drops every `nth` message of a subscription.
pub(crate) struct Lossy {
    nth: u64,
    messages: u64,
    /// The beginning of a value whose end has not come.
    held: Vec<u8>,
}

impl Lossy {
    pub(crate) fn new(nth: u64) -> Self {
        Self { nth, messages: 0, held: Vec::new() }
    }

    /// Takes what came; gives what to pass on, and how many messages were dropped.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> (Vec<u8>, u64) {
        self.held.extend_from_slice(bytes);
        let (mut passed, mut dropped, mut at) = (Vec::new(), 0, 0);
        while let Some(length) = value_length(&self.held[at..]) {
            let value = &self.held[at..at + length];
            at += length;
            if is_message(value) {
                self.messages += 1;
                if self.messages.is_multiple_of(self.nth) {
                    dropped += 1;
                    continue;
                }
            }
            passed.extend_from_slice(value);
        }
        self.held.drain(..at);
        (passed, dropped)
    }
}

/// An array (RESP2) or a push (RESP3) that begins with `message` or `smessage`.
fn is_message(value: &[u8]) -> bool {
    let Some(end) = line_end(value) else { return false };
    let first = &value[end..];
    matches!(value[0], b'*' | b'>')
        && (first.starts_with(b"$8\r\nsmessage\r\n") || first.starts_with(b"$7\r\nmessage\r\n"))
}

/// The length of the value that begins here; `None` while its end has not come.
fn value_length(bytes: &[u8]) -> Option<usize> {
    let end = line_end(bytes)?;
    let count = std::str::from_utf8(&bytes[1..end - 2]).ok().and_then(|text| text.parse::<i64>().ok());
    let count = count.and_then(|count| usize::try_from(count).ok());
    match (bytes[0], count) {
        // Blobs: the bytes and a line end. A length of -1 is no blob at all.
        (b'$' | b'=' | b'!', Some(count)) => (bytes.len() >= end + count + 2).then_some(end + count + 2),
        (b'*' | b'>' | b'~', Some(count)) => values_length(bytes, end, count),
        (b'%' | b'|', Some(count)) => values_length(bytes, end, 2 * count),
        _ => Some(end),
    }
}

fn values_length(bytes: &[u8], begin: usize, count: usize) -> Option<usize> {
    (0..count).try_fold(begin, |at, _| Some(at + value_length(bytes.get(at..)?)?))
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2)
}

#[test]
fn every_third_message_is_dropped_wherever_the_bytes_are_cut() {
    let message = |n: u32| format!("*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\n{n}\r\n");
    let mut sent = "+OK\r\n%1\r\n$1\r\na\r\n:1\r\n$-1\r\n".to_owned();
    let mut wanted = sent.clone();
    for n in 1..=6 {
        sent += &message(n);
        if n % 3 != 0 {
            wanted += &message(n);
        }
    }
    for step in 1..sent.len() {
        let mut lossy = Lossy::new(3);
        let passed = sent.as_bytes().chunks(step).map(|part| lossy.pass(part));
        let (passed, dropped) = passed.fold((Vec::new(), 0), |(mut all, sum), (part, dropped)| {
            all.extend(part);
            (all, sum + dropped)
        });
        assert_eq!((String::from_utf8(passed).unwrap(), dropped), (wanted.clone(), 2), "cut every {step}");
    }
}
