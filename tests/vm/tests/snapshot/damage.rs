//! Checkpoints that somebody or something has damaged.

use std::path::{Path, PathBuf};

use bhatti_client::error::{Error, Refusal};
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

/// The file of a checkpoint whose name begins with `what`.
fn file(dir: &Path, what: &str) -> PathBuf {
    let name = names(dir).into_iter().find(|name| name.starts_with(what));
    dir.join(name.unwrap_or_else(|| panic!("there is no {what} in {:?}", names(dir))))
}

fn inflict(path: &Path, damage: Damage) {
    let whole = fs_err::read(path).expect("the file is there");
    match damage {
        Damage::Flip => {
            // A byte of content: what is zero may be a hole that nobody keeps.
            let middle = whole.len() / 2;
            let place = whole[middle..].iter().position(|byte| *byte != 0);
            let place = middle + place.expect("the second half is not empty");
            let file = fs_err::OpenOptions::new().write(true).open(path);
            let file = file.expect("the file can be written").into_file();
            let byte = [whole[place] ^ 1];
            std::os::unix::fs::FileExt::write_all_at(&file, &byte, place as u64)
                .expect("a byte is written");
        }
        Damage::Truncate => fs_err::write(path, &whole[..whole.len() / 2]).expect("it is written"),
        Damage::Garble => {
            let garbage: Vec<u8> = whole.iter().map(|byte| byte ^ 0xA5).collect();
            fs_err::write(path, garbage).expect("it is written");
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
        ("manifest", Damage::Garble),
        ("manifest", Damage::Truncate),
    ] {
        let told = format!("{damage:?} {what}");
        daemon.stop().await;
        let path = file(&dir, what);
        let kept = daemon.home().join("kept");
        fs_err::rename(&path, &kept).expect("the file can be put aside");
        fs_err::copy(&kept, &path).expect("the file can be copied");
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
