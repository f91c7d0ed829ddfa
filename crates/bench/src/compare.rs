//! What changed between two runs, beyond noise.

use std::fmt::Write as _;

use crate::figures::{ratio, show};
use crate::results::{Results, Row, Side};
use crate::statistics::bootstrap::{Ratio, ratio_of_medians};
use crate::statistics::ranks::{mann_whitney, smallest};
use crate::statistics::summary::median;
use crate::table::align;

/// How improbable a difference must be if nothing had changed. Some forty rows are compared at
/// once, so one in a hundred is not enough.
const SIGNIFICANT: f64 = 0.001;
/// Smallest change that is called one. Two runs of the same program on the same idle host differ
/// by a few per cent, for caches, file layout and the processor's clock: with enough samples
/// every such difference is significant and none of them is news.
const RELEVANT: f64 = 0.05;

/// What is said of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No change that these samples show.
    Same,
    /// It takes less.
    Better,
    /// It takes more.
    Worse,
    /// It changed, and its floor with it: the host did.
    Host,
    /// There are too few values to say anything.
    TooFew,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Better => "BETTER",
            Self::Worse => "WORSE",
            Self::Host => "the host changed",
            Self::TooFew => "too few values",
        }
    }
}

/// How a sample moved.
#[derive(Debug, Clone, Copy)]
struct Move {
    ratio: Ratio,
    shown: Shown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Moved,
    Stayed,
    Unknown,
}

fn moved(before: &[f64], after: &[f64]) -> Option<Move> {
    let ratio = ratio_of_medians(before, after)?;
    let probability = mann_whitney(before, after)?;
    let shown = if smallest(before.len(), after.len()) > SIGNIFICANT {
        Shown::Unknown
    } else if probability < SIGNIFICANT && (ratio.low > 1.0 || ratio.high < 1.0) {
        if (ratio.value - 1.0).abs() >= RELEVANT {
            Shown::Moved
        } else {
            Shown::Stayed
        }
    } else {
        Shown::Stayed
    };
    Some(Move { ratio, shown })
}

/// What is to be said of a row that is in both runs; `None` if it has no values in one of them.
pub(crate) fn verdict(before: &Row, after: &Row) -> Option<(Verdict, Ratio)> {
    let side = |row: &Row, side| row.side(side).map(|series| series.values.clone());
    let ours = moved(&side(before, Side::Ours)?, &side(after, Side::Ours)?)?;
    let floor = match (side(before, Side::Floor), side(after, Side::Floor)) {
        (Some(before), Some(after)) => moved(&before, &after),
        _ => None,
    };
    let verdict = match ours.shown {
        Shown::Unknown => Verdict::TooFew,
        Shown::Stayed => Verdict::Same,
        Shown::Moved => {
            let with_floor = floor.is_some_and(|floor| {
                floor.shown == Shown::Moved
                    && (ours.ratio.value / floor.ratio.value - 1.0).abs() < RELEVANT
            });
            match ours.ratio.value {
                _ if with_floor => Verdict::Host,
                value if value < 1.0 => Verdict::Better,
                _ => Verdict::Worse,
            }
        }
    };
    Some((verdict, ours.ratio))
}

/// The comparison as a page.
pub(crate) fn page(before: &Results, after: &Results) -> String {
    let mut text = String::new();
    for (name, run) in [("before", before), ("after", after)] {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name}: {} on {}, commit {}, {} run",
            run.taken_at, run.machine.host, run.machine.commit, run.mode
        );
    }
    for ((name, one), (_, two)) in before.machine.lines().iter().zip(after.machine.lines()) {
        if *one != two && !["commit", "load before"].contains(name) {
            let _ = writeln!(text, "warning: {name} differs: {one} / {two}");
        }
    }
    text.push('\n');
    let head = [
        "what",
        "verdict",
        "before",
        "after",
        "after / before",
        "95 % of draws",
        "floor",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    let mut counts = [0; 2];
    for row in &after.rows {
        let Some(old) = before.row(&row.id) else {
            continue;
        };
        let Some((verdict, change)) = verdict(old, row) else {
            continue;
        };
        match verdict {
            Verdict::Better => counts[0] += 1,
            Verdict::Worse => counts[1] += 1,
            Verdict::Same | Verdict::Host | Verdict::TooFew => {}
        }
        let middle = |row: &Row, side| {
            let series = row.side(side);
            series.map_or(f64::NAN, |series| median(&series.values))
        };
        lines.push(vec![
            row.title.clone(),
            verdict.as_str().to_owned(),
            show(middle(old, Side::Ours), row.unit),
            show(middle(row, Side::Ours), row.unit),
            ratio(change.value),
            format!("{} to {}", ratio(change.low), ratio(change.high)),
            ratio(middle(row, Side::Floor) / middle(old, Side::Floor)),
        ]);
    }
    text.push_str(&align(&lines));
    let _ = writeln!(
        text,
        "\n{} rows compared, {} better, {} worse. A change is one whose ranks differ (Mann-Whitney, \
         p < {SIGNIFICANT}), whose interval leaves 1 out, and that is {} % or more.",
        lines.len() - 1,
        counts[0],
        counts[1],
        RELEVANT * 100.0,
    );
    text
}

#[cfg(test)]
mod test {
    use super::{Verdict, page, verdict};
    use crate::results::made_up;

    fn around(middle: f64) -> Vec<f64> {
        (0..12)
            .map(|at| middle * (1.0 + f64::from(at - 6) / 400.0))
            .collect()
    }

    fn said(ours: (f64, f64), floor: (f64, f64)) -> Verdict {
        let before = made_up::row("create", &around(ours.0), &around(floor.0));
        let after = made_up::row("create", &around(ours.1), &around(floor.1));
        verdict(&before, &after).unwrap().0
    }

    #[test]
    fn a_change_of_ours_alone_is_ours() {
        assert_eq!(said((10.0, 13.0), (9.0, 9.0)), Verdict::Worse);
        assert_eq!(said((10.0, 8.0), (9.0, 9.0)), Verdict::Better);
    }

    #[test]
    fn a_change_that_the_floor_shares_is_the_hosts() {
        assert_eq!(said((10.0, 13.0), (9.0, 11.7)), Verdict::Host);
        assert_eq!(said((10.0, 20.0), (9.0, 11.7)), Verdict::Worse);
    }

    #[test]
    fn noise_and_trifles_are_no_change() {
        assert_eq!(said((10.0, 10.0), (9.0, 9.0)), Verdict::Same);
        assert_eq!(said((10.0, 10.3), (9.0, 9.0)), Verdict::Same);
    }

    #[test]
    fn a_few_values_show_nothing_however_far_apart() {
        let before = made_up::row("create", &[1.0, 1.1, 1.2], &[1.0]);
        let after = made_up::row("create", &[5.0, 5.1, 5.2], &[1.0]);
        assert_eq!(verdict(&before, &after).unwrap().0, Verdict::TooFew);
    }

    #[test]
    fn the_page_says_what_changed_and_by_which_rule() {
        let before = made_up::results(vec![
            made_up::row("create", &around(4.0), &around(3.8)),
            made_up::row("exec", &around(0.02), &around(0.01)),
            made_up::row("gone", &around(1.0), &[]),
        ]);
        let mut after = made_up::results(vec![
            made_up::row("create", &around(4.0), &around(3.8)),
            made_up::row("exec", &around(0.012), &around(0.01)),
            made_up::row("new", &around(1.0), &[]),
        ]);
        after.machine.kernel = "6.18.0".to_owned();
        insta::assert_snapshot!(page(&before, &after));
    }
}
