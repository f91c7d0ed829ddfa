//! Between columns and the types of `bhatti-types`.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Error, Row};

/// A cell that holds what this bhatti cannot read.
#[derive(Debug, thiserror::Error)]
#[error("column {column:?} holds {found:?}")]
struct Unreadable {
    column: &'static str,
    found: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

fn unreadable(
    row: &Row<'_>,
    column: &'static str,
    found: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    let index = row.as_ref().column_index(column).unwrap_or_default();
    let error = Unreadable {
        column,
        found,
        source,
    };
    Error::FromSqlConversionFailure(index, Type::Text, Box::new(error))
}

/// Reads a text column through `FromStr`.
pub(crate) fn parsed<T>(row: &Row<'_>, column: &'static str) -> Result<T, Error>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|error: T::Err| unreadable(row, column, text, Some(error.into())))
}

/// Reads a text column that may be NULL through `FromStr`.
pub(crate) fn parsed_option<T>(row: &Row<'_>, column: &'static str) -> Result<Option<T>, Error>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: Option<String> = row.get(column)?;
    text.map(|text| {
        text.parse()
            .map_err(|error: T::Err| unreadable(row, column, text, Some(error.into())))
    })
    .transpose()
}

/// Reads a text column that holds one of a few words.
pub(crate) fn word<T: Copy>(
    row: &Row<'_>,
    column: &'static str,
    all: &[T],
    as_str: impl Fn(T) -> &'static str,
) -> Result<T, Error> {
    let text: String = row.get(column)?;
    match all.iter().copied().find(|value| as_str(*value) == text) {
        Some(value) => Ok(value),
        None => Err(unreadable(row, column, text, None)),
    }
}

/// Reads an integer column into one of the size types.
pub(crate) fn size<T>(row: &Row<'_>, column: &'static str) -> Result<T, Error>
where
    T: TryFrom<u64>,
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let count: u32 = row.get(column)?;
    T::try_from(u64::from(count))
        .map_err(|error| unreadable(row, column, count.to_string(), Some(error.into())))
}

/// Reads an integer column that counts bytes or time.
pub(crate) fn count(row: &Row<'_>, column: &'static str) -> Result<u64, Error> {
    let count: i64 = row.get(column)?;
    u64::try_from(count)
        .map_err(|error| unreadable(row, column, count.to_string(), Some(error.into())))
}

/// Reads a text column that holds JSON.
pub(crate) fn json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: &'static str,
) -> Result<T, Error> {
    let text: String = row.get(column)?;
    // The text stays out of the error: it may be an environment with secrets in it.
    serde_json::from_str(&text)
        .map_err(|error| unreadable(row, column, "JSON".to_owned(), Some(error.into())))
}

/// Reads a text column that holds JSON or NULL.
pub(crate) fn json_option<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: &'static str,
) -> Result<Option<T>, Error> {
    match row.get::<_, Option<String>>(column)? {
        Some(_) => json(row, column).map(Some),
        None => Ok(None),
    }
}

/// Writes a value as JSON. Only maps of strings and plain structs of this project come here.
pub(crate) fn json_text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("maps of strings and plain structs are always JSON")
}

/// Writes a time as RFC 3339 with exactly three digits of a second, so that texts sort as times.
pub(crate) fn time_text(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// Writes a count; SQLite's integers are signed.
pub(crate) fn count_value(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
