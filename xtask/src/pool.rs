//! A place whose files share blocks, for tests and measurements.
//!
//! It is a directory below cargo's target directory, or an XFS in a file there that is mounted by
//! root, as the daemon does for a data directory. It is made once, reused, and not mounted longer
//! than it is needed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bhatti_host::files;
use bhatti_host::lock::DirLock;
use bhatti_host::pool::release::release;
use bhatti_host::pool::settings::{StorageChoice, StorageSettings};
use bhatti_host::pool::storage::{self, shares_blocks};
use bhatti_image::kit::{Kit, KitStore};

use crate::environment::Environment;
use crate::{guest_kit, images, run};

/// The directory below cargo's target directory.
const DIR: &str = "fs";
/// The most its file may take, in bytes.
const LIMIT: u64 = 40 << 30;
/// What was mounted by hand and is not to be unmounted after a run.
const KEEP: &str = "keep";
/// Longest path of the place, in bytes: a socket's has at most 107, and up to 45 come after it.
const LONGEST: usize = 60;
/// How the names of directories begin that runs make, and leave behind if they are killed.
const OF_RUNS: [&str; 2] = ["bhatti-test-", "bhatti-bench-"];

/// A place whose files share blocks, for as long as a run needs it.
pub(crate) struct Place {
    dir: PathBuf,
    root: PathBuf,
    /// No other run uses it.
    _lock: DirLock,
}

impl Place {
    /// Opens the place for a run; says why if there is none, which is no failure: everything works
    /// without it, slower.
    pub(crate) async fn open(environment: &Environment) -> Option<Self> {
        let began = run::step("a file system that shares blocks");
        match Self::find(environment).await {
            Ok(place) => {
                run::done(began, &place.root.display().to_string());
                Some(place)
            }
            Err(error) => {
                run::say(&format!("    none, files will be copied: {error:#}"));
                None
            }
        }
    }

    async fn find(environment: &Environment) -> anyhow::Result<Self> {
        let dir = environment.target.join(DIR);
        fs_err::create_dir_all(&dir)?;
        let lock = DirLock::take(&dir).context("another run uses it")?;
        let root = if shares_blocks(&dir)? {
            dir.clone()
        } else {
            let settings = StorageSettings {
                choice: StorageChoice::Pool,
                reserve: None,
                limit: Some(LIMIT),
            };
            let opened = storage::open(&dir, settings).await;
            let opened = opened.map_err(|error| match error.hint() {
                Some(hint) => anyhow::Error::from(error).context(hint),
                None => error.into(),
            })?;
            opened.root().to_owned()
        };
        if root.as_os_str().len() > LONGEST {
            release(&dir)?;
            bail!("the path {} is too long for sockets", root.display());
        }
        let place = Self {
            dir,
            root,
            _lock: lock,
        };
        place.sweep()?;
        Ok(place)
    }

