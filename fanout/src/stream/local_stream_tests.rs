#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{event, signal, stream};

fn epoch(name: &str) -> Epoch {
    name.parse().unwrap()
}

fn head(seq: u64) -> Head {
    Head { head: Seq(seq), floor: Seq(0) }
}

fn local_stream() -> Arc<LocalStream> {
    Arc::new(LocalStream::new(stream(), 100, Budget::new(usize::MAX)))
}

#[test]
fn signals_that_other_streams_overtake_are_taken_and_repeats_are_not() {
    let (slow, fast) = (local_stream(), local_stream());
    let sender = "n".parse().unwrap();
    let taken = |stream: &LocalStream| stream.state().signals.newest();
    // Numbered in turn, on channels of two shards, of which one is far behind.
    for number in (1..=999).step_by(2) {
        fast.signal_from(&sender, number, signal("1"));
    }
    for number in (2..=1000).step_by(2) {
        slow.signal_from(&sender, number, signal("1"));
        slow.signal_from(&sender, number, signal("1"));
    }
    assert_eq!((taken(&fast), taken(&slow)), (500, 500));
}

#[test]
fn copies_of_an_ended_history_are_not_released_in_the_new_one() {
    let stream = local_stream();
    stream.offer(&epoch("old"), &[event(4)], Source::Bus);
    assert_eq!(stream.apply_head(&epoch("new"), head(3), None, None), HeadChange::Opened);
    assert_eq!(stream.position().unwrap().seq, Seq(3));
    assert_eq!(stream.offer(&epoch("old"), &[event(4)], Source::Bus), None);
    assert_eq!(stream.offer(&epoch("new"), &[event(4)], Source::Bus), Some(1));
}

#[test]
fn copies_of_the_history_that_is_opened_are_kept() {
    let stream = local_stream();
    stream.offer(&epoch("old"), &[event(9)], Source::Bus);
    stream.offer(&epoch("new"), &[event(4)], Source::Bus);
    stream.apply_head(&epoch("new"), head(3), None, None);
    assert_eq!(stream.position().unwrap().seq, Seq(4));
    assert_eq!(stream.missing(), None);
}

#[test]
fn a_log_that_was_put_back_begins_anew() {
    let stream = local_stream();
    stream.apply_head(&epoch("one"), head(9), None, None);
    // Asked before event 10 was known here: an old answer, not an old log.
    stream.offer(&epoch("one"), &[event(10)], Source::Bus);
    assert_eq!(stream.apply_head(&epoch("one"), head(9), Some(Seq(9)), None), HeadChange::Unchanged);
    assert_eq!(stream.apply_head(&epoch("one"), head(5), Some(Seq(10)), None), HeadChange::WentBack);
    assert_eq!(stream.position().unwrap().seq, Seq(5));
}
