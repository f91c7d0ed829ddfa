//! Values of flags that are more than one word.

use std::collections::BTreeMap;
use std::str::FromStr;

use bhatti_api::volume::PersistentVolume;
use bhatti_types::env::Env;
use bhatti_types::invalid::Invalid;
use bhatti_types::labels::Labels;
use bhatti_types::mount::MountPath;
use bhatti_types::name::VolumeName;

use crate::failure::Failure;

/// Reads a name of some kind; clap's message around the reason says of what.
pub(crate) fn name<T: FromStr<Err = Invalid>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: Invalid| error.reason)
}

/// Labels on one line.
pub(crate) fn joined(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// What something takes on disk, in whole MB; a mark if that is not known.
pub(crate) fn on_disk(bytes: Option<u64>) -> String {
    match bytes {
        Some(bytes) => format!("{} MB", bytes.div_ceil(1 << 20)),
        None => "-".to_owned(),
    }
}

/// Whether text can be the name of a variable in a list of several.
fn is_variable(name: &str) -> bool {
    let begins = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    name.bytes().next().is_some_and(begins)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Reads `--env` flags: each `NAME=VALUE`, or several with commas between them. A comma only
/// divides if another `NAME=` follows, so that `LIST=1,2` is one variable.
pub(crate) fn env(flags: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut vars = BTreeMap::new();
    for flag in flags {
        let mut begun: Option<(String, String)> = None;
        for piece in flag.split(',') {
            match (piece.split_once('='), &mut begun) {
                (Some((name, value)), Some(_)) if is_variable(name) => {
                    vars.extend(begun.replace((name.to_owned(), value.to_owned())));
                }
                (_, Some((_, value))) => {
                    value.push(',');
                    value.push_str(piece);
                }
                (Some((name, value)), None) => begun = Some((name.to_owned(), value.to_owned())),
                (None, None) => {
                    return Err(Failure::Usage {
                        message: format!("invalid --env {flag:?}: must be NAME=VALUE"),
                        hint: None,
                    });
                }
            }
        }
        vars.extend(begun);
    }
    match Env::new(vars) {
        Ok(env) => Ok(env.into()),
        Err(error) => Err(Failure::Usage {
            message: error.to_string(),
            hint: None,
        }),
    }
}

/// Reads `--label` flags, each `KEY=VALUE`.
pub(crate) fn labels(flags: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let usage = |message| Failure::Usage {
        message,
        hint: None,
    };
    let mut labels = BTreeMap::new();
    for flag in flags {
        let (key, value) = flag
            .split_once('=')
            .ok_or_else(|| usage(format!("invalid --label {flag:?}: must be KEY=VALUE")))?;
        if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(usage(format!("label {key:?} is given twice")));
        }
    }
    match Labels::new(labels) {
        Ok(labels) => Ok(labels.into()),
        Err(error) => Err(usage(error.to_string())),
    }
}

/// Reads a number of vCPUs: `2`, or `2.0` as the original takes it.
pub(crate) fn cpus(text: &str) -> Result<u64, String> {
    let whole = text.strip_suffix(".0").unwrap_or(text);
    let count = whole
        .parse()
        .map_err(|_| "must be a whole number".to_owned())?;
    bhatti_types::size::Vcpus::new(count).map_err(|error| error.reason)?;
    Ok(count)
}

/// Reads a count.
pub(crate) fn count(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "must be a whole number".to_owned())
}

/// Reads a memory size in MB; 0 is the default size.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    let size = text
        .parse()
        .map_err(|_| "must be a whole number of MB".to_owned())?;
    if size != 0 {
        bhatti_types::size::MemoryMb::new(size).map_err(|error| error.reason)?;
    }
    Ok(size)
}

/// Reads a disk size in MB; 0 is the image's own size.
pub(crate) fn disk(text: &str) -> Result<u64, String> {
    let size = text
        .parse()
        .map_err(|_| "must be a whole number of MB".to_owned())?;
    if size != 0 {
        bhatti_types::size::DiskMb::new(size).map_err(|error| error.reason)?;
    }
    Ok(size)
}

/// A volume, where it is mounted, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeFlag {
    /// The volume.
    pub(crate) name: VolumeName,
    /// Where it is mounted.
    pub(crate) mount: MountPath,
    /// Whether it can only be read.
    pub(crate) read_only: bool,
}

impl From<VolumeFlag> for PersistentVolume {
    fn from(flag: VolumeFlag) -> Self {
        Self {
            name: flag.name.into(),
            mount: flag.mount.into(),
            read_only: flag.read_only,
            ..Self::default()
        }
    }
}

/// Reads `NAME:PATH`, `NAME:PATH:ro` or `NAME:PATH:rw`.
pub(crate) fn volume(text: &str) -> Result<VolumeFlag, String> {
    let reason = |error: Invalid| error.reason;
    let (name, rest) = text
        .split_once(':')
        .ok_or_else(|| "must be NAME:PATH or NAME:PATH:ro".to_owned())?;
    let (mount, read_only) = match rest.rsplit_once(':') {
        Some((mount, "ro")) => (mount, true),
        Some((mount, "rw")) => (mount, false),
        Some(_) | None => (rest, false),
    };
    Ok(VolumeFlag {
        name: name.parse().map_err(reason)?,
        mount: mount.parse().map_err(reason)?,
        read_only,
    })
}

/// Reads the size of a volume in MB.
pub(crate) fn volume_size(text: &str) -> Result<u64, String> {
    let size = text
        .parse()
        .map_err(|_| "must be a whole number of MB".to_owned())?;
    bhatti_types::size::VolumeMb::new(size).map_err(|error| error.reason)?;
    Ok(size)
}

#[cfg(test)]
mod test {
    use super::{env, volume};

    #[test]
    fn a_volume_is_written_to_unless_it_is_said_otherwise() {
        let read =
            |text| volume(text).map(|it| (it.name.to_string(), it.mount.to_string(), it.read_only));
        let it = |mount: &str, read_only| Ok(("a".to_owned(), mount.to_owned(), read_only));
        assert_eq!(read("a:/data"), it("/data", false));
        assert_eq!(read("a:/data:ro"), it("/data", true));
        assert_eq!(read("a:/da:ta:rw"), it("/da:ta", false));
        for wrong in ["a", "a:", "a:data", ":/data", "a:/etc", "a:/data/..:ro"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    fn read(flags: &[&str]) -> String {
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        match env(&flags) {
            Ok(vars) => {
                let vars: Vec<_> = vars
                    .iter()
                    .map(|(name, value)| format!("[{name}={value}]"))
                    .collect();
                vars.concat()
            }
            Err(failure) => failure.to_string(),
        }
    }

    #[test]
    fn commas_divide_only_before_another_variable() {
        assert_eq!(read(&["A=1,B=2"]), "[A=1][B=2]");
        assert_eq!(read(&["LIST=1,2,3"]), "[LIST=1,2,3]");
        assert_eq!(read(&["OPTS=a,b=c,D-E=f", "X="]), "[OPTS=a][X=][b=c,D-E=f]");
        assert_eq!(read(&["A=x=y,", "B=2"]), "[A=x=y,][B=2]");
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        assert_eq!(read(&["A"]), "invalid --env \"A\": must be NAME=VALUE");
        assert!(read(&["=x"]).starts_with("invalid environment variable name"));
    }
}
