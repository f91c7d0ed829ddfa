//! Makes an image from a recipe.
//!
//! `mmdebstrap` unpacks and configures the packages into a directory, its hook adds what else the
//! recipe names, and `mke2fs -d` turns the directory into a file system without mounting it.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bhatti_host::command::{Command, CommandError};
use bhatti_host::files;
use bhatti_types::id::ImageId;
use jiff::Timestamp;

use crate::guest_kit::kernel::KEYRING;
use crate::image::{DISK, FORMAT, Image, ImageError, ImageManifest, ImageSource, MANIFEST};
use crate::place;
use crate::proxies::Proxies;
use crate::recipe::Recipe;

/// Part of every recipe's digest: raise it when this builder makes something else of the same
/// recipe.
pub const BUILDER: u32 = 1;
/// Time limit for downloading and configuring the packages.
const DEBOOTSTRAP_LIMIT: Duration = Duration::from_mins(20);
/// Time limit for making the file system.
const MKE2FS_LIMIT: Duration = Duration::from_mins(5);
/// Time limit for deleting the directory again.
const REMOVE_LIMIT: Duration = Duration::from_mins(2);

/// Has dpkg wait for the disk less: a tree that a power failure takes is made again. Not for the
/// image itself, where mmdebstrap keeps its options of dpkg.
const HASTE: &str = "force-unsafe-io";

/// The recipe's script among what is staged.
const RUN: &str = "run";

/// How programs that need root are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// This is root.
    Root,
    /// By `sudo`.
    Sudo,
}

impl Privilege {
    /// What this process has to do.
    pub fn of_this_process() -> Self {
        if rustix::process::geteuid().is_root() {
            Self::Root
        } else {
            Self::Sudo
        }
    }

    /// A command that runs a program as root. `sudo` clears the environment, so what the program
    /// needs is set by `env`.
    fn command(self, proxies: &Proxies, program: &str) -> Command {
        let env = match self {
            Self::Root => Command::new("env"),
            Self::Sudo => Command::new("sudo").arg("env"),
        };
        env.args(proxies.assignments()).arg(program)
    }
}

/// An image, and whether there was work to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuiltImage {
    /// It was in the cache already.
    UpToDate {
        /// Where it is.
        dir: PathBuf,
        /// What it is.
        image: Image,
    },
    /// It was made now.
    New {
        /// Where it is.
        dir: PathBuf,
        /// What it is.
        image: Image,
    },
}

impl BuiltImage {
    /// The directory of the image, from which it can be installed.
    pub fn dir(&self) -> &Path {
        match self {
            Self::UpToDate { dir, .. } | Self::New { dir, .. } => dir,
        }
    }

    /// The image itself.
    pub fn image(&self) -> &Image {
        match self {
            Self::UpToDate { image, .. } | Self::New { image, .. } => image,
        }
    }
}

