#![allow(clippy::unwrap_used)]

use super::{
    super::{
        budget::Budget,
        mailbox::{Mailbox, MailboxSlot},
        source::Source,
    },
    *,
};
use crate::{
    log::Head,
    testing::{event, signal, stream, urgent_event},
};

struct Stage {
    stream: Arc<LocalStream>,
    epoch: Epoch,
    mailbox: Arc<Mailbox>,
}

fn epoch(name: &str) -> Epoch {
    name.parse().unwrap()
}

impl Stage {
    /// A stream of history `one` that stands at `head`, behind `floor`.
    fn at(head: u64, floor: u64) -> Self {
        let stream = Arc::new(LocalStream::new(stream(), 16, Budget::new(usize::MAX)));
        let stage = Self { stream, epoch: epoch("one"), mailbox: Arc::default() };
        stage.learn("one", head, floor, None);
        stage
    }

    fn learn(&self, name: &str, head: u64, floor: u64, asked: Option<u64>) {
        let head = Head { head: Seq(head), floor: Seq(floor) };
        self.stream.apply_head(&epoch(name), head, asked.map(Seq), None);
    }

    fn offer(&self, event: Arc<Event>) {
        self.stream.offer(&self.epoch, &[event], Source::Bus);
    }

    /// A follower without a cursor.
    fn follow(&self) -> StreamReader {
        StreamReader::open(self.register(), None).unwrap()
    }

    fn follow_from(&self, name: &str, seq: u64) -> StreamReader {
        StreamReader::open(self.register(), Some(&Cursor { epoch: epoch(name), seq: Seq(seq) })).unwrap()
    }

    fn register(&self) -> Registration {
        self.stream.register(MailboxSlot::new(self.mailbox.clone(), 0))
    }

    fn page(&self, seqs: std::ops::RangeInclusive<u64>, floor: u64) -> Page {
        Page { epoch: self.epoch.clone(), events: seqs.map(event).collect(), floor: Seq(floor) }
    }
}

/// What a step is, in short.
fn step(follower: &mut StreamReader) -> String {
    match follower.step(usize::MAX) {
        Step::Send(due) => format!(
            "send {:?}",
            due.iter().flat_map(Deliveries::as_slice).map(|d| d.event.seq.0).collect::<Vec<_>>()
        ),
        Step::Signals(due) => {
            format!("signals {:?}", due.iter().map(|s| s.payload.get()).collect::<Vec<_>>())
        }
        Step::Synced(seq) => format!("synced {seq}"),
        Step::Read(read) => format!("read after {}", read.after),
        Step::Reset => "reset".to_owned(),
        Step::Wait => "wait".to_owned(),
    }
}

#[test]
fn it_is_small() {
    assert!(size_of::<StreamReader>() <= 64, "{} bytes per connection and stream", size_of::<StreamReader>());
}

#[test]
fn a_log_that_was_put_back_resets_those_who_had_seen_more() {
    let stage = Stage::at(10, 0);
    let (mut ahead, mut behind) = (stage.follow(), stage.follow_from("one", 4));
    assert_eq!(step(&mut ahead), "wait");
    stage.learn("one", 5, 0, Some(10));
    assert_eq!(step(&mut ahead), "reset");
    assert_eq!(step(&mut behind), "read after 4");
    ahead.restart(Cursor { epoch: stage.epoch, seq: Seq(5) });
    assert_eq!(step(&mut ahead), "synced 5");
    assert_eq!(step(&mut ahead), "wait");
}

#[test]
fn skipping_goes_on_from_the_floor_when_only_retention_was_faster() {
    let stage = Stage::at(10, 6);
    let mut returned = stage.follow_from("one", 3);
    assert_eq!(step(&mut returned), "reset");
    assert_eq!(returned.skip(), Some("one:6".parse().unwrap()));
    assert_eq!(step(&mut returned), "read after 6");
    returned.accept(&stage.page(7..=10, 6));
    assert_eq!(step(&mut returned), "synced 10");
    // The same for one that falls behind while it is live.
    let mut slow = stage.follow();
    (11..=40).for_each(|seq| stage.offer(event(seq)));
    stage.learn("one", 40, 38, None);
    assert_eq!(step(&mut slow), "reset");
    assert_eq!(slow.skip(), Some("one:38".parse().unwrap()));
    assert_eq!(step(&mut slow), "send [39, 40]");
    assert_eq!(step(&mut slow), "synced 40");
}

