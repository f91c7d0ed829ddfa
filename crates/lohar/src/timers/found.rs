//! The earliest of all that wants to run.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// How far ahead is looked: any 29th of February is within it, but for 2096 to 2104.
const HORIZON: SignedDuration = SignedDuration::from_hours(5 * 366 * 24);
/// Longest description, in characters.
const MAX_WHAT: usize = 120;

/// A moment at which something wants to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) at: Timestamp,
    /// What it is: one short line.
    pub(crate) what: String,
}

impl Moment {
    /// A moment, its description made fit to be shown.
    pub(crate) fn new(at: Timestamp, what: impl AsRef<str>) -> Self {
        let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        let what = what.as_ref().chars().take(MAX_WHAT).map(shown).collect();
        Self { at, what }
    }
}

/// Keeps the earliest moment that is in the future.
#[derive(Debug)]
pub(crate) struct Found {
    now: Timestamp,
    deadline: Instant,
    first: Option<Moment>,
}

impl Found {
    /// Nothing yet. The search is over at `deadline`.
    pub(crate) const fn new(now: Timestamp, deadline: Instant) -> Self {
        Self {
            now,
            deadline,
            first: None,
        }
    }

    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the time for the search is up.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// What is not before this is no news.
    pub(crate) fn limit(&self) -> Timestamp {
        match &self.first {
            Some(first) => first.at,
            None => self.now.saturating_add(HORIZON).unwrap_or(Timestamp::MAX),
        }
    }

    /// Whether a moment is in the future and before all that were found.
    pub(crate) fn is_news(&self, at: Timestamp) -> bool {
        self.now < at && at < self.limit()
    }

    /// Takes a moment if it is news.
    pub(crate) fn add(&mut self, moment: Moment) {
        if self.is_news(moment.at) {
            self.first = Some(moment);
        }
    }

    /// The earliest.
    pub(crate) fn first(self) -> Option<Moment> {
        self.first
    }
}
