//! Whether one group of values tends to be greater than another one.

/// How many standard deviations the rank sum of `now` is above what it would be if both groups were of one kind; negative
/// where it is below. The normal approximation of Mann and Whitney's test with the correction for ties; zero where all
/// values are equal or a group is empty.
pub(super) fn rank_sum(now: &[f64], before: &[f64]) -> f64 {
    let (n, m) = (now.len() as f64, before.len() as f64);
    let mut values: Vec<(f64, bool)> =
        now.iter().map(|value| (*value, true)).chain(before.iter().map(|value| (*value, false))).collect();
    values.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let (mut rank_sum, mut ties, mut below) = (0.0, 0.0, 0.0);
    for equal in values.chunk_by(|(one, _), (other, _)| one == other) {
        let count = equal.len() as f64;
        // Equal values share the mean of their ranks.
        let rank = below + f64::midpoint(count, 1.0);
        rank_sum += rank * equal.iter().filter(|(_, is_now)| *is_now).count() as f64;
        ties += count * count * count - count;
        below += count;
    }
    let all = n + m;
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)).max(1.0));
    if variance <= 0.0 {
        return 0.0;
    }
    let wins = rank_sum - n * (n + 1.0) / 2.0;
    (wins - n * m / 2.0) / variance.sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How often a value of `now` is greater, counting pairs one by one.
    fn wins(now: &[f64], before: &[f64]) -> f64 {
        let pairs = now.iter().flat_map(|a| before.iter().map(move |b| (a, b)));
        pairs
            .map(|(a, b)| {
                if a > b {
                    1.0
                } else if a < b {
                    0.0
                } else {
                    0.5
                }
            })
            .sum()
    }

    #[test]
    fn a_known_example() {
        // Without ties: 11 of 12 pairs are won, the mean is 6, the variance 3 * 4 * 8 / 12 = 8.
        let z = rank_sum(&[5.0, 6.0, 3.5], &[1.0, 2.0, 3.0, 4.0]);
        assert!((z - 5.0 / 8.0_f64.sqrt()).abs() < 1e-12, "{z}");
    }

    #[test]
    fn nothing_is_told_from_nothing() {
        assert_eq!(rank_sum(&[], &[1.0, 2.0]), 0.0);
        assert_eq!(rank_sum(&[1.0], &[]), 0.0);
        assert_eq!(rank_sum(&[1.0; 12], &[1.0; 60]), 0.0);
    }

    fn group() -> impl Strategy<Value = Vec<f64>> {
        // Few different values, so that there are ties.
        prop::collection::vec((0_u8..20).prop_map(f64::from), 1..30)
    }

    proptest! {
        #[test]
        fn it_has_the_sign_of_the_pairs_that_are_won(now in group(), before in group()) {
            let z = rank_sum(&now, &before);
            let surplus = wins(&now, &before) - (now.len() * before.len()) as f64 / 2.0;
            prop_assert!(z.is_finite());
            prop_assert!(surplus == 0.0 && z.abs() < 1e-9 || surplus * z > 0.0, "{z} for {surplus}");
        }

        #[test]
        fn the_groups_are_treated_alike(now in group(), before in group()) {
            prop_assert!((rank_sum(&now, &before) + rank_sum(&before, &now)).abs() < 1e-9);
        }

        #[test]
        fn only_the_order_counts(now in group(), before in group()) {
            let stretched = |values: &[f64]| values.iter().map(|value| value.exp()).collect::<Vec<_>>();
            let z = rank_sum(&stretched(&now), &stretched(&before));
            prop_assert!((z - rank_sum(&now, &before)).abs() < 1e-9);
        }
    }
}
