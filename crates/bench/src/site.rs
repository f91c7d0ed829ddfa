//! The place a run works in: one directory under a name of its own, and everything in it is gone
//! at the end.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bhatti_host::files;
use bhatti_host::lock::DirLock;
use bhatti_host::process;
use bhatti_image::catalog::Catalog;
use bhatti_image::image::Image;
use bhatti_image::kit::{Kit, KitStore};
use bhatti_types::id::DataDirId;
use bhatti_vmm::qemu::arguments;

use crate::say::say;

/// How the names of these directories begin.
const PREFIX: &str = "bhatti-bench-";
/// The file with the id of the bare machines.
const BARE_ID: &str = "bare-id";
/// How long processes that were killed may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(10);

/// The directory of a run. Dropping it ends its machines and deletes it.
#[derive(Debug)]
pub(crate) struct Site {
    root: tempfile::TempDir,
    /// The mark of the bare machines.
    pub(crate) bare_id: DataDirId,
    // Held so that no other run takes this directory for one that was left behind.
    _lock: DirLock,
}

impl Site {
    /// Makes the directory under `parent`, after deleting what killed runs left there.
    pub(crate) fn make(parent: &Path) -> anyhow::Result<Self> {
        sweep(parent);
        let root = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent)
            .with_context(|| format!("failed to make a directory in {}", parent.display()))?;
        let bare_id = DataDirId::random();
        fs_err::write(root.path().join(BARE_ID), bare_id.as_str())?;
        for dir in ["home", "bare", "data"] {
            fs_err::create_dir(root.path().join(dir))?;
        }
        let lock = DirLock::take(root.path())?;
        Ok(Self {
            root,
            bare_id,
            _lock: lock,
        })
    }

    /// The daemon's data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Where the bare machines are.
    pub(crate) fn bare(&self) -> PathBuf {
        self.root.path().join("bare")
    }

    /// The home directory of programs.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// A path in the directory itself.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        end_machines(self.root.path());
    }
}

/// Kills the machines of a run and waits until they are gone.
fn end_machines(root: &Path) {
    let marks: Vec<_> = ids(root).iter().map(arguments::mark).collect();
    let until = Instant::now() + GONE_LIMIT;
    loop {
        let found: Vec<_> = marks
            .iter()
            .flat_map(|mark| process::find_by_argument(mark).unwrap_or_default())
            .collect();
        for machine in &found {
            let pid = i32::try_from(machine.id.pid).ok();
            if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
                // It may be gone by now.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                reap(pid);
            }
        }
        if found.is_empty() || Instant::now() > until {
            return;
        }
        std::thread::yield_now();
    }
}

/// Takes a dead child off the table of processes. One that is not ours is init's.
fn reap(pid: rustix::process::Pid) {
    let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
}

/// The ids that machines of a run carry: those of its data directories and of the bare ones.
fn ids(root: &Path) -> Vec<DataDirId> {
    let read = |path: PathBuf| -> Option<DataDirId> {
        let text = fs_err::read_to_string(path).ok()?;
        text.trim().parse().ok()
    };
    let mut ids: Vec<_> = read(root.join(BARE_ID)).into_iter().collect();
    for entry in fs_err::read_dir(root).into_iter().flatten().flatten() {
        ids.extend(read(entry.path().join("id")));
    }
    ids
}

/// Ends and deletes what runs left behind that were killed outright.
fn sweep(parent: &Path) {
    for entry in fs_err::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let named = path.file_name().and_then(OsStr::to_str);
        let is_ours =
            named.is_some_and(|name| name.starts_with(PREFIX)) && path.join(BARE_ID).exists();
        // A run that is still going holds its lock.
        if !is_ours || DirLock::take(&path).is_err() {
            continue;
        }
        say(&format!(
            "    deleting what an earlier run left: {}",
            path.display()
        ));
        end_machines(&path);
        if let Err(error) = files::remove_tree(&path) {
            say(&format!("    {error}"));
        }
    }
}

/// What guests are made of.
#[derive(Debug, Clone)]
pub(crate) struct Artifacts {
    /// The guest kit.
    pub(crate) kit: Kit,
    /// The image.
    pub(crate) image: Image,
}

/// Puts the cached guest kit and the newest base image into a data directory.
pub(crate) fn install(cache: &Path, data: &Path) -> anyhow::Result<Artifacts> {
    let cached = KitStore::open(cache.join("kits"))?
        .current()
        .context("no guest kit is cached; run `cargo xtask guest-kit`")?;
    let kit = KitStore::open(data.join("kits"))?.install(&cached.dir)?;
    let newest = newest_base(&cache.join("images"))
        .context("no base image is cached; run `cargo xtask base-image`")?;
    let image = Catalog::open(data.join("images"))?.install(&newest)?;
    Ok(Artifacts { kit, image })
}

fn newest_base(images: &Path) -> Option<PathBuf> {
    let entries = fs_err::read_dir(images).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let bases = paths.filter(|path| {
        let name = path.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with("base-"))
    });
    bases.max_by_key(|path| path.metadata().and_then(|found| found.modified()).ok())
}

#[cfg(test)]
mod test {
    use super::{Site, newest_base, sweep};

    #[test]
    fn a_site_is_gone_when_it_is_dropped_and_left_alone_until_then() {
        let parent = tempfile::tempdir().unwrap();
        let site = Site::make(parent.path()).unwrap();
        let path = site.path("");
        sweep(parent.path());
        assert!(path.exists(), "a run that is going is not swept");
        drop(site);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_run_left_is_swept_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join("bhatti-bench-dead");
        fs_err::create_dir_all(left.join("data")).unwrap();
        fs_err::write(left.join("bare-id"), "dat_0000000000000001").unwrap();
        let other = parent.path().join("bhatti-bench-notes");
        fs_err::create_dir(&other).unwrap();
        sweep(parent.path());
        assert!(!left.exists() && other.exists());
    }

    #[test]
    fn the_newest_base_image_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(newest_base(dir.path()), None);
        let now = std::time::SystemTime::now();
        for (name, age) in [("base-a", 10), ("base-b", 5), ("other-c", 1)] {
            let path = dir.path().join(name);
            fs_err::create_dir(&path).unwrap();
            let opened = fs_err::File::open(&path).unwrap();
            opened
                .set_modified(now - std::time::Duration::from_secs(age))
                .unwrap();
        }
        assert_eq!(newest_base(dir.path()).unwrap(), dir.path().join("base-b"));
    }
}
