//! The daemon's trace file: an array of Chrome trace events, one on each line, without its end
//! while the daemon runs.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

/// One span, from its beginning to its end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    /// Its number in the file.
    pub(crate) id: u64,
    /// The span it is in.
    pub(crate) parent: Option<u64>,
    /// What it is, in words.
    pub(crate) name: String,
    /// When it began, in microseconds after the daemon did.
    pub(crate) start: f64,
    /// How long it took, in microseconds.
    pub(crate) length: f64,
    /// Its fields.
    pub(crate) fields: BTreeMap<String, Value>,
}

impl Span {
    /// When it ended.
    pub(crate) fn end(&self) -> f64 {
        self.start + self.length
    }
}

#[derive(Deserialize)]
struct Event {
    name: String,
    ts: f64,
    dur: f64,
    args: Args,
}

#[derive(Deserialize)]
struct Args {
    span: u64,
    #[serde(default)]
    parent: Option<u64>,
    #[serde(flatten)]
    fields: BTreeMap<String, Value>,
}

/// Reads all whole lines. The last one may still be being written.
pub(crate) fn parse(file: &str) -> anyhow::Result<Vec<Span>> {
    let whole = file.rfind('\n').map_or("", |end| &file[..end]);
    let lines = whole
        .lines()
        .map(|line| line.trim().trim_end_matches(','))
        .filter(|line| !matches!(*line, "" | "[" | "]"));
    lines
        .map(|line| {
            let event: Event =
                serde_json::from_str(line).with_context(|| format!("a trace event: {line}"))?;
            Ok(Span {
                id: event.args.span,
                parent: event.args.parent,
                name: event.name,
                start: event.ts,
                length: event.dur,
                fields: event.args.fields,
            })
        })
        .collect()
}

#[cfg(test)]
mod test {
    use super::parse;

    #[test]
    fn spans_are_read_up_to_the_last_whole_line() {
        let file = "[\n\
            {\"name\":\"step launch\",\"ph\":\"X\",\"ts\":10.5,\"dur\":3.25,\"pid\":1,\"tid\":2,\
            \"args\":{\"span\":7,\"parent\":2,\"name\":\"launch\"}},\n\
            {\"name\":\"request\",\"ph\":\"X\",\"ts\":1,\"dur\":90,\"pid\":1,\"tid\":2,\
            \"args\":{\"span\":2}},\n{\"name\":\"ha";
        let spans = parse(file).unwrap();
        assert_eq!(spans.len(), 2);
        assert_eq!((spans[0].id, spans[0].parent), (7, Some(2)));
        assert!((spans[0].end() - 13.75).abs() < 1e-9);
        assert_eq!(spans[0].fields["name"], "launch");
        assert_eq!(spans[1].parent, None);
    }

    #[test]
    fn what_is_no_event_is_said_to_be_none() {
        assert!(parse("[\n{\"a\":1}\n").is_err());
        assert!(parse("").unwrap().is_empty());
    }
}
