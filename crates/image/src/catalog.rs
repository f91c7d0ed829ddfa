//! The images of a data directory: the host's, and each user's own.
//!
//! ```text
//! <images>/<name>/             an image of the host, which all users see
//! <images>/@<user id>/<name>/  one of a user
//! ```
//!
//! A name is unique in each of these places, and no name begins with `@`. What is half-made lies
//! beside where it will be, hidden.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bhatti_host::files;
use bhatti_types::id::UserId;
use bhatti_types::name::ImageName;

use crate::image::{DISK, Image, ImageError, ImageManifest, MANIFEST};
use crate::place;

/// How the names of directories begin that only the holder of the data directory's lock makes,
/// and that may be deleted when it starts.
const NEW: &str = ".new-";
/// What the name of a user's directory begins with, before the user's id.
const USER: char = '@';

/// Whose an image is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// The host's: all users see it.
    Host,
    /// A user's own.
    User(UserId),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("the host"),
            Self::User(id) => write!(f, "{id}"),
        }
    }
}

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
    /// The name is taken.
    #[error("there is an image {name} of {owner} already")]
    Exists {
        /// Whose it is.
        owner: Owner,
        /// Its name.
        name: ImageName,
    },
}

/// The images below one directory.
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

    /// Deletes what is half-made or half-deleted. Only for the holder of the data directory's
    /// lock, while it makes no images.
    pub fn sweep(&self) -> Result<(), CatalogError> {
        let owners = self.owners()?;
        let places = owners.iter().map(|owner| self.place(owner));
        for place in places {
            let left = place::dirs(&place, |name| name.starts_with(NEW));
            for dir in left.map_err(|source| self.error(source))? {
                files::remove_tree(&dir).map_err(|source| self.error(source))?;
            }
        }
        Ok(())
    }

    /// All images of an owner that can be used, sorted by name; others are left out with a
    /// warning in the log.
    pub fn list(&self, owner: &Owner) -> Result<Vec<Image>, CatalogError> {
        let place = self.place(owner);
        let dirs = match place::dirs(&place, |name| !name.starts_with(['.', USER])) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            dirs => dirs,
        };
        let dirs = dirs.map_err(|source| self.error(source))?;
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

    /// Who has images here, the host first.
    pub fn owners(&self) -> Result<Vec<Owner>, CatalogError> {
        let dirs = place::dirs(&self.dir, |name| name.starts_with(USER));
        let dirs = dirs.map_err(|source| self.error(source))?;
        let users = dirs.iter().filter_map(|dir| {
            let name = dir.file_name()?.to_str()?;
            name.strip_prefix(USER)?.parse().ok().map(Owner::User)
        });
        Ok(std::iter::once(Owner::Host).chain(users).collect())
    }

    /// All images of all owners, as [`Catalog::list`] gives them.
    pub fn list_all(&self) -> Result<Vec<(Owner, Image)>, CatalogError> {
        let mut all = Vec::new();
        for owner in self.owners()? {
            let images = self.list(&owner)?;
            all.extend(images.into_iter().map(|image| (owner.clone(), image)));
        }
        Ok(all)
    }

    /// The image of this name, if the owner has one.
    pub fn get(&self, owner: &Owner, name: &ImageName) -> Result<Option<Image>, CatalogError> {
        let dir = self.dir_of(owner, name);
        if dir.exists() {
            open_image(&dir).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Where the image of this name is, or would be.
    pub fn dir_of(&self, owner: &Owner, name: &ImageName) -> PathBuf {
        self.place(owner).join(name.as_str())
    }

    /// Puts a copy of the image in `from` into the catalog as one of the host's, under the name it
    /// has, in place of one that is there. Done means durable.
    ///
    /// Machines made from the replaced image have disks of their own and are not affected. The
    /// copy shares its blocks with the original where the file system can.
    pub fn install(&self, from: &Path) -> Result<Image, CatalogError> {
        let image = open_image(from)?;
        let to = self.dir_of(&Owner::Host, &image.name);
        if let Ok(there) = open_image(&to)
            && there.id == image.id
        {
            return Ok(there);
        }
        place::install_dir(from, &to, &[DISK, MANIFEST]).map_err(|source| self.error(source))?;
        open_image(&to)
    }

    /// Begins a new image of an owner's: a hidden directory, which goes away again if the image is
    /// not finished.
    pub fn begin(&self, owner: &Owner) -> Result<NewImage, CatalogError> {
        let place = self.place(owner);
        let made = fs_err::create_dir_all(&place).and_then(|()| {
            files::sync_dir(&self.dir)?;
            let mut builder = tempfile::Builder::new();
            builder.prefix(NEW).tempdir_in(&place)
        });
        Ok(NewImage {
            dir: made.map_err(|source| self.error(source))?,
            owner: owner.clone(),
            catalog: self.clone(),
        })
    }

    /// Deletes an owner's image; says whether it was there. A damaged one too.
    pub fn remove(&self, owner: &Owner, name: &ImageName) -> Result<bool, CatalogError> {
        let dir = self.dir_of(owner, name);
        if !dir.exists() {
            return Ok(false);
        }
        let removed = || {
            let aside = tempfile::Builder::new()
                .prefix(NEW)
                .tempdir_in(self.place(owner))?;
            // Gone as a whole for everybody; its files may take a while.
            files::rename_durable(&dir, &aside.path().join(name.as_str()))?;
            aside.close()
        };
        removed().map_err(|source| self.error(source))?;
        Ok(true)
    }

    /// Deletes a user's directory if nothing is left in it.
    pub fn forget(&self, user: &UserId) -> Result<(), CatalogError> {
        match fs_err::remove_dir(self.place(&Owner::User(user.clone()))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.error(error)),
            _ => Ok(()),
        }
    }

    fn place(&self, owner: &Owner) -> PathBuf {
        match owner {
            Owner::Host => self.dir.clone(),
            Owner::User(id) => self.dir.join(format!("{USER}{id}")),
        }
    }

    fn error(&self, source: io::Error) -> CatalogError {
        CatalogError::Store {
            dir: self.dir.clone(),
            source,
        }
    }
}

