//! Pools really made, mounted, grown, broken off and taken away.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::error::PoolError;
use super::image::{Moment, space};
use super::loop_device::{FileId, LoopDevice};
use super::mounts;
use super::release::release;
use super::settings::{StorageChoice, StorageKind, StorageSettings};
use super::size::SMALLEST;
use super::storage::{Storage, open, open_watched};
use crate::command::Command;
use crate::files::{self, Cloned};

/// Time for blocks that got free to be given back to the host.
const GIVEN_BACK_LIMIT: Duration = Duration::from_secs(30);

/// A data directory, whose pool is taken away with it.
struct Data(tempfile::TempDir);

impl Data {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    async fn open(&self, choice: StorageChoice) -> Result<Storage, PoolError> {
        open(self.path(), settings(choice)).await
    }

    async fn pool(&self) -> Storage {
        let storage = self.open(StorageChoice::Pool).await.unwrap();
        assert_eq!(storage.kind(), StorageKind::Pool);
        assert_eq!(storage.root(), self.path().join("pool"));
        assert!(is_mounted(self.path()));
        storage
    }

    /// What the pool's file takes of the host, in bytes.
    fn used(&self) -> u64 {
        files::disk_usage(&self.path().join("pool.img")).unwrap()
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let released = release(self.path());
        if !std::thread::panicking() {
            released.unwrap();
            assert_nothing_left(self.path());
        }
    }
}

fn settings(choice: StorageChoice) -> StorageSettings {
    StorageSettings {
        choice,
        reserve: Some(0),
        limit: Some(SMALLEST),
    }
}

/// Why pools can't be made here, said as skipped tests say it.
async fn cannot_run() -> bool {
    let missing = if !rustix::process::geteuid().is_root() {
        "needs root"
    } else if !Path::new("/dev/loop-control").exists() {
        "needs loop devices"
    } else if Command::new("mkfs.xfs").arg("-V").run().await.is_err() {
        "needs `mkfs.xfs` (xfsprogs)"
    } else {
        return false;
    };
    eprintln!("skipped: {missing}");
    true
}

fn is_mounted(data: &Path) -> bool {
    let data = fs_err::canonicalize(data).unwrap();
    mounts::on(&data.join("pool")).unwrap().is_some()
}

fn assert_nothing_left(data: &Path) {
    assert!(!is_mounted(data));
    for name in ["pool.img", ".new-pool.img"] {
        if let Some(file) = FileId::of(&data.join(name)).unwrap() {
            assert!(LoopDevice::find(file).unwrap().is_none(), "{name}");
        }
    }
}

#[tokio::test]
async fn what_a_pool_holds_is_there_after_a_reboot() {
    if cannot_run().await {
        return;
    }
    let data = Data::new();
    let storage = data.pool().await;
    let size = storage.size().unwrap();
    assert!(size > SMALLEST * 9 / 10 && size <= SMALLEST, "{size}");
    let (from, to) = (storage.root().join("a"), storage.root().join("b"));
    fs_err::write(&from, vec![7; 1 << 20]).unwrap();
    assert_eq!(files::clone_file(&from, &to).unwrap(), Cloned::Reflink);
    // Opening it again finds it, and does not mount it twice.
    data.pool().await;
    release(data.path()).unwrap();
    assert_nothing_left(data.path());
    assert!(!from.exists());
    release(data.path()).unwrap();
    // Whatever is wanted, what is there is used.
    for choice in [StorageChoice::Plain, StorageChoice::Auto] {
        let storage = data.open(choice).await.unwrap();
        assert_eq!(storage.kind(), StorageKind::Pool);
        assert_eq!(fs_err::read(&to).unwrap(), vec![7; 1 << 20]);
        release(data.path()).unwrap();
    }
}

#[tokio::test]
async fn a_pool_grows_when_it_is_low_and_the_host_has_room() {
    if cannot_run().await {
        return;
    }
    let data = Data::new();
    let storage = data.pool().await;
    let filler = fs_err::File::create(storage.root().join("filler")).unwrap();
    let free = space(storage.root()).unwrap().free;
    fill(&filler, free / 10 * 8);
    assert!(storage.is_low().unwrap());
    // It has its limit.
    assert!(!storage.grow());
    let wider = StorageSettings {
        limit: Some(2 * SMALLEST),
        ..settings(StorageChoice::Auto)
    };
    let before = storage.size().unwrap();
    let storage = open(data.path(), wider).await.unwrap();
    let after = storage.size().unwrap();
    assert!(after >= before + SMALLEST / 10 * 9, "{before} to {after}");
    assert!(!storage.is_low().unwrap());
    assert!(!storage.grow());
    let length = fs_err::metadata(data.path().join("pool.img"))
        .unwrap()
        .len();
    assert_eq!(length, 2 * SMALLEST);
}

