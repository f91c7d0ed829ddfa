//! The config of an image: how its maker wants it to be run, and what its layers hold.

use std::collections::{BTreeMap, BTreeSet};

use bhatti_types::env::Env;
use bhatti_types::invalid::Invalid;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::platform::Platform;
use crate::image_config::{ImageConfig, Init};
use crate::layer::digest::Sha256Digest;

/// The label by which an image says what its process 1 is to be: `systemd` or `lohar`.
pub const INIT_LABEL: &str = "io.bhatti.init";
/// Programs that are systemd, or its name as that of the distribution's init.
const SYSTEMD: [&str; 6] = [
    "/sbin/init",
    "/usr/sbin/init",
    "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd",
    "/bin/systemd",
    "/usr/bin/systemd",
];
/// Most arguments, ports, volumes or labels that are taken.
const MAX_ITEMS: usize = 1_000;
/// Longest user, directory or signal, in bytes (`PATH_MAX`).
const MAX_TEXT: usize = 4_096;

/// A config blob, as far as it is of use here. Other tools write `null` where they mean nothing.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct File {
    created: Option<Timestamp>,
    architecture: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    os: Option<String>,
    config: Option<Run>,
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Run {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct RootFs {
    r#type: String,
    diff_ids: Vec<Sha256Digest>,
}

/// A config that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not JSON of the right shape.
    #[error("the image's config is not valid")]
    Json(#[source] serde_json::Error),
    /// A value in it is not usable.
    #[error("the image's config cannot be used")]
    Value(#[source] Invalid),
    /// It is for other machines.
    #[error("the image is for {found}, and not for {wanted}")]
    Platform {
        /// What it is for.
        found: Box<Platform>,
        /// What was wanted.
        wanted: Box<Platform>,
    },
    /// It speaks of other layers than the manifest.
    #[error("the image's config is about {config} layers, and its manifest about {manifest}")]
    Layers {
        /// How many the config names.
        config: usize,
        /// How many the manifest names.
        manifest: usize,
    },
}

/// What a config blob says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// For which platform the image is.
    pub platform: Platform,
    /// When it was made, if it says so.
    pub created_at: Option<Timestamp>,
    /// How it is to be run.
    pub config: ImageConfig,
    /// The digests of its layers when they are unpacked, from the lowest.
    pub diff_ids: Vec<Sha256Digest>,
}

impl ConfigFile {
    /// Reads a config blob of an image for `wanted`.
    ///
    /// Ports that are none are left out, as are variables without a value: Docker ignores both.
    pub fn parse(bytes: &[u8], wanted: &Platform) -> Result<Self, ConfigError> {
        let file: File = serde_json::from_slice(bytes).map_err(ConfigError::Json)?;
        // Some builders say nothing of the platform; they mean the one they are used on.
        let arch = file.architecture.filter(|text| !text.is_empty());
        let os = file.os.filter(|text| !text.is_empty());
        let platform = Platform::new(
            os.as_deref().unwrap_or(wanted.os()),
            arch.as_deref().unwrap_or(wanted.arch()),
            file.variant.as_deref(),
        );
        if wanted.fit(&platform).is_none() {
            return Err(ConfigError::Platform {
                found: Box::new(platform),
                wanted: Box::new(wanted.clone()),
            });
        }
        let config = file.config.unwrap_or_default().into_config();
        Ok(Self {
            platform,
            created_at: file.created,
            config: config.map_err(ConfigError::Value)?,
            diff_ids: file.rootfs.diff_ids,
        })
    }

    /// The config blob that says this.
    ///
    /// # Panics
    /// Never: what it is made of is always valid JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let file = File {
            created: self.created_at,
            architecture: Some(self.platform.arch().to_owned()),
            variant: self.platform.variant().map(str::to_owned),
            os: Some(self.platform.os().to_owned()),
            config: Some(Run::from_config(&self.config)),
            rootfs: RootFs {
                r#type: "layers".to_owned(),
                diff_ids: self.diff_ids.clone(),
            },
        };
        serde_json::to_vec(&file).expect("a struct of strings and numbers is always valid JSON")
    }

    /// Refuses a config that is not about as many layers as the manifest.
    pub(crate) fn check_layers(&self, manifest: usize) -> Result<(), ConfigError> {
        let config = self.diff_ids.len();
        if config == manifest {
            Ok(())
        } else {
            Err(ConfigError::Layers { config, manifest })
        }
    }
}

