//! The values of a run as pictures: each value a dot, each side a lane, on a logarithmic scale.
//!
//! The picture shows what six figures hide: two humps, an outlier, a drift. It is written by
//! hand, for it is a hundred lines and a plotting library is a hundred crates.

use std::fmt::Write as _;

use crate::figures::show;
use crate::results::{Results, Row, Series, Side, Unit};
use crate::statistics::summary::median;

/// Sizes, in pixels.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 270.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 40.0;
const LANE: f64 = 16.0;
const GAP: f64 = 12.0;
const BOTTOM: f64 = 30.0;

/// A picture of all measured rows of one unit; `None` if there are none.
pub(crate) fn plot(results: &Results, unit: Unit) -> Option<String> {
    let rows: Vec<_> = results
        .rows
        .iter()
        .filter(|row| row.unit == unit && !sides(row).is_empty())
        .collect();
    let scale = Scale::over(rows.iter().flat_map(|row| sides(row)))?;
    let mut body = String::new();
    let mut y = TOP;
    for row in &rows {
        let lanes = sides(row);
        let middle = y + LANE * lanes.len() as f64 / 2.0 + 4.0;
        text(&mut body, LEFT - 10.0, middle, "end", "t", &row.title);
        for series in lanes {
            lane(&mut body, &scale, y + LANE / 2.0, series, unit);
            y += LANE;
        }
        y += GAP;
    }
    let mut axis = String::new();
    for tick in scale.ticks() {
        let x = scale.x(tick);
        // Writing to a String cannot fail.
        let _ = writeln!(
            axis,
            r#"<line class="g" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{y:.0}"/>"#
        );
        text(&mut axis, x, y + 16.0, "middle", "a", &show(tick, unit));
    }
    let height = y + BOTTOM;
    let title = format!(
        "{} · {} · {}",
        results.machine.host,
        results.taken_at.split('T').next().unwrap_or_default(),
        results.machine.accelerator
    );
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0}" viewBox="0 0 {WIDTH} {height:.0}">
<style>text{{font:12px sans-serif;fill:#222}} .a{{fill:#777;font-size:10px}} .g{{stroke:#e4e4e4}} .m{{stroke-width:2}}
.bhatti{{fill:#c4570c;stroke:#c4570c}} .floor{{fill:#2f6f9f;stroke:#2f6f9f}} .peer{{fill:#6b8e23;stroke:#6b8e23}}
circle{{fill-opacity:.45;stroke:none}} text.bhatti,text.floor,text.peer{{stroke:none;font-size:10px}}</style>
<rect width="100%" height="100%" fill="#fff"/>
"##
    );
    text(&mut svg, 10.0, 20.0, "start", "t", &title);
    for (at, side) in [Side::Ours, Side::Floor, Side::Peer].iter().enumerate() {
        let x = WIDTH - 200.0 + at as f64 * 65.0;
        text(&mut svg, x, 20.0, "start", side.as_str(), side.as_str());
    }
    svg.push_str(&axis);
    svg.push_str(&body);
    svg.push_str("</svg>\n");
    Some(svg)
}

fn sides(row: &Row) -> Vec<&Series> {
    [Side::Ours, Side::Floor, Side::Peer]
        .into_iter()
        .filter_map(|side| row.side(side))
        .collect()
}

/// One side of a row: its dots, its median as a line, and the median's value.
fn lane(body: &mut String, scale: &Scale, y: f64, series: &Series, unit: Unit) {
    let class = series.side.as_str();
    for (at, value) in series.values.iter().enumerate() {
        // Spread over the lane by their order, so that equal values do not hide each other.
        let spread = (at * 7 % 11) as f64 - 5.0;
        let (x, y) = (scale.x(*value), y + spread * 0.9);
        let _ = writeln!(
            body,
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="2.2"/>"#
        );
    }
    let middle = median(&series.values);
    let x = scale.x(middle);
    let (above, below) = (y - LANE / 2.0 + 1.0, y + LANE / 2.0 - 1.0);
    let _ = writeln!(
        body,
        r#"<line class="m {class}" x1="{x:.1}" x2="{x:.1}" y1="{above:.1}" y2="{below:.1}"/>"#
    );
    let at = WIDTH - RIGHT + 10.0;
    text(body, at, y + 4.0, "start", class, &show(middle, unit));
}

fn text(to: &mut String, x: f64, y: f64, anchor: &str, class: &str, words: &str) {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        to,
        r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#
    );
}

/// A logarithmic scale over whole decades.
struct Scale {
    first: i32,
    last: i32,
}

impl Scale {
    fn over<'s>(series: impl Iterator<Item = &'s Series>) -> Option<Self> {
        let values = series.flat_map(|series| series.values.iter().copied());
        let values: Vec<_> = values.filter(|value| *value > 0.0).collect();
        let smallest = values.iter().copied().reduce(f64::min)?;
        let largest = values.iter().copied().reduce(f64::max)?;
        let first = smallest.log10().floor() as i32;
        Some(Self {
            first,
            last: (largest.log10().ceil() as i32).max(first + 1),
        })
    }

    /// Where a value stands. One that has no logarithm stands at the beginning.
    fn x(&self, value: f64) -> f64 {
        let span = f64::from(self.last - self.first);
        let share = (value.max(f64::MIN_POSITIVE).log10() - f64::from(self.first)) / span;
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.first..=self.last).map(|power| 10_f64.powi(power))
    }
}

#[cfg(test)]
mod test {
    use super::{LEFT, Scale, plot};
    use crate::results::{Side, Unit, made_up};

    #[test]
    fn the_scale_covers_whole_decades() {
        let row = made_up::row("create", &[0.002, 0.3], &[0.05]);
        let scale = Scale::over(row.side(Side::Ours).into_iter()).unwrap();
        assert_eq!((scale.first, scale.last), (-3, 0));
        assert!((scale.x(0.001) - LEFT).abs() < 1e-9);
        assert!((scale.x(0.0) - LEFT).abs() < 1e-9);
        assert!(scale.x(0.01) < scale.x(0.02));
        assert_eq!(scale.ticks().count(), 4);
    }

    #[test]
    fn the_picture_has_a_dot_for_each_value_and_escapes_words() {
        let mut row = made_up::row("a<b", &[0.1, 0.2, 0.3], &[0.05, 0.06]);
        row.title = "a<b & c".to_owned();
        let results = made_up::results(vec![row]);
        let svg = plot(&results, Unit::Seconds).unwrap();
        assert_eq!(svg.matches("<circle").count(), 5);
        assert!(svg.contains("a&lt;b &amp; c"));
        assert!(plot(&results, Unit::Bytes).is_none());
    }
}
