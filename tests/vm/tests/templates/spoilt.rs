//! Templates that somebody or something has damaged: a cache, so nobody has to know.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bhatti_host::files;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;

use crate::{only, templates};

/// A file of the template of 256 MB, no longer shared with the cache's.
async fn own_file(daemon: &Daemon, name: &str) -> PathBuf {
    let all = templates(daemon).await;
    let small = all
        .iter()
        .find(|one| one.memory_mb == 256)
        .expect("it is there");
    let path = daemon
        .data_dir()
        .join("templates")
        .join(&small.id)
        .join(name);
    let copy = path.with_extension("copy");
    files::clone_file(&path, &copy).expect("it can be copied");
    fs_err::rename(&copy, &path).expect("it can be replaced");
    path
}

fn flip(path: &Path) {
    let file = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("it opens");
    let extents = files::data_extents(file.file()).expect("it is mapped");
    let at = extents[extents.len() / 2].start;
    let mut byte = [0];
    file.file()
        .read_exact_at(&mut byte, at)
        .expect("it is read");
    file.file()
        .write_all_at(&[byte[0] ^ 1], at)
        .expect("it is written");
}

#[tokio::test]
async fn a_damaged_template_is_deleted_and_the_machine_boots() {
    let mut daemon = Daemon::start().await;
    let mut boots = Vec::new();
    for (round, name) in ["mem", "disk.raw", "state"].iter().enumerate() {
        if round > 0 {
            // Within a minute of the last one's failure creates boot by themselves.
            daemon.stop().await;
            bhatti_testing::templates::seed(&daemon.data_dir()).await;
            daemon.serve(&[]).await;
        }
        let path = own_file(&daemon, name).await;
        flip(&path);
        let guest = Guest::create(daemon.client(), &format!("dev{round}")).await;
        boots.push(guest.boot_id().await);
        assert!(!path.exists(), "{name}");
        let left = templates(&daemon).await;
        assert!(left.iter().all(|one| one.memory_mb != 256), "{left:?}");
        let found = daemon.inventory().await;
        assert_eq!(
            (found.machines.len(), found.sandboxes.len()),
            (round + 1, round + 1)
        );
    }
    boots.sort();
    boots.dedup();
    assert_eq!(boots.len(), 3, "each booted by itself");
}

#[tokio::test]
async fn what_is_no_template_is_gone_after_a_start() {
    let mut daemon = Daemon::start().await;
    let cut = own_file(&daemon, "mem").await;
    daemon.stop().await;
    let file = fs_err::OpenOptions::new()
        .write(true)
        .open(&cut)
        .expect("it opens");
    file.set_len(4096).expect("it is cut");
    let dir = daemon.data_dir().join("templates");
    fs_err::create_dir(dir.join(".new-tpl_0123456789abcdef")).expect("it is made");
    fs_err::create_dir(dir.join("tpl_0123456789abcdef")).expect("it is made");
    daemon.serve(&[]).await;
    let left = only(&daemon).await;
    assert_eq!(left.memory_mb, 1024);
    assert_eq!(daemon.inventory().await.templates, [left.id].into());
}
