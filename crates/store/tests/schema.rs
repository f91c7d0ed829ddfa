//! The schema is a frozen surface: `contracts/schema.sql` is what a fresh database looks like.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use std::path::Path;

use bhatti_store::store::Store;

/// Writes the schema as SQL, in the order of the names, headed by its version.
fn dump(path: &Path) -> String {
    let raw = rusqlite::Connection::open(path).unwrap();
    let version: i64 = raw
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    let mut statement = raw
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type DESC, name")
        .unwrap();
    let parts = statement
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap();
    parts.fold(
        format!("-- schema version {version}\n"),
        |mut text, part| {
            text.push_str(&part.unwrap());
            text.push_str(";\n");
            text
        },
    )
}

#[test]
fn a_fresh_database_has_the_schema_in_contracts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    drop(Store::open(&path).unwrap());
    let found = dump(&path);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/schema.sql");
    // BLESS=1 writes the file anew, for a change of the schema that is meant.
    if std::env::var_os("BLESS").is_some() {
        fs_err::write(&golden, &found).unwrap();
    }
    let expected = fs_err::read_to_string(&golden).unwrap_or_default();
    assert_eq!(
        found, expected,
        "if this is meant: BLESS=1 cargo nextest run -p bhatti-store"
    );
}

#[test]
fn opening_twice_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    drop(Store::open(&path).unwrap());
    let first = dump(&path);
    drop(Store::open(&path).unwrap());
    assert_eq!(dump(&path), first);
}
