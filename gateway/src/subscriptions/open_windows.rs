//! Streams whose events wait for company.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use common::operations::Tally;
use tokio::time::{Instant, Sleep, sleep_until};

/// Slots whose events are held back, and until when. Without any it holds no memory.
#[derive(Default)]
pub(super) struct OpenWindows {
    /// At most one entry for each slot.
    slots: Vec<(Instant, u32)>,
    /// Rings for the first of them.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl OpenWindows {
    /// Holds a slot back, unless it is already.
    pub(super) fn add(&mut self, slot: u32, until: Instant) {
        if self.slots.iter().any(|(_, held)| *held == slot) {
            return;
        }
        self.slots.push((until, slot));
        Tally::WindowsOpened.add(1);
        self.set_alarm();
    }

    /// Takes the slots whose time is over; otherwise the task is woken once there is one.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<Vec<u32>> {
        while let Some(alarm) = &mut self.alarm {
            if alarm.as_mut().poll(context).is_pending() {
                break;
            }
            let now = Instant::now();
            let over: Vec<u32> =
                self.slots.extract_if(.., |(until, _)| *until <= now).map(|(_, slot)| slot).collect();
            self.set_alarm();
            Tally::WindowsEnded.add(over.len() as u64);
            if !over.is_empty() {
                return Poll::Ready(over);
            }
        }
        Poll::Pending
    }

    fn set_alarm(&mut self) {
        let first = self.slots.iter().map(|(until, _)| *until).min();
        match (first, &mut self.alarm) {
            (None, alarm) => *alarm = None,
            (Some(first), None) => self.alarm = Some(Box::pin(sleep_until(first))),
            (Some(first), Some(alarm)) => alarm.as_mut().reset(first),
        }
    }
}

impl Drop for OpenWindows {
    fn drop(&mut self) {
        Tally::WindowsEnded.add(self.slots.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_slot_is_held_until_its_own_time() {
        let mut held = OpenWindows::default();
        let start = Instant::now();
        let later = |ms| start + Duration::from_millis(ms);
        held.add(1, later(30));
        held.add(2, later(10));
        held.add(2, later(5));
        held.add(3, later(10));
        let mut over = async || poll_fn(|context| held.poll_over(context)).await;
        assert_eq!((over().await, start.elapsed().as_millis()), (vec![2, 3], 10));
        assert_eq!((over().await, start.elapsed().as_millis()), (vec![1], 30));
        assert!(held.alarm.is_none() && held.slots.is_empty());
    }
}
