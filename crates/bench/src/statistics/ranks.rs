//! Whether two samples come from different distributions: the rank test of Mann and Whitney.
//!
//! It asks how often a value of one sample is above one of the other, and so does not care about
//! tails, units or how the values are distributed. A t-test would, and one slow outlier of a busy
//! host would hide what it should show.

/// Largest product of the two samples' sizes for which the distribution is counted out exactly.
/// Above, the normal approximation is as good.
const EXACT: usize = 900;

/// The two-sided probability that samples as far apart as these come from one distribution;
/// `None` if one is empty.
pub(crate) fn mann_whitney(one: &[f64], two: &[f64]) -> Option<f64> {
    if one.is_empty() || two.is_empty() {
        return None;
    }
    let mut above = 0.0;
    for a in one {
        for b in two {
            above += match a.total_cmp(b) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    let pairs = one.len() * two.len();
    let smaller = f64::min(above, pairs as f64 - above);
    let ties = ties(one, two);
    let probability = if ties.is_empty() && pairs <= EXACT {
        exact(one.len(), two.len(), smaller as usize)
    } else {
        approximate(one.len(), two.len(), smaller, &ties)
    };
    Some(probability.min(1.0))
}

/// The smallest probability that samples of these sizes can have, however far apart they are:
/// two of all the ways to mix them.
pub(crate) fn smallest(one: usize, two: usize) -> f64 {
    let mut ways = 1.0;
    for step in 1..=one.min(two) {
        ways *= (one.max(two) + step) as f64 / step as f64;
    }
    (2.0 / ways).min(1.0)
}

/// How many values share a place, for each place that is shared.
fn ties(one: &[f64], two: &[f64]) -> Vec<usize> {
    let mut all = [one, two].concat();
    all.sort_by(f64::total_cmp);
    all.chunk_by(|a, b| a.total_cmp(b).is_eq())
        .map(<[f64]>::len)
        .filter(|count| *count > 1)
        .collect()
}

/// Counts, among all ways to mix samples of sizes `m` and `n`, those with a statistic of at most
/// `limit`.
fn exact(m: usize, n: usize, limit: usize) -> f64 {
    // `ways[i][u]`: how many mixtures of i values of the first sample with those of the second
    // counted so far have the statistic u. The largest value of a mixture is of the first sample,
    // and then stands above all of the second, or of the second, and then adds nothing.
    let mut ways = vec![vec![0.0; m * n + 1]; m + 1];
    for row in &mut ways {
        row[0] = 1.0;
    }
    for of_second in 1..=n {
        for of_first in 1..=m {
            for u in of_second..=m * n {
                ways[of_first][u] += ways[of_first - 1][u - of_second];
            }
        }
    }
    let row = &ways[m];
    let total: f64 = row.iter().sum();
    let below: f64 = row.iter().take(limit + 1).sum();
    2.0 * below / total
}

fn approximate(m: usize, n: usize, smaller: f64, ties: &[usize]) -> f64 {
    let (m, n) = (m as f64, n as f64);
    let all = m + n;
    let tied: f64 = ties
        .iter()
        .map(|count| (*count as f64).powi(3) - *count as f64)
        .sum();
    let variance = m * n / 12.0 * ((all + 1.0) - tied / (all * (all - 1.0)));
    if variance <= 0.0 {
        // All values are one and the same.
        return 1.0;
    }
    // Half a step towards the middle, for the statistic is a whole number.
    let distance = (m * n / 2.0 - smaller - 0.5).max(0.0);
    2.0 * upper_tail(distance / variance.sqrt())
}

/// The share of a normal distribution above `z` (Abramowitz and Stegun 26.2.17; good to 7.5e-8).
fn upper_tail(z: f64) -> f64 {
    const COEFFICIENTS: [f64; 5] = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = COEFFICIENTS
        .iter()
        .rev()
        .fold(0.0, |sum, coefficient| (sum + coefficient) * t);
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * series
}

#[cfg(test)]
mod test {
    use super::{mann_whitney, smallest};

    fn close(found: Option<f64>, wanted: f64, off: f64) {
        let found = found.unwrap();
        assert!((found - wanted).abs() < off, "{found} is not {wanted}");
    }

    #[test]
    fn small_samples_are_counted_out() {
        // Published tables: U = 0 of 4 and 4 has 2 of 70 mixtures, U = 2 of 5 and 5 has 8 of 252.
        close(
            mann_whitney(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]),
            2.0 / 70.0,
            1e-12,
        );
        close(
            mann_whitney(&[1.0, 2.0, 3.0, 4.0, 7.0], &[5.0, 6.0, 8.0, 9.0, 10.0]),
            8.0 / 252.0,
            1e-12,
        );
    }

    #[test]
    fn which_sample_comes_first_does_not_matter() {
        let (one, two) = ([1.0, 4.0, 6.0], [2.0, 3.0, 5.0, 7.0, 8.0]);
        assert_eq!(mann_whitney(&one, &two), mann_whitney(&two, &one));
    }

    #[test]
    fn the_approximation_agrees_with_the_count() {
        let one: Vec<f64> = (0..25).map(|at| f64::from(at) * 2.0).collect();
        let two: Vec<f64> = (0..25).map(|at| f64::from(at) * 2.0 + 11.0).collect();
        let counted = mann_whitney(&one, &two).unwrap();
        close(
            Some(super::approximate(25, 25, u_of(&one, &two), &[])),
            counted,
            0.002,
        );
    }

    fn u_of(one: &[f64], two: &[f64]) -> f64 {
        let above = |a: &f64| two.iter().filter(|b| a > *b).count();
        one.iter().map(above).sum::<usize>() as f64
    }

    #[test]
    fn equal_samples_are_no_difference() {
        close(mann_whitney(&[5.0; 40], &[5.0; 40]), 1.0, 1e-9);
        assert_eq!(mann_whitney(&[], &[1.0]), None);
    }

    #[test]
    fn too_few_values_can_show_nothing() {
        assert!(smallest(3, 3) > 0.05);
        assert!((smallest(4, 4) - 2.0 / 70.0).abs() < 1e-12);
        assert!(smallest(8, 8) < 0.001);
    }
}
