//! Whether a connection still lives, asked no more often than needed. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Intervals;

/// When to ping, and when a silent connection is dead.
///
/// Pings come further and further apart while their answers come and take about the same time, and close
/// together as soon as one is missed. A connection is dead when a ping has gone unanswered, by any sign
/// of life, for the time allowed. Silence alone is not counted from the last message on: a client that
/// stops reading for that long must have had the whole time since a ping was put before it.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    /// Bounds of `interval_ms`, and the time allowed. Milliseconds in four bytes: one of these is held
    /// for every connection.
    min_ms: u32,
    max_ms: u32,
    timeout_ms: u32,
    /// From the last ping to the next. Grows in [`Heartbeat::ponged`], and shrinks there and in
    /// [`Heartbeat::pinged`].
    interval_ms: u32,
    /// When the last ping was sent; the start of the connection before that.
    pinged_at: Instant,
    /// The oldest ping without a sign of life since. [`Heartbeat::pinged`] sets it,
    /// [`Heartbeat::alive`] takes it away.
    unanswered: Option<Instant>,
    /// Counts pings.
    number: u32,
    /// Whether the pong to the last ping is still to come.
    awaited: bool,
    /// Smoothed round trip and its variation in microseconds (RFC 6298 section 2); zero until the first
    /// pong.
    round_trip_us: u32,
    variation_us: u32,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing yet.
    Wait,
    /// Send a ping and say so.
    Ping,
    /// Give the connection up.
    Dead,
}

/// The interval grows by this part of itself: from 25 s to 60 s in four answers, from 10 s in eight.
const GROWTH: u32 = 4;

/// Variation below this says nothing about a path, however short its round trips are.
const VARIATION_MIN: Duration = Duration::from_millis(100);

impl Heartbeat {
    pub(crate) fn new(intervals: &Intervals, now: Instant) -> Self {
        let (min_ms, max_ms) = (in_ms(intervals.min), in_ms(intervals.max));
        Self {
            min_ms,
            max_ms: max_ms.max(min_ms),
            timeout_ms: in_ms(intervals.timeout),
            interval_ms: in_ms(intervals.start).clamp(min_ms, max_ms.max(min_ms)),
            pinged_at: now,
            unanswered: None,
            number: 0,
            awaited: false,
            round_trip_us: 0,
            variation_us: 0,
        }
    }

    /// When to ask [`Heartbeat::due`] next. Every call may move it, in either direction.
    pub(crate) fn deadline(&self) -> Instant {
        self.dead_at().map_or(self.next_ping(), |dead_at| dead_at.min(self.next_ping()))
    }

    pub(crate) fn due(&self, now: Instant) -> Beat {
        if self.dead_at().is_some_and(|dead_at| now >= dead_at) {
            Beat::Dead
        } else if now >= self.next_ping() {
            Beat::Ping
        } else {
            Beat::Wait
        }
    }

    /// A ping is sent. Answers its payload, by which its pong is known.
    pub(crate) fn pinged(&mut self, now: Instant) -> [u8; 8] {
        if self.unanswered.is_some() {
            self.interval_ms = self.min_ms;
        }
        self.unanswered.get_or_insert(now);
        self.pinged_at = now;
        self.number = self.number.wrapping_add(1);
        self.awaited = true;
        self.payload()
    }

