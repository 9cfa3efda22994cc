//! Events that some client has been sent, to know them again: a thousand followers are sent the same bytes,
//! and to read them once is enough. Pure.

use super::message::Head;

/// Places: more than the events that clients lie apart.
const PLACES: usize = 8192;

/// The newest event for each place.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    places: Vec<Known>,
}

/// An event that was read.
#[derive(Debug, Default, Clone)]
struct Known {
    bytes: Vec<u8>,
    stream: usize,
    seq: Option<u64>,
    timestamp_ms: Option<u64>,
    at_us: Option<u64>,
}

impl Memo {
    /// The event that these bytes are, if they were kept: byte for byte the same, on the same stream.
    /// Otherwise they have to be read.
    pub(crate) fn find(&self, stream: usize, bytes: &[u8]) -> Option<Head<'static>> {
        let known = self.places.get(place(bytes))?;
        let Known { seq, timestamp_ms, at_us, .. } = *known;
        (known.stream == stream && known.bytes == bytes).then_some(Head {
            seq,
            timestamp_ms,
            at_us,
            ..Head::default()
        })
    }

    /// Remembers one.
    pub(crate) fn keep(&mut self, stream: usize, bytes: &[u8], head: &Head<'_>) {
        if self.places.is_empty() {
            self.places.resize(PLACES, Known::default());
        }
        let known = &mut self.places[place(bytes)];
        known.bytes.clear();
        known.bytes.extend_from_slice(bytes);
        known.stream = stream;
        (known.seq, known.timestamp_ms, known.at_us) = (head.seq, head.timestamp_ms, head.at_us);
    }
}

/// A hash that costs less than what it saves. Two events in one place are read each time.
fn place(bytes: &[u8]) -> usize {
    let words = bytes.chunks_exact(8).filter_map(|eight| eight.try_into().ok()).map(u64::from_le_bytes);
    let hash = words.fold(bytes.len() as u64, |hash, word| {
        let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // A product tells nothing of its upper bits to its lower ones.
        mixed ^ (mixed >> 32)
    });
    hash as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_on_the_same_stream_are_known() {
        let mut memo = Memo::default();
        let event =
            |seq: u64| format!(r#"{{"type":"T","stream":"topic:m","seq":{seq},"payload":{{"at":5}}}}"#);
        assert_eq!(memo.find(0, event(1).as_bytes()), None);
        for seq in 1..=500 {
            memo.keep(0, event(seq).as_bytes(), &Head { seq: Some(seq), ..Head::default() });
        }
        let known = |seq: u64| memo.find(0, event(seq).as_bytes()).and_then(|head| head.seq);
        let found = (1..=500).filter(|seq| known(*seq) == Some(*seq)).count();
        assert!(found > 450, "{found}");
        assert_eq!((known(501), memo.find(1, event(500).as_bytes())), (None, None));
    }
}
