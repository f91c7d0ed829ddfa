//! Builds the image `base`, and others of a recipe.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bhatti_image::catalog::Catalog;
use bhatti_image::image::Image;
use bhatti_image::recipe::Recipe;
use bhatti_image::recipe_build::{self, BuiltImage, Privilege};

use crate::environment::Environment;
use crate::run;

/// Builds the image `base` as [`build_recipe`] does.
pub(crate) async fn build(
    environment: &Environment,
    data_dir: Option<&Path>,
) -> anyhow::Result<PathBuf> {
    build_recipe(environment, "base", data_dir).await
}

/// Builds the image of a recipe into the cache, and installs it into a data directory if one is
/// given. Gives its directory in the cache.
pub(crate) async fn build_recipe(
    environment: &Environment,
    name: &str,
    data_dir: Option<&Path>,
) -> anyhow::Result<PathBuf> {
    let began = run::step(&format!("image `{name}`"));
    let recipe = environment.root.join(format!("images/{name}/recipe.yaml"));
    let recipe = Recipe::read(&recipe)?;
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
    let used = bhatti_host::files::disk_usage(&built.image().disk)? >> 20;
    let size = built.image().size_mb;
    run::done(
        began,
        &format!("{name} {what}: {size} MB, of which {used} MB are used"),
    );
    // Several recipes may have their image in the cache; tests take the newest.
    fs_err::File::open(built.dir())?.set_modified(SystemTime::now())?;
    if let Some(data_dir) = data_dir {
        // In its pool, if the daemon has taken it there.
        let taken = data_dir
            .join("pool/images")
            .join(built.image().name.as_str());
        if !Image::open(&taken).is_ok_and(|taken| taken.id == built.image().id) {
            Catalog::open(data_dir.join("images"))?.install(built.dir())?;
        }
        run::say(&format!("    installed into {}", data_dir.display()));
    }
    Ok(built.dir().to_owned())
}
