//! Putting the layers of the configuration over one another.

use std::fmt;
use std::path::{Path, PathBuf};

use bhatti_client::endpoint::Endpoint;
use bhatti_client::token::BearerToken;
use bhatti_engine::config::{DEFAULT_MAX_TEMPLATES, DEFAULT_POOL};
use figment::error::Kind;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use crate::config::environment::Environment;
use crate::config::error::ConfigError;
use crate::config::keys::{
    ACCELERATOR, API_URL, AUTH_TOKEN, DATA_DIR, ENGINE, Form, IDLE_COLD, IDLE_PAUSE, KEYS, Key,
    LISTEN, LOG_LEVEL, MAX_TEMPLATES, NETWORK, NETWORK_RANGE, POOL, QEMU, RATE_LIMIT, STORAGE,
    Shown, WAKE_LIMIT, key,
};
use crate::config::settings::Settings;
use crate::env;

/// The host's configuration.
const SYSTEM_FILE: &str = "/etc/bhatti/config.yaml";
/// A user's configuration, under the home directory.
const USER_FILE: &str = ".bhatti/config.yaml";
/// The data directory unless something else is said.
const DEFAULT_DATA_DIR: &str = "~/.bhatti";
/// The daemon's socket in the data directory.
const SOCKET: &str = "bhatti.sock";

/// How the origin of a value from the environment begins.
const VARIABLE: &str = "environment ";
/// How the origin of a value from a flag begins.
const FLAG: &str = "flag ";

/// The configuration as it came out, and where each value is from.
#[derive(Debug)]
pub(crate) struct Config {
    /// The values.
    pub(crate) settings: Settings,
    figment: Figment,
}

/// A value with its origin, as text to be shown.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Entry {
    /// The key.
    #[serde(skip)]
    pub(crate) key: &'static str,
    /// The value; `Null` if there is none.
    pub(crate) value: serde_json::Value,
    /// Where it is from.
    pub(crate) source: String,
}

/// Values of flags, by key.
pub(crate) type Flags = Vec<(&'static str, String)>;

/// Where a value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Default,
    File(PathBuf),
    Variable(&'static str),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => write!(f, "{VARIABLE}{name}"),
            Self::Flag(name) => write!(f, "{FLAG}{name}"),
        }
    }
}

/// One layer. Figment keeps its metadata with each of its values.
struct Layer {
    origin: Origin,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.to_string())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// The path of the user's own configuration file.
pub(crate) fn user_file(environment: &Environment) -> Result<PathBuf, ConfigError> {
    match environment.get(env::CONFIG) {
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(environment
            .home()
            .ok_or(ConfigError::NoHome)?
            .join(USER_FILE)),
    }
}

/// Reads all layers: defaults, the host's file, the user's file, the environment, flags. `named`
/// is about the one file that the environment may name in place of the two.
pub(crate) fn load(
    environment: &Environment,
    named: Presence,
    flags: &Flags,
) -> Result<Config, ConfigError> {
    let mut figment = Figment::from(Layer {
        origin: Origin::Default,
        values: defaults(),
    });
    for (path, presence) in files(environment, named) {
        if let Some(values) = read_file(&path, presence)? {
            figment = figment.merge(Layer {
                origin: Origin::File(path),
                values,
            });
        }
    }
    for key in KEYS {
        if let Some(text) = environment.get(key.variable) {
            let values = Dict::from([(key.name.to_owned(), value(key, text))]);
            figment = figment.merge(Layer {
                origin: Origin::Variable(key.variable),
                values,
            });
        }
    }
    for (name, text) in flags {
        let key = key(name);
        let values = Dict::from([(key.name.to_owned(), value(key, text))]);
        let origin = Origin::Flag(key.flag.unwrap_or(key.name));
        figment = figment.merge(Layer { origin, values });
    }
    let mut settings: Settings = figment.extract().map_err(|error| explain(&error))?;
    settings.data_dir = expand(&settings.data_dir, environment)?;
    Ok(Config { settings, figment })
}

