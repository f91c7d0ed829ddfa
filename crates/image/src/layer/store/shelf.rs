//! The store itself: which layers there are, and who uses them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bhatti_host::files;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::flight::Flights;
use super::{partial, seal};
use crate::layer::digest::Sha256Digest;
use crate::layer::files::Layer;
use crate::layer::limits::Limits;
use crate::place::{self, HALF_MADE};

/// How long a partial blob that nobody asks for is kept.
const PARTIAL_KEPT: Duration = Duration::from_hours(7 * 24);

/// How a store behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Largest blob taken, in bytes.
    pub max_blob: u64,
    /// Bounds on what is in one.
    pub limits: Limits,
    /// How many layers are looked through at once. Doing so keeps a processor busy.
    pub scans: usize,
    /// How long to wait before the second try; each further wait is twice as long, up to 32 times
    /// this.
    pub backoff: Duration,
}

impl Default for Options {
    /// What suits this host.
    fn default() -> Self {
        let processors = std::thread::available_parallelism();
        Self {
            // The largest that registries commonly take: 10 GiB at Amazon, 100 GiB at others.
            max_blob: 100 << 30,
            limits: Limits::DEFAULT,
            scans: processors.map_or(1, std::num::NonZero::get),
            backoff: Duration::from_millis(500),
        }
    }
}

/// The layers below one directory. Clones are the same store; there is one for each directory.
#[derive(Debug, Clone)]
pub struct LayerStore {
    pub(super) shared: Arc<Shared>,
}

/// What all clones share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) scans: Arc<Semaphore>,
    pub(super) tasks: TaskTracker,
    pub(super) closing: tokio_util::sync::CancellationToken,
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// How many leases a layer is in.
    pins: HashMap<Sha256Digest, usize>,
    pub(super) flights: Flights,
}

/// A layer of the store, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLayer {
    /// Its digest.
    pub digest: Sha256Digest,
    /// The digest of the uncompressed archive.
    pub diff_id: Sha256Digest,
    /// The size of its blob, in bytes.
    pub size: u64,
    /// What it takes on disk with its index, in bytes.
    pub disk: u64,
    /// Whether somebody uses it at this moment.
    pub in_use: bool,
}

/// What is on disk and not wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// The layer; none if it is the beginning of one that was never fetched to its end.
    pub digest: Option<Sha256Digest>,
    /// What it takes on disk, in bytes.
    pub disk: u64,
    path: PathBuf,
}

