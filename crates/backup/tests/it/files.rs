//! Backups in a directory.

use std::path::Path;

use bhatti_backup::directory::Directory;
use bhatti_backup::error::BackupError;
use bhatti_backup::format::Place;
use bhatti_backup::save::{Last, save};
use bhatti_backup::{keep, restore};
use bhatti_types::id::BackupId;

use crate::disk::{assert_same, make, write};

fn place() -> Place {
    Place::new("volumes/usr_00000001/data".to_owned())
}

fn objects(dir: &Path) -> usize {
    let dir = dir.join("volumes/usr_00000001/data/chunks");
    fs_err::read_dir(dir).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_comes_back_as_it_was_and_only_what_is_new_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    fs_err::create_dir(&store).unwrap();
    let (target, place) = (Directory::new(store.clone()), place());
    let disk = make(dir.path(), "disk", 0);
    let first = save(&target, &place, &disk, None).await.unwrap();
    // Two chunks are alike.
    assert_eq!(objects(&store), 3);
    let before = dir.path().join("before");
    fs_err::copy(&disk, &before).unwrap();

    write(&disk, 6, 77);
    let second = save(&target, &place, &disk, None).await.unwrap();
    assert_eq!(objects(&store), 4);
    assert!(second.summary.sent_bytes < first.summary.sent_bytes);
    let nothing = save(&target, &place, &disk, None).await.unwrap();
    assert_eq!(nothing.summary.sent_bytes, 0);

    let all = keep::list(&target, &place).await.unwrap();
    let ids: Vec<_> = all.iter().map(|it| it.id.clone()).collect();
    assert_eq!(
        ids,
        [&first, &second, &nothing].map(|saved| saved.summary.id.clone())
    );
    let back = dir.path().join("back");
    restore::restore(&target, &place, &first.summary, &back)
        .await
        .unwrap();
    assert_same(&back, &before);
    // Never over something that is there.
    assert!(
        restore::restore(&target, &place, &first.summary, &back)
            .await
            .is_err()
    );
    let back = dir.path().join("back2");
    restore::restore(&target, &place, &second.summary, &back)
        .await
        .unwrap();
    assert_same(&back, &disk);

    // What only the deleted ones needed goes with them.
    keep::keep_newest(&target, &place, 1).await.unwrap();
    assert_eq!(keep::list(&target, &place).await.unwrap().len(), 1);
    let back = dir.path().join("back3");
    restore::restore(&target, &place, &nothing.summary, &back)
        .await
        .unwrap();
    keep::delete(&target, &place, &nothing.summary.id)
        .await
        .unwrap();
    assert_eq!(objects(&store), 0);
    let gone = keep::delete(&target, &place, &BackupId::random()).await;
    assert!(matches!(gone, Err(BackupError::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_was_changed_is_noticed_and_so_is_a_missing_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    fs_err::create_dir(&store).unwrap();
    let (target, place) = (Directory::new(store.clone()), place());
    let disk = make(dir.path(), "disk", 0);
    let saved = save(&target, &place, &disk, None).await.unwrap();
    let chunks = store.join("volumes/usr_00000001/data/chunks");
    let backups = store.join("volumes/usr_00000001/data/backups");
    let mut paths: Vec<_> = [chunks, backups]
        .iter()
        .flat_map(|dir| fs_err::read_dir(dir).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_none_or(|ending| ending != "json"));
    assert_eq!(paths.len(), 4);
    let other = fs_err::read(&paths[0]).unwrap();
    for (number, path) in paths.iter().enumerate() {
        let good = fs_err::read(path).unwrap();
        let mut flipped = good.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        // A whole object of another chunk, too, and a bomb.
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
        let mut bad = vec![Some(flipped), Some(good[1..].to_vec()), Some(bomb), None];
        if number > 0 {
            bad.push(Some(other.clone()));
        }
        for (attempt, bad) in bad.into_iter().enumerate() {
            match bad {
                Some(bad) => fs_err::write(path, bad).unwrap(),
                None => fs_err::remove_file(path).unwrap(),
            }
            let back = dir.path().join(format!("back-{number}-{attempt}"));
            let restored = restore::restore(&target, &place, &saved.summary, &back).await;
            assert!(
                matches!(restored, Err(BackupError::Damaged { .. })),
                "{number} {attempt}: {restored:?}"
            );
            // Nothing is cleaned up by a map that can't be read.
            if path.extension().is_some() {
                let extra = save(&target, &place, &disk, None).await.unwrap();
                let kept = keep::delete(&target, &place, &extra.summary.id).await;
                assert!(kept.is_err());
            }
        }
        fs_err::write(path, good).unwrap();
    }
    let back = dir.path().join("back");
    restore::restore(&target, &place, &saved.summary, &back)
        .await
        .unwrap();
    assert_same(&back, &disk);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_disk_shares_with_the_last_backup_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    fs_err::create_dir(&store).unwrap();
    let (target, place) = (Directory::new(store), place());
    let disk = make(dir.path(), "disk", 0);
    let copy = dir.path().join("copy");
    let cloned = bhatti_host::files::clone_file(&disk, &copy).unwrap();
    if !matches!(cloned, bhatti_host::files::Cloned::Reflink) {
        {
            eprintln!(
                "skipped: the file system of {} shares no blocks",
                dir.path().display()
            );
        }
        return;
    }
    let first = save(&target, &place, &copy, None).await.unwrap();
    write(&disk, 4, 99);
    let (file, _) = fs_err::File::open(&copy).unwrap().into_parts();
    let last = Last {
        file,
        map: first.map,
    };
    let second = save(&target, &place, &disk, Some(last)).await.unwrap();
    assert!(second.unread >= 3, "{}", second.unread);
    let back = dir.path().join("back");
    restore::restore(&target, &place, &second.summary, &back)
        .await
        .unwrap();
    assert_same(&back, &disk);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_there_is_no_place_to_back_up_to() {
    let dir = tempfile::tempdir().unwrap();
    let target = Directory::new(dir.path().join("not-mounted"));
    let disk = make(dir.path(), "disk", 0);
    let refused = save(&target, &place(), &disk, None).await;
    assert!(matches!(refused, Err(BackupError::Io { .. })));
    assert!(!dir.path().join("not-mounted").exists());
}
