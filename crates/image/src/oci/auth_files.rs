//! Finds a user's credentials for a registry where Docker, Podman and their like keep them.
//!
//! This is for the command line, which runs as the user; the daemon never looks into anybody's
//! files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bhatti_host::files;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::credentials::{Credentials, Secret};
use super::reference::Reference;

/// Largest file read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Longest answer of a helper read, in bytes.
const MAX_ANSWER: u64 = 256 << 10;
/// Time limit for a helper, which may ask its user something.
const HELPER_LIMIT: Duration = Duration::from_mins(1);
/// What helpers give as the name that belongs to a refresh token.
const IDENTITY_USER: &str = "<token>";
/// The name of Docker Hub in these files.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// What of the user's environment says where the files are.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// `$REGISTRY_AUTH_FILE`: this file and no other.
    pub auth_file: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`; `.config` in the home if there is none.
    pub config_home: Option<PathBuf>,
    /// `$DOCKER_CONFIG`; `.docker` in the home if there is none.
    pub docker_config: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// `$PATH`, on which helpers are looked for.
    pub path: Option<OsString>,
}

/// Credentials could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum AuthFileError {
    /// A file could not be read.
    #[error("failed to read the credentials in {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not of the right shape.
    #[error("the credentials in {path:?} are not valid")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// An entry is not of the right shape.
    #[error("the credentials for {registry} in {path:?} are not valid")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry.
        registry: String,
    },
    /// A helper could not be run.
    #[error("failed to run the credential helper {helper:?}")]
    Helper {
        /// The program.
        helper: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A helper gave what is no answer.
    #[error("the credential helper {helper:?} gave no answer that can be used")]
    Answer {
        /// The program.
        helper: String,
    },
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct AuthFile {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

impl Places {
    /// Takes the variables that `lookup` knows.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| {
            let value = lookup(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        Self {
            auth_file: path("REGISTRY_AUTH_FILE"),
            runtime_dir: path("XDG_RUNTIME_DIR"),
            config_home: path("XDG_CONFIG_HOME"),
            docker_config: path("DOCKER_CONFIG"),
            home: path("HOME"),
            path: lookup("PATH"),
        }
    }

    /// The files, in the order in which they count.
    fn files(&self) -> Vec<PathBuf> {
        if let Some(file) = &self.auth_file {
            return vec![file.clone()];
        }
        let below = |dir: &Option<PathBuf>, name: &str| dir.as_ref().map(|dir| dir.join(name));
        let config = self.config_home.clone().or(below(&self.home, ".config"));
        let docker = self.docker_config.clone().or(below(&self.home, ".docker"));
        [
            below(&self.runtime_dir, "containers/auth.json"),
            below(&config, "containers/auth.json"),
            below(&docker, "config.json"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The credentials for a reference's repository, if the user has any: the first that is found in
/// the containers tools' files and then Docker's; in each, a helper for the registry counts for
/// more than what is in the file, and a longer part of the repository's name for more than a
/// shorter.
///
/// A file that is not there is passed over; one that is not right is an error.
pub async fn find(
    places: &Places,
    reference: &Reference,
) -> Result<Option<Credentials>, AuthFileError> {
    for path in places.files() {
        let text = match files::read_bounded(&path, MAX_FILE) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => continue,
            Err(source) => return Err(AuthFileError::Read { path, source }),
        };
        let file: AuthFile =
            serde_json::from_slice(&text).map_err(|source| AuthFileError::Parse {
                path: path.clone(),
                source,
            })?;
        if let Some(found) = in_file(places, &file, &path, reference).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

async fn in_file(
    places: &Places,
    file: &AuthFile,
    path: &Path,
    reference: &Reference,
) -> Result<Option<Credentials>, AuthFileError> {
    let registry = reference.registry();
    let server = if registry == "docker.io" {
        DOCKER_HUB
    } else {
        registry
    };
    let helper = [registry, server]
        .iter()
        .find_map(|key| file.cred_helpers.get(*key));
    if let Some(helper) = helper.filter(|helper| !helper.is_empty())
        && let Some(found) = ask(places, helper, server).await?
    {
        return Ok(Some(found));
    }
    let entry = keys(reference)
        .into_iter()
        .find_map(|key| file.auths.iter().find(|(name, _)| normal(name) == key));
    if let Some((name, entry)) = entry
        && let Some(found) = entry.credentials(path, name)?
    {
        return Ok(Some(found));
    }
    match file
        .creds_store
        .as_deref()
        .filter(|store| !store.is_empty())
    {
        Some(store) => ask(places, store, server).await,
        None => Ok(None),
    }
}

/// The keys under which credentials may be, the most exact first.
fn keys(reference: &Reference) -> Vec<String> {
    let mut keys = Vec::new();
    let mut key = format!("{}/{}", reference.registry(), reference.repository());
    loop {
        keys.push(key.clone());
        match key.rfind('/') {
            Some(end) => key.truncate(end),
            None => return keys,
        }
    }
}

/// A file's key without what older versions of Docker added to a registry's name.
fn normal(key: &str) -> String {
    let plain = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    // An address is one of a registry; what is behind its host is the version of its API.
    let key = match plain {
        Some(plain) => plain.split('/').next().unwrap_or(plain),
        None => key,
    };
    let (host, rest) = key.split_once('/').unwrap_or((key, ""));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    if rest.is_empty() {
        host.to_owned()
    } else {
        format!("{host}/{rest}")
    }
}

impl Entry {
    /// What is in an entry; an empty one only says that there is something in a helper.
    fn credentials(&self, path: &Path, name: &str) -> Result<Option<Credentials>, AuthFileError> {
        let wrong = || AuthFileError::Entry {
            path: path.to_owned(),
            registry: name.to_owned(),
        };
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let found = if let Some(token) = given(&self.identitytoken) {
            Credentials::Identity {
                secret: Secret::new(token),
            }
        } else if let Some(token) = given(&self.registrytoken) {
            Credentials::Bearer {
                secret: Secret::new(token),
            }
        } else if let Some(auth) = given(&self.auth) {
            let lenient = GeneralPurposeConfig::new()
                .with_decode_padding_mode(DecodePaddingMode::Indifferent);
            let bytes = GeneralPurpose::new(&ALPHABET, lenient).decode(auth.trim());
            let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            // Docker fills some with NUL at the end.
            let text = text.ok_or_else(wrong)?;
            text.trim_end_matches('\0').parse().map_err(|_| wrong())?
        } else if let (Some(user), Some(password)) = (given(&self.username), given(&self.password))
        {
            Credentials::Password {
                user,
                secret: Secret::new(password),
            }
        } else {
            return Ok(None);
        };
        found.check().map_err(|_| wrong())?;
        Ok(Some(found))
    }
}

/// Asks a helper, `docker-credential-NAME get`; one that has none says so by its exit code.
async fn ask(
    places: &Places,
    name: &str,
    server: &str,
) -> Result<Option<Credentials>, AuthFileError> {
    let helper = format!("docker-credential-{name}");
    let failed = |source| AuthFileError::Helper {
        helper: helper.clone(),
        source,
    };
    let answer = || AuthFileError::Answer {
        helper: helper.clone(),
    };
    if name.contains('/') {
        return Err(answer());
    }
    let path = places.path.clone().unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(&helper))
        .find(|file| file.is_file());
    let program = found.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    // It is the user's own program, to be run as the user runs it: with the whole environment,
    // in which it finds its agent and its session.
    let mut child = tokio::process::Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let talk = async {
        if let Some(mut stdin) = stdin {
            // One that ends without having listened has its reasons, which its exit code tells.
            drop(stdin.write_all(server.as_bytes()).await);
        }
        let mut text = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(MAX_ANSWER).read_to_end(&mut text).await?;
        }
        Ok((child.wait().await?, text))
    };
    let talked = tokio::time::timeout(HELPER_LIMIT, talk).await;
    let (status, text) = talked
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(failed)?;
    if !status.success() {
        return Ok(None);
    }
    let read: HelperAnswer = serde_json::from_slice(&text).map_err(|_| answer())?;
    let secret = Secret::new(read.secret);
    let credentials = if read.username == IDENTITY_USER {
        Credentials::Identity { secret }
    } else {
        Credentials::Password {
            user: read.username,
            secret,
        }
    };
    credentials.check().map_err(|_| answer())?;
    Ok(Some(credentials))
}

#[cfg(test)]
mod test {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::{AuthFileError, Places, find};
    use crate::oci::credentials::Credentials;

    fn places(home: &Path) -> Places {
        Places {
            home: Some(home.to_owned()),
            path: Some(home.join("bin").into()),
            ..Places::default()
        }
    }

    fn write(path: &Path, text: &str) {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    async fn found(places: &Places, reference: &str) -> Option<String> {
        let found = find(places, &reference.parse().unwrap()).await.unwrap()?;
        Some(match found {
            Credentials::Password { user, secret } => format!("{user}:{}", secret.reveal()),
            Credentials::Identity { secret } => format!("identity:{}", secret.reveal()),
            Credentials::Bearer { secret } => format!("bearer:{}", secret.reveal()),
        })
    }

    #[tokio::test]
    async fn the_entry_that_fits_best_is_taken_from_the_file_that_counts_most() {
        let dir = tempfile::tempdir().unwrap();
        let mut places = places(dir.path());
        assert_eq!(found(&places, "alpine").await, None);
        // `a:b` and `me:hub` in base64.
        write(
            &dir.path().join(".docker/config.json"),
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6aHVi"},
                "r.io":{"username":"u","password":"p"},"r.io/team":{"auth":"YTpi"},
                "i.io":{"identitytoken":"t"},"b.io":{"registrytoken":"t"},"e.io":{}},
                "HttpHeaders":{"User-Agent":"x"}}"#,
        );
        for (reference, wanted) in [
            ("alpine", Some("me:hub")),
            ("me/app", Some("me:hub")),
            ("r.io/team/app:1", Some("a:b")),
            ("r.io/teams/app", Some("u:p")),
            ("i.io/app", Some("identity:t")),
            ("b.io/app", Some("bearer:t")),
            ("e.io/app", None),
            ("r.io:443/app", None),
            ("evil.io/r.io/team", None),
        ] {
            let found = found(&places, reference).await;
            assert_eq!(found.as_deref(), wanted, "{reference}");
        }
        write(
            &dir.path().join(".config/containers/auth.json"),
            r#"{"auths":{"r.io":{"auth":"YTpi"}}}"#,
        );
        assert_eq!(found(&places, "r.io/x").await.as_deref(), Some("a:b"));
        places.auth_file = Some(dir.path().join("other.json"));
        assert_eq!(found(&places, "r.io/x").await, None);
    }

    #[tokio::test]
    async fn helpers_are_asked_and_may_have_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let helper = |name: &str, script: &str| {
            let path = dir
                .path()
                .join("bin")
                .join(format!("docker-credential-{name}"));
            write(&path, &format!("#!/bin/sh\nread server\n{script}\n"));
            let mode = std::fs::Permissions::from_mode(0o755);
            fs_err::set_permissions(&path, mode).unwrap();
        };
        helper(
            "one",
            r#"echo "{\"ServerURL\":\"x\",\"Username\":\"$1\",\"Secret\":\"$server\"}""#,
        );
        helper("identity", r#"echo '{"Username":"<token>","Secret":"s"}'"#);
        helper(
            "empty",
            "echo credentials not found in native keychain; exit 1",
        );
        helper("broken", "echo hello");
        write(
            &dir.path().join(".docker/config.json"),
            r#"{"credHelpers":{"one.io":"one","i.io":"identity","none.io":"empty",
                "broken.io":"broken","missing.io":"missing"},"credsStore":"one"}"#,
        );
        for (reference, wanted) in [
            ("one.io/a", "get:one.io"),
            ("i.io/a", "identity:s"),
            ("none.io/a", "get:none.io"),
            ("other.io/a", "get:other.io"),
            ("alpine", "get:https://index.docker.io/v1/"),
        ] {
            let found = found(&places, reference).await;
            assert_eq!(found.as_deref(), Some(wanted), "{reference}");
        }
        let error = find(&places, &"broken.io/a".parse().unwrap()).await;
        assert!(matches!(error, Err(AuthFileError::Answer { .. })));
        let error = find(&places, &"missing.io/a".parse().unwrap()).await;
        assert!(matches!(error, Err(AuthFileError::Helper { .. })));
    }

    #[tokio::test]
    async fn a_file_that_is_not_right_is_an_error_that_shows_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let path = dir.path().join(".docker/config.json");
        for text in [
            "{",
            r#"{"auths":{"r.io":{"auth":"!hunter2"}}}"#,
            r#"{"auths":{"r.io":{"auth":"aHVudGVyMg=="}}}"#,
        ] {
            write(&path, text);
            let error = find(&places, &"r.io/a".parse().unwrap()).await.unwrap_err();
            let shown = anyhow_like(&error);
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("config.json"), "{shown}");
        }
    }

    fn anyhow_like(error: &dyn std::error::Error) -> String {
        let source = error.source().map(anyhow_like);
        format!("{error}: {}", source.unwrap_or_default())
    }
}
