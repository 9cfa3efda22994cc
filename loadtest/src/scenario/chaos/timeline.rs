//! What a history says about time: how soon devices were live again after each fault, and how much
//! happened in each second. Pure.

use serde::Serialize;

use super::plan::{How, Outage, Part};
use crate::{
    check::history::{Moment, Outcome, Saw, StreamHistory},
    users::record::{Link, Links},
};

const SECOND: Moment = 1_000_000;

/// A fault and how it was got over.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Overcome {
    pub(super) part: Part,
    pub(super) how: How,
    /// Seconds since the run began.
    pub(super) began: f64,
    pub(super) mended: f64,
    /// From when it was mended until every device was live again: connected, and with every event that was
    /// acknowledged before. `None` when that was never so before the end.
    pub(super) recovery_seconds: Option<f64>,
    /// Whether nothing else was broken until then.
    pub(super) alone: bool,
    /// Devices that lost their connection while it lasted.
    pub(super) lost: u64,
    /// From when it began until the last of these was connected again. `None` when one never was.
    pub(super) back_seconds: Option<f64>,
}

/// How much happened in each second of the run.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Series {
    /// Changes acknowledged.
    pub(super) acked: Vec<u64>,
    /// Events received, on all devices together.
    pub(super) delivered: Vec<u64>,
}

impl Series {
    pub(super) fn of(streams: &[StreamHistory]) -> Self {
        let mut series = Self::default();
        for stream in streams {
            for op in stream.ops.iter().filter(|op| matches!(op.outcome, Outcome::Acked(_))) {
                count(&mut series.acked, op.answered.unwrap_or(op.invoked));
            }
            for (at, saw) in stream.followers.iter().flat_map(|follower| &follower.saw) {
                if matches!(saw, Saw::Event { .. }) {
                    count(&mut series.delivered, *at);
                }
            }
        }
        let seconds = series.acked.len().max(series.delivered.len());
        series.acked.resize(seconds, 0);
        series.delivered.resize(seconds, 0);
        series
    }
}

fn count(seconds: &mut Vec<u64>, at: Moment) {
    let second = usize::try_from(at / SECOND).unwrap_or(usize::MAX);
    if seconds.len() <= second {
        seconds.resize(second + 1, 0);
    }
    seconds[second] += 1;
}

/// Each fault, by when it began, with how it was got over.
pub(super) fn overcome(faults: &[Outage], streams: &[StreamHistory], links: &[Links]) -> Vec<Overcome> {
    let seconds = |moment: Moment| moment as f64 / SECOND as f64;
    faults
        .iter()
        .map(|fault| {
            let live = caught_up(streams, fault.mended).and_then(|at| all_up(links, at));
            let until = live.unwrap_or(Moment::MAX);
            let others = faults.iter().filter(|other| *other != fault);
            let alone = others.clone().all(|other| other.mended < fault.began || other.began > until);
            let lost: Vec<&Links> =
                links.iter().filter(|device| lost_during(device, fault).is_some()).collect();
            let back = lost.iter().try_fold(fault.began, |latest, device| {
                Some(latest.max(up(device, lost_during(device, fault)?)?))
            });
            Overcome {
                part: fault.part,
                how: fault.how,
                began: seconds(fault.began),
                mended: seconds(fault.mended),
                recovery_seconds: live.map(|live| seconds(live - fault.mended)),
                alone,
                lost: lost.len() as u64,
                back_seconds: back.map(|back| seconds(back - fault.began)),
            }
        })
        .collect()
}

/// When a device first lost its connection while a fault lasted.
fn lost_during(device: &Links, fault: &Outage) -> Option<Moment> {
    let during = |at: &Moment| (fault.began..=fault.mended).contains(at);
    device.links.iter().find(|(at, link)| *link == Link::Down && during(at)).map(|(at, _)| *at)
}

/// When, from `moment` on, every follower has all that was acknowledged before it.
fn caught_up(streams: &[StreamHistory], moment: Moment) -> Option<Moment> {
    let mut all = moment;
    for stream in streams {
        let acked = stream.ops.iter().filter(|op| op.answered.is_some_and(|answered| answered <= moment));
        let due = acked.filter_map(|op| match op.outcome {
            Outcome::Acked(seq) => seq,
            _ => None,
        });
        let Some(due) = due.max() else { continue };
        for follower in &stream.followers {
            let has = |saw: &Saw| match saw {
                Saw::Event { seq, .. } => *seq >= due,
                other => other.reset().is_some_and(|(_, seq)| seq >= due),
            };
            all = all.max(follower.saw.iter().find(|(_, saw)| has(saw))?.0);
        }
    }
    Some(all)
}

