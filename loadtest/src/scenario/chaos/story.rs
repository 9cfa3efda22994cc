//! The history around a violation, in time order. Pure.

use super::plan::Outage;
use crate::{
    check::{
        Fault,
        history::{Follower, Moment, Op, Outcome, Saw, StreamHistory, What},
    },
    users::record::{Link, Links},
};

/// Lines of one story: those nearest in time.
const LINES_MAX: usize = 40;

/// How many numbers before and after those that it is about belong to it.
const NEAR: u64 = 3;

/// What happened near what is wrong: changes asked for and answered, what the device that it is about was
/// sent, who else has the same events, its connections, and faults.
pub(super) fn around(
    stream: &StreamHistory,
    fault: &Fault,
    outages: &[Outage],
    links: &[Links],
) -> Vec<String> {
    let about = fault.about();
    let mut story = Story::default();
    let is_near = |seq: u64| about.seqs.iter().any(|about| about.abs_diff(seq) <= NEAR);
    for op in &stream.ops {
        let central = about.ops.contains(&op.id)
            || matches!(op.outcome, Outcome::Acked(Some(seq)) if about.seqs.contains(&seq));
        let near = matches!(op.outcome, Outcome::Acked(Some(seq)) if is_near(seq));
        if central || near || about.seqs.is_empty() {
            story.op(op, central);
        }
    }
    for follower in &stream.followers {
        let own = about.device == Some(follower.device.as_str());
        for (at, saw) in &follower.saw {
            let central = match saw {
                Saw::Event { seq, content } => {
                    about.seqs.contains(seq) || content.op.is_some_and(|op| about.ops.contains(&op))
                }
                _ => false,
            };
            let near = match saw {
                Saw::Event { seq, .. } => is_near(*seq) || about.seqs.is_empty(),
                _ => true,
            };
            if central || (own && near) {
                story.saw(*at, follower, saw, central && own);
            }
        }
    }
    for device in links.iter().filter(|links| about.device == Some(links.device.as_str())) {
        for (at, link) in &device.links {
            let what = match link {
                Link::Up(node) => format!("{} is connected to {node}", device.device),
                Link::Down => format!("{} has lost its connection", device.device),
            };
            story.add(*at, what, false);
        }
    }
    for outage in outages {
        story.add(outage.began, format!("*** {} is {}", outage.part, outage.how.done()), false);
        story.add(outage.mended, format!("*** {} is back", outage.part), false);
    }
    story.told()
}

/// Lines, and the moments that it is about.
#[derive(Default)]
struct Story {
    lines: Vec<(Moment, String)>,
    centre: Vec<Moment>,
}

impl Story {
    fn add(&mut self, at: Moment, what: String, central: bool) {
        self.lines.push((at, what));
        if central {
            self.centre.push(at);
        }
    }

    fn op(&mut self, op: &Op, central: bool) {
        let asked = match &op.what {
            What::Create { draft } => format!("to make {draft}"),
            What::Edit { draft, .. } => format!("to edit {draft}"),
            What::Publish => "to publish".to_owned(),
            What::Post { .. } => "to publish over HTTP".to_owned(),
        };
        self.add(op.invoked, format!("{} asks {asked}: change {}", op.client, op.id), central);
        let Some(answered) = op.answered else { return };
        let answer = match &op.outcome {
            Outcome::Acked(Some(seq)) => format!("acknowledged as event {seq}"),
            Outcome::Acked(None) => "acknowledged without an event".to_owned(),
            Outcome::Refused(code) => format!("refused: {code}"),
            Outcome::Unknown => "given up without an answer".to_owned(),
        };
        self.add(answered, format!("{}: change {} is {answer}", op.client, op.id), central);
    }

    fn saw(&mut self, at: Moment, follower: &Follower, saw: &Saw, central: bool) {
        let what = match saw {
            Saw::Start { seq, .. } => format!("follows from {seq} on"),
            Saw::Event { seq, content } => match content.op {
                Some(op) => format!("is sent event {seq}: change {op}"),
                None => format!("is sent event {seq}"),
            },
            Saw::Snapshot { seq, .. } => format!("is sent a snapshot at {seq}"),
            Saw::Skip { seq, .. } => format!("is told that what is up to {seq} is gone"),
            Saw::Synced { seq } => format!("is told that it is at the head, {seq}"),
        };
        self.add(at, format!("{} {what}", follower.device), central);
    }

    fn told(mut self) -> Vec<String> {
        if self.centre.is_empty() {
            // What never came, or what holds at the end.
            self.centre.extend(self.lines.iter().map(|(at, _)| *at).max());
        }
        let centre = self.centre;
        let distance = |at: Moment| centre.iter().map(|centre| centre.abs_diff(at)).min().unwrap_or(0);
        self.lines.sort_by_key(|(at, _)| distance(*at));
        self.lines.truncate(LINES_MAX);
        self.lines.sort_by_key(|(at, _)| *at);
        self.lines.iter().map(|(at, what)| format!("{:>12.6}s  {what}", *at as f64 / 1e6)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check::{
        check,
        tests::{LIES, lied},
    };

    proptest! {
        #[test]
        fn each_fault_has_a_story(
            user: bool,
            changes in 5..30_usize,
            lie in prop::sample::select(&LIES[..]),
            place in 0..1000_usize,
        ) {
            let (stream, _) = lied(user, changes, lie, place);
            for fault in check(&stream) {
                prop_assert!(!around(&stream, &fault, &[], &[]).is_empty(), "{}", fault);
            }
        }
    }
}
