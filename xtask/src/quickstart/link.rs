//! Puts `bhatti` where the shell finds it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bhatti_host::files;

use crate::environment::Environment;
use crate::run;

/// How to call `bhatti` from now on.
pub(super) enum Linked {
    /// By its name.
    OnPath(PathBuf),
    /// By a path: its directory is not on the search path, or the name is taken.
    ByPath(PathBuf),
}

impl Linked {
    /// What to type.
    pub(super) fn typed(&self) -> String {
        match self {
            Self::OnPath(_) => "bhatti".to_owned(),
            Self::ByPath(path) => path.display().to_string(),
        }
    }

    /// Where it is, in words.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::OnPath(path) => path.display().to_string(),
            Self::ByPath(path) => {
                format!(
                    "{} (add its directory to PATH to type just `bhatti`)",
                    path.display()
                )
            }
        }
    }
}

/// Links the program into the first of `~/.local/bin` and `~/.cargo/bin` that is on the search
/// path, or into `~/.local/bin`. What is there and is not a link is left alone.
pub(super) fn make(environment: &Environment, program: &Path) -> anyhow::Result<Linked> {
    let candidates = [".local/bin", ".cargo/bin"].map(|dir| environment.home.join(dir));
    let on_path = candidates.iter().find(|dir| environment.path.contains(dir));
    let dir = on_path.unwrap_or(&candidates[0]);
    let link = dir.join("bhatti");
    if link.exists() && !link.is_symlink() {
        run::say(&format!(
            "    {} is not a link and stays as it is",
            link.display()
        ));
        return Ok(Linked::ByPath(program.to_owned()));
    }
    let put = || {
        fs_err::create_dir_all(dir)?;
        files::remove_file(&link)?;
        fs_err::os::unix::fs::symlink(program, &link)
    };
    put().with_context(|| format!("failed to link {}", link.display()))?;
    Ok(if on_path.is_some() {
        Linked::OnPath(link)
    } else {
        Linked::ByPath(link)
    })
}
