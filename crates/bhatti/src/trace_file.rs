//! Spans as a file that trace viewers open: Chrome's trace format, one event a line.
//!
//! A line is written when its span ends. The array is not closed, so that the file is whole at
//! any time; viewers take it like that. Each span without a parent has a lane (`tid`) of its own,
//! in which the spans inside it lie.

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Fields that say which of its kind a span is, in the order they are told.
const TELLING: [&str; 4] = ["kind", "name", "method", "path"];

/// Writes spans to a file as they end.
pub(crate) struct TraceFile {
    file: Mutex<fs_err::File>,
    began: Instant,
}

/// What is kept with a span until it ends.
struct Open {
    start: Instant,
    fields: Fields,
}

/// The fields of a span.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl TraceFile {
    /// Makes the file, or replaces the one that is there.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut file = fs_err::File::create(path)?;
        file.write_all(b"[\n")?;
        Ok(Self {
            file: Mutex::new(file),
            began: Instant::now(),
        })
    }

    /// The spans it is for: all of our own, whatever is logged.
    pub(crate) fn filter() -> Targets {
        Targets::new().with_target("bhatti", Level::TRACE)
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for TraceFile {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(Open {
            start: Instant::now(),
            fields,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            values.record(&mut open.fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let end = Instant::now();
        let Some(Open { start, fields }) = span.extensions_mut().remove::<Open>() else {
            return;
        };
        let lane = span.scope().last().map_or(0, |root| root.id().into_u64());
        let told = TELLING
            .iter()
            .filter_map(|name| fields.0.get(*name)?.as_str());
        let name = std::iter::once(span.name()).chain(told);
        let name = name.collect::<Vec<_>>().join(" ");
        let mut args = fields.0;
        args.insert("span".to_owned(), id.into_u64().into());
        if let Some(parent) = span.parent() {
            args.insert("parent".to_owned(), parent.id().into_u64().into());
        }
        let micros = |from: Instant, to: Instant| to.duration_since(from).as_nanos() as f64 / 1e3;
        let event = json!({
            "name": name,
            "cat": span.metadata().target(),
            "ph": "X",
            "ts": micros(self.began, start),
            "dur": micros(start, end),
            "pid": 1,
            "tid": lane,
            "args": args,
        });
        let line = format!("{event},\n");
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // The work that is traced goes on without its trace.
        let _ = file.write_all(line.as_bytes());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0
            .insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

#[cfg(test)]
mod test {
    use serde_json::Value;
    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

    use super::TraceFile;

    #[test]
    fn spans_are_written_with_their_parents_as_they_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.json");
        let layer = TraceFile::create(&path)
            .unwrap()
            .with_filter(TraceFile::filter());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let plan = tracing::info_span!("plan", kind = "create", sandbox = %"sbx", n = 3);
            let _plan = plan.enter();
            let step = tracing::debug_span!("step", name = "launch", end = tracing::field::Empty);
            step.record("end", "good");
            drop(step);
            tracing::debug_span!(target: "hyper", "not ours");
        });
        let text = fs_err::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines[0], lines.len()), ("[", 3), "{text}");
        let event = |line: &str| -> Value {
            serde_json::from_str(line.strip_suffix(',').unwrap()).unwrap()
        };
        let (step, plan) = (event(lines[1]), event(lines[2]));
        assert_eq!(step["name"], "step launch");
        assert_eq!(step["args"]["end"], "good");
        assert_eq!(step["args"]["parent"], plan["args"]["span"]);
        assert_eq!(
            (&step["tid"], &plan["name"]),
            (&plan["tid"], &Value::from("plan create"))
        );
        assert_eq!(
            (&plan["args"]["n"], &plan["args"]["sandbox"]),
            (&3.into(), &"sbx".into())
        );
        assert!(plan["dur"].as_f64() >= step["dur"].as_f64());
    }
}