/// What a finished image does about one that has its name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It takes its place.
    Replace,
    /// It is not finished: [`CatalogError::Exists`].
    Refuse,
}

/// An image that is being made. Dropped, it is deleted.
#[derive(Debug)]
pub struct NewImage {
    dir: tempfile::TempDir,
    owner: Owner,
    catalog: Catalog,
}

impl NewImage {
    /// Where its disk is to be written. Whatever else lies beside it is not part of the image, and
    /// has to be gone before it is finished.
    pub fn disk(&self) -> PathBuf {
        self.dir.path().join(DISK)
    }

    /// Makes it an image with what it says about itself. Its disk must be there. Done means
    /// durable; on an error nothing is left.
    pub fn finish(self, manifest: &ImageManifest, taken: Taken) -> Result<Image, CatalogError> {
        let to = self.catalog.dir_of(&self.owner, &manifest.name);
        let failed = |source| CatalogError::Store {
            dir: to.clone(),
            source,
        };
        let written = || {
            let path = self.dir.path().join(MANIFEST);
            fs_err::write(&path, manifest.to_text())?;
            for path in [&path, &self.disk()] {
                place::make_read_only(path)?;
                files::sync_file(path)?;
            }
            Ok(())
        };
        written().map_err(failed)?;
        open_image(self.dir.path())?;
        match taken {
            Taken::Replace => place::settle(self.dir, &to).map_err(failed)?,
            Taken::Refuse => match place::settle_new(self.dir, &to) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(CatalogError::Exists {
                        owner: self.owner,
                        name: manifest.name.clone(),
                    });
                }
                settled => settled.map_err(failed)?,
            },
        }
        open_image(&to)
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
    use bhatti_host::files;
    use bhatti_types::id::UserId;

    use super::{Catalog, CatalogError, Owner, Taken};
    use crate::image::ImageManifest;
    use crate::image::test::write_image;

    #[test]
    fn an_installed_image_replaces_the_one_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path().join("images")).unwrap();
        let base = "base".parse().unwrap();
        assert_eq!(catalog.get(&Owner::Host, &base).unwrap(), None);
        for digest in ["one", "two"] {
            let from = dir.path().join(digest);
            write_image(&from, "base", digest);
            let there = || catalog.get(&Owner::Host, &base).unwrap().unwrap().digest;
            assert_eq!(catalog.install(&from).unwrap().digest, digest);
            assert_eq!(there(), digest);
            assert_eq!(catalog.install(&from).unwrap().digest, digest);
        }
        assert_eq!(catalog.list(&Owner::Host).unwrap().len(), 1);
    }

    #[test]
    fn half_made_and_damaged_images_are_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        write_image(&dir.path().join(".tmp-1"), "base", "d");
        write_image(&dir.path().join("good"), "good", "d");
        fs_err::create_dir(dir.path().join("bad")).unwrap();
        let names: Vec<_> = catalog
            .list(&Owner::Host)
            .unwrap()
            .into_iter()
            .map(|image| image.name)
            .collect();
        assert_eq!(names, ["good".parse().unwrap()]);
        let bad = catalog
            .get(&Owner::Host, &"bad".parse().unwrap())
            .unwrap_err();
        assert!(matches!(bad, CatalogError::Damaged { .. }));
    }

    fn manifest(name: &str, digest: &str) -> ImageManifest {
        let dir = tempfile::tempdir().unwrap();
        write_image(dir.path(), name, digest)
    }

    fn make(catalog: &Catalog, owner: &Owner, digest: &str, taken: Taken) -> Option<String> {
        let new = catalog.begin(owner).unwrap();
        let manifest = manifest("app:1", digest);
        files::create_sparse(&new.disk(), manifest.size_mb.bytes()).unwrap();
        match new.finish(&manifest, taken) {
            Ok(image) => Some(image.digest),
            Err(CatalogError::Exists { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn each_user_has_names_of_its_own_beside_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        let owners = [
            Owner::Host,
            Owner::User(UserId::random()),
            Owner::User(UserId::random()),
        ];
        for (owner, digest) in owners.iter().zip(["a", "b", "c"]) {
            let made = make(&catalog, owner, digest, Taken::Refuse);
            assert_eq!(made.as_deref(), Some(digest));
        }
        assert_eq!(catalog.list_all().unwrap().len(), 3);
        assert_eq!(catalog.list(&Owner::Host).unwrap().len(), 1);
        assert_eq!(catalog.list(&Owner::User(UserId::random())).unwrap(), []);
        let name = "app:1".parse().unwrap();
        assert_eq!(catalog.get(&owners[1], &name).unwrap().unwrap().digest, "b");
        assert!(catalog.remove(&owners[1], &name).unwrap());
        assert!(!catalog.remove(&owners[1], &name).unwrap());
        assert_eq!(catalog.get(&owners[1], &name).unwrap(), None);
        assert_eq!(catalog.list_all().unwrap().len(), 2);
        let Owner::User(user) = &owners[1] else {
            unreachable!()
        };
        catalog.forget(user).unwrap();
        catalog.forget(user).unwrap();
        assert_eq!(catalog.owners().unwrap().len(), 2);
    }

    #[test]
    fn a_taken_name_is_replaced_only_if_that_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        let owner = Owner::User(UserId::random());
        assert!(make(&catalog, &owner, "one", Taken::Refuse).is_some());
        assert_eq!(make(&catalog, &owner, "two", Taken::Refuse), None);
        let there = |owner| catalog.list(owner).unwrap()[0].digest.clone();
        assert_eq!(there(&owner), "one");
        assert!(make(&catalog, &owner, "two", Taken::Replace).is_some());
        assert_eq!(there(&owner), "two");
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        let owner = Owner::User(UserId::random());
        let place = |new: &super::NewImage| new.disk().parent().unwrap().to_owned();
        let new = catalog.begin(&owner).unwrap();
        let dropped = place(&new);
        assert!(dropped.exists());
        drop(new);
        assert!(!dropped.exists());
        // Without its disk.
        let new = catalog.begin(&owner).unwrap();
        let failed = place(&new);
        new.finish(&manifest("app", "d"), Taken::Replace)
            .unwrap_err();
        assert!(!failed.exists());
        // Of a daemon that was killed.
        let left = std::mem::ManuallyDrop::new(catalog.begin(&owner).unwrap());
        assert!(place(&left).exists());
        catalog.sweep().unwrap();
        assert!(!place(&left).exists());
    }
}
