//! Changing the user's configuration file.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;

/// Gives `text`, a configuration file, with the values of some keys replaced or added. Other
/// lines, comments among them, stay as they are.
pub(crate) fn with_values(text: &str, values: &[(&str, &str)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (key, value) in values {
        // JSON's strings are strings in YAML too, whatever is in them.
        let line = format!("{key}: {}", serde_json::Value::from(*value));
        let is_old = |old: &String| {
            old.strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with(':'))
        };
        match lines.iter().position(is_old) {
            Some(at) => lines[at] = line,
            None => lines.push(line),
        }
    }
    lines.join("\n") + "\n"
}

/// Puts a file in place at once and readable by its owner alone, making its directory if need be.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let aside = path.with_extension(format!("yaml.{}", std::process::id()));
    let written = write_new(&aside, text).and_then(|()| fs_err::rename(&aside, path));
    if written.is_err() {
        // The error to report is the first one.
        let _ = fs_err::remove_file(&aside);
    }
    written
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs_err::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod test {
    use super::with_values;

    #[test]
    fn other_lines_stay_as_they_are() {
        let old = "# mine\napi_url: http://old:1\nlisten: \"\"\n";
        let new = with_values(old, &[("api_url", "http://new:2"), ("auth_token", "bht_x")]);
        let expected = "# mine\napi_url: \"http://new:2\"\nlisten: \"\"\nauth_token: \"bht_x\"\n";
        assert_eq!(new, expected);
        assert_eq!(with_values(&new, &[("auth_token", "bht_x")]), expected);
    }

    #[test]
    fn a_value_cannot_become_another_key() {
        let new = with_values("", &[("auth_token", "a\"\nlisten: x")]);
        assert_eq!(new.lines().count(), 1);
        let read: serde_yaml_ng::Value = serde_yaml_ng::from_str(&new).unwrap();
        assert_eq!(
            read["auth_token"],
            serde_yaml_ng::Value::from("a\"\nlisten: x")
        );
    }
}
