//! What a run found, as it is kept: `bench/results/<date>-<host>.json`.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::machine::MachineFacts;

/// The version of the files that are written.
const FORMAT: u32 = 1;
/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The version of the format.
    pub(crate) format: u32,
    /// When the run began, RFC 3339.
    pub(crate) taken_at: String,
    /// How long it took, in seconds.
    pub(crate) took: f64,
    /// `quick` or `full`.
    pub(crate) mode: String,
    /// Where it ran.
    pub(crate) machine: MachineFacts,
    /// What was measured, in the order of the table.
    pub(crate) rows: Vec<Row>,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Its name in files and in `--only`.
    pub(crate) id: String,
    /// What people read.
    pub(crate) title: String,
    /// What its values are.
    pub(crate) unit: Unit,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// What values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    /// Times, in seconds.
    Seconds,
    /// Sizes, in bytes.
    Bytes,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It was measured.
    Measured(Vec<Series>),
    /// What it measures is not there yet.
    NotYet(String),
    /// It could not be measured here, or failed; why.
    Missing(String),
}

/// Whose values they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// Those of bhatti.
    Ours,
    /// Those of the bare operations.
    Floor,
    /// Those of the other product.
    Peer,
}

impl Side {
    /// The word in tables.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "bhatti",
            Self::Floor => "floor",
            Self::Peer => "peer",
        }
    }
}

/// The values of one side of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    /// Whose.
    pub(crate) side: Side,
    /// The values, in the order they were taken, in the unit of the row.
    pub(crate) values: Vec<f64>,
    /// Processor time of each, in seconds; empty where it means nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) cpu: Vec<f64>,
}

impl Row {
    /// The values of one side, if it has any.
    pub(crate) fn side(&self, side: Side) -> Option<&Series> {
        match &self.outcome {
            Outcome::Measured(series) => series
                .iter()
                .find(|series| series.side == side && !series.values.is_empty()),
            Outcome::NotYet(_) | Outcome::Missing(_) => None,
        }
    }
}

impl Results {
    /// Results of this format with no rows yet.
    pub(crate) fn new(taken_at: String, mode: &str, machine: MachineFacts) -> Self {
        Self {
            format: FORMAT,
            taken_at,
            took: 0.0,
            mode: mode.to_owned(),
            machine,
            rows: Vec::new(),
        }
    }

    /// The row of that name.
    pub(crate) fn row(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// Reads a file of results.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = bhatti_host::files::read_bounded(path, MAX_FILE)?;
        let not_results = || format!("{} holds no results of the bench", path.display());
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(&bytes).with_context(not_results)?;
        if head.format != FORMAT {
            bail!(
                "{} has format {}, this program reads format {FORMAT}",
                path.display(),
                head.format
            );
        }
        serde_json::from_slice(&bytes).with_context(not_results)
    }

    /// Writes a file of results.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bhatti_host::files::write_durable(path, &bytes)?)
    }
}

/// Results made up for tests.
#[cfg(test)]
pub(crate) mod made_up {
    use super::{Outcome, Results, Row, Series, Side, Unit};
    use crate::machine::MachineFacts;

    /// A row of times, measured on both sides.
    pub(crate) fn row(id: &str, ours: &[f64], floor: &[f64]) -> Row {
        let series = |side, values: &[f64]| Series {
            side,
            values: values.to_vec(),
            cpu: values.iter().map(|value| value / 2.0).collect(),
        };
        Row {
            id: id.to_owned(),
            title: id.replace('-', " "),
            unit: Unit::Seconds,
            outcome: Outcome::Measured(vec![series(Side::Ours, ours), series(Side::Floor, floor)]),
        }
    }

    /// A run with these rows.
    pub(crate) fn results(rows: Vec<Row>) -> Results {
        Results {
            rows,
            took: 61.5,
            ..Results::new(
                "2026-01-01T00:00:00Z".to_owned(),
                "quick",
                MachineFacts::made_up(),
            )
        }
    }
}

#[cfg(test)]
mod test {
    use super::{Outcome, Results, Row, Unit, made_up};

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let not_yet = Row {
            id: "fork-1".to_owned(),
            title: "fork".to_owned(),
            unit: Unit::Bytes,
            outcome: Outcome::NotYet("forks".to_owned()),
        };
        let results = made_up::results(vec![made_up::row("create", &[1.0, 2.5], &[0.5]), not_yet]);
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path).unwrap(), results);
    }

    #[test]
    fn a_file_that_is_none_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.json");
        fs_err::write(&path, r#"{"a": 1}"#).unwrap();
        let error = Results::read(&path).unwrap_err();
        assert!(error.to_string().contains("other.json"), "{error:#}");
        fs_err::write(&path, r#"{"format": 99}"#).unwrap();
        let error = Results::read(&path).unwrap_err();
        assert!(error.to_string().contains("format 99"), "{error:#}");
    }
}
