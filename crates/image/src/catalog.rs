//! The images of a data directory.

use std::io;
use std::path::{Path, PathBuf};

use bhatti_types::name::ImageName;

use crate::image::{DISK, Image, ImageError, MANIFEST};
use crate::place;

/// What can go wrong with the catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The directory of images could not be read or written.
    #[error("failed to access the images in {dir:?}")]
    Store {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An image is not what it should be.
    #[error("the image in {dir:?} is damaged")]
    Damaged {
        /// Where it is.
        dir: PathBuf,
        /// What is wrong.
        #[source]
        source: ImageError,
    },
}

/// The images below one directory, each in a directory of its name.
#[derive(Debug, Clone)]
pub struct Catalog {
    dir: PathBuf,
}

impl Catalog {
    /// Opens the catalog in a directory, which is made if it is not there.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, CatalogError> {
        let catalog = Self { dir: dir.into() };
        fs_err::create_dir_all(&catalog.dir).map_err(|source| catalog.error(source))?;
        Ok(catalog)
    }

    /// All images that can be used, sorted by name; others are left out with a warning in the
    /// log.
    pub fn list(&self) -> Result<Vec<Image>, CatalogError> {
        let dirs = place::finished_dirs(&self.dir).map_err(|source| self.error(source))?;
        let images = dirs.iter().filter_map(|dir| {
            let opened = open_image(dir);
            opened
                .inspect_err(|error| {
                    tracing::warn!(error = error as &dyn std::error::Error, "image left out");
                })
                .ok()
        });
        Ok(images.collect())
    }

    /// The image of this name, if there is one.
    pub fn get(&self, name: &ImageName) -> Result<Option<Image>, CatalogError> {
        let dir = self.dir.join(name.as_str());
        // Hidden directories are half-made, but no valid name begins with a dot.
        if dir.exists() {
            open_image(&dir).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Puts a copy of the image in `from` into the catalog under the name it has, in place of
    /// one that is there. Done means durable.
    ///
    /// Machines made from the replaced image have disks of their own and are not affected. The
    /// copy shares its blocks with the original where the file system can.
    pub fn install(&self, from: &Path) -> Result<Image, CatalogError> {
        let image = open_image(from)?;
        let to = self.dir.join(image.name.as_str());
        if let Ok(there) = open_image(&to)
            && there.id == image.id
        {
            return Ok(there);
        }
        place::install_dir(from, &to, &[DISK, MANIFEST]).map_err(|source| self.error(source))?;
        open_image(&to)
    }

    fn error(&self, source: io::Error) -> CatalogError {
        CatalogError::Store {
            dir: self.dir.clone(),
            source,
        }
    }
}

fn open_image(dir: &Path) -> Result<Image, CatalogError> {
    Image::open(dir).map_err(|source| CatalogError::Damaged {
        dir: dir.to_owned(),
        source,
    })
}

#[cfg(test)]
mod test {
    use super::{Catalog, CatalogError};
    use crate::image::test::write_image;

    #[test]
    fn an_installed_image_replaces_the_one_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path().join("images")).unwrap();
        let base = "base".parse().unwrap();
        assert_eq!(catalog.get(&base).unwrap(), None);
        for digest in ["one", "two"] {
            let from = dir.path().join(digest);
            write_image(&from, "base", digest);
            assert_eq!(catalog.install(&from).unwrap().digest, digest);
            assert_eq!(catalog.get(&base).unwrap().unwrap().digest, digest);
            assert_eq!(catalog.install(&from).unwrap().digest, digest);
        }
        assert_eq!(catalog.list().unwrap().len(), 1);
    }

    #[test]
    fn half_made_and_damaged_images_are_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        write_image(&dir.path().join(".tmp-1"), "base", "d");
        write_image(&dir.path().join("good"), "good", "d");
        fs_err::create_dir(dir.path().join("bad")).unwrap();
        let names: Vec<_> = catalog
            .list()
            .unwrap()
            .into_iter()
            .map(|image| image.name)
            .collect();
        assert_eq!(names, ["good".parse().unwrap()]);
        let bad = catalog.get(&"bad".parse().unwrap()).unwrap_err();
        assert!(matches!(bad, CatalogError::Damaged { .. }));
    }
}
