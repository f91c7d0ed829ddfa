//! Images that are put where the machines' storage is not: they are moved into the catalog.
//!
//! `<data dir>/images` is where images are put, by `cargo xtask quickstart` among others, before or
//! while a daemon runs. If machines are kept on another file system (a pool), they have to be
//! there, for a machine's disk shares its image's blocks.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bhatti_host::files;

use crate::catalog::{Catalog, CatalogError, Owner};
use crate::image::{Image, ImageError};
use crate::place;

/// How the names of directories begin that are being moved. Nobody puts anything there.
const TAKEN: &str = ".import-";

/// A directory that images are put into, to be moved into a catalog on another file system.
#[derive(Debug)]
pub struct Intake {
    from: PathBuf,
    to: Catalog,
    /// One at a time moves them.
    moving: Mutex<()>,
}

impl Intake {
    /// Moves from a directory, which need not be there, into a catalog. Only one process may do
    /// that: the holder of the data directory's lock.
    pub fn new(from: impl Into<PathBuf>, to: Catalog) -> Self {
        Self {
            from: from.into(),
            to,
            moving: Mutex::new(()),
        }
    }

    /// Moves all whole images, in place of those of their names, unless `has_room` says of an
    /// image's bytes that there is no room for them; damaged ones stay where they are, with a
    /// warning in the log. An image that is in the catalog already is not copied again.
    ///
    /// May be cut off at any moment and called again. An error leaves the other images where they
    /// were. Blocking.
    pub fn take(&self, has_room: impl Fn(u64) -> bool) -> Result<(), CatalogError> {
        let _one = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        // First those whose move was cut off: what has been put there since is newer.
        for dir in self.dirs(|name| name.starts_with(TAKEN))? {
            self.settle(&dir, &has_room)?;
        }
        for dir in self.dirs(|name| !name.starts_with(['.', '@']))? {
            let Some(name) = dir.file_name().and_then(OsStr::to_str) else {
                continue;
            };
            if let Err(error) = Image::open(&dir) {
                tracing::warn!(
                    image = name,
                    error = &error as &dyn std::error::Error,
                    "image left out"
                );
                continue;
            }
            // From here on nobody puts another one in its place while it is copied.
            let taken = self.from.join(format!("{TAKEN}{name}"));
            files::rename_durable(&dir, &taken).map_err(|source| self.error(source))?;
            self.settle(&taken, &has_room)?;
        }
        Ok(())
    }

    fn settle(&self, taken: &Path, has_room: &impl Fn(u64) -> bool) -> Result<(), CatalogError> {
        let image = match Image::open(taken) {
            Ok(image) => image,
            // It was whole when it was taken: it is in the catalog, and its removal was cut off.
            Err(ImageError::Read(error)) if error.kind() == io::ErrorKind::NotFound => {
                return self.remove(taken);
            }
            Err(source) => {
                return Err(CatalogError::Damaged {
                    dir: taken.to_owned(),
                    source,
                });
            }
        };
        let there = self.to.get(&Owner::Host, &image.name);
        let is_there = matches!(&there, Ok(Some(there)) if there.id == image.id);
        let bytes = files::disk_usage(&image.disk).map_err(|source| self.error(source))?;
        if !is_there && !has_room(bytes) {
            return Err(self.error(io::ErrorKind::StorageFull.into()));
        }
        self.to.install(taken)?;
        self.remove(taken)
    }

    fn remove(&self, dir: &Path) -> Result<(), CatalogError> {
        files::remove_tree(dir).map_err(|source| self.error(source))
    }

    fn dirs(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, CatalogError> {
        let dirs = match place::dirs(&self.from, wanted) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            dirs => dirs,
        };
        dirs.map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> CatalogError {
        CatalogError::Store {
            dir: self.from.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod test {
    use super::{Intake, TAKEN};
    use crate::catalog::{Catalog, CatalogError, Owner};
    use crate::image::test::write_image;

    #[test]
    fn images_are_moved_once_and_the_last_one_put_there_wins() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let catalog = Catalog::open(&to).unwrap();
        let intake = Intake::new(&from, catalog.clone());
        intake.take(|_| true).unwrap();
        let base = "base".parse().unwrap();
        // One whose move was cut off, and a newer one.
        write_image(&from.join(format!("{TAKEN}base")), "base", "one");
        fs_err::create_dir(from.join(format!("{TAKEN}gone"))).unwrap();
        let newer = write_image(&from.join("base"), "base", "two");
        write_image(&from.join(".tmp-1"), "other", "half");
        fs_err::create_dir(from.join("damaged")).unwrap();
        intake.take(|_| true).unwrap();
        assert_eq!(
            catalog.get(&Owner::Host, &base).unwrap().unwrap().id,
            newer.id
        );
        assert_eq!(catalog.list(&Owner::Host).unwrap().len(), 1);
        let mut left: Vec<_> = fs_err::read_dir(&from)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, [".tmp-1", "damaged"]);
        // The same again needs no room.
        catalog_copy(&to, &from);
        intake.take(|_| false).unwrap();
        assert!(!from.join("base").exists());
        assert_eq!(
            catalog.get(&Owner::Host, &base).unwrap().unwrap().id,
            newer.id
        );
    }

    #[test]
    fn an_image_without_room_is_kept_for_another_try() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let catalog = Catalog::open(&to).unwrap();
        let intake = Intake::new(&from, catalog.clone());
        let image = write_image(&from.join("base"), "base", "one");
        let error = intake.take(|_| false).unwrap_err();
        assert!(matches!(error, CatalogError::Store { .. }));
        let base = "base".parse().unwrap();
        assert_eq!(catalog.get(&Owner::Host, &base).unwrap(), None);
        intake.take(|_| true).unwrap();
        assert_eq!(
            catalog.get(&Owner::Host, &base).unwrap().unwrap().id,
            image.id
        );
    }

    fn catalog_copy(from: &std::path::Path, to: &std::path::Path) {
        Catalog::open(to)
            .unwrap()
            .install(&from.join("base"))
            .unwrap();
    }
}