/// When, from `moment` on, all devices are connected at one time.
fn all_up(links: &[Links], moment: Moment) -> Option<Moment> {
    let mut at = moment;
    loop {
        let mut latest = at;
        for device in links {
            latest = latest.max(up(device, at)?);
        }
        if latest == at {
            return Some(at);
        }
        at = latest;
    }
}

/// When, from `moment` on, a device is connected.
fn up(device: &Links, moment: Moment) -> Option<Moment> {
    let later = device.links.partition_point(|(at, _)| *at <= moment);
    let now = later.checked_sub(1).and_then(|last| device.links.get(last));
    if matches!(now, Some((_, Link::Up(_)))) {
        return Some(moment);
    }
    device.links[later..].iter().find(|(_, link)| matches!(link, Link::Up(_))).map(|(at, _)| *at)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::history::{Content, Follower, Op, Stored, What};

    fn stream() -> StreamHistory {
        let content = Content::new("CHANGE", "d1", &Value::Null, &json!({ "op": 1 }));
        let op = |id, invoked, answered| Op {
            id,
            client: "d1".to_owned(),
            what: What::Publish,
            content,
            intended: invoked,
            invoked,
            answered: Some(answered),
            outcome: Outcome::Acked(Some(id)),
        };
        let follower = |device: &str, second| Follower {
            device: device.to_owned(),
            saw: vec![
                (0, Saw::Start { epoch: "e".into(), seq: 0 }),
                (SECOND, Saw::Event { seq: 1, content }),
                (second, Saw::Event { seq: 2, content }),
            ],
            drafts: std::collections::BTreeMap::new(),
        };
        StreamHistory {
            name: "s".to_owned(),
            ops: vec![op(1, 1, SECOND), op(2, SECOND, 2 * SECOND)],
            followers: vec![follower("d1", 2 * SECOND), follower("d2", 7 * SECOND)],
            stored: Stored::default(),
        }
    }

    fn fault(began: Moment, mended: Moment) -> Outage {
        Outage { part: Part::Redis, how: How::Kill, began: began * SECOND, mended: mended * SECOND }
    }

    fn links(device: &str, links: &[(Moment, bool)]) -> Links {
        let link =
            |(at, up): &(Moment, bool)| (at * SECOND, if *up { Link::Up("n".into()) } else { Link::Down });
        Links { device: device.to_owned(), links: links.iter().map(link).collect() }
    }

    #[test]
    fn recovery_ends_when_everybody_is_connected_and_has_what_was_acknowledged() {
        let d1 = links("d1", &[(0, true)]);
        let recovery = |d2: &[(Moment, bool)], began, mended| {
            overcome(&[fault(began, mended)], &[stream()], &[d1.clone(), links("d2", d2)])[0].recovery_seconds
        };
        assert_eq!(recovery(&[(0, true)], 1, 1), Some(0.0), "nothing was missed");
        assert_eq!(recovery(&[(0, true)], 1, 3), Some(4.0), "d2 has the event only then");
        assert_eq!(recovery(&[(0, true), (3, false), (9, true)], 1, 4), Some(5.0), "d2 is back only then");
        assert_eq!(recovery(&[(0, true), (3, false)], 1, 4), None);
        assert_eq!(recovery(&[(0, true), (8, false), (9, true)], 1, 9), Some(0.0));
    }

    #[test]
    fn who_loses_a_connection_is_followed_until_it_is_back() {
        let devices = [
            links("d1", &[(0, true)]),
            links("d2", &[(0, true), (3, false), (5, true)]),
            links("d3", &[(0, true), (4, false), (6, true), (7, false), (9, true)]),
        ];
        let of = |devices: &[Links]| {
            let overcome = &overcome(&[fault(2, 8)], &[stream()], devices)[0];
            (overcome.lost, overcome.back_seconds)
        };
        assert_eq!(of(&devices), (2, Some(4.0)));
        assert_eq!(of(&devices[..1]), (0, Some(0.0)));
        assert_eq!(of(&[links("d1", &[(0, true), (3, false)])]), (1, None));
    }

    #[test]
    fn faults_that_come_together_are_not_told_apart() {
        let up = [links("d1", &[(0, true)])];
        let alone = |faults: &[Outage]| -> Vec<bool> {
            overcome(faults, &[stream()], &up).iter().map(|overcome| overcome.alone).collect()
        };
        assert_eq!(alone(&[fault(1, 3), fault(8, 9)]), [true, true]);
        assert_eq!(alone(&[fault(1, 3), fault(2, 9)]), [false, false]);
        assert_eq!(alone(&[fault(1, 3), fault(5, 9)]), [false, true], "it began before d2 was back");
    }

    #[test]
    fn a_series_has_every_second() {
        let series = Series::of(&[stream()]);
        assert_eq!(series.acked, [0, 1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(series.delivered, [0, 2, 1, 0, 0, 0, 0, 1]);
    }
}