/// An image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RecipeBuildError {
    /// The host cannot check Debian's signatures.
    #[error("{KEYRING} is missing; install the package `debian-archive-keyring`")]
    NoKeyring,
    /// This is not root, and there is no `sudo`.
    #[error("making an image needs root or `sudo`, for the ownership of its files")]
    NoPrivilege,
    /// A program failed.
    #[error("failed to {step}")]
    Program {
        /// What it was to do.
        step: &'static str,
        /// How it failed.
        #[source]
        source: CommandError,
    },
    /// The cache could not be written.
    #[error("failed to write the image to {dir:?}")]
    Write {
        /// The cache.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was made is not an image.
    #[error("the image that was made cannot be used")]
    Unusable(#[source] ImageError),
}

/// Makes the recipe's image in `cache/<name>-<digest>`, unless it is there.
///
/// Needs root, or `sudo`, for the ownership of the files in the image. What is half made goes
/// away on an error, and is hidden until then.
pub async fn build(
    recipe: &Recipe,
    cache: &Path,
    privilege: Privilege,
    proxies: &Proxies,
) -> Result<BuiltImage, RecipeBuildError> {
    let digest = recipe.digest(BUILDER);
    let short: String = digest.chars().take(16).collect();
    let dir = cache.join(format!("{}-{short}", recipe.name));
    if let Ok(image) = Image::open(&dir) {
        return Ok(BuiltImage::UpToDate { dir, image });
    }
    if !Path::new(KEYRING).exists() {
        return Err(RecipeBuildError::NoKeyring);
    }
    let failed = |source| RecipeBuildError::Write {
        dir: cache.to_owned(),
        source,
    };
    fs_err::create_dir_all(cache).map_err(failed)?;
    let work = place::half_made(cache).map_err(failed)?;
    // The programs that unpack packages drop root for some of their steps and then still have to
    // reach the directory.
    fs_err::set_permissions(work.path(), std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
    let result = make(recipe, &digest, work.path(), privilege, proxies).await;

    // The tree belongs to root and would stay behind if this process could not delete it.
    let removed = remove(&work.path().join("root"), privilege, proxies).await;
    result?;
    removed?;
    fs_err::remove_dir_all(work.path().join("stage")).map_err(failed)?;
    place::settle(work, &dir).map_err(failed)?;
    let image = Image::open(&dir).map_err(RecipeBuildError::Unusable)?;
    Ok(BuiltImage::New { dir, image })
}

/// Deletes a tree whose files may belong to root.
pub(crate) async fn remove(
    tree: &Path,
    privilege: Privilege,
    proxies: &Proxies,
) -> Result<(), RecipeBuildError> {
    let remove = privilege
        .command(proxies, "rm")
        .args(["-rf", "--one-file-system", "--"]);
    let removed = remove.arg(tree).limit(REMOVE_LIMIT).run().await;
    removed
        .map(drop)
        .map_err(|source| RecipeBuildError::Program {
            step: "delete the unpacked packages",
            source,
        })
}

async fn make(
    recipe: &Recipe,
    digest: &str,
    work: &Path,
    privilege: Privilege,
    proxies: &Proxies,
) -> Result<(), RecipeBuildError> {
    let failed = |source| RecipeBuildError::Write {
        dir: work.to_owned(),
        source,
    };
    let run = async |step, command: Command| {
        command.run().await.map_err(|source| match source {
            CommandError::NotFound { program } if program == "sudo" => {
                RecipeBuildError::NoPrivilege
            }
            source => RecipeBuildError::Program { step, source },
        })
    };
    let (tree, disk) = (work.join("root"), work.join(DISK));
    let hook = stage(recipe, &work.join("stage")).map_err(failed)?;

    let debootstrap = privilege
        .command(proxies, "mmdebstrap")
        .args(mmdebstrap_args(recipe, &hook, &tree))
        .limit(DEBOOTSTRAP_LIMIT);
    run("unpack the packages", debootstrap).await?;
    // Made beforehand, so that it belongs to whoever runs this.
    files::create_sparse(&disk, recipe.size_mb.bytes()).map_err(failed)?;
    let mke2fs = privilege
        .command(proxies, "mke2fs")
        .args(mke2fs_args(&tree, &disk));
    run("make the file system", mke2fs.limit(MKE2FS_LIMIT)).await?;

    let manifest = ImageManifest {
        format: FORMAT,
        id: ImageId::random(),
        name: recipe.name.clone(),
        source: ImageSource::Recipe(recipe.name.clone()),
        digest: digest.to_owned(),
        size_mb: recipe.size_mb,
        created_at: Timestamp::now(),
        config: recipe.config.clone(),
        layers: Vec::new(),
    };
    fs_err::write(work.join(MANIFEST), manifest.to_text()).map_err(failed)?;
    for name in [DISK, MANIFEST] {
        let path = work.join(name);
        files::sync_file(&path).map_err(failed)?;
        let read_only = std::fs::Permissions::from_mode(0o444);
        fs_err::set_permissions(&path, read_only).map_err(failed)?;
    }
    Ok(())
}

fn mmdebstrap_args(recipe: &Recipe, hook: &Path, tree: &Path) -> Vec<String> {
    let suite = &recipe.suite;
    let excludes = recipe
        .exclude
        .iter()
        .map(|path| format!("--dpkgopt=path-exclude={path}"));
    let includes = recipe
        .include
        .iter()
        .map(|path| format!("--dpkgopt=path-include={path}"));
    let mut args = vec![
        "--mode=root".to_owned(),
        "--variant=minbase".to_owned(),
        "--format=directory".to_owned(),
        "--architectures=amd64".to_owned(),
        format!("--keyring={KEYRING}"),
        format!("--dpkgopt={HASTE}"),
        "--aptopt=Acquire::Retries \"3\"".to_owned(),
        "--aptopt=Acquire::Languages \"none\"".to_owned(),
        format!("--include={}", recipe.packages.join(",")),
        format!("--customize-hook={}", hook.display()),
    ];
    args.extend(excludes);
    // dpkg takes the last pattern that fits, so exceptions go behind.
    args.extend(includes);
    args.extend([
        suite.clone(),
        tree.display().to_string(),
        format!("deb http://deb.debian.org/debian {suite} main"),
        format!("deb http://deb.debian.org/debian {suite}-updates main"),
        format!("deb http://deb.debian.org/debian-security {suite}-security main"),
    ]);
    args
}

fn mke2fs_args(tree: &Path, disk: &Path) -> Vec<String> {
    let words = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-L",
        "root",
        // Root's reserve; the default of 5 % is meant for disks that never move.
        "-m",
        "1",
        // Without this the guest's kernel writes zeros over all inode tables in the background,
        // in every machine anew. Here they are holes, as is the journal.
        "-E",
        "lazy_itable_init=0,lazy_journal_init=1",
        "-d",
    ];
    let mut args: Vec<_> = words.into_iter().map(str::to_owned).collect();
    args.extend([tree.display().to_string(), disk.display().to_string()]);
    args
}

/// Writes the recipe's files and the hook that puts them into the tree; gives the hook's path.
fn stage(recipe: &Recipe, dir: &Path) -> io::Result<PathBuf> {
    fs_err::create_dir(dir)?;
    for (number, file) in recipe.files.iter().enumerate() {
        fs_err::write(dir.join(number.to_string()), &file.content)?;
    }
    if let Some(script) = &recipe.run {
        fs_err::write(dir.join(RUN), script)?;
    }
    let hook = dir.join("customize");
    fs_err::write(&hook, customize_script(recipe, dir))?;
    fs_err::set_permissions(&hook, std::fs::Permissions::from_mode(0o755))?;
    Ok(hook)
}

/// The hook: `mmdebstrap` takes no other kind of customization. [`Recipe::check`] has seen to it
/// that no value in it holds a quote or a space.
fn customize_script(recipe: &Recipe, stage: &Path) -> String {
    let mut lines = vec![
        "#!/bin/sh".to_owned(),
        "set -eu".to_owned(),
        "root=$1".to_owned(),
    ];
    if let Some(user) = &recipe.user {
        lines.push(format!(
            "chroot \"$root\" useradd --uid {} --user-group --create-home --home-dir '{}' \
             --shell '{}' '{}'",
            user.uid, user.home, user.shell, user.name
        ));
    }
    for group in &recipe.groups {
        let user = recipe.user.as_ref().map_or("root", |user| &user.name);
        lines.push(format!("chroot \"$root\" gpasswd -a '{user}' '{group}'"));
    }
    for directory in &recipe.directories {
        lines.push(format!(
            "chroot \"$root\" install -d -m 0755 -o '{0}' -g '{0}' '{1}'",
            directory.owner, directory.path
        ));
    }
    for (number, file) in recipe.files.iter().enumerate() {
        lines.push(format!(
            "install -D -m {} -o 0 -g 0 '{}/{number}' \"$root{}\"",
            file.mode,
            stage.display(),
            file.path
        ));
    }
    if recipe.run.is_some() {
        // By standard input it would be cut short by a program that reads that.
        lines.push(format!(
            "chroot \"$root\" sh -euc \"$(cat '{}/{RUN}')\"",
            stage.display()
        ));
    }
    lines.push(format!(
        "sed -i '/^{HASTE}$/d' \"$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap\""
    ));
    // A machine gets its own names, resolver and id when it starts.
    lines.push("rm -f \"$root/etc/resolv.conf\" \"$root/etc/hostname\"".to_owned());
    lines.push(": > \"$root/etc/machine-id\"".to_owned());
    lines.push("find \"$root/var/log\" -type f -delete".to_owned());
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use super::{BUILDER, BuiltImage, Privilege, build, customize_script, mmdebstrap_args};
    use crate::image::test::write_image;
    use crate::proxies::Proxies;
    use crate::recipe::test::base;

    #[test]
    fn the_hook_makes_the_user_before_what_belongs_to_it() {
        let script = customize_script(&base(), Path::new("/stage"));
        let place = |text: &str| {
            script
                .find(text)
                .unwrap_or_else(|| panic!("{text}: {script}"))
        };
        assert!(place("useradd --uid 1000") < place("'/workspace'"));
        place("install -D -m 0440 -o 0 -g 0 '/stage/0' \"$root/etc/sudoers.d/lohar\"");
        place(": > \"$root/etc/machine-id\"");
    }

    #[test]
    fn exceptions_to_excluded_paths_come_after_them() {
        let args = mmdebstrap_args(&base(), Path::new("/hook"), Path::new("/tree"));
        let last = |text: &str| args.iter().rposition(|arg| arg.contains(text)).unwrap();
        assert!(last("path-exclude") < last("path-include"));
        assert!(last("--customize-hook=/hook") < last("/tree"));
    }

    #[tokio::test]
    async fn an_image_in_the_cache_is_not_made_again() {
        let cache = tempfile::tempdir().unwrap();
        let recipe = base();
        let digest = recipe.digest(BUILDER);
        let dir = cache.path().join(format!("base-{}", &digest[..16]));
        write_image(&dir, "base", &digest);
        let built = build(&recipe, cache.path(), Privilege::Root, &Proxies::default()).await;
        assert!(matches!(built.unwrap(), BuiltImage::UpToDate { .. }));
    }
}
