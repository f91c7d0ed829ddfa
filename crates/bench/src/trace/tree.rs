//! Spans as a tree, and the tree as an indented table.

use std::fmt::Write as _;

use super::events::Span;
use crate::figures::seconds;

/// Time between two steps that is worth a line of its own, as a share of the whole.
const WORTH: f64 = 0.02;

/// The tree of one operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    span: Span,
    inner: Vec<Tree>,
}

impl Tree {
    /// The tree under the last span without a parent that began at `from` or later and whose name
    /// `wanted` takes.
    pub(crate) fn last(spans: &[Span], from: f64, wanted: impl Fn(&str) -> bool) -> Option<Self> {
        let roots = spans
            .iter()
            .filter(|span| span.parent.is_none() && span.start >= from && wanted(&span.name));
        let last = roots.max_by(|a, b| a.start.total_cmp(&b.start))?;
        Some(Self::under(last, spans))
    }

    fn under(span: &Span, spans: &[Span]) -> Self {
        let inner = spans.iter().filter(|other| other.parent == Some(span.id));
        let mut inner: Vec<_> = inner.map(|other| Self::under(other, spans)).collect();
        inner.sort_by(|a, b| a.span.start.total_cmp(&b.span.start));
        Self {
            span: span.clone(),
            inner,
        }
    }

    /// How long it took, in microseconds.
    pub(crate) fn length(&self) -> f64 {
        self.span.length
    }

    /// An indented table: when each step began, how long it took, its share of the whole.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{:>10}  {:>10}  {:>5}  what\n", "at", "took", "share");
        self.lines(&mut text, 0, self.span.start, self.span.length);
        text
    }

    fn lines(&self, text: &mut String, depth: usize, start: f64, whole: f64) {
        line(
            text,
            depth,
            self.span.start - start,
            self.span.length,
            whole,
            &self.span.name,
        );
        let mut done = self.span.start;
        for inner in &self.inner {
            rest(text, depth + 1, start, whole, done, inner.span.start);
            inner.lines(text, depth + 1, start, whole);
            done = done.max(inner.span.end());
        }
        if !self.inner.is_empty() {
            rest(text, depth + 1, start, whole, done, self.span.end());
        }
    }
}

/// A line for what happens between spans, if it is long.
fn rest(text: &mut String, depth: usize, start: f64, whole: f64, from: f64, to: f64) {
    if to - from >= whole * WORTH {
        line(text, depth, from - start, to - from, whole, "(between)");
    }
}

fn line(text: &mut String, depth: usize, at: f64, took: f64, whole: f64, name: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{:>10}  {:>10}  {:>4.0}%  {}{name}",
        seconds(at / 1e6),
        seconds(took / 1e6),
        took / whole * 100.0,
        "  ".repeat(depth),
    );
}

#[cfg(test)]
mod test {
    use std::collections::BTreeMap;

    use super::{Span, Tree};

    fn span(id: u64, parent: Option<u64>, name: &str, start: f64, length: f64) -> Span {
        Span {
            id,
            parent,
            name: name.to_owned(),
            start,
            length,
            fields: BTreeMap::new(),
        }
    }

    #[test]
    fn steps_are_indented_and_what_is_between_them_is_shown() {
        let spans = [
            // In the order of their ends, as the daemon writes them.
            span(3, Some(2), "step launch", 1200.0, 30_000.0),
            span(4, Some(2), "step run", 31_200.0, 700.0),
            span(2, Some(1), "plan create", 1000.0, 60_000.0),
            span(1, None, "request POST /sandboxes", 0.0, 62_000.0),
            span(5, None, "request GET /sandboxes", 70_000.0, 100.0),
        ];
        let tree = Tree::last(&spans, 0.0, |name| name.contains("POST")).unwrap();
        insta::assert_snapshot!(tree.table());
        assert!(Tree::last(&spans, 1.0, |name| name.contains("POST")).is_none());
    }
}