fn defaults() -> Dict {
    let qemu = format!("qemu-system-{}", std::env::consts::ARCH);
    let text = |value: &str| Value::from(value.to_owned());
    Dict::from([
        (DATA_DIR.to_owned(), text(DEFAULT_DATA_DIR)),
        (ENGINE.to_owned(), text("qemu")),
        (LISTEN.to_owned(), text("127.0.0.1:8080")),
        (ACCELERATOR.to_owned(), text("auto")),
        (QEMU.to_owned(), text(&qemu)),
        (STORAGE.to_owned(), text("auto")),
        (NETWORK.to_owned(), text("auto")),
        (
            NETWORK_RANGE.to_owned(),
            text(bhatti_engine::config::DEFAULT_NETWORK_RANGE),
        ),
        (LOG_LEVEL.to_owned(), text("info")),
        (RATE_LIMIT.to_owned(), Value::from(true)),
        (POOL.to_owned(), Value::from(DEFAULT_POOL)),
        (MAX_TEMPLATES.to_owned(), Value::from(DEFAULT_MAX_TEMPLATES)),
        (IDLE_PAUSE.to_owned(), text("30s")),
        (IDLE_COLD.to_owned(), text("30m")),
        (WAKE_LIMIT.to_owned(), text("1m")),
    ])
}

/// Whether a file has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It has.
    Required,
    /// It is as good as empty if it is not.
    Optional,
}

fn files(environment: &Environment, named: Presence) -> Vec<(PathBuf, Presence)> {
    if let Some(path) = environment.get(env::CONFIG) {
        return vec![(PathBuf::from(path), named)];
    }
    let system = environment.get(env::SYSTEM_CONFIG).unwrap_or(SYSTEM_FILE);
    let mut files = vec![(PathBuf::from(system), Presence::Optional)];
    if let Some(home) = environment.home() {
        files.push((home.join(USER_FILE), Presence::Optional));
    }
    files
}

/// Reads one file; `None` if it need not be there and is not.
fn read_file(path: &Path, presence: Presence) -> Result<Option<Dict>, ConfigError> {
    // Not by fs_err: the error made here names the path already.
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound && presence == Presence::Optional =>
        {
            return Ok(None);
        }
        Err(source) => {
            return Err(ConfigError::Unreadable {
                path: path.to_owned(),
                source,
            });
        }
    };
    let malformed = |reason: String| ConfigError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let value: Option<serde_yaml_ng::Value> =
        serde_yaml_ng::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(Some(Dict::new()));
    };
    let value = Value::serialize(value).map_err(|error| malformed(error.to_string()))?;
    match value {
        Value::Dict(_, values) => Ok(Some(values)),
        _ => Err(malformed("it must be keys with values".to_owned())),
    }
}

/// Text from a flag or the environment as the key wants it. What does not fit stays text, and
/// the error about it comes with the others.
fn value(key: &Key, text: &str) -> Value {
    match (key.form, text) {
        (Form::Switch, "true" | "1" | "on" | "yes") => Value::from(true),
        (Form::Switch, "false" | "0" | "off" | "no") => Value::from(false),
        (Form::Number, text) => match text.parse::<u64>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::from(text.to_owned()),
        },
        (Form::Mapping, text) => serde_json::from_str::<serde_json::Value>(text)
            .ok()
            .and_then(|value| Value::serialize(value).ok())
            .unwrap_or_else(|| Value::from(text.to_owned())),
        (Form::Switch | Form::Text, _) => Value::from(text.to_owned()),
    }
}

