//! A sample in six figures.

/// A sample in six figures. In the unit of the sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// How many values there are.
    pub(crate) n: usize,
    /// The smallest.
    pub(crate) min: f64,
    /// The median.
    pub(crate) p50: f64,
    /// 95 of 100 are not above this.
    pub(crate) p95: f64,
    /// 99 of 100 are not above this. With fewer than 100 values it is little more than the
    /// largest.
    pub(crate) p99: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Summary {
    /// Sums a sample up; `None` if there is nothing in it.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Self {
            n: sorted.len(),
            min,
            p50: quantile(&sorted, 0.5),
            p95: quantile(&sorted, 0.95),
            p99: quantile(&sorted, 0.99),
            max,
        })
    }
}

/// The values in order.
pub(crate) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The median of values in any order; `NaN` if there are none.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(&sorted(values), 0.5)
}

/// The mean; `NaN` if there are no values.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A quantile of sorted values, interpolated between the two nearest (type 7 of Hyndman and Fan,
/// what R and NumPy do unless told otherwise).
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = share * last as f64;
    let below = place.floor();
    let (low, high) = (below as usize, (below as usize + 1).min(last));
    sorted[low] + (sorted[high] - sorted[low]) * (place - below)
}

#[cfg(test)]
mod test {
    use super::{Summary, mean, median, quantile};

    #[test]
    fn quantiles_lie_between_the_nearest_values() {
        let values = [10.0, 20.0, 30.0, 40.0];
        assert!((quantile(&values, 0.5) - 25.0).abs() < 1e-9);
        assert!((quantile(&values, 0.95) - 38.5).abs() < 1e-9);
        assert!((quantile(&values, 1.0) - 40.0).abs() < 1e-9);
        assert!((quantile(&values[..1], 0.99) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn the_order_of_a_sample_does_not_matter() {
        let one = Summary::of(&[3.0, 1.0, 2.0]);
        assert_eq!(one, Summary::of(&[1.0, 2.0, 3.0]));
        assert_eq!(one.map(|summary| (summary.n, summary.p50)), Some((3, 2.0)));
    }

    #[test]
    fn nothing_has_no_summary() {
        assert_eq!(Summary::of(&[]), None);
        assert!(median(&[]).is_nan() && mean(&[]).is_nan());
    }
}