impl LayerStore {
    /// Opens the store in a directory, which is made if it is not there; what is half-made there
    /// is deleted. Blocks.
    pub fn open(dir: impl Into<PathBuf>, options: Options) -> io::Result<Self> {
        let dir = dir.into();
        fs_err::create_dir_all(&dir)?;
        for path in place::dirs(&dir, |name| name.starts_with(HALF_MADE))? {
            files::remove_tree(&path)?;
        }
        for path in place::dirs(&dir, partial::is_partial)? {
            if is_old(&path) {
                files::remove_tree(&path)?;
            }
        }
        let shared = Shared {
            scans: Arc::new(Semaphore::new(options.scans.max(1))),
            dir,
            options,
            tasks: TaskTracker::new(),
            closing: tokio_util::sync::CancellationToken::new(),
            state: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// A lease without any layers in it yet.
    pub fn lease(&self) -> Lease {
        Lease {
            store: self.clone(),
            pinned: Mutex::default(),
        }
    }

    /// The layer, if it is there. Unless a [`Lease`] has it too, it may be deleted at any time.
    pub fn get(&self, digest: &Sha256Digest) -> Option<Layer> {
        let (layer, _) = seal::open(&self.shared.dir.join(seal::name(digest)))?;
        Some(layer)
    }

    /// All layers, by digest. Blocks.
    pub fn list(&self) -> io::Result<Vec<StoredLayer>> {
        let dirs = place::finished_dirs(&self.shared.dir)?;
        let state = self.shared.state();
        let layers = dirs.iter().filter_map(|dir| {
            let (layer, record) = seal::open(dir)?;
            Some(StoredLayer {
                digest: layer.digest,
                diff_id: layer.diff_id,
                size: record.size,
                disk: disk_of(dir),
                in_use: state.pins.contains_key(&layer.digest),
            })
        });
        Ok(layers.collect())
    }

    /// What could be deleted if only the layers in `keep` were wanted: the others, unless somebody
    /// uses them, and the beginnings of blobs that nobody is fetching. Blocks.
    pub fn garbage(&self, keep: &HashSet<Sha256Digest>) -> io::Result<Vec<Garbage>> {
        let mut garbage = Vec::new();
        for path in place::dirs(&self.shared.dir, |name| !name.starts_with(HALF_MADE))? {
            let digest = seal::open(&path).map(|(layer, _)| layer.digest);
            if digest.is_some_and(|digest| keep.contains(&digest)) {
                continue;
            }
            if self.shared.state().uses(digest.as_ref(), &path) {
                continue;
            }
            garbage.push(Garbage {
                digest,
                disk: disk_of(&path),
                path,
            });
        }
        Ok(garbage)
    }

    /// Deletes [`LayerStore::garbage`] and gives what was deleted. Blocks.
    ///
    /// A layer that came into use meanwhile stays. One that is needed again is fetched again.
    pub fn collect(&self, keep: &HashSet<Sha256Digest>) -> io::Result<Vec<Garbage>> {
        let mut deleted = Vec::new();
        for garbage in self.garbage(keep)? {
            let aside = place::half_made(&self.shared.dir)?;
            {
                // Who finds the layer afterwards does so under this lock, in place or not at all.
                let state = self.shared.state();
                if state.uses(garbage.digest.as_ref(), &garbage.path) {
                    continue;
                }
                fs_err::rename(&garbage.path, aside.path().join("garbage"))?;
            }
            aside.close()?;
            deleted.push(garbage);
        }
        Ok(deleted)
    }

    /// Gives up what is being fetched and waits until nothing of it runs any more. What has come
    /// stays for the next time.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is a single step, so a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn uses(&self, digest: Option<&Sha256Digest>, path: &Path) -> bool {
        digest.is_some_and(|digest| self.pins.contains_key(digest)) || self.flights.holds(path)
    }
}

/// Layers that are in use: none of them is deleted before this is dropped.
#[derive(Debug)]
pub struct Lease {
    pub(super) store: LayerStore,
    pinned: Mutex<HashSet<Sha256Digest>>,
}

impl Lease {
    /// The store it is of.
    pub fn store(&self) -> &LayerStore {
        &self.store
    }

    /// The layer, if it is there; it then stays until the lease is dropped.
    pub fn get(&self, digest: &Sha256Digest) -> Option<Layer> {
        self.pin(digest);
        self.store.get(digest)
    }

    /// Keeps a layer that is there, or that will be. One that is not may be pinned too: nothing
    /// comes of it.
    pub(super) fn pin(&self, digest: &Sha256Digest) {
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if pinned.insert(*digest) {
            *self.store.shared.state().pins.entry(*digest).or_default() += 1;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let pinned = self
            .pinned
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let mut state = self.store.shared.state();
        for digest in pinned.drain() {
            if let Some(count) = state.pins.get_mut(&digest) {
                *count -= 1;
                if *count == 0 {
                    state.pins.remove(&digest);
                }
            }
        }
    }
}

/// What the files of a directory take on disk, in bytes. What cannot be looked at takes nothing.
fn disk_of(dir: &Path) -> u64 {
    let Ok(entries) = fs_err::read_dir(dir) else {
        return 0;
    };
    entries
        .filter_map(|entry| files::disk_usage(&entry.ok()?.path()).ok())
        .sum()
}

/// Whether a partial blob has not grown for long.
fn is_old(dir: &Path) -> bool {
    let changed = |path: &Path| fs_err::metadata(path)?.modified();
    let changed = changed(&dir.join(seal::BLOB)).or_else(|_| changed(dir));
    let age = changed.map(|changed| {
        SystemTime::now()
            .duration_since(changed)
            .unwrap_or_default()
    });
    age.is_ok_and(|age| age > PARTIAL_KEPT)
}
