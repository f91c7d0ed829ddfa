//! Taking samples: how long something took, what it cost, and how often it is done.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use crate::processor::Meter;
use crate::results::{Series, Side};

/// One measured value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// In the unit of its row.
    pub(crate) value: f64,
    /// Processor time, in seconds.
    pub(crate) cpu: Option<f64>,
}

impl Sample {
    /// A time, or a size in bytes, that costs nothing by itself.
    pub(crate) fn bare(value: f64) -> Self {
        Self { value, cpu: None }
    }
}

impl std::ops::Add for Sample {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            value: self.value + other.value,
            cpu: self.cpu.zip(other.cpu).map(|(one, two)| one + two),
        }
    }
}

/// Times a piece of work.
pub(crate) async fn timed<T, E>(
    meter: &Meter,
    work: impl Future<Output = Result<T, E>>,
) -> Result<(T, Sample), E> {
    let before = meter.before();
    let began = Instant::now();
    let value = work.await?;
    let took = began.elapsed();
    // Less than before: a process is gone, and with it the record of its time.
    let cpu = meter.after().checked_sub(before);
    let sample = Sample {
        value: took.as_secs_f64(),
        cpu: cpu.map(|cpu| cpu.as_secs_f64()),
    };
    Ok((value, sample))
}

/// All samples of a run, by row and side.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    series: BTreeMap<(String, Side), Vec<Sample>>,
}

impl Samples {
    /// Keeps a sample.
    pub(crate) fn add(&mut self, row: &str, side: Side, sample: Sample) {
        let key = (row.to_owned(), side);
        self.series.entry(key).or_default().push(sample);
    }

    /// What was kept for a row.
    pub(crate) fn of(&self, row: &str) -> Vec<Series> {
        let series = self.series.iter().filter(|((id, _), _)| id == row);
        let series = series.map(|((_, side), samples)| Series {
            side: *side,
            values: samples.iter().map(|sample| sample.value).collect(),
            // All of them or none: a mean over some would be of something else.
            cpu: samples
                .iter()
                .map(|sample| sample.cpu)
                .collect::<Option<_>>()
                .unwrap_or_default(),
        });
        series.collect()
    }
}

/// How often something is done: at most `most` times, and not again once the time is up, but
/// twice in any case.
#[derive(Debug, Clone)]
pub(crate) struct Rounds {
    most: usize,
    done: usize,
    until: Instant,
}

/// Rounds that are done however long they take: one value has no spread.
const LEAST: usize = 2;

impl Rounds {
    /// Rounds from now on.
    pub(crate) fn new(most: usize, limit: Duration) -> Self {
        Self {
            most,
            done: 0,
            until: Instant::now() + limit,
        }
    }
}

impl Iterator for Rounds {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let goes_on = self.done < self.most && (self.done < LEAST || Instant::now() < self.until);
        goes_on.then(|| {
            self.done += 1;
            self.done - 1
        })
    }
}

/// Which of several comes first in a round: each in its turn, so that none always has the host
/// as the one before it left it.
pub(crate) fn turn<T: Copy, const N: usize>(all: [T; N], round: usize) -> [T; N] {
    let mut turned = all;
    turned.rotate_left(round % N.max(1));
    turned
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use super::{Rounds, Sample, Samples, turn};
    use crate::results::Side;

    #[test]
    fn rounds_are_bounded_by_their_number_and_by_time() {
        assert_eq!(Rounds::new(5, Duration::from_mins(1)).count(), 5);
        assert_eq!(Rounds::new(5, Duration::ZERO).count(), 2);
        assert_eq!(Rounds::new(1, Duration::ZERO).count(), 1);
    }

    #[test]
    fn each_comes_first_in_its_turn() {
        assert_eq!(turn([1, 2, 3], 0), [1, 2, 3]);
        assert_eq!(turn([1, 2, 3], 4), [2, 3, 1]);
    }

    #[test]
    fn a_cost_that_is_not_known_of_all_is_not_told() {
        let mut samples = Samples::default();
        let costs = Sample {
            value: 1.0,
            cpu: Some(0.005),
        };
        samples.add("a", Side::Ours, costs);
        samples.add("a", Side::Floor, costs);
        samples.add("a", Side::Floor, Sample::bare(2.0));
        samples.add("b", Side::Ours, Sample::bare(3.0));
        let found = samples.of("a");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].cpu, [0.005]);
        assert!(found[1].cpu.is_empty() && found[1].values == [1.0, 2.0]);
        assert_eq!((costs + Sample::bare(1.0)).cpu, None);
    }
}
