//! The guest kit and the base image that tests boot.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use bhatti_image::catalog::Catalog;
use bhatti_image::kit::KitStore;

/// Where builds are cached: `BHATTI_CACHE_DIR`, else `~/.cache/bhatti`.
///
/// # Panics
/// If neither that nor `HOME` is set.
pub fn cache() -> PathBuf {
    std::env::var_os("BHATTI_CACHE_DIR").map_or_else(
        || Path::new(&std::env::var_os("HOME").expect("HOME is set")).join(".cache/bhatti"),
        PathBuf::from,
    )
}

/// Makes a directory for a test, which is deleted when it is dropped: in `BHATTI_TEST_DIR`, whose
/// file system shares blocks, or where the system has temporary files.
///
/// # Panics
/// If it can't be made.
pub fn test_dir() -> tempfile::TempDir {
    let parent = std::env::var_os("BHATTI_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::Builder::new()
        .prefix("bhatti-test-")
        .tempdir_in(parent)
        .expect("a directory for the test can be made")
}

/// Puts the cached kit and base image into a data directory: links, if it lies where the cache
/// does, as it does under `cargo xtask test`.
///
/// # Panics
/// If they are not in the cache.
pub fn install(data_dir: &Path) {
    install_kit(data_dir);
    install_base_image(data_dir);
}

/// Puts only the cached base image into a data directory.
///
/// # Panics
/// If it is not in the cache.
pub fn install_base_image(data_dir: &Path) {
    install_image(data_dir, "base");
}

/// Puts the cached image of a recipe into a data directory: of several, the one that was built
/// last.
///
/// # Panics
/// If it is not in the cache.
pub fn install_image(data_dir: &Path, recipe: &str) {
    let is_of_recipe = |name: &str| {
        name.strip_prefix(recipe)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|digest| !digest.contains('-'))
    };
    let newest = fs_err::read_dir(cache().join("images"))
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("the cache is readable").path())
        .filter(|path| {
            path.file_name()
                .and_then(OsStr::to_str)
                .is_some_and(is_of_recipe)
        })
        .max_by_key(|path| path.metadata().and_then(|found| found.modified()).ok());
    let Some(newest) = newest else {
        panic!("the image `{recipe}` is not cached: run `cargo xtask image {recipe}`");
    };
    let catalog = Catalog::open(data_dir.join("images")).expect("the catalog opens");
    catalog.install(&newest).expect("the image is installed");
}

/// Puts only the cached kit into a data directory.
///
/// # Panics
/// If it is not in the cache.
pub fn install_kit(data_dir: &Path) {
    let cached = KitStore::open(cache().join("kits")).expect("the kit cache opens");
    let kit = cached
        .current()
        .expect("the guest kit is cached: run `cargo xtask guest-kit`");
    let kits = KitStore::open(data_dir.join("kits")).expect("the kit store opens");
    kits.install(&kit.dir).expect("the guest kit is installed");
}

/// The `bhatti` program of this build.
///
/// # Panics
/// If it was not built.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/<profile>/deps/<test>
    let built = test
        .ancestors()
        .nth(2)
        .expect("a test lies in target/<profile>/deps");
    let program = built.join("bhatti");
    assert!(
        program.exists(),
        "{} is not there: run `cargo build -p bhatti`",
        program.display()
    );
    program
}
