//! The table of a run, in Markdown.

use std::fmt::Write as _;

use crate::figures::{ratio, seconds, show};
use crate::results::{Outcome, Results, Row, Side};
use crate::statistics::summary::{Summary, mean, median};

const HEAD: [&str; 10] = [
    "what",
    "",
    "n",
    "min",
    "p50",
    "p95",
    "p99",
    "max",
    "CPU",
    "p50 / floor",
];

/// The whole page: where it ran, and the table.
pub(crate) fn page(results: &Results) -> String {
    let mut text = format!(
        "# Bench of {} on {}\n\nA {} run of {} s.\n\n",
        results.taken_at.split('T').next().unwrap_or_default(),
        results.machine.host,
        results.mode,
        results.took.round(),
    );
    for (name, value) in results.machine.lines() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- {name}: {value}");
    }
    text.push('\n');
    text.push_str(&table(results));
    text.push('\n');
    text.push_str(&notes(&results.rows));
    text
}

/// The table alone, its columns of one width so that it reads on a terminal too.
fn table(results: &Results) -> String {
    let mut lines = vec![HEAD.map(str::to_owned).to_vec()];
    for row in &results.rows {
        lines.extend(row_lines(row));
    }
    align(&lines)
}

fn row_lines(row: &Row) -> Vec<Vec<String>> {
    match &row.outcome {
        Outcome::NotYet(_) => vec![without(row, "not yet")],
        Outcome::Missing(_) => vec![without(row, "none")],
        Outcome::Measured(series) => {
            let floor = row.side(Side::Floor).map(|floor| median(&floor.values));
            let mut lines = Vec::new();
            for series in series {
                let Some(summary) = Summary::of(&series.values) else {
                    continue;
                };
                let value = |value| show(value, row.unit);
                let against = match (series.side, floor) {
                    (Side::Floor, _) | (_, None) => String::new(),
                    (Side::Ours | Side::Peer, Some(floor)) => ratio(summary.p50 / floor),
                };
                let cpu = if series.cpu.is_empty() {
                    String::new()
                } else {
                    seconds(mean(&series.cpu))
                };
                let title = if lines.is_empty() {
                    row.title.clone()
                } else {
                    String::new()
                };
                lines.push(vec![
                    title,
                    series.side.as_str().to_owned(),
                    summary.n.to_string(),
                    value(summary.min),
                    value(summary.p50),
                    value(summary.p95),
                    value(summary.p99),
                    value(summary.max),
                    cpu,
                    against,
                ]);
            }
            if lines.is_empty() {
                lines.push(without(row, "none"));
            }
            lines
        }
    }
}

/// A line without figures.
fn without(row: &Row, word: &str) -> Vec<String> {
    let mut cells = vec![row.title.clone(), word.to_owned()];
    cells.resize(HEAD.len(), String::new());
    cells
}

/// Why rows have no figures.
fn notes(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let why = match &row.outcome {
            Outcome::NotYet(feature) => format!("not yet: needs {feature}"),
            Outcome::Missing(reason) => format!("none: {reason}"),
            Outcome::Measured(_) => continue,
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- {}: {why}", row.title);
    }
    text
}

/// Lines of cells as a Markdown table; the first line is its head.
pub(crate) fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let cells: Vec<_> = (0..columns)
            .map(|column| {
                let cell = line.get(column).map_or("", String::as_str);
                let room = widths[column].saturating_sub(cell.chars().count());
                // Words to the left, figures to the right.
                if column < 2 {
                    format!("{cell}{}", " ".repeat(room))
                } else {
                    format!("{}{cell}", " ".repeat(room))
                }
            })
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if at == 0 {
            let rules: Vec<_> = widths
                .iter()
                .enumerate()
                .map(|(column, width)| {
                    let dashes = "-".repeat((*width).max(3) - usize::from(column >= 2));
                    if column < 2 {
                        dashes
                    } else {
                        format!("{dashes}:")
                    }
                })
                .collect();
            let _ = writeln!(text, "| {} |", rules.join(" | "));
        }
    }
    text
}

#[cfg(test)]
mod test {
    use super::page;
    use crate::results::{Outcome, Row, Series, Side, Unit, made_up};

    #[test]
    fn each_row_shows_its_sides_and_what_they_are_against_the_floor() {
        let mut create = made_up::row("create", &[4.4, 4.2, 4.3], &[4.0, 4.1, 3.9]);
        if let Outcome::Measured(series) = &mut create.outcome {
            series.push(Series {
                side: Side::Peer,
                values: vec![8.0],
                cpu: Vec::new(),
            });
        }
        let without = |id: &str, outcome| Row {
            id: id.to_owned(),
            title: id.to_owned(),
            unit: Unit::Bytes,
            outcome,
        };
        let mut size = without(
            "size on disk",
            Outcome::Measured(vec![Series {
                side: Side::Ours,
                values: vec![4e7, 4.1e7],
                cpu: Vec::new(),
            }]),
        );
        size.unit = Unit::Bytes;
        let rows = vec![
            create,
            size,
            without("fork", Outcome::NotYet("forks".to_owned())),
            without(
                "wake",
                Outcome::Missing("the guest | was silent".to_owned()),
            ),
            without("empty", Outcome::Measured(Vec::new())),
        ];
        insta::assert_snapshot!(page(&made_up::results(rows)));
    }
}