    /// A pong came, a sign of life in any case. Returns the round trip, if it is the first one to the
    /// last ping.
    pub(crate) fn ponged(&mut self, payload: &[u8], now: Instant) -> Option<Duration> {
        self.alive();
        if !self.awaited || payload != self.payload() {
            return None;
        }
        self.awaited = false;
        let round_trip = now.saturating_duration_since(self.pinged_at);
        self.smooth(u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX));
        self.interval_ms = if self.is_steady() {
            self.interval_ms.saturating_add(self.interval_ms / GROWTH).min(self.max_ms)
        } else {
            self.min_ms
        };
        Some(round_trip)
    }

    /// The other side has shown that it lives: it sent something, or took what had not fitted.
    pub(crate) fn alive(&mut self) {
        self.unanswered = None;
    }

    /// The smoothed round trip; zero before the first pong.
    pub(crate) fn round_trip(&self) -> Duration {
        Duration::from_micros(self.round_trip_us.into())
    }

    fn next_ping(&self) -> Instant {
        self.pinged_at + Duration::from_millis(self.interval_ms.into())
    }

    fn dead_at(&self) -> Option<Instant> {
        self.unanswered.map(|since| since + Duration::from_millis(self.timeout_ms.into()))
    }

    fn payload(&self) -> [u8; 8] {
        u64::from(self.number).to_be_bytes()
    }

    /// RFC 6298 section 2, with its factors of 1/8 and 1/4.
    fn smooth(&mut self, round_trip_us: u32) {
        if self.round_trip_us == 0 {
            self.round_trip_us = round_trip_us;
            self.variation_us = round_trip_us / 2;
            return;
        }
        let off = self.round_trip_us.abs_diff(round_trip_us);
        self.variation_us = self.variation_us - self.variation_us / 4 + off / 4;
        self.round_trip_us = self.round_trip_us - self.round_trip_us / 8 + round_trip_us / 8;
    }

    /// What the first pong leaves counts as steady: it is the half that the RFC assumes.
    fn is_steady(&self) -> bool {
        let allowed = u128::from(self.round_trip_us / 2).max(VARIATION_MIN.as_micros());
        u128::from(self.variation_us) <= allowed
    }
}