#[test]
fn what_is_gone_when_it_is_read_is_skipped_to_the_floor() {
    let stage = Stage::at(10, 0);
    let mut follower = stage.follow_from("one", 3);
    assert_eq!(step(&mut follower), "read after 3");
    let gone = Page { epoch: stage.epoch.clone(), events: Vec::new(), floor: Seq(6) };
    assert!(follower.accept(&gone).is_empty());
    assert_eq!(step(&mut follower), "reset");
    assert_eq!(follower.skip(), Some("one:6".parse().unwrap()));
    // The log holds neither what was announced nor a floor above it.
    assert_eq!(step(&mut follower), "read after 6");
    follower.accept(&gone);
    assert_eq!(step(&mut follower), "reset");
    assert_eq!(follower.skip(), Some("one:10".parse().unwrap()));
    assert_eq!(step(&mut follower), "synced 10");
}

#[test]
fn skipping_to_the_head_is_complete_at_once_and_says_so() {
    let stage = Stage::at(10, 10);
    let mut overtaken = stage.follow_from("one", 3);
    assert_eq!(step(&mut overtaken), "reset");
    assert_eq!(overtaken.skip(), Some("one:10".parse().unwrap()));
    assert_eq!(step(&mut overtaken), "synced 10");
    assert_eq!(step(&mut overtaken), "wait");
    for (name, seq) in [("other", 3), ("one", 11)] {
        let mut lost = stage.follow_from(name, seq);
        assert_eq!(step(&mut lost), "reset");
        assert_eq!(lost.skip(), Some("one:10".parse().unwrap()));
        assert_eq!(step(&mut lost), "synced 10");
        assert_eq!(step(&mut lost), "wait");
        assert_eq!(lost.skip(), Some("one:10".parse().unwrap()), "nothing to skip");
    }
    stage.offer(event(11));
    assert_eq!(step(&mut overtaken), "send [11]");
}

#[test]
fn skipping_below_the_announced_head_is_complete_there() {
    let stage = Stage::at(10, 0);
    stage.stream.announce(&stage.epoch, Seq(12));
    let mut lost = stage.follow_from("other", 3);
    assert_eq!(lost.head().seq, Seq(12));
    assert_eq!(step(&mut lost), "reset");
    assert_eq!(lost.skip(), Some("one:10".parse().unwrap()));
    assert_eq!(lost.head().seq, Seq(12), "as it was announced");
    assert_eq!(step(&mut lost), "wait");
    stage.offer(event(11));
    assert_eq!(step(&mut lost), "send [11]");
    assert_eq!(step(&mut lost), "wait");
    stage.offer(event(12));
    assert_eq!(step(&mut lost), "send [12]");
    assert_eq!(step(&mut lost), "synced 12");
}

#[test]
fn skipping_in_a_log_that_was_put_back_goes_on_from_the_head() {
    let stage = Stage::at(10, 6);
    let mut behind = stage.follow_from("one", 3);
    assert_eq!(step(&mut behind), "reset");
    stage.learn("one", 5, 4, Some(10));
    assert_eq!(behind.skip(), Some("one:5".parse().unwrap()));
    assert_eq!(step(&mut behind), "synced 5");
}

#[test]
fn skipping_waits_until_the_history_is_known() {
    let stage = Stage::at(10, 0);
    let mut follower = stage.follow_from("other", 3);
    stage.stream.close();
    drop(stage.mailbox.take());
    assert_eq!(step(&mut follower), "reset");
    assert_eq!(follower.skip(), None);
    assert!(!follower.pending().live);
    stage.learn("two", 7, 2, None);
    assert_eq!(stage.mailbox.take().collect::<Vec<_>>(), [0], "it is told");
    assert_eq!(step(&mut follower), "reset");
    assert_eq!(follower.skip(), Some("two:7".parse().unwrap()));
    assert_eq!(step(&mut follower), "synced 7");
}

