//! Gets the kernel package from Debian.
//!
//! `apt-get` does it, in a configuration of its own: so it needs no root, works on any host that
//! has apt (Ubuntu too), verifies signatures against Debian's keyring, and obeys the proxy
//! settings of the host.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bhatti_host::command::{Command, CommandError};
use bhatti_host::files;

use crate::place;
use crate::proxies::Proxies;

/// Debian's release whose kernel guests run.
pub const SUITE: &str = "bookworm";
/// The package that depends on the newest kernel for virtual machines.
const METAPACKAGE: &str = "linux-image-cloud-amd64";
/// Keys that Debian's archive is signed with; from the package `debian-archive-keyring`.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Name of the file in the cache that names the package last fetched.
const CURRENT: &str = "current";
/// Time limit for reading the lists of packages, 9 MiB.
const UPDATE_LIMIT: Duration = Duration::from_mins(5);
/// Time limit for the kernel package, 26 MiB.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(10);

/// Whether to ask for a newer kernel than the one in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// What is in the cache will do.
    IfMissing,
    /// Ask Debian for its newest.
    Always,
}

/// The kernel package could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The host cannot check Debian's signatures.
    #[error("{KEYRING} is missing; install the package `debian-archive-keyring`")]
    NoKeyring,
    /// A program of apt failed.
    #[error("failed to {step}")]
    Apt {
        /// What it was to do.
        step: &'static str,
        /// How it failed.
        #[source]
        source: CommandError,
    },
    /// Debian's metapackage names no kernel.
    #[error("the package `{METAPACKAGE}` of {SUITE} names no kernel package")]
    NoKernel,
    /// apt said it had fetched the package, and there is none.
    #[error("apt-get downloaded no package")]
    NothingDownloaded,
    /// The cache could not be read or written.
    #[error("failed to keep the kernel package in {dir:?}")]
    Cache {
        /// The cache.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Gives the path of the kernel's `.deb` in the cache directory, fetching it if need be.
///
/// Cancel-safe: what is half fetched goes away.
pub async fn fetch(
    cache: &Path,
    refresh: Refresh,
    proxies: &Proxies,
) -> Result<PathBuf, KernelError> {
    let failed = |source| KernelError::Cache {
        dir: cache.to_owned(),
        source,
    };
    if refresh == Refresh::IfMissing
        && let Ok(name) = fs_err::read_to_string(cache.join(CURRENT))
        && cache.join(&name).is_file()
    {
        return Ok(cache.join(name));
    }
    if !Path::new(KEYRING).exists() {
        return Err(KernelError::NoKeyring);
    }
    fs_err::create_dir_all(cache).map_err(failed)?;
    let work = place::half_made(cache).map_err(failed)?;
    let apt = Apt::prepare(work.path()).map_err(failed)?;

    let update = apt
        .command("apt-get", proxies)
        .args(["-q", "update"])
        .limit(UPDATE_LIMIT);
    run("read Debian's lists of packages", update).await?;
    let show = apt
        .command("apt-cache", proxies)
        .args(["show", "--no-all-versions", METAPACKAGE]);
    let about = run("look up the kernel package", show).await?;
    let package = kernel_package(&about).ok_or(KernelError::NoKernel)?;
    let download = apt
        .command("apt-get", proxies)
        .args(["-q", "download", &package]);
    let download = download.current_dir(work.path()).limit(DOWNLOAD_LIMIT);
    run("download the kernel package", download).await?;

    let (name, deb) = downloaded(work.path())
        .map_err(failed)?
        .ok_or(KernelError::NothingDownloaded)?;
    let keep = || {
        files::sync_file(&deb)?;
        files::rename_durable(&deb, &cache.join(&name))?;
        files::write_durable(&cache.join(CURRENT), name.as_bytes())
    };
    keep().map_err(failed)?;
    Ok(cache.join(name))
}

async fn run(step: &'static str, command: Command) -> Result<String, KernelError> {
    let output = command
        .run()
        .await
        .map_err(|source| KernelError::Apt { step, source })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A configuration of apt that shares nothing with the host's but its proxies.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn prepare(dir: &Path) -> io::Result<Self> {
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            fs_err::create_dir_all(dir.join(sub))?;
        }
        fs_err::write(dir.join("sources.list"), sources())?;
        Ok(Self {
            options: options(dir),
        })
    }

    fn command(&self, program: &str, proxies: &Proxies) -> Command {
        let options = self.options.iter().flat_map(|option| ["-o", option]);
        proxies.apply(Command::new(program).args(options))
    }
}

fn sources() -> String {
    format!(
        "deb [signed-by={KEYRING}] http://deb.debian.org/debian {SUITE} main\n\
         deb [signed-by={KEYRING}] http://deb.debian.org/debian-security {SUITE}-security main\n"
    )
}

fn options(dir: &Path) -> Vec<String> {
    let dir = dir.display();
    vec![
        format!("Dir::State={dir}/state"),
        format!("Dir::Cache={dir}/cache"),
        // No installed packages: what the host has says nothing about the guest.
        "Dir::State::status=/dev/null".to_owned(),
        format!("Dir::Etc::SourceList={dir}/sources.list"),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        "APT::Architecture=amd64".to_owned(),
        "APT::Architectures=amd64".to_owned(),
        // The user `_apt` cannot write to a private directory; files are verified by hash.
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        "Acquire::Retries=3".to_owned(),
    ]
}

/// The kernel among the dependencies of the metapackage, from what `apt-cache show` says.
fn kernel_package(about: &str) -> Option<String> {
    let depends = about
        .lines()
        .find_map(|line| line.strip_prefix("Depends:"))?;
    let names = depends
        .split(',')
        .filter_map(|one| one.split_whitespace().next());
    names
        .into_iter()
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
}

fn downloaded(dir: &Path) -> io::Result<Option<(String, PathBuf)>> {
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            return Ok(Some((name, path)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use super::{Refresh, fetch, kernel_package, options};
    use crate::proxies::Proxies;

    #[test]
    fn the_kernel_is_read_from_the_metapackage() {
        let about = "Package: linux-image-cloud-amd64\nVersion: 6.1.192-2\n\
                     Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\n";
        assert_eq!(
            kernel_package(about).unwrap(),
            "linux-image-6.1.0-56-cloud-amd64"
        );
        assert_eq!(kernel_package("Package: x\nDepends: libc6\n"), None);
    }

    #[test]
    fn apt_keeps_its_hands_off_the_host() {
        for option in options(Path::new("/scratch")) {
            let (name, value) = option.split_once('=').unwrap();
            let own = value.starts_with("/scratch/") || value == "/dev/null";
            assert!(!name.starts_with("Dir::") || own, "{option}");
        }
    }

    #[tokio::test]
    async fn a_package_in_the_cache_is_not_fetched_again() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("current"), "linux.deb").unwrap();
        fs_err::write(dir.path().join("linux.deb"), "").unwrap();
        let deb = fetch(dir.path(), Refresh::IfMissing, &Proxies::default())
            .await
            .unwrap();
        assert_eq!(deb, dir.path().join("linux.deb"));
    }
}