#[tokio::test]
async fn growth_that_was_cut_off_is_finished() {
    if cannot_run().await {
        return;
    }
    let data = Data::new();
    let storage = data.pool().await;
    let filler = fs_err::File::create(storage.root().join("filler")).unwrap();
    fill(&filler, space(storage.root()).unwrap().free / 10 * 8);
    // The file has grown, and then the daemon was killed.
    let image = data.path().join("pool.img");
    let file = fs_err::OpenOptions::new().write(true).open(image).unwrap();
    file.set_len(SMALLEST + SMALLEST / 2).unwrap();
    assert!(storage.grow());
    assert!(storage.size().unwrap() > SMALLEST);
}

#[tokio::test]
async fn deleting_gives_space_back_to_the_host() {
    if cannot_run().await {
        return;
    }
    let data = Data::new();
    let storage = data.pool().await;
    let empty = data.used();
    let path = storage.root().join("file");
    let file = fs_err::File::create(&path).unwrap();
    file.file().write_all_at(&vec![9; 64 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let full = data.used();
    assert!(full >= empty + (60 << 20), "{empty} to {full}");
    drop(file);
    fs_err::remove_file(&path).unwrap();
    // Freed blocks are given back in the background once the file system's log has been written.
    let pool = fs_err::File::open(storage.root()).unwrap();
    let given_back = async {
        while data.used() > full - (60 << 20) {
            rustix::fs::syncfs(&pool).unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let given_back = tokio::time::timeout(GIVEN_BACK_LIMIT, given_back).await;
    given_back.unwrap_or_else(|_| panic!("{full} to {}", data.used()));
}

#[tokio::test]
async fn a_full_pool_has_nothing_free_and_the_hosts_reserve_is_not_counted() {
    if cannot_run().await {
        return;
    }
    let data = Data::new();
    let storage = data.pool().await;
    assert!(storage.free().unwrap() > SMALLEST / 2);
    let filler = fs_err::File::create(storage.root().join("filler")).unwrap();
    fill(&filler, space(storage.root()).unwrap().free - (8 << 20));
    assert!(storage.free().unwrap() < 16 << 20);
    drop(filler);
    fs_err::remove_file(storage.root().join("filler")).unwrap();
    let greedy = StorageSettings {
        reserve: Some(u64::MAX),
        ..settings(StorageChoice::Auto)
    };
    let storage = open(data.path(), greedy).await.unwrap();
    assert_eq!(storage.free().unwrap(), 0);
    // The same for one that is to be made.
    let other = Data::new();
    let insisted = StorageSettings {
        choice: StorageChoice::Pool,
        ..greedy
    };
    let error = open(other.path(), insisted).await.unwrap_err();
    assert!(matches!(error, PoolError::NoRoom { .. }), "{error:?}");
    assert_eq!(fs_err::read_dir(other.path()).unwrap().count(), 0);
    let storage = open(other.path(), greedy).await.unwrap();
    assert_ne!(storage.kind(), StorageKind::Pool);
}

fn fill(file: &fs_err::File, bytes: u64) {
    let none = rustix::fs::FallocateFlags::empty();
    rustix::fs::fallocate(file, none, 0, bytes).unwrap();
}

#[tokio::test]
async fn two_data_directories_do_not_touch_each_other() {
    if cannot_run().await {
        return;
    }
    let (one, two) = (Data::new(), Data::new());
    let (first, second) = tokio::join!(one.pool(), two.pool());
    fs_err::write(first.root().join("a"), "one").unwrap();
    fs_err::write(second.root().join("a"), "two").unwrap();
    release(one.path()).unwrap();
    assert!(!is_mounted(one.path()) && is_mounted(two.path()));
    assert_eq!(fs_err::read(second.root().join("a")).unwrap(), b"two");
    one.pool().await;
    assert_eq!(fs_err::read(first.root().join("a")).unwrap(), b"one");
}

#[tokio::test]
async fn what_somebody_else_mounted_there_is_left_alone() {
    if cannot_run().await {
        return;
    }
    let (ours, other) = (Data::new(), Data::new());
    let point = ours.path().join("pool");
    fs_err::create_dir(&point).unwrap();
    other.pool().await;
    let device = mounts::on(&fs_err::canonicalize(other.path()).unwrap().join("pool"));
    let device = format!("/dev/loop{}", device.unwrap().unwrap().device.minor);
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount(device.as_str(), &point, "xfs", flags, None).unwrap();
    let error = ours.open(StorageChoice::Pool).await.unwrap_err();
    assert!(matches!(error, PoolError::Foreign { .. }), "{error:?}");
    release(ours.path()).unwrap();
    assert!(is_mounted(ours.path()));
    rustix::mount::unmount(&point, rustix::mount::UnmountFlags::empty()).unwrap();
    assert!(is_mounted(other.path()));
}

#[tokio::test]
async fn a_pool_that_cannot_be_mounted_is_an_error_and_is_kept() {
    if cannot_run().await {
        return;
    }
    let data = Data::new();
    fs_err::write(data.path().join("pool.img"), vec![1; 1 << 20]).unwrap();
    let error = data.open(StorageChoice::Auto).await.unwrap_err();
    assert!(error.hint().is_some(), "{error:?}");
    assert!(data.path().join("pool.img").exists());
    assert_nothing_left(data.path());
}

#[tokio::test]
async fn a_copied_pool_is_not_mounted_beside_its_original_until_it_has_an_id_of_its_own() {
    if cannot_run().await {
        return;
    }
    let (original, copy) = (Data::new(), Data::new());
    let storage = original.pool().await;
    fs_err::write(storage.root().join("a"), "a").unwrap();
    release(original.path()).unwrap();
    let image = copy.path().join("pool.img");
    files::clone_file(&original.path().join("pool.img"), &image).unwrap();
    original.pool().await;
    let error = copy.open(StorageChoice::Auto).await.unwrap_err();
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains("xfs_admin -U generate"), "{error:?}");
    assert_nothing_left(copy.path());
    let renamed = Command::new("xfs_admin")
        .args(["-U", "generate"])
        .arg(&image);
    renamed.run().await.unwrap();
    let storage = copy.pool().await;
    assert_eq!(fs_err::read(storage.root().join("a")).unwrap(), b"a");
    assert!(is_mounted(original.path()));
}

#[tokio::test]
async fn a_data_directory_with_machines_gets_no_pool() {
    let data = Data::new();
    fs_err::create_dir_all(data.path().join("sandboxes/sbx_1")).unwrap();
    let error = data.open(StorageChoice::Pool).await.unwrap_err();
    assert!(matches!(error, PoolError::HasMachines), "{error:?}");
    let storage = data.open(StorageChoice::Auto).await.unwrap();
    assert_ne!(storage.kind(), StorageKind::Pool);
    assert_eq!(storage.root(), data.path());
    assert_eq!(fs_err::read_dir(data.path()).unwrap().count(), 1);
}

/// The variables by which a test tells the process that it starts where to make a pool, and at
/// which moment to die.
const DIR: &str = "BHATTI_TEST_POOL_DIR";
const MOMENT: &str = "BHATTI_TEST_POOL_MOMENT";

/// Not a test of its own: what [`a_process_killed_at_any_moment_leaves_what_can_be_gone_on_from`]
/// starts and has killed. Does nothing otherwise.
#[tokio::test]
async fn the_process_that_is_killed() {
    let (Some(dir), Some(moment)) = (std::env::var_os(DIR), std::env::var_os(MOMENT)) else {
        return;
    };
    let watch = |now: Moment| {
        if moment == *format!("{now:?}") {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .unwrap();
        }
    };
    let made = open_watched(Path::new(&dir), settings(StorageChoice::Pool), &watch).await;
    panic!("it was not killed at {moment:?}: {made:?}");
}

#[tokio::test]
async fn a_process_killed_at_any_moment_leaves_what_can_be_gone_on_from() {
    if cannot_run().await {
        return;
    }
    let moments = [
        Moment::Empty,
        Moment::Formatted,
        Moment::Attached,
        Moment::Mounted,
        Moment::Named,
    ];
    for moment in moments {
        let data = Data::new();
        let killed = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "pool::test::the_process_that_is_killed"])
            .env(DIR, data.path())
            .env(MOMENT, format!("{moment:?}"))
            .run()
            .await;
        let killed = killed.unwrap_err().to_string();
        assert!(killed.contains("signal: 9"), "{moment:?}: {killed}");
        let named = data.path().join("pool.img").exists();
        assert_eq!(named, moment == Moment::Named);
        assert_eq!(
            is_mounted(data.path()),
            matches!(moment, Moment::Mounted | Moment::Named)
        );
        let storage = data.pool().await;
        fs_err::write(storage.root().join("a"), "a").unwrap();
        assert!(!data.path().join(".new-pool.img").exists());
    }
}

#[tokio::test]
async fn an_unfinished_file_system_is_made_anew() {
    if cannot_run().await {
        return;
    }
    let data = Data::new();
    fs_err::write(data.path().join(".new-pool.img"), vec![0x58; 3 << 20]).unwrap();
    data.pool().await;
    assert!(!data.path().join(".new-pool.img").exists());
}
