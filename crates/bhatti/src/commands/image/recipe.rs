//! `bhatti image build --recipe` and `bhatti image recipes`: images of distribution packages, made
//! on the daemon's host by this program.

use std::path::Path;

use bhatti_client::endpoint::Endpoint;
use bhatti_image::image::Image;
use bhatti_image::proxies::Proxies;
use bhatti_image::recipe::{Recipe, RecipeError};
use bhatti_image::recipe_build::Privilege;
use bhatti_image::recipe_install::{Again, Installed, RecipeInstallError, install};
use bhatti_image::recipes;
use bhatti_types::name::ImageName;
use serde::Serialize;

use crate::env::PROXIES;
use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::signals::Signals;
use crate::table::table;

/// A recipe as a machine is told of it.
#[derive(Serialize)]
struct Shown {
    name: String,
    about: String,
    packages: usize,
    size_mb: u32,
}

/// An image that was built, as a machine is told of it.
#[derive(Serialize)]
struct Report {
    id: String,
    name: String,
    source: String,
    size_mb: u32,
    used_mb: u64,
    built: bool,
}

/// Lists the recipes that bhatti ships.
pub(super) fn list(context: &Context) -> Result<(), Failure> {
    let recipes: Vec<_> = recipes::all()
        .map_err(unusable)?
        .into_iter()
        .map(|recipe| Shown {
            name: recipe.name.to_string(),
            about: recipe.about,
            packages: recipe.packages.len(),
            size_mb: recipe.size_mb.get(),
        })
        .collect();
    context.ui.show(&recipes, || {
        let rows: Vec<_> = recipes
            .iter()
            .map(|recipe| vec![recipe.name.clone(), recipe.about.clone()])
            .collect();
        table(&["NAME", "WHAT IT IS"], &rows)
    })
}

/// Builds the image of a recipe, a shipped one by its name or one in a file, into the data
/// directory of this host.
pub(super) async fn build(
    recipe: &str,
    name: Option<ImageName>,
    again: Again,
    context: &Context,
) -> Result<(), Failure> {
    let (endpoint, _) = context.config.target();
    if !matches!(endpoint, Endpoint::Unix(_)) {
        return Err(Failure::Said {
            message: format!("a recipe is built on the daemon's own host, not by {endpoint}"),
            hint: Some("run this there, without --url".to_owned()),
        });
    }
    let mut recipe = find(recipe)?;
    if let Some(name) = name {
        recipe.name = name;
    }
    let data_dir = context.config.settings.data_dir.clone();
    let proxies = Proxies::from_lookup(|name| {
        let known = PROXIES.iter().find(|known| **known == name)?;
        context.environment.get(known).map(str::to_owned)
    });
    let mut signals = Signals::new()?;
    let work = install(
        &recipe,
        &data_dir,
        again,
        Privilege::of_this_process(),
        &proxies,
    );
    let what = format!(
        "building image {} of {} packages and what they need",
        recipe.name,
        recipe.packages.len()
    );
    let installed = tokio::select! {
        installed = with_progress(&context.ui, what, work) => installed.map_err(failed)?,
        signal = signals.next() => return Err(Failure::Interrupted { signal }),
    };
    let (image, built) = match installed {
        Installed::UpToDate(image) => (image, false),
        Installed::New(image) => (image, true),
    };
    show(&image, built, context)
}

fn show(image: &Image, built: bool, context: &Context) -> Result<(), Failure> {
    let used = image.used_bytes().map_err(|source| Failure::File {
        what: "look at",
        path: image.disk.clone(),
        source,
    })?;
    let report = Report {
        id: image.id.to_string(),
        name: image.name.to_string(),
        source: image.source.to_string(),
        size_mb: image.size_mb.get(),
        used_mb: used.div_ceil(1 << 20),
        built,
    };
    context.ui.show(&report, || {
        if built {
            let tick = context.ui.tick();
            format!("{tick} built \"{}\" ({}MB)", report.name, report.used_mb)
        } else {
            format!("image/{} unchanged (its recipe is the same)", report.name)
        }
    })
}

/// A path has a `/` in it or ends as YAML does; all else is the name of a shipped recipe.
fn find(recipe: &str) -> Result<Recipe, Failure> {
    let path = Path::new(recipe);
    let is_path = recipe.contains('/')
        || path
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml");
    if is_path {
        return Recipe::read(path).map_err(unusable);
    }
    recipes::get(recipe)
        .map_err(unusable)?
        .ok_or_else(|| Failure::Said {
            message: format!("there is no recipe \"{recipe}\""),
            hint: Some(
                "`bhatti image recipes` shows what there is; the path of an own one has a `/`"
                    .to_owned(),
            ),
        })
}

fn unusable(source: RecipeError) -> Failure {
    Failure::Recipe { source }
}

fn failed(source: RecipeInstallError) -> Failure {
    Failure::RecipeBuild { source }
}