    /// Deletes what killed runs left.
    fn sweep(&self) -> anyhow::Result<()> {
        for entry in fs_err::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if OF_RUNS.iter().any(|prefix| name.starts_with(prefix)) {
                files::remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Where runs make their directories.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A copy of what guests are made of, on the same file system.
    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Brings that copy up to date.
    pub(crate) fn fill_cache(&self, kit: &Kit, images: &[PathBuf]) -> anyhow::Result<()> {
        KitStore::open(self.cache().join("kits"))?.install(&kit.dir)?;
        let into = self.cache().join("images");
        images.iter().try_for_each(|image| mirror(image, &into))
    }
}

impl Drop for Place {
    /// Unmounts it, unless it was mounted by hand. What can't be unmounted stays, with a word.
    fn drop(&mut self) {
        if self.dir.join(KEEP).exists() {
            return;
        }
        if let Err(error) = release(&self.dir) {
            let error = anyhow::Error::from(error);
            run::say(&format!(
                "    {} stays mounted: {error:#}",
                self.root.display()
            ));
        }
    }
}

/// Copies an image's directory into another one, in which it has the same name and is the only
/// one of its recipe.
fn mirror(image: &Path, into: &Path) -> anyhow::Result<()> {
    const ASIDE: &str = ".tmp-";
    let name = image.file_name().context("an image has a name")?;
    let to = into.join(name);
    if to.exists() {
        return Ok(());
    }
    fs_err::create_dir_all(into)?;
    let recipe = recipe_of(name);
    for entry in fs_err::read_dir(into)? {
        let entry = entry?;
        let other = entry.file_name();
        if recipe_of(&other) == recipe || other.to_string_lossy().starts_with(ASIDE) {
            files::remove_tree(&entry.path())?;
        }
    }
    let aside = into.join(format!("{ASIDE}{}", name.to_string_lossy()));
    fs_err::create_dir_all(&aside)?;
    for entry in fs_err::read_dir(image)? {
        let entry = entry?;
        files::clone_file(&entry.path(), &aside.join(entry.file_name()))?;
    }
    Ok(files::rename_durable(&aside, &to)?)
}

/// The recipe of an image's directory in the cache, whose name is the recipe's and a digest.
fn recipe_of(name: &OsStr) -> Option<&str> {
    Some(name.to_str()?.rsplit_once('-')?.0)
}

/// Whether the place is to be there or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Mounted, until it is told to go.
    Kept,
    /// Not mounted.
    Released,
}

/// Mounts the place by hand and tells how tests are told of it, or unmounts it.
pub(crate) async fn by_hand(environment: &Environment, wanted: Wanted) -> anyhow::Result<()> {
    let dir = environment.target.join(DIR);
    if wanted == Wanted::Released {
        files::remove_file(&dir.join(KEEP))?;
        if dir.exists() {
            release(&dir)?;
        }
        return Ok(());
    }
    let kit = guest_kit::build(environment, guest_kit::refresh(false), None).await?;
    let image = images::base(environment, None).await?;
    let place = Place::open(environment).await.context("there is none")?;
    place.fill_cache(&kit, &[image])?;
    fs_err::write(dir.join(KEEP), "")?;
    run::say("for tests that are run by hand:");
    for (variable, value) in variables(&place) {
        run::say(&format!("    export {variable}={}", value.display()));
    }
    Ok(())
}

/// What tests are told of the place by.
pub(crate) fn variables(place: &Place) -> [(&'static str, PathBuf); 2] {
    [
        ("BHATTI_TEST_DIR", place.root().to_owned()),
        ("BHATTI_CACHE_DIR", place.cache()),
    ]
}

/// Whether the bench's arguments say where to run.
pub(crate) fn names_dir(args: &[String]) -> bool {
    args.iter().any(|arg| is_flag(arg, "--dir"))
}

/// The bench's arguments with the place in them.
pub(crate) fn bench_arguments(place: &Place, args: &[String]) -> Vec<String> {
    let mut arguments = args.to_vec();
    arguments.extend(["--dir".to_owned(), place.root().display().to_string()]);
    if !args.iter().any(|arg| is_flag(arg, "--cache")) {
        arguments.extend(["--cache".to_owned(), place.cache().display().to_string()]);
    }
    arguments
}

fn is_flag(arg: &str, flag: &str) -> bool {
    arg.strip_prefix(flag)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

#[cfg(test)]
mod test {
    use super::{mirror, names_dir};

    #[test]
    fn a_bench_that_is_told_where_to_run_runs_there() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(names_dir(&words("--quick --dir /d")) && names_dir(&words("--dir=/d")));
        assert!(!names_dir(&words("--quick --only directory")));
    }

    #[test]
    fn a_mirror_holds_the_newest_image_of_each_recipe() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("images");
        fs_err::create_dir_all(into.join("ai-1")).unwrap();
        fs_err::create_dir(into.join(".tmp-ai-2")).unwrap();
        for name in ["base-1", "base-2", "base-2"] {
            let image = dir.path().join(name);
            fs_err::create_dir_all(&image).unwrap();
            fs_err::write(image.join("disk.raw"), name).unwrap();
            mirror(&image, &into).unwrap();
            let mut names: Vec<_> = fs_err::read_dir(&into)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            assert_eq!(names, ["ai-1", name]);
            assert_eq!(
                fs_err::read(into.join(name).join("disk.raw")).unwrap(),
                name.as_bytes()
            );
        }
    }
}