/// Turns figment's error, of which it may have several, into the first of ours.
fn explain(error: &figment::Error) -> ConfigError {
    let origin = error.metadata.as_ref().map_or_else(
        || Origin::Default.to_string(),
        |metadata| metadata.name.to_string(),
    );
    let path = error.path.join(".");
    if let Kind::UnknownField(key, _) = &error.kind {
        return ConfigError::UnknownKey {
            key: key.clone(),
            origin,
        };
    }
    let secret = KEYS
        .iter()
        .any(|key| path.split('.').next() == Some(key.name) && key.shown == Shown::Redacted);
    let reason = match &error.kind {
        // Figment repeats the value, which may be nearly a token.
        Kind::InvalidType(..) | Kind::InvalidValue(..) if secret => "it must be text".to_owned(),
        Kind::InvalidType(found, wanted) => match wanted.strip_prefix("enum ") {
            // The name of a type of ours says nothing to a user.
            Some(_) => format!("{found} is not one of its words"),
            None => format!("{found} is not {wanted}"),
        },
        Kind::UnknownVariant(found, words) => {
            format!("{found:?} must be {}", words.join(" or "))
        }
        kind => kind.to_string(),
    };
    match origin.strip_prefix(FLAG) {
        Some(flag) => ConfigError::Flag {
            flag: flag.to_owned(),
            reason,
        },
        None => ConfigError::Invalid {
            key: path,
            origin,
            reason,
        },
    }
}

/// Replaces a leading `~` and makes the path absolute.
fn expand(path: &Path, environment: &Environment) -> Result<PathBuf, ConfigError> {
    let path = match path.strip_prefix("~") {
        Ok(rest) => environment.home().ok_or(ConfigError::NoHome)?.join(rest),
        Err(_) => path.to_owned(),
    };
    // Without a working directory a relative path is as good as it gets.
    Ok(std::path::absolute(&path).unwrap_or(path))
}

impl Config {
    /// The daemon that commands talk to, and the token for it.
    ///
    /// A data directory given by flag means the daemon of that directory, whatever URL and token
    /// the files have.
    pub(crate) fn target(&self) -> (Endpoint, Option<BearerToken>) {
        let by_flag = |key: &str| self.origin(key).starts_with(FLAG);
        let here = by_flag(DATA_DIR) && !by_flag(API_URL);
        let endpoint = match &self.settings.api_url {
            Some(url) if !here => url.0.clone(),
            _ => Endpoint::Unix(self.socket()),
        };
        let token = self
            .settings
            .auth_token
            .as_ref()
            .filter(|_| !here || by_flag(AUTH_TOKEN));
        (endpoint, token.map(|token| token.0.clone()))
    }

    /// The socket of the data directory's daemon.
    pub(crate) fn socket(&self) -> PathBuf {
        self.settings.data_dir.join(SOCKET)
    }

    /// Every key with its value and where that is from.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        KEYS.iter()
            .map(|key| Entry {
                key: key.name,
                value: self.shown(key),
                source: self.origin(key.name),
            })
            .collect()
    }

    /// The value of a key as text, if a flag or the environment gave it.
    pub(crate) fn given(&self, key: &str) -> Option<String> {
        let origin = self.origin(key);
        let given = origin.starts_with(FLAG) || origin.starts_with(VARIABLE);
        let value = self.figment.find_value(key).ok().filter(|_| given)?;
        value.into_string().filter(|text| !text.is_empty())
    }

    fn origin(&self, key: &str) -> String {
        match self.figment.find_metadata(key) {
            Some(metadata) => metadata.name.to_string(),
            None => Origin::Default.to_string(),
        }
    }

    fn shown(&self, key: &Key) -> serde_json::Value {
        match self.figment.find_value(key.name) {
            Ok(Value::String(_, text)) if text.is_empty() => serde_json::Value::Null,
            Ok(_) if key.shown == Shown::Redacted => "(redacted)".into(),
            Ok(Value::String(_, text)) => text.into(),
            Ok(Value::Bool(_, switch)) => switch.into(),
            Ok(Value::Num(_, number)) => {
                number.to_u128().and_then(|n| u64::try_from(n).ok()).into()
            }
            // No key has values of another type; there is an error for those.
            Ok(_) | Err(_) => serde_json::Value::Null,
        }
    }
}