impl Run {
    fn into_config(self) -> Result<ImageConfig, Invalid> {
        let mut config = ImageConfig {
            user: text("user", self.user)?,
            env: env(&self.env.unwrap_or_default())?,
            workdir: text("working directory", self.working_dir)?,
            entrypoint: arguments("entrypoint", self.entrypoint.unwrap_or_default())?,
            cmd: arguments("command", self.cmd.unwrap_or_default())?,
            stop_signal: text("stop signal", self.stop_signal)?.filter(|name| is_signal(name)),
            init: Init::default(),
            exposed_ports: BTreeSet::new(),
            volumes: BTreeSet::new(),
            labels: self.labels.unwrap_or_default(),
        };
        let ports = self.exposed_ports.unwrap_or_default();
        let volumes = self.volumes.unwrap_or_default();
        for (what, count) in [
            ("list of ports", ports.len()),
            ("list of volumes", volumes.len()),
            ("list of labels", config.labels.len()),
        ] {
            if count > MAX_ITEMS {
                return Err(Invalid::new(what, &count.to_string(), "at most 1,000"));
            }
        }
        config.exposed_ports = ports.keys().filter_map(|text| text.parse().ok()).collect();
        for (path, _) in volumes {
            config.volumes.extend(text("volume", Some(path))?);
        }
        config.init = init(&config);
        Ok(config)
    }

    fn from_config(config: &ImageConfig) -> Self {
        let list = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
        let set = |names: Vec<String>| {
            // Go's `struct{}`.
            let empty = || Value::Object(Map::new());
            let names: Map<_, _> = names.into_iter().map(|name| (name, empty())).collect();
            (!names.is_empty()).then_some(names)
        };
        let env: Vec<_> = config
            .env
            .as_map()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut labels = config.labels.clone();
        if config.init == Init::Systemd {
            labels
                .entry(INIT_LABEL.to_owned())
                .or_insert_with(|| "systemd".to_owned());
        }
        Self {
            user: config.user.clone(),
            exposed_ports: set(config
                .exposed_ports
                .iter()
                .map(ToString::to_string)
                .collect()),
            env: list(&env),
            entrypoint: list(&config.entrypoint),
            cmd: list(&config.cmd),
            volumes: set(config.volumes.iter().cloned().collect()),
            working_dir: config.workdir.clone(),
            labels: (!labels.is_empty()).then_some(labels),
            stop_signal: config.stop_signal.clone(),
        }
    }
}

/// What process 1 is to be: what the label says, or else what the image's program is.
fn init(config: &ImageConfig) -> Init {
    match config.labels.get(INIT_LABEL).map(String::as_str) {
        Some("systemd") => return Init::Systemd,
        Some("lohar") => return Init::Lohar,
        _ => {}
    }
    let program = config.entrypoint.first().or(config.cmd.first());
    if program.is_some_and(|program| SYSTEMD.contains(&program.as_str())) {
        Init::Systemd
    } else {
        Init::Lohar
    }
}

fn text(what: &'static str, text: Option<String>) -> Result<Option<String>, Invalid> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.len() > MAX_TEXT || text.contains('\0') {
        return Err(Invalid::new(
            what,
            &text,
            "may hold no NUL and at most 4,096 bytes",
        ));
    }
    Ok(Some(text))
}

fn arguments(what: &'static str, words: Vec<String>) -> Result<Vec<String>, Invalid> {
    if words.len() > MAX_ITEMS {
        return Err(Invalid::new(
            what,
            &words.len().to_string(),
            "at most 1,000 words",
        ));
    }
    match words.iter().find(|word| word.contains('\0')) {
        Some(word) => Err(Invalid::new(what, word, "may hold no NUL")),
        None => Ok(words),
    }
}

