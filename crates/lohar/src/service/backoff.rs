//! How long to wait before a program that has ended is started again.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);
/// The longest one.
const LONGEST: Duration = Duration::from_mins(1);
/// Who ran as long as this has started well, and begins with the first pause again.
const STEADY: Duration = Duration::from_secs(10);

/// Pauses that double.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// The pause after a run of this length.
    pub(crate) fn next(&mut self, ran: Duration) -> Duration {
        let next = match self.last {
            Some(last) if ran < STEADY => (last * 2).min(LONGEST),
            _ => FIRST,
        };
        self.last = Some(next);
        next
    }
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use super::{Backoff, FIRST, LONGEST, STEADY};

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_good_run() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..12).map(|_| backoff.next(Duration::ZERO)).collect();
        assert_eq!(pauses[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(pauses[11], LONGEST);
        assert_eq!(backoff.next(STEADY), FIRST);
        assert_eq!(backoff.next(Duration::ZERO), FIRST * 2);
    }
}
