#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{Ended, Severity},
    *,
};

/// A minute and the five before it.
const FULL: usize = 6 * WINDOW_SLICES;

/// `count` calls that took `millis`, more or less.
fn calls(millis: f64, count: u64, errors: u64) -> Window {
    let mut window = Window { errors, ..Window::default() };
    for n in 0..count {
        let spread = 0.8 + 0.4 * (n as f64 + 0.5) / count as f64;
        window.durations.record(Duration::from_secs_f64(millis * spread / 1000.0));
    }
    window
}

fn commit(millis: f64, count: u64) -> Vec<Input> {
    vec![Input::Operation("commit".to_owned(), calls(millis, count, 0))]
}

/// Watches slices of five seconds; the time is the number of the slice.
struct Watcher {
    detector: Detector,
    at: u64,
}

impl Watcher {
    fn new() -> Self {
        Self { detector: Detector::new(Rules::default()), at: 0 }
    }

    /// The same slice so many times. Returns what has changed.
    fn see(&mut self, slices: usize, inputs: &[Input]) -> Vec<News> {
        (0..slices)
            .flat_map(|_| {
                self.at += 1;
                self.detector.observe(self.at, inputs.to_vec())
            })
            .collect()
    }

    fn severities(&self) -> Vec<(String, Severity)> {
        self.detector.present().iter().map(|found| (found.metric.to_string(), found.severity)).collect()
    }
}

#[test]
fn a_slow_down_is_found_once_and_stays_although_it_is_the_baseline_later() {
    let mut watcher = Watcher::new();
    assert_eq!(watcher.see(2 * FULL, &commit(2.0, 40)), []);
    let news = watcher.see(3 * WINDOW_SLICES, &commit(2.7, 40));
    // It is a warning as soon as half of the window has it, and critical when most of it has.
    let [News::Began(began), News::Began(_), News::Changed(median), News::Changed(tail)] = &news[..] else {
        panic!("{news:?}")
    };
    assert_eq!(began.severity, Severity::Warning);
    assert_eq!(median.metric.to_string(), "latency of commit (p50)");
    assert_eq!(tail.metric.to_string(), "latency of commit (p95)");
    assert_eq!(median.severity, Severity::Critical);
    assert!((median.change - 0.35).abs() < 0.05, "{median:?}");
    assert!(median.since > 2 * FULL as u64 && median.since <= 2 * FULL as u64 + WINDOW_SLICES as u64);
    assert_eq!(watcher.see(3 * FULL, &commit(2.7, 40)), [], "it is still there");
    assert_eq!(watcher.severities().len(), 2);
    let news = watcher.see(2 * WINDOW_SLICES, &commit(2.0, 40));
    assert!(
        matches!(&news[..], [News::Ended(_, Ended::Recovered), News::Ended(_, Ended::Recovered)]),
        "{news:?}"
    );
    assert_eq!(watcher.see(2 * FULL, &commit(2.0, 40)), [], "getting better is no regression");
}

#[test]
fn what_is_there_for_an_hour_is_the_usual() {
    let mut watcher = Watcher::new();
    watcher.see(FULL, &commit(2.0, 40));
    watcher.see(2 * WINDOW_SLICES, &commit(2.7, 40));
    let news = watcher.see(12 * FULL, &commit(2.7, 40));
    assert!(matches!(&news[..], [News::Ended(_, Ended::Usual), News::Ended(_, Ended::Usual)]), "{news:?}");
}

#[test]
fn a_regression_without_load_ends_unmeasured() {
    let mut watcher = Watcher::new();
    watcher.see(FULL, &commit(2.0, 40));
    watcher.see(2 * WINDOW_SLICES, &commit(2.7, 40));
    let news = watcher.see(2 * FULL, &[]);
    assert!(
        matches!(&news[..], [News::Ended(_, Ended::Unmeasured), News::Ended(_, Ended::Unmeasured)]),
        "{news:?}"
    );
    assert!(watcher.detector.watched.is_empty(), "and is forgotten");
}

#[test]
fn the_severity_follows_with_hysteresis() {
    let mut watcher = Watcher::new();
    watcher.see(FULL, &commit(2.0, 10));
    let p50 = |severity| vec![("latency of commit (p50)".to_owned(), severity)];
    let mut settle = |millis| {
        watcher.see(2 * WINDOW_SLICES, &commit(millis, 10));
        watcher.severities()
    };
    assert_eq!(settle(2.2), []);
    assert_eq!(settle(2.5), p50(Severity::Warning));
    assert_eq!(settle(2.8), p50(Severity::Critical));
    assert_eq!(settle(2.5), p50(Severity::Critical), "a fifth is the border");
    assert_eq!(settle(2.3), p50(Severity::Warning));
    assert_eq!(settle(2.1), []);
}

#[test]
fn bursts_shorter_than_two_thirds_of_a_window_are_none() {
    let mut watcher = Watcher::new();
    watcher.see(FULL, &commit(2.0, 100));
    for _ in 0..20 {
        assert_eq!(watcher.see(7, &commit(20.0, 140)), []);
        assert_eq!(watcher.see(30, &commit(2.0, 100)), []);
    }
}