fn env(words: &[String]) -> Result<Env, Invalid> {
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    let pairs = pairs.filter(|(name, _)| !name.is_empty());
    Env::new(
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

/// Whether this could be a signal's name or number.
fn is_signal(text: &str) -> bool {
    text.len() <= 16
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-'))
}

#[cfg(test)]
mod test {
    use super::{ConfigError, ConfigFile, INIT_LABEL};
    use crate::image_config::Init;
    use crate::layer::digest::Sha256Digest;
    use crate::oci::platform::Platform;

    fn amd64() -> Platform {
        "linux/amd64".parse().unwrap()
    }

    fn parse(text: &str) -> Result<ConfigFile, ConfigError> {
        ConfigFile::parse(text.as_bytes(), &amd64())
    }

    #[test]
    fn what_the_maker_says_is_honoured() {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2026-01-02T03:04:05.123456789Z",
            "config":{{"User":"1000:1000","ExposedPorts":{{"80/tcp":{{}},"x":{{}},"53/udp":{{}}}},
            "Env":["PATH=/bin","EMPTY=","EQUALS=a=b","NOTHING","=x","PATH=/usr/bin"],
            "Entrypoint":["/a"],"Cmd":["b","c"],"Volumes":{{"/data":{{}}}},"WorkingDir":"/srv",
            "Labels":{{"k":"v"}},"StopSignal":"SIGRTMIN+3","Healthcheck":{{"Test":["NONE"]}}}},
            "rootfs":{{"type":"layers","diff_ids":["{}"]}},"history":[{{"empty_layer":true}}]}}"#,
            Sha256Digest::of(b"abc")
        );
        let file = parse(&text).unwrap();
        insta::assert_debug_snapshot!(file);
        let again = ConfigFile::parse(&file.to_bytes(), &amd64()).unwrap();
        assert_eq!(again, file);
        file.check_layers(1).unwrap();
        file.check_layers(2).unwrap_err();
    }

    #[test]
    fn what_other_tools_leave_out_or_make_null_is_nothing() {
        for text in [
            "{}",
            r#"{"config":null,"rootfs":{"type":"layers","diff_ids":[]}}"#,
            r#"{"architecture":"","os":"","config":{"Env":null,"Cmd":null,"Entrypoint":null,
                "Volumes":null,"ExposedPorts":null,"Labels":null,"User":"","WorkingDir":""}}"#,
        ] {
            let file = parse(text).unwrap();
            assert_eq!(file.config, super::ImageConfig::default(), "{text}");
            assert_eq!(file.platform, amd64());
        }
    }

    #[test]
    fn an_image_whose_program_is_systemd_gets_it_as_process_1() {
        for (config, init) in [
            (r#""Cmd":["/sbin/init"]"#.to_owned(), Init::Systemd),
            (
                r#""Entrypoint":["/lib/systemd/systemd"]"#.to_owned(),
                Init::Systemd,
            ),
            (r#""Cmd":["/bin/sh"]"#.to_owned(), Init::Lohar),
            (
                r#""Entrypoint":["/a"],"Cmd":["/sbin/init"]"#.to_owned(),
                Init::Lohar,
            ),
            (
                format!(r#""Labels":{{"{INIT_LABEL}":"systemd"}}"#),
                Init::Systemd,
            ),
            (
                format!(r#""Cmd":["/sbin/init"],"Labels":{{"{INIT_LABEL}":"lohar"}}"#),
                Init::Lohar,
            ),
        ] {
            let file = parse(&format!(r#"{{"config":{{{config}}}}}"#)).unwrap();
            assert_eq!(file.config.init, init, "{config}");
            let again = ConfigFile::parse(&file.to_bytes(), &amd64()).unwrap();
            assert_eq!(again.config.init, init, "{config}");
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        let many: Vec<_> = (0..300).map(|n| format!("\"V{n}=\"")).collect();
        let many = format!(r#"{{"config":{{"Env":[{}]}}}}"#, many.join(","));
        let nul = r#"{"config":{"Cmd":["a\u0000b"]}}"#;
        let user = format!(r#"{{"config":{{"User":"{}"}}}}"#, "a".repeat(5_000));
        for text in [
            many.as_str(),
            nul,
            &user,
            "12",
            "{",
            r#"{"config":{"Cmd":"sh"}}"#,
        ] {
            let parsed = parse(text);
            assert!(parsed.is_err(), "{text}");
        }
        let error = parse(r#"{"architecture":"arm64","os":"linux"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image is for linux/arm64, and not for linux/amd64"
        );
    }
}