#[test]
fn pending_events_are_counted_and_urgent_ones_seen() {
    let stage = Stage::at(10, 0);
    let mut follower = stage.follow();
    let pending =
        |events, urgent, tip| Pending { events, urgent, near_overflow: false, live: true, tip: Seq(tip) };
    assert_eq!(follower.pending(), pending(0, false, 10));
    stage.offer(event(11));
    stage.offer(event(12));
    assert_eq!(follower.pending(), pending(2, false, 12));
    stage.offer(urgent_event(13));
    stage.offer(event(14));
    assert_eq!(follower.pending(), pending(4, true, 14));
    assert_eq!(step(&mut follower), "send [11, 12, 13, 14]");
    stage.offer(event(15));
    assert_eq!(follower.pending(), pending(1, false, 15), "the urgent one has been sent");
    // Memory holds 16.
    (16..=21).for_each(|seq| stage.offer(event(seq)));
    assert!(!follower.pending().near_overflow);
    stage.offer(event(22));
    assert!(follower.pending().near_overflow, "half of them");
    (23..=31).for_each(|seq| stage.offer(event(seq)));
    let gone = Pending { events: 0, urgent: false, near_overflow: false, live: false, tip: Seq(31) };
    assert_eq!(follower.pending(), gone);
    assert_eq!(step(&mut follower), "read after 14");
}

#[test]
fn what_is_no_event_is_not_held_back() {
    let stage = Stage::at(10, 0);
    let mut resuming = stage.follow_from("one", 10);
    assert!(!resuming.pending().live);
    assert_eq!(step(&mut resuming), "synced 10");
    assert!(resuming.pending().live);
    stage.learn("one", 5, 0, Some(10));
    assert!(!resuming.pending().live);
    assert_eq!(step(&mut resuming), "reset");
    assert!(!resuming.pending().live);
    stage.learn("two", 5, 0, None);
    assert!(!stage.follow_from("one", 5).pending().live);
}

#[test]
fn signals_reach_those_who_are_live_after_the_events_before_them() {
    let stage = Stage::at(10, 0);
    stage.stream.signal(signal("0"));
    let (mut live, mut resuming) = (stage.follow(), stage.follow_from("one", 9));
    stage.stream.state().ring.extend_back(&[event(10)], Seq(10));
    stage.stream.signal(signal("1"));
    stage.offer(event(11));
    stage.stream.signal(signal("2"));
    assert_eq!(stage.mailbox.take().collect::<Vec<_>>(), [0]);
    assert_eq!(step(&mut live), "send [11]");
    assert_eq!(step(&mut live), r#"signals ["1", "2"]"#);
    assert_eq!(step(&mut live), "wait");
    assert_eq!(step(&mut resuming), "send [10, 11]");
    assert_eq!(step(&mut resuming), "synced 11");
    assert_eq!(step(&mut resuming), "wait", "what was said meanwhile is over");
    stage.stream.signal(signal("3"));
    assert_eq!(step(&mut resuming), r#"signals ["3"]"#);
}

#[test]
fn signals_are_not_for_those_who_fell_behind() {
    let stage = Stage::at(10, 0);
    let (mut slow, mut lost) = (stage.follow(), stage.follow());
    stage.stream.signal(signal("1"));
    (11..=30).for_each(|seq| stage.offer(event(seq)));
    assert_eq!(step(&mut slow), "read after 10");
    slow.accept(&stage.page(11..=30, 0));
    assert_eq!(step(&mut slow), "wait");
    stage.learn("two", 5, 0, None);
    assert_eq!(step(&mut lost), "reset");
    stage.stream.signal(signal("2"));
    lost.skip().unwrap();
    assert_eq!(step(&mut lost), "synced 5");
    assert_eq!(step(&mut lost), "wait");
}
