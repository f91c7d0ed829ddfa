//! Several files put in the places of others, all or none.
//!
//! A list of what goes where is written first. From then on it is done: a daemon that finds the
//! list at its start does what is left of it.

use std::io;
use std::path::{Component, Path, PathBuf};

use bhatti_host::files;
use serde::{Deserialize, Serialize};

use crate::layout::file;

/// Longest list that is read, in bytes.
const MAX_LIST: u64 = 64 << 10;

/// One file.
#[derive(Debug, Serialize, Deserialize)]
struct Move {
    /// Its name next to the list.
    from: String,
    /// Where it goes, as a path within the storage.
    to: PathBuf,
}

/// Puts the named files of a directory into their places under `storage`. Done already is success.
/// Blocking.
pub(super) fn all(storage: &Path, aside: &Path, moves: &[(String, PathBuf)]) -> io::Result<()> {
    let within = |(from, to): &(String, PathBuf)| {
        let to = to.strip_prefix(storage).map_err(io::Error::other)?;
        Ok(Move {
            from: from.clone(),
            to: to.to_owned(),
        })
    };
    let moves = moves.iter().map(within).collect::<io::Result<Vec<_>>>()?;
    let list = serde_json::to_vec(&moves)?;
    files::write_durable(&aside.join(file::SWAP), &list)?;
    finish(storage, aside)
}

/// Does what is left of a list, if there is one. Blocking.
pub(crate) fn finish(storage: &Path, aside: &Path) -> io::Result<()> {
    let list = match files::read_bounded(&aside.join(file::SWAP), MAX_LIST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        list => list?,
    };
    let moves: Vec<Move> = serde_json::from_slice(&list)?;
    for Move { from, to } in moves {
        let is_name = Path::new(&from).components().count() == 1;
        let normal = |part: Component<'_>| matches!(part, Component::Normal(_));
        if !is_name || !to.components().all(normal) || !Path::new(&from).components().all(normal) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let from = aside.join(from);
        if from.try_exists()? {
            files::rename_durable(&from, &storage.join(to))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use super::{all, finish};

    fn put(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    fn read(dir: &Path, name: &str) -> String {
        fs_err::read_to_string(dir.join(name)).unwrap()
    }

    #[test]
    fn a_swap_that_was_begun_is_finished_and_one_that_was_not_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (storage, aside) = (dir.path(), dir.path().join("aside"));
        put(storage, "a/disk", "old a");
        put(storage, "b/disk", "old b");
        put(&aside, "a", "new a");
        put(&aside, "b", "new b");
        finish(storage, &aside).unwrap();
        assert_eq!(read(storage, "a/disk"), "old a");

        // As if it was cut off after the first.
        put(
            &aside,
            "swap",
            r#"[{"from":"a","to":"a/disk"},{"from":"b","to":"b/disk"}]"#,
        );
        fs_err::rename(aside.join("a"), storage.join("a/disk")).unwrap();
        finish(storage, &aside).unwrap();
        assert_eq!(read(storage, "a/disk"), "new a");
        assert_eq!(read(storage, "b/disk"), "new b");

        put(&aside, "a", "newer a");
        let to = storage.join("a/disk");
        all(storage, &aside, &[("a".to_owned(), to.clone())]).unwrap();
        all(storage, &aside, &[("a".to_owned(), to)]).unwrap();
        assert_eq!(read(storage, "a/disk"), "newer a");
    }

    #[test]
    fn a_list_that_leads_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let aside = dir.path().join("aside");
        for list in [
            r#"[{"from":"../x","to":"y"}]"#,
            r#"[{"from":"x","to":"../y"}]"#,
            r#"[{"from":"x","to":"/y"}]"#,
            r#"[{"from":"..","to":"y"}]"#,
        ] {
            put(&aside, "swap", list);
            assert!(finish(dir.path(), &aside).is_err(), "{list}");
        }
    }
}
