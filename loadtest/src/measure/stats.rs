//! What a row of numbers says.

/// The number in the middle; zero of none.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// By how much a number that is measured at even distances grows from one to the next: the median of the
/// slopes between all pairs (Theil and Sen), which a few outliers do not move. Zero of fewer than two.
pub(crate) fn slope(numbers: &[f64]) -> f64 {
    let mut slopes = Vec::new();
    for (at, first) in numbers.iter().enumerate() {
        for (distance, second) in (1..).zip(&numbers[at + 1..]) {
            slopes.push((second - first) / f64::from(distance));
        }
    }
    median(&slopes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_middle_is_between_two() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn an_outlier_does_not_make_a_slope() {
        assert_eq!(slope(&[]), 0.0);
        assert_eq!(slope(&[1.0]), 0.0);
        assert_eq!(slope(&[5.0, 5.0, 500.0, 5.0, 5.0, 5.0]), 0.0);
    }

    proptest! {
        #[test]
        fn a_line_has_its_slope(begin in -1e6f64..1e6, step in -1e3f64..1e3, count in 2u32..40) {
            let line: Vec<f64> = (0..count).map(|n| begin + step * f64::from(n)).collect();
            prop_assert!((slope(&line) - step).abs() < 1e-6 * (1.0 + begin.abs()));
        }
    }
}