/// At most 49 days.
fn in_ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const INTERVALS: Intervals = Intervals {
        start: Duration::from_secs(25),
        min: Duration::from_secs(10),
        max: Duration::from_secs(60),
        timeout: Duration::from_secs(60),
    };

    /// Lets the next ping be sent and answered after a while. Returns how long it was to the ping.
    fn beat(heartbeat: &mut Heartbeat, now: &mut Instant, round_trip: Duration) -> Duration {
        let began = *now;
        *now = heartbeat.deadline();
        assert_eq!(heartbeat.due(*now), Beat::Ping);
        let payload = heartbeat.pinged(*now);
        let waited = *now - began;
        *now += round_trip;
        assert_eq!(heartbeat.ponged(&payload, *now), Some(round_trip));
        waited + round_trip
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<Heartbeat>() <= 64, "{}", size_of::<Heartbeat>());
    }

    #[test]
    fn pings_come_further_apart_while_all_is_well() {
        let mut now = Instant::now();
        let mut heartbeat = Heartbeat::new(&INTERVALS, now);
        let waits: Vec<u64> = (0..7)
            .map(|_| beat(&mut heartbeat, &mut now, Duration::from_millis(40)).as_millis() as u64)
            .collect();
        assert_eq!(waits, [25_040, 31_250, 39_062, 48_827, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn a_missed_pong_makes_pings_come_often() {
        let mut now = Instant::now();
        let mut heartbeat = Heartbeat::new(&INTERVALS, now);
        for _ in 0..3 {
            beat(&mut heartbeat, &mut now, Duration::from_millis(40));
        }
        now = heartbeat.deadline();
        let first = heartbeat.pinged(now);
        now = heartbeat.deadline();
        assert_eq!(heartbeat.due(now), Beat::Ping);
        heartbeat.pinged(now);
        assert_eq!(heartbeat.next_ping(), now + INTERVALS.min);
        // Too late to be measured, but a sign of life.
        assert_eq!(heartbeat.ponged(&first, now), None);
        assert_eq!(heartbeat.due(now), Beat::Wait);
    }

    #[test]
    fn round_trips_that_vary_make_pings_come_often() {
        let mut now = Instant::now();
        let mut heartbeat = Heartbeat::new(&INTERVALS, now);
        for _ in 0..5 {
            beat(&mut heartbeat, &mut now, Duration::from_millis(40));
        }
        beat(&mut heartbeat, &mut now, Duration::from_secs(3));
        assert_eq!(heartbeat.interval_ms, heartbeat.min_ms);
        for _ in 0..30 {
            beat(&mut heartbeat, &mut now, Duration::from_millis(40));
        }
        assert_eq!(heartbeat.interval_ms, heartbeat.max_ms);
    }

    #[test]
    fn a_slow_path_that_is_steady_is_well() {
        let mut now = Instant::now();
        let mut heartbeat = Heartbeat::new(&INTERVALS, now);
        for _ in 0..5 {
            beat(&mut heartbeat, &mut now, 2 * SECOND);
        }
        assert_eq!(heartbeat.interval_ms, heartbeat.max_ms);
    }

    #[test]
    fn a_ping_without_an_answer_ends_in_death() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(&INTERVALS, start);
        assert_eq!(heartbeat.due(start), Beat::Wait);
        let mut pings = Vec::new();
        loop {
            let now = heartbeat.deadline();
            match heartbeat.due(now) {
                Beat::Ping => drop(heartbeat.pinged(now)),
                Beat::Dead => break,
                Beat::Wait => panic!("nothing is due at the deadline"),
            }
            pings.push((now - start).as_secs());
        }
        assert_eq!(pings, [25, 50, 60, 70, 80]);
        assert_eq!(heartbeat.deadline(), start + INTERVALS.start + INTERVALS.timeout);
    }

    #[test]
    fn any_answer_is_life() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(&INTERVALS, start);
        heartbeat.pinged(start + INTERVALS.start);
        heartbeat.alive();
        assert_eq!(heartbeat.due(start + INTERVALS.start + INTERVALS.timeout), Beat::Ping);
    }

    #[test]
    fn a_pong_counts_once() {
        let now = Instant::now();
        let mut heartbeat = Heartbeat::new(&INTERVALS, now);
        assert_eq!(heartbeat.ponged(&[0; 8], now), None);
        let payload = heartbeat.pinged(now);
        assert_eq!(heartbeat.ponged(b"", now + SECOND), None);
        assert_eq!(heartbeat.ponged(&payload, now + SECOND), Some(SECOND));
        assert_eq!(heartbeat.ponged(&payload, now + 2 * SECOND), None);
    }

    /// What may happen to a connection.
    #[derive(Debug, Clone)]
    enum Event {
        /// Time passes.
        Wait(u64),
        /// Time passes until something is due.
        Due,
        /// The last ping is answered.
        Pong,
        /// A pong to nothing.
        Noise(Vec<u8>),
        /// The client sends a message.
        Message,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0u64..70_000).prop_map(Event::Wait),
            Just(Event::Due),
            Just(Event::Pong),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(Event::Noise),
            Just(Event::Message),
        ]
    }

    proptest! {
        #[test]
        fn it_is_dead_exactly_when_a_ping_was_unanswered_for_the_time_allowed(
            events in prop::collection::vec(event(), 0..200),
            start in 0u64..100,
        ) {
            let intervals = Intervals { start: Duration::from_secs(start), ..INTERVALS };
            let mut now = Instant::now();
            let mut heartbeat = Heartbeat::new(&intervals, now);
            let mut last: Option<([u8; 8], Instant)> = None;
            // When the oldest ping that nothing has come after was sent.
            let mut unanswered: Option<Instant> = None;
            for event in events {
                match event {
                    Event::Wait(ms) => now += Duration::from_millis(ms),
                    Event::Due => now = now.max(heartbeat.deadline()),
                    Event::Pong => {
                        if let Some((payload, at)) = last.take() {
                            prop_assert_eq!(heartbeat.ponged(&payload, now), Some(now - at));
                            unanswered = None;
                        }
                    }
                    Event::Noise(noise) => {
                        prop_assert_eq!(heartbeat.ponged(&noise, now), None);
                        unanswered = None;
                    }
                    Event::Message => {
                        heartbeat.alive();
                        unanswered = None;
                    }
                }
                let interval = Duration::from_millis(heartbeat.interval_ms.into());
                prop_assert!(interval >= INTERVALS.min && interval <= INTERVALS.max);
                let dead = unanswered.is_some_and(|since| now >= since + INTERVALS.timeout);
                match heartbeat.due(now) {
                    Beat::Dead => {
                        prop_assert!(dead);
                        return Ok(());
                    }
                    Beat::Ping => {
                        prop_assert!(!dead && now >= heartbeat.deadline());
                        last = Some((heartbeat.pinged(now), now));
                        unanswered.get_or_insert(now);
                        prop_assert_eq!(heartbeat.due(now), Beat::Wait);
                    }
                    Beat::Wait => prop_assert!(!dead && now < heartbeat.deadline()),
                }
            }
        }
    }
}
