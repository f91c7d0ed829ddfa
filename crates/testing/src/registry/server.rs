//! Runs a registry.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bhatti_host::command::{Command, CommandError};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::artifacts::test_dir;

/// How long a registry may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long putting an image into it may take.
const PUSH_LIMIT: Duration = Duration::from_mins(5);

/// Who is let in.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// Everybody.
    #[default]
    Nobody,
    /// Who knows name and password (HTTP basic authentication).
    Basic {
        /// The name.
        user: &'static str,
        /// The password.
        password: &'static str,
    },
    /// Who has a token of the server at this address, see [`super::tokens`].
    Token {
        /// The address of the token server.
        realm: String,
        /// The certificate by which its tokens are verified, in PEM.
        certificate: String,
    },
}

/// A registry on a port of its own. It ends when this is dropped.
#[derive(Debug)]
pub struct Registry {
    // Killed on drop, before its directory is deleted.
    _child: Child,
    dir: TempDir,
    host: String,
    credentials: Option<String>,
}

/// Whether the programs are there that [`Registry`] needs; says so if not.
#[expect(clippy::print_stdout, reason = "tells why nothing is tested")]
pub fn available() -> bool {
    let missing: Vec<_> = ["docker-registry", "skopeo", "htpasswd"]
        .into_iter()
        .filter(|program| {
            !bhatti_host::command::PATH
                .split(':')
                .any(|dir| Path::new(dir).join(program).exists())
        })
        .collect();
    if !missing.is_empty() {
        println!("skipped: needs the programs {}", missing.join(", "));
    }
    missing.is_empty()
}

impl Registry {
    /// Starts one that lets everybody in.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start() -> Self {
        Self::start_with(&Auth::Nobody).await
    }

    /// Starts one.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_with(auth: &Auth) -> Self {
        let dir = test_dir();
        let root = dir.path().display();
        let mut config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"127.0.0.1:0\", secret: test}}\n"
        );
        let mut credentials = None;
        match auth {
            Auth::Nobody => {}
            Auth::Basic { user, password } => {
                let made = Command::new("htpasswd").args(["-Bbn", user, password]);
                let made = made.run().await.expect("htpasswd runs");
                fs_err::write(dir.path().join("htpasswd"), made.stdout)
                    .expect("the passwords are written");
                config =
                    format!("{config}auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n");
                credentials = Some(format!("{user}:{password}"));
            }
            Auth::Token { realm, certificate } => {
                fs_err::write(dir.path().join("roots.pem"), certificate)
                    .expect("the certificate is written");
                config = format!(
                    "{config}auth: {{token: {{realm: \"{realm}\", service: test, issuer: test, \
                     rootcertbundle: {root}/roots.pem}}}}\n"
                );
                credentials = Some(super::tokens::CREDENTIALS.to_owned());
            }
        }
        let file = dir.path().join("config.yml");
        fs_err::write(&file, config).expect("the configuration is written");
        let mut child = tokio::process::Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the registry starts");
        let stderr = child.stderr.take().expect("it is a pipe");
        let mut lines = BufReader::new(stderr).lines();
        let port = tokio::time::timeout(START_LIMIT, async {
            while let Some(line) = lines.next_line().await.expect("its log is text") {
                if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
                    return rest.chars().take_while(char::is_ascii_digit).collect();
                }
            }
            String::new()
        });
        let port = port.await.expect("the registry listens in time");
        assert!(!port.is_empty(), "the registry ended");
        // It would stop at a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            _child: child,
            host: format!("127.0.0.1:{port}"),
            dir,
            credentials,
        }
    }

    /// Its host and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where it keeps what it has.
    pub fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Puts all images of a directory (an OCI layout) into it under a name, by skopeo.
    ///
    /// # Panics
    /// If that fails.
    pub async fn push(&self, layout: &Path, name: &str) {
        self.try_push(layout, name).await.expect("skopeo pushes");
    }

    async fn try_push(&self, layout: &Path, name: &str) -> Result<(), CommandError> {
        let mut command = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--all", "--quiet"])
            .args(["--dest-tls-verify=false", "--preserve-digests"])
            // It looks for the user's files otherwise.
            .env("HOME", self.dir.path())
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .limit(PUSH_LIMIT);
        if let Some(credentials) = &self.credentials {
            command = command.args(["--dest-creds", credentials]);
        }
        let command = command
            .arg(format!("oci:{}", layout.display()))
            .arg(format!("docker://{}/{name}", self.host));
        command.run().await.map(|_| ())
    }

    /// Takes a blob out of it, behind its back.
    ///
    /// # Panics
    /// If it is not there.
    pub fn lose(&self, digest: &str) {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.data().join("docker/registry/v2/blobs/sha256");
        let start = hex.get(..2).expect("a digest is longer");
        fs_err::remove_dir_all(blobs.join(start).join(hex)).expect("the blob is there");
    }
}
