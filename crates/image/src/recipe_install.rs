//! Makes the image of a recipe right in a data directory, for the command line on the daemon's
//! host. The daemon need not run; one that does takes the image over when it next looks.

use std::io;
use std::path::{Path, PathBuf};

use bhatti_host::command::CommandError;
use bhatti_host::files;
use bhatti_host::lock::{DirLock, LockError};

use crate::catalog::{Catalog, CatalogError};
use crate::image::Image;
use crate::place;
use crate::proxies::Proxies;
use crate::recipe::Recipe;
use crate::recipe_build::{self, BUILDER, Privilege, RecipeBuildError};

/// Where images are made, below the data directory: whatever is in it belongs to who has its lock.
const WORK: &str = "recipes";

/// Whether an image that is there already is made again, of the packages of today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Only if the recipe has changed.
    IfChanged,
    /// In any case.
    Always,
}

/// An image of a data directory, and whether there was work to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// It was there already.
    UpToDate(Image),
    /// It was made now.
    New(Image),
}

/// An image was not made, and the data directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RecipeInstallError {
    /// The data directory could not be written.
    #[error("failed to write to {dir:?}")]
    Write {
        /// The directory in it.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process makes an image in this data directory.
    #[error("another image is being built in {dir:?}")]
    Busy {
        /// Where.
        dir: PathBuf,
    },
    /// It could not be made.
    #[error("failed to build the image `{name}`")]
    Build {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: RecipeBuildError,
    },
    /// It could not be put in place.
    #[error("failed to install the image")]
    Install(#[source] CatalogError),
}

impl RecipeInstallError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Busy { .. } => Some("try again when that is done"),
            Self::Build {
                source:
                    RecipeBuildError::Program {
                        source: CommandError::NotFound { .. },
                        ..
                    },
                ..
            } => Some("install the packages mmdebstrap and e2fsprogs"),
            Self::Build {
                source: RecipeBuildError::NoPrivilege,
                ..
            } => Some("run this as root"),
            _ => None,
        }
    }
}

/// Makes the image and puts it among those of a data directory, in place of one of its name.
///
/// What an earlier call left when it was killed is deleted first. Dropping the future leaves at
/// most what the next call deletes.
pub async fn install(
    recipe: &Recipe,
    data_dir: &Path,
    again: Again,
    privilege: Privilege,
    proxies: &Proxies,
) -> Result<Installed, RecipeInstallError> {
    let images = data_dir.join("images");
    if again == Again::IfChanged
        && let Some(image) = up_to_date(recipe, &[&images, &data_dir.join("pool/images")])
    {
        return Ok(Installed::UpToDate(image));
    }
    let work = data_dir.join(WORK);
    let failed = |source| RecipeInstallError::Write {
        dir: work.clone(),
        source,
    };
    fs_err::create_dir_all(&work).map_err(failed)?;
    let _lock = DirLock::take(&work).map_err(|error| match error {
        LockError::Held => RecipeInstallError::Busy { dir: work.clone() },
        LockError::Io(source) => failed(source),
    })?;
    // None of it is of use: an image that was finished has been installed.
    for dir in place::dirs(&work, |_| true).map_err(failed)? {
        recipe_build::remove(&dir, privilege, proxies)
            .await
            .map_err(|source| RecipeInstallError::Build {
                name: recipe.name.to_string(),
                source,
            })?;
    }
    let built = recipe_build::build(recipe, &work, privilege, proxies).await;
    let built = built.map_err(|source| RecipeInstallError::Build {
        name: recipe.name.to_string(),
        source,
    })?;
    let catalog = Catalog::open(&images).map_err(RecipeInstallError::Install)?;
    let image = catalog.install(built.dir());
    files::remove_tree(built.dir()).map_err(failed)?;
    image
        .map(Installed::New)
        .map_err(RecipeInstallError::Install)
}

/// The image of this very recipe. What was put into the first place is newer than what the daemon
/// has taken to the second.
fn up_to_date(recipe: &Recipe, places: &[&Path]) -> Option<Image> {
    let newest = places
        .iter()
        .find_map(|place| Image::open(&place.join(recipe.name.as_str())).ok())?;
    (newest.digest == recipe.digest(BUILDER)).then_some(newest)
}

#[cfg(test)]
mod test {
    use super::up_to_date;
    use crate::image::test::write_image;
    use crate::recipe::test::base;
    use crate::recipe_build::BUILDER;

    #[test]
    fn an_image_of_the_same_recipe_is_found_wherever_the_daemon_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("images"), dir.path().join("pool/images"));
        let recipe = base();
        let find = || up_to_date(&recipe, &[&first, &second]).map(|image| image.id);
        assert_eq!(find(), None);
        let there = write_image(&second.join("base"), "base", &recipe.digest(BUILDER));
        assert_eq!(find(), Some(there.id));
        // A newer one that is not yet taken over, of another recipe.
        write_image(&first.join("base"), "base", "other");
        assert_eq!(find(), None);
    }
}
