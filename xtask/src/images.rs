//! Builds the images of the recipes that bhatti ships.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use bhatti_image::catalog::Catalog;
use bhatti_image::image::Image;
use bhatti_image::recipe_build::{self, BuiltImage, Privilege};
use bhatti_image::recipes;

use crate::environment::Environment;
use crate::run;

/// Builds the image `base`, as [`build`] does.
pub(crate) async fn base(
    environment: &Environment,
    data_dir: Option<&Path>,
) -> anyhow::Result<PathBuf> {
    build(environment, "base", data_dir).await
}

/// Builds the images of all recipes, one after the other: what each waits for is the network, the
/// disk and one processor. Gives their directories in the cache.
pub(crate) async fn all(environment: &Environment) -> anyhow::Result<Vec<PathBuf>> {
    let mut built = Vec::new();
    for name in recipes::names() {
        built.push(build(environment, name, None).await?);
    }
    Ok(built)
}

/// Builds the image of a recipe into the cache, and installs it into a data directory if one is
/// given. Gives its directory in the cache.
pub(crate) async fn build(
    environment: &Environment,
    name: &str,
    data_dir: Option<&Path>,
) -> anyhow::Result<PathBuf> {
    let began = run::step(&format!("image `{name}`"));
    let recipe = recipes::get(name)?.with_context(|| {
        let names: Vec<_> = recipes::names().collect();
        format!("there is no recipe `{name}`, only {}", names.join(", "))
    })?;
    let cache = environment.cache.join("images");
    let privilege = Privilege::of_this_process();
    run::say(&format!(
        "    {} packages of Debian {}",
        recipe.packages.len(),
        recipe.suite
    ));
    let built = recipe_build::build(&recipe, &cache, privilege, &environment.proxies).await?;
    let what = match built {
        BuiltImage::UpToDate { .. } => "up to date",
        BuiltImage::New { .. } => "built",
    };
    let used = built.image().used_bytes()? >> 20;
    let size = built.image().size_mb;
    run::done(
        began,
        &format!("{name} {what}: {size} MB, of which {used} MB are used"),
    );
    // Several builds of a recipe may have their image in the cache; tests take the newest.
    fs_err::File::open(built.dir())?.set_modified(SystemTime::now())?;
    if let Some(data_dir) = data_dir {
        // In its pool, if the daemon has taken it there.
        let taken = data_dir.join("pool/images").join(name);
        if !Image::open(&taken).is_ok_and(|taken| taken.id == built.image().id) {
            Catalog::open(data_dir.join("images"))?.install(built.dir())?;
        }
        run::say(&format!("    installed into {}", data_dir.display()));
    }
    Ok(built.dir().to_owned())
}
