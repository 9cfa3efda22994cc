//! Whether the detector of regressions cries wolf, and whether it hears one: over simulated load with a daily rhythm, bursts,
//! stalls and heavy tails. The long run prints its figures (`make regressions-simulation`); a short one is part of the tests.
#![allow(clippy::unwrap_used)]

mod load;

use common::regressions::{Detector, News, Regression, Rules, WINDOW_SLICES};

use self::load::{Load, SLICES_PER_DAY, Shape};

/// Slices of two minutes.
const TWO_MINUTES: usize = 2 * WINDOW_SLICES;

/// Slices until there is a baseline, and some more.
const WARM_UP: usize = 240;

fn begun(news: Vec<News>) -> impl Iterator<Item = Regression> {
    news.into_iter().filter_map(|news| match news {
        News::Began(regression) => Some(regression),
        _ => None,
    })
}

/// The regressions that are reported in so many slices in which nothing became worse.
fn false_warnings(shape: Shape, seed: u64, slices: usize) -> Vec<Regression> {
    let (mut load, mut detector) = (Load::new(shape, seed), Detector::new(Rules::default()));
    (0..slices).flat_map(|slice| begun(detector.observe(slice as u64 * 5000, load.slice(1.0)))).collect()
}

/// After how many slices a slow-down of everything by `factor` is reported, if it is within two minutes.
fn found_after(shape: Shape, seed: u64, factor: f64) -> Option<usize> {
    let (mut load, mut detector) = (Load::new(shape, seed), Detector::new(Rules::default()));
    // Any hour of the day.
    load.skip((seed as usize * 1777) % SLICES_PER_DAY);
    for slice in 0..WARM_UP {
        detector.observe(slice as u64, load.slice(1.0));
    }
    (1..=TWO_MINUTES)
        .find(|slice| begun(detector.observe(*slice as u64, load.slice(factor))).next().is_some())
}

#[test]
fn six_hours_of_noise_are_quiet() {
    let found = false_warnings(Shape::SMALL, 1, SLICES_PER_DAY / 4);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_slow_down_by_thirty_percent_is_found_within_two_minutes() {
    let missed: Vec<u64> = (0..4).filter(|seed| found_after(Shape::BUSY, *seed, 1.3).is_none()).collect();
    assert!(missed.is_empty(), "missed with the seeds {missed:?}");
}

#[test]
#[ignore = "takes minutes; make regressions-simulation"]
fn days() {
    const DAYS: u64 = 3;
    const TRIALS: u64 = 40;
    let mut noisy = Vec::new();
    for shape in Shape::ALL {
        let mut all = 0;
        for seed in 0..DAYS {
            let found = false_warnings(shape, seed, SLICES_PER_DAY);
            all += found.len();
            for found in &found {
                println!("    seed {seed}: {} {:+.0} %", found.metric, found.change * 100.0);
            }
        }
        let per_day = all as f64 / DAYS as f64;
        println!("{}: {all} false warnings in {DAYS} days ({per_day:.2} a day)", shape.name);
        for factor in [1.3, 2.0] {
            let mut after: Vec<usize> =
                (0..TRIALS).filter_map(|seed| found_after(shape, seed, factor)).collect();
            after.sort_unstable();
            let seconds = |part: f64| after.get((after.len() as f64 * part) as usize).map_or(0, |n| n * 5);
            println!(
                "{}: slower by {:.0} %: {} of {TRIALS} found within two minutes, half after {} s, 95 % after {} s",
                shape.name,
                (factor - 1.0) * 100.0,
                after.len(),
                seconds(0.5),
                seconds(0.95),
            );
        }
        // A machine that stalls every three minutes is beyond what a minute can tell: its figure is there to be known.
        noisy.extend((per_day > 1.0 && !shape.is_rough()).then_some(shape.name));
    }
    assert!(noisy.is_empty(), "more than one false warning a day: {noisy:?}");
}
