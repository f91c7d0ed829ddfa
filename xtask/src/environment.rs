//! What the tasks are told by their environment; read here only.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bhatti_image::proxies::Proxies;

/// The environment of a task.
#[derive(Debug)]
pub(crate) struct Environment {
    /// The repository.
    pub(crate) root: PathBuf,
    /// The user's home directory.
    pub(crate) home: PathBuf,
    /// Where results are kept: `BHATTI_CACHE_DIR`, or `~/.cache/bhatti`.
    pub(crate) cache: PathBuf,
    /// The directories programs are looked for in.
    pub(crate) path: Vec<PathBuf>,
    /// The `cargo` that runs this.
    pub(crate) cargo: PathBuf,
    /// Where cargo puts what it builds, if it has been told.
    pub(crate) target: PathBuf,
    /// Proxies of programs that download.
    pub(crate) proxies: Proxies,
}

impl Environment {
    /// Reads the environment.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let home = variable("HOME")
            .map(PathBuf::from)
            .context("HOME is not set")?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = fs_err::canonicalize(root).context("the repository has moved; build again")?;
        let cache = variable("BHATTI_CACHE_DIR").map(PathBuf::from);
        let target = variable("CARGO_TARGET_DIR").map(|dir| root.join(dir));
        let path = variable("PATH").unwrap_or_default();
        Ok(Self {
            cache: cache.unwrap_or_else(|| home.join(".cache/bhatti")),
            path: std::env::split_paths(&path).collect(),
            cargo: variable("CARGO").map_or_else(|| "cargo".into(), PathBuf::from),
            target: target.unwrap_or_else(|| root.join("target")),
            proxies: Proxies::from_lookup(variable),
            root,
            home,
        })
    }

    /// Whether a program can be found.
    pub(crate) fn has_program(&self, name: &str) -> bool {
        self.path.iter().any(|dir| dir.join(name).is_file())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the module that reads the environment"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