#[test]
fn a_dip_of_the_load_and_its_end_are_no_change() {
    let mut watcher = Watcher::new();
    // Under a fifth of the load a change takes half of the time, and the fixed costs stay.
    let slice = |millis, count: u64| {
        let mut inputs = commit(millis, count);
        inputs.push(Input::Ratio(Measure::Processor, 100.0 + 0.1 * count as f64, 10.0 * count as f64));
        inputs.push(Input::Ratio(Measure::Memory, 50e6 + 1e4 * count as f64, 10.0 * count as f64));
        inputs
    };
    watcher.see(FULL, &slice(4.0, 500));
    for _ in 0..3 {
        assert_eq!(watcher.see(FULL, &slice(2.0, 100)), []);
        assert_eq!(watcher.see(FULL, &slice(4.0, 500)), []);
    }
}

#[test]
fn errors_and_refusals_are_found_where_there_were_none() {
    let mut watcher = Watcher::new();
    let slice = |bad: u64| {
        vec![
            Input::Operation("http:POST /v1/drafts".to_owned(), calls(2.0, 50, bad)),
            Input::Ratio(Measure::Refused, 2.0 * bad as f64, 50.0),
        ]
    };
    assert_eq!(watcher.see(FULL, &slice(0)), []);
    watcher.see(2 * WINDOW_SLICES, &slice(1));
    let metrics: Vec<_> = watcher.severities().into_iter().map(|(name, _)| name).collect();
    assert_eq!(metrics, ["refused_connections", "errors of http:POST /v1/drafts"]);
}

#[test]
fn what_nodes_had_adds_up() {
    let node = |millis: f64, refused: f64| {
        let commit = Input::Operation("commit".to_owned(), calls(millis, 10, 1));
        [commit, Input::Ratio(Measure::Refused, refused, 10.0)]
    };
    let merged = Input::merge([node(1.0, 2.0), node(3.0, 0.0)].into_iter().flatten());
    let mut both = calls(1.0, 10, 1);
    both.merge(&calls(3.0, 10, 1));
    let expected = [Input::Operation("commit".to_owned(), both), Input::Ratio(Measure::Refused, 2.0, 20.0)];
    assert_eq!(merged, expected);
}

#[test]
fn there_are_bounds() {
    let mut watcher = Watcher::new();
    let many: Vec<_> =
        (0..2 * METRICS_MAX).map(|n| Input::Operation(format!("o{n}"), calls(1.0, 1, 0))).collect();
    watcher.see(2, &many);
    assert_eq!(watcher.detector.watched.len(), METRICS_MAX);
    watcher.see(FULL + 20, &many[..1]);
    assert_eq!(watcher.detector.watched.len(), 1);
    assert!(watcher.detector.watched.values().all(|watched| watched.series.len() <= FULL));
}

/// Slices of any load and speed, with ratios of any figures.
fn slices() -> impl Strategy<Value = Vec<Vec<Input>>> {
    let figure = prop_oneof![Just(0.0), Just(f64::NAN), Just(f64::INFINITY), -1.0..1e12_f64];
    let measure = prop_oneof![
        Just(Measure::Refused),
        Just(Measure::Reconnections),
        Just(Measure::Processor),
        Just(Measure::Memory)
    ];
    let slice = (0.0..1000.0_f64, 0_u64..60, 0_u64..60, measure, figure.clone(), figure);
    let slice = slice.prop_map(|(millis, count, errors, measure, part, whole)| {
        vec![
            Input::Operation("commit".to_owned(), calls(millis, count, errors)),
            Input::Ratio(measure, part, whole),
        ]
    });
    prop::collection::vec(slice, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_slices_have_the_same_news_and_all_figures_are_finite(slices in slices()) {
        let mut one = Detector::new(Rules::default());
        let mut two = Detector::new(Rules::default());
        let mut present = 0_isize;
        for (at, inputs) in slices.into_iter().enumerate() {
            let news = one.observe(at as u64, inputs.clone());
            prop_assert_eq!(&news, &two.observe(at as u64, inputs));
            for news in &news {
                present += match news {
                    News::Began(_) => 1,
                    News::Changed(_) => 0,
                    News::Ended(..) => -1,
                };
            }
            prop_assert_eq!(one.present().len() as isize, present, "news tell all that happens");
            for found in one.present() {
                prop_assert!(found.baseline.is_finite() && found.now.is_finite() && found.change.is_finite());
            }
        }
    }

    #[test]
    fn no_verdict_without_a_baseline(millis in prop::collection::vec(1.0..100.0_f64, FULL - 1)) {
        let mut detector = Detector::new(Rules::default());
        for (at, millis) in millis.into_iter().enumerate() {
            prop_assert_eq!(detector.observe(at as u64, commit(millis, 20)), []);
        }
    }

    #[test]
    fn a_slow_down_by_half_is_critical_within_two_minutes(
        millis in 0.5..500.0_f64,
        count in 8_u64..300,
        noise in prop::collection::vec(0.95..1.05_f64, FULL + 2 * WINDOW_SLICES),
    ) {
        let mut detector = Detector::new(Rules::default());
        for (at, noise) in noise.into_iter().enumerate() {
            let slower = if at < FULL { 1.0 } else { 1.5 };
            detector.observe(at as u64, commit(millis * noise * slower, count));
        }
        prop_assert!(detector.present().iter().any(|found| found.severity == Severity::Critical));
    }

    #[test]
    fn what_does_not_change_is_no_regression(
        millis in 0.001..500.0_f64,
        counts in prop::collection::vec(0_u64..300, 2 * FULL),
        noise in prop::collection::vec(0.95..1.05_f64, 2 * FULL),
    ) {
        let mut detector = Detector::new(Rules::default());
        for (at, (noise, count)) in noise.into_iter().zip(counts).enumerate() {
            prop_assert_eq!(detector.observe(at as u64, commit(millis * noise, count)), []);
        }
    }
}
