//! The files of volumes.
//!
//! What a tenant has written into a file system is read by `e2fsck` alone, and by that as a user
//! that may do nothing else, with bounds on its memory and time.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bhatti_host::command::{Command, CommandError};
use bhatti_host::{files, nobody};
use bhatti_types::size::VolumeMb;

use crate::context::Context;
use crate::error::Error;
use crate::layout::file;

/// Time to make a file system. Only its tables are written.
const MAKE_LIMIT: Duration = Duration::from_mins(2);
/// Time to check a file system; one that is sound is only looked at.
const CHECK_LIMIT: Duration = Duration::from_mins(2);
/// Address space of a check, in bytes. One of 4 TiB needs less than half of it.
const CHECK_MEMORY: u64 = 4 << 30;
/// Exit code of `e2fsck`: errors were there and are corrected (e2fsck(8)).
const CORRECTED: i32 = 1;

/// Makes a new, empty volume's directory, durable when this returns. What it could not finish is
/// deleted at the next start.
pub(crate) async fn make(half: PathBuf, whole: PathBuf, size: VolumeMb) -> Result<(), Error> {
    let dir = half.clone();
    let disk = dir.join(file::DISK);
    blocking(move || {
        files::remove_tree(&dir)?;
        fs_err::create_dir(&dir)?;
        files::create_sparse(&dir.join(file::DISK), size.bytes())
    })
    .await?;
    let made = Command::new("mke2fs")
        // The file is all zeros, so nothing has to be written to say that a table is empty.
        .args(["-q", "-F", "-t", "ext4", "-m", "0"])
        .args(["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"])
        .arg(&disk)
        .limit(MAKE_LIMIT)
        .run()
        .await;
    if let Err(error) = made {
        let dir = half.clone();
        blocking(move || files::remove_tree(&dir)).await?;
        return Err(missing(error));
    }
    blocking(move || {
        files::sync_file(&disk)?;
        files::sync_dir(&half)?;
        files::rename_durable(&half, &whole)
    })
    .await
}

/// Puts a copy of a disk in a volume's directory, which is made; durable when this returns.
pub(crate) fn copy(from: &Path, half: &Path, whole: &Path, size: VolumeMb) -> io::Result<()> {
    files::remove_tree(half)?;
    fs_err::create_dir(half)?;
    let disk = half.join(file::DISK);
    files::clone_file(from, &disk)?;
    lengthen(&disk, size)?;
    files::sync_file(&disk)?;
    files::sync_dir(half)?;
    files::rename_durable(half, whole)
}

/// Makes a file as long as its volume is, if it is shorter: a growth may have been cut off.
pub(crate) fn lengthen(disk: &Path, size: VolumeMb) -> io::Result<()> {
    let file = fs_err::OpenOptions::new().write(true).open(disk)?;
    if file.metadata()?.len() < size.bytes() {
        file.set_len(size.bytes())?;
        file.sync_all()?;
    }
    Ok(())
}

/// Checks the file system of a volume that nobody has, and corrects what can be corrected without
/// a question: most often its journal is played back. An error of the kind [`Error::Conflict`] if
/// that is not enough.
pub(crate) async fn check(dir: PathBuf, name: &str) -> Result<(), Error> {
    let given = dir.clone();
    blocking(move || nobody::give([given.as_path(), &given.join(file::DISK)])).await?;
    let checked = nobody::command()
        .arg("prlimit")
        .arg(format!("--as={CHECK_MEMORY}"))
        .arg(format!("--cpu={}", CHECK_LIMIT.as_secs()))
        .args(["--core=0", "--nproc=64", "--nofile=64"])
        // By a name within its working directory: the way to it may be closed to whoever checks.
        .args(["e2fsck", "-p", file::DISK])
        .current_dir(dir)
        .also_good(CORRECTED)
        .quiet()
        .limit(CHECK_LIMIT)
        .run()
        .await;
    match checked {
        Ok(_) => Ok(()),
        Err(error @ (CommandError::NotFound { .. } | CommandError::Start { .. })) => {
            Err(missing(error))
        }
        Err(error) => {
            tracing::warn!(
                volume = name,
                error = &error as &dyn std::error::Error,
                "a volume's file system does not pass its check"
            );
            Err(Error::Conflict {
                message: format!(
                    "the file system of volume {name:?} has errors that are not corrected by \
                     themselves"
                ),
                hint: Some("restore it from a backup, or from a snapshot".to_owned()),
            })
        }
    }
}

fn missing(error: CommandError) -> Error {
    match error {
        CommandError::NotFound { .. } => Error::Unavailable {
            message: "a program that volumes need is not installed".to_owned(),
            hint: Some("install it: `apt install e2fsprogs util-linux`".to_owned()),
        },
        other => Error::internal(other),
    }
}

pub(crate) async fn blocking(
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<(), Error> {
    Context::blocking(work).await?.map_err(Error::internal)
}

#[cfg(test)]
mod test {
    use bhatti_host::files;
    use bhatti_types::size::VolumeMb;

    use super::{check, copy, make};
    use crate::error::Error;

    #[tokio::test]
    async fn a_volume_is_made_checked_copied_and_refused_when_it_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let (half, whole) = (dir.path().join(".new-a"), dir.path().join("a"));
        let size = |mb| VolumeMb::new(mb).unwrap();
        make(half.clone(), whole.clone(), size(64)).await.unwrap();
        assert!(!half.exists());
        check(whole.clone(), "a").await.unwrap();
        // Only tables and the journal's head are written.
        assert!(files::disk_usage(&whole.join("disk.raw")).unwrap() < 4 << 20);

        let copied = dir.path().join("b");
        copy(&whole.join("disk.raw"), &half, &copied, size(96)).unwrap();
        let len = fs_err::metadata(copied.join("disk.raw")).unwrap().len();
        assert_eq!(len, 96 << 20);
        check(copied, "b").await.unwrap();

        let disk = fs_err::OpenOptions::new()
            .write(true)
            .open(whole.join("disk.raw"))
            .unwrap();
        std::os::unix::fs::FileExt::write_all_at(disk.file(), &vec![0xff; 1 << 16], 0).unwrap();
        let refused = check(whole, "a").await.unwrap_err();
        assert!(matches!(refused, Error::Conflict { .. }), "{refused:?}");
    }
}
