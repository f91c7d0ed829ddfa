//! Checkpoints that somebody or something has damaged.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bhatti_client::error::Error;
use bhatti_host::files::{clone_file, data_extents};
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::witness;

use crate::files::{digests, dir, names};

/// How a file is damaged.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// One bit is another.
    Flip,
    /// The end is missing.
    Truncate,
    /// There is something else in it.
    Garble,
    /// It is not there.
    Delete,
}

fn read(file: &File, at: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, at)
        .expect("the file is read");
    bytes
}

/// The file of a checkpoint whose name begins with `what`.
fn file(dir: &Path, what: &str) -> PathBuf {
    let name = names(dir).into_iter().find(|name| name.starts_with(what));
    dir.join(name.unwrap_or_else(|| panic!("there is no {what} in {:?}", names(dir))))
}

fn inflict(path: &Path, damage: Damage) {
    let file = fs_err::OpenOptions::new().read(true).write(true).open(path);
    let file = file.expect("the file can be written").into_file();
    match damage {
        Damage::Flip => {
            // A byte of content: what is zero may be a hole that nobody keeps.
            let extents = data_extents(&file).expect("the file is mapped");
            let extent = &extents[extents.len() / 2];
            let bytes = read(&file, extent.start, extent.end - extent.start);
            let place = bytes.iter().rposition(|byte| *byte != 0);
            let place = place.expect("there is something in it");
            file.write_all_at(&[bytes[place] ^ 1], extent.start + place as u64)
                .expect("a byte is written");
        }
        Damage::Truncate => {
            let len = file.metadata().expect("the file is there").len();
            file.set_len(len / 2).expect("the file is cut");
        }
        Damage::Garble => {
            let len = file.metadata().expect("the file is there").len();
            let garbage: Vec<u8> = read(&file, 0, len).iter().map(|byte| byte ^ 0xA5).collect();
            file.write_all_at(&garbage, 0).expect("it is written");
        }
        Damage::Delete => fs_err::remove_file(path).expect("it is deleted"),
    }
}

#[tokio::test]
async fn a_damaged_checkpoint_is_refused_and_leaves_nothing_behind() {
    let mut daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    let captured = witness::start(&dev).await;
    let hurt = dev.checkpoint("hurt").await.expect("a checkpoint is taken");
    dev.checkpoint("well").await.expect("a checkpoint is taken");
    let dir = dir(&daemon, &hurt);
    let whole = digests(&dir);
    let found = daemon.inventory().await;

    for (what, damage) in [
        ("mem", Damage::Flip),
        ("mem", Damage::Truncate),
        ("state", Damage::Flip),
        ("state", Damage::Truncate),
        ("state", Damage::Delete),
        ("disk", Damage::Flip),
        ("mem.sums", Damage::Flip),
        ("disk.raw.sums", Damage::Flip),
        ("disk.raw.sums", Damage::Delete),
        ("manifest", Damage::Garble),
        ("manifest", Damage::Truncate),
    ] {
        let told = format!("{damage:?} {what}");
        daemon.stop().await;
        let path = file(&dir, what);
        let kept = daemon.home().join("kept");
        fs_err::rename(&path, &kept).expect("the file can be put aside");
        clone_file(&kept, &path).expect("the file can be copied");
        inflict(&path, damage);
        daemon.serve(&[]).await;

        // A second try is not better than the first.
        for _ in 0..2 {
            let refused = Guest::resume(daemon.client(), "hurt", "copy").await;
            let Err(Error::Refused(refusal)) = refused else {
                panic!("{told}: {refused:?}");
            };
            let message = &refusal.message;
            assert!(message.contains("damaged"), "{told}: {refusal:?}");
            let name = path.file_name().expect("it has a name").to_string_lossy();
            assert!(message.contains(&*name), "{told}: {refusal:?}");
            assert!(!message.contains('/'), "{told}: {refusal:?}");
            assert_eq!(daemon.inventory().await, found, "{told}");
        }
        let list = daemon
            .client()
            .sandbox_list(&[])
            .await
            .expect("the list is given");
        assert_eq!(list.len(), 1, "{told}: {list:?}");
        daemon.stop().await;
        fs_err::rename(&kept, &path).expect("the file is put back");
        assert_eq!(digests(&dir), whole, "{told}: the rest is as it was");
        daemon.serve(&[]).await;
    }
    // It was the damage, and nothing was done about it that can't be undone.
    let healed = Guest::resume(daemon.client(), "hurt", "healed")
        .await
        .expect("it resumes");
    witness::ask(&healed).await.assert_follows(&captured);

    // One that is damaged harms no other, and can be taken away.
    daemon.stop().await;
    inflict(&file(&dir, "manifest"), Damage::Delete);
    daemon.serve(&[]).await;
    let copy = Guest::resume(daemon.client(), "well", "copy")
        .await
        .expect("it resumes");
    witness::ask(&copy).await.assert_follows(&captured);
    witness::ask(&dev).await.assert_follows(&captured);
    daemon
        .client()
        .snapshot_delete("hurt")
        .await
        .expect("it is deleted");
    assert!(!dir.exists());
}
