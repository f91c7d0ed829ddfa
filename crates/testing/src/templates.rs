//! Templates for the daemons of tests: made once, kept in the cache, and put into every data
//! directory, so that no test waits for a boot that is not its subject.
//!
//! The cache has each template under its id, a digest of all it was made of: another guest kit,
//! image, QEMU or way of making templates has others. The first test that needs one makes it,
//! with a daemon of its own; others wait for it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bhatti_api::template::WarmImage;
use bhatti_engine::templates::shape::{FORMAT, Shape};
use bhatti_host::files;
use bhatti_image::catalog::{Catalog, Owner};
use bhatti_image::kit::KitStore;
use bhatti_types::size::{MemoryMb, Vcpus};
use bhatti_vmm::machine::{Accelerator, Vmm as _};
use bhatti_vmm::qemu::launcher::Qemu;

use crate::artifacts;
use crate::daemon::Daemon;

/// Memory of the machines that tests make most, in MiB; they have one vCPU and the image's disk.
const MEMORIES: [u64; 2] = [256, 1024];
/// The file that says how often a template was used: that is each data directory's own.
const USED: &str = "used";
/// Most templates kept in the cache. Developers switch between a few builds of the agent.
const KEPT: usize = 16;

/// Puts the templates of the base image that are not there into a data directory that has a kit
/// and that image.
///
/// # Panics
/// If they can't be made.
pub async fn seed(data_dir: &Path) {
    for memory_mb in MEMORIES {
        let id = shape(data_dir, memory_mb).await.id();
        let cached = place().join(id.as_str());
        if !cached.exists() {
            make(&cached, memory_mb).await;
        }
        let to = data_dir.join("templates").join(id.as_str());
        if !to.exists() {
            link(&cached, &to).expect("a cached template is put into the data directory");
        }
    }
}

fn place() -> PathBuf {
    artifacts::cache().join("templates")
}

/// What a daemon on this data directory makes such a template of.
async fn shape(data_dir: &Path, memory_mb: u64) -> Shape {
    let kits = KitStore::open(data_dir.join("kits")).expect("the kit store opens");
    let catalog = Catalog::open(data_dir.join("images")).expect("the catalog opens");
    let base = "base".parse().expect("a name");
    let image = catalog
        .get(&Owner::Host, &base)
        .expect("the catalog can be read");
    let image = image.expect("the base image is installed");
    let qemu = Qemu::new("qemu-system-x86_64".into());
    Shape {
        format: FORMAT,
        image: image.id,
        image_name: image.name,
        cpus: Vcpus::default(),
        memory: MemoryMb::new(memory_mb).expect("a size of the range"),
        disk: image.size_mb,
        kit: kits.current().expect("a kit is installed").id.to_string(),
        engine: qemu.name().to_owned(),
        engine_version: qemu.version().await.expect("QEMU is installed"),
        accelerator: Accelerator::Tcg,
        init: bhatti_types::run::Init::default(),
    }
}

/// Makes a template for the cache, unless another test has done so meanwhile.
async fn make(cached: &Path, memory_mb: u64) {
    let _lock = lock().await;
    if cached.exists() {
        return;
    }
    let mut daemon = Daemon::prepare();
    artifacts::install(&daemon.data_dir());
    daemon.serve(&[]).await;
    let size = WarmImage {
        memory_mb: Some(memory_mb),
        ..WarmImage::default()
    };
    let made = daemon.client().image_warm("base", &size).await;
    let made = made.expect("a template is made");
    let name = cached.file_name().and_then(|name| name.to_str());
    assert_eq!(Some(made.id.as_str()), name, "what it is made of is known");
    let from = daemon.data_dir().join("templates").join(&made.id);
    link(&from, cached).expect("a template is put into the cache");
    forget_old().expect("the cache can be tidied");
}

/// Waits for the right to change the cache; other processes' tests use it too.
async fn lock() -> fs_err::File {
    let take = || {
        fs_err::create_dir_all(place())?;
        let file = fs_err::File::create(place().join("lock"))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        Ok::<_, std::io::Error>(file)
    };
    let taken = tokio::task::spawn_blocking(take).await;
    taken
        .expect("the lock is waited for")
        .expect("the cache can be locked")
}

/// Makes `to` the same template as `from`, all at once: by links where both are on one file
/// system. A template's files are never written to.
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    let parent = to.parent().unwrap_or(to);
    fs_err::create_dir_all(parent)?;
    let half = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(parent)?;
    for entry in fs_err::read_dir(from)? {
        let name = entry?.file_name();
        if name == USED {
            continue;
        }
        let (source, target) = (from.join(&name), half.path().join(&name));
        if fs_err::hard_link(&source, &target).is_err() {
            files::clone_file(&source, &target)?;
            files::sync_file(&target)?;
        }
    }
    fs_err::rename(half.keep(), to)
}

/// Deletes the templates that have been in the cache longest, but for so many.
fn forget_old() -> std::io::Result<()> {
    let mut all: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs_err::read_dir(place())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            all.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    all.sort();
    let old = all.len().saturating_sub(KEPT);
    for (_, dir) in &all[..old] {
        files::remove_tree(dir)?;
    }
    Ok(())
}
