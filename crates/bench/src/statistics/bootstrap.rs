//! How sure a ratio of medians is, by drawing the samples again.
//!
//! Times have long tails and no known distribution, so an interval from a formula would be made
//! up. Drawing from the samples themselves, with replacement, shows how far the ratio moves by
//! the luck of the draw alone.

use super::summary::{median, quantile, sorted};

/// How often the samples are drawn again. The ends of the interval are then good to about two
/// figures, which is what is shown.
const DRAWS: usize = 4000;
/// Half of what lies outside the interval.
const TAIL: f64 = 0.025;

/// A ratio with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    /// The ratio of the medians.
    pub(crate) value: f64,
    /// Where the interval begins.
    pub(crate) low: f64,
    /// Where the interval ends.
    pub(crate) high: f64,
}

/// The median of `after` over that of `before`; `None` if one of them is empty or all zero.
///
/// The same samples always give the same interval: the draws are from a fixed seed.
pub(crate) fn ratio_of_medians(before: &[f64], after: &[f64]) -> Option<Ratio> {
    let value = median(after) / median(before);
    if !value.is_finite() {
        return None;
    }
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let mut drawn = Vec::with_capacity(DRAWS);
    let (mut one, mut two) = (before.to_vec(), after.to_vec());
    for _ in 0..DRAWS {
        random.draw(before, &mut one);
        random.draw(after, &mut two);
        let ratio = median(&two) / median(&one);
        if ratio.is_finite() {
            drawn.push(ratio);
        }
    }
    let drawn = sorted(&drawn);
    Some(Ratio {
        value,
        low: quantile(&drawn, TAIL),
        high: quantile(&drawn, 1.0 - TAIL),
    })
}

/// A small generator (xorshift64*): statistics need evenness, not secrecy.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Fills `to` with values of `from`, each as likely as any other.
    fn draw(&mut self, from: &[f64], to: &mut [f64]) {
        for value in to {
            *value = from[(self.next() >> 11) as usize % from.len()];
        }
    }
}

#[cfg(test)]
mod test {
    use super::ratio_of_medians;

    /// Values around a middle, without luck.
    fn around(middle: f64) -> Vec<f64> {
        (0..30)
            .map(|at| middle * (1.0 + f64::from(at - 15) / 300.0))
            .collect()
    }

    #[test]
    fn the_interval_holds_the_ratio_and_not_one_when_all_is_slower() {
        let ratio = ratio_of_medians(&around(10.0), &around(13.0)).unwrap();
        assert!((ratio.value - 1.3).abs() < 1e-6);
        assert!(1.2 < ratio.low && ratio.low <= 1.3 && ratio.high < 1.4);
    }

    #[test]
    fn the_same_sample_twice_has_one_in_its_interval() {
        let ratio = ratio_of_medians(&around(10.0), &around(10.0)).unwrap();
        assert!(ratio.low <= 1.0 && 1.0 <= ratio.high);
    }

    #[test]
    fn the_same_samples_give_the_same_interval() {
        let twice = || ratio_of_medians(&around(3.0), &around(4.0));
        assert_eq!(twice(), twice());
    }

    #[test]
    fn nothing_has_no_ratio() {
        assert_eq!(ratio_of_medians(&[], &[1.0]), None);
        assert_eq!(ratio_of_medians(&[0.0], &[1.0]), None);
    }
}