#[cfg(test)]
mod test {
    use bhatti_client::endpoint::Endpoint;

    use super::{Presence, load};
    use crate::config::environment::Environment;
    use crate::config::keys::{DATA_DIR, QEMU};
    use crate::env;

    #[test]
    fn each_layer_goes_over_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let system = dir.path().join("system.yaml");
        fs_err::write(
            &system,
            "listen: 10.0.0.1:1\nqemu: /opt/qemu\nlog_level: debug\n",
        )
        .unwrap();
        fs_err::create_dir(dir.path().join(".bhatti")).unwrap();
        fs_err::write(
            dir.path().join(".bhatti/config.yaml"),
            "listen: 10.0.0.2:2\n",
        )
        .unwrap();
        let environment = Environment::of(&[
            (env::HOME, dir.path().to_str().unwrap()),
            (env::SYSTEM_CONFIG, system.to_str().unwrap()),
            (env::LOG_LEVEL, "warn"),
            (env::QEMU, "/usr/bin/qemu"),
        ]);
        let config = load(
            &environment,
            Presence::Required,
            &vec![(QEMU, "other".to_owned())],
        )
        .unwrap();
        let shown: Vec<_> = config
            .entries()
            .into_iter()
            .filter(|entry| ["listen", "qemu", "log_level", "engine"].contains(&entry.key))
            .map(|entry| {
                (
                    entry.value.as_str().unwrap().to_owned(),
                    entry.source.rsplit('/').next().unwrap().to_owned(),
                )
            })
            .collect();
        let expected = [
            ("qemu", "default"),
            ("10.0.0.2:2", "config.yaml"),
            ("other", "flag --qemu"),
            ("warn", "environment BHATTI_LOG_LEVEL"),
        ];
        assert_eq!(
            shown,
            expected.map(|(value, source)| (value.to_owned(), source.to_owned()))
        );
        assert_eq!(config.settings.data_dir, dir.path().join(".bhatti"));
    }

    #[test]
    fn a_number_is_read_from_the_environment_and_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        let read = |text: &str, variable: &str| {
            fs_err::write(&file, text).unwrap();
            let environment = Environment::of(&[
                (env::HOME, "/home/a"),
                (env::CONFIG, file.to_str().unwrap()),
                (env::DISK_RESERVE_MB, variable),
            ]);
            let loaded = load(&environment, Presence::Required, &vec![]);
            loaded
                .map(|config| config.settings.disk_reserve_mb)
                .map_err(|error| error.to_string())
        };
        assert_eq!(read("disk_reserve_mb: 512\n", "1024"), Ok(Some(1024)));
        for wrong in ["-1", "many", "1.5"] {
            let error = read("", wrong).unwrap_err();
            let said = "invalid value of `disk_reserve_mb` in environment BHATTI_DISK_RESERVE_MB: \
                        it must be a whole number";
            assert_eq!(error, said);
            let in_file = read(&format!("disk_reserve_mb: {wrong}\n"), "1").unwrap();
            assert_eq!(in_file, Some(1));
        }
    }

    #[test]
    fn a_data_directory_by_flag_means_its_own_daemon() {
        let environment = Environment::of(&[
            (env::HOME, "/home/a"),
            (env::SYSTEM_CONFIG, "/nonexistent"),
            (env::URL, "http://far:1"),
            (env::TOKEN, "bht_x"),
        ]);
        let (endpoint, token) = load(&environment, Presence::Required, &vec![])
            .unwrap()
            .target();
        assert_eq!(endpoint, "http://far:1".parse().unwrap());
        assert!(token.is_some());
        let flags = vec![(DATA_DIR, "/d".to_owned())];
        let (endpoint, token) = load(&environment, Presence::Required, &flags)
            .unwrap()
            .target();
        assert_eq!(endpoint, Endpoint::Unix("/d/bhatti.sock".into()));
        assert!(token.is_none());
    }
}
